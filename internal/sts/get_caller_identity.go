package sts

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// GetCallerIdentityInput holds the parameters of GetCallerIdentity: none.
type GetCallerIdentityInput struct{}

// GetCallerIdentityOutput is the answer of GetCallerIdentity.
type GetCallerIdentityOutput struct {
	IdentityType string
	AccountId    string
	PrincipalId  string
	UserId       string `wire:"omitempty"` // of root and of RAM users
	RoleId       string `wire:"omitempty"` // of role sessions
	Arn          string
}

func (s *Service) getCallerIdentity() rpc.Op[GetCallerIdentityInput, GetCallerIdentityOutput] {
	return rpc.Op[GetCallerIdentityInput, GetCallerIdentityOutput]{
		Name: "GetCallerIdentity", Class: throttle.STS, Callers: access.Everybody,
		Targets: func(c *rpc.Call, _ *GetCallerIdentityInput) ([]access.Target, error) {
			return []access.Target{{
				Action: c.Info.Action, Account: c.Account(), Free: true,
				Resources: []arn.ARN{arn.RAM(c.Principal.AccountOrSystem(), "*")},
			}}, nil
		},
		Func: func(_ context.Context, c *rpc.Call, _ *GetCallerIdentityInput) (*GetCallerIdentityOutput, error) {
			return describe(c.Principal), nil
		},
	}
}

// describe tells who the principal is. The ARN of a role session differs from
// the one in AssumeRole's answer; the API has both forms.
func describe(p *identity.Principal) *GetCallerIdentityOutput {
	out := &GetCallerIdentityOutput{AccountId: p.AccountOrSystem(), PrincipalId: p.ID, Arn: p.ARN().String()}
	switch p.Kind {
	case identity.Root:
		out.IdentityType, out.UserId = "Account", p.Account
	case identity.User:
		out.IdentityType, out.UserId = "RAMUser", p.ID
	case identity.RoleSession:
		out.IdentityType, out.RoleId = "AssumedRoleUser", p.ID
		out.PrincipalId = p.ID + ":" + p.Session
		out.Arn = arn.ARN{Service: "ram", Account: p.Account, Resource: "assumed-role/" + p.Name + "/" + p.Session}.String()
	case identity.Service:
		out.IdentityType = "Service"
	case identity.Operator:
		out.IdentityType = "Operator"
	}
	return out
}
