package policy_test

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/opensesame-kms/opensesame/internal/policy"
)

// The engine is compared with the naive evaluator on random questions. Texts are
// drawn from small sets whose members nearly fit each other, so that matches,
// near misses and conflicts are all frequent.

func pick(t *rapid.T, label string, of ...string) string {
	return rapid.SampledFrom(of).Draw(t, label)
}

const (
	acctA = "1111111111111111"
	acctB = "2222222222222222"
)

var (
	drawActions    = []string{"kms:GetSecretValue", "kms:getsecretvalue", "kms:PutSecretValue", "kms:DescribeSecret", "kms:ListSecrets", "kms:CreateSecret", "kms:UpdateSecret", "sts:AssumeRole"}
	drawPatterns   = []string{"*", "kms:*", "kms:Get*", "KMS:get?ecret*", "kms:*Secret", "sts:AssumeRole", "*:*", "kms:GetSecretValue", "kms:?*Secret*e", "kms:Update*"}
	drawResources  = []string{"acs:kms:r:" + acctA + ":secret/mcp!a", "acs:kms:r:" + acctA + ":secret/mcp!b/é:x", "acs:kms:r:" + acctB + ":secret/mcp!a", "acs:kms:r:" + acctA + ":secret", "acs:ram:*:" + acctA + ":role/Target", "acs:ram::" + acctA + ":user/u", "*"}
	drawARNs       = []string{"*", "acs:kms:*:*:secret/mcp!*", "acs:kms:${region}:${account}:secret/*", "acs:kms:*:" + acctA + ":*", "acs:kms:r:*:secret/mcp!?", "acs:kms:*", "acs:*:*:*:*", "acs:ram::" + acctA + ":role/target", "acs:ram:*:*:ROLE/*", "acs:ram:*:*:*e*", "**", "?", "acs:kms:*:*:secret", "acs:kms:?:*:*/*?:*", "acs:kms::*:*", "${x}", "acs:kms:*:*1:secret/m*p!*"}
	drawPrincipals = []string{"acs:ram::" + acctA + ":user/u", "acs:ram:*:" + acctA + ":role/R", "acs:ram::" + acctA + ":role/r", "acs:ram::" + acctA + ":root", "acs:ram::" + acctB + ":root", "acs:ram::" + acctB + ":user/u", "acs:ram::${account}:user/u", "acs:ram::" + acctB + ":role/r"}
	drawCallers    = []policy.Principal{
		{Kind: policy.User, Account: acctA, Name: "u"}, {Kind: policy.User, Account: acctB, Name: "u"},
		{Kind: policy.RoleSession, Account: acctA, Name: "R"}, {Kind: policy.RoleSession, Account: acctB, Name: "r"},
		{Kind: policy.Root, Account: acctA}, {Kind: policy.Root, Account: acctB},
		{Kind: policy.Service, Name: "s.x.com"}, {Kind: policy.Federated, Account: acctA, Name: "oidc-provider/i"},
		{Kind: policy.Background}, {},
	}
	drawConditions = []struct{ op, key string }{
		{"StringEquals", "s"}, {"StringNotEquals", "s"}, {"StringEqualsIgnoreCase", "s"}, {"StringNotEqualsIgnoreCase", "s"},
		{"StringLike", "s"}, {"StringNotLike", "s"},
		{"NumericEquals", "n"}, {"NumericNotEquals", "n"}, {"NumericLessThan", "n"}, {"NumericLessThanEquals", "n"}, {"NumericGreaterThan", "n"}, {"NumericGreaterThanEquals", "n"},
		{"DateEquals", "d"}, {"DateNotEquals", "d"}, {"DateLessThan", "d"}, {"DateLessThanEquals", "d"}, {"DateGreaterThan", "d"}, {"DateGreaterThanEquals", "d"},
		{"Bool", "b"}, {"IpAddress", "i"}, {"NotIpAddress", "i"},
		{"StringEquals", "acs:PrincipalARN"}, {"StringNotLike", "acs:PrincipalARN"},
	}
	drawValues = map[string][]string{
		"s": {"a", "A", "ab", "a*", "?", "é", "*b*"}, "n": {"1", "1.0", "2", "-3", "1e1"},
		"d": {"2026-01-02T03:04:05Z", "2026-01-02T04:04:05+01:00", "2026-01-02T03:04:06Z", "2025-01-02T03:04:05.5Z"},
		"b": {"true", "false"}, "i": {"10.0.0.1", "10.0.0.0/8", "::/0", "2001:db8::1", "0.0.0.0/0"},
		"acs:PrincipalARN": {"acs:ram:*:" + acctA + ":role/r", "acs:ram::" + acctA + ":role/R", "acs:ram:*:*:user/*"},
	}
	drawHave = map[string][]string{
		"s": {"a", "A", "ab", "é", "", "b"}, "n": {"1", "01", "2.0", "-3", "x", "10"},
		"d": {"2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z", "2020-01-01T00:00:00+08:00", "now"},
		"b": {"true", "false", "TRUE"}, "i": {"10.0.0.1", "11.0.0.1", "2001:db8::1", "here"},
		"acs:PrincipalARN": {"acs:ram::" + acctA + ":role/R", "acs:ram::" + acctA + ":user/u", "x"},
	}
)

func some(t *rapid.T, label string, of []string) any {
	list := rapid.SliceOfN(rapid.SampledFrom(of), 1, 3).Draw(t, label)
	if len(list) == 1 && rapid.Bool().Draw(t, "bare") {
		return list[0]
	}
	return list
}

func drawDocument(t *rapid.T, kind policy.Kind) string {
	n := rapid.IntRange(1, 3).Draw(t, "statements")
	var statements []any
	for range n {
		s := map[string]any{"Effect": pick(t, "effect", "Allow", "Allow", "Deny")}
		actions, name := drawPatterns, "Action"
		switch kind {
		case policy.Trust:
			actions = []string{"sts:AssumeRole", "sts:*", "STS:assume*"}
		case policy.Resource:
			actions = []string{"kms:*", "kms:Get*", "kms:GetSecretValue", "kms:*Secret", "kms:Update*", "KMS:list*"}
		}
		if kind != policy.Trust {
			s["Resource"] = some(t, "resource", drawARNs)
			name = pick(t, "element", "Action", "Action", "Action", "NotAction")
		}
		s[name] = some(t, "action", actions)
		if kind == policy.Trust || kind == policy.Resource {
			s["Principal"] = drawPrincipal(t, kind)
		}
		if c := drawCondition(t); len(c) > 0 {
			s["Condition"] = c
		}
		statements = append(statements, s)
	}
	text, err := json.Marshal(map[string]any{"Version": "1", "Statement": statements})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func drawPrincipal(t *rapid.T, kind policy.Kind) map[string]any {
	p := map[string]any{}
	named := drawPrincipals
	if kind == policy.Resource {
		named = append([]string{"acs:ram::" + acctA + ":*", "acs:ram::" + acctB + ":*"}, named...)
	}
	p["RAM"] = some(t, "principal", named)
	if kind == policy.Trust && rapid.Bool().Draw(t, "service") {
		p["Service"] = some(t, "services", []string{"s.x.com", "y.x.com", acctA + "@s.x.com", acctB + "@s.x.com"})
	}
	if kind == policy.Trust && rapid.Bool().Draw(t, "federated") {
		p["Federated"] = some(t, "providers", []string{"acs:ram::" + acctA + ":saml-provider/i", "acs:ram::" + acctB + ":saml-provider/i"})
	}
	return p
}

func drawCondition(t *rapid.T) map[string]map[string]any {
	out := map[string]map[string]any{}
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		c := rapid.SampledFrom(drawConditions).Draw(t, "condition")
		if out[c.op] == nil {
			out[c.op] = map[string]any{}
		}
		out[c.op][c.key] = some(t, "values", drawValues[c.key])
	}
	return out
}

func drawQuestion(t *rapid.T) question {
	q := question{
		action: pick(t, "action", drawActions...), owner: pick(t, "owner", acctA, acctB), region: "r",
		resources:   rapid.SliceOfN(rapid.SampledFrom(drawResources), 0, 3).Draw(t, "resources"),
		principal:   rapid.SampledFrom(drawCallers).Draw(t, "principal"),
		requireBoth: rapid.Bool().Draw(t, "both"),
		manages:     rapid.Bool().Draw(t, "manages"),
		guarded:     rapid.IntRange(0, 19).Draw(t, "guarded") == 0,
		env:         map[string][]string{},
	}
	q.identityScope, q.ownedBy = q.principal.Account, q.owner
	if q.identityScope == "" {
		q.identityScope = acctA
	}
	for range rapid.IntRange(0, 2).Draw(t, "identity") {
		q.identity = append(q.identity, drawDocument(t, policy.Identity))
	}
	if rapid.IntRange(0, 2).Draw(t, "session") == 0 {
		d := drawDocument(t, policy.Session)
		q.session = &d
	}
	if rapid.IntRange(0, 2).Draw(t, "resource policy") > 0 {
		kind := policy.Resource
		if q.requireBoth {
			kind = policy.Trust
		} else {
			// The lists of what a secret's policy can grant are for secrets.
			q.resources = rapid.SliceOfN(rapid.SampledFrom(drawResources[:4]), 1, 2).Draw(t, "secrets")
		}
		d := drawDocument(t, kind)
		q.resource = &d
	}
	for _, key := range []string{"s", "n", "d", "b", "i", "acs:PrincipalARN"} {
		if rapid.IntRange(0, 3).Draw(t, "has "+key) > 0 {
			q.env[key] = rapid.SliceOfN(rapid.SampledFrom(drawHave[key]), 1, 2).Draw(t, key)
		}
	}
	return q
}

func TestAgainstNaive(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// Several questions at a time: rapid's usual 100 rounds are few.
		for range 10 {
			compareWithNaive(t, drawQuestion(t))
		}
	})
}

func compareWithNaive(t *rapid.T, q question) {
	want := naive(q)
	pq := compiled(t, q)
	d := policy.Decide(pq)
	if got := answer(d); got != want {
		t.Fatalf("Decide = %s, naive = %s\n%+v\n%s", got, want, q, reasons(d))
	}
	checkDecision(t, d)
	if got := policy.NewBatch(pq).Allowed(pq.Resource, pq.Env, pq.Resources...); got != d.Allowed {
		t.Fatalf("Batch = %v, Decide = %v", got, d.Allowed)
	}
	if d.Allowed && pq.Resource == nil && !q.requireBoth && len(pq.Resources) == 1 && !policy.CouldMatch(pq, pq.Resources[0]) {
		t.Fatalf("Decide allows what CouldMatch rules out\n%+v", q)
	}
}

// checkDecision checks what holds of every decision.
func checkDecision(t *rapid.T, d policy.Decision) {
	if len(d.Reasons) == 0 {
		t.Fatal("a decision without reasons")
	}
	for _, r := range d.Reasons {
		if r.Message == "" || r.Code == "" {
			t.Fatalf("an empty reason: %+v", d.Reasons)
		}
	}
	if d.Allowed != (d.PolicyType == "") || d.Allowed != (d.NoPermissionType == "") {
		t.Fatalf("Allowed %v, PolicyType %q, NoPermissionType %q", d.Allowed, d.PolicyType, d.NoPermissionType)
	}
}
