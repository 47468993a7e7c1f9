package ram

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// DetachPolicyFromUserInput holds the parameters of DetachPolicyFromUser.
type DetachPolicyFromUserInput struct {
	PolicyType PolicyType `param:"PolicyType,required"`
	PolicyName PolicyName `param:"PolicyName,required"`
	UserName   UserName   `param:"UserName,required"`
}

// DetachPolicyFromUserOutput is the answer of DetachPolicyFromUser.
type DetachPolicyFromUserOutput struct{}

func (s *Service) detachPolicyFromUser() rpc.Op[DetachPolicyFromUserInput, DetachPolicyFromUserOutput] {
	return rpc.Op[DetachPolicyFromUserInput, DetachPolicyFromUserOutput]{
		Name: "DetachPolicyFromUser", Class: throttle.RAM, Writes: true,
		Targets: func(c *rpc.Call, in *DetachPolicyFromUserInput) ([]access.Target, error) {
			entity, held, err := userTarget(c, string(in.UserName))
			if err != nil {
				return nil, err
			}
			pol, err := detachTarget(c, in.PolicyType, in.PolicyName, held)
			return []access.Target{entity, pol}, err
		},
		Func: s.doDetachPolicyFromUser,
	}
}

func (s *Service) doDetachPolicyFromUser(ctx context.Context, c *rpc.Call, in *DetachPolicyFromUserInput) (*DetachPolicyFromUserOutput, error) {
	key := store.UserKey(c.Account(), string(in.UserName))
	return rpc.Update(ctx, c, func(tx *store.Tx) (*DetachPolicyFromUserOutput, error) {
		u, err := store.Users.Read(tx, key)
		if err != nil {
			return nil, err
		}
		if u.Policies, err = onUsers.detach(u.Policies, string(in.PolicyType), string(in.PolicyName)); err != nil {
			return nil, err
		}
		store.Users.Put(tx, key, u)
		tx.BumpEpoch(u.Account)
		return &DetachPolicyFromUserOutput{}, nil
	})
}
