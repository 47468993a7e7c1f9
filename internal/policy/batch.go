package policy

import (
	"strings"

	"github.com/opensesame-kms/opensesame/internal/arn"
)

// Batch answers one question for many things, for listings that show a caller
// only what it may see. What does not depend on the thing is done once. It is
// immutable and safe for concurrent use.
type Batch struct {
	q      Query
	action string
}

// NewBatch prepares q. Its Resources, Resource and Env are not used; those of
// each thing are given to Allowed.
func NewBatch(q *Query) *Batch {
	b := &Batch{q: *q, action: strings.ToLower(q.Action)}
	b.q.Identity = nil
	for _, a := range q.Identity {
		// What is no readable identity policy denies everything and must not
		// get lost.
		n := narrowed(a, b.action)
		if n.Document == nil || n.Document.kind != Identity || len(n.Document.statements) > 0 {
			b.q.Identity = append(b.q.Identity, n)
		}
	}
	if q.Session != nil {
		s := narrowed(*q.Session, b.action)
		b.q.Session = &s
	}
	return b
}

// narrowed drops the statements that do not speak of the action.
func narrowed(a Attached, action string) Attached {
	if a.Document == nil {
		return a
	}
	d := Document{kind: a.Document.kind}
	for i := range a.Document.statements {
		if s := &a.Document.statements[i]; s.names(action) {
			d.statements = append(d.statements, *s)
		}
	}
	a.Document = &d
	return a
}

// Allowed answers for one thing as Decide would for a Query with these
// Resources, this Resource policy (nil if the thing has none) and this Env,
// without giving reasons.
func (b *Batch) Allowed(resource *Attached, env Env, names ...arn.ARN) bool {
	q := b.q
	q.Resource, q.Env = resource, env
	var room [2]thing
	e := newEvaluation(&q, b.action, newThings(room[:0], names))
	t := e.evaluate(nil)
	return e.allowed(&t)
}

// CouldMatch reports whether the caller's own policies could allow q's action on
// any thing of the service, region and account of prefix whose relative id
// begins with that of prefix ("secret/"): whether, that is, there is any use in
// looking at the things one by one. Guards, Deny statements and resource
// policies are not looked at; conditions are, but for those on tags of the
// thing, which are taken to be met.
func CouldMatch(q *Query, prefix arn.ARN) bool {
	e := newEvaluation(q, strings.ToLower(q.Action), nil)
	if q.Session != nil && !e.couldAllow(sessionLayer, q.Session, prefix) {
		return false
	}
	switch e.standing() {
	case free:
		return true
	case barred:
		return false
	}
	for i := range q.Identity {
		if e.couldAllow(identityLayer, &q.Identity[i], prefix) {
			return true
		}
	}
	return false
}

func (e *evaluation) couldAllow(l layer, a *Attached, prefix arn.ARN) bool {
	if !e.readable(l, a) {
		return false
	}
	t := newThing(prefix)
	for i := range a.Document.statements {
		s := &a.Document.statements[i]
		if !s.deny && s.names(e.action) && s.couldCover(&t) && s.couldBeMet(e.q.Env) {
			return true
		}
	}
	return false
}

func (s *statement) couldCover(t *thing) bool {
	for i := range s.resources {
		if s.resources[i].reaches(t) {
			return true
		}
	}
	return false
}

func (s *statement) couldBeMet(env Env) bool {
	for i := range s.conditions {
		if c := &s.conditions[i]; !c.perItem() && !c.met(env, s.deny) {
			return false
		}
	}
	return true
}
