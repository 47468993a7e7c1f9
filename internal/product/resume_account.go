package product

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// resumeAccount opens a suspended account again. Its access keys work as
// before; the sessions that the suspension ended stay ended.
func (s *Service) resumeAccount() rpc.Op[accountInput, accountOutput] {
	return rpc.Op[accountInput, accountOutput]{
		Name: "ResumeAccount", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: func(c *rpc.Call, in *accountInput) ([]access.Target, error) { return accountTarget(c, in.AccountID) },
		Func: func(ctx context.Context, c *rpc.Call, in *accountInput) (*accountOutput, error) {
			return setStatus(ctx, c, in.AccountID, store.Active)
		},
	}
}
