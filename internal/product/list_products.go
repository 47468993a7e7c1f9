package product

import (
	"context"
	"errors"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type listProductsInput struct{}

type productList struct{ Product []productItem }

type listProductsOutput struct{ Products productList }

func (s *Service) listProducts() rpc.Op[listProductsInput, listProductsOutput] {
	return rpc.Op[listProductsInput, listProductsOutput]{
		Name: "ListProducts", Class: throttle.Operator, Callers: access.Operators,
		Targets: func(c *rpc.Call, _ *listProductsInput) ([]access.Target, error) { return everything(c), nil },
		Func: func(_ context.Context, c *rpc.Call, _ *listProductsInput) (*listProductsOutput, error) {
			out := &listProductsOutput{}
			var failed error
			err := store.Products.Scan(c.View, "", func(_ string, p *store.Product) bool {
				var item productItem
				item, failed = showProduct(c.View, p)
				out.Products.Product = append(out.Products.Product, item)
				return failed == nil
			})
			return out, errors.Join(failed, err)
		},
	}
}
