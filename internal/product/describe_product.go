package product

import (
	"context"
	"errors"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type describeProductOutput struct {
	Product productItem
	// SecretCount is the number of the product's secrets in all accounts, and
	// PendingCount how many of them are scheduled for deletion.
	SecretCount, PendingCount int
	// AccountQuotas are the accounts whose quota is their own.
	AccountQuotas accountQuotas
}

type accountQuota struct {
	AccountId string
	Quota     int
	Used      int
}

type accountQuotas struct{ AccountQuota []accountQuota }

func (s *Service) describeProduct() rpc.Op[productInput, describeProductOutput] {
	return rpc.Op[productInput, describeProductOutput]{
		Name: "DescribeProduct", Class: throttle.Operator, Callers: access.Operators,
		Targets: func(c *rpc.Call, in *productInput) ([]access.Target, error) { return productTarget(c, in.Product) },
		Func:    s.doDescribeProduct,
	}
}

func (s *Service) doDescribeProduct(_ context.Context, c *rpc.Call, in *productInput) (*describeProductOutput, error) {
	p, err := store.Products.Get(c.View, string(in.Product))
	if err != nil {
		return nil, err
	}
	out := &describeProductOutput{}
	if out.Product, err = showProduct(c.View, p); err != nil {
		return nil, err
	}
	err = store.Secrets.Scan(c.View, "", func(_ string, sec *store.Secret) bool {
		if sec.Owner != nil && sec.Owner.Product == p.ID {
			out.SecretCount++
			if sec.Pending() {
				out.PendingCount++
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	var failed error
	err = store.Accounts.Scan(c.View, "", func(_ string, a *store.Account) bool {
		var q accountProduct
		if q, failed = usage(c, a.ID, p); failed == nil && q.OwnQuota {
			out.AccountQuotas.AccountQuota = append(out.AccountQuotas.AccountQuota, accountQuota{a.ID, q.Quota, q.Used})
		}
		return failed == nil
	})
	return out, errors.Join(failed, err)
}
