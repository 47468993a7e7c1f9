package product

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type listProductsInput struct{}

type productItem struct {
	Product      string
	DisplayName  string
	ProductCodes []string
	HostingModes []string
	Quota        int
	ServiceName  string
	RoleName     string
}

type productList struct{ Product []productItem }

type listProductsOutput struct{ Products productList }

func (s *Service) listProducts() rpc.Op[listProductsInput, listProductsOutput] {
	return rpc.Op[listProductsInput, listProductsOutput]{
		Name: "ListProducts", Class: throttle.Operator, Callers: access.Operators,
		Targets: func(c *rpc.Call, _ *listProductsInput) ([]access.Target, error) { return everything(c), nil },
		Func: func(_ context.Context, c *rpc.Call, _ *listProductsInput) (*listProductsOutput, error) {
			return list(c.View)
		},
	}
}

// everything is the target of the operator's operations that act on no
// particular account.
func everything(c *rpc.Call) []access.Target {
	return []access.Target{{Action: c.Info.Action, Resources: []arn.ARN{policy.Everything}, Account: c.Account()}}
}

func list(v *store.View) (*listProductsOutput, error) {
	out := &listProductsOutput{}
	var failed error
	err := store.Products.Scan(v, "", func(_ string, p *store.Product) bool {
		svc, err := store.Services.Get(v, p.Service)
		if err != nil {
			failed = err
			return false
		}
		item := productItem{
			Product: p.ID, DisplayName: p.DisplayName, ProductCodes: p.Codes, Quota: p.Quota,
			ServiceName: p.Service, RoleName: svc.RoleName,
		}
		for _, m := range p.Modes {
			item.HostingModes = append(item.HostingModes, string(m))
		}
		out.Products.Product = append(out.Products.Product, item)
		return true
	})
	if failed != nil {
		err = failed
	}
	return out, err
}
