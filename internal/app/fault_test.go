package app_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/internal/app"
	"github.com/opensesame-kms/opensesame/internal/audit"
	"github.com/opensesame-kms/opensesame/internal/config"
	"github.com/opensesame-kms/opensesame/sesametest"
)

// brokenFS is a file system whose writes fail while broken is set.
type brokenFS struct{ broken atomic.Bool }

var errBroken = errors.New("the disk is broken")

func (f *brokenFS) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o700) }

func (f *brokenFS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (f *brokenFS) open(name string, flag int) (audit.File, error) {
	if f.broken.Load() && flag&os.O_CREATE != 0 {
		return nil, errBroken
	}
	file, err := os.OpenFile(filepath.Clean(name), flag, 0o600)
	if err != nil {
		return nil, err
	}
	return brokenFile{file, f}, nil
}

func (f *brokenFS) Create(name string) (audit.File, error) {
	return f.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}
func (f *brokenFS) Open(name string) (audit.File, error)     { return f.open(name, os.O_RDWR) }
func (f *brokenFS) OpenRead(name string) (audit.File, error) { return f.open(name, os.O_RDONLY) }
func (f *brokenFS) SyncDir(string) error                     { return nil }
func (f *brokenFS) Remove(name string) error {
	if err := os.Remove(name); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

type brokenFile struct {
	*os.File
	fs *brokenFS
}

func (f brokenFile) WriteAt(b []byte, off int64) (int, error) {
	if f.fs.broken.Load() {
		return 0, errBroken
	}
	return f.File.WriteAt(b, off)
}

func (f brokenFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f brokenFile) Datasync() error {
	if f.fs.broken.Load() {
		return errBroken
	}
	return nil
}

func (f brokenFile) Sync() error { return f.Datasync() }

// startBroken starts a server whose audit log is on a disk that can break.
func startBroken(t *testing.T) (*door, *brokenFS) {
	t.Helper()
	fs := &brokenFS{}
	a, err := app.Start(t.Context(), config.Config{
		DataDir: t.TempDir(), Listen: "127.0.0.1:0", FastElection: true,
		Timeouts: config.Timeouts{Read: 25 * time.Second, Write: 20 * time.Second}, Audit: config.Audit{LateAfter: time.Second},
		Limits: config.Limits{None: true},
	}, app.Options{AuditFS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := a.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	id, secret, err := a.Operator()
	if err != nil {
		t.Fatal(err)
	}
	return newDoor(&sesametest.Server{
		URL: a.URL(), Host: a.URL()[len("https://"):], CAPEM: a.CAPEM(), Region: a.Region(),
		Operator: cred{AccessKeyID: id, AccessKeySecret: secret.Reveal()},
	}), fs
}

// TestNoRecordNoSecret: while the audit log cannot be written nothing is read
// and nothing is refused on the record either; the request gets 503, and the
// very same request succeeds when the disk is back, because it did not use up
// its nonce.
func TestNoRecordNoSecret(t *testing.T) {
	d, fs := startBroken(t)
	acct := d.NewAccount(t)
	d.create(t, acct.Root, "a", "hush")
	read := wire{
		cred: acct.Root, product: "kms", action: "GetSecretValue", query: []pair{{"SecretName", "a"}},
		nonce: rand.Text(), date: d.Now().UTC().Format("2006-01-02T15:04:05Z"),
	}
	missing := read
	missing.nonce, missing.query = rand.Text(), []pair{{"SecretName", "b"}}

	fs.broken.Store(true)
	for range 2 {
		d.send(t, read).refused(t, 503, "ServiceUnavailableTemporary")
		d.send(t, missing).refused(t, 503, "ServiceUnavailableTemporary")
	}
	fs.broken.Store(false)

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for d.ready(t) != 200 {
		select { // the log tries the disk by itself, now and then
		case <-ctx.Done():
			t.Fatal("the server does not recover")
		case <-time.After(5 * time.Millisecond):
		}
	}
	if d.send(t, read).ok(t).text("SecretData") != "hush" {
		t.Error("read another value")
	}
	d.send(t, read).refused(t, 400, "SignatureNonceUsed")
	d.send(t, missing).refused(t, 404, "Forbidden.ResourceNotFound")
	d.send(t, missing).refused(t, 400, "SignatureNonceUsed")
}

// ready is the status that /readyz answers.
func (d *door) ready(t *testing.T) int {
	t.Helper()
	res, err := d.client.Get(d.URL + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	return res.StatusCode
}
