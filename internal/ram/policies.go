package ram

import (
	"errors"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// Policy is a policy in answers.
type Policy struct {
	PolicyName     string
	PolicyType     string
	Description    string
	DefaultVersion string
	CreateDate     string
	// The rest is not in the answer that makes the policy.
	UpdateDate      string `wire:"omitempty"`
	AttachmentCount *int   `wire:"omitempty"`
	// PolicyDocument is always "N/A": the document stands in the version.
	PolicyDocument string `wire:"omitempty"`
}

// PolicyVersion is one version of a policy in answers.
type PolicyVersion struct {
	VersionId        string
	IsDefaultVersion bool
	PolicyDocument   string
	CreateDate       string
}

// systemDate is the date that policies of the platform show: that of the API's
// version, of which they are a part.
const systemDate = "2015-05-01T00:00:00Z"

// systemOwner is the account that policies of the platform belong to in
// resource names.
const systemOwner = "system"

func showPolicy(p *store.Policy) Policy {
	return Policy{
		PolicyName: p.Name, PolicyType: store.PolicyCustom, Description: p.Description,
		DefaultVersion: p.Default, CreateDate: rpc.TimeText(p.CreatedAt),
	}
}

func showVersion(p *store.Policy, v *store.PolicyVersion) PolicyVersion {
	return PolicyVersion{
		VersionId: v.ID, IsDefaultVersion: v.ID == p.Default,
		PolicyDocument: v.Document, CreateDate: rpc.TimeText(v.CreatedAt),
	}
}

// anyPolicy is the target of operations that act on no policy in particular.
func anyPolicy(c *rpc.Call) access.Target { return ownTarget(c, "policy/*") }

// policyTarget is the policy of that type and name. One of the platform is
// named as the platform's but counts as a thing of the caller's account: what
// is looked at or attached is the account's use of it.
func policyTarget(c *rpc.Call, typ, name string) (access.Target, error) {
	c.Resource(typePolicy, name)
	t := ownTarget(c, "policy/"+name)
	var err error
	if typ == store.PolicyCustom {
		var p *store.Policy
		if p, err = store.Policies.Get(c.View, store.PolicyKey(c.Account(), name)); err == nil {
			t.Tags = p.Tags
		}
	} else {
		t.Resources = []arn.ARN{arn.RAM(systemOwner, t.Resources[0].Resource)}
		_, _, err = systemPolicy(c.View, name)
	}
	err = t.Absent(err, apierr.PolicyNotFound)
	return t, err
}

// systemPolicy returns a policy of the platform, and the service if it is the
// policy of a service's role. Error: store.ErrNotFound for an unknown name.
func systemPolicy(v *store.View, name string) (Policy, *store.Service, error) {
	p := Policy{PolicyName: name, PolicyType: store.PolicySystem, CreateDate: systemDate, UpdateDate: systemDate}
	if _, version, description, ok := policy.System(name); ok {
		p.DefaultVersion, p.Description = version, description
		return p, nil, nil
	}
	var found *store.Service
	err := store.Services.Scan(v, "", func(_ string, s *store.Service) bool {
		if s.PolicyName == name {
			found = s
		}
		return found == nil
	})
	if found == nil {
		if err == nil {
			err = store.ErrNotFound
		}
		return Policy{}, nil, err
	}
	p.DefaultVersion, p.Description = "v1", "Permissions of the service-linked role "+found.RoleName+"."
	return p, found, nil
}

// malformed turns the error of policy.Compile for the parameter field into the
// API's.
func malformed(field string, err error) error {
	var syntax *policy.SyntaxError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax) && syntax.TooLong:
		return rpc.BadParam{Field: field, Fault: rpc.Length, Why: strings.TrimSuffix(syntax.Message, ".")}
	}
	return apierr.MalformedPolicy.Msg("The parameter %s is no policy document: %s", field, err)
}

// holders are the users and roles that a policy is attached to.
type holders struct {
	users []*store.User
	roles []*store.Role
}

func (h *holders) count() int { return len(h.users) + len(h.roles) }

// policyHolders finds all users and roles of the account to which the policy is
// attached. The records are shared.
func policyHolders(v *store.View, account, typ, name string) (*holders, error) {
	var h holders
	errUsers := store.Users.Scan(v, store.AccountPrefix(account), func(_ string, u *store.User) bool {
		if attached(u.Policies, typ, name) >= 0 {
			h.users = append(h.users, u)
		}
		return true
	})
	errRoles := store.Roles.Scan(v, store.AccountPrefix(account), func(_ string, r *store.Role) bool {
		if attached(r.Policies, typ, name) >= 0 {
			h.roles = append(h.roles, r)
		}
		return true
	})
	return &h, errors.Join(errUsers, errRoles)
}
