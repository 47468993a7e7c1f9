package ram

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// GetPolicyInput holds the parameters of GetPolicy.
type GetPolicyInput struct {
	PolicyType PolicyType `param:"PolicyType,required"`
	PolicyName PolicyName `param:"PolicyName,required"`
}

// GetPolicyOutput is the answer of GetPolicy.
type GetPolicyOutput struct {
	Policy               Policy
	DefaultPolicyVersion PolicyVersion
}

func (s *Service) getPolicy() rpc.Op[GetPolicyInput, GetPolicyOutput] {
	return rpc.Op[GetPolicyInput, GetPolicyOutput]{
		Name: "GetPolicy", Class: throttle.RAM,
		Targets: func(c *rpc.Call, in *GetPolicyInput) ([]access.Target, error) {
			t, err := policyTarget(c, string(in.PolicyType), string(in.PolicyName))
			return []access.Target{t}, err
		},
		Func: s.doGetPolicy,
	}
}

func (s *Service) doGetPolicy(_ context.Context, c *rpc.Call, in *GetPolicyInput) (*GetPolicyOutput, error) {
	show := customPolicyOutput
	if in.PolicyType == store.PolicySystem {
		show = systemPolicyOutput
	}
	out, err := show(c, string(in.PolicyName))
	if err != nil {
		return nil, err
	}
	// The account's own attachments, of system policies too: how often others
	// use one is not this account's business.
	h, err := policyHolders(c.View, c.Account(), string(in.PolicyType), string(in.PolicyName))
	if err != nil {
		return nil, err
	}
	n := h.count()
	out.Policy.AttachmentCount, out.Policy.PolicyDocument = &n, "N/A"
	return out, nil
}

func customPolicyOutput(c *rpc.Call, name string) (*GetPolicyOutput, error) {
	p, err := store.Policies.Get(c.View, store.PolicyKey(c.Account(), name))
	if err != nil {
		return nil, err
	}
	out := &GetPolicyOutput{Policy: showPolicy(p), DefaultPolicyVersion: showVersion(p, p.DefaultVersion())}
	out.Policy.UpdateDate = rpc.TimeText(p.UpdatedAt)
	return out, nil
}

func systemPolicyOutput(c *rpc.Call, name string) (*GetPolicyOutput, error) {
	p, service, err := systemPolicy(c.View, name)
	if err != nil {
		return nil, err
	}
	text, _, _, _ := policy.System(name)
	if service != nil {
		text = service.Policy
	}
	return &GetPolicyOutput{Policy: p, DefaultPolicyVersion: PolicyVersion{
		VersionId: p.DefaultVersion, IsDefaultVersion: true, PolicyDocument: text, CreateDate: p.CreateDate,
	}}, nil
}
