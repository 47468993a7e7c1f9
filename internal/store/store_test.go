package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCRUD(t *testing.T) {
	f := newFixture(t)
	if _, err := f.get("a/one"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of nothing = %v", err)
	}
	rev := f.put("a/one", "1")
	f.put("a/two/with/slash", "2")
	f.put("b/one", "3")
	old := f.view()
	if old.Rev() < rev {
		t.Errorf("view at %d does not hold the write at %d", old.Rev(), rev)
	}
	if n, err := notes.Get(old, "a/one"); err != nil || n.upper != "1" {
		t.Errorf("Loaded was not called: %+v, %v", n, err)
	}
	if _, err := f.commit(func(tx *Tx) error { notes.Delete(tx, "a/one"); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := f.get("a/one"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of a deleted record = %v", err)
	}
	if n, err := notes.Get(old, "a/one"); err != nil || n.Text != "1" {
		t.Errorf("an old view changed: %v, %v", n, err)
	}
	f.want("a/two/with/slash", "2")
	if got := notes.Len(f.view()); got != 2 {
		t.Errorf("Len = %d", got)
	}
}

func TestScan(t *testing.T) {
	f := newFixture(t)
	if _, err := f.commit(func(tx *Tx) error {
		for _, k := range []string{"a/1", "a/2", "a/2/x", "a/3", "ab/1", "b/1"} {
			notes.Put(tx, k, &note{Text: k})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	scan := func(prefix string, stop int) []string {
		var got []string
		err := notes.Scan(f.view(), prefix, func(k string, n *note) bool {
			if n.Text != k {
				t.Errorf("%s holds %s", k, n.Text)
			}
			got = append(got, k)
			return len(got) != stop
		})
		if err != nil {
			t.Error(err)
		}
		return got
	}
	for _, tt := range []struct {
		prefix string
		stop   int
		want   []string
	}{
		{"a/", 0, []string{"a/1", "a/2", "a/2/x", "a/3"}},
		{"a/2", 0, []string{"a/2", "a/2/x"}},
		{"a/", 2, []string{"a/1", "a/2"}},
		{"", 0, []string{"a/1", "a/2", "a/2/x", "a/3", "ab/1", "b/1"}},
		{"c", 0, nil},
		{AccountPrefix("a"), 1, []string{"a/1"}},
		{AccountPrefix("a/2"), 0, nil},
		{AccountPrefix(""), 0, nil},
	} {
		if diff := cmp.Diff(tt.want, scan(tt.prefix, tt.stop)); diff != "" {
			t.Errorf("Scan(%q): %s", tt.prefix, diff)
		}
	}
}

func TestTxReadsItsOwnWrites(t *testing.T) {
	f := newFixture(t)
	f.put("a/x", "old")
	_, err := f.commit(func(tx *Tx) error {
		n, err := notes.Read(tx, "a/x")
		if err != nil {
			return err
		}
		n.Text = "new"
		if again, _ := notes.Read(tx, "a/x"); again.Text != "old" {
			t.Errorf("changing a copy changed the record: %q", again.Text)
		}
		notes.Put(tx, "a/x", n)
		n.Text = "too late"
		if again, err := notes.Read(tx, "a/x"); err != nil || again.Text != "new" || again.upper != "NEW" {
			t.Errorf("Read after Put = %+v, %v", again, err)
		}
		if shared, _ := notes.Get(tx.View(), "a/x"); shared.Text != "old" {
			t.Errorf("the view shows a staged write")
		}
		notes.Delete(tx, "a/x")
		if _, err := notes.Read(tx, "a/x"); !errors.Is(err, ErrNotFound) {
			t.Errorf("Read after Delete = %v", err)
		}
		notes.Put(tx, "a/x", &note{Text: "last"})
		if tx.Writes() != 1 {
			t.Errorf("Writes = %d", tx.Writes())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f.want("a/x", "last")
}

// TestConflict makes another write come between the view and the commit.
func TestConflict(t *testing.T) {
	for _, tt := range []struct {
		name    string
		read    func(tx *Tx)
		between func(f *fixture)
		want    error
	}{
		{"record changed", func(tx *Tx) { _, _ = notes.Read(tx, "a/x") }, func(f *fixture) { f.put("a/x", "2") }, ErrConflict},
		{"record written alike", func(tx *Tx) { _, _ = notes.Read(tx, "a/x") }, func(f *fixture) { f.put("a/x", "1") }, ErrConflict},
		{"absent record made", func(tx *Tx) { _, _ = notes.Read(tx, "a/new") }, func(f *fixture) { f.put("a/new", "1") }, ErrConflict},
		{"other record changed", func(tx *Tx) { _, _ = notes.Read(tx, "a/x") }, func(f *fixture) { f.put("a/y", "2") }, nil},
		{"not read", func(*Tx) {}, func(f *fixture) { f.put("a/x", "2") }, nil},
		{"epoch", func(tx *Tx) { tx.CompareEpoch("a") }, bump("a"), ErrConflict},
		{"two bumps", func(tx *Tx) { tx.BumpEpoch("a") }, bump("a"), ErrConflict},
		{"another account's epoch", func(tx *Tx) { tx.CompareEpoch("a") }, bump("b"), nil},
		{"keyring", func(tx *Tx) { tx.PutKeyring("mac/1", []byte("mine")) }, func(f *fixture) {
			_, _ = f.commit(func(tx *Tx) error { tx.PutKeyring("mac/1", []byte("theirs")); return nil })
		}, ErrConflict},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.put("a/x", "1")
			v := f.view()
			tt.between(f)
			rev, err := f.Commit(t.Context(), v, "r", func(tx *Tx) error {
				tt.read(tx)
				notes.Put(tx, "a/mine", &note{Text: "mine"})
				return nil
			})
			if !errors.Is(err, tt.want) {
				t.Fatalf("Commit = %v, want %v", err, tt.want)
			}
			_, err = f.get("a/mine")
			if tt.want == nil {
				if err != nil || f.Rev() < rev {
					t.Errorf("after success: %v, revision %d of %d", err, f.Rev(), rev)
				}
			} else if !errors.Is(err, ErrNotFound) {
				t.Errorf("a conflict wrote something: %v", err)
			}
		})
	}
}

func bump(account string) func(f *fixture) {
	return func(f *fixture) {
		if _, err := f.commit(func(tx *Tx) error { tx.BumpEpoch(account); return nil }); err != nil {
			f.t.Error(err)
		}
	}
}

func TestCommitThatWritesNothing(t *testing.T) {
	f := newFixture(t)
	f.put("a/x", "1")
	v := f.view()
	f.put("a/x", "2")
	rev, err := f.Commit(t.Context(), v, "r", func(tx *Tx) error {
		_, err := notes.Read(tx, "a/x")
		return err
	})
	if err != nil || rev != v.Rev() {
		t.Errorf("Commit = %d, %v; want the view's revision %d", rev, err, v.Rev())
	}
	mine := errors.New("mine")
	if _, err := f.commit(func(tx *Tx) error { notes.Put(tx, "a/x", &note{}); return mine }); err != mine {
		t.Errorf("fn's error came as %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = f.Commit(ctx, f.view(), "r", func(tx *Tx) error { notes.Put(tx, "a/x", &note{}); cancel(); return nil })
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("Commit with an ended context = %v", err)
	}
	f.want("a/x", "2")
}

func TestStagingErrorsFailTheCommit(t *testing.T) {
	f := newFixture(t)
	for name, fn := range map[string]func(tx *Tx){
		"key without name":      func(tx *Tx) { notes.Put(tx, "a", &note{}) },
		"empty part":            func(tx *Tx) { notes.Put(tx, "/x", &note{}) },
		"part with a slash":     func(tx *Tx) { notes.Put(tx, join("a/b", "x"), &note{}) },
		"unreadable record":     func(tx *Tx) { notes.Put(tx, "a/x", &note{Text: "does not compile"}) },
		"delete of a bad key":   func(tx *Tx) { notes.Delete(tx, "a") },
		"epoch of a bad name":   func(tx *Tx) { tx.BumpEpoch("") },
		"keyring of a bad name": func(tx *Tx) { tx.PutKeyring("mac", nil) },
	} {
		_, err := f.commit(func(tx *Tx) error {
			fn(tx)
			notes.Put(tx, "a/y", &note{})
			return nil
		})
		if err == nil || errors.Is(err, ErrConflict) || errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: Commit = %v", name, err)
		}
	}
	if _, err := f.Commit(t.Context(), nil, "with/slash", func(tx *Tx) error { tx.Outbox([]byte("x")); return nil }); err == nil {
		t.Error("a request id with a slash was taken")
	}
	if got := notes.Len(f.view()); got != 0 {
		t.Errorf("%d records were written", got)
	}
	if _, err := f.commit(func(tx *Tx) error {
		for i := range 200 {
			notes.Put(tx, fmt.Sprintf("a/%d", i), &note{})
		}
		return nil
	}); err == nil || errors.Is(err, ErrOutcomeUnknown) || errors.Is(err, ErrUnavailable) {
		t.Errorf("a transaction beyond etcd's limit: %v", err)
	}
}

// TestRestart loads more than two pages.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	node := startNode(t, dir)
	f := &fixture{t: t, node: node, logs: &logBuffer{}}
	f.cfg = Config{Client: node.Client(), MAC: testMAC{}, SingleVoter: node.SingleVoter, Node: "n1"}
	f.open()
	const n = 2*pageSize + 17
	for from := 0; from < n; from += 100 {
		if _, err := f.commit(func(tx *Tx) error {
			for i := from; i < min(from+100, n); i++ {
				notes.Put(tx, fmt.Sprintf("a/%d", i), &note{N: i})
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	rev := f.Rev()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	f.node = startNode(t, dir)
	f.cfg.Client, f.cfg.SingleVoter = f.node.Client(), f.node.SingleVoter
	f.open()
	v := f.view()
	if v.Rev() < rev || notes.Len(v) != n {
		t.Fatalf("after restart: revision %d of %d, %d records of %d", v.Rev(), rev, notes.Len(v), n)
	}
	for i := range n {
		if got, err := notes.Get(v, fmt.Sprintf("a/%d", i)); err != nil || got.N != i {
			t.Fatalf("record %d: %v, %v", i, got, err)
		}
	}
}

func TestOpenRefusesBadConfig(t *testing.T) {
	node := startNode(t, t.TempDir())
	for name, cfg := range map[string]Config{
		"no client": {MAC: testMAC{}, Node: "n"},
		"no MAC":    {Client: node.Client(), Node: "n"},
		"no node":   {Client: node.Client(), MAC: testMAC{}},
		"bad node":  {Client: node.Client(), MAC: testMAC{}, Node: "a/b"},
	} {
		if s, err := Open(t.Context(), cfg); err == nil {
			_ = s.Close()
			t.Errorf("%s: Open succeeded", name)
		}
	}
}

// TestCloseWhileWriting: whatever was confirmed is there after a reopening, and
// nobody hangs.
func TestCloseWhileWriting(t *testing.T) {
	f := newFixture(t)
	var mu sync.Mutex
	confirmed := map[string]bool{}
	var wg sync.WaitGroup
	started := make(chan struct{}, 8)
	s := f.Store
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("a/%d-%d", w, i)
				_, err := s.Commit(context.Background(), nil, key[2:], func(tx *Tx) error {
					notes.Put(tx, key, &note{Text: key})
					tx.Outbox([]byte(key))
					return nil
				})
				if err != nil {
					if !errors.Is(err, ErrUnavailable) {
						t.Errorf("Commit while closing = %v", err)
					}
					return
				}
				mu.Lock()
				confirmed[key] = true
				mu.Unlock()
				if i == 3 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 8 {
		<-started
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if _, err := s.View(context.Background()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, ErrClosed) {
		t.Errorf("View of a closed store = %v", err)
	}
	f.open()
	for key := range confirmed {
		f.want(key, key)
	}
	if f.OutboxBacklog() != notes.Len(f.view()) {
		t.Errorf("backlog %d, records %d", f.OutboxBacklog(), notes.Len(f.view()))
	}
}
