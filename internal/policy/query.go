package policy

import "github.com/opensesame-kms/opensesame/internal/arn"

// Attached is a policy with how it came to apply.
type Attached struct {
	// Document is the compiled document. An Attached without one stands for
	// a policy that could not be compiled; it denies everything.
	Document *Document
	// Name and Version identify the policy ("AliyunKMSFullAccess", "v3").
	Name, Version string
	// Type is System, Custom, Session, Trust or Resource.
	Type string
	// AttachedTo says what the policy is attached to, for example
	// "user/alice" or "group/developers". For people; may be empty.
	AttachedTo string
}

// Guard is a law of the server that refuses the request whatever policies say.
type Guard struct {
	Code    ReasonCode
	Message string
}

// Query is one question. Decide does not change it.
type Query struct {
	// Action is the RAM action, for example kms:GetSecretValue.
	Action string
	// Resources are alternative names of one thing: an Allow on any of them
	// allows, a Deny on any refuses. (CreateSecret acts on the container and
	// on the concrete name.) For two things that must both be allowed, ask
	// twice. Operations without a resource ask about Everything. Without any
	// resource no statement applies.
	Resources []arn.ARN
	// Principal is the caller.
	Principal Principal
	// Owner is the account that owns the thing. For operations that act on
	// no particular thing it is the caller's own account.
	Owner string
	// Guards are what the server's laws have against the request, found by
	// the caller. Any of them refuses, before root's Allow.
	Guards []Guard
	// Identity are the policies of the user and its groups, or of the role.
	Identity []Attached
	// Session is the session policy; nil if the session has none.
	Session *Attached
	// Resource is the policy of the secret or key, or with RequireBoth the
	// trust policy of the role; nil if there is none.
	Resource *Attached
	// RequireBoth is set for AssumeRole: the caller's policies and the trust
	// policy must allow it. For services and federated users the trust policy
	// decides alone.
	RequireBoth bool
	// Manages is set if the caller is the managing session of the default
	// secret asked about. The owner's Deny in the secret's policy then stops
	// reading the value and nothing else: an owner must not block a product's
	// rotation or clean-up half way.
	Manages bool
	// Env holds the condition keys; nil is an Env without keys.
	Env Env
}

// Decision is the answer with its reasons. It shares nothing with the Query
// but strings.
type Decision struct {
	Allowed bool
	// NoPermissionType is empty if allowed, else ImplicitDeny (nobody allowed
	// it) or ExplicitDeny (a statement or a guard refused it).
	NoPermissionType string
	// PolicyType is the kind of policy that decided the refusal, that of the
	// first reason; empty if allowed.
	PolicyType string
	// Reasons is complete and in a stable order. Of a refusal: guards,
	// explicit denies, missing allows, near misses; within each the order
	// session, identity, resource, and that of the documents. Of an
	// allowance: what allowed.
	Reasons []Reason
	// Matched lists all statements that applied, in the order session,
	// identity, resource.
	Matched []Match
}

// Reason is one reason. Messages name policies, statements, actions, resources
// and condition keys, never the values of a request.
type Reason struct {
	Code ReasonCode
	// Message is a sentence for people.
	Message string
	// Source is the statement that the reason speaks of; its Policy is empty
	// if it speaks of none.
	Source Match
}

// Match is a statement that applied.
type Match struct {
	// Policy, Type, Version and AttachedTo are those of the Attached.
	Policy, Type, Version, AttachedTo string
	// Statement is the position in the document, from 0.
	Statement int
	// Sid is the statement's own name; may be empty.
	Sid string
	// Deny tells the effect.
	Deny bool
	// NoGrant is set on an Allow in the policy of a secret or key that applied
	// and yet grants nothing: ResourceDelegates or ActionNotGrantable.
	NoGrant ReasonCode
}

// Effect returns "Allow" or "Deny".
func (m Match) Effect() string {
	if m.Deny {
		return "Deny"
	}
	return "Allow"
}
