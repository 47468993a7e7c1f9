package identity

import (
	"time"

	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// Kind says what sort of caller a principal is.
type Kind string

// The callers that exist.
const (
	// Root is the root user of an account.
	Root Kind = "root"
	// User is a RAM user.
	User Kind = "user"
	// RoleSession is a temporary session of a RAM role.
	RoleSession Kind = "role-session"
	// Service is a cloud service that signs with its own credential; it belongs
	// to no account.
	Service Kind = "service"
	// Operator is one who runs the server; it belongs to no account.
	Operator Kind = "operator"
)

// Principal is who sent a request, as one snapshot of the store knows it. It is
// immutable.
type Principal struct {
	Kind Kind
	// Account is the caller's account; empty for services and operators.
	Account string
	// Name is the RAM user's, role's, service's or operator's name.
	Name string
	// ID is the id of the user or role, the account id for root, else the name.
	ID string
	// AccessKeyID is the key that signed.
	AccessKeyID string

	// Session is the role session's name.
	Session string
	// SessionPolicy narrows a session; nil for none.
	SessionPolicy *policy.Document
	// SessionCreated is when the session began.
	SessionCreated time.Time
	// SourceIdentity was given by the one who assumed the role.
	SourceIdentity string
	// Via is the service that assumed the role, or the first role of a chain;
	// empty if an account's identity did.
	Via string
	// Manages is the service name if this is a managing session: a session of
	// a service's own service-linked role, the only kind that may write that
	// service's default secrets.
	Manages string

	user   *store.User
	role   *store.Role
	origin *Session // of a role session
}

// AccountOrSystem is the caller's account as answers and records name it.
func (p *Principal) AccountOrSystem() string {
	if p.Account == "" {
		return "system"
	}
	return p.Account
}

// ARN names the principal as policies do: for a role session, the role.
func (p *Principal) ARN() arn.ARN {
	switch p.Kind {
	case Root:
		return arn.Root(p.Account)
	case User:
		return arn.User(p.Account, p.Name)
	case RoleSession:
		return arn.Role(p.Account, p.Name)
	default:
		return arn.ARN{Service: "ram", Account: "system", Resource: string(p.Kind) + "/" + p.Name}
	}
}

// DisplayName is the caller as a refusal names it.
func (p *Principal) DisplayName() string {
	if p.Kind == RoleSession {
		return p.Name + ":" + p.Session
	}
	return p.ID
}

// Policy returns the principal as the policy engine sees it.
func (p *Principal) Policy() policy.Principal {
	kinds := map[Kind]policy.PrincipalKind{
		Root: policy.Root, User: policy.User, RoleSession: policy.RoleSession, Service: policy.Service,
	}
	return policy.Principal{Kind: kinds[p.Kind], Account: p.Account, Name: p.Name}
}

// Attachments returns the policies attached to the user or role in the
// principal's snapshot.
func (p *Principal) Attachments() []store.Attachment {
	switch {
	case p.user != nil:
		return p.user.Policies
	case p.role != nil:
		return p.role.Policies
	}
	return nil
}

// Behind is the account of the RAM user who began a role session, which may be
// another account than the role's; empty if no user did.
func (p *Principal) Behind() string {
	if p.origin == nil {
		return ""
	}
	return p.origin.UserAccount
}

// Role returns the role of a session, else nil.
func (p *Principal) Role() *store.Role { return p.role }
