package policy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/policy"
)

var kinds = map[string]policy.Kind{
	"identity": policy.Identity, "session": policy.Session, "trust": policy.Trust, "resource": policy.Resource,
}

var update = flag.Bool("update", false, "write what the tests get into testdata, to be reviewed")

// golden compares got with a file of testdata.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestRefused goes through testdata/refused.json: documents that must not be
// accepted, with the message and the place.
func TestRefused(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/refused.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ Name, Kind, Document, Error string }
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	for i := range cases {
		c := &cases[i]
		d, err := policy.Compile(kinds[c.Kind], c.Document, policy.Scope{})
		var se *policy.SyntaxError
		if !errors.As(err, &se) || d != nil {
			t.Errorf("%s: Compile = %v, %v; want a SyntaxError", c.Name, d, err)
			continue
		}
		c.Error = err.Error()
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(cases); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/refused.json", out.Bytes())
}

const trivial = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`

func TestLength(t *testing.T) {
	t.Parallel()
	trust := `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":"acs:ram::1:root"}}]}`
	resource := `{"Version":"1","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*","Principal":{"RAM":"acs:ram::1:root"}}]}`
	for _, c := range []struct {
		kind policy.Kind
		text string
		max  int
	}{
		{policy.Identity, trivial, policy.MaxIdentity}, {policy.Session, trivial, policy.MaxSession},
		{policy.Trust, trust, policy.MaxTrust}, {policy.Resource, resource, policy.MaxResource},
	} {
		full := c.text + strings.Repeat(" ", c.max-len(c.text))
		d, err := policy.Compile(c.kind, full, policy.Scope{})
		if err != nil || d.Text() != full || d.Kind() != c.kind {
			t.Errorf("kind %v at its limit: %v", c.kind, err)
		}
		_, err = policy.Compile(c.kind, full+" ", policy.Scope{})
		var se *policy.SyntaxError
		if !errors.As(err, &se) || !se.TooLong {
			t.Errorf("kind %v past its limit: %v", c.kind, err)
		}
	}
	// Characters are not bytes.
	long := strings.Replace(trivial, `"Resource":"*"`, `"Resource":"`+strings.Repeat("密", 1900)+`"`, 1)
	if _, err := policy.Compile(policy.Session, long, policy.Scope{}); err != nil {
		t.Errorf("1900 characters of three bytes: %v", err)
	}
}

func TestInvalidUTF8(t *testing.T) {
	t.Parallel()
	if _, err := policy.Compile(policy.Identity, strings.Replace(trivial, "*", "\xff", 1), policy.Scope{}); err == nil {
		t.Error("accepted")
	}
}

func TestPrincipals(t *testing.T) {
	t.Parallel()
	d := must(t, policy.Trust, `{"Version":"1","Statement":[
		{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::1:root","acs:ram:*:1:user/u","acs:ram::${account}:role/r"],"Service":"2@a.b.com"}},
		{"Effect":"Deny","Action":["sts:AssumeRole"],"Principal":{"RAM":"acs:ram::1:user/u","Service":["a.b.com"],"Federated":"acs:ram::1:saml-provider/s"}}]}`,
		policy.Scope{Account: "7"})
	want := []policy.Principal{
		{Kind: policy.Root, Account: "1"}, {Kind: policy.User, Account: "1", Name: "u"}, {Kind: policy.RoleSession, Account: "7", Name: "r"},
		{Kind: policy.Service, Account: "2", Name: "a.b.com"}, {Kind: policy.Service, Name: "a.b.com"},
		{Kind: policy.Federated, Account: "1", Name: "saml-provider/s"},
	}
	if diff := cmp.Diff(want, d.Principals()); diff != "" {
		t.Error(diff)
	}
}

func TestCheckTarget(t *testing.T) {
	t.Parallel()
	target := arn.Secret("r", "1", "alb!x")
	for resource, ok := range map[string]bool{
		`"*"`: true, `["*"]`: true, `"acs:kms:r:1:secret/alb!x"`: true, `"acs:kms:${region}:${account}:secret/alb!x"`: true,
		`"acs:kms:r:1:secret/alb!y"`: false, `["*","acs:kms:r:2:secret/alb!x"]`: false, `"acs:kms:r:1:secret"`: false,
	} {
		d := must(t, policy.Resource, `{"Version":"1","Statement":[{"Effect":"Allow","Action":"kms:*","Principal":{"RAM":"acs:ram::1:*"},"Resource":`+resource+`}]}`,
			policy.Scope{Region: "r", Account: "1"})
		if err := d.CheckTarget(target); (err == nil) != ok {
			t.Errorf("%s: %v", resource, err)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for kind := range 4 {
		f.Add(kind, trivial)
	}
	text, err := os.ReadFile("testdata/refused.json")
	if err != nil {
		f.Fatal(err)
	}
	var refused []struct{ Kind, Document string }
	if err := json.Unmarshal(text, &refused); err != nil {
		f.Fatal(err)
	}
	for _, c := range refused {
		f.Add(int(kinds[c.Kind]), c.Document)
	}
	f.Add(int(policy.Trust), `{"Version":"1","Statement":[{"Sid":"a b","Effect":"Deny","Action":"sts:AssumeRole","Principal":{"Service":["1@a.b"],"Federated":"acs:ram::1:oidc-provider/x"},"Condition":{"StringEquals":{"oidc:iss":"x"},"NotIpAddress":{"acs:SourceIp":["::ffff:1.2.3.4/100",1]}}}]}`)
	f.Add(int(policy.Resource), `{"Version":"1","Statement":[{"Effect":"Allow","NotAction":["kms:*?*"],"Resource":["acs:kms:${region}:*:secret/*"],"Principal":{"RAM":"acs:ram::1:*"},"Condition":{"NumericLessThan":{"n":[1e9,true]},"DateEquals":{"d":"2026-01-02T03:04Z"}}}]}`)
	f.Fuzz(func(t *testing.T, kind int, text string) {
		k := policy.Kind(kind & 3)
		scope := policy.Scope{Region: "r", Account: "1"}
		d, err := policy.Compile(k, text, scope)
		if err != nil {
			if se := new(policy.SyntaxError); !errors.As(err, &se) || se.Line < 1 || se.Column < 1 || se.Message == "" {
				t.Fatalf("error %#v", err)
			}
			return
		}
		if d.Text() != text {
			t.Fatalf("Text() = %q, given %q", d.Text(), text)
		}
		if _, err := policy.Compile(k, d.Text(), scope); err != nil {
			t.Fatalf("accepted once, then refused: %v", err)
		}
		// Whatever was accepted can be asked.
		a := policy.Attached{Document: d, Name: "p"}
		q := policy.Query{
			Action: "kms:GetSecretValue", Resources: []arn.ARN{arn.Secret("r", "1", "a!b")}, Owner: "1",
			Principal: policy.Principal{Kind: policy.User, Account: "1", Name: "u"},
			Env:       policy.MapEnv{"acs:SourceIp": {"10.0.0.1"}, "acs:CurrentTime": {"2026-01-02T03:04:05Z"}, "n": {"1"}},
		}
		switch k {
		case policy.Identity:
			q.Identity = []policy.Attached{a}
		case policy.Session:
			q.Session = &a
		default:
			q.Resource, q.RequireBoth = &a, k == policy.Trust
		}
		if got := policy.Decide(&q); len(got.Reasons) == 0 {
			t.Fatal("no reasons")
		}
		policy.CouldMatch(&q, arn.Secret("r", "1", ""))
	})
}
