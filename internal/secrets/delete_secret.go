package secrets

import (
	"context"
	"time"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type deleteSecretInput struct {
	SecretName Ref `param:"SecretName,required"`
	// Force deletes at once; the window is then ignored, since one client sends
	// both.
	Force  bool `param:"ForceDeleteWithoutRecovery"`
	Window int  `param:"RecoveryWindowInDays,default=30"`
}

// Check checks the window, in days.
func (in *deleteSecretInput) Check() error {
	if !in.Force && (in.Window < 7 || in.Window > 30) {
		return rpc.BadParam{Field: "RecoveryWindowInDays", Fault: rpc.Value, Why: "it must lie between 7 and 30"}
	}
	return nil
}

type deleteSecretOutput struct {
	SecretName        string
	PlannedDeleteTime string
}

func (s *Service) deleteSecret() rpc.Op[deleteSecretInput, deleteSecretOutput] {
	return rpc.Op[deleteSecretInput, deleteSecretOutput]{
		Name: "DeleteSecret", Class: throttle.SecretLife, Writes: true, OwnerOfRetired: true,
		Targets: func(c *rpc.Call, in *deleteSecretInput) ([]access.Target, error) {
			t, err := target(c, in.SecretName)
			t.Final = in.Force
			return []access.Target{t}, err
		},
		Func: s.doDelete,
	}
}

func (s *Service) doDelete(ctx context.Context, c *rpc.Call, in *deleteSecretInput) (*deleteSecretOutput, error) {
	recordKey, _ := locate(c, in.SecretName)
	return rpc.Update(ctx, c, func(tx *store.Tx) (*deleteSecretOutput, error) {
		sec, err := read(tx, recordKey, "")
		if err != nil {
			return nil, err
		}
		if in.Force {
			return &deleteSecretOutput{sec.Name, rpc.TimeText(c.Now)}, purge(tx, recordKey, sec)
		}
		if sec.Pending() {
			return nil, apierr.InDeleteWindow.Msg(pendingWrite)
		}
		sec.PlannedDeleteAt = c.Now.Add(time.Duration(in.Window) * 24 * time.Hour)
		sec.UpdatedAt = c.Now
		store.Secrets.Put(tx, recordKey, sec)
		return &deleteSecretOutput{sec.Name, rpc.TimeText(sec.PlannedDeleteAt)}, nil
	})
}

// purge removes the secret with all its values and gives its place in the
// quota back.
func purge(tx *store.Tx, recordKey string, sec *store.Secret) error {
	for i := range sec.Versions {
		store.SecretValues.Delete(tx, store.SecretValueKey(sec.Region, sec.Account, sec.SecretID, sec.Versions[i].ID))
	}
	store.Secrets.Delete(tx, recordKey)
	if sec.Owner == nil {
		return nil
	}
	_, err := count(tx, sec.Region, sec.Account, sec.Owner, -1)
	return err
}
