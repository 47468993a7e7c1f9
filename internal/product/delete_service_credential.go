package product

import (
	"context"
	"slices"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// deleteServiceCredential removes a credential for good and ends all sessions
// that the service has, as disabling it does.
func (s *Service) deleteServiceCredential() rpc.Op[credentialInput, credentialOutput] {
	return rpc.Op[credentialInput, credentialOutput]{
		Name: "DeleteServiceCredential", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: credentialTargets,
		Func: func(ctx context.Context, c *rpc.Call, in *credentialInput) (*credentialOutput, error) {
			return changeCredential(ctx, c, in, func(tx *store.Tx, svc *store.Service, key *store.AccessKey) {
				svc.AccessKeys = slices.DeleteFunc(svc.AccessKeys, func(id string) bool { return id == key.ID })
				svc.SessionsNotBefore = sessionsEnd(c, svc.SessionsNotBefore)
				store.AccessKeys.Delete(tx, key.ID)
				store.Services.Put(tx, svc.Name, svc)
			})
		},
	}
}
