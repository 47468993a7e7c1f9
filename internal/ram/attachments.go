package ram

import (
	"slices"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// bearer is a kind of identity that policies can be attached to: how many of
// each type it can have, and its errors.
type bearer struct {
	system, custom int
	already        *apierr.Error
	missing        *apierr.Error
	full           *apierr.Error
}

var (
	onUsers = bearer{20, 10, apierr.UserPolicyExists, apierr.UserPolicyNotFound, apierr.UserPolicyLimit}
	onRoles = bearer{20, 5, apierr.RolePolicyExists, apierr.RolePolicyNotFound, apierr.RolePolicyLimit}
)

// attached returns where the policy stands in the list, or -1.
func attached(list []store.Attachment, typ, name string) int {
	return slices.IndexFunc(list, func(a store.Attachment) bool { return a.Type == typ && a.Name == name })
}

// attach returns the list with the attachment added.
func (b *bearer) attach(list []store.Attachment, add store.Attachment) ([]store.Attachment, error) {
	if attached(list, add.Type, add.Name) >= 0 {
		return nil, b.already
	}
	limit, n := b.custom, 0
	if add.Type == store.PolicySystem {
		limit = b.system
	}
	for _, a := range list {
		if a.Type == add.Type {
			n++
		}
	}
	if n >= limit {
		return nil, b.full
	}
	return append(list, add), nil
}

// detach returns the list without the policy.
func (b *bearer) detach(list []store.Attachment, typ, name string) ([]store.Attachment, error) {
	i := attached(list, typ, name)
	if i < 0 {
		return nil, b.missing
	}
	return slices.Delete(list, i, i+1), nil
}

// detachTarget is the policy to detach. An attachment that was left of a policy
// which the platform no longer has can be detached too.
func detachTarget(c *rpc.Call, typ PolicyType, name PolicyName, list []store.Attachment) (access.Target, error) {
	t, err := policyTarget(c, string(typ), string(name))
	if attached(list, string(typ), string(name)) >= 0 {
		t.Missing = nil
	}
	return t, err
}

// attachable refuses the policies of service-linked roles, which belong to
// those roles alone.
func attachable(c *rpc.Call, typ PolicyType, name PolicyName) error {
	if typ != store.PolicySystem {
		return nil
	}
	_, service, err := systemPolicy(c.View, string(name))
	if err == nil && service != nil {
		return apierr.ServiceLinkedRole.Msg("The policy %s belongs to the service-linked role %s and cannot be attached.", name, service.RoleName)
	}
	return err
}
