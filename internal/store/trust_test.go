package store

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
	if err != nil || !reflect.DeepEqual(got, &m) {
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
