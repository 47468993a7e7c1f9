package compat

import (
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/sesametest"
)

func start(t *testing.T) *sesametest.Server {
	t.Helper()
	return sesametest.Start(t, sesametest.Options{HTTP: true})
}

// at is who calls how where: what a step of a test needs beside its operation.
type at struct {
	t    *testing.T
	srv  *sesametest.Server
	how  caller
	cred sesametest.Credential
}

func (a at) as(c sesametest.Credential) at { a.cred = c; return a }

// ok calls an operation that must succeed and compares the whole answer, as far
// as the SDK knows its fields, with want: what differs from call to call stands
// there as [plain] writes it. It returns what was decoded.
func (a at) ok(product, operation string, p params, want answer) answer {
	a.t.Helper()
	got, err := a.how.call(a.srv, a.cred, product, operation, p)
	if err != nil {
		a.t.Fatalf("%s %s: %v", product, operation, err)
	}
	if want == nil {
		return got
	}
	want["RequestId"] = "ID"
	shape := a.how.shape(product, operation)
	if diff := cmp.Diff(clip(map[string]any(want), shape), plain("", map[string]any(got))); diff != "" {
		a.t.Errorf("%s %s %v: want -, got +:\n%s", product, operation, p, diff)
	}
	return got
}

// refused calls an operation that must be refused with status and code, and
// returns the refusal.
func (a at) refused(product, operation string, p params, status int, code string) *refusal {
	a.t.Helper()
	_, err := a.how.call(a.srv, a.cred, product, operation, p)
	var e *refusalError
	if !errors.As(err, &e) {
		a.t.Fatalf("%s %s: got %v, want it refused with %d %s", product, operation, err, status, code)
	}
	r := &e.refusal
	if r.Status != status || r.Code != code {
		a.t.Fatalf("%s %s: got %v, want %d %s", product, operation, r, status, code)
	}
	if !requestID.MatchString(r.RequestID) {
		a.t.Errorf("%s %s: the request id is %q", product, operation, r.RequestID)
	}
	return r
}

// field reads a text of an answer, for example field(got, "User", "UserId").
func field(a answer, path ...string) string {
	var v any = map[string]any(a)
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	s, _ := v.(string)
	return s
}

func (a at) kms(operation string, p params, want answer) answer {
	a.t.Helper()
	return a.ok("kms", operation, p, want)
}

func (a at) kmsRefused(operation string, p params, status int, code string) *refusal {
	a.t.Helper()
	return a.refused("kms", operation, p, status, code)
}

// mention checks that the refusal's message has all the texts in it.
func (r *refusal) mention(t *testing.T, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if !strings.Contains(r.Message, s) {
			t.Errorf("the message %q does not mention %q", r.Message, s)
		}
	}
}

var (
	requestID = regexp.MustCompile(`^[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}$`)
	wireTime  = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`)
	entityID  = regexp.MustCompile(`^[1-9]\d{17}$`)
)

// varying are the forms of fields that differ from call to call, by name, and
// what stands for them in wanted answers.
var varying = map[string]struct {
	form    *regexp.Regexp
	written string
}{
	"RequestId":       {requestID, "ID"},
	"UserId":          {entityID, "ENTITY"},
	"RoleId":          {entityID, "ENTITY"},
	"AccessKeyId":     {regexp.MustCompile(`^(LTAI5t[0-9A-Za-z]{18}|STS\.N[0-9A-Za-z]{20,30})$`), "KEY"},
	"AccessKeySecret": {regexp.MustCompile(`^[0-9A-Za-z]{30,50}$`), "SECRET"},
	"SecurityToken":   {regexp.MustCompile(`^CAIS[0-9A-Za-z+/=]{100,}$`), "TOKEN"},
}

// plain returns the answer with names for what differs from call to call, where
// that has the form that it must have: "TIME" for times, and those of varying.
func plain(name string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = plain(k, e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(name, v[i])
		}
		return out
	case string:
		if wireTime.MatchString(v) {
			return "TIME"
		}
		if f, ok := varying[name]; ok && f.form.MatchString(v) {
			return f.written
		}
	}
	return v
}

// clip takes the fields out of a wanted answer that the SDK's type does not
// have.
func clip(v any, t reflect.Type) any {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := v.(type) {
	case answer:
		return clip(map[string]any(v), t)
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if t == nil {
				out[k] = clip(e, nil)
			} else if f, ok := fieldOf(t, k); ok {
				out[k] = clip(e, f)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = clip(v[i], elem(t))
		}
		return out
	case int:
		return float64(v) // as JSON has it
	}
	return v
}

func elem(t reflect.Type) reflect.Type {
	if t == nil || t.Kind() != reflect.Slice {
		return nil
	}
	return t.Elem()
}

// fieldOf is the type of the field that stands for name on the wire.
func fieldOf(t reflect.Type, name string) (reflect.Type, bool) {
	for i := range t.NumField() {
		if tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); tag == name {
			return t.Field(i).Type, true
		}
	}
	return nil, false
}

// list writes a list of an answer.
func list[T any](elems ...T) []any {
	out := make([]any, len(elems))
	for i, e := range elems {
		out[i] = e
	}
	return out
}

// session reads the credential of AssumeRole's answer.
func session(a answer) sesametest.Credential {
	return sesametest.Credential{
		AccessKeyID:     field(a, "Credentials", "AccessKeyId"),
		AccessKeySecret: field(a, "Credentials", "AccessKeySecret"),
		SecurityToken:   field(a, "Credentials", "SecurityToken"),
	}
}

// readerPolicy lets a user read the default secrets of one product code.
func readerPolicy(code string) string {
	return `{"Version":"1","Statement":[{"Effect":"Allow","Action":["kms:List*","kms:Describe*","kms:GetSecretValue"],"Resource":"acs:kms:${region}:${account}:secret/` + code + `!*"}]}`
}
