package product

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// updateProductInput holds what is to change; what is not given stays.
type updateProductInput struct {
	Product            ID          `param:"Product,required"`
	DisplayName        DisplayName `param:"DisplayName"`
	AddProductCodes    []string    `param:"AddProductCodes,max=32"`
	RemoveProductCodes []string    `param:"RemoveProductCodes,max=32"`
	HostingModes       []string    `param:"HostingModes,max=2"`
	Quota              *int        `param:"Quota,min=0,max=1000000"`
	// AccountID and AccountQuota give one account a quota of its own.
	AccountID    AccountID `param:"AccountId"`
	AccountQuota *Quota    `param:"AccountQuota"`
}

// updateProduct changes a product in the registry. The owner records of its
// secrets stay as they are, whatever becomes of its name, codes and modes.
func (s *Service) updateProduct() rpc.Op[updateProductInput, productOutput] {
	return rpc.Op[updateProductInput, productOutput]{
		Name: "UpdateProduct", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: func(c *rpc.Call, in *updateProductInput) ([]access.Target, error) {
			t, err := productTarget(c, in.Product)
			if err != nil || in.AccountID == "" {
				return t, err
			}
			account, err := accountTarget(c, in.AccountID)
			return append(t, account...), err
		},
		Func: s.doUpdateProduct,
	}
}

// Check implements rpc.Checker.
func (in *updateProductInput) Check() error {
	if err := checkCodes("AddProductCodes", in.AddProductCodes); err != nil {
		return err
	}
	if err := checkCodes("RemoveProductCodes", in.RemoveProductCodes); err != nil {
		return err
	}
	switch {
	case in.AccountID != "" && in.AccountQuota == nil:
		return rpc.BadParam{Field: "AccountQuota", Fault: rpc.Missing, Why: "it is required with AccountId"}
	case in.AccountID == "" && in.AccountQuota != nil:
		return rpc.BadParam{Field: "AccountId", Fault: rpc.Missing, Why: "it is required with AccountQuota"}
	}
	_, err := hostingModes(in.HostingModes)
	return err
}

func (s *Service) doUpdateProduct(ctx context.Context, c *rpc.Call, in *updateProductInput) (*productOutput, error) {
	modes, err := hostingModes(in.HostingModes)
	if err != nil {
		return nil, err
	}
	return rpc.Update(ctx, c, func(tx *store.Tx) (*productOutput, error) {
		p, err := readProduct(tx, in.Product)
		if err != nil {
			return nil, err
		}
		if in.DisplayName != "" {
			p.DisplayName = string(in.DisplayName)
		}
		if in.Quota != nil {
			p.Quota = *in.Quota
		}
		if len(modes) > 0 {
			p.Modes = modes
		}
		if err := in.changeCodes(tx, p); err != nil {
			return nil, err
		}
		in.changeAccount(c, tx, p)
		store.Products.Put(tx, p.ID, p)
		item, err := showProduct(tx.View(), p)
		return &productOutput{item}, err
	})
}

func (in *updateProductInput) changeCodes(tx *store.Tx, p *store.Product) error {
	if len(in.AddProductCodes)+len(in.RemoveProductCodes) == 0 {
		return nil
	}
	if len(in.AddProductCodes) > 0 && p.Retired() {
		return apierr.ProductRetired.Msg("The product %s is retired and takes no more codes.", p.ID)
	}
	if err := giveCodes(tx, p, in.RemoveProductCodes); err != nil {
		return err
	}
	if err := takeCodes(tx, p, in.AddProductCodes); err != nil {
		return err
	}
	if len(p.Codes) > maxCodes {
		return apierr.LimitExceeded.Msg("A product has at most %d codes.", maxCodes)
	}
	return followCodes(tx, p)
}

func (in *updateProductInput) changeAccount(c *rpc.Call, tx *store.Tx, p *store.Product) {
	if in.AccountQuota == nil {
		return
	}
	key := store.ProductQuotaKey(c.Region, string(in.AccountID), p.ID)
	if in.AccountQuota.Default {
		store.ProductQuotas.Delete(tx, key)
		return
	}
	store.ProductQuotas.Put(tx, key, &store.ProductQuota{Quota: in.AccountQuota.N})
}
