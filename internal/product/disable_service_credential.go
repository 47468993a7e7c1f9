package product

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// disableServiceCredential refuses a credential from the moment that this is
// confirmed, and ends all sessions that the service has: a session does not
// tell which credential made it, and the service makes itself another one with
// the credential that is left.
func (s *Service) disableServiceCredential() rpc.Op[credentialInput, credentialOutput] {
	return rpc.Op[credentialInput, credentialOutput]{
		Name: "DisableServiceCredential", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: credentialTargets,
		Func: func(ctx context.Context, c *rpc.Call, in *credentialInput) (*credentialOutput, error) {
			return changeCredential(ctx, c, in, func(tx *store.Tx, svc *store.Service, key *store.AccessKey) {
				if key.Status == store.Inactive {
					return
				}
				key.Status, svc.SessionsNotBefore = store.Inactive, sessionsEnd(c, svc.SessionsNotBefore)
				store.AccessKeys.Put(tx, key.ID, key)
				store.Services.Put(tx, svc.Name, svc)
			})
		},
	}
}
