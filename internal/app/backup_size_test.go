package app_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/internal/app"
	"github.com/opensesame-kms/opensesame/internal/backup"
	"github.com/opensesame-kms/opensesame/sesametest"
)

var backupSize = flag.Int("backup-size", 0, "run TestBackupSize with so many secrets of 1 KB")

// TestBackupSize measures backup and restore of a large server:
//
//	go test ./internal/app -run TestBackupSize -backup-size 100000 -v -timeout 30m
func TestBackupSize(t *testing.T) {
	if *backupSize == 0 {
		t.Skip("measures for minutes: give -backup-size 100000 to run it")
	}
	d := start(t, sesametest.Options{})
	acct := d.NewAccount(t)
	timed := func(what string, fn func()) time.Duration {
		began := time.Now()
		fn()
		took := time.Since(began)
		t.Logf("%s: %.2f s", what, took.Seconds())
		return took
	}
	timed(fmt.Sprintf("make %d secrets", *backupSize), func() { d.fill(t, acct, *backupSize, 1000) })
	path := filepath.Join(t.TempDir(), "backup")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	made := timed("backup", func() {
		s, err := d.backupStream(t, d.Operator, nil)
		if err == nil {
			_, err = backup.Copy(f, s)
		}
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("size: %.1f MB", float64(info.Size())/1e6)
	keys := d.keepRootKey(t)
	dir := filepath.Join(t.TempDir(), "restored")
	restored := timed("restore", func() {
		if _, err := app.Restore(t.Context(), app.Restoring{Backup: f, DataDir: dir, KeysDir: keys}); err != nil {
			t.Fatal(err)
		}
	})
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	var n *door
	timed("start on it", func() { n = start(t, sesametest.Options{Dir: dir}) })
	if got := n.value(t, acct.Root, fmt.Sprintf("filler-%06d", *backupSize)); got != string(bytes.Repeat([]byte("x"), 1000)) {
		t.Error("the last secret has another value")
	}
	if *backupSize <= 100_000 && (made > 30*time.Second || restored > time.Minute) {
		t.Errorf("backup %v, restore %v: they are meant to take less than 30 s and a minute for 100,000 secrets", made, restored)
	}
}
