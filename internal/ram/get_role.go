package ram

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// GetRoleInput holds the parameters of GetRole.
type GetRoleInput struct {
	RoleName RoleName `param:"RoleName,required"`
}

// GetRoleOutput is the answer of GetRole.
type GetRoleOutput struct{ Role Role }

func (s *Service) getRole() rpc.Op[GetRoleInput, GetRoleOutput] {
	return rpc.Op[GetRoleInput, GetRoleOutput]{
		Name: "GetRole", Class: throttle.RAM,
		Targets: func(c *rpc.Call, in *GetRoleInput) ([]access.Target, error) {
			t, _, err := roleTarget(c, string(in.RoleName))
			return []access.Target{t}, err
		},
		Func: s.doGetRole,
	}
}

func (s *Service) doGetRole(_ context.Context, c *rpc.Call, in *GetRoleInput) (*GetRoleOutput, error) {
	r, err := store.Roles.Get(c.View, store.RoleKey(c.Account(), string(in.RoleName)))
	if err != nil {
		return nil, err
	}
	out := showRole(r)
	out.UpdateDate = rpc.TimeText(r.UpdatedAt)
	return &GetRoleOutput{Role: out}, nil
}
