package ram

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// AttachPolicyToUserInput holds the parameters of AttachPolicyToUser.
type AttachPolicyToUserInput struct {
	PolicyType PolicyType `param:"PolicyType,required"`
	PolicyName PolicyName `param:"PolicyName,required"`
	UserName   UserName   `param:"UserName,required"`
}

// AttachPolicyToUserOutput is the answer of AttachPolicyToUser.
type AttachPolicyToUserOutput struct{}

func (s *Service) attachPolicyToUser() rpc.Op[AttachPolicyToUserInput, AttachPolicyToUserOutput] {
	return rpc.Op[AttachPolicyToUserInput, AttachPolicyToUserOutput]{
		Name: "AttachPolicyToUser", Class: throttle.RAM, Writes: true,
		Targets: func(c *rpc.Call, in *AttachPolicyToUserInput) ([]access.Target, error) {
			entity, _, err := userTarget(c, string(in.UserName))
			if err != nil {
				return nil, err
			}
			pol, err := policyTarget(c, string(in.PolicyType), string(in.PolicyName))
			return []access.Target{entity, pol}, err
		},
		Func: s.doAttachPolicyToUser,
	}
}

func (s *Service) doAttachPolicyToUser(ctx context.Context, c *rpc.Call, in *AttachPolicyToUserInput) (*AttachPolicyToUserOutput, error) {
	if err := attachable(c, in.PolicyType, in.PolicyName); err != nil {
		return nil, err
	}
	add := store.Attachment{Type: string(in.PolicyType), Name: string(in.PolicyName), At: c.Now}
	key := store.UserKey(c.Account(), string(in.UserName))
	return rpc.Update(ctx, c, func(tx *store.Tx) (*AttachPolicyToUserOutput, error) {
		u, err := store.Users.Read(tx, key)
		if err != nil {
			return nil, err
		}
		if u.Policies, err = onUsers.attach(u.Policies, add); err != nil {
			return nil, err
		}
		store.Users.Put(tx, key, u)
		tx.BumpEpoch(u.Account)
		return &AttachPolicyToUserOutput{}, nil
	})
}
