package access

import (
	"fmt"

	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/policy"
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
	if rule.Writes && m != nil && !manages && !(rule.OwnerGoverns && p.Account == t.Account) {
		switch m.Kind {
		case DefaultSecret:
			add(policy.GuardOwnedByProduct, "the secret is managed by %s; make the change there", m.ProductName)
		case ServiceLinkedRole:
			add(policy.GuardServiceLinkedRole, "the role is linked to the service %s, which alone manages it", m.Service)
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
