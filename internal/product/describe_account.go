package product

import (
	"context"
	"errors"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type serviceNames struct{ ServiceName []string }

type describeAccountOutput struct {
	Account accountInfo
	// RootAccessKeys are the root user's keys, without their secrets.
	RootAccessKeys keyList
	// AuthorisedServices have their service-linked role in the account.
	AuthorisedServices serviceNames
	// Products are those that have free default secrets in the account or a
	// quota of the account's own.
	Products accountProducts
}

type accountProduct struct {
	Product string
	Quota   int
	Used    int
	// OwnQuota says that the quota is the account's own and not the product's.
	OwnQuota bool
}

type accountProducts struct{ Product []accountProduct }

func (s *Service) describeAccount() rpc.Op[accountInput, describeAccountOutput] {
	return rpc.Op[accountInput, describeAccountOutput]{
		Name: "DescribeAccount", Class: throttle.Operator, Callers: access.Operators,
		Targets: func(c *rpc.Call, in *accountInput) ([]access.Target, error) { return accountTarget(c, in.AccountID) },
		Func:    s.doDescribeAccount,
	}
}

func (s *Service) doDescribeAccount(_ context.Context, c *rpc.Call, in *accountInput) (*describeAccountOutput, error) {
	a, err := store.Accounts.Get(c.View, store.AccountKey(string(in.AccountID)))
	if err != nil {
		return nil, err
	}
	out := &describeAccountOutput{Account: showAccount(a)}
	if out.RootAccessKeys, err = showKeys(c.View, a.RootKeys); err != nil {
		return nil, err
	}
	err = store.Roles.Scan(c.View, store.AccountPrefix(a.ID), func(_ string, r *store.Role) bool {
		if r.Service != "" {
			out.AuthorisedServices.ServiceName = append(out.AuthorisedServices.ServiceName, r.Service)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	var failed error
	err = store.Products.Scan(c.View, "", func(_ string, p *store.Product) bool {
		var q accountProduct
		if q, failed = usage(c, a.ID, p); failed == nil && (q.Used > 0 || q.OwnQuota) {
			out.Products.Product = append(out.Products.Product, q)
		}
		return failed == nil
	})
	return out, errors.Join(failed, err)
}

// usage is how much of its quota a product has used up in the account.
func usage(c *rpc.Call, account string, p *store.Product) (accountProduct, error) {
	out := accountProduct{Product: p.ID, Quota: p.Quota}
	own, err := store.ProductQuotas.Get(c.View, store.ProductQuotaKey(c.Region, account, p.ID))
	switch {
	case err == nil:
		out.Quota, out.OwnQuota = own.Quota, true
	case !errors.Is(err, store.ErrNotFound):
		return out, err
	}
	used, err := store.Counters.Get(c.View, store.ProductCounterKey(c.Region, account, p.ID))
	switch {
	case err == nil:
		out.Used = used.N
	case !errors.Is(err, store.ErrNotFound):
		return out, err
	}
	return out, nil
}
