package policy

import (
	"slices"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/arn"
)

// Decide answers q. All statements are evaluated, none is skipped because the
// answer is already clear, so the reasons are complete. It is safe for
// concurrent use.
//
// The order of the law: guards; root of the owning account (which never takes
// on roles); any explicit Deny; the session policy, which must allow; then for
// the owner's own users and roles an Allow by identity or resource policy, for
// those of other accounts by both, and for AssumeRole by identity and trust
// policy.
func Decide(q *Query) Decision {
	var room [2]thing
	e := newEvaluation(q, strings.ToLower(q.Action), newThings(room[:0], q.Resources))
	var d Decision
	t := e.evaluate(&d)
	if d.Allowed = e.allowed(&t); d.Allowed {
		e.explainAllowed(&d)
	} else {
		e.explainRefused(&d, &t)
	}
	return d
}

// layer is one of the sets of policies that have a say.
type layer uint8

const (
	sessionLayer layer = iota
	identityLayer
	resourceLayer
	layers
)

// tally is what the statements of each layer came to.
type tally struct {
	allow, deny [layers]bool
}

// evaluation is one question being answered.
type evaluation struct {
	q      *Query
	action string // in lower case
	things []thing
	// ends holds where the recorded matches of each layer end.
	ends [layers]int
	own  bool // caller and thing are of one account
	// grantable: the resource policy may grant this action to this caller.
	grantable bool
}

// newEvaluation prepares a question; action is q's in lower case.
func newEvaluation(q *Query, action string, things []thing) evaluation {
	own := q.Principal.Account == q.Owner
	return evaluation{
		q: q, action: action, things: things, own: own,
		grantable: q.Resource != nil && (q.RequireBoth || grantable(action, things, own)),
	}
}

// newThings appends to room, which the caller keeps on its stack.
func newThings(room []thing, resources []arn.ARN) []thing {
	for _, a := range resources {
		room = append(room, newThing(a))
	}
	return room
}

// standing is what a caller is before any policy is looked at.
type standing int

const (
	ruled  standing = iota // policies decide
	free                   // only guards and a session policy can refuse
	barred                 // nothing can allow
)

func (e *evaluation) standing() standing {
	switch p := &e.q.Principal; p.Kind {
	case Background:
		return free
	case Root:
		if e.q.RequireBoth {
			return barred
		}
		if e.own && p.Account != "" {
			return free
		}
		return ruled
	case User, RoleSession, Service, Federated, Operator:
		return ruled
	}
	return barred
}

// each calls f for every policy that applies, in the order of the layers.
func (e *evaluation) each(f func(layer, *Attached)) {
	if e.q.Session != nil {
		f(sessionLayer, e.q.Session)
	}
	for i := range e.q.Identity {
		f(identityLayer, &e.q.Identity[i])
	}
	if e.q.Resource != nil {
		f(resourceLayer, e.q.Resource)
	}
}

// readable reports whether there is a document and it is of the kind that
// belongs in the layer. What it would deny is unknown otherwise.
func (e *evaluation) readable(l layer, a *Attached) bool {
	want := Identity
	switch {
	case l == sessionLayer:
		want = Session
	case l == resourceLayer && e.q.RequireBoth:
		want = Trust
	case l == resourceLayer:
		want = Resource
	}
	return a.Document != nil && a.Document.kind == want
}

// evaluate runs all statements. With d it records those that applied.
func (e *evaluation) evaluate(d *Decision) tally {
	var t tally
	e.each(func(l layer, a *Attached) {
		if !e.readable(l, a) {
			t.deny[l] = true
			return
		}
		for i := range a.Document.statements {
			e.run(&t, l, a, &a.Document.statements[i], d)
		}
		if d != nil {
			e.ends[l] = len(d.Matched)
		}
	})
	return t
}

func (e *evaluation) run(t *tally, l layer, a *Attached, s *statement, d *Decision) {
	who := e.concerns(l, s)
	if who == stranger || !s.met(e.q.Env) {
		return
	}
	if s.deny && l == resourceLayer && e.q.Manages && !e.q.RequireBoth && e.action != readValue {
		return // the owner's Deny does not reach a product's management
	}
	var void ReasonCode
	switch {
	case s.deny:
		// Also one for the owner's whole account: read as a mere delegation
		// it would deny nobody.
		t.deny[l] = true
	case who == delegate:
		void = ResourceDelegates
	case l == resourceLayer && !e.grantable:
		void = ActionNotGrantable
	default:
		t.allow[l] = true
	}
	if d != nil {
		d.Matched = append(d.Matched, matched(a, s, void))
	}
}

// concerns reports whether the statement speaks of this action, thing and
// caller, whatever its conditions.
func (e *evaluation) concerns(l layer, s *statement) acquaintance {
	if !s.names(e.action) || !e.covered(s) {
		return stranger
	}
	if l != resourceLayer {
		return meant
	}
	kind := Resource
	if e.q.RequireBoth {
		kind = Trust
	}
	best := stranger
	for i := range s.principals {
		best = max(best, s.principals[i].know(kind, &e.q.Principal, e.q.Owner))
	}
	return best
}

// names reports whether the statement speaks of the action, given in lower
// case.
func (s *statement) names(action string) bool {
	for i := range s.actions {
		if s.actions[i].match(action) {
			return !s.notAction
		}
	}
	return s.notAction
}

// layerOf returns the layer of the recorded match i.
func (e *evaluation) layerOf(i int) layer {
	switch {
	case i < e.ends[sessionLayer]:
		return sessionLayer
	case i < e.ends[identityLayer]:
		return identityLayer
	}
	return resourceLayer
}

// covered reports whether the statement speaks of the thing under any of its
// names. Trust policies have no resource but the role they belong to.
func (e *evaluation) covered(s *statement) bool {
	if s.resources == nil {
		return true
	}
	for i := range s.resources {
		for j := range e.things {
			if s.resources[i].match(&e.things[j]) {
				return true
			}
		}
	}
	return false
}

// met reports whether all conditions of the statement hold.
func (s *statement) met(env Env) bool {
	for i := range s.conditions {
		if !s.conditions[i].met(env, s.deny) {
			return false
		}
	}
	return true
}

// allowed combines the layers.
func (e *evaluation) allowed(t *tally) bool {
	q := e.q
	if len(q.Guards) > 0 || t.deny[sessionLayer] || q.Session != nil && !t.allow[sessionLayer] {
		return false
	}
	switch e.standing() {
	case free:
		return true
	case barred:
		return false
	}
	if t.deny[identityLayer] || t.deny[resourceLayer] {
		return false
	}
	identity, resource := t.allow[identityLayer], t.allow[resourceLayer]
	switch {
	case e.trustAlone():
		return resource
	case e.own && !q.RequireBoth:
		return identity || resource
	}
	return identity && resource
}

// trustAlone reports whether the caller takes on a role without having
// policies of its own.
func (e *evaluation) trustAlone() bool {
	k := e.q.Principal.Kind
	return e.q.RequireBoth && (k == Service || k == Federated)
}

// readValue is the action of reading a secret's value, in lower case.
const readValue = "kms:getsecretvalue"

// Actions that the policy of a secret or key can grant, in lower case, as the
// API's documentation lists them; a policy may name others, without effect.
// Other accounts can be granted use only and no management.
var (
	secretActions = newPatterns("kms:list*", "kms:describe*", "kms:putsecretvalue", "kms:update*",
		"kms:deletesecret", "kms:restoresecret", "kms:rotatesecret", "kms:tagresource",
		"kms:untagresource", readValue)
	secretUse = newPatterns("kms:list*", "kms:describe*", readValue)
	keyUse    = newPatterns("kms:encrypt", "kms:decrypt", "kms:reencrypt*", "kms:generatedatakey*",
		"kms:generateandexportdatakey", "kms:exportdatakey", "kms:asymmetric*", "kms:generatemac",
		"kms:verifymac", "kms:list*", "kms:describe*", "kms:getpublickey")
)

func newPatterns(texts ...string) []pattern { return mapped(texts, newPattern) }

// grantable reports whether a resource policy can grant the action on the
// things to a caller of the owning account (own) or of another one. A Deny is
// not bound to these lists: refusing more than expected harms less.
func grantable(action string, things []thing, own bool) bool {
	var list []pattern
	for i := range things {
		switch t := &things[i]; {
		case t.Service != "kms":
		case t.Type() == "secret" && own:
			list = secretActions
		case t.Type() == "secret":
			list = secretUse
		case t.Type() == "key" && own:
			return true
		case t.Type() == "key":
			list = keyUse
		}
	}
	return slices.ContainsFunc(list, func(p pattern) bool { return p.match(action) })
}
