package etcdnode

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.uber.org/zap"
)

// RaiseRevision makes the next Start in a folder begin at revision rev or
// beyond. etcd counts revisions from 1 in a new folder; whoever has seen those
// of an older one must not meet them again with other content behind them.
//
// No node may be running in the folder, and one must have been: the database is
// there. It works by telling etcd that a compaction up to rev was begun and not
// finished; etcd takes up its count there, which it does for its own sake since
// otherwise a crash in a compaction could take revisions back.
func RaiseRevision(dir string, rev int64) error {
	path := datadir.ToBackendFileName(filepath.Join(dir, "etcd"))
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("raise the revision: %w", err)
	}
	be := backend.NewDefaultBackend(zap.NewNop(), path)
	tx := be.BatchTx()
	tx.LockOutsideApply()
	mvcc.UnsafeSetScheduledCompact(tx, rev)
	tx.Unlock()
	be.ForceCommit()
	if err := be.Close(); err != nil {
		return fmt.Errorf("raise the revision: %w", err)
	}
	return nil
}
