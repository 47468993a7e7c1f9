package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/audit"
)

// TestExport: what is exported while the log is written reads as the same log,
// and a log goes on after it.
func TestExport(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	open := func(dir string) *audit.Log {
		l, rec, err := audit.Open(audit.Config{Dir: dir, SegmentSize: 8 << 10, MaxRecord: 1 << 10})
		if err != nil {
			t.Fatal(err)
		}
		if rec.Repaired {
			t.Errorf("the log in %s had to be repaired: %+v", dir, rec)
		}
		return l
	}
	l := open(dir)
	add := func(l *audit.Log, n int) {
		for i := range n {
			if _, err := l.Append(context.Background(), bytes.Repeat([]byte{byte(i)}, 500)); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(l, 50)
	var f *os.File
	segments := 0
	err := audit.Export(dir, func(name string, size int64) (err error) {
		if !audit.IsSegment(name) {
			return fmt.Errorf("%q is no name of a segment", name)
		}
		if f != nil {
			if err := f.Close(); err != nil {
				return err
			}
		}
		segments++
		if f, err = os.Create(filepath.Join(to, name)); err == nil {
			err = f.Truncate(size)
		}
		return err
	}, func(b []byte) error {
		_, err := f.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if segments < 3 {
		t.Fatalf("%d segments are too few to tell anything", segments)
	}
	if err := l.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	count := func(dir string) (n int) {
		if err := audit.Read(dir, 0, func(uint64, []byte) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if a, b := count(dir), count(to); a != 50 || b != 50 {
		t.Errorf("%d records became %d", a, b)
	}
	l = open(to)
	add(l, 20)
	if err := l.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := count(to); n != 70 {
		t.Errorf("the restored log has %d records, want 70", n)
	}
}

func TestExportOfDamage(t *testing.T) {
	dir := t.TempDir()
	l, _, err := audit.Open(audit.Config{Dir: dir, SegmentSize: 4 << 10, MaxRecord: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := l.Append(context.Background(), bytes.Repeat([]byte{1}, 500)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "audit-0000000001.seg")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[1000] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	none := func([]byte) error { return nil }
	if err := audit.Export(dir, func(string, int64) error { return nil }, none); err == nil {
		t.Error("a damaged log was exported as if it were whole")
	}
}
