package ram

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// AttachPolicyToRoleInput holds the parameters of AttachPolicyToRole.
type AttachPolicyToRoleInput struct {
	PolicyType PolicyType `param:"PolicyType,required"`
	PolicyName PolicyName `param:"PolicyName,required"`
	RoleName   RoleName   `param:"RoleName,required"`
}

// AttachPolicyToRoleOutput is the answer of AttachPolicyToRole.
type AttachPolicyToRoleOutput struct{}

func (s *Service) attachPolicyToRole() rpc.Op[AttachPolicyToRoleInput, AttachPolicyToRoleOutput] {
	return rpc.Op[AttachPolicyToRoleInput, AttachPolicyToRoleOutput]{
		Name: "AttachPolicyToRole", Class: throttle.RAM, Writes: true,
		Targets: func(c *rpc.Call, in *AttachPolicyToRoleInput) ([]access.Target, error) {
			entity, _, err := roleTarget(c, string(in.RoleName))
			if err != nil {
				return nil, err
			}
			pol, err := policyTarget(c, string(in.PolicyType), string(in.PolicyName))
			return []access.Target{entity, pol}, err
		},
		Func: s.doAttachPolicyToRole,
	}
}

func (s *Service) doAttachPolicyToRole(ctx context.Context, c *rpc.Call, in *AttachPolicyToRoleInput) (*AttachPolicyToRoleOutput, error) {
	if err := attachable(c, in.PolicyType, in.PolicyName); err != nil {
		return nil, err
	}
	add := store.Attachment{Type: string(in.PolicyType), Name: string(in.PolicyName), At: c.Now}
	key := store.RoleKey(c.Account(), string(in.RoleName))
	return rpc.Update(ctx, c, func(tx *store.Tx) (*AttachPolicyToRoleOutput, error) {
		r, err := store.Roles.Read(tx, key)
		if err != nil {
			return nil, err
		}
		if r.Policies, err = onRoles.attach(r.Policies, add); err != nil {
			return nil, err
		}
		store.Roles.Put(tx, key, r)
		tx.BumpEpoch(r.Account)
		return &AttachPolicyToRoleOutput{}, nil
	})
}
