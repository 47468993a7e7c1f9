package access

import (
	"slices"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/store"
)

const (
	studio, alb  = "kms-access.sfm.aliyuncs.com", "kms.alb.aliyuncs.com"
	owner, other = "1000000000000001", "1000000000000002"
)

var (
	root         = &identity.Principal{Kind: identity.Root, Account: owner}
	user         = &identity.Principal{Kind: identity.User, Account: owner, Name: "u"}
	session      = &identity.Principal{Kind: identity.RoleSession, Account: owner, Name: "r", Via: studio} // of an ordinary role
	manager      = &identity.Principal{Kind: identity.RoleSession, Account: owner, Name: "slr", Via: studio, Manages: studio}
	albManager   = &identity.Principal{Kind: identity.RoleSession, Account: owner, Name: "slr", Via: alb, Manages: alb}
	otherManager = &identity.Principal{Kind: identity.RoleSession, Account: other, Name: "slr", Via: studio, Manages: studio}
	otherRoot    = &identity.Principal{Kind: identity.Root, Account: other}
	service      = &identity.Principal{Kind: identity.Service, Name: studio}
	operator     = &identity.Principal{Kind: identity.Operator, Name: "operator"}

	read, write, governs = Rule{Callers: Accounts}, Rule{Callers: Accounts, Writes: true}, Rule{Callers: Accounts, Writes: true, OwnerGoverns: true}

	plain   = &Target{Resources: []arn.ARN{arn.Secret("r", owner, "s")}, Account: owner}
	product = &Target{
		Resources: []arn.ARN{arn.Secret("r", owner, "bailian!s")}, Account: owner,
		Managed: &Managed{Kind: DefaultSecret, Service: studio, ProductName: "Model Studio"},
	}
	container = &Target{Resources: []arn.ARN{arn.SecretContainer("r", owner)}, Account: owner}
	slr       = &Target{Resources: []arn.ARN{arn.RAM(owner, "role/x")}, Account: owner, Managed: &Managed{Kind: ServiceLinkedRole, Service: studio}}
)

// TestGuards states the laws of ownership, one line each.
func TestGuards(t *testing.T) {
	const (
		owned, foreign, cross  = policy.GuardOwnedByProduct, policy.GuardForeignCode, policy.GuardCrossAccountWrite
		credential, data, only = policy.GuardServiceCredential, policy.GuardOperatorData, policy.GuardOperatorOnly
		linked                 = policy.GuardServiceLinkedRole
	)
	type laws = []policy.ReasonCode
	for _, c := range []struct {
		what string
		p    *identity.Principal
		rule Rule
		t    *Target
		want laws
	}{
		{"root reads its secret", root, read, plain, nil},
		{"root writes its secret", root, write, plain, nil},
		{"root reads a product's", root, read, product, nil},
		{"root writes a product's", root, write, product, laws{owned}},
		{"a user writes a product's", user, write, product, laws{owned}},
		{"the service in an ordinary role writes", session, write, product, laws{owned}},
		{"the service in an ordinary role reads", session, read, product, nil},
		{"the service in an ordinary role writes ours", session, write, plain, nil},
		{"the product writes its own", manager, write, product, nil},
		{"the product reads its own", manager, read, product, nil},
		{"the product reads ours", manager, read, plain, laws{foreign}},
		{"the product writes ours", manager, write, plain, laws{foreign}},
		{"the product lists", manager, read, container, nil},
		{"another product reads", albManager, read, product, laws{foreign}},
		{"another product writes", albManager, write, product, laws{foreign, owned}},
		{"another product governs", albManager, governs, product, laws{foreign, owned}},
		{"the product in another account reads", otherManager, read, product, laws{foreign}},
		{"the product in another account writes", otherManager, write, product, laws{foreign, owned, cross}},
		{"another account reads", otherRoot, read, plain, nil}, // policies decide
		{"another account writes", otherRoot, write, plain, laws{cross}},
		{"another account writes a product's", otherRoot, write, product, laws{owned, cross}},
		{"another account governs a product's", otherRoot, governs, product, laws{owned, cross}},
		{"the owner governs a product's", user, governs, product, nil},
		{"a service's own credential reads", service, read, product, laws{credential}},
		{"a service's own credential writes", service, write, product, laws{credential, owned, cross}},
		{"an operator reads", operator, read, plain, laws{data}},
		{"an operator writes a product's", operator, write, product, laws{data, owned}},
		{"a user does an operator's work", root, Rule{Callers: Operators}, container, laws{only}},
		{"a service assumes a role", service, Rule{Callers: Accounts | Services}, slr, nil},
		{"root changes a service's role", root, write, slr, laws{linked}},
		{"its service changes it", manager, write, slr, nil},
		{"root reads it", root, read, slr, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			var got laws
			for _, g := range guards(c.p, c.rule, c.t) {
				if got = append(got, g.Code); g.Message == "" {
					t.Errorf("%s without a message", g.Code)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("laws %v, want %v", got, c.want)
			}
		})
	}
}

// TestOwnersDenyAndManagement: the owner's Deny is told apart for the managing
// session of the owner's account only.
func TestOwnersDenyAndManagement(t *testing.T) {
	for p, want := range map[*identity.Principal]bool{manager: true, root: false, session: false, albManager: false, otherManager: false, service: false} {
		if got := query(p, &Request{}, read, product, nil).Manages; got != want {
			t.Errorf("%s of %s manages: %v, want %v", p.Kind, p.Account, got, want)
		}
	}
	if query(manager, &Request{}, read, plain, nil).Manages {
		t.Error("the product manages what no product does")
	}
}

// TestConditionKeys: what a policy can ask of a request.
func TestConditionKeys(t *testing.T) {
	target := &Target{
		Tags: []store.Tag{{Key: "env", Value: "prod"}}, RequestTags: []store.Tag{{Key: "env", Value: "dev"}},
		Keys: policy.MapEnv{"ram:ServiceName": {"x"}},
	}
	e := &env{p: user, req: &Request{TLS: true}, target: target}
	for key, want := range map[string]string{
		"acs:SecureTransport": "true", "acs:ResourceTag/env": "prod", "kms:tag/env": "prod", "acs:RequestTag/env": "dev",
		"ram:ServiceName": "x", "acs:PrincipalARN": "acs:ram::" + owner + ":user/u", "acs:CurrentTime": "0001-01-01T00:00:00Z",
	} {
		if got, ok := e.Values(key); !ok || len(got) != 1 || got[0] != want {
			t.Errorf("%s is %v, want %s", key, got, want)
		}
	}
	for _, key := range []string{"acs:SourceIp", "acs:ResourceTag/Env", "acs:ResourceTag/", "kms:tag/x", "acs:MFAPresent", "acs:SourceVpc", "x"} {
		if got, ok := e.Values(key); ok {
			t.Errorf("%s is %v, want none", key, got)
		}
	}
}
