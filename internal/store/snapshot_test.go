package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func (f *fixture) each(sn *Snapshot) (keys []string, values map[string]string) {
	f.t.Helper()
	values = map[string]string{}
	if err := sn.Each(f.t.Context(), func(key string, value []byte) error {
		keys = append(keys, key)
		values[key] = string(value)
		return nil
	}); err != nil {
		f.t.Fatal(err)
	}
	return keys, values
}

// TestSnapshotOutlivesCompaction: a snapshot reads its own revision while others
// write and etcd forgets, and lets go when it is closed.
func TestSnapshotOutlivesCompaction(t *testing.T) {
	f := newFixture(t, func(cfg *Config) { cfg.CompactEvery, cfg.KeepRevisions = time.Millisecond, 1 })
	for i := range 2*snapshotPage + 10 { // three pages
		f.put(fmt.Sprintf("a/%04d", i), "old")
	}
	sn, err := f.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rev := sn.View().Rev()
	n := 0
	err = sn.Each(t.Context(), func(_ string, value []byte) error {
		if n++; n%50 == 1 { // between pages too
			for range 5 {
				f.put(fmt.Sprintf("a/%04d", n), "new")
				f.put(fmt.Sprintf("b/%04d", n), "new")
			}
		}
		if !bytes.Contains(value, []byte("old")) {
			return errors.New("a record of a later revision")
		}
		return nil
	})
	if err != nil || n != 2*snapshotPage+10 {
		t.Errorf("%d records, %v", n, err)
	}
	if _, err := f.node.Client().Get(t.Context(), Prefix, clientv3.WithRev(rev)); err != nil {
		t.Errorf("the snapshot's revision is gone while it is open: %v", err)
	}
	sn.Close()
	sn.Close()
	f.put("a/x", "new")
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := f.node.Client().Get(t.Context(), Prefix, clientv3.WithRev(rev)); err != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the revision is still held after Close")
		}
	}
	if err := sn.Each(t.Context(), func(string, []byte) error { return nil }); err == nil {
		t.Error("a closed snapshot was read whole")
	}
}

// TestSnapshotAndImport: the keyring comes first, keys on leases are left out,
// and what is imported is the same state at higher revisions.
func TestSnapshotAndImport(t *testing.T) {
	f := newFixture(t)
	for i := range 300 {
		f.put(fmt.Sprintf("a/%04d", i), strings.Repeat("x", i*20))
	}
	if _, err := f.commit(func(tx *Tx) error {
		tx.PutKeyring("mac/1", []byte("sealed"))
		tx.Outbox([]byte("a record"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	lease, err := f.node.Client().Grant(t.Context(), 600)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := f.node.Client().Put(t.Context(), Prefix+"elections/leader/1", "me", clientv3.WithLease(lease.ID))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.await(t.Context(), resp.Header.Revision); err != nil {
		t.Fatal(err)
	}
	sn, err := f.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer sn.Close()
	keys, want := f.each(sn)
	if len(keys) != 302 || keys[0] != Prefix+"keyring/mac/1" || slices.ContainsFunc(keys, func(k string) bool { return strings.Contains(k, "elections") }) {
		t.Errorf("%d records, beginning with %s", len(keys), keys[0])
	}
	for _, key := range keys {
		if err := CheckRecord(testMAC{}, key, []byte(want[key])); err != nil {
			t.Errorf("CheckRecord: %v", err)
		}
		if name, ok := KeyringName(key); ok != (name == "mac/1") {
			t.Errorf("KeyringName(%s) = %s", key, name)
		}
	}
	if err := CheckRecord(testMAC{}, Prefix+"test/a/notes/0002", []byte(want[Prefix+"test/a/notes/0001"])); !errors.Is(err, ErrTampered) {
		t.Errorf("a moved record: %v", err)
	}

	target := startNode(t, t.TempDir())
	imp, err := NewImport(t.Context(), target.Client())
	if err != nil {
		t.Fatal(err)
	}
	if err := imp.Put("/elsewhere", nil); err == nil {
		t.Error("a key that is no record's was imported")
	}
	for key, value := range want {
		if err := imp.Put(key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := imp.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := NewImport(t.Context(), target.Client()); err == nil {
		t.Error("an import into a database with records was begun")
	}
	g := &fixture{t: t, node: target, cfg: f.cfg}
	g.cfg.Client, g.cfg.SingleVoter = target.Client(), target.SingleVoter
	g.open()
	sn2, err := g.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer sn2.Close()
	if _, got := g.each(sn2); !maps.Equal(got, want) {
		t.Errorf("%d records became %d, or others", len(want), len(got))
	}
}
