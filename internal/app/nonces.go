package app

import (
	"context"
	"fmt"
	"time"

	"github.com/opensesame-kms/opensesame/internal/audit"
	"github.com/opensesame-kms/opensesame/internal/audit/record"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// restoreNonces fills the set of used nonces from the audit log, so that a
// request recorded before a restart cannot be sent again after it. A request
// is valid up to a window after the time it was signed with, which may lie a
// window after the time it was recorded at.
func (a *App) restoreNonces(ctx context.Context) error {
	v, err := a.store.View(ctx)
	if err != nil {
		return err
	}
	meta, err := store.Metas.Get(v, store.MetaKey)
	if err != nil {
		return fmt.Errorf("format record: %w", err)
	}
	var seed [16]byte
	copy(seed[:], meta.NonceSeed)
	a.nonces = identity.NewNonces(identity.NonceConfig{Seed: &seed})
	// The records of the last changes may not be in the log yet.
	if err := a.DrainAudit(ctx); err != nil {
		return err
	}
	now := a.clock.Now()
	err = audit.ReadSince(a.AuditDir(), now.Add(-2*identity.Window-time.Minute), func(_ uint64, payload []byte) error {
		r, err := record.Unmarshal(payload)
		if err != nil {
			return nil // of a kind that this release does not know: no request of ours
		}
		a.nonces.Restore(now, r.NonceTime, r.Identity.AccountID, r.NonceHash)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the nonces of the last requests: %w", err)
	}
	return nil
}
