package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// drainBatch is how many outbox records are carried to the log at once: as
	// many as one etcd transaction may delete (128), with some to spare.
	drainBatch = 100
	drainRetry = 200 * time.Millisecond
)

// outboxItem is an audit record in the outbox.
type outboxItem struct {
	key     string
	rev     int64
	payload []byte
}

// DrainOutbox carries the audit records of a node from the outbox to the log
// until ctx ends or the store closes; it returns why. appendAll must make the
// payloads durable, in their order, before it returns nil; then they are deleted
// from etcd. If it fails, or this process dies in between, the same payloads
// come again: at least once. One drainer per node at a time.
//
// A record that fails its integrity check stays where it is, for an operator to
// look at; it was reported when it was read.
func (s *Store) DrainOutbox(ctx context.Context, node string, appendAll func(ctx context.Context, payloads [][]byte) error) error {
	// durable remembers what is in the log though etcd still has it, by etcd key.
	durable := map[string]int64{}
	for {
		v := s.current.Load()
		items := s.outboxItems(v, node, durable)
		err := s.drain(ctx, items, durable, appendAll)
		if err != nil {
			s.log.Warn("draining the outbox failed, trying again", "error", err, "backlog", len(items))
		}
		if err := s.drainPause(ctx, v, err != nil); err != nil {
			return err
		}
	}
}

// drainPause waits until there can be something new, or after a failure for a
// while.
func (s *Store) drainPause(ctx context.Context, v *View, failed bool) error {
	next := v.next
	var retry <-chan time.Time
	if failed {
		next, retry = nil, time.After(drainRetry)
	}
	select {
	case <-next:
		return nil
	case <-retry:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return ErrClosed
	}
}

// outboxItems returns a node's outbox in the order of commits, and forgets what
// is durable and gone.
func (s *Store) outboxItems(v *View, node string, durable map[string]int64) []outboxItem {
	if !v.live {
		return nil
	}
	var items []outboxItem
	kept := 0
	outbox.ascend(v, prefix(node), prefix(node), func(key string, e *entry[rawRecord]) bool {
		if e.err == nil {
			etcdKey, _ := outbox.etcdKey(key) // it came from etcd
			items = append(items, outboxItem{key: etcdKey, rev: e.rev, payload: e.rec.data})
			if durable[etcdKey] == e.rev {
				kept++
			}
		}
		return true
	})
	if kept < len(durable) {
		present := make(map[string]bool, len(items))
		for _, it := range items {
			present[it.key] = true
		}
		for key := range durable {
			if !present[key] {
				delete(durable, key)
			}
		}
	}
	slices.SortFunc(items, func(a, b outboxItem) int {
		return cmp.Or(cmp.Compare(a.rev, b.rev), cmp.Compare(a.key, b.key))
	})
	return items
}

func (s *Store) drain(ctx context.Context, items []outboxItem, durable map[string]int64, appendAll func(context.Context, [][]byte) error) error {
	for batch := range slices.Chunk(items, drainBatch) {
		var payloads [][]byte
		for _, it := range batch {
			if durable[it.key] != it.rev {
				payloads = append(payloads, it.payload)
			}
		}
		if len(payloads) > 0 {
			if err := appendAll(ctx, payloads); err != nil {
				return err
			}
		}
		for _, it := range batch {
			durable[it.key] = it.rev
		}
		if err := s.deleteExactly(batch); err != nil {
			return err
		}
	}
	return nil
}

// deleteExactly deletes the records unless they have changed, and returns when
// the replica knows.
func (s *Store) deleteExactly(batch []outboxItem) error {
	ops := make([]clientv3.Op, len(batch))
	for i, it := range batch {
		same := clientv3.Compare(clientv3.ModRevision(it.key), "=", it.rev)
		ops[i] = clientv3.OpTxn([]clientv3.Cmp{same}, []clientv3.Op{clientv3.OpDelete(it.key)}, nil)
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.WriteTimeout)
	defer cancel()
	before := s.current.Load()
	resp, err := s.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return errors.Join(errors.New("delete drained records"), err)
	}
	s.checkHeader(resp.Header, before)
	_, err = s.await(ctx, resp.Header.Revision)
	return err
}
