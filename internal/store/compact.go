package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// pins are the revisions that open snapshots read.
type pins struct {
	mu   sync.Mutex
	revs map[*Snapshot]int64
}

func (p *pins) set(sn *Snapshot, rev int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.revs == nil {
		p.revs = map[*Snapshot]int64{}
	}
	p.revs[sn] = rev
}

func (p *pins) drop(sn *Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.revs, sn)
}

// limit returns rev, or the lowest revision in use if that is lower: a
// compaction at a revision leaves that revision readable.
func (p *pins) limit(rev int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.revs {
		rev = min(rev, r)
	}
	return rev
}

// compactLoop lets etcd forget old revisions. It keeps KeepRevisions behind what
// this replica has reached, so that the replica's own watch never needs what
// is gone, and all from the oldest open snapshot on.
func (s *Store) compactLoop() {
	ticker := time.NewTicker(s.cfg.CompactEvery)
	defer ticker.Stop()
	var done int64
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
		}
		if rev := s.pins.limit(s.Rev() - s.cfg.KeepRevisions); rev > done {
			if err := s.compact(rev); err != nil {
				s.log.Warn("compacting etcd failed, trying again later", "error", err)
				continue
			}
			done = rev
		}
	}
}

func (s *Store) compact(rev int64) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.WriteTimeout)
	defer cancel()
	_, err := s.client.Compact(ctx, rev)
	if err != nil && (errors.Is(err, rpctypes.ErrCompacted) || s.ctx.Err() != nil) {
		return nil // somebody was ahead of us, or we are stopping
	}
	return err
}
