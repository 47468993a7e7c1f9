package record_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/audit/record"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	at      = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	created = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
)

const requestID = "0A1B2C3D-1111-2222-3333-444455556666"

// read is GetSecretValue by a role session, as the public documentation of
// ActionTrail shows such events.
func read() *record.Record {
	return &record.Record{
		RequestID: requestID, Time: at, Operation: "GetSecretValue", RW: record.Read, Product: "Kms",
		APIVersion: "2016-01-20", Region: "cn-hangzhou", Host: "kms.cn-hangzhou.aliyuncs.com", Source: "203.0.113.7",
		UserAgent: "AlibabaCloud (linux; amd64) Golang/1.26.8 Core/0.01 TeaDSL/2", TLS: true,
		Identity: record.Identity{
			Type: record.TypeAssumedRole, PrincipalID: "344584339364951:app", AccountID: "123456789012",
			UserName: "app-role:app", AccessKeyID: "STS.NTestVector000000000000001", SessionCreated: created,
		},
		Params:    map[string]string{"SecretName": "bailian!secret-123", "VersionStage": "ACSCurrent", "FetchExtendedConfig": "true"},
		Resources: []record.Resource{{Type: "ACS::KMS::Secret", Name: "bailian!secret-123"}},
		Accounts:  []string{"123456789012"},
	}
}

// create is CreateSecret by a product, with what we record beyond the event.
func create() *record.Record {
	r := read()
	r.Operation, r.RW, r.Source = "CreateSecret", record.Write, "kms-access.sfm.aliyuncs.com"
	r.Identity = record.Identity{
		Type: record.TypeAssumedRole, PrincipalID: "320000000000000:sfm", AccountID: "123456789012",
		UserName: "AliyunServiceRoleForSFMAccessKMS:sfm", AccessKeyID: "STS.NTestVector000000000000002", SessionCreated: created,
	}
	r.Params = map[string]string{"SecretName": "bailian!secret-123", "VersionId": "v1", "SecretDataType": "text", "SecretData": "******"}
	r.Response = json.RawMessage(`{"SecretName":"bailian!secret-123","VersionId":"v1","RequestId":"forged","Big":12345678901234567890}`)
	r.VersionID, r.SecretID, r.Stages = "v1", "s-1", []string{"ACSCurrent"}
	r.HostingMode, r.OwningProduct, r.Gateway, r.Network = "free", "bailian", "shared", "vpc-1"
	r.Decision, r.Reasons, r.MatchedPolicies = record.Allow, []string{"ManagingSession"}, []string{"AliyunServiceRolePolicyForSFMAccessKMS"}
	r.Node, r.Sequence, r.Revision, r.HTTPStatus = "n1", 7, 42, 200
	return r
}

// refused is a read that policy does not allow, with forged gateway fields.
func refused() *record.Record {
	r := read()
	r.Identity = record.Identity{Type: record.TypeUser, PrincipalID: "28815334868278", AccountID: "123456789012", UserName: "Alice", AccessKeyID: "LTAI5tTESTVECTOR00000001"}
	r.Params["HostId"], r.Params["RequestId"], r.Params["stsTokenPlayerUid"] = "forged", "forged", "forged"
	r.TLS = false
	r.ErrorCode, r.ErrorMessage, r.HTTPStatus = "Forbidden.NoPermission", "This operation is forbidden by permission system.", 403
	r.Decision, r.Reasons = record.Deny, []string{"ImplicitDeny"}
	return r
}

func withIdentity(id record.Identity) *record.Record {
	r := read()
	r.Identity = id
	return r
}

func TestEventGolden(t *testing.T) {
	counts := &record.Record{
		Kind: record.KindRefusals, EventID: "E-1", Time: at, Operation: "RefusedRequests", Region: "cn-hangzhou",
		Counts: []record.Refusal{
			{Source: "203.0.113.7", Account: "123456789012", Code: "SignatureDoesNotMatch", Count: 3},
			{Source: "203.0.113.8", Account: "999999999999", Code: "SignatureDoesNotMatch", Count: 2},
		},
		Accounts: []string{"123456789012", "999999999999"},
	}
	two := read()
	two.Operation, two.Global = "Decrypt", true
	two.Resources = []record.Resource{{"ACS::KMS::Key", "k1"}, {"ACS::KMS::Secret", "a"}, {"ACS::KMS::Key", "k2"}, {"ACS::KMS::Key", "k1"}}
	mfa := read()
	mfa.Identity.MFA = true
	for name, r := range map[string]*record.Record{
		"read":      read(),
		"create":    create(),
		"refused":   refused(),
		"root":      withIdentity(record.Identity{Type: record.TypeRoot, PrincipalID: "123456789012", AccountID: "123456789012", AccessKeyID: "LTAI5tTESTVECTOR00000001"}),
		"user":      withIdentity(record.Identity{Type: record.TypeUser, PrincipalID: "28815334868278", AccountID: "123456789012", UserName: "Alice", AccessKeyID: "LTAI5tTESTVECTOR00000001"}),
		"role-mfa":  mfa,
		"system":    withIdentity(record.Identity{Type: record.TypeSystem, PrincipalID: "kms-access.sfm.aliyuncs.com", AccountID: "123456789012", UserName: "kms-access.sfm.aliyuncs.com"}),
		"operator":  withIdentity(record.Identity{Type: record.TypeOperator, PrincipalID: "op-1", UserName: "operator", AccessKeyID: "SESAME00000001"}),
		"resources": two,
		"withheld":  read().Withheld(17, at.Add(time.Second)),
		"unknown":   create().OutcomeUnknown(at.Add(time.Second)),
		"refusals":  counts,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(stored(t, r).Event("123456789012"), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, append(got, '\n'))
		})
	}
}

// stored returns r as it comes back from the log.
func stored(t *testing.T, r *record.Record) *record.Record {
	t.Helper()
	b, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := record.Unmarshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, back); d != "" {
		t.Errorf("changed by storing (-in +out):\n%s", d)
	}
	return back
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("event differs from %s (-want +got):\n%s", path, d)
	}
}

// The documented example, word for word: a field that we render differently
// must not hide in a golden file that was written by the code under test.
func TestEventAsDocumented(t *testing.T) {
	const want = `{"eventId":"0A1B2C3D-1111-2222-3333-444455556666","eventVersion":"1","eventCategory":"Management","eventType":"ApiCall",
 "eventName":"GetSecretValue","eventRW":"Read","eventSource":"kms.cn-hangzhou.aliyuncs.com","eventTime":"2026-01-02T03:04:05Z",
 "acsRegion":"cn-hangzhou","apiVersion":"2016-01-20","serviceName":"Kms","requestId":"0A1B2C3D-1111-2222-3333-444455556666",
 "sourceIpAddress":"203.0.113.7","userAgent":"AlibabaCloud (linux; amd64) Golang/1.26.8 Core/0.01 TeaDSL/2","isGlobal":false,
 "recipientAccountId":"123456789012",
 "userIdentity":{"type":"assumed-role","principalId":"344584339364951:app","accountId":"123456789012","userName":"app-role:app",
   "accessKeyId":"STS.NTestVector000000000000001","sessionContext":{"attributes":{"mfaAuthenticated":"false","creationDate":"2026-01-02T03:00:00Z"}}},
 "requestParameters":{"SecretName":"bailian!secret-123","VersionStage":"ACSCurrent","FetchExtendedConfig":"true","Region":"cn-hangzhou","HostId":"kms.cn-hangzhou.aliyuncs.com",
   "AcsHost":"kms.cn-hangzhou.aliyuncs.com","AcsProduct":"Kms","ServiceCode":"kms","RequestId":"0A1B2C3D-1111-2222-3333-444455556666",
   "stsTokenPrincipalName":"app-role/app","stsTokenPlayerUid":"344584339364951"},
 "responseElements":{"RequestId":"0A1B2C3D-1111-2222-3333-444455556666"},
 "referencedResources":{"ACS::KMS::Secret":["bailian!secret-123"]},"resourceType":"ACS::KMS::Secret","resourceName":"bailian!secret-123",
 "additionalEventData":{"Scheme":"https"}}`
	b, err := json.Marshal(read().Event("123456789012"))
	if err != nil {
		t.Fatal(err)
	}
	var got, documented any
	if err := errors.Join(json.Unmarshal(b, &got), json.Unmarshal([]byte(want), &documented)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(documented, got); d != "" {
		t.Errorf("(-documented +got):\n%s", d)
	}
}

// Every field, found by reflection, must come back: one forgotten in the list
// of fields would be lost silently.
func TestStoredCompletely(t *testing.T) {
	r := &record.Record{}
	n := 0
	fill(t, reflect.ValueOf(r).Elem(), &n)
	r.Response = json.RawMessage(`{"a":1}`)
	stored(t, r)
	stored(t, &record.Record{})
	stored(t, &record.Record{Time: time.Unix(0, 0).UTC(), Stages: []string{"", "x", ""}, Params: map[string]string{"": ""}})
}

func fill(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	*n++
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(at.Add(time.Duration(*n))))
	case v.Kind() == reflect.String:
		v.SetString(fmt.Sprint("text ", *n))
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanUint():
		v.SetUint(uint64(*n))
	case v.CanInt():
		v.SetInt(int64(*n))
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, v.Index(0), n)
		fill(t, v.Index(1), n)
	case v.Kind() == reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{fmt.Sprint("k", *n): "v", "k0": "w"}))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), n)
		}
	default:
		t.Fatalf("no way to fill a %s", v.Type())
	}
}

func TestTruncation(t *testing.T) {
	huge := strings.Repeat("ä\xffb", 4_000)
	for name, change := range map[string]func(*record.Record){
		"one parameter": func(r *record.Record) { r.Params["Description"] = huge },
		"many parameters": func(r *record.Record) {
			for i := range 5000 {
				r.Params[fmt.Sprint("Tag.", i)] = "x"
			}
		},
		"user agent": func(r *record.Record) { r.UserAgent = huge },
		"response":   func(r *record.Record) { r.Response = json.RawMessage(`{"x":"` + huge + `"}`) },
		"everything": func(r *record.Record) {
			v := reflect.ValueOf(r).Elem()
			many := make([]string, 40)
			for i := range many {
				many[i] = huge
				r.Resources = append(r.Resources, record.Resource{Type: huge, Name: huge})
				r.Counts = append(r.Counts, record.Refusal{Source: huge, Account: huge, Code: huge, Count: 1 << 63})
				r.Params[fmt.Sprint(i, huge)] = huge
			}
			for _, s := range []reflect.Value{v, v.FieldByName("Identity")} {
				for i := range s.NumField() {
					switch f := s.Field(i); f.Interface().(type) {
					case string, record.Kind:
						f.SetString(huge)
					case []string:
						f.Set(reflect.ValueOf(many))
					case uint64:
						f.SetUint(1 << 63)
					case int64:
						f.SetInt(1 << 62)
					}
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := read()
			change(r)
			params := len(r.Params)
			b, err := r.Marshal()
			if err != nil || len(b) > record.MaxSize {
				t.Fatalf("Marshal: %d bytes, %v", len(b), err)
			}
			back, err := record.Unmarshal(b)
			if err != nil {
				t.Fatal(err)
			}
			if !back.Truncated || r.Truncated || len(r.Params) != params {
				t.Errorf("Truncated: stored %t, original %t; %d parameters left of %d", back.Truncated, r.Truncated, len(r.Params), params)
			}
			if name != "everything" && (back.Identity != r.Identity || !cmp.Equal(back.Resources, r.Resources)) {
				t.Errorf("cut who and what although other fields were long: %+v %+v", back.Identity, back.Resources)
			}
		})
	}
}

func TestInvalidUTF8(t *testing.T) {
	r := read()
	r.UserAgent = "a\xffb"
	r.Params = map[string]string{"\xff": "1", "\xfe": "2", "b\xff": "c\xff", "a": "x"}
	r.Stages = []string{"\xff"}
	r.Resources = []record.Resource{{"\xff", "\xfe"}}
	r.Counts = []record.Refusal{{Source: "\xff", Account: "\xff", Code: "\xff", Count: 1}}
	r.Response = json.RawMessage("{\"x\":\"\xff\"}")
	b, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := record.Unmarshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"\uFFFD": "2", "b\uFFFD": "c\uFFFD", "a": "x"}; !cmp.Equal(back.Params, want) {
		t.Errorf("Params = %q, want %q", back.Params, want)
	}
	if back.UserAgent != "a\uFFFDb" {
		t.Errorf("UserAgent = %q", back.UserAgent)
	}
}

func TestTimeOutOfRange(t *testing.T) {
	r := read()
	r.Time = time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := r.Marshal(); err == nil {
		t.Error("a time that cannot be stored was stored")
	}
}

func TestUnmarshalRejects(t *testing.T) {
	good, err := create().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"another version": append([]byte{2}, good[1:]...),
		"cut":             good[:len(good)-1],
		"something after": append(bytes.Clone(good), 0),
		"too long":        make([]byte, record.MaxSize+1),
		"unknown tag":     {1, 200, 0},
		"wrong order":     {1, 3, 1, 'a', 2, 1, 'b'},
		"twice":           {1, 2, 1, 'a', 2, 1, 'b'},
		"empty text":      {1, 2, 0},
		"long varint":     {1, 2, 0x81, 0, 'a'},
		"zero number":     {1, 4, 1, 0},
		"invalid UTF-8":   {1, 2, 1, 0xff},
		"flag with value": {1, 14, 1, 1},
		"short time":      {1, 5, 1, 1},
		"pairs unordered": {1, 24, 3, 1, 'b', 'x', 24, 3, 1, 'a', 'x'},
		"pair twice":      {1, 24, 3, 1, 'a', 'x', 24, 3, 1, 'a', 'x'},
	} {
		if r, err := record.Unmarshal(b); !errors.Is(err, record.ErrMalformed) {
			t.Errorf("%s: %+v, %v; want ErrMalformed", name, r, err)
		}
	}
}

func TestVisibleTo(t *testing.T) {
	r := &record.Record{Accounts: []string{"1", "2"}}
	if !r.VisibleTo("1") || !r.VisibleTo("2") || r.VisibleTo("3") || r.VisibleTo("") {
		t.Error("VisibleTo does not follow Accounts")
	}
}

// The operator sees refusals of all accounts, an account its own only.
func TestRefusalsByRecipient(t *testing.T) {
	r := &record.Record{Kind: record.KindRefusals, Counts: []record.Refusal{{"a", "1", "c", 1}, {"b", "2", "c", 1}}}
	count := func(recipient string) int {
		l, _ := r.Event(recipient).AdditionalEventData["Refusals"].([]map[string]any)
		return len(l)
	}
	if count("") != 2 || count("1") != 1 || count("3") != 0 {
		t.Errorf("operator sees %d, account 1 %d, account 3 %d; want 2, 1, 0", count(""), count("1"), count("3"))
	}
}

func TestNoticeIDs(t *testing.T) {
	r := read()
	a, b := r.Withheld(1, at), r.Withheld(1, at.Add(time.Hour))
	if a.EventID != b.EventID || a.EventID == r.OutcomeUnknown(at).EventID || a.EventID == r.ID() {
		t.Error("a notice's id must depend on the record and the kind of notice alone")
	}
	r.Part = 1
	if r.Withheld(1, at).EventID == a.EventID {
		t.Error("two records of one request have the same notice")
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, r := range []*record.Record{read(), create(), refused(), {}} {
		b, err := r.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{1, 46, 6, 1, 1, 'a', 1, 'b', 'c'})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := record.Unmarshal(b)
		if err != nil {
			return
		}
		again, err := r.Marshal()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x decodes, but encodes to %x, %v", b, again, err)
		}
		if _, err := json.Marshal(r.Event("1")); err != nil {
			t.Errorf("event: %v", err)
		}
	})
}

func BenchmarkMarshal(b *testing.B) {
	r := create()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Marshal(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	s, err := create().Marshal()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := record.Unmarshal(s); err != nil {
			b.Fatal(err)
		}
	}
}
