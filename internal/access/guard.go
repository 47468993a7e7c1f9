package access

import (
	"errors"
	"fmt"
	"time"

	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// guards returns the laws of ownership that this request breaks. They go by
// target and not by operation, so that no operation can forget them.
func guards(p *identity.Principal, rule Rule, t *Target) []policy.Guard {
	var out []policy.Guard
	add := func(code policy.ReasonCode, format string, args ...any) {
		out = append(out, policy.Guard{Code: code, Message: fmt.Sprintf(format, args...)})
	}
	if !rule.Callers.accepts(p.Kind) {
		code := policy.GuardOperatorOnly
		switch p.Kind {
		case identity.Service:
			code = policy.GuardServiceCredential
		case identity.Operator:
			code = policy.GuardOperatorData
		}
		add(code, "a caller of the kind %q cannot call this operation", p.Kind)
	}
	m := t.Managed
	manages := manages(p, t)
	if p.Manages != "" && !manages && isSecret(t) {
		add(policy.GuardForeignCode, "a managing session of %s reaches only secrets of its own account under its own product codes", p.Manages)
	}
	if m != nil && m.Retired && rule.Creates {
		add(policy.GuardProductRetired, "%s is retired and creates nothing more", m.ProductName)
	}
	if rule.Writes && m != nil && !manages && !ownerMay(p, rule, t) {
		switch {
		case m.Kind == ServiceLinkedRole:
			add(policy.GuardServiceLinkedRole, "the role is linked to the service %s, which alone manages it", m.Service)
		case m.Retired:
			add(policy.GuardOwnedByProduct, "the secret was made by %s, which is retired; its owner may delete it with a recovery window and restore it, and change nothing else", m.ProductName)
		default:
			add(policy.GuardOwnedByProduct, "the secret is managed by %s; make the change there", m.ProductName)
		}
	}
	if rule.Writes && p.Kind != identity.Operator && p.Account != t.Account {
		add(policy.GuardCrossAccountWrite, "callers of other accounts only read")
	}
	return out
}

// manages reports whether the principal is the managing session of the target:
// of the service that manages it, in the account that owns it.
func manages(p *identity.Principal, t *Target) bool {
	return t.Managed != nil && p.Manages != "" && p.Manages == t.Managed.Service && p.Account == t.Account
}

// ownerMay reports whether the law leaves the write on a managed thing to the
// owner's account, whose policies then decide. A managing session acts for a
// service, though in the account: it is never the owner.
func ownerMay(p *identity.Principal, rule Rule, t *Target) bool {
	if p.Account != t.Account || p.Manages != "" {
		return false
	}
	return rule.OwnerGoverns || rule.OwnerOfRetired && t.Managed.Retired && !t.Final
}

// readOnly returns the law that refuses every change by accounts and services
// while data restored from a backup await the operator's confirmation: until
// somebody has looked at what came back to life, nobody builds on it.
func readOnly(v *store.View, p *identity.Principal, rule Rule) (*policy.Guard, error) {
	if !rule.Writes || p.Kind == identity.Operator {
		return nil, nil
	}
	m, err := store.Metas.Get(v, store.MetaKey)
	if errors.Is(err, store.ErrNotFound) || err == nil && m.Restored == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &policy.Guard{Code: policy.GuardAccountSuspended, Message: fmt.Sprintf(
		"the server was restored from a backup of %s and is read-only until its operator confirms that (sesame restore confirm)",
		m.Restored.Backup.UTC().Format(time.RFC3339))}, nil
}

// isSecret reports whether the target is one secret, not the container.
func isSecret(t *Target) bool {
	return len(t.Resources) > 0 && t.Resources[0].Service == "kms" && t.Resources[0].Type() == "secret" && t.Resources[0].Name() != ""
}

// accepts reports whether a caller of that kind is in the set.
func (c Callers) accepts(k identity.Kind) bool {
	switch k {
	case identity.Service:
		return c&Services != 0
	case identity.Operator:
		return c&Operators != 0
	default:
		return c&Accounts != 0
	}
}
