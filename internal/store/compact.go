package store

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// compactLoop lets etcd forget old revisions. It keeps KeepRevisions behind what
// this replica has reached, so that the replica's own watch never needs what
// is gone.
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
		if rev := s.Rev() - s.cfg.KeepRevisions; rev > done {
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
