// Package ram holds the operations by which an account governs its identities:
// RAM users and their access keys, roles, and custom policies (product Ram,
// version 2015-05-01), and the making and deleting of service-linked roles
// (product ResourceManager, version 2020-03-31).
//
// It trusts the pipeline to have established and authorised the caller, and
// acts in the caller's own account only: no parameter of these operations
// names another one. Every change bumps the account's access epoch, so that
// nothing commits anywhere on a permission that was withdrawn meanwhile. Since
// each change also compares that epoch, what a change counted in its view
// (quotas, who holds a policy) still holds when it commits.
package ram

import (
	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// Service has the operations of the package. It is stateless and safe for
// concurrent use.
type Service struct {
	// Ring seals the secrets of new access keys.
	Ring *keyring.Ring
}

// Limits of an account, as Alibaba Cloud documents them for RAM. Service-linked
// roles do not count.
const (
	maxUsers    = 1000
	maxRoles    = 1000
	maxPolicies = 1500
	maxKeys     = 2 // access keys of one user, and of the root user
)

// idDigits is the length of the ids of users and roles.
const idDigits = 18

// Types of things as the events of the audit trail write them.
const (
	typeUser      = "ACS::RAM::User"
	typeRole      = "ACS::RAM::Role"
	typePolicy    = "ACS::RAM::Policy"
	typeAccessKey = "ACS::RAM::AccessKey"
)

// ownTarget is the request's action on a thing of the caller's account.
func ownTarget(c *rpc.Call, resource string) access.Target {
	return access.Target{
		Action:    c.Info.Action,
		Resources: []arn.ARN{arn.RAM(c.Account(), resource)},
		Account:   c.Account(),
	}
}

// room refuses with full if the account already has max records that count.
func room[T any](c *rpc.Call, coll *store.Collection[T], max int, full error, counts func(*T) bool) error {
	n := 0
	err := coll.Scan(c.View, store.AccountPrefix(c.Account()), func(_ string, rec *T) bool {
		if counts(rec) {
			n++
		}
		return true
	})
	if err == nil && n >= max {
		return full
	}
	return err
}

func always[T any](*T) bool { return true }
