package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

const (
	// pageSize is how many records one read of a load fetches: about 1.5 MB.
	pageSize = 1000
	// loadTimeout bounds each read of a load.
	loadTimeout = 30 * time.Second
	// Back-off between failed loads.
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second

	keyringPrefix = Prefix + "keyring/"
)

// replica is the applier: it alone changes the trees, and publishes snapshots of
// them. All of it belongs to one goroutine.
type replica struct {
	s *Store
	// working are the trees being changed; view is the snapshot published last.
	working []tree
	view    *View
	// keyring names the keyring records that were handed out.
	keyring map[string]bool
}

// run follows etcd until the store closes, loading afresh whenever following
// fails.
func (r *replica) run() {
	ctx := r.s.ctx
	for ctx.Err() == nil {
		err := r.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.s.drop(r.view.gen, err)
		}
		r.reload(ctx)
	}
}

// reload loads until it succeeds or ctx ends.
func (r *replica) reload(ctx context.Context) {
	wait := minBackoff
	for {
		select { // an older signal is answered by this load
		case <-r.s.dropped:
		default:
		}
		err := r.load(ctx)
		if err == nil {
			r.s.log.Info("loaded the state", "revision", r.view.rev)
			return
		}
		if ctx.Err() != nil {
			return
		}
		r.s.log.Warn("loading the state failed, trying again", "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = min(2*wait, maxBackoff)
	}
}

// load reads all records at one revision, page by page, the keyring's first,
// and publishes them.
func (r *replica) load(ctx context.Context) error {
	gen := r.s.current.Load().gen
	// A linearizable read: its revision holds every write confirmed so far.
	resp, err := r.get(ctx, keyringPrefix, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	rev := resp.Header.Revision
	r.view = r.s.emptyView(gen)
	r.view.cluster = resp.Header.ClusterId
	r.view.rev, r.view.live = rev, true
	r.working = make([]tree, len(r.s.colls))
	for i, c := range r.s.colls {
		r.working[i] = c.newTree()
	}
	if err := r.loadKeyring(resp.Kvs); err != nil {
		return err
	}
	if err := r.loadPages(ctx, rev); err != nil {
		return err
	}
	for i, t := range r.working {
		r.view.trees[i] = t.clone()
	}
	if !r.s.publish(r.view) {
		return errors.New("the replica was dropped while it was loaded")
	}
	return nil
}

func (r *replica) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	return r.s.client.Get(ctx, key, opts...)
}

func (r *replica) loadKeyring(kvs []*mvccpb.KeyValue) error {
	seen := map[string]bool{}
	for _, kv := range kvs {
		name := strings.TrimPrefix(string(kv.Key), keyringPrefix)
		seen[name] = true
		if err := r.keyringPut(name, kv.Value); err != nil {
			return err
		}
	}
	for name := range r.keyring {
		if !seen[name] {
			r.keyringDelete(name)
		}
	}
	return nil
}

// loadPages fetches a page while the one before is decoded.
func (r *replica) loadPages(ctx context.Context, rev int64) error {
	get := func(ctx context.Context, from, end string) (*clientv3.GetResponse, error) {
		return r.get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(rev),
			clientv3.WithLimit(pageSize), clientv3.WithSerializable())
	}
	return pages{get: get, bounds: []string{Root, clientv3.GetPrefixRangeEnd(Root)}}.each(ctx, func(kvs []*mvccpb.KeyValue) error {
		r.putAll(r.decodePage(kvs))
		return nil
	})
}

// decoded is a record on its way into its tree.
type decoded struct {
	coll    collection // nil: not a record of ours
	etcdKey string
	key     string
	rev     int64
	item    any // nil: deleted
	err     error
}

// decodePage decodes on all processors: verifying and decoding is most of the
// work of a load.
func (r *replica) decodePage(kvs []*mvccpb.KeyValue) []decoded {
	out := make([]decoded, len(kvs))
	workers := runtime.GOMAXPROCS(0)
	var g errgroup.Group
	for chunk := range slices.Chunk(indices(len(kvs)), (len(kvs)+workers)/workers) {
		g.Go(func() error {
			for _, i := range chunk {
				out[i] = r.decode(kvs[i])
			}
			return nil
		})
	}
	_ = g.Wait() // no function returns an error
	return out
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func (r *replica) decode(kv *mvccpb.KeyValue) decoded {
	d := decoded{etcdKey: string(kv.Key), rev: kv.ModRevision}
	path, ok := strings.CutPrefix(d.etcdKey, Prefix)
	if !ok {
		return d
	}
	if d.coll, d.key = registry.root.match(path); d.coll != nil {
		d.item, d.err = d.coll.decode(r.s.cfg.MAC, d.etcdKey, d.key, kv.Value, kv.ModRevision)
	}
	return d
}

// putAll puts records into the working trees and keeps count of the outbox.
func (r *replica) putAll(ds []decoded) {
	for i := range ds {
		d := &ds[i]
		if d.coll == nil {
			continue
		}
		if d.err != nil {
			r.s.log.Error("refused a record that failed its integrity check",
				"key", d.etcdKey, "revision", d.rev, "error", d.err)
		}
		t := r.working[d.coll.id()]
		if d.item == nil {
			if t.remove(d.key) {
				r.countOutbox(d, -1)
			}
			continue
		}
		if !t.put(d.item) {
			r.countOutbox(d, 1)
		}
	}
}

func (r *replica) countOutbox(d *decoded, n int) {
	if d.coll.id() != outbox.index {
		return
	}
	node, rest, _ := strings.Cut(d.key, "/")
	if node != r.s.cfg.Node {
		return
	}
	r.view.backlog += n
	if n > 0 {
		id, _, _ := strings.Cut(rest, "/")
		r.s.pending.note(id, d.rev)
	}
}

// follow applies watch responses until something is wrong. It returns nil if
// somebody else has dropped the replica.
func (r *replica) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Progress notifications let the replica pass revisions that changed nothing
	// below Root, should there ever be any.
	ch := r.s.client.Watch(ctx, Root, clientv3.WithPrefix(), clientv3.WithRev(r.view.rev+1), clientv3.WithProgressNotify())
	for {
		select {
		case <-r.s.dropped:
			if r.s.current.Load().gen != r.view.gen {
				return nil
			}
		case resp, ok := <-ch:
			if !ok {
				return errors.New("the watch has ended")
			}
			if err := r.apply(&resp); err != nil {
				return err
			}
		}
	}
}

// apply publishes the state after one watch response. etcd never divides a
// revision among responses, so every state published is one that etcd had.
func (r *replica) apply(resp *clientv3.WatchResponse) error {
	if err := resp.Err(); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	if resp.Header.ClusterId != r.view.cluster {
		return errOtherCluster
	}
	if resp.Header.Revision < r.view.rev {
		return errWentBack
	}
	holdApplier()
	next := *r.view
	next.next = make(chan struct{})
	if len(resp.Events) == 0 {
		// Only a progress notification's header is a point that was reached.
		if !resp.IsProgressNotify() || resp.Header.Revision == r.view.rev {
			return nil
		}
		next.rev = resp.Header.Revision
		return r.publish(&next)
	}
	next.rev = resp.Events[len(resp.Events)-1].Kv.ModRevision
	r.view = &next
	for _, ev := range resp.Events {
		r.applyKeyring(ev)
	}
	ds := make([]decoded, len(resp.Events))
	for i, ev := range resp.Events {
		if ev.Type == clientv3.EventTypeDelete {
			ds[i] = decoded{etcdKey: string(ev.Kv.Key), rev: ev.Kv.ModRevision}
			if path, ok := strings.CutPrefix(ds[i].etcdKey, Prefix); ok {
				ds[i].coll, ds[i].key = registry.root.match(path)
			}
			continue
		}
		ds[i] = r.decode(ev.Kv)
	}
	r.putAll(ds)
	next.trees = slices.Clone(next.trees)
	dirty := make([]bool, len(r.working))
	for i := range ds {
		if c := ds[i].coll; c != nil && !dirty[c.id()] {
			dirty[c.id()] = true
			next.trees[c.id()] = r.working[c.id()].clone()
		}
	}
	return r.publish(&next)
}

// publish returns nil even if the replica has been dropped meanwhile: follow
// learns that from its channel.
func (r *replica) publish(v *View) error {
	r.view = v
	r.s.publish(v)
	return nil
}

func (r *replica) applyKeyring(ev *clientv3.Event) {
	name, ok := strings.CutPrefix(string(ev.Kv.Key), keyringPrefix)
	if !ok {
		return
	}
	if ev.Type == clientv3.EventTypeDelete {
		r.keyringDelete(name)
		return
	}
	if err := r.keyringPut(name, ev.Kv.Value); err != nil {
		r.s.log.Error("refused a keyring record", "name", name, "error", err)
	}
}

func (r *replica) keyringPut(name string, sealed []byte) error {
	r.keyring[name] = true
	if r.s.cfg.Keyring == nil {
		return nil
	}
	if err := r.s.cfg.Keyring(name, slices.Clone(sealed)); err != nil {
		return fmt.Errorf("keyring record %s: %w", name, err)
	}
	return nil
}

func (r *replica) keyringDelete(name string) {
	delete(r.keyring, name)
	if r.s.cfg.KeyringRemoved != nil {
		r.s.cfg.KeyringRemoved(name)
	}
}
