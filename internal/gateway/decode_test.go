package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/identity"
)

// flat writes parameters as name=value lines; Param itself prints no value.
func flat(list []identity.Param) string {
	var b strings.Builder
	for _, p := range list {
		fmt.Fprintf(&b, "%s=%s\n", p.Name, p.Value)
	}
	return b.String()
}

func TestDecodePairs(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                   "",
		"&&":                                 "",
		"a=1&b=2&a=3":                        "a=1\nb=2\na=3\n",
		"a":                                  "a=\n",
		"a==b=c":                             "a==b=c\n",
		"a+b=c+d%2B%20e":                     "a b=c d+ e\n",
		"SecretName=a+b%2F%E4%B8%AD%2A~%2Bc": "SecretName=a b/中*~+c\n",
		"a=1;b=2":                            "a=1;b=2\n",
		"%61=%00":                            "a=\x00\n",
		strings.Repeat("a=&", maxParams):     strings.Repeat("a=\n", maxParams),
	} {
		got, bad := decodePairs(raw)
		if bad != nil || flat(got) != want {
			t.Errorf("%q: %q, %v, want %q", raw, flat(got), bad, want)
		}
	}
	for _, raw := range []string{"=", "=a", "a=%", "a=%4", "a=%zz", "%=a", "a=%ff", "%c3%28=a", "a=\xff", strings.Repeat("a=&", maxParams+1)} {
		if got, bad := decodePairs(raw); bad == nil || bad.Code != "InvalidParameter" {
			t.Errorf("%q: %q, %v, want it refused", raw, flat(got), bad)
		}
	}
}

func FuzzDecodePairs(f *testing.F) {
	for _, s := range []string{"", "a=1&b=2", "a=%E4%B8%AD+x", "=", "a=%", "a;b=c", "&a&&b=", "%00=%ff", "SecretName=p%40ss+w%3Drd%26%2A~&VersionId=v1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, bad := decodePairs(raw)
		if bad != nil {
			if got != nil || bad.Status != 400 {
				t.Fatalf("refused with %v and %d parameters", bad, len(got))
			}
			return
		}
		v := map[string][]string{}
		encoded := make([]string, len(got))
		for i, p := range got {
			if p.Name == "" || !utf8.ValidString(p.Name) || !utf8.ValidString(p.Value) {
				t.Fatalf("accepted %q", raw)
			}
			v[p.Name] = append(v[p.Name], p.Value)
			encoded[i] = url.QueryEscape(p.Name) + "=" + url.QueryEscape(p.Value)
		}
		again, bad := decodePairs(strings.Join(encoded, "&"))
		if bad != nil || !slices.Equal(again, got) {
			t.Fatalf("%q read twice differs: %v", raw, bad)
		}
		// What the standard library reads too, it reads the same.
		std, err := url.ParseQuery(raw)
		if err == nil && fmt.Sprint(map[string][]string(std)) != fmt.Sprint(v) {
			t.Fatalf("%q: %v, url.ParseQuery %v", raw, v, std)
		}
	})
}

func TestDecodeJSON(t *testing.T) {
	for body, want := range map[string]string{
		`{}`:                                     "",
		` { "a" : "b" } ` + "\n":                 "a=b\n",
		`{"a":1,"b":-2.50,"c":1e400,"d":true}`:   "a=1\nb=-2.50\nc=1e400\nd=true\n",
		`{"a":null,"b":[1, {"x" : "y"}],"c":{}}`: "b=[1,{\"x\":\"y\"}]\nc={}\n",
		`{"a":"x","a":"y"}`:                      "a=x\na=y\n",
		`{"a":"\u4e2d\ud83d\ude00\ufffd\n"}`:     "a=中😀\uFFFD\n\n",
		`{"a":"\\ud800"}`:                        `a=\ud800` + "\n",
		`{"a":"` + "\uFFFD" + `"}`:               "a=\uFFFD\n",
	} {
		got, bad := decodeJSON([]byte(body))
		if bad != nil || flat(got) != want {
			t.Errorf("%s: %q, %v, want %q", body, flat(got), bad, want)
		}
	}
	for _, body := range []string{
		``, ` `, `null`, `[]`, `"a"`, `1`, `{`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":1 "b":2}`, `{"":1}`, `{1:2}`, `{"a":1}{}`, `{"a":1}x`, `{"a":nul}`,
		`{"a":01}`, `{"a":"` + "\xff" + `"}`, `{"a":"\ud800"}`, `{"a":"\ude00\ud83d"}`, `{"a":"\ud83d\ufffd"}`, `{"a":{"b":"\udfff"}}`, `{"a":["\ud83dx"]}`, `{"a":"\ud83d\ud83d\ude00"}`,
		`{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, "\ufeff{}", `{"a":"` + "\n" + `"}`, `{"a":"\x41"}`,
	} {
		if got, bad := decodeJSON([]byte(body)); bad == nil || bad.Code != "InvalidParameter" {
			t.Errorf("%.60s: %q, %v, want it refused", body, flat(got), bad)
		}
	}
	many := `{` + strings.TrimSuffix(strings.Repeat(`"a":1,`, maxParams+1), ",") + `}`
	if _, bad := decodeJSON([]byte(many)); bad == nil {
		t.Errorf("%d members are accepted", maxParams+1)
	}
}

func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":"b"}`, `{"a":1,"b":[1,{"c":null}],"c":true}`, `{"a":"\ud83d\ude00"}`, `{"a":"\ud800"}`, `{"a":1}x`, `[`, `{"a":"\\\u00e9"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, bad := decodeJSON(body)
		if bad != nil {
			if got != nil || bad.Status != 400 {
				t.Fatalf("refused with %v and %d parameters", bad, len(got))
			}
			return
		}
		if !json.Valid(body) {
			t.Fatalf("accepted %q, which is no JSON", body)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(body, &members); err != nil {
			t.Fatalf("accepted %q: %v", body, err)
		}
		last := map[string]string{}
		for _, p := range got {
			if p.Name == "" || !utf8.ValidString(p.Name) || !utf8.ValidString(p.Value) {
				t.Fatalf("accepted %q", body)
			}
			last[p.Name] = p.Value
		}
		for name, raw := range members {
			value, given := last[name]
			if !given {
				continue // null, or null after a value
			}
			var s string
			if json.Unmarshal(raw, &s) == nil && string(raw) != "null" && s != value {
				t.Fatalf("%q: %s is %q, want %q", body, name, value, s)
			}
		}
	})
}

func TestDecodeBody(t *testing.T) {
	const form, object = "SecretName=a", `{"SecretName":"a"}`
	for _, c := range []struct {
		contentType, body string
		form, json        int
		bad               *apierr.Error
	}{
		{"", "", 0, 0, nil},
		{"text/plain", "", 0, 0, nil},
		{"application/x-www-form-urlencoded", form, 1, 0, nil},
		{"Application/X-WWW-Form-Urlencoded; Charset=UTF-8", form, 1, 0, nil},
		{"application/json", object, 0, 1, nil},
		{"application/json;charset=utf-8", object, 0, 1, nil},
		{"", form, 0, 0, apierr.ContentType},
		{"text/plain", form, 0, 0, apierr.ContentType},
		{"application/json; charset=latin1", object, 0, 0, apierr.ContentType},
		{"application/jsonx", object, 0, 0, apierr.ContentType},
		{"application/json, text/plain", object, 0, 0, apierr.ContentType},
		{"multipart/form-data; boundary=a", form, 0, 0, apierr.ContentType},
	} {
		h := http.Header{}
		if c.contentType != "" {
			h.Set("Content-Type", c.contentType)
		}
		gotForm, gotJSON, bad := decodeBody(h, []byte(c.body))
		if len(gotForm) != c.form || len(gotJSON) != c.json || bad != c.bad {
			t.Errorf("%q: %d in the form, %d in JSON, %v", c.contentType, len(gotForm), len(gotJSON), bad)
		}
	}
}
