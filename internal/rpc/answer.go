package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/audit/record"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/policy"
)

// refusal is the answer to a request that the verdict forbids. It names action
// and thing, and says which sort of rule refused: what the caller asked for
// and may know. All else is for the record.
func (p *Pipeline) refusal(c *Call, v access.Verdict) error {
	t, d := v.Target, v.Decision
	who := c.Principal
	e := c.Info.Product.NoPermission
	thing := t.Resources[0].String()
	text := fmt.Sprintf("This operation for %s is forbidden by permission system. %s was refused: %s.", thing, t.Action, because(d))
	if m := t.Managed; m != nil && m.ManageURL != "" && brokenLaw(d, policy.GuardOwnedByProduct) {
		see := *t
		see.Action = m.Describe
		if ok, err := p.access.Allows(c.View, who, c.Conditions(), access.Rule{Callers: access.Accounts}, see); err == nil && ok {
			text += " It is managed at " + m.ManageURL + "."
		}
	}
	if brokenLaw(d, policy.RootCannotAssume) {
		text = "Roles may not be assumed by root accounts."
	}
	if brokenLaw(d, policy.GuardServiceLinkedRole) {
		bare := *t
		bare.Managed, bare.Missing = nil, nil
		without, err := p.access.Authorize(c.View, who, c.Conditions(), c.Info.Rule, []access.Target{bare})
		if err != nil {
			return err
		}
		if !without.Allowed {
			// Whether there is such a role is not for this caller.
			return p.refusal(c, without)
		}
		e = apierr.ServiceLinkedRole
		text = fmt.Sprintf("The operation %s is not allowed on the service-linked role %s: the service %s manages it.", c.Info.Name, thing, t.Managed.Service)
	}
	return e.Msg("%s", text).WithDenied(&apierr.Denied{
		AuthAction: t.Action, AuthPrincipalType: principalType(who), AuthPrincipalOwnerId: who.AccountOrSystem(),
		AuthPrincipalDisplayName: who.DisplayName(), NoPermissionType: d.NoPermissionType, PolicyType: d.PolicyType,
	})
}

// because says in words why a decision refused: the law that stands against the
// request, or the kind of policy that denies it or should have allowed it.
// Names of policies and what stands in them are not for every caller.
func because(d policy.Decision) string {
	if d.PolicyType == policy.GuardPolicyType {
		return laws(d)
	}
	kind := map[string]string{
		policy.IdentityPolicyType: "policy attached to the caller",
		policy.SessionPolicyType:  "policy of the caller's session",
		policy.TrustPolicyType:    "trust policy of the role",
		policy.ResourcePolicyType: "policy of the resource",
	}[d.PolicyType]
	if d.NoPermissionType == policy.ExplicitDeny {
		return "a " + kind + " denies it"
	}
	return "no " + kind + " allows it"
}

// laws are all laws that stand against a request; they come before all other
// reasons.
func laws(d policy.Decision) string {
	var out []string
	for _, r := range d.Reasons {
		if strings.HasPrefix(string(r.Code), "guard-") {
			out = append(out, r.Message)
		}
	}
	return strings.Join(out, "; ")
}

func brokenLaw(d policy.Decision, code policy.ReasonCode) bool {
	for _, r := range d.Reasons {
		if r.Code == code {
			return true
		}
	}
	return false
}

func principalType(p *identity.Principal) string {
	switch p.Kind {
	case identity.Root:
		return "Account"
	case identity.User:
		return "SubUser"
	case identity.RoleSession:
		return "AssumedRoleUser"
	case identity.Service:
		return "Service"
	default:
		return "Operator"
	}
}

// wireError turns any error into the one that is sent. What is no *apierr.Error
// and no BadParam is the server's fault, and its text stays here.
func (p *Pipeline) wireError(c *Call, err error) *apierr.Error {
	product := KMS
	if c.Info != nil {
		product = c.Info.Product
	}
	// The catalogue first: an error of it may have a BadParam as its cause.
	if e := apierr.As(err); e != nil {
		return e
	}
	var bad BadParam
	if errors.As(err, &bad) {
		return product.Bad(bad)
	}
	return product.Internal.Because(err)
}

func (p *Pipeline) errorResponse(c *Call, err error) *Response {
	e := p.wireError(c, err)
	if e.Status >= 500 {
		op := ""
		if c.Info != nil {
			op = c.Info.Name
		}
		p.Logger.Error("request failed", "requestId", c.RequestID, "operation", op, "code", e.Code, "cause", e.Cause)
	}
	body := []byte(`{"RequestId":`)
	body = appendString(body, c.RequestID)
	body = append(body, `,"HostId":`...)
	body = appendString(body, c.req.Host)
	body = append(body, `,"HttpStatus":`...)
	body = strconv.AppendInt(body, int64(e.Status), 10)
	body = append(body, `,"Code":`...)
	body = appendString(body, e.Code)
	body = append(body, `,"Message":`...)
	body = appendString(body, e.Message)
	if e.Denied != nil {
		detail, _ := json.Marshal(e.Denied) // strings always encode
		body = append(body, `,"AccessDeniedDetail":`...)
		body = append(body, detail...)
	}
	res := newResponse(c, e.Status, append(body, '}'))
	if e.RetryAfterMS > 0 {
		res.Header.Set("Retry-After", strconv.Itoa((e.RetryAfterMS+999)/1000))
		res.Header.Set("x-acs-retry-after", strconv.Itoa(e.RetryAfterMS))
	}
	if e.RateLimit != "" {
		res.Header.Set("x-ratelimit-user-api", e.RateLimit)
		res.Header.Set("x-ratelimit-user", e.RateLimit)
	}
	return res
}

func okResponse(c *Call, out any) *Response {
	return newResponse(c, http.StatusOK, appendOutput(nil, out, c.RequestID))
}

func newResponse(c *Call, status int, body []byte) *Response {
	return &Response{Status: status, Body: body, Header: http.Header{
		"Content-Type":     {"application/json;charset=utf-8"},
		"X-Acs-Request-Id": {c.RequestID},
	}}
}

// newRecord begins the audit record with what is known before the operation
// runs.
func (p *Pipeline) newRecord(c *Call, params map[string]string) *record.Record {
	product := c.Info.Product
	r := &record.Record{
		RequestID: c.RequestID, Time: c.Now, Operation: c.Info.Name, RW: c.Info.EventRW,
		Product: product.Service, APIVersion: product.Version, Region: p.Region, Global: product.Global,
		Host: c.req.Host, Source: c.Source(), UserAgent: c.req.Header.Get("User-Agent"), TLS: c.req.TLS,
		Identity: recordIdentity(c.Principal), Params: c.Info.in.record(params),
		HTTPStatus: http.StatusOK, Gateway: "shared", Node: p.Node,
	}
	if a := c.Principal.Account; a != "" {
		r.Accounts = []string{a}
	}
	return r
}

func recordIdentity(p *identity.Principal) record.Identity {
	id := record.Identity{
		PrincipalID: p.ID, AccountID: p.AccountOrSystem(), UserName: p.Name, AccessKeyID: p.AccessKeyID,
	}
	switch p.Kind {
	case identity.Root:
		id.Type = record.TypeRoot
	case identity.User:
		id.Type = record.TypeUser
	case identity.RoleSession:
		id.Type = record.TypeAssumedRole
		id.PrincipalID, id.UserName = p.ID+":"+p.Session, p.Name+":"+p.Session
		id.SessionCreated = p.SessionCreated
	case identity.Service:
		id.Type = record.TypeSystem
	default:
		id.Type = record.TypeOperator
	}
	return id
}

// noteVerdict writes decision, reasons and owners of the targets into the
// record.
func (c *Call) noteVerdict(targets []access.Target, v access.Verdict) {
	r := c.Record
	r.Decision = record.Deny
	if v.Allowed {
		r.Decision = record.Allow
	}
	for _, reason := range v.Decision.Reasons {
		r.Reasons = append(r.Reasons, string(reason.Code))
	}
	for _, m := range v.Decision.Matched {
		r.MatchedPolicies = append(r.MatchedPolicies, fmt.Sprintf("%s %s %s#%d", m.Effect(), m.Type, m.Policy, m.Statement))
	}
	for i := range targets {
		if m := targets[i].Managed; m != nil {
			r.OwningProduct = m.Product
		}
		a := targets[i].Account
		switch foreign := a != "" && !slices.Contains(r.Accounts, a); {
		case !foreign:
		case v.Allowed || c.Account() == "":
			r.Accounts = append(r.Accounts, a)
		default:
			// The caller's account reads this record. It must not learn from it
			// what the answer hides: whether the thing exists. Nor may a
			// stranger write into the owner's trail.
			r.SecretID, r.HostingMode = "", ""
		}
	}
}
