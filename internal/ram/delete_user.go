package ram

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// DeleteUserInput holds the parameters of DeleteUser.
type DeleteUserInput struct {
	UserName UserName `param:"UserName,required"`
}

// DeleteUserOutput is the answer of DeleteUser.
type DeleteUserOutput struct{}

func (s *Service) deleteUser() rpc.Op[DeleteUserInput, DeleteUserOutput] {
	return rpc.Op[DeleteUserInput, DeleteUserOutput]{
		Name: "DeleteUser", Class: throttle.RAM, Writes: true,
		Targets: func(c *rpc.Call, in *DeleteUserInput) ([]access.Target, error) {
			t, _, err := userTarget(c, string(in.UserName))
			return []access.Target{t}, err
		},
		Func: s.doDeleteUser,
	}
}

// doDeleteUser also ends the role sessions that the user made: they hold only
// as long as the very user exists.
func (s *Service) doDeleteUser(ctx context.Context, c *rpc.Call, in *DeleteUserInput) (*DeleteUserOutput, error) {
	key := store.UserKey(c.Account(), string(in.UserName))
	return rpc.Update(ctx, c, func(tx *store.Tx) (*DeleteUserOutput, error) {
		u, err := store.Users.Read(tx, key)
		switch {
		case err != nil:
			return nil, err
		case len(u.AccessKeys) > 0:
			return nil, apierr.UserHasKeys
		case len(u.Policies) > 0:
			return nil, apierr.UserHasPolicies
		}
		store.Users.Delete(tx, key)
		tx.BumpEpoch(u.Account)
		return &DeleteUserOutput{}, nil
	})
}
