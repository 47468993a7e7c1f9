package ram

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// DeleteRoleInput holds the parameters of DeleteRole.
type DeleteRoleInput struct {
	RoleName RoleName `param:"RoleName,required"`
}

// DeleteRoleOutput is the answer of DeleteRole.
type DeleteRoleOutput struct{}

func (s *Service) deleteRole() rpc.Op[DeleteRoleInput, DeleteRoleOutput] {
	return rpc.Op[DeleteRoleInput, DeleteRoleOutput]{
		Name: "DeleteRole", Class: throttle.RAM, Writes: true,
		Targets: func(c *rpc.Call, in *DeleteRoleInput) ([]access.Target, error) {
			t, _, err := roleTarget(c, string(in.RoleName))
			return []access.Target{t}, err
		},
		Func: s.doDeleteRole,
	}
}

// doDeleteRole also ends the role's sessions: they hold only as long as the
// very role exists, whatever is made anew under its name.
func (s *Service) doDeleteRole(ctx context.Context, c *rpc.Call, in *DeleteRoleInput) (*DeleteRoleOutput, error) {
	key := store.RoleKey(c.Account(), string(in.RoleName))
	return rpc.Update(ctx, c, func(tx *store.Tx) (*DeleteRoleOutput, error) {
		r, err := store.Roles.Read(tx, key)
		if err != nil {
			return nil, err
		}
		if len(r.Policies) > 0 {
			return nil, apierr.RoleHasPolicies
		}
		store.Roles.Delete(tx, key)
		tx.BumpEpoch(r.Account)
		return &DeleteRoleOutput{}, nil
	})
}
