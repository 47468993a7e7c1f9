package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// turningMAC is testMAC with a second key, version 8, in use once turned.
type turningMAC struct {
	turned *atomic.Bool
	// signing, if not nil, is called with what is to be signed under it.
	signing func(key string, body []byte)
}

func (m turningMAC) MAC(key string, body []byte) (uint32, [32]byte, error) {
	version, sum, err := testMAC{}.MAC(key, body)
	if m.turned.Load() {
		if m.signing != nil {
			m.signing(key, body)
		}
		sum[0] ^= 0xff
		version = 8
	}
	return version, sum, err
}

func (m turningMAC) VerifyMAC(version uint32, key string, body, sum []byte) error {
	if version == 8 && m.turned.Load() {
		sum = bytes.Clone(sum)
		sum[0] ^= 0xff
		version = 7
	}
	return testMAC{}.VerifyMAC(version, key, body, sum)
}

func noProgress(Resigned) error { return nil }

func newTurning(t *testing.T) (*fixture, *atomic.Bool) {
	t.Helper()
	turned := &atomic.Bool{}
	return newFixture(t, func(c *Config) { c.MAC = turningMAC{turned: turned} }), turned
}

func (f *fixture) putNote(key, text string) error {
	_, err := f.Commit(f.t.Context(), nil, fmt.Sprint("put-", f.ids.Add(1)), func(tx *Tx) error {
		notes.Put(tx, key, &note{Text: text})
		return nil
	})
	return err
}

// signatures returns the records' first bytes by etcd key.
func (f *fixture) signatures() map[string]string {
	resp, err := f.cfg.Client.Get(f.t.Context(), Prefix+"test/", clientv3.WithPrefix())
	if err != nil {
		f.t.Fatal(err)
	}
	out := map[string]string{}
	for _, kv := range resp.Kvs {
		out[string(kv.Key)] = string(kv.Value[:5])
	}
	return out
}

func TestResign(t *testing.T) {
	f, turned := newTurning(t)
	const n = 250
	for i := range n {
		if err := f.putNote(fmt.Sprintf("a/%03d", i), fmt.Sprint("text ", i)); err != nil {
			t.Fatal(err)
		}
	}
	// A long record does not make a transaction too long for etcd.
	for i := range 12 {
		if err := f.putNote(fmt.Sprintf("b/%d", i), string(bytes.Repeat([]byte("x"), 200<<10))); err != nil {
			t.Fatal(err)
		}
	}
	// One record that somebody changed, and one that was never ours.
	bad := Prefix + "test/a/notes/007"
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	resp, err := f.cfg.Client.Get(t.Context(), bad)
	must(nil, err)
	must(f.cfg.Client.Put(t.Context(), bad, string(resp.Kvs[0].Value)+" "))
	must(f.cfg.Client.Put(t.Context(), Prefix+"stranger", "s1.7.nothing"))

	if _, err := f.Resign(t.Context(), 8, noProgress); err == nil {
		t.Error("signed anew with a key that is older than demanded")
	}
	turned.Store(true)
	calls := 0
	got, err := f.Resign(t.Context(), 8, func(Resigned) error { calls++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if got.Records != n+12 || got.Done != n+11 || got.Unsettled != 0 || got.Failed != 1 || !slices.Equal(got.FailedKeys, []string{bad}) || calls != 3 {
		t.Errorf("%+v in %d batches", got, calls)
	}
	for key, head := range f.signatures() {
		if want := "s1.8."; (head == want) == (key == bad) {
			t.Errorf("%s is signed %s", key, head)
		}
	}
	v, err := f.View(t.Context())
	must(nil, err)
	if rec, err := notes.Get(v, "a/100"); err != nil || rec.Text != "text 100" || rec.upper != "TEXT 100" {
		t.Errorf("a record signed anew: %+v, %v", rec, err)
	}
	if _, err := notes.Get(v, "a/007"); !errors.Is(err, ErrTampered) {
		t.Errorf("the changed record: %v", err)
	}
	again, err := f.Resign(t.Context(), 8, noProgress)
	if err != nil || again.Done != n+11 || f.Rev() != v.Rev() {
		t.Errorf("a second pass wrote something: %+v, %v", again, err)
	}
}

// TestResignLetsWritersWin: a record that changes between being read and being
// written keeps the change, and is unsettled.
func TestResignLetsWritersWin(t *testing.T) {
	f, turned := newTurning(t)
	for i := range 2 * resignBatch {
		if err := f.putNote(fmt.Sprintf("a/%03d", i), "old"); err != nil {
			t.Fatal(err)
		}
	}
	turned.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; ctx.Err() == nil; i = (i + 4) % (2 * resignBatch) {
				if err := f.putNote(fmt.Sprintf("a/%03d", i), "new"); err != nil {
					t.Errorf("a writer is in the way: %v", err)
				}
			}
		})
	}
	sum := Resigned{Unsettled: 1}
	for sum.Unsettled > 0 {
		var err error
		if sum, err = f.Resign(t.Context(), 8, noProgress); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	wg.Wait()
	for i := range 2 * resignBatch { // each was written by a writer last, or is old and signed anew
		if err := f.putNote(fmt.Sprintf("b/%03d", i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	for key, head := range f.signatures() {
		if head != "s1.8." {
			t.Errorf("%s is signed %s", key, head)
		}
	}
}

// TestResignKeepsWhatWasWrittenMeanwhile changes a record after Resign has read
// it and before it writes.
func TestResignKeepsWhatWasWrittenMeanwhile(t *testing.T) {
	f, turned := newTurning(t)
	for _, key := range []string{"a/1", "a/2"} {
		if err := f.putNote(key, "old"); err != nil {
			t.Fatal(err)
		}
	}
	turned.Store(true)
	fresh, err := sign(f.cfg.MAC, Prefix+"test/a/notes/1", []byte(`{"text":"new"}`))
	if err != nil {
		t.Fatal(err)
	}
	f.Store.cfg.MAC = turningMAC{turned: turned, signing: func(key string, _ []byte) {
		if key == Prefix+"test/a/notes/1" {
			if _, err := f.cfg.Client.Put(t.Context(), key, string(fresh)); err != nil {
				t.Error(err)
			}
		}
	}}
	got, err := f.Resign(t.Context(), 8, noProgress)
	if err != nil || got.Done != 1 || got.Unsettled != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	v, err := f.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if rec, err := notes.Get(v, "a/1"); err != nil || rec.Text != "new" {
		t.Errorf("a change was overwritten: %+v, %v", rec, err)
	}
}

// TestResignLeavesTheOutbox: a record there is gone for good once it is in the
// log, and must not come a second time.
func TestResignLeavesTheOutbox(t *testing.T) {
	f, turned := newTurning(t)
	_, err := f.Commit(t.Context(), nil, "id-1", func(tx *Tx) error {
		notes.Put(tx, "a/1", &note{Text: "x"})
		tx.Outbox([]byte("record"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	turned.Store(true)
	got, err := f.Resign(t.Context(), 8, noProgress)
	if err != nil || got.Records != 2 || got.Done != 1 || got.Unsettled != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestFence: no transaction commits on a view from before the fence, whatever
// it writes; on a view that has it, all do.
func TestFence(t *testing.T) {
	f, _ := newTurning(t)
	for range 2 { // the first fence, and another
		before, err := f.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Commit(t.Context(), nil, "fence", func(tx *Tx) error { tx.FenceKeyring(); return nil })
		if err != nil {
			t.Fatal(err)
		}
		write := func(tx *Tx) error { notes.Put(tx, "a/unrelated", &note{Text: "x"}); return nil }
		if _, err := f.Commit(t.Context(), before, "late", write); !errors.Is(err, ErrConflict) {
			t.Errorf("on a view from before the fence: %v", err)
		}
		if _, err := f.Commit(t.Context(), nil, "after", write); err != nil {
			t.Errorf("on a view that has the fence: %v", err)
		}
	}
}
