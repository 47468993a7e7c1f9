package product

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type registerProductInput struct {
	Product     ID          `param:"Product,required"`
	ServiceName ServiceName `param:"ServiceName,required"`
	DisplayName DisplayName `param:"DisplayName,required"`
	// ProductCodes are lists, as ProductCodes.1, … or as a JSON list.
	ProductCodes []string `param:"ProductCodes,required,max=32"`
	HostingModes []string `param:"HostingModes,required,max=2"`
	Quota        int      `param:"Quota,default=100,min=0,max=1000000"`
}

// registerProduct gives a service one more product. Its id is never given to
// another one: the secrets' owner records hold it for good.
func (s *Service) registerProduct() rpc.Op[registerProductInput, productOutput] {
	return rpc.Op[registerProductInput, productOutput]{
		Name: "RegisterProduct", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: func(c *rpc.Call, in *registerProductInput) ([]access.Target, error) {
			c.Resource(typeProduct, string(in.Product))
			return serviceTarget(c, in.ServiceName)
		},
		Func: s.doRegisterProduct,
	}
}

// Check implements rpc.Checker.
func (in *registerProductInput) Check() error {
	if err := checkCodes("ProductCodes", in.ProductCodes); err != nil {
		return err
	}
	_, err := hostingModes(in.HostingModes)
	return err
}

func (s *Service) doRegisterProduct(ctx context.Context, c *rpc.Call, in *registerProductInput) (*productOutput, error) {
	modes, err := hostingModes(in.HostingModes)
	if err != nil {
		return nil, err
	}
	return rpc.Update(ctx, c, func(tx *store.Tx) (*productOutput, error) {
		p := &store.Product{
			ID: string(in.Product), DisplayName: string(in.DisplayName), Service: string(in.ServiceName),
			Modes: modes, Quota: in.Quota, CreatedAt: c.Now,
		}
		if err := store.Products.Vacant(tx, p.ID, apierr.ProductExists.Msg("The product %s already exists.", p.ID)); err != nil {
			return nil, err
		}
		if err := takeCodes(tx, p, in.ProductCodes); err != nil {
			return nil, err
		}
		if err := followCodes(tx, p); err != nil {
			return nil, err
		}
		store.Products.Put(tx, p.ID, p)
		item, err := showProduct(tx.View(), p)
		return &productOutput{item}, err
	})
}
