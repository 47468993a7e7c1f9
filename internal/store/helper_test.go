package store

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/opensesame-kms/opensesame/internal/etcdnode"
)

// note is the record type of these tests.
type note struct {
	Text string `json:"text"`
	N    int    `json:"n,omitempty"`

	upper string // made by Loaded
}

func (n *note) Loaded() error {
	if n.Text == "does not compile" {
		return errors.New("does not compile")
	}
	n.upper = strings.ToUpper(n.Text)
	return nil
}

var notes = define[note]("test/*/notes/*")

// testMAC is a MACer with one key.
type testMAC struct{}

func (testMAC) MAC(key string, body []byte) (uint32, [32]byte, error) {
	h := hmac.New(sha256.New, []byte("test key"))
	h.Write([]byte(key + "\x00"))
	h.Write(body)
	return 7, [32]byte(h.Sum(nil)), nil
}

func (m testMAC) VerifyMAC(version uint32, key string, body, sum []byte) error {
	if version != 7 {
		return errors.New("no such MAC key")
	}
	if _, want, _ := m.MAC(key, body); !hmac.Equal(want[:], sum) {
		return errors.New("wrong MAC")
	}
	return nil
}

// logBuffer collects log lines.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) count(sub string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), sub)
}

// fixture is a store on an embedded etcd of its own.
type fixture struct {
	*Store
	t    testing.TB
	node *etcdnode.Node
	logs *logBuffer
	cfg  Config
	ids  atomic.Int64
}

func startNode(t testing.TB, dir string) *etcdnode.Node {
	t.Helper()
	n, err := etcdnode.Start(context.Background(), etcdnode.Config{Dir: dir, FastTicks: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close etcd: %v", err)
		}
	})
	return n
}

// newFixture starts etcd and opens a store; change adjusts its Config. Deadlines
// are ten times the real ones, so that a busy machine fails no test.
func newFixture(t testing.TB, change ...func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, node: startNode(t, t.TempDir()), logs: &logBuffer{}}
	f.cfg = Config{
		Client: f.node.Client(), MAC: testMAC{}, SingleVoter: f.node.SingleVoter, Node: "n1",
		ReadTimeout: 10 * DefaultReadTimeout, WriteTimeout: 10 * DefaultWriteTimeout,
		Logger: slog.New(slog.NewTextHandler(f.logs, nil)),
	}
	for _, fn := range change {
		fn(&f.cfg)
	}
	f.open()
	return f
}

func (f *fixture) open() {
	f.t.Helper()
	s, err := Open(f.t.Context(), f.cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.Store = s
	f.t.Cleanup(func() { _ = s.Close() })
}

func (f *fixture) view() *View {
	f.t.Helper()
	v, err := f.View(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return v
}

// commit commits against a new view, under a request id of its own.
func (f *fixture) commit(fn func(tx *Tx) error) (int64, error) {
	return f.Commit(context.Background(), nil, "req-"+time.Duration(f.ids.Add(1)).String(), fn)
}

func (f *fixture) put(key, text string) int64 {
	f.t.Helper()
	rev, err := f.commit(func(tx *Tx) error {
		notes.Put(tx, key, &note{Text: text})
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return rev
}

func (f *fixture) get(key string) (string, error) {
	f.t.Helper()
	n, err := notes.Get(f.view(), key)
	if err != nil {
		return "", err
	}
	return n.Text, nil
}

func (f *fixture) want(key, text string) {
	f.t.Helper()
	if got, err := f.get(key); err != nil || got != text {
		f.t.Errorf("%s = %q, %v; want %q", key, got, err, text)
	}
}

// raw writes to etcd past the store and waits until the replica has it.
func (f *fixture) raw(key, value string) {
	f.t.Helper()
	resp, err := f.node.Client().Put(f.t.Context(), key, value)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.await(f.t.Context(), resp.Header.Revision); err != nil {
		f.t.Fatal(err)
	}
}

// faultyKV is etcd's KV with faults. The zero value has none.
type faultyKV struct {
	clientv3.KV
	// txn, if set, stands in for the Commit of a transaction.
	txn atomic.Pointer[func(commit func() (*clientv3.TxnResponse, error)) (*clientv3.TxnResponse, error)]
	// got, if set, may change or replace the answer to a Get.
	got atomic.Pointer[func(*clientv3.GetResponse, error) (*clientv3.GetResponse, error)]
}

func (k *faultyKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp, err := k.KV.Get(ctx, key, opts...)
	if fn := k.got.Load(); fn != nil {
		return (*fn)(resp, err)
	}
	return resp, err
}

func (k *faultyKV) Txn(ctx context.Context) clientv3.Txn {
	return &faultyTxn{k.KV.Txn(ctx), k}
}

type faultyTxn struct {
	clientv3.Txn
	kv *faultyKV
}

func (t *faultyTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { t.Txn = t.Txn.If(cs...); return t }
func (t *faultyTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(ops...); return t }

func (t *faultyTxn) Commit() (*clientv3.TxnResponse, error) {
	if fn := t.kv.txn.Load(); fn != nil {
		return (*fn)(t.Txn.Commit)
	}
	return t.Txn.Commit()
}

// withFaults puts a faultyKV and a faultyWatcher into the client of the store.
func withFaults(kv *faultyKV, w *faultyWatcher) func(*Config) {
	return func(cfg *Config) {
		kv.KV, cfg.Client.KV = cfg.Client.KV, kv
		w.Watcher, cfg.Client.Watcher = cfg.Client.Watcher, w
		w.begun = make(chan struct{})
	}
}

// faultyWatcher is etcd's Watcher with faults. The zero value has none.
type faultyWatcher struct {
	clientv3.Watcher
	mu sync.Mutex
	// before, if set, is called before a watch begins.
	before func()
	// inject takes responses for the watch in progress; end ends it.
	inject chan clientv3.WatchResponse
	end    context.CancelFunc
	begun  chan struct{} // closed when the first watch has begun
	once   sync.Once
	// hold, while locked, holds responses back.
	hold sync.Mutex
}

func (w *faultyWatcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	ctx, cancel := context.WithCancel(ctx)
	out, inject := make(chan clientv3.WatchResponse), make(chan clientv3.WatchResponse)
	w.mu.Lock()
	before := w.before
	w.inject, w.end = inject, cancel
	w.once.Do(func() { close(w.begun) })
	w.mu.Unlock()
	if before != nil {
		before()
	}
	in := w.Watcher.Watch(ctx, key, opts...)
	go func() {
		defer close(out)
		for {
			var resp clientv3.WatchResponse
			var ok bool
			select {
			case resp, ok = <-in:
				if !ok {
					return
				}
				w.hold.Lock()
				w.hold.Unlock()
			case resp = <-inject:
			case <-ctx.Done():
				return
			}
			select {
			case out <- resp:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// current returns the channel and the end of the watch in progress.
func (w *faultyWatcher) current() (chan<- clientv3.WatchResponse, context.CancelFunc) {
	<-w.begun
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inject, w.end
}

// gone waits until v has been superseded.
func gone(t *testing.T, v *View) {
	t.Helper()
	select {
	case <-v.next:
	case <-time.After(time.Minute):
		t.Fatal("the view was not superseded")
	}
}
