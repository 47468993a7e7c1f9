package ram

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// DetachPolicyFromRoleInput holds the parameters of DetachPolicyFromRole.
type DetachPolicyFromRoleInput struct {
	PolicyType PolicyType `param:"PolicyType,required"`
	PolicyName PolicyName `param:"PolicyName,required"`
	RoleName   RoleName   `param:"RoleName,required"`
}

// DetachPolicyFromRoleOutput is the answer of DetachPolicyFromRole.
type DetachPolicyFromRoleOutput struct{}

func (s *Service) detachPolicyFromRole() rpc.Op[DetachPolicyFromRoleInput, DetachPolicyFromRoleOutput] {
	return rpc.Op[DetachPolicyFromRoleInput, DetachPolicyFromRoleOutput]{
		Name: "DetachPolicyFromRole", Class: throttle.RAM, Writes: true,
		Targets: func(c *rpc.Call, in *DetachPolicyFromRoleInput) ([]access.Target, error) {
			entity, held, err := roleTarget(c, string(in.RoleName))
			if err != nil {
				return nil, err
			}
			pol, err := detachTarget(c, in.PolicyType, in.PolicyName, held)
			return []access.Target{entity, pol}, err
		},
		Func: s.doDetachPolicyFromRole,
	}
}

func (s *Service) doDetachPolicyFromRole(ctx context.Context, c *rpc.Call, in *DetachPolicyFromRoleInput) (*DetachPolicyFromRoleOutput, error) {
	key := store.RoleKey(c.Account(), string(in.RoleName))
	return rpc.Update(ctx, c, func(tx *store.Tx) (*DetachPolicyFromRoleOutput, error) {
		r, err := store.Roles.Read(tx, key)
		if err != nil {
			return nil, err
		}
		if r.Policies, err = onRoles.detach(r.Policies, string(in.PolicyType), string(in.PolicyName)); err != nil {
			return nil, err
		}
		store.Roles.Put(tx, key, r)
		tx.BumpEpoch(r.Account)
		return &DetachPolicyFromRoleOutput{}, nil
	})
}
