package product

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type productIDs struct{ Product []string }

type describeServiceOutput struct {
	Service serviceInfo
	// RolePolicy is the policy of the service-linked role, in every account.
	RolePolicy  string
	Products    productIDs
	Credentials keyList
	// AuthorisedAccounts counts the accounts that have the service-linked role.
	AuthorisedAccounts int
}

func (s *Service) describeService() rpc.Op[serviceInput, describeServiceOutput] {
	return rpc.Op[serviceInput, describeServiceOutput]{
		Name: "DescribeService", Class: throttle.Operator, Callers: access.Operators,
		Targets: func(c *rpc.Call, in *serviceInput) ([]access.Target, error) { return serviceTarget(c, in.ServiceName) },
		Func: func(_ context.Context, c *rpc.Call, in *serviceInput) (*describeServiceOutput, error) {
			svc, err := store.Services.Get(c.View, string(in.ServiceName))
			if err != nil {
				return nil, err
			}
			out := &describeServiceOutput{Service: showService(svc), RolePolicy: svc.Policy}
			if out.Credentials, err = showKeys(c.View, svc.AccessKeys); err != nil {
				return nil, err
			}
			err = store.Products.Scan(c.View, "", func(id string, p *store.Product) bool {
				if p.Service == svc.Name {
					out.Products.Product = append(out.Products.Product, id)
				}
				return true
			})
			if err != nil {
				return nil, err
			}
			roles, err := trusting(c, svc.Name)
			out.AuthorisedAccounts = roles.linked
			return out, err
		},
	}
}
