package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// testLog is the log that outbox records are drained into.
type testLog struct {
	mu      sync.Mutex
	lines   []string
	fail    bool
	changed chan struct{}
}

func newTestLog() *testLog { return &testLog{changed: make(chan struct{}, 1000)} }

func (l *testLog) appendAll(_ context.Context, payloads [][]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.changed <- struct{}{} }()
	if l.fail {
		return errors.New("the log fails")
	}
	for _, p := range payloads {
		l.lines = append(l.lines, string(p))
	}
	return nil
}

func (l *testLog) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

func (l *testLog) setFail(fail bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = fail
}

// audited commits n transactions with two records each and returns the records.
func audited(f *fixture, from, n int) []string {
	f.t.Helper()
	var want []string
	for i := from; i < from+n; i++ {
		a, b := fmt.Sprintf("%d first \x00 binary", i), fmt.Sprintf("%d second", i)
		// Request ids that sort against the order of commits.
		_, err := f.Commit(context.Background(), nil, fmt.Sprintf("r%06d", 999_999-i), func(tx *Tx) error {
			notes.Put(tx, "a/x", &note{N: i})
			tx.Outbox([]byte(a))
			tx.Outbox([]byte(b))
			if tx.Writes() != 1 {
				f.t.Errorf("Writes = %d", tx.Writes())
			}
			return nil
		})
		if err != nil {
			f.t.Fatal(err)
		}
		want = append(want, a, b)
	}
	return want
}

// drained waits until nothing is left in the outbox.
func drained(f *fixture) {
	f.t.Helper()
	deadline := time.After(time.Minute)
	for {
		v := f.current.Load()
		if v.live && v.backlog == 0 {
			break
		}
		select {
		case <-v.next:
		case <-deadline:
			f.t.Fatalf("%d outbox records left", v.backlog)
		}
	}
	resp, err := f.node.Client().Get(f.t.Context(), Prefix+"outbox/n1/", clientv3.WithPrefix())
	if err != nil || len(resp.Kvs) != 0 {
		f.t.Errorf("etcd still holds %v, %v", resp.Kvs, err)
	}
}

func startDrain(f *fixture, l *testLog) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan error, 1)
	s := f.Store
	go func() { out <- s.DrainOutbox(ctx, "n1", l.appendAll) }()
	return func() error { cancel(); return <-out }
}

func TestDrainOutbox(t *testing.T) {
	f := newFixture(t)
	want := audited(f, 0, 130) // more than one batch
	if got := f.OutboxBacklog(); got != 260 {
		t.Errorf("backlog = %d", got)
	}
	// Another node's records, and one that is forged, are not this drain's.
	other, err := sign(testMAC{}, Prefix+"outbox/n2/r1/0000", []byte("other"))
	if err != nil {
		t.Fatal(err)
	}
	f.raw(Prefix+"outbox/n2/r1/0000", string(other))
	if got := f.OutboxBacklog(); got != 260 {
		t.Errorf("backlog with another node's record = %d", got)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f.open() // what was left by an earlier run is drained too
	if got := f.OutboxBacklog(); got != 260 {
		t.Errorf("backlog after a restart = %d", got)
	}
	l := newTestLog()
	stop := startDrain(f, l)
	want = append(want, audited(f, 130, 20)...)
	drained(f)
	if !slices.Equal(l.all(), want) {
		t.Errorf("the log holds %d records, want %d, each once and in order", len(l.all()), len(want))
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("DrainOutbox = %v", err)
	}
	stop = startDrain(f, l)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := stop(); !errors.Is(err, ErrClosed) && !errors.Is(err, context.Canceled) {
		t.Errorf("DrainOutbox of a closed store = %v", err)
	}
}

func TestDrainRetriesFailingLog(t *testing.T) {
	f := newFixture(t)
	l := newTestLog()
	l.setFail(true)
	stop := startDrain(f, l)
	want := audited(f, 0, 3)
	<-l.changed
	if got := f.OutboxBacklog(); got == 0 || len(l.all()) != 0 {
		t.Errorf("backlog %d, log %v while the log fails", got, l.all())
	}
	l.setFail(false)
	drained(f)
	if !slices.Equal(l.all(), want) {
		t.Errorf("log = %q", l.all())
	}
	_ = stop()
}

// TestDrainDeleteFails: the records are in the log, etcd does not delete them. A
// drainer that lives on must not write them twice.
func TestDrainDeleteFails(t *testing.T) {
	kv, w := &faultyKV{}, &faultyWatcher{}
	f := newFixture(t, withFaults(kv, w))
	want := audited(f, 0, 3)
	fails := make(chan struct{}, 100)
	fault := func(func() (*clientv3.TxnResponse, error)) (*clientv3.TxnResponse, error) {
		fails <- struct{}{}
		return nil, context.DeadlineExceeded
	}
	kv.txn.Store(&fault)
	l := newTestLog()
	stop := startDrain(f, l)
	<-fails
	<-fails
	kv.txn.Store(nil)
	drained(f)
	if !slices.Equal(l.all(), want) {
		t.Errorf("log = %q, want each once", l.all())
	}
	_ = stop()
}

// TestDrainDeletesExactly: a record that changes while it is carried to the log
// is not the one that was carried.
func TestDrainDeletesExactly(t *testing.T) {
	f := newFixture(t)
	audited(f, 0, 1)
	key := Prefix + "outbox/n1/r999999/0000"
	value, err := sign(testMAC{}, key, []byte("changed"))
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	l := newTestLog()
	s := f.Store
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.DrainOutbox(ctx, "n1", func(ctx context.Context, payloads [][]byte) error {
			once.Do(func() {
				if _, err := f.node.Client().Put(ctx, key, string(value)); err != nil {
					t.Error(err)
				}
			})
			return l.appendAll(ctx, payloads)
		})
	}()
	drained(f)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("DrainOutbox = %v", err)
	}
	if got := l.all(); !slices.Contains(got, "changed") {
		t.Errorf("log = %q, the changed record is lost", got)
	}
}

// TestDrainLeavesForgery: a forged audit record is neither logged nor deleted,
// and does not hold up the others.
func TestDrainLeavesForgery(t *testing.T) {
	f := newFixture(t)
	f.raw(Prefix+"outbox/n1/r0/0000", "forged")
	l := newTestLog()
	stop := startDrain(f, l)
	want := audited(f, 0, 3)
	for {
		v := f.current.Load()
		if v.backlog == 1 && len(l.all()) == len(want) {
			break
		}
		gone(t, v)
	}
	if !slices.Equal(l.all(), want) {
		t.Errorf("log = %q", l.all())
	}
	_ = stop()
}
