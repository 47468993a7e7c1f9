package product

import (
	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// Types of things as audit events write them.
const (
	typeAccount    = "ACS::OpenSesame::Account"
	typeService    = "ACS::OpenSesame::Service"
	typeProduct    = "ACS::OpenSesame::Product"
	typeCredential = "ACS::OpenSesame::ServiceCredential"
)

// everything is the target of the operator's operations that act on no
// particular thing.
func everything(c *rpc.Call) []access.Target {
	return []access.Target{{Action: c.Info.Action, Resources: []arn.ARN{policy.Everything}, Account: c.Account()}}
}

// accountTarget is an account, whose trail tells of what is done with it.
func accountTarget(c *rpc.Call, id AccountID) ([]access.Target, error) {
	t := everything(c)
	c.Resource(typeAccount, string(id))
	_, err := store.Accounts.Get(c.View, store.AccountKey(string(id)))
	if err == nil {
		t[0].Account = string(id)
	}
	return t, t[0].Absent(err, apierr.AccountNotFound)
}

// serviceTarget is a service of the registry.
func serviceTarget(c *rpc.Call, name ServiceName) ([]access.Target, error) {
	t := everything(c)
	c.Resource(typeService, string(name))
	_, err := store.Services.Get(c.View, string(name))
	return t, t[0].Absent(err, apierr.ServiceNotFound)
}

// productTarget is a product of the registry.
func productTarget(c *rpc.Call, id ID) ([]access.Target, error) {
	t := everything(c)
	c.Resource(typeProduct, string(id))
	_, err := store.Products.Get(c.View, string(id))
	return t, t[0].Absent(err, apierr.ProductNotFound)
}

// breakGlass is the law against handing out a credential that could read what
// is there.
func (s *Service) breakGlass(t *access.Target, why string) {
	if !s.AllowBreakGlass {
		t.Refusals = append(t.Refusals, policy.Guard{
			Code: policy.GuardBreakGlass, Message: why + "; the server's configuration does not allow break-glass operations",
		})
	}
}

func codeTaken(code, product string) error {
	return apierr.CodeExists.Msg("The product code %s belongs to the product %s.", code, product)
}

func codeInUse(code string, n int) error {
	return apierr.CodeInUse.Msg("The product code %s still has secrets in this server's accounts, those pending deletion included: %d.", code, n)
}

func codeUnknown(product string) error {
	return rpc.BadParam{Field: "RemoveProductCodes", Fault: rpc.Value, Why: "the product " + product + " does not have one of the codes"}
}

// page cuts one page, counted from 1, out of a list; past the end it is empty.
func page[T any](list []T, number, size int) []T {
	if number-1 > len(list)/size {
		return nil
	}
	from := (number - 1) * size
	return list[min(from, len(list)):min(from+size, len(list))]
}
