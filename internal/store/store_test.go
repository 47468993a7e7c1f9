package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	if _, err := f.commit(func(tx *Tx) error { notes.Put(tx, "a/x", &note{}); return mine }); err != mine { //nolint:errorlint // must come unchanged
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

// TestTampered writes past the store: each forgery must be refused and reported
// once, and the records beside it stay readable.
func TestTampered(t *testing.T) {
	f := newFixture(t)
	f.put("a/good", "good")
	f.put("b/moved", "moved")
	moved, err := f.node.Client().Get(t.Context(), Prefix+"test/b/notes/moved")
	if err != nil {
		t.Fatal(err)
	}
	value := moved.Kvs[0].Value
	unreadable, err := sign(testMAC{}, Prefix+"test/a/notes/unreadable", []byte(`{"n":"text"}`))
	if err != nil {
		t.Fatal(err)
	}
	forgeries := map[string][]byte{
		"garbage":    []byte("garbage"),
		"empty":      {},
		"unsigned":   []byte(`{"text":"unsigned"}`),
		"moved":      value,
		"flipped":    bytes.Replace(value, []byte("moved"), []byte("Moved"), 1),
		"otherkey":   bytes.Replace(value, []byte("s1.7."), []byte("s1.8."), 1),
		"unreadable": unreadable,
	}
	for name, v := range forgeries {
		f.raw(Prefix+"test/a/notes/"+name, string(v))
	}
	check := func() {
		t.Helper()
		f.want("a/good", "good")
		for name := range forgeries {
			if _, err := f.get("a/" + name); !errors.Is(err, ErrTampered) {
				t.Errorf("Get of %s = %v", name, err)
			}
			if _, err := f.commit(func(tx *Tx) error { _, err := notes.Read(tx, "a/"+name); return err }); !errors.Is(err, ErrTampered) {
				t.Errorf("Read of %s = %v", name, err)
			}
		}
		var seen []string
		err := notes.Scan(f.view(), "a/", func(k string, _ *note) bool { seen = append(seen, k); return true })
		if !errors.Is(err, ErrTampered) || !slices.Equal(seen, []string{"a/good"}) {
			t.Errorf("Scan = %v, %v", seen, err)
		}
		if err := notes.Scan(f.view(), "b/", func(string, *note) bool { return true }); err != nil {
			t.Errorf("Scan beside the forgeries = %v", err)
		}
	}
	check()
	for name := range forgeries {
		if got := f.logs.count("key=" + Prefix + "test/a/notes/" + name + " "); got != 1 {
			t.Errorf("%s was reported %d times", name, got)
		}
	}
	if f.logs.count("Moved") != 0 {
		t.Error("the log holds a record's content")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f.open()
	check()
	f.put("a/garbage", "mended")
	f.want("a/garbage", "mended")
}

func TestKeyring(t *testing.T) {
	var mu sync.Mutex
	ring := map[string]string{}
	var calls []string
	f := newFixture(t, func(cfg *Config) {
		cfg.Keyring = func(name string, sealed []byte) error {
			mu.Lock()
			defer mu.Unlock()
			ring[name] = string(sealed)
			calls = append(calls, name)
			if string(sealed) == "bad" {
				return errors.New("cannot open")
			}
			return nil
		}
		cfg.KeyringRemoved = func(name string) {
			mu.Lock()
			defer mu.Unlock()
			delete(ring, name)
		}
	})
	commit := func(fn func(tx *Tx)) {
		t.Helper()
		if _, err := f.commit(func(tx *Tx) error { fn(tx); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	want := func(w map[string]string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if diff := cmp.Diff(w, ring); diff != "" {
			t.Error(diff)
		}
	}
	commit(func(tx *Tx) { tx.PutKeyring("mac/1", []byte("k1")); tx.PutKeyring("tokens/1", []byte("k2")) })
	want(map[string]string{"mac/1": "k1", "tokens/1": "k2"})
	commit(func(tx *Tx) { tx.DeleteKeyring("mac/1"); tx.PutKeyring("mac/2", []byte("k3")) })
	want(map[string]string{"mac/2": "k3", "tokens/1": "k2"})
	var names []string
	ScanKeyring(f.view(), func(name string, sealed []byte) bool { names = append(names, name+"="+string(sealed)); return true })
	if !slices.Equal(names, []string{"mac/2=k3", "tokens/1=k2"}) {
		t.Errorf("ScanKeyring: %v", names)
	}
	// A record gone while the store was not looking is removed by the next load.
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	calls = nil
	f.open()
	if !slices.Equal(calls, []string{"mac/2", "tokens/1"}) {
		t.Errorf("the load handed out %v", calls)
	}
	f.raw(Prefix+"keyring/mac/3", "bad")
	if f.logs.count("cannot open") != 1 {
		t.Error("a bad keyring record was not reported")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), f.cfg); err == nil || !strings.Contains(err.Error(), "mac/3") {
		t.Errorf("Open with a keyring record that cannot be opened = %v", err)
	}
}

// needsKey is a MACer that verifies nothing until the keyring record was handed
// out.
type needsKey struct {
	testMAC
	has atomic.Bool
}

func (m *needsKey) VerifyMAC(version uint32, key string, body, sum []byte) error {
	if !m.has.Load() {
		return errors.New("no such MAC key")
	}
	return m.testMAC.VerifyMAC(version, key, body, sum)
}

// TestKeyringComesFirst: a record may be signed by a key that is stored in the
// same transaction, and sorts before it.
func TestKeyringComesFirst(t *testing.T) {
	mac := &needsKey{}
	f := newFixture(t, func(cfg *Config) {
		cfg.MAC = mac
		cfg.Keyring = func(string, []byte) error { mac.has.Store(true); return nil }
	})
	if _, err := f.commit(func(tx *Tx) error {
		AccessKeys.Put(tx, "LTAI", &AccessKey{ID: "LTAI"})
		tx.PutKeyring("mac/7", []byte("key"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		if _, err := AccessKeys.Get(f.view(), "LTAI"); err != nil {
			t.Error(err)
		}
	}
	check()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	mac.has.Store(false)
	f.open()
	check()
}

func TestMeta(t *testing.T) {
	f := newFixture(t)
	if _, err := ReadMeta(t.Context(), f.client); !errors.Is(err, ErrNotFound) {
		t.Errorf("ReadMeta of nothing = %v", err)
	}
	m := Meta{Format: Format, LeastReader: LeastReader, LeastWriter: LeastWriter, Region: "cn-hangzhou"}
	putMeta := func(m *Meta) {
		t.Helper()
		if _, err := f.commit(func(tx *Tx) error { Metas.Put(tx, MetaKey, m); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	putMeta(&m)
	got, err := ReadMeta(t.Context(), f.client)
	if err != nil || *got != m {
		t.Errorf("ReadMeta = %+v, %v", got, err)
	}
	reopen := func() error {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), f.cfg)
		if err == nil {
			f.Store = s
			t.Cleanup(func() { _ = s.Close() })
		}
		return err
	}
	if err := reopen(); err != nil {
		t.Fatal(err)
	}
	newer := m
	newer.Format, newer.LeastReader = Format+1, Format+1
	putMeta(&newer)
	if err := reopen(); !errors.Is(err, ErrFormat) {
		t.Errorf("Open of a newer format = %v", err)
	}
	_, sum, body, err := decodeValue(mustGet(t, f, "meta"))
	if err != nil {
		t.Fatal(err)
	}
	older := bytes.ReplaceAll(body, []byte(`:2,`), []byte(`:1,`))
	if _, err := f.node.Client().Put(t.Context(), Prefix+"meta", string(encodeValue(7, sum, older))); err != nil {
		t.Fatal(err)
	}
	if err := reopen(); !errors.Is(err, ErrTampered) {
		t.Errorf("Open with a forged format record = %v", err)
	}
}

func mustGet(t *testing.T, f *fixture, key string) []byte {
	t.Helper()
	resp, err := f.node.Client().Get(t.Context(), Prefix+key)
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("%v, %v", resp, err)
	}
	return resp.Kvs[0].Value
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
