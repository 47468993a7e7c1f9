package policy

import (
	"fmt"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/arn"
)

// PrincipalKind says what a caller is. The zero value is nobody, and nobody is
// allowed anything.
type PrincipalKind int

// The kinds of principals.
const (
	// Root is the root user of an account.
	Root PrincipalKind = iota + 1
	// User is a RAM user.
	User
	// RoleSession is a session of a RAM role, however it was obtained.
	RoleSession
	// Service is a platform service calling by its own credential.
	Service
	// Federated is a caller known by an identity provider's token only.
	Federated
	// Background is the server's own background work: allowed unless a guard
	// refuses.
	Background
	// Operator is who runs the server. It belongs to no account; only the
	// identity policies that the caller hands over speak for it.
	Operator
)

// Principal is the caller as policies see it.
type Principal struct {
	Kind PrincipalKind
	// Account is the account that the caller belongs to; empty for Service,
	// Background and Operator.
	Account string
	// Name is the user's name, the role's name, the service's name
	// ("kms.alb.aliyuncs.com"), or for Federated the provider's relative id
	// ("oidc-provider/<name>").
	Name string
}

// String describes the principal for messages.
func (p Principal) String() string {
	switch p.Kind {
	case Root:
		return "the root user of account " + p.Account
	case User:
		return "user " + p.Name + " of account " + p.Account
	case RoleSession:
		return "role " + p.Name + " of account " + p.Account
	case Service:
		return "service " + p.Name
	case Federated:
		return "identity provider " + p.Name + " of account " + p.Account
	case Background:
		return "the system"
	case Operator:
		return "operator " + p.Name
	}
	return "an unknown principal"
}

// named is one entry of a Principal element. Kind Root stands for a whole
// account.
type named Principal

// acquaintance says how a statement's Principal element relates to the caller.
type acquaintance int

const (
	stranger acquaintance = iota
	// delegate: only the whole account that owns the thing is named.
	delegate
	// meant: the caller is named, or the whole of its account.
	meant
)

// know compares the entry with the caller. owner is the account that owns the
// thing that the policy is set on.
func (n *named) know(kind Kind, p *Principal, owner string) acquaintance {
	switch n.Kind {
	case Service:
		// <account>@<service> is the service, for that account only.
		if p.Kind == Service && p.Name == n.Name && (n.Account == "" || n.Account == owner) {
			return meant
		}
		return stranger
	case Root:
		// The whole account is its users and roles. Root itself can't take
		// on a role, and of a foreign account it has no identity policy
		// that could allow it anything.
		if p.Account != n.Account || p.Kind != User && p.Kind != RoleSession {
			return stranger
		}
		// On a secret or key, the owner's own account as a principal hands
		// the decision to its identity policies; it is no grant to each.
		if kind == Resource && n.Account == owner {
			return delegate
		}
		return meant
	}
	if p.Kind != n.Kind || p.Account != n.Account {
		return stranger
	}
	if p.Name == n.Name || n.Kind == RoleSession && strings.EqualFold(p.Name, n.Name) {
		return meant
	}
	return stranger
}

// parsePrincipal reads one entry of the Principal element under the key group
// ("RAM", "Service", "Federated"). The error is a sentence for people.
func parsePrincipal(kind Kind, group, text string) (named, error) {
	switch group {
	case "Service":
		return parseService(text)
	case "Federated":
		return parseFederated(text)
	}
	a, err := arn.Parse(text)
	if err != nil || !isRAM(a) || !isAccount(a.Account) {
		return named{}, fmt.Errorf("the principal %s is not of a form such as acs:ram::<account>:root", quote(text))
	}
	typ, name, _ := strings.Cut(a.Resource, "/")
	switch {
	case a.Resource == "root", a.Resource == "*" && kind == Resource:
		return named{Kind: Root, Account: a.Account}, nil
	case typ == "user" && isName(name, "._-"):
		return named{Kind: User, Account: a.Account, Name: name}, nil
	case typ == "role" && isName(name, "._-"):
		return named{Kind: RoleSession, Account: a.Account, Name: name}, nil
	}
	forms := "root, user/<name> and role/<name>"
	if kind == Resource {
		forms = "*, " + forms
	}
	return named{}, fmt.Errorf("the principal %s is not supported: after the account only %s are", quote(text), forms)
}

func parseService(text string) (named, error) {
	account, name, scoped := strings.Cut(text, "@")
	if !scoped {
		account, name = "", text
	}
	if scoped && !isAccount(account) || !isName(name, ".-") {
		return named{}, fmt.Errorf("the service %s is not a service name", quote(text))
	}
	return named{Kind: Service, Account: account, Name: name}, nil
}

func parseFederated(text string) (named, error) {
	a, err := arn.Parse(text)
	typ, name, _ := strings.Cut(a.Resource, "/")
	if err != nil || !isRAM(a) || !isAccount(a.Account) ||
		typ != "oidc-provider" && typ != "saml-provider" || !isName(name, "._-") {
		return named{}, fmt.Errorf("the identity provider %s is not of the form acs:ram::<account>:oidc-provider/<name> or …:saml-provider/<name>", quote(text))
	}
	return named{Kind: Federated, Account: a.Account, Name: a.Resource}, nil
}

func isRAM(a arn.ARN) bool {
	return a.Service == "ram" && (a.Region == "" || a.Region == "*")
}

// isAccount accepts any number: the length of account ids is not the
// language's business.
func isAccount(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// isName accepts letters, digits and the characters of more.
func isName(s, more string) bool {
	for i := range len(s) {
		c := s[i]
		if !isAlnum(c) && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return s != ""
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
