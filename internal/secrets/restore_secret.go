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

type restoreSecretInput struct {
	SecretName Ref `param:"SecretName,required"`
}

type restoreSecretOutput struct{ SecretName string }

func (s *Service) restoreSecret() rpc.Op[restoreSecretInput, restoreSecretOutput] {
	return rpc.Op[restoreSecretInput, restoreSecretOutput]{
		Name: "RestoreSecret", Class: throttle.SecretWrite, Writes: true, OwnerOfRetired: true,
		Targets: func(c *rpc.Call, in *restoreSecretInput) ([]access.Target, error) { return oneTarget(c, in.SecretName) },
		Func: func(ctx context.Context, c *rpc.Call, in *restoreSecretInput) (*restoreSecretOutput, error) {
			recordKey, _ := locate(c, in.SecretName)
			return rpc.Update(ctx, c, func(tx *store.Tx) (*restoreSecretOutput, error) {
				sec, err := read(tx, recordKey, "")
				if err != nil {
					return nil, err
				}
				if !sec.Pending() {
					return nil, apierr.ResourceInUse
				}
				sec.PlannedDeleteAt, sec.UpdatedAt = time.Time{}, c.Now
				store.Secrets.Put(tx, recordKey, sec)
				return &restoreSecretOutput{sec.Name}, nil
			})
		},
	}
}
