package product

import (
	"errors"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// serviceInput names the one service that an operation is about.
type serviceInput struct {
	ServiceName ServiceName `param:"ServiceName,required"`
}

type serviceInfo struct {
	ServiceName string
	DisplayName string
	RoleName    string
	PolicyName  string
	CreateDate  string
}

type serviceOutput struct{ Service serviceInfo }

func showService(svc *store.Service) serviceInfo {
	return serviceInfo{
		ServiceName: svc.Name, DisplayName: svc.DisplayName, RoleName: svc.RoleName, PolicyName: svc.PolicyName,
		CreateDate: rpc.TimeText(svc.CreatedAt),
	}
}

// readService returns the service in the transaction, to be changed.
func readService(tx *store.Tx, name ServiceName) (*store.Service, error) {
	svc, err := store.Services.Read(tx, string(name))
	if errors.Is(err, store.ErrNotFound) {
		return nil, apierr.ServiceNotFound
	}
	return svc, err
}

// trust is how many roles let a service in, and where.
type trust struct {
	// linked and ordinary count service-linked roles and others.
	linked, ordinary int
	accounts         []string
}

// trusting finds the roles of all accounts that the service may assume, as far
// as their trust policies name it.
func trusting(c *rpc.Call, service string) (trust, error) {
	var out trust
	err := store.Roles.Scan(c.View, "", func(_ string, r *store.Role) bool {
		switch {
		case r.Service == service:
			out.linked++
		case r.Service == "" && names(r.Trust, service):
			out.ordinary++
		default:
			return true
		}
		if n := len(out.accounts); n == 0 || out.accounts[n-1] != r.Account {
			out.accounts = append(out.accounts, r.Account)
		}
		return true
	})
	return out, err
}

func names(doc *policy.Document, service string) bool {
	for _, p := range doc.Principals() {
		if p.Kind == policy.Service && p.Name == service {
			return true
		}
	}
	return false
}
