package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/policy"
)

var (
	home   = policy.Scope{Region: "r", Account: "1"}
	alice  = policy.Principal{Kind: policy.User, Account: "1", Name: "alice"}
	root   = policy.Principal{Kind: policy.Root, Account: "1"}
	secret = arn.Secret("r", "1", "mcp!x")
)

func identity(t fataler, name, statements string) policy.Attached {
	t.Helper()
	return policy.Attached{
		Document: must(t, policy.Identity, `{"Version":"1","Statement":[`+statements+`]}`, home),
		Name:     name, Type: "Custom", Version: "v1", AttachedTo: "user/alice",
	}
}

func TestReasonCodesGolden(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	seen := map[policy.ReasonCode]bool{}
	for _, c := range policy.ReasonCodes() {
		if seen[c] {
			t.Errorf("%s appears twice", c)
		}
		seen[c] = true
		fmt.Fprintln(&b, c)
	}
	golden(t, "testdata/reasons.golden", []byte(b.String()))
}

func TestGuardsComeFirst(t *testing.T) {
	t.Parallel()
	guards := []policy.Guard{
		{Code: policy.GuardOwnedByProduct, Message: "The product manages it."},
		{Code: policy.GuardCrossAccountWrite, Message: "Only reading."},
	}
	for _, p := range []policy.Principal{root, {Kind: policy.Background}} {
		d := policy.Decide(&policy.Query{Action: "kms:DeleteSecret", Resources: []arn.ARN{secret}, Principal: p, Owner: "1", Guards: guards})
		want := policy.Decision{
			NoPermissionType: policy.ExplicitDeny, PolicyType: policy.GuardPolicyType,
			Reasons: []policy.Reason{{Code: guards[0].Code, Message: guards[0].Message}, {Code: guards[1].Code, Message: guards[1].Message}},
		}
		if diff := cmp.Diff(want, d); diff != "" {
			t.Errorf("%s: %s", p, diff)
		}
	}
	d := policy.Decide(&policy.Query{Action: "kms:DeleteSecret", Resources: []arn.ARN{secret}, Principal: alice, Owner: "1", Guards: guards[:1]})
	if diff := cmp.Diff([]string{"guard-owned-by-product", "identity-no-allow"}, codes(d)); diff != "" {
		t.Error(diff)
	}
	d = policy.Decide(&policy.Query{
		Action: "kms:DeleteSecret", Resources: []arn.ARN{secret}, Principal: alice, Owner: "1", Guards: guards[:1],
		Identity: []policy.Attached{identity(t, "all", `{"Effect":"Allow","Action":"*","Resource":"*"}`)},
	})
	if diff := cmp.Diff([]string{"guard-owned-by-product"}, codes(d)); diff != "" || len(d.Matched) != 1 {
		t.Error(diff, d.Matched)
	}
}

// TestReasonsAreComplete has everything wrong at once.
func TestReasonsAreComplete(t *testing.T) {
	t.Parallel()
	session := policy.Attached{Document: must(t, policy.Session, `{"Version":"1","Statement":[{"Effect":"Allow","Action":"kms:Describe*","Resource":"*"}]}`, home), Name: "session", Type: "Session"}
	resource := policy.Attached{Document: must(t, policy.Resource, `{"Version":"1","Statement":[
		{"Effect":"Deny","Action":"kms:Get*","Resource":"*","Principal":{"RAM":"acs:ram::2:*"}},
		{"Sid":"from the office","Effect":"Allow","Action":"kms:*","Resource":"*","Principal":{"RAM":"acs:ram::2:role/reader"},"Condition":{"IpAddress":{"acs:SourceIp":"10.0.0.0/8"},"StringEquals":{"sts:ExternalId":"hush"}}}]}`, home), Name: "default", Type: "Resource"}
	d := policy.Decide(&policy.Query{
		Action: "kms:GetSecretValue", Resources: []arn.ARN{secret}, Owner: "1",
		Principal: policy.Principal{Kind: policy.RoleSession, Account: "2", Name: "Reader"},
		Identity:  []policy.Attached{identity(t, "no-values", `{"Effect":"Allow","Action":"kms:List*","Resource":"*"},{"Sid":"never","Effect":"Deny","Action":"kms:GetSecretValue","Resource":"*"}`)},
		Session:   &session, Resource: &resource,
		Env: policy.MapEnv{"sts:ExternalId": {"guess"}},
	})
	want := policy.Decision{
		NoPermissionType: policy.ExplicitDeny, PolicyType: policy.IdentityPolicyType,
		Matched: []policy.Match{
			{Policy: "no-values", Type: "Custom", Version: "v1", AttachedTo: "user/alice", Statement: 1, Sid: "never", Deny: true},
			{Policy: "default", Type: "Resource", Deny: true},
		},
	}
	want.Reasons = []policy.Reason{
		{Code: policy.IdentityExplicitDeny, Source: want.Matched[0], Message: "Statement 2 'never' of the policy 'no-values' of user/alice denies kms:GetSecretValue on acs:kms:r:1:secret/mcp!x."},
		{Code: policy.ResourceExplicitDeny, Source: want.Matched[1], Message: "Statement 1 of the policy of the secret or key denies kms:GetSecretValue on acs:kms:r:1:secret/mcp!x."},
		{Code: policy.SessionNoAllow, Message: "The policy given when the session was made does not allow kms:GetSecretValue on acs:kms:r:1:secret/mcp!x."},
		{Code: policy.CrossAccountIdentityNoAllow, Message: "The thing belongs to account 1, and no policy of role Reader of account 2 allows kms:GetSecretValue on acs:kms:r:1:secret/mcp!x: attach one there that does."},
		{Code: policy.CrossAccountResourceNoAllow, Message: "The thing belongs to account 1, and its own policy does not allow role Reader of account 2 to kms:GetSecretValue: the owner has to grant it there."},
		{Code: policy.ConditionNotMet, Source: policy.Match{Policy: "default", Type: "Resource", Statement: 1, Sid: "from the office"},
			Message: "Statement 2 'from the office' of the policy of the secret or key would allow it, but not met: condition IpAddress on acs:SourceIp (which the request does not have), condition StringEquals on sts:ExternalId."},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if m := d.Matched[0]; m.Effect() != "Deny" || d.Reasons[5].Source.Effect() != "Allow" {
		t.Error("effects")
	}
}

// TestUnreadable: a policy that is missing or of the wrong kind denies.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	all := identity(t, "all", `{"Effect":"Allow","Action":"*","Resource":"*"}`)
	base := policy.Query{Action: "kms:GetSecretValue", Resources: []arn.ARN{secret}, Principal: alice, Owner: "1", Identity: []policy.Attached{all}}
	if !policy.Decide(&base).Allowed {
		t.Fatal("the readable one does not allow")
	}
	for name, change := range map[string]func(q *policy.Query){
		"identity": func(q *policy.Query) { q.Identity = append([]policy.Attached{{Name: "lost"}}, q.Identity...) },
		"identity kind": func(q *policy.Query) {
			other := must(t, policy.Session, `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ram:*","Resource":"*"}]}`, home)
			q.Identity = append([]policy.Attached{{Name: "other", Document: other}}, q.Identity...)
		},
		"session":       func(q *policy.Query) { q.Session = &policy.Attached{Name: "lost"} },
		"session kind":  func(q *policy.Query) { q.Session = &all },
		"resource":      func(q *policy.Query) { q.Resource = &policy.Attached{Name: "lost"} },
		"resource kind": func(q *policy.Query) { q.Resource = &all },
		"trust kind":    func(q *policy.Query) { q.Resource, q.RequireBoth = &all, true },
	} {
		q := base
		change(&q)
		d := policy.Decide(&q)
		if d.Allowed || d.Reasons[0].Code != policy.PolicyUnreadable || d.NoPermissionType != policy.ExplicitDeny {
			t.Errorf("%s: %+v", name, d)
		}
		if policy.NewBatch(&q).Allowed(q.Resource, q.Env, q.Resources...) {
			t.Errorf("%s: Batch allows", name)
		}
		if q.Session != nil && policy.CouldMatch(&q, secret) {
			t.Errorf("%s: CouldMatch", name)
		}
	}
	q := base
	q.Principal, q.Resource = root, &policy.Attached{Name: "lost"}
	if !policy.Decide(&q).Allowed {
		t.Error("a broken policy of a secret locks root out")
	}
}

// TestKeyPolicies: the policy of a key may grant its own account everything,
// another account only use.
func TestKeyPolicies(t *testing.T) {
	t.Parallel()
	key := policy.Attached{Name: "default", Type: "Resource", Document: must(t, policy.Resource,
		`{"Version":"1","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*","Principal":{"RAM":["acs:ram::1:user/alice","acs:ram::2:*"]}}]}`, home)}
	bob := policy.Principal{Kind: policy.User, Account: "2", Name: "bob"}
	all := []policy.Attached{identity(t, "all", `{"Effect":"Allow","Action":"*","Resource":"*"}`)}
	for _, c := range []struct {
		who      policy.Principal
		policies []policy.Attached
		action   string
		resource string
		want     bool
	}{
		{alice, nil, "kms:Decrypt", "key/k", true},
		{alice, nil, "kms:ScheduleKeyDeletion", "key/k", true},
		{bob, all, "kms:Decrypt", "key/k", true},
		{bob, all, "kms:GenerateDataKey", "key/k", true},
		{bob, all, "kms:DescribeKey", "key/k", true},
		{bob, all, "kms:ScheduleKeyDeletion", "key/k", false},
		{bob, all, "kms:SetKeyPolicy", "key/k", false},
		{bob, nil, "kms:Decrypt", "key/k", false},
		// Nothing else has such a policy.
		{alice, nil, "kms:DescribeKey", "alias/a", false},
	} {
		d := policy.Decide(&policy.Query{
			Action: c.action, Resources: []arn.ARN{{Service: "kms", Region: "r", Account: "1", Resource: c.resource}},
			Principal: c.who, Owner: "1", Identity: c.policies, Resource: &key,
		})
		if d.Allowed != c.want {
			t.Errorf("%s %s %s: %v\n%s", c.who, c.action, c.resource, d.Allowed, reasons(d))
		}
	}
}

func TestOperatorAndEverything(t *testing.T) {
	t.Parallel()
	q := policy.Query{
		Action: "sesame:CreateAccount", Resources: []arn.ARN{{}}, Principal: policy.Principal{Kind: policy.Operator, Name: "ops"},
		Identity: []policy.Attached{identity(t, "operators", `{"Effect":"Allow","Action":"sesame:*","Resource":"*"}`)},
	}
	if d := policy.Decide(&q); !d.Allowed {
		t.Errorf("operator: %s", reasons(d))
	}
	q.Identity = []policy.Attached{identity(t, "narrow", `{"Effect":"Allow","Action":"sesame:*","Resource":"acs:sesame:*:*:*"}`)}
	d := policy.Decide(&q)
	if d.Allowed || !strings.Contains(d.Reasons[0].Message, "operator ops allows sesame:CreateAccount on *") {
		t.Errorf("narrow: %s", reasons(d))
	}
	// An empty account owns nothing, and its root rules nothing.
	q = policy.Query{Action: "kms:GetSecretValue", Resources: []arn.ARN{secret}, Principal: policy.Principal{Kind: policy.Root}}
	if policy.Decide(&q).Allowed {
		t.Error("the root of no account is allowed")
	}
}

func TestCouldMatch(t *testing.T) {
	t.Parallel()
	secrets := arn.Secret("r", "1", "")
	for _, c := range []struct {
		statement string
		want      bool
	}{
		{`{"Effect":"Allow","Action":"kms:List*","Resource":"acs:kms:${region}:${account}:secret/mcp!*"}`, true},
		{`{"Effect":"Allow","Action":"*","Resource":"*"}`, true},
		{`{"Effect":"Allow","NotAction":"ram:*","Resource":"acs:kms:*"}`, true},
		{`{"Effect":"Allow","Action":"kms:*","Resource":"acs:kms:*:*:s*x"}`, true},
		{`{"Effect":"Allow","Action":"kms:*","Resource":"acs:kms:r:1:secret/one"}`, true},
		{`{"Effect":"Allow","Action":"kms:*","Resource":"acs:kms:r:1:?ecret?one"}`, true},
		{`{"Effect":"Allow","Action":"kms:*","Resource":"acs:kms:r:1:secret"}`, false},
		{`{"Effect":"Allow","Action":"kms:*","Resource":"acs:kms:r:1:key/*"}`, false},
		{`{"Effect":"Allow","Action":"kms:*","Resource":"acs:kms:r:2:secret/*"}`, false},
		{`{"Effect":"Allow","Action":"kms:*","Resource":"acs:kms:x:*:secret/*"}`, false},
		{`{"Effect":"Allow","Action":"kms:Get*","Resource":"*"}`, false},
		{`{"Effect":"Deny","Action":"*","Resource":"*"}`, false},
		{`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"acs:SecureTransport":"true"}}}`, false},
		{`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"acs:ResourceTag/team":"a"}}}`, true},
	} {
		q := policy.Query{Action: "kms:ListSecrets", Principal: alice, Owner: "1", Identity: []policy.Attached{identity(t, "p", c.statement)}}
		if got := policy.CouldMatch(&q, secrets); got != c.want {
			t.Errorf("%s: %v", c.statement, got)
		}
		session := policy.Attached{Document: must(t, policy.Session, `{"Version":"1","Statement":[`+c.statement+`]}`, home)}
		q.Session, q.Identity[0] = &session, identity(t, "all", `{"Effect":"Allow","Action":"*","Resource":"*"}`)
		if got := policy.CouldMatch(&q, secrets); got != c.want {
			t.Errorf("session %s: %v", c.statement, got)
		}
	}
	if q := (policy.Query{Action: "kms:ListSecrets", Principal: root, Owner: "1"}); !policy.CouldMatch(&q, secrets) {
		t.Error("root")
	}
	if q := (policy.Query{Action: "kms:ListSecrets", Owner: "1"}); policy.CouldMatch(&q, secrets) {
		t.Error("nobody")
	}
}

func TestSystemPolicies(t *testing.T) {
	t.Parallel()
	names := policy.SystemNames()
	if len(names) != 14 {
		t.Errorf("%d system policies", len(names))
	}
	for i, name := range names {
		text, version, description, ok := policy.System(name)
		if !ok || text == "" || version == "" || description == "" || i > 0 && names[i-1] >= name {
			t.Errorf("%s: %q %q %v", name, version, description, ok)
		}
		must(t, policy.Identity, text, policy.Scope{})
	}
	if _, _, _, ok := policy.System("NoSuchPolicy"); ok {
		t.Error("NoSuchPolicy exists")
	}
	for _, c := range []struct {
		name, action, resource string
		want                   bool
	}{
		{"AdministratorAccess", "anything:AtAll", "*", true},
		{"AliyunKMSFullAccess", "kms:GetSecretValue", "secret/a", true},
		{"AliyunKMSFullAccess", "ram:CreateServiceLinkedRole", "*", false}, // not of this service
		{"AliyunKMSReadOnlyAccess", "kms:DescribeSecret", "secret/a", true},
		{"AliyunKMSReadOnlyAccess", "kms:GetSecretPolicy", "secret/a", true},
		{"AliyunKMSReadOnlyAccess", "kms:GetSecretValue", "secret/a", false},
		{"AliyunKMSReadOnlyAccess", "kms:PutSecretValue", "secret/a", false},
		{"AliyunKMSSecretUserAccess", "kms:GetSecretValue", "secret/a", true},
		{"AliyunKMSSecretUserAccess", "kms:Decrypt", "key/a", false},
		{"AliyunKMSSecretAdminAccess", "kms:CreateSecret", "secret", true},
		{"AliyunKMSSecretAdminAccess", "kms:DescribeKey", "key/a", false},
		{"AliyunKMSCryptoUserAccess", "kms:Decrypt", "key/a", true},
		{"AliyunKMSCryptoUserAccess", "kms:CreateKey", "key", false},
		{"AliyunKMSCryptoAdminAccess", "kms:CreateKey", "key", true},
		{"AliyunKMSCryptoAdminAccess", "kms:GetSecretValue", "secret/a", false},
		{"AliyunSTSAssumeRoleAccess", "sts:AssumeRole", "*", true},
		{"AliyunRAMReadOnlyAccess", "ram:ListUsers", "*", true},
		{"AliyunRAMReadOnlyAccess", "ram:CreateUser", "*", false},
	} {
		text, version, _, _ := policy.System(c.name)
		target := arn.ARN{Service: "kms", Region: "r", Account: "1", Resource: c.resource}
		if c.resource == "*" {
			target = policy.Everything
		}
		d := policy.Decide(&policy.Query{
			Action: c.action, Resources: []arn.ARN{target}, Principal: alice, Owner: "1",
			Identity: []policy.Attached{{Document: must(t, policy.Identity, text, home), Name: c.name, Type: "System", Version: version}},
			Env:      policy.MapEnv{"ram:ServiceName": {"kms.alb.aliyuncs.com"}},
		})
		if d.Allowed != c.want {
			t.Errorf("%s %s on %s: %v\n%s", c.name, c.action, c.resource, d.Allowed, reasons(d))
		}
	}
}

// benchQuery is what a typical read asks: a system policy and the policy of one
// product's secrets.
func benchQuery(b fataler) *policy.Query {
	text, _, _, _ := policy.System("AliyunKMSReadOnlyAccess")
	return &policy.Query{
		Action: "kms:GetSecretValue", Resources: []arn.ARN{secret}, Principal: alice, Owner: "1",
		Identity: []policy.Attached{
			{Document: must(b, policy.Identity, text, home), Name: "AliyunKMSReadOnlyAccess", Type: "System", Version: "v3"},
			identity(b, "mcp", `{"Effect":"Allow","Action":["kms:List*","kms:Describe*","kms:GetSecretValue"],"Resource":"acs:kms:${region}:${account}:secret/mcp!*"}`),
		},
		Env: policy.MapEnv{},
	}
}

func TestAllocations(t *testing.T) {
	q := benchQuery(t)
	if n := testing.AllocsPerRun(100, func() {
		if !policy.Decide(q).Allowed {
			t.Fatal("not allowed")
		}
	}); n >= 5 {
		t.Errorf("an allowed decision makes %v allocations, want fewer than 5", n)
	}
}

func BenchmarkDecide(b *testing.B) {
	allowed, refused := benchQuery(b), benchQuery(b)
	refused.Action = "kms:PutSecretValue"
	b.Run("allowed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			policy.Decide(allowed)
		}
	})
	b.Run("refused", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			policy.Decide(refused)
		}
	})
	b.Run("batch", func(b *testing.B) {
		b.ReportAllocs()
		batch := policy.NewBatch(allowed)
		for b.Loop() {
			batch.Allowed(nil, nil, secret)
		}
	})
}
