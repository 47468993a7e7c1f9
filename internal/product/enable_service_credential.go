package product

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// enableServiceCredential lets a disabled credential in again. It hands nothing
// out: the secret is where it was. The sessions that ended stay ended.
func (s *Service) enableServiceCredential() rpc.Op[credentialInput, credentialOutput] {
	return rpc.Op[credentialInput, credentialOutput]{
		Name: "EnableServiceCredential", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: credentialTargets,
		Func: func(ctx context.Context, c *rpc.Call, in *credentialInput) (*credentialOutput, error) {
			return changeCredential(ctx, c, in, func(tx *store.Tx, svc *store.Service, key *store.AccessKey) {
				if key.Status == store.Active {
					return
				}
				key.Status = store.Active
				store.AccessKeys.Put(tx, key.ID, key)
				store.Services.Put(tx, svc.Name, svc)
			})
		},
	}
}
