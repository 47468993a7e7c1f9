package product

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// retireProduct ends a product for good. It creates nothing more; its secrets
// stay and stay readable; their owners may now delete them, with a recovery
// window, and restore them. Its codes stay with it as long as it has secrets.
func (s *Service) retireProduct() rpc.Op[productInput, productOutput] {
	return rpc.Op[productInput, productOutput]{
		Name: "RetireProduct", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: func(c *rpc.Call, in *productInput) ([]access.Target, error) { return productTarget(c, in.Product) },
		Func: func(ctx context.Context, c *rpc.Call, in *productInput) (*productOutput, error) {
			return rpc.Update(ctx, c, func(tx *store.Tx) (*productOutput, error) {
				p, err := readProduct(tx, in.Product)
				if err != nil {
					return nil, err
				}
				if !p.Retired() {
					p.RetiredAt = c.Now
					store.Products.Put(tx, p.ID, p)
				}
				item, err := showProduct(tx.View(), p)
				return &productOutput{item}, err
			})
		},
	}
}
