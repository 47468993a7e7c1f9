package ram

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// maxCascade bounds how many users and roles CascadingDelete detaches: the
// change is one transaction, and etcd takes at most 128 operations in one.
const maxCascade = 100

// DeletePolicyInput holds the parameters of DeletePolicy. CascadingDelete also
// detaches the policy and deletes its versions.
type DeletePolicyInput struct {
	PolicyName      PolicyName `param:"PolicyName,required"`
	CascadingDelete bool       `param:"CascadingDelete"`
}

// DeletePolicyOutput is the answer of DeletePolicy.
type DeletePolicyOutput struct{}

func (s *Service) deletePolicy() rpc.Op[DeletePolicyInput, DeletePolicyOutput] {
	return rpc.Op[DeletePolicyInput, DeletePolicyOutput]{
		Name: "DeletePolicy", Class: throttle.RAM, Writes: true,
		Targets: func(c *rpc.Call, in *DeletePolicyInput) ([]access.Target, error) {
			t, err := policyTarget(c, store.PolicyCustom, string(in.PolicyName))
			return []access.Target{t}, err
		},
		Func: s.doDeletePolicy,
	}
}

func (s *Service) doDeletePolicy(ctx context.Context, c *rpc.Call, in *DeletePolicyInput) (*DeletePolicyOutput, error) {
	account, name := c.Account(), string(in.PolicyName)
	key := store.PolicyKey(account, name)
	return rpc.Update(ctx, c, func(tx *store.Tx) (*DeletePolicyOutput, error) {
		p, err := store.Policies.Read(tx, key)
		if err != nil {
			return nil, err
		}
		h, err := policyHolders(c.View, account, store.PolicyCustom, name)
		if err != nil {
			return nil, err
		}
		if in.CascadingDelete {
			err = detachAll(tx, h, name)
		} else {
			err = deletable(p, h)
		}
		if err != nil {
			return nil, err
		}
		store.Policies.Delete(tx, key)
		tx.BumpEpoch(account)
		return &DeletePolicyOutput{}, nil
	})
}

// deletable refuses while something hangs on the policy. The code for roles is
// the one that clients know from the deletion of roles.
func deletable(p *store.Policy, h *holders) error {
	switch {
	case len(h.users) > 0:
		return apierr.PolicyOnUser
	case len(h.roles) > 0:
		return apierr.RoleHasPolicies.Msg("The policy CAN NOT been attached to any role while deleting the policy.")
	case len(p.Versions) > 1:
		return apierr.PolicyVersionsLeft
	}
	return nil
}

// detachAll takes the custom policy from all its holders: left behind, an
// attachment would speak for any policy made anew under the name.
func detachAll(tx *store.Tx, h *holders, name string) error {
	if n := h.count(); n > maxCascade {
		e := apierr.PolicyOnUser
		if len(h.users) == 0 {
			e = apierr.RoleHasPolicies
		}
		return e.Msg("The policy is attached to %d users and roles; CascadingDelete detaches it from at most %d.", n, maxCascade)
	}
	for _, holder := range h.users {
		key := store.UserKey(holder.Account, holder.Name)
		u, err := store.Users.Read(tx, key)
		if err != nil {
			return err
		}
		if u.Policies, err = onUsers.detach(u.Policies, store.PolicyCustom, name); err != nil {
			return err
		}
		store.Users.Put(tx, key, u)
	}
	for _, holder := range h.roles {
		key := store.RoleKey(holder.Account, holder.Name)
		r, err := store.Roles.Read(tx, key)
		if err != nil {
			return err
		}
		if r.Policies, err = onRoles.detach(r.Policies, store.PolicyCustom, name); err != nil {
			return err
		}
		store.Roles.Put(tx, key, r)
	}
	return nil
}
