package ram

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// CreateUserInput holds the parameters of CreateUser.
type CreateUserInput struct {
	UserName    UserName    `param:"UserName,required"`
	DisplayName DisplayName `param:"DisplayName"`
	MobilePhone MobilePhone `param:"MobilePhone"`
	Email       Email       `param:"Email"`
	Comments    string      `param:"Comments,max=128"`
}

// CreateUserOutput is the answer of CreateUser.
type CreateUserOutput struct{ User User }

func (s *Service) createUser() rpc.Op[CreateUserInput, CreateUserOutput] {
	return rpc.Op[CreateUserInput, CreateUserOutput]{
		Name: "CreateUser", Class: throttle.RAM, Writes: true,
		Targets: func(c *rpc.Call, in *CreateUserInput) ([]access.Target, error) {
			c.Resource(typeUser, string(in.UserName))
			return []access.Target{anyUser(c)}, nil
		},
		Func: s.doCreateUser,
	}
}

func (s *Service) doCreateUser(ctx context.Context, c *rpc.Call, in *CreateUserInput) (*CreateUserOutput, error) {
	u := &store.User{
		ID: identity.NewID(idDigits), Account: c.Account(), Name: string(in.UserName),
		DisplayName: string(in.DisplayName), MobilePhone: string(in.MobilePhone), Email: string(in.Email),
		Comments: in.Comments, CreatedAt: c.Now, UpdatedAt: c.Now,
	}
	return rpc.Update(ctx, c, func(tx *store.Tx) (*CreateUserOutput, error) {
		key := store.UserKey(u.Account, u.Name)
		if err := store.Users.Vacant(tx, key, apierr.UserExists); err != nil {
			return nil, err
		}
		if err := room(c, store.Users, maxUsers, apierr.UserLimit, always[store.User]); err != nil {
			return nil, err
		}
		store.Users.Put(tx, key, u)
		tx.BumpEpoch(u.Account)
		return &CreateUserOutput{User: showUser(u)}, nil
	})
}
