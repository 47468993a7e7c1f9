package policy

import (
	"fmt"
	"strings"
)

func matched(a *Attached, s *statement, void ReasonCode) Match {
	return Match{
		Policy: a.Name, Type: a.Type, Version: a.Version, AttachedTo: a.AttachedTo,
		Statement: s.index, Sid: s.sid, Deny: s.deny, NoGrant: void,
	}
}

// explainAllowed names what allowed. Its messages are constant, because this is
// the path of every successful request.
func (e *evaluation) explainAllowed(d *Decision) {
	if e.standing() == free {
		r := Reason{Code: RootOfOwner, Message: "The root user of the owning account may do everything that the server's own laws allow."}
		if e.q.Principal.Kind == Background {
			r = Reason{Code: SystemWork, Message: "It is the server's own background work."}
		}
		d.Reasons = append(d.Reasons, r)
	}
	for i, m := range d.Matched {
		if m.Deny || m.NoGrant != "" {
			continue
		}
		r, l := Reason{Source: m}, e.layerOf(i)
		switch {
		case l == sessionLayer:
			r.Code, r.Message = SessionAllow, "The session policy lets it through."
		case l == identityLayer:
			r.Code, r.Message = IdentityAllow, "A policy of the caller allows it."
		case e.q.RequireBoth:
			r.Code, r.Message = TrustAllow, "The trust policy of the role allows it."
		default:
			r.Code, r.Message = ResourceAllow, "The policy of the secret or key allows it."
		}
		d.Reasons = append(d.Reasons, r)
	}
}

// explainRefused collects everything that stands in the way, so that who mends
// one thing does not only meet the next.
func (e *evaluation) explainRefused(d *Decision, t *tally) {
	d.NoPermissionType = ImplicitDeny
	for _, g := range e.q.Guards {
		d.refuse(GuardPolicyType, true, Reason{Code: g.Code, Message: g.Message})
	}
	last := layers
	switch e.standing() {
	case free:
		last = identityLayer // of the layers only the session has a say
	case barred:
		e.explainBarred(d)
		return
	}
	e.explainDenies(d, last)
	missing := e.explainMissing(d, t, last)
	e.explainNearMisses(d, &missing)
}

// refuse adds a reason. The first one gives the decision its policy type.
func (d *Decision) refuse(policyType string, explicit bool, r Reason) {
	if explicit {
		d.NoPermissionType = ExplicitDeny
	}
	if d.PolicyType == "" {
		d.PolicyType = policyType
	}
	d.Reasons = append(d.Reasons, r)
}

func (e *evaluation) explainBarred(d *Decision) {
	if e.q.Principal.Kind == Root {
		d.refuse(TrustPolicyType, false, Reason{Code: RootCannotAssume, Message: "Root users can't take on roles: use a RAM user or a role."})
		return
	}
	d.refuse(IdentityPolicyType, false, Reason{Code: UnknownPrincipal, Message: "The caller is of no known kind."})
}

// explainDenies names every explicit Deny of the layers before last, and every
// policy that could not be read.
func (e *evaluation) explainDenies(d *Decision, last layer) {
	e.each(func(l layer, a *Attached) {
		if l < last && !e.readable(l, a) {
			d.refuse(e.policyType(l), true, Reason{
				Code:    PolicyUnreadable,
				Message: fmt.Sprintf("The policy %s can't be read, so what it denies is unknown.", quote(a.Name)),
				Source:  Match{Policy: a.Name, Type: a.Type, Version: a.Version, AttachedTo: a.AttachedTo},
			})
		}
	})
	for i, m := range d.Matched {
		if l := e.layerOf(i); m.Deny && l < last {
			code := [layers]ReasonCode{SessionExplicitDeny, IdentityExplicitDeny, ResourceExplicitDeny}[l]
			if l == resourceLayer && e.q.RequireBoth {
				code = TrustExplicitDeny
			}
			d.refuse(e.policyType(l), true, Reason{
				Code: code, Source: m,
				Message: fmt.Sprintf("%s denies %s.", e.describe(l, &m), e.what()),
			})
		}
	}
}

// explainMissing names the layers that should have allowed and did not. It
// returns them.
func (e *evaluation) explainMissing(d *Decision, t *tally, last layer) (missing [layers]bool) {
	say := func(l layer, code ReasonCode, format string, args ...any) {
		missing[l] = true
		d.refuse(e.policyType(l), false, Reason{Code: code, Message: fmt.Sprintf(format, args...)})
	}
	if e.q.Session != nil && !t.allow[sessionLayer] {
		say(sessionLayer, SessionNoAllow, "The policy given when the session was made does not allow %s.", e.what())
	}
	identity, resource, who := t.allow[identityLayer], t.allow[resourceLayer], e.q.Principal
	switch {
	case last != layers:
	case e.q.RequireBoth:
		if !identity && !e.trustAlone() {
			say(identityLayer, IdentityNoAllow, "No policy of %s allows %s: attach one that does.", who, e.what())
		}
		if !resource {
			say(resourceLayer, TrustNoAllow, "The trust policy of the role does not allow %s to take it on.", who)
		}
	case e.own:
		if !identity && !resource {
			say(identityLayer, IdentityNoAllow, "No policy of %s allows %s: attach one that does.", who, e.what())
			missing[resourceLayer] = true
		}
	default:
		if !identity {
			say(identityLayer, CrossAccountIdentityNoAllow, "The thing belongs to account %s, and no policy of %s allows %s: attach one there that does.", e.q.Owner, who, e.what())
		}
		if !resource {
			say(resourceLayer, CrossAccountResourceNoAllow, "The thing belongs to account %s, and its own policy does not allow %s to %s: the owner has to grant it there.", e.q.Owner, who, e.q.Action)
		}
	}
	return missing
}

// explainNearMisses names the Allow statements of the layers that are missing
// one which would have allowed but for something.
func (e *evaluation) explainNearMisses(d *Decision, missing *[layers]bool) {
	e.each(func(l layer, a *Attached) {
		if !missing[l] || !e.readable(l, a) {
			return
		}
		for i := range a.Document.statements {
			s := &a.Document.statements[i]
			who := e.concerns(l, s)
			if s.deny || who == stranger {
				continue
			}
			m := matched(a, s, "")
			switch {
			case !s.met(e.q.Env):
				d.refuse("", false, Reason{Code: ConditionNotMet, Source: m, Message: fmt.Sprintf(
					"%s would allow it, but not met: %s.", e.describe(l, &m), e.unmet(s))})
			case who == delegate:
				m.NoGrant = ResourceDelegates
				d.refuse("", false, Reason{Code: ResourceDelegates, Source: m, Message: fmt.Sprintf(
					"%s allows it to the account as such; users and roles still need a policy of their own, or to be named here.", e.describe(l, &m))})
			case l == resourceLayer && !e.grantable:
				m.NoGrant = ActionNotGrantable
				d.refuse("", false, Reason{Code: ActionNotGrantable, Source: m, Message: fmt.Sprintf(
					"%s allows it, without effect: %s can't be granted here to %s.", e.describe(l, &m), e.q.Action, grantee(e.own))})
			}
		}
	})
}

// grantee says to whom a resource policy can't grant an action.
func grantee(own bool) string {
	if own {
		return "anybody"
	}
	return "another account"
}

// unmet lists the conditions of s that do not hold. It names keys, not values:
// some (sts:ExternalId) are shared secrets.
func (e *evaluation) unmet(s *statement) string {
	var list []string
	for i := range s.conditions {
		c := &s.conditions[i]
		if c.met(e.q.Env, s.deny) {
			continue
		}
		text := "condition " + c.operator + " on " + clip(c.key)
		if !has(e.q.Env, c.key) {
			text += " (which the request does not have)"
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func has(env Env, key string) bool {
	if env == nil {
		return false
	}
	v, ok := env.Values(key)
	return ok && len(v) > 0
}

// what names action and thing.
func (e *evaluation) what() string {
	if len(e.q.Resources) == 0 {
		return e.q.Action
	}
	names := make([]string, len(e.q.Resources))
	for i, a := range e.q.Resources {
		names[i] = a.String()
		if a.Service == "" {
			names[i] = "*"
		}
	}
	return e.q.Action + " on " + strings.Join(names, " or ")
}

func (e *evaluation) policyType(l layer) string {
	if l == resourceLayer && e.q.RequireBoth {
		return TrustPolicyType
	}
	return [layers]string{SessionPolicyType, IdentityPolicyType, ResourcePolicyType}[l]
}

// describe names a statement for people, who count from 1, at the beginning of
// a sentence.
func (e *evaluation) describe(l layer, m *Match) string {
	text := fmt.Sprintf("Statement %d", m.Statement+1)
	if m.Sid != "" {
		text += " " + quote(m.Sid)
	}
	switch {
	case l == sessionLayer:
		return text + " of the session policy"
	case l == resourceLayer && e.q.RequireBoth:
		return text + " of the trust policy"
	case l == resourceLayer:
		return text + " of the policy of the secret or key"
	}
	text += " of the policy " + quote(m.Policy)
	if m.AttachedTo != "" {
		text += " of " + m.AttachedTo
	}
	return text
}
