package product

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// Backups makes backups of the whole server.
type Backups interface {
	// Begin prepares the backup that answers the call, with the audit log or
	// without. Errors are those to answer with.
	Begin(ctx context.Context, c *rpc.Call, audit bool) (rpc.Stream, error)
}

type backupInput struct {
	// Audit adds the audit log.
	Audit bool `param:"Audit"`
}

type backupOutput struct{}

// backup declares the operation whose answer is a backup. What leaves is
// encrypted under a key that only the root key opens, so that the operator, who
// never reads a secret, learns none from it without the root key.
func (s *Service) backup() rpc.Op[backupInput, backupOutput] {
	return rpc.Op[backupInput, backupOutput]{
		Name: "Backup", Class: throttle.Operator, Callers: access.Operators,
		Targets: func(c *rpc.Call, _ *backupInput) ([]access.Target, error) { return everything(c), nil },
		Func: func(ctx context.Context, c *rpc.Call, in *backupInput) (*backupOutput, error) {
			stream, err := s.Backups.Begin(ctx, c, in.Audit)
			if err != nil {
				return nil, err
			}
			c.Stream(stream)
			return &backupOutput{}, nil
		},
	}
}

type confirmRestoreInput struct{}

type confirmRestoreOutput struct {
	// Confirmed is false if nothing was waiting to be confirmed.
	Confirmed bool
	// BackupTime is when the backup was made.
	BackupTime string `wire:"omitempty"`
}

// confirmRestore declares the operation that ends the standstill after a
// restore.
func (s *Service) confirmRestore() rpc.Op[confirmRestoreInput, confirmRestoreOutput] {
	return rpc.Op[confirmRestoreInput, confirmRestoreOutput]{
		Name: "ConfirmRestore", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: func(c *rpc.Call, _ *confirmRestoreInput) ([]access.Target, error) { return everything(c), nil },
		Func: func(ctx context.Context, c *rpc.Call, _ *confirmRestoreInput) (*confirmRestoreOutput, error) {
			return rpc.Update(ctx, c, func(tx *store.Tx) (*confirmRestoreOutput, error) {
				m, err := store.Metas.Read(tx, store.MetaKey)
				if err != nil || m.Restored == nil {
					return &confirmRestoreOutput{}, err
				}
				out := &confirmRestoreOutput{Confirmed: true, BackupTime: rpc.TimeText(m.Restored.Backup)}
				m.Restored = nil
				store.Metas.Put(tx, store.MetaKey, m)
				return out, nil
			})
		},
	}
}
