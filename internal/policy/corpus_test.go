package policy_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/policy"
)

// group is one setting of the corpus (testdata/corpus) with questions about it.
// A case may replace the group's policies by its own.
type group struct {
	About    string
	Identity []json.RawMessage
	Session  json.RawMessage
	Resource json.RawMessage
	Trust    json.RawMessage
	Cases    []struct {
		Name      string
		Identity  *[]json.RawMessage
		Principal string // "<account>:user/alice", "<account>:root", "service/<name>", …
		Action    string
		Resource  json.RawMessage // a text or a list of texts
		Owner     string          // default: corpusAccount
		Manages   bool
		Env       map[string]string
		Want      string
		Type      string   // wanted PolicyType
		Codes     []string // wanted reasons
	}
}

const (
	corpusAccount = "1234567890123456"
	corpusRegion  = "cn-hangzhou"
)

func TestCorpus(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/corpus/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no corpus", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var groups []group
		dec := json.NewDecoder(strings.NewReader(string(text)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&groups); err != nil {
			t.Fatal(file, err)
		}
		for i := range groups {
			g := &groups[i]
			for j := range g.Cases {
				c := &g.Cases[j]
				t.Run(filepath.Base(file)+"/"+g.About+"/"+c.Name, func(t *testing.T) {
					t.Parallel()
					q := g.question(t, j)
					d := policy.Decide(compiled(t, q))
					if got := answer(d); got != c.Want || d.PolicyType != c.Type && c.Type != "" {
						t.Errorf("Decide = %s (%s), want %s (%s)\n%s", got, d.PolicyType, c.Want, c.Type, reasons(d))
					}
					if got := naive(q); got != c.Want {
						t.Errorf("naive evaluator = %s, want %s", got, c.Want)
					}
					if c.Codes != nil {
						if diff := cmp.Diff(c.Codes, codes(d)); diff != "" {
							t.Errorf("reasons differ (-want +got):\n%s\n%s", diff, reasons(d))
						}
					}
					if len(d.Reasons) == 0 {
						t.Error("a decision without reasons")
					}
				})
			}
		}
	}
}

func (g *group) question(t *testing.T, i int) question {
	c := &g.Cases[i]
	q := question{
		action: c.Action, owner: c.Owner, region: corpusRegion, manages: c.Manages,
		principal: principal(t, c.Principal), env: map[string][]string{},
	}
	if q.owner == "" {
		q.owner = corpusAccount
	}
	q.identityScope, q.ownedBy = q.principal.Account, q.owner
	if len(c.Resource) > 0 && c.Resource[0] == '[' {
		if err := json.Unmarshal(c.Resource, &q.resources); err != nil {
			t.Fatal(err)
		}
	} else {
		var r string
		if err := json.Unmarshal(c.Resource, &r); err != nil {
			t.Fatal(err)
		}
		q.resources = []string{r}
	}
	docs := g.Identity
	if c.Identity != nil {
		docs = *c.Identity
	}
	for _, d := range docs {
		q.identity = append(q.identity, string(d))
	}
	q.session, q.resource = optional(g.Session), optional(g.Resource)
	if g.Trust != nil {
		q.resource, q.requireBoth = optional(g.Trust), true
	}
	for k, v := range c.Env {
		q.env[k] = strings.Split(v, "|")
	}
	return q
}

func optional(doc json.RawMessage) *string {
	if doc == nil {
		return nil
	}
	s := string(doc)
	return &s
}

func principal(t *testing.T, s string) policy.Principal {
	t.Helper()
	if name, ok := strings.CutPrefix(s, "service/"); ok {
		return policy.Principal{Kind: policy.Service, Name: name}
	}
	account, rest, _ := strings.Cut(s, ":")
	typ, name, _ := strings.Cut(rest, "/")
	switch typ {
	case "root":
		return policy.Principal{Kind: policy.Root, Account: account}
	case "user":
		return policy.Principal{Kind: policy.User, Account: account, Name: name}
	case "role":
		return policy.Principal{Kind: policy.RoleSession, Account: account, Name: name}
	case "oidc-provider", "saml-provider":
		return policy.Principal{Kind: policy.Federated, Account: account, Name: rest}
	case "background":
		return policy.Principal{Kind: policy.Background}
	case "":
		return policy.Principal{}
	}
	t.Fatalf("principal %q", s)
	return policy.Principal{}
}

// compiled turns a question for the naive evaluator into one for the engine.
func compiled(t fataler, q question) *policy.Query {
	out := &policy.Query{
		Action: q.action, Principal: q.principal, Owner: q.owner,
		RequireBoth: q.requireBoth, Manages: q.manages, Env: policy.MapEnv(q.env),
	}
	for _, r := range q.resources {
		a := policy.Everything
		if r != "*" {
			var err error
			if a, err = arn.Parse(r); err != nil {
				t.Fatalf("%q: %v", r, err)
			}
		}
		out.Resources = append(out.Resources, a)
	}
	if q.guarded {
		out.Guards = []policy.Guard{{Code: policy.GuardOwnedByProduct, Message: "guarded"}}
	}
	mine := policy.Scope{Region: q.region, Account: q.identityScope}
	for _, text := range q.identity {
		out.Identity = append(out.Identity, policy.Attached{
			Document: must(t, policy.Identity, text, mine), Name: "p", Type: "Custom", Version: "v1", AttachedTo: "user/alice",
		})
	}
	if q.session != nil {
		out.Session = &policy.Attached{Document: must(t, policy.Session, *q.session, mine), Name: "session", Type: "Session"}
	}
	if q.resource != nil {
		kind, typ := policy.Resource, "Resource"
		if q.requireBoth {
			kind, typ = policy.Trust, "Trust"
		}
		owner := policy.Scope{Region: q.region, Account: q.ownedBy}
		out.Resource = &policy.Attached{Document: must(t, kind, *q.resource, owner), Name: "default", Type: typ}
	}
	return out
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func must(t fataler, kind policy.Kind, text string, scope policy.Scope) *policy.Document {
	t.Helper()
	d, err := policy.Compile(kind, text, scope)
	if err != nil {
		t.Fatalf("Compile: %v\n%s", err, text)
	}
	return d
}

func answer(d policy.Decision) string {
	if d.Allowed {
		return "allow"
	}
	return d.NoPermissionType
}

func codes(d policy.Decision) []string {
	var out []string
	for _, r := range d.Reasons {
		out = append(out, string(r.Code))
	}
	return out
}

func reasons(d policy.Decision) string {
	var b strings.Builder
	for _, r := range d.Reasons {
		b.WriteString(string(r.Code) + ": " + r.Message + "\n")
	}
	return b.String()
}
