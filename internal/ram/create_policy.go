package ram

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// CreatePolicyInput holds the parameters of CreatePolicy.
type CreatePolicyInput struct {
	PolicyName     PolicyName `param:"PolicyName,required"`
	PolicyDocument string     `param:"PolicyDocument,required,hash"`
	Description    string     `param:"Description,max=1024"`
	Tag            []Tag      `param:"Tag,max=20"`
}

// CreatePolicyOutput is the answer of CreatePolicy.
type CreatePolicyOutput struct{ Policy Policy }

func (s *Service) createPolicy() rpc.Op[CreatePolicyInput, CreatePolicyOutput] {
	return rpc.Op[CreatePolicyInput, CreatePolicyOutput]{
		Name: "CreatePolicy", Class: throttle.RAM, Writes: true,
		Targets: func(c *rpc.Call, in *CreatePolicyInput) ([]access.Target, error) {
			c.Resource(typePolicy, string(in.PolicyName))
			t := anyPolicy(c)
			t.RequestTags = requestTags(in.Tag)
			return []access.Target{t}, nil
		},
		Func: s.doCreatePolicy,
	}
}

func (s *Service) doCreatePolicy(ctx context.Context, c *rpc.Call, in *CreatePolicyInput) (*CreatePolicyOutput, error) {
	_, err := policy.Compile(policy.Identity, in.PolicyDocument, policy.Scope{Region: c.Region, Account: c.Account()})
	if err := malformed("PolicyDocument", err); err != nil {
		return nil, err
	}
	tags, err := newTags(in.Tag)
	if err != nil {
		return nil, err
	}
	p := &store.Policy{
		Account: c.Account(), Region: c.Region, Name: string(in.PolicyName), Description: in.Description,
		Default: "v1", Versions: []store.PolicyVersion{{ID: "v1", Document: in.PolicyDocument, CreatedAt: c.Now}},
		NextVersion: 2, Tags: tags, CreatedAt: c.Now, UpdatedAt: c.Now,
	}
	return rpc.Update(ctx, c, func(tx *store.Tx) (*CreatePolicyOutput, error) {
		key := store.PolicyKey(p.Account, p.Name)
		if err := store.Policies.Vacant(tx, key, apierr.PolicyExists); err != nil {
			return nil, err
		}
		if err := room(c, store.Policies, maxPolicies, apierr.PolicyLimit, always[store.Policy]); err != nil {
			return nil, err
		}
		store.Policies.Put(tx, key, p)
		tx.BumpEpoch(p.Account)
		return &CreatePolicyOutput{Policy: showPolicy(p)}, nil
	})
}
