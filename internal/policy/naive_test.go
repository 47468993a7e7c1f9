package policy_test

import (
	"encoding/json"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/opensesame-kms/opensesame/internal/policy"
)

// A second evaluator, written from the description of the language and not from
// the engine: it reads documents as plain JSON at each question, knows nothing
// of compilation, and puts clarity before speed. It answers "allow",
// "ImplicitDeny" or "ExplicitDeny".

type naiveDoc struct {
	Statement []map[string]any
}

type question struct {
	action, owner, region  string
	resources              []string
	principal              policy.Principal
	identity               []string // documents
	session, resource      *string
	requireBoth, manages   bool
	guarded                bool
	identityScope, ownedBy string // account of the identity policies; of the resource policy
	env                    map[string][]string
}

func naive(q question) string {
	if q.guarded {
		return "ExplicitDeny"
	}
	var identity, session, resource verdict
	for _, text := range q.identity {
		identity.add(q.judge(text, q.identityScope, ""))
	}
	if q.session != nil {
		session = q.judge(*q.session, q.identityScope, "")
	}
	if q.resource != nil {
		kind := "resource"
		if q.requireBoth {
			kind = "trust"
		}
		resource = q.judge(*q.resource, q.ownedBy, kind)
	}
	sessionPasses := q.session == nil || session.allow && !session.deny
	p := q.principal
	if p.Kind == policy.Background || p.Kind == policy.Root && !q.requireBoth && p.Account == q.owner {
		switch {
		case sessionPasses:
			return "allow"
		case session.deny:
			return "ExplicitDeny"
		}
		return "ImplicitDeny"
	}
	if p.Kind == policy.Root && q.requireBoth || p.Kind == 0 {
		return "ImplicitDeny"
	}
	if session.deny || identity.deny || resource.deny {
		return "ExplicitDeny"
	}
	ok := false
	switch {
	case q.requireBoth && (p.Kind == policy.Service || p.Kind == policy.Federated):
		ok = resource.allow
	case q.requireBoth || p.Account != q.owner:
		ok = identity.allow && resource.allow
	default:
		ok = identity.allow || resource.allow
	}
	if ok && sessionPasses {
		return "allow"
	}
	return "ImplicitDeny"
}

type verdict struct{ allow, deny bool }

func (v *verdict) add(w verdict) { v.allow, v.deny = v.allow || w.allow, v.deny || w.deny }

func (q question) judge(text, account, kind string) (v verdict) {
	text = strings.ReplaceAll(text, "${region}", q.region)
	text = strings.ReplaceAll(text, "${account}", account)
	var d naiveDoc
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&d); err != nil {
		panic(err)
	}
	for _, s := range d.Statement {
		deny := s["Effect"] == "Deny"
		if !q.actionFits(s) || kind != "trust" && !q.resourceFits(s) || !q.conditionsHold(s, deny) {
			continue
		}
		if kind != "" && !q.principalFits(s, kind, deny) {
			continue
		}
		if kind == "resource" && !deny && !q.canBeGranted() {
			continue
		}
		if kind == "resource" && deny && q.manages && !strings.EqualFold(q.action, "kms:GetSecretValue") {
			continue
		}
		v.add(verdict{allow: !deny, deny: deny})
	}
	return v
}

func strs(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case bool:
		return []string{strconv.FormatBool(v)}
	case json.Number:
		return []string{v.String()}
	case []any:
		var out []string
		for _, x := range v {
			out = append(out, strs(x)...)
		}
		return out
	}
	return nil
}

// glob is the textbook definition, on characters, remembering what it tried.
func glob(p, s string) bool {
	pr, sr := []rune(p), []rune(s)
	tried := map[[2]int]bool{}
	var fits func(i, j int) bool
	fits = func(i, j int) bool {
		if tried[[2]int{i, j}] {
			return false
		}
		tried[[2]int{i, j}] = true
		switch {
		case i == len(pr):
			return j == len(sr)
		case pr[i] == '*':
			return fits(i+1, j) || j < len(sr) && fits(i, j+1)
		case j == len(sr):
			return false
		}
		return (pr[i] == '?' || pr[i] == sr[j]) && fits(i+1, j+1)
	}
	return fits(0, 0)
}

func (q question) actionFits(s map[string]any) bool {
	if list, ok := s["NotAction"]; ok {
		return !anyOf(strs(list), func(p string) bool { return glob(strings.ToLower(p), strings.ToLower(q.action)) })
	}
	return anyOf(strs(s["Action"]), func(p string) bool { return glob(strings.ToLower(p), strings.ToLower(q.action)) })
}

func anyOf(list []string, f func(string) bool) bool {
	for _, v := range list {
		if f(v) {
			return true
		}
	}
	return false
}

func (q question) resourceFits(s map[string]any) bool {
	return anyOf(strs(s["Resource"]), func(p string) bool {
		return anyOf(q.resources, func(r string) bool { return arnFits(p, r) })
	})
}

// plainARN takes the region out of RAM names and the case out of roles.
func plainARN(s string) string {
	f := strings.SplitN(s, ":", 5)
	if len(f) == 5 && f[1] == "ram" {
		f[2] = ""
		if strings.HasPrefix(f[4], "role/") {
			f[4] = strings.ToLower(f[4])
		}
	}
	return strings.Join(f, ":")
}

func arnFits(p, r string) bool {
	if p == "*" {
		return true
	}
	r = plainARN(r)
	pf, rf := strings.SplitN(p, ":", 5), strings.SplitN(r, ":", 5)
	if len(pf) < 5 {
		return glob(p, r)
	}
	if len(rf) < 5 {
		return false
	}
	if rf[1] == "ram" && strings.HasPrefix(rf[4], "role/") {
		pf[4] = strings.ToLower(pf[4])
	}
	for i := range pf {
		if !glob(pf[i], rf[i]) {
			return false
		}
	}
	return true
}

func (q question) principalFits(s map[string]any, kind string, deny bool) bool {
	p := q.principal
	groups, _ := s["Principal"].(map[string]any)
	for group, list := range groups {
		for _, n := range strs(list) {
			switch group {
			case "Service":
				if p.Kind == policy.Service && (n == p.Name || n == q.owner+"@"+p.Name) {
					return true
				}
			case "Federated":
				if p.Kind == policy.Federated && plainARN(n) == "acs:ram::"+p.Account+":"+p.Name {
					return true
				}
			case "RAM":
				n = plainARN(n)
				person := p.Kind == policy.User || p.Kind == policy.RoleSession
				mine := "acs:ram::" + p.Account + ":"
				switch {
				case p.Kind == policy.User && n == mine+"user/"+p.Name:
					return true
				case p.Kind == policy.RoleSession && n == mine+"role/"+strings.ToLower(p.Name):
					return true
				case person && (n == mine+"root" || n == mine+"*"):
					if kind == "trust" || deny || p.Account != q.owner {
						return true
					}
				}
			}
		}
	}
	return false
}

func (q question) canBeGranted() bool {
	ops := "PutSecretValue DeleteSecret RestoreSecret RotateSecret TagResource UntagResource GetSecretValue"
	if q.principal.Account != q.owner {
		ops = "GetSecretValue"
	}
	_, op, _ := strings.Cut(strings.ToLower(q.action), ":")
	if strings.HasPrefix(op, "list") || strings.HasPrefix(op, "describe") {
		return true
	}
	if strings.HasPrefix(op, "update") && q.principal.Account == q.owner {
		return true
	}
	return anyOf(strings.Fields(strings.ToLower(ops)), func(o string) bool { return o == op })
}

func (q question) conditionsHold(s map[string]any, deny bool) bool {
	all, _ := s["Condition"].(map[string]any)
	for op, keys := range all {
		for key, list := range keys.(map[string]any) {
			if !holds(op, key, strs(list), q.env[key], deny) {
				return false
			}
		}
	}
	return true
}

func holds(op, key string, want, have []string, deny bool) bool {
	positive := strings.Replace(op, "Not", "", 1)
	negated := positive != op
	sensible, any := len(have) > 0, false
	for _, h := range have {
		if key == "acs:PrincipalARN" && strings.HasPrefix(op, "String") {
			h = plainARN(h)
		}
		for _, w := range want {
			yes, ok := compare(positive, key, h, w)
			any = any || yes
			sensible = sensible && ok
		}
	}
	if !negated {
		return any
	}
	if !sensible {
		return deny
	}
	return !any
}

func compare(op, key, h, w string) (yes, sensible bool) {
	isARN := key == "acs:PrincipalARN"
	if isARN && op != "StringLike" && strings.HasPrefix(op, "String") {
		w = plainARN(w)
	}
	switch op {
	case "StringEquals":
		return h == w, true
	case "StringEqualsIgnoreCase":
		return strings.EqualFold(h, w), true
	case "StringLike":
		if isARN {
			return arnFits(w, h), strings.Count(h, ":") >= 4
		}
		return glob(w, h), true
	case "Bool":
		return h == w, h == "true" || h == "false"
	case "IpAddress":
		ip := net.ParseIP(h)
		if !strings.Contains(w, "/") {
			return ip != nil && ip.Equal(net.ParseIP(w)), ip != nil
		}
		_, block, _ := net.ParseCIDR(w)
		return ip != nil && block.Contains(ip), ip != nil
	}
	if rest, ok := strings.CutPrefix(op, "Numeric"); ok {
		a, err := strconv.ParseFloat(h, 64)
		b, _ := strconv.ParseFloat(w, 64)
		return err == nil && order(rest, a-b), err == nil
	}
	rest := strings.TrimPrefix(op, "Date")
	a, err := time.Parse(time.RFC3339, h)
	b, _ := time.Parse(time.RFC3339, w)
	return err == nil && order(rest, a.Sub(b).Seconds()), err == nil
}

func order(op string, d float64) bool {
	switch op {
	case "Equals":
		return d == 0
	case "LessThan":
		return d < 0
	case "LessThanEquals":
		return d <= 0
	case "GreaterThan":
		return d > 0
	}
	return d >= 0
}
