// Package access decides whether a principal may do what a request asks. It
// gathers what the decision rests on (identity policies, session policy,
// resource policy, and the laws of ownership, which stand above all policies)
// and lets the policy engine judge it, once, with all reasons. The answer, the
// audit record and the explanation of a refusal all come from that one
// decision.
//
// It trusts the principal that identity established and the targets that the
// operation declared; it reads nothing but the request's snapshot.
package access

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// Callers is the set of sorts of callers that an operation accepts at all.
type Callers uint8

// The sorts of callers.
const (
	// Accounts are root users, RAM users and role sessions.
	Accounts Callers = 1 << iota
	// Services are cloud services that sign with their own credential.
	Services
	// Operators run the server.
	Operators
	// Everybody is all of them.
	Everybody = Accounts | Services | Operators
)

// Rule is what the decision needs to know of an operation.
type Rule struct {
	// Writes says that the operation changes a record.
	Writes bool
	// Callers that the operation accepts.
	Callers Callers
	// OwnerGoverns marks the writes that the owner of an account may do on a
	// default secret although a product manages it.
	OwnerGoverns bool
	// Creates marks the operations that make a new thing of the target's name.
	Creates bool
	// OwnerOfRetired marks the writes that the owner of an account may do on a
	// default secret whose product is retired.
	OwnerOfRetired bool
}

// Target is a thing that a request acts on. Operations derive their targets
// from the request and the snapshot; that a thing does not exist is one of its
// attributes and is judged like a refusal, so that a missing thing and one
// that the caller may not see look the same.
type Target struct {
	// Action is the RAM action, for example kms:GetSecretValue.
	Action string
	// Resources are alternative names of the one thing: an Allow on any of
	// them allows, a Deny on any refuses. The first one names the thing in
	// messages.
	Resources []arn.ARN
	// Account owns the thing.
	Account string
	// Managed is set if a platform service manages the thing, or would manage
	// a thing of that name.
	Managed *Managed
	// Policy is the thing's own policy (trust policy of a role); nil for none.
	Policy *policy.Attached
	// RequireBoth is set where identity policy and Policy must both allow.
	RequireBoth bool
	// Free is set where no permission is needed (GetCallerIdentity).
	Free bool
	// Items marks a container whose items are decided on one by one: a caller
	// without a grant on the container may ask, if any of its policies could
	// allow the action on some item, and is shown what it may see.
	Items bool
	// Final is set where the request destroys the thing beyond recovery.
	Final bool
	// Refusals are laws of the operation itself that refuse this request.
	Refusals []policy.Guard
	// Tags of the thing; RequestTags of the request.
	Tags, RequestTags []store.Tag
	// Keys are further condition keys of the request, for example
	// ram:ServiceName.
	Keys policy.MapEnv
	// Missing is the error for a thing that does not exist, given only to a
	// caller who is allowed; nil for a thing that exists.
	Missing error
}

// Absent notes that the thing does not exist, if that is what err says, with the
// error for it. Any other error is returned: an unreadable record must not pass
// for an absent one.
func (t *Target) Absent(err, missing error) error {
	if errors.Is(err, store.ErrNotFound) {
		t.Missing = missing
		return nil
	}
	return err
}

// Managed says which service manages a thing.
type Managed struct {
	// Kind of thing.
	Kind ManagedKind
	// Service manages it. Product, of that service, and its display name, for
	// default secrets.
	Service, Product, ProductName string
	// Retired is set if the product is retired.
	Retired bool
	// ManageURL tells where the change has to be made; it is shown only to a
	// caller who may describe the thing.
	ManageURL string
	// Describe is the action that permits seeing ManageURL.
	Describe string
}

// ManagedKind distinguishes the things that services manage.
type ManagedKind uint8

// The things that services manage.
const (
	DefaultSecret ManagedKind = iota + 1
	ServiceLinkedRole
)

// Request is the part of a request that conditions can ask for.
type Request struct {
	Now    time.Time
	Source netip.Addr
	TLS    bool
}

// Verdict is the outcome for all targets of a request.
type Verdict struct {
	Allowed bool
	// Decision is the first refusal, or the last allowance.
	Decision policy.Decision
	// Target is what Decision is about; nil if the request had no target.
	Target *Target
}

// Authorizer decides. It is stateless and safe for concurrent use.
type Authorizer struct{}

// Authorize decides on every target; all must be allowed. An error means that
// the snapshot could not be read (a record failed its integrity check): then
// nothing may be done.
func (a *Authorizer) Authorize(v *store.View, p *identity.Principal, req *Request, rule Rule, targets []Target) (Verdict, error) {
	attached, err := identityPolicies(v, p)
	if err != nil {
		return Verdict{}, err
	}
	standstill, err := readOnly(v, p, rule)
	if err != nil {
		return Verdict{}, err
	}
	out := Verdict{Allowed: true, Decision: policy.Decision{Allowed: true}}
	for i := range targets {
		t := &targets[i]
		judged := *t
		if standstill != nil {
			judged.Refusals = append(slices.Clone(t.Refusals), *standstill)
		}
		out.Decision, out.Target = decide(p, req, rule, &judged, attached), t
		if !out.Decision.Allowed {
			out.Allowed = false
			return out, nil
		}
	}
	return out, nil
}

func decide(p *identity.Principal, req *Request, rule Rule, t *Target, attached []policy.Attached) policy.Decision {
	q := query(p, req, rule, t, attached)
	if len(q.Guards) == 0 && (t.Free || p.Kind == identity.Operator) {
		// Operators have no policies: what they may do is said by the table of
		// operations (Rule.Callers) and by nothing else.
		return policy.Decision{Allowed: true, Reasons: []policy.Reason{{Code: policy.SystemWork, Message: "no permission is needed"}}}
	}
	d := policy.Decide(q)
	if !d.Allowed && t.Items && d.NoPermissionType == policy.ImplicitDeny && len(q.Guards) == 0 &&
		policy.CouldMatch(q, itemPrefix(t)) {
		d.Allowed, d.NoPermissionType, d.PolicyType = true, "", ""
	}
	return d
}

// itemPrefix is what the names of a container's items begin with.
func itemPrefix(t *Target) arn.ARN {
	prefix := t.Resources[0]
	prefix.Resource += "/"
	return prefix
}

func query(p *identity.Principal, req *Request, rule Rule, t *Target, attached []policy.Attached) *policy.Query {
	return &policy.Query{
		Action: t.Action, Resources: t.Resources, Principal: p.Policy(), Owner: t.Account,
		Guards: append(guards(p, rule, t), t.Refusals...), Identity: attached, Session: sessionPolicy(p),
		Resource: t.Policy, RequireBoth: t.RequireBoth, Manages: manages(p, t),
		Env: &env{p: p, req: req, target: t},
	}
}

func sessionPolicy(p *identity.Principal) *policy.Attached {
	if p.SessionPolicy == nil {
		return nil
	}
	return &policy.Attached{Document: p.SessionPolicy, Name: p.Session, Type: "Session", AttachedTo: p.ARN().String()}
}

// Allows tells whether the principal may do action on the target's thing, as a
// question beside the request's own decision: may the caller see this hint?
// Guards count, reasons are dropped.
func (a *Authorizer) Allows(v *store.View, p *identity.Principal, req *Request, rule Rule, t Target) (bool, error) {
	out, err := a.Authorize(v, p, req, rule, []Target{t})
	return out.Allowed, err
}

// Filter prepares one principal for many decisions on one action, one per item
// of a list.
func (a *Authorizer) Filter(v *store.View, p *identity.Principal, req *Request, rule Rule, action string) (func(t *Target) bool, error) {
	attached, err := identityPolicies(v, p)
	if err != nil {
		return nil, err
	}
	batch := policy.NewBatch(query(p, req, rule, &Target{Action: action, Account: p.Account}, attached))
	return func(t *Target) bool {
		return len(guards(p, rule, t)) == 0 && batch.Allowed(t.Policy, &env{p: p, req: req, target: t}, t.Resources...)
	}, nil
}

// systemDocuments are the system policies, compiled once.
var systemDocuments = sync.OnceValue(func() map[string]policy.Attached {
	out := map[string]policy.Attached{}
	for _, name := range policy.SystemNames() {
		text, version, _, _ := policy.System(name)
		doc, err := policy.Compile(policy.Identity, text, policy.Scope{})
		if err != nil {
			panic("access: system policy " + name + ": " + err.Error())
		}
		out[name] = policy.Attached{Document: doc, Name: name, Type: store.PolicySystem, Version: version}
	}
	return out
})

// identityPolicies gathers the policies attached to the principal, compiled.
// An attachment whose policy is gone grants nothing; one whose record is
// damaged is an error, since it may have held a Deny.
func identityPolicies(v *store.View, p *identity.Principal) ([]policy.Attached, error) {
	if r := p.Role(); r != nil && r.Service != "" {
		return servicePolicy(v, p, r.Service)
	}
	list := p.Attachments()
	out := make([]policy.Attached, 0, len(list))
	to := string(p.Kind) + "/" + p.Name
	for _, at := range list {
		if at.Type == store.PolicySystem {
			if doc, ok := systemDocuments()[at.Name]; ok {
				doc.AttachedTo = to
				out = append(out, doc)
			}
			continue
		}
		pol, err := store.Policies.Get(v, store.PolicyKey(p.Account, at.Name))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, policy.Attached{Document: pol.Compiled, Name: at.Name, Type: at.Type, Version: pol.Default, AttachedTo: to})
	}
	return out, nil
}

// servicePolicy is the policy of a service-linked role: the platform's, read
// from the registry and attached nowhere.
func servicePolicy(v *store.View, p *identity.Principal, service string) ([]policy.Attached, error) {
	s, err := store.Services.Get(v, service)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []policy.Attached{{
		Document: s.Compiled, Name: s.PolicyName, Type: store.PolicySystem, Version: "v1",
		AttachedTo: "role/" + p.Name,
	}}, nil
}
