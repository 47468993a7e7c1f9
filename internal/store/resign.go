package store

import (
	"context"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// resignBatch and resignBytes bound one transaction of Resign: etcd takes 128
	// operations and 1.5 MiB.
	resignBatch = 100
	resignBytes = 512 << 10
	// maxNamed is how many failed records Resign names.
	maxNamed = 20
)

// Resigned is what one pass of Resign found.
type Resigned struct {
	// Records is how many signed records there are, Done how many of them bear
	// a MAC under the version asked for or a newer one.
	Records, Done int
	// Unsettled records were changed while the pass went on, or wait in the
	// outbox, from where they vanish: another pass has to look at them.
	Unsettled int
	// Failed is how many records failed their integrity check; they stay as they
	// are. FailedKeys names some of them.
	Failed     int
	FailedKeys []string
}

// Resign signs every record whose MAC is under a key older than version anew,
// with the current one. Bodies stay as they are to the byte. Each record is
// replaced only if it has not changed since it was read, so that reads and
// writes can go on meanwhile. Records that fail their integrity check, and
// those of the outbox, are left alone. progress is called after each batch with
// what has been found so far.
//
// It is complete if nothing is Unsettled, provided that FenceKeyring was
// committed together with, or after, the new key.
func (s *Store) Resign(ctx context.Context, version uint32, progress func(Resigned) error) (Resigned, error) {
	var sum Resigned
	from, end := Prefix, clientv3.GetPrefixRangeEnd(Prefix)
	for {
		resp, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(resignBatch))
		if err != nil {
			return sum, fmt.Errorf("read records: %w", err)
		}
		if err := s.resignPage(ctx, version, resp.Kvs, &sum); err != nil {
			return sum, err
		}
		if err := progress(sum); err != nil {
			return sum, err
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return sum, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// resigned is a record with its new value.
type resigned struct {
	key   string
	rev   int64
	value []byte
}

func (s *Store) resignPage(ctx context.Context, version uint32, kvs []*mvccpb.KeyValue, sum *Resigned) error {
	var batch []resigned
	size := 0
	for _, kv := range kvs {
		value, err := s.resignRecord(version, kv, sum)
		if err != nil {
			return err
		}
		if value == nil {
			continue
		}
		if size += len(value) + len(kv.Key); size > resignBytes && len(batch) > 0 {
			if err := s.resignBatch(ctx, batch, sum); err != nil {
				return err
			}
			batch, size = nil, len(value)+len(kv.Key)
		}
		batch = append(batch, resigned{string(kv.Key), kv.ModRevision, value})
	}
	return s.resignBatch(ctx, batch, sum)
}

// resignRecord returns the record's new value, or nil if it is to stay.
func (s *Store) resignRecord(version uint32, kv *mvccpb.KeyValue, sum *Resigned) ([]byte, error) {
	key := string(kv.Key)
	coll, _ := registry.root.match(strings.TrimPrefix(key, Prefix))
	if coll == nil || !coll.signed() {
		return nil, nil
	}
	sum.Records++
	body, err := verify(s.cfg.MAC, key, kv.Value)
	if err != nil {
		sum.Failed++
		if len(sum.FailedKeys) < maxNamed {
			sum.FailedKeys = append(sum.FailedKeys, key)
		}
		return nil, nil
	}
	have, _, _, err := decodeValue(kv.Value)
	switch {
	case err != nil:
		return nil, err // it was just decoded
	case have >= version:
		sum.Done++
		return nil, nil
	case coll.id() == outbox.index:
		sum.Unsettled++
		return nil, nil
	}
	current, mac, err := s.cfg.MAC.MAC(key, body)
	if err == nil && current < version {
		err = fmt.Errorf("the current MAC key has version %d, not %d", current, version)
	}
	if err != nil {
		return nil, fmt.Errorf("sign a record anew: %w", err)
	}
	return encodeValue(current, mac[:], body), nil
}

// resignBatch writes the records that have not changed, and returns when the
// replica knows.
func (s *Store) resignBatch(ctx context.Context, batch []resigned, sum *Resigned) error {
	if len(batch) == 0 {
		return nil
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.inflight.Done()
	ops := make([]clientv3.Op, len(batch))
	for i, r := range batch {
		same := clientv3.Compare(clientv3.ModRevision(r.key), "=", r.rev)
		ops[i] = clientv3.OpTxn([]clientv3.Cmp{same}, []clientv3.Op{clientv3.OpPut(r.key, string(r.value))}, nil)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.WriteTimeout)
	defer cancel()
	before := s.current.Load()
	resp, err := s.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return fmt.Errorf("write records signed anew: %w", err)
	}
	s.checkHeader(resp.Header, before)
	for _, r := range resp.Responses {
		if r.GetResponseTxn().GetSucceeded() {
			sum.Done++
		} else {
			sum.Unsettled++
		}
	}
	_, err = s.await(ctx, resp.Header.Revision)
	return err
}
