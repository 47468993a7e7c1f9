package identity

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// The constants of all vectors. They were made with the official Go SDKs of
// Alibaba Cloud and are no one's credentials.
const (
	vectorAK    = "LTAI5tTESTVECTOR00000001"
	vectorSTS   = "STS.NTestVector000000000000001"
	vectorToken = "CAISTestVector+Token/With=Specials=="
	vectorNonce = "0123456789abcdef0123456789abcdef"
	vectorDate  = "2026-01-02T03:04:05Z"
	vectorHost  = "kms.cn-hangzhou.aliyuncs.com"
	emptyHash   = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

var vectorSecret = mask.NewText("TestVectorSecret0000000000001x")

// parsePairs decodes a query or form body, keeping its order.
func parsePairs(t testing.TB, s string) []Param {
	t.Helper()
	var ps []Param
	for pair := range strings.SplitSeq(s, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		n, err := url.QueryUnescape(name)
		if err != nil {
			t.Fatal(err)
		}
		v, err := url.QueryUnescape(value)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, Param{n, v})
	}
	return ps
}

// clone copies everything of r that tests change.
func clone(r *Request) *Request {
	c := *r
	c.Header = r.Header.Clone()
	c.Query = slices.Clone(r.Query)
	c.Form = slices.Clone(r.Form)
	c.Body = slices.Clone(r.Body)
	return &c
}

// set gives a parameter of the query another value, or removes it.
func set(r *Request, name, value string) {
	r.Query = slices.DeleteFunc(r.Query, func(p Param) bool { return p.Name == name })
	if value != "" {
		r.Query = append(r.Query, Param{name, value})
	}
}

// wantCode fails the test unless err is a row of the catalogue with this code
// and a message that contains part.
func wantCode(t *testing.T, err error, want *apierr.Error, part string) {
	t.Helper()
	e := apierr.As(err)
	if e == nil || e.Code != want.Code || e.Status != want.Status {
		t.Fatalf("error = %v, want %d %s", err, want.Status, want.Code)
	}
	if !strings.Contains(e.Message, part) {
		t.Fatalf("message %q does not contain %q", e.Message, part)
	}
}

func verify(r *Request, secret mask.Text) error {
	c, err := ParseCredentials(r, false)
	if err != nil {
		return err
	}
	return c.VerifySignature(secret)
}

func TestTarget(t *testing.T) {
	v1 := []Param{{"Action", "GetSecretValue"}, {"Version", "2016-01-20"}}
	h := http.Header{"X-Acs-Action": {"ListSecrets"}, "X-Acs-Version": {"2015-04-01"}}
	signed := h.Clone()
	signed.Set("Authorization", "ACS3-HMAC-SHA256 Credential=a,SignedHeaders=b,Signature=c")
	for _, tc := range []struct {
		name            string
		r               Request
		scheme          Scheme
		action, version string
	}{
		{"V3 reads headers only", Request{Header: signed, Query: v1}, SchemeV3, "ListSecrets", "2015-04-01"},
		{"V3 wins over a parameter Signature", Request{Header: signed, Query: append(v1, Param{"Signature", "x"})}, SchemeV3, "ListSecrets", "2015-04-01"},
		{"V1 ignores x-acs headers", Request{Header: h, Query: append(v1, Param{"Signature", "x"})}, SchemeV1, "GetSecretValue", "2016-01-20"},
		{"V1 without Action stays without", Request{Header: h, Query: []Param{{"Signature", "x"}}}, SchemeV1, "", ""},
		{"V1 in a form", Request{Form: append(v1, Param{"Signature", "x"})}, SchemeV1, "GetSecretValue", "2016-01-20"},
		{"unsigned by parameters", Request{Header: h, Query: v1}, SchemeNone, "GetSecretValue", "2016-01-20"},
		{"unsigned by headers", Request{Header: h}, SchemeNone, "ListSecrets", "2015-04-01"},
		{"nothing", Request{}, SchemeNone, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, a, v := tc.r.Target()
			if s != tc.scheme || a != tc.action || v != tc.version {
				t.Fatalf("Target() = %q, %q, %q; want %q, %q, %q", s, a, v, tc.scheme, tc.action, tc.version)
			}
		})
	}
}

func TestUnsigned(t *testing.T) {
	header := func(name, value string) http.Header { return http.Header{name: {value}} }
	for _, tc := range []struct {
		name string
		r    Request
		want *apierr.Error
		part string
	}{
		{"nothing", Request{}, apierr.MissingAccessKeyID, ""},
		{"action header of a V1 client", Request{Header: header("X-Acs-Action", "ListSecrets")}, apierr.MissingAccessKeyID, ""},
		{"V1 without Signature", Request{Query: []Param{{"AccessKeyId", "x"}}}, apierr.MissingParam, `"Signature"`},
		{"V3 without Authorization", Request{Header: header("X-Acs-Content-Sha256", emptyHash)}, apierr.MissingParam, `"Authorization"`},
		{"basic authentication", Request{Header: header("Authorization", "Basic eDp5")}, apierr.IncompleteSignature, "Authorization"},
		{"path-style V1", Request{Header: header("Authorization", "acs x:y")}, apierr.IncompleteSignature, "Authorization"},
		{"bearer header", Request{Header: header("X-Acs-Bearer-Token", "t")}, apierr.AccessKeyNotFound, ""},
		{"identity token", Request{Header: header("X-Acs-Zero-Trust-Idtoken", "t")}, apierr.AccessKeyNotFound, ""},
		{"bearer parameter", Request{Query: []Param{{"BearerToken", "t"}}}, apierr.AccessKeyNotFound, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ParseCredentials(&tc.r, true)
			wantCode(t, err, tc.want, tc.part)
		})
	}
}

func TestCheckTime(t *testing.T) {
	signed := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := &Credentials{Time: signed}
	for _, d := range []time.Duration{0, Window, -Window, Window - 1, 1 - Window} {
		if err := c.CheckTime(signed.Add(d)); err != nil {
			t.Errorf("CheckTime at %v: %v", d, err)
		}
	}
	for _, d := range []time.Duration{Window + 1, -Window - 1, 24 * time.Hour} {
		now := signed.Add(d).In(time.FixedZone("", 3600))
		wantCode(t, c.CheckTime(now), apierr.TimestampExpired, signed.Add(d).Format("2006-01-02T15:04:05Z"))
	}
}

func TestParseTime(t *testing.T) {
	for _, s := range []string{
		"2026-01-02T03:04:05", "2026-01-02T03:04:05.5Z", "2026-01-02T03:04:05+00:00", "2026-01-02T03:04:5Z",
		"2026-01-02 03:04:05Z", "2026-02-30T03:04:05Z", "2026-01-02T3:04:05Z", "Fri, 02 Jan 2026 03:04:05 GMT", "x",
	} {
		_, err := parseTime(s, "2015-04-01")
		wantCode(t, err, apierr.TimestampFormat, "YYYY-MM-DD")
		_, err = parseTime(s, kmsVersion)
		wantCode(t, err, apierr.IllegalTimestamp, "YYYY-MM-DD")
	}
	for _, version := range []string{"2015-04-01", kmsVersion} {
		_, err := parseTime("", version)
		wantCode(t, err, apierr.IllegalTimestamp, "not supplied")
	}
	got, err := parseTime(vectorDate, kmsVersion)
	if want := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC); err != nil || !got.Equal(want) {
		t.Fatalf("parseTime(%q) = %v, %v", vectorDate, got, err)
	}
}

// TestPrinting checks that no value of a request is printed by accident.
func TestPrinting(t *testing.T) {
	const value = "the-value"
	r := Request{
		Method: "POST", Path: "/", Header: http.Header{headerToken: {value}},
		Query: []Param{{"SecretData", value}}, Form: []Param{{"Plaintext", value}}, Body: []byte(value),
	}
	c := Credentials{Scheme: SchemeV1, AccessKeyID: "ak", SecurityToken: value, Nonce: value, req: &r, signature: value}
	for _, v := range []any{r, &r, c, &c, r.Query, []any{c}, map[string]any{"r": r}} {
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{fmt.Sprintf("%v", v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), string(j)} {
			if strings.Contains(s, value) {
				t.Errorf("%T prints as %s", v, s)
			}
		}
	}
}
