package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// Snapshot is the state at one revision, readable for as long as it is open:
// etcd's history is not compacted past it. It is for one goroutine.
type Snapshot struct {
	s    *Store
	view *View
}

// Snapshot opens a snapshot that holds at least every write confirmed before the
// call. It must be closed.
func (s *Store) Snapshot(ctx context.Context) (*Snapshot, error) {
	sn := &Snapshot{s: s}
	// Held at the present revision first, so that no compaction comes between
	// the view and the hold.
	s.pins.set(sn, s.current.Load().rev)
	view, err := s.View(ctx)
	if err != nil {
		sn.Close()
		return nil, err
	}
	sn.view = view
	s.pins.set(sn, view.rev)
	return sn, nil
}

// snapshotPage is about how many records a snapshot reads at a time. Three pages
// may wait for a slow taker, of which each is at most some 10 MB.
const snapshotPage = 200

// View returns the decoded state at the snapshot's revision.
func (sn *Snapshot) View() *View { return sn.view }

// Close lets etcd forget the snapshot. A second call does nothing.
func (sn *Snapshot) Close() { sn.s.pins.drop(sn) }

// Each calls fn with every record as it is stored, the keyring's first, until fn
// returns an error, which it returns. value is valid during the call only.
//
// Keys on a lease (elections, heartbeats) are left out: they say which servers
// run, and are nothing to be kept.
func (sn *Snapshot) Each(ctx context.Context, fn func(key string, value []byte) error) error {
	pass := func(kvs []*mvccpb.KeyValue, want bool) error {
		for _, kv := range kvs {
			if kv.Lease != 0 || isKeyring(string(kv.Key)) != want {
				continue
			}
			if err := fn(string(kv.Key), kv.Value); err != nil {
				return err
			}
		}
		return nil
	}
	get := func(ctx context.Context, from, end string) (*clientv3.GetResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, loadTimeout)
		defer cancel()
		resp, err := sn.s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(sn.view.rev), clientv3.WithLimit(pageSize))
		if err == nil && resp.Header.ClusterId != sn.view.cluster {
			err = errOtherCluster
		}
		if err != nil {
			err = fmt.Errorf("read revision %d: %w", sn.view.rev, err)
		}
		return resp, err
	}
	keyringPages := pages{get: get, bounds: []string{keyringPrefix, clientv3.GetPrefixRangeEnd(keyringPrefix)}}
	if err := keyringPages.each(ctx, func(kvs []*mvccpb.KeyValue) error { return pass(kvs, true) }); err != nil {
		return err
	}
	all := pages{get: get, bounds: sn.bounds()}
	return all.each(ctx, func(kvs []*mvccpb.KeyValue) error { return pass(kvs, false) })
}

// bounds divides all keys below Prefix into ranges with about snapshotPage
// records each. Every read of a range makes etcd count the range to its end: to
// read page by page what has one common end costs the square of the size. The
// bounds are guesses, by the keys that the replica knows; what it does not know
// lies between two of them all the same.
func (sn *Snapshot) bounds() []string {
	out := []string{Prefix, clientv3.GetPrefixRangeEnd(Prefix)}
	for i, c := range sn.s.colls {
		n := 0
		sn.view.trees[i].each(func(key string) {
			if n++; n%snapshotPage == 0 {
				if etcdKey, err := c.etcdKey(key); err == nil {
					out = append(out, etcdKey)
				}
			}
		})
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func isKeyring(key string) bool { return strings.HasPrefix(key, keyringPrefix) }

// pages reads the ranges of keys between ascending bounds, each page by page.
type pages struct {
	get    func(ctx context.Context, from, end string) (*clientv3.GetResponse, error)
	bounds []string
}

// each fetches a page while fn works on the one before.
func (p pages) each(ctx context.Context, fn func([]*mvccpb.KeyValue) error) error {
	g, ctx := errgroup.WithContext(ctx)
	ch := make(chan []*mvccpb.KeyValue, 1)
	g.Go(func() error {
		defer close(ch)
		for i := range len(p.bounds) - 1 {
			if err := p.fetch(ctx, p.bounds[i], p.bounds[i+1], ch); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		for kvs := range ch {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := fn(kvs); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

func (p pages) fetch(ctx context.Context, from, end string, ch chan<- []*mvccpb.KeyValue) error {
	for {
		resp, err := p.get(ctx, from, end)
		if err != nil {
			return err
		}
		select {
		case ch <- resp.Kvs:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// CheckRecord returns an error that wraps ErrTampered unless the value is one
// that was signed for the key. The keyring's records are sealed and not signed:
// they pass, and opening them is their check.
func CheckRecord(mac MACer, key string, value []byte) error {
	if isKeyring(key) {
		return nil
	}
	if _, err := verify(mac, key, value); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrTampered, key, err)
	}
	return nil
}

// KeyringName returns the name, "<purpose>/<version>", of the keyring's record
// that is stored under an etcd key; false for other records.
func KeyringName(key string) (string, bool) { return strings.CutPrefix(key, keyringPrefix) }

// Import writes stored records, as a Snapshot gave them out, into an empty etcd
// that no store is open on. It is for one goroutine.
type Import struct {
	client *clientv3.Client
	group  *errgroup.Group
	ctx    context.Context
	batch  []clientv3.Op
	bytes  int
}

const (
	importOps   = 100 // as many as etcd takes in one transaction (128), with some to spare
	importBytes = 1 << 20
	// importAtOnce is how many transactions share a sync of etcd's log.
	importAtOnce = 4
)

// NewImport begins an import. It is an error if etcd holds any record.
func NewImport(ctx context.Context, client *clientv3.Client) (*Import, error) {
	resp, err := client.Get(ctx, Root, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return nil, fmt.Errorf("look for records: %w", err)
	}
	if resp.Count > 0 {
		return nil, errors.New("the database is not empty")
	}
	i := &Import{client: client}
	i.group, i.ctx = errgroup.WithContext(ctx)
	i.group.SetLimit(importAtOnce)
	return i, nil
}

// Put writes one record, some time before Close returns. Each key comes once.
func (i *Import) Put(key string, value []byte) error {
	if !strings.HasPrefix(key, Prefix) {
		return fmt.Errorf("the key %q is not one of a record", key)
	}
	if i.bytes+len(key)+len(value) > importBytes || len(i.batch) == importOps {
		i.flush()
	}
	i.batch = append(i.batch, clientv3.OpPut(key, string(value)))
	i.bytes += len(key) + len(value)
	return i.ctx.Err()
}

func (i *Import) flush() {
	batch := i.batch
	i.batch, i.bytes = nil, 0
	if len(batch) == 0 {
		return
	}
	i.group.Go(func() error {
		ctx, cancel := context.WithTimeout(i.ctx, loadTimeout)
		defer cancel()
		_, err := i.client.Txn(ctx).Then(batch...).Commit()
		return err
	})
}

// Close waits until all records are durable.
func (i *Import) Close() error {
	i.flush()
	if err := i.group.Wait(); err != nil {
		return fmt.Errorf("write the records: %w", err)
	}
	return nil
}
