package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestUnknownOutcome breaks the answer to a transaction in each way: done and
// not told, not done, done later, refused.
func TestUnknownOutcome(t *testing.T) {
	type commitFn = func() (*clientv3.TxnResponse, error)
	type fault = func(commitFn) (*clientv3.TxnResponse, error)
	lost := func(commit commitFn) (*clientv3.TxnResponse, error) {
		if _, err := commit(); err != nil {
			return nil, err
		}
		return nil, context.DeadlineExceeded
	}
	never := func(commitFn) (*clientv3.TxnResponse, error) { return nil, rpctypes.ErrTimeout }
	conflictLost := lost
	refuse := func(err error) fault {
		return func(commitFn) (*clientv3.TxnResponse, error) { return nil, err }
	}
	for _, tt := range []struct {
		name      string
		fault     fault
		outbox    bool
		stale     bool // the view is older than the record read
		want      error
		unwritten bool
	}{
		{name: "done, answer lost", fault: lost, outbox: true},
		{name: "done, answer lost, no outbox record to find", fault: lost, want: ErrOutcomeUnknown},
		{name: "not done", fault: never, outbox: true, want: ErrOutcomeUnknown, unwritten: true},
		{name: "conflict, answer lost", fault: conflictLost, outbox: true, stale: true, want: ErrOutcomeUnknown, unwritten: true},
		{name: "no space", fault: refuse(rpctypes.ErrNoSpace), outbox: true, want: ErrUnavailable, unwritten: true},
		{name: "too many", fault: refuse(rpctypes.ErrTooManyRequests), want: ErrUnavailable, unwritten: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kv, w := &faultyKV{}, &faultyWatcher{}
			f := newFixture(t, withFaults(kv, w))
			v := f.view()
			if tt.stale {
				f.put("a/x", "other")
			}
			kv.txn.Store(&tt.fault)
			// The replica learns of the transaction some time after the revision
			// check: the outcome is known only to who waits for it.
			w.hold.Lock()
			var once sync.Once
			release := func(resp *clientv3.GetResponse, err error) (*clientv3.GetResponse, error) {
				once.Do(func() { time.AfterFunc(20*time.Millisecond, w.hold.Unlock) })
				return resp, err
			}
			kv.got.Store(&release)
			rev, err := f.Commit(t.Context(), v, "r1", func(tx *Tx) error {
				_, _ = notes.Read(tx, "a/x")
				notes.Put(tx, "a/x", &note{Text: "mine"})
				if tt.outbox {
					tx.Outbox([]byte("record"))
				}
				return nil
			})
			kv.txn.Store(nil)
			once.Do(w.hold.Unlock)
			if !errors.Is(err, tt.want) {
				t.Fatalf("Commit = %v, want %v", err, tt.want)
			}
			if tt.want == nil && f.Rev() < rev {
				t.Errorf("confirmed revision %d, the replica is at %d", rev, f.Rev())
			}
			text, _ := f.get("a/x")
			if got := text == "mine"; got == tt.unwritten && tt.want == nil {
				t.Errorf("a/x = %q", text)
			}
			if len(f.pending.byID) != 0 {
				t.Error("a pending commit was left behind")
			}
		})
	}
}

// TestConflictShowsItsCause: after ErrConflict the next view holds the change
// that was in the way, though nobody has been told that it is committed.
func TestConflictShowsItsCause(t *testing.T) {
	kv, w := &faultyKV{}, &faultyWatcher{}
	f := newFixture(t, withFaults(kv, w))
	f.put("a/x", "1")
	v := f.view()
	w.hold.Lock()
	if _, err := f.node.Client().Delete(t.Context(), Prefix+"test/a/notes/x"); err != nil {
		t.Fatal(err)
	}
	fault := func(commit func() (*clientv3.TxnResponse, error)) (*clientv3.TxnResponse, error) {
		time.AfterFunc(20*time.Millisecond, w.hold.Unlock)
		return commit()
	}
	kv.txn.Store(&fault)
	_, err := f.Commit(t.Context(), v, "r", func(tx *Tx) error {
		_, _ = notes.Read(tx, "a/x")
		notes.Put(tx, "a/x", &note{Text: "2"})
		return nil
	})
	if !errors.Is(err, ErrConflict) {
		t.Fatalf("Commit = %v", err)
	}
	if _, err := f.get("a/x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the next view does not show the change: %v", err)
	}
}

// TestTwoCommitsOfOneRequest: their outbox records could not be told apart.
func TestTwoCommitsOfOneRequest(t *testing.T) {
	kv, w := &faultyKV{}, &faultyWatcher{}
	f := newFixture(t, withFaults(kv, w))
	again := func() error {
		_, err := f.Commit(t.Context(), nil, "r1", func(tx *Tx) error { tx.Outbox([]byte("2")); return nil })
		return err
	}
	var inner error
	fault := func(commit func() (*clientv3.TxnResponse, error)) (*clientv3.TxnResponse, error) {
		inner = again()
		return commit()
	}
	kv.txn.Store(&fault)
	if _, err := f.Commit(t.Context(), nil, "r1", func(tx *Tx) error { tx.Outbox([]byte("1")); return nil }); err != nil {
		t.Fatal(err)
	}
	if inner == nil || errors.Is(inner, ErrConflict) {
		t.Errorf("the second commit = %v", inner)
	}
}

// TestReload breaks the watch in every way. The replica must be out of service
// until it is loaded afresh, and then show what was written meanwhile.
func TestReload(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(f *fixture, in chan<- clientv3.WatchResponse, end context.CancelFunc)
		says  string
	}{
		{"watch ended", func(_ *fixture, _ chan<- clientv3.WatchResponse, end context.CancelFunc) { end() }, "the watch has ended"},
		{"compacted", func(_ *fixture, in chan<- clientv3.WatchResponse, _ context.CancelFunc) {
			in <- clientv3.WatchResponse{CompactRevision: 5, Canceled: true}
		}, "compacted"},
		{"revision went back", func(f *fixture, in chan<- clientv3.WatchResponse, _ context.CancelFunc) {
			in <- clientv3.WatchResponse{Header: &pb.ResponseHeader{ClusterId: f.current.Load().cluster, Revision: f.Rev() - 1}}
		}, "its data was replaced"},
		{"other cluster", func(f *fixture, in chan<- clientv3.WatchResponse, _ context.CancelFunc) {
			in <- clientv3.WatchResponse{Header: &pb.ResponseHeader{ClusterId: 1, Revision: f.Rev() + 1}}
		}, "another cluster"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kv, w := &faultyKV{}, &faultyWatcher{}
			f := newFixture(t, withFaults(kv, w))
			f.put("a/x", "1")
			// Hold the load back to see the replica out of service. This is the one
			// read of the test that etcd does not answer.
			hold := make(chan struct{})
			down := func(resp *clientv3.GetResponse, err error) (*clientv3.GetResponse, error) {
				select {
				case <-hold:
					return resp, err
				default:
					return nil, rpctypes.ErrNoLeader
				}
			}
			kv.got.Store(&down)
			v := f.view()
			in, end := w.current()
			tt.fault(f, in, end)
			gone(t, v)
			if f.Rev() != 0 {
				t.Errorf("Rev = %d while the replica is dropped", f.Rev())
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, err := f.View(ctx); !errors.Is(err, ErrUnavailable) {
				t.Errorf("View of a dropped replica = %v", err)
			}
			if _, err := f.Commit(t.Context(), v, "r", func(tx *Tx) error { notes.Put(tx, "a/x", &note{}); return nil }); !errors.Is(err, ErrConflict) {
				t.Errorf("Commit against a view of the dropped replica = %v", err)
			}
			if _, err := f.node.Client().Delete(t.Context(), Prefix+"test/a/notes/x"); err != nil {
				t.Fatal(err)
			}
			close(hold)
			// The delete went past the store, so a load that was under way may have
			// read before it; then the watch brings it.
			for deadline := time.Now().Add(time.Minute); ; {
				_, err := f.get("a/x")
				if errors.Is(err, ErrNotFound) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("the reloaded replica shows a/x: %v", err)
				}
			}
			f.put("a/y", "2")
			f.want("a/y", "2")
			if f.logs.count(tt.says) != 1 {
				t.Errorf("the log does not say %q once", tt.says)
			}
		})
	}
}

// TestCompactionOvertakesWatch compacts what a watch that begins would need.
func TestCompactionOvertakesWatch(t *testing.T) {
	kv, w := &faultyKV{}, &faultyWatcher{}
	f := newFixture(t, withFaults(kv, w))
	f.put("a/x", "1")
	ctx := t.Context()
	once := make(chan struct{}, 1)
	once <- struct{}{}
	w.mu.Lock()
	w.before = func() {
		select {
		case <-once:
		default:
			return
		}
		var rev int64
		for i := range 20 {
			resp, err := f.node.Client().Put(ctx, Prefix+"elections/beat", fmt.Sprint(i))
			if err != nil {
				t.Error(err)
				return
			}
			rev = resp.Header.Revision
		}
		if _, err := f.node.Client().Compact(ctx, rev); err != nil {
			t.Error(err)
		}
	}
	w.mu.Unlock()
	v := f.view()
	_, end := w.current()
	end()
	gone(t, v)
	f.want("a/x", "1")
	f.put("a/y", "2")
	f.want("a/y", "2")
	if f.logs.count("required revision has been compacted") == 0 {
		t.Error("the compaction was not noticed")
	}
}

// TestRevisionWentBackInAnswer: a revision check that shows an older store than
// the replica has seen must not be answered from the replica.
func TestRevisionWentBackInAnswer(t *testing.T) {
	for name, change := range map[string]func(h *pb.ResponseHeader){
		"revision": func(h *pb.ResponseHeader) { h.Revision = 1 },
		"cluster":  func(h *pb.ResponseHeader) { h.ClusterId++ },
	} {
		t.Run(name, func(t *testing.T) {
			kv, w := &faultyKV{}, &faultyWatcher{}
			f := newFixture(t, withFaults(kv, w), func(cfg *Config) { cfg.ForceSharedCheck = true })
			f.put("a/x", "1")
			v := f.view()
			armed := make(chan struct{}, 1)
			armed <- struct{}{}
			wrong := func(resp *clientv3.GetResponse, err error) (*clientv3.GetResponse, error) {
				select {
				case <-armed:
					change(resp.Header)
				default:
				}
				return resp, err
			}
			kv.got.Store(&wrong)
			after := f.view()
			if after.gen == v.gen {
				t.Error("the replica stayed in service")
			}
			f.want("a/x", "1")
		})
	}
}

// TestPublishAfterDrop: what an applier still has in hand when somebody drops
// its replica must not bring it back.
func TestPublishAfterDrop(t *testing.T) {
	f := newFixture(t)
	f.put("a/x", "1")
	if err := f.Close(); err != nil { // no applier but this test
		t.Fatal(err)
	}
	v := f.current.Load()
	stale := *v
	stale.gen, stale.live, stale.next = v.gen-1, true, make(chan struct{})
	if f.publish(&stale) || f.current.Load() != v {
		t.Error("a view of a dropped replica was published")
	}
	f.drop(v.gen-1, errWentBack)
	if f.current.Load() != v {
		t.Error("a late complaint about an earlier load dropped the present one")
	}
}

func TestNoQuorum(t *testing.T) {
	kv, w := &faultyKV{}, &faultyWatcher{}
	f := newFixture(t, withFaults(kv, w), func(cfg *Config) {
		cfg.ForceSharedCheck = true
	})
	f.put("a/x", "1")
	down := func(*clientv3.GetResponse, error) (*clientv3.GetResponse, error) { return nil, rpctypes.ErrTimeout }
	kv.got.Store(&down)
	if _, err := f.View(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("View without a quorum = %v", err)
	}
	kv.got.Store(nil)
	f.want("a/x", "1")
}

// TestCheckerIsShared drives the checker by hand.
func TestCheckerIsShared(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan int64)
	c := &checker{read: func() (int64, error) {
		asked <- struct{}{}
		return <-answer, nil
	}}
	type result struct {
		rev int64
		err error
	}
	ask := func(ctx context.Context) <-chan result {
		out := make(chan result, 1)
		go func() {
			rev, err := c.revision(ctx)
			out <- result{rev, err}
		}()
		return out
	}
	first := ask(t.Context())
	<-asked // the first question is on its way; all others gather for the next
	ctx, cancel := context.WithCancel(t.Context())
	quitter := ask(ctx)
	gathered := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.next != nil
	}
	for !gathered() {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if r := <-quitter; !errors.Is(r.err, context.Canceled) {
		t.Errorf("a cancelled caller got %+v", r)
	}
	late := []<-chan result{ask(t.Context()), ask(t.Context())}
	answer <- 10
	if r := <-first; r.rev != 10 || r.err != nil {
		t.Errorf("the first got %+v", r)
	}
	<-asked // still asked, though the one who began it has left
	answer <- 20
	for _, ch := range late {
		select {
		case r := <-ch:
			if r.rev != 20 || r.err != nil {
				t.Errorf("a latecomer got %+v", r)
			}
		case <-asked: // came after the second question had left
			answer <- 20
			if r := <-ch; r.rev != 20 || r.err != nil {
				t.Errorf("a latecomer got %+v", r)
			}
		}
	}
	c.close()
	if _, err := c.revision(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

func TestCompactLoop(t *testing.T) {
	f := newFixture(t, func(cfg *Config) {
		cfg.CompactEvery, cfg.KeepRevisions = time.Millisecond, 10
	})
	var first int64
	for i := range 50 {
		rev := f.put("a/x", fmt.Sprint(i))
		if i == 0 {
			first = rev
		}
	}
	deadline := time.Now().Add(time.Minute)
	for {
		_, err := f.node.Client().Get(t.Context(), Prefix, clientv3.WithRev(first))
		if errors.Is(err, rpctypes.ErrCompacted) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("revision %d is still there: %v", first, err)
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := f.node.Client().Get(t.Context(), Prefix, clientv3.WithRev(f.Rev()-10)); err != nil {
		t.Errorf("a revision to be kept is gone: %v", err)
	}
	f.want("a/x", "49")
}
