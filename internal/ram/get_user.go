package ram

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// GetUserInput holds the parameters of GetUser.
type GetUserInput struct {
	UserName UserName `param:"UserName,required"`
}

// GetUserOutput is the answer of GetUser.
type GetUserOutput struct{ User User }

func (s *Service) getUser() rpc.Op[GetUserInput, GetUserOutput] {
	return rpc.Op[GetUserInput, GetUserOutput]{
		Name: "GetUser", Class: throttle.RAM,
		Targets: func(c *rpc.Call, in *GetUserInput) ([]access.Target, error) {
			t, _, err := userTarget(c, string(in.UserName))
			return []access.Target{t}, err
		},
		Func: s.doGetUser,
	}
}

func (s *Service) doGetUser(_ context.Context, c *rpc.Call, in *GetUserInput) (*GetUserOutput, error) {
	u, err := store.Users.Get(c.View, store.UserKey(c.Account(), string(in.UserName)))
	if err != nil {
		return nil, err
	}
	out := showUser(u)
	out.UpdateDate, out.LastLoginDate = rpc.TimeText(u.UpdatedAt), new(string)
	return &GetUserOutput{User: out}, nil
}
