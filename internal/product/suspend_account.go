package product

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// suspendAccount shuts an account: its access keys are refused from the moment
// that this is confirmed, the sessions of its roles end for good, and so do
// those that its users made of other accounts' roles. Nothing is deleted.
func (s *Service) suspendAccount() rpc.Op[accountInput, accountOutput] {
	return rpc.Op[accountInput, accountOutput]{
		Name: "SuspendAccount", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: func(c *rpc.Call, in *accountInput) ([]access.Target, error) { return accountTarget(c, in.AccountID) },
		Func: func(ctx context.Context, c *rpc.Call, in *accountInput) (*accountOutput, error) {
			return setStatus(ctx, c, in.AccountID, store.Suspended)
		},
	}
}
