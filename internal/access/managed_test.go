package access

import (
	"testing"

	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/policy"
)

// TestGuardsOfManagedThings: what the laws of ownership say of each party's
// writes, whatever the policies are.
func TestGuardsOfManagedThings(t *testing.T) {
	const (
		owner, other   = "1000000000000001", "1000000000000002"
		service, rival = "a.example.com", "b.example.com"
	)
	callers := map[string]*identity.Principal{
		"root":    {Kind: identity.Root, Account: owner},
		"user":    {Kind: identity.User, Account: owner},
		"manager": {Kind: identity.RoleSession, Account: owner, Manages: service},
		"rival":   {Kind: identity.RoleSession, Account: owner, Manages: rival},
		"abroad":  {Kind: identity.RoleSession, Account: other, Manages: service},
		"foreign": {Kind: identity.Root, Account: other},
	}
	plain, governs := Rule{Writes: true, Callers: Accounts}, Rule{Writes: true, Callers: Accounts, OwnerGoverns: true}
	deletes, creates := Rule{Writes: true, Callers: Accounts, OwnerOfRetired: true}, Rule{Writes: true, Callers: Accounts, Creates: true}
	for _, tt := range []struct {
		name    string
		rule    Rule
		kind    ManagedKind
		retired bool
		final   bool
		free    []string // the callers that no guard stands against
	}{
		{"a change", plain, DefaultSecret, false, false, []string{"manager"}},
		{"a change of the owner's", governs, DefaultSecret, false, false, []string{"root", "user", "manager"}},
		{"a deletion", deletes, DefaultSecret, false, false, []string{"manager"}},
		{"a creation", creates, DefaultSecret, false, false, []string{"manager"}},
		{"retired: a change", plain, DefaultSecret, true, false, []string{"manager"}},
		{"retired: a deletion", deletes, DefaultSecret, true, false, []string{"root", "user", "manager"}},
		{"retired: a final deletion", deletes, DefaultSecret, true, true, []string{"manager"}},
		{"retired: a creation", creates, DefaultSecret, true, false, nil},
		{"a role: a change", plain, ServiceLinkedRole, false, false, []string{"manager"}},
		{"a role: its deletion", governs, ServiceLinkedRole, false, false, []string{"root", "user", "manager"}},
	} {
		thing := arn.Secret("cn-hangzhou", owner, "a!b")
		if tt.kind == ServiceLinkedRole {
			thing = policy.Everything
		}
		target := &Target{
			Resources: []arn.ARN{thing}, Account: owner, Final: tt.final,
			Managed: &Managed{Kind: tt.kind, Service: service, Retired: tt.retired},
		}
		for who, p := range callers {
			want := false
			for _, f := range tt.free {
				want = want || f == who
			}
			if got := guards(p, tt.rule, target); (len(got) == 0) != want {
				t.Errorf("%s by %s: guards %v", tt.name, who, got)
			}
		}
	}
}
