package secrets

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// refusedWell checks that a refusal is one for callers.
func refusedWell(t *testing.T, text string, err error) {
	t.Helper()
	var bad rpc.BadParam
	if !errors.As(err, &bad) && apierr.As(err) == nil {
		t.Fatalf("%q is refused with %v", text, err)
	}
}

func TestRef(t *testing.T) {
	for text, want := range map[string]Ref{
		"a":                          {Name: "a"},
		"bailian!x":                  {Name: "bailian!x"},
		"acs:kms:r:1:secret/a/b":     {"r", "1", "a/b"},
		"acs:kms:r:1:secret/mcp!x":   {"r", "1", "mcp!x"},
		"acs:kms:r:1:secret/secret/": {"r", "1", "secret/"},
	} {
		var r Ref
		if err := r.BindParam(text); err != nil || r != want {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	}
	for _, text := range []string{"acs:", "acs:kms:r:1:secret", "acs:kms:r:1:secret/", "acs:kms:r:1:key/a", "acs:ram:r:1:secret/a", "acs:kms::1:secret/a", "acs:kms:r::secret/a", "acs:kms:r/x:1:secret/a", "acs:kms:r:1/2:secret/a", "acs:kms:*:1:secret/a", "acs:kms:r:?:secret/a", "acs:kms:r:1:secret/a:b"} {
		var r Ref
		if err := r.BindParam(text); err == nil {
			t.Errorf("%q is taken for %+v", text, r)
		}
	}
}

// FuzzRef: what is accepted names one secret, in one way, at one place of the
// store.
func FuzzRef(f *testing.F) {
	for _, s := range []string{"a", "bailian!x", "acs:kms:cn-hangzhou:1000000000000001:secret/a/b", "acs:kms:r:1:secret/mcp!x", "acs/x", "a!b!c", "秘密", "acs:kms:r:1:secret/acs:kms:r:1:secret/a", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var r Ref
		if err := r.BindParam(text); err != nil {
			refusedWell(t, text, err)
			return
		}
		if r.Account != "" && arn.Secret(r.Region, r.Account, r.Name).String() != text {
			t.Fatalf("%q is read as %+v", text, r)
		}
		if r.Account == "" && r.Name != text {
			t.Fatalf("%q is read as the name %q", text, r.Name)
		}
		if r.Name == "" && text != "" || utf8.RuneCountInString(r.Name) > maxName || strings.ContainsAny(r.Name, ":*?%\\ \x00\n") || strings.HasPrefix(r.Name, "acs/") || strings.Count(r.Name, "!") > 1 {
			t.Fatalf("accepted the name %q", r.Name)
		}
		if code, id, ok := strings.Cut(r.Name, "!"); ok && (!productCode.MatchString(code) || id == "") {
			t.Fatalf("accepted the name %q", r.Name)
		}
		// Neither part can reach out of its place in the store's keys.
		if strings.ContainsAny(r.Region+r.Account, "/*?") {
			t.Fatalf("accepted %+v", r)
		}
		var n Name
		if err := n.BindParam(r.Name); err != nil {
			t.Fatalf("%q is a name to read but not to create: %v", r.Name, err)
		}
	})
}

func FuzzStages(f *testing.F) {
	for _, s := range []string{`["ACSCurrent"]`, `{"VersionStage":["a"]}`, "a,b", "ACSPrevious", "[]", "{}", `["a","a"]`, " a , b ", `["a"`, "null"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s Stages
		if err := s.BindParam(text); err != nil {
			refusedWell(t, text, err)
			return
		}
		seen := map[string]bool{}
		for _, l := range s {
			var one Stage
			if l == stagePrevious || seen[l] || one.BindParam(l) != nil || len(l) > 64 || l == "" {
				t.Fatalf("%q gives the labels %q", text, s)
			}
			seen[l] = true
		}
		if len(s) == 0 {
			t.Fatalf("%q gives no label", text)
		}
	})
}

func FuzzVersionID(f *testing.F) {
	for _, s := range []string{"v1", strings.Repeat("秘", 64), "a b", "a\nb", "\u202e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var v VersionID
		if err := v.BindParam(text); err != nil {
			refusedWell(t, text, err)
			return
		}
		if string(v) != text || utf8.RuneCountInString(text) > 64 || strings.ContainsAny(text, "\x00\n\r\x7f\x1b") {
			t.Fatalf("accepted %q", text)
		}
	})
}

func FuzzTags(f *testing.F) {
	for _, s := range []string{`[{"TagKey":"k","TagValue":"v"}]`, "[]", "null", `[{"TagKey":"acs:x"}]`, `[{"TagKey":"k"},{"TagKey":"k"}]`, `[{"tagkey":"k"}]`, "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var tags Tags
		if err := tags.BindParam(text); err != nil {
			refusedWell(t, text, err)
			return
		}
		seen := map[string]bool{}
		for _, tag := range tags {
			if seen[tag.Key] || checkTag(tag.Key, tag.Value) != nil || strings.HasPrefix(tag.Key, "aliyun") || strings.HasPrefix(tag.Key, "acs:") {
				t.Fatalf("%q gives %q", text, tags)
			}
			seen[tag.Key] = true
		}
		if len(tags) > maxTags {
			t.Fatalf("%d tags", len(tags))
		}
	})
}

func FuzzFilters(f *testing.F) {
	for _, s := range []string{`[{"Key":"SecretName","Values":["mcp!"]}]`, "[]", `[{"Key":"TagKey"}]`, "null", `[{"Key":"x"}]`, `[{"key":"Creator","values":["1"]}]`} {
		f.Add(s)
	}
	sec := &store.Secret{Name: "mcp!x", Description: "d", Type: "Generic", Creator: "1", Tags: []store.Tag{{Key: "k", Value: "v"}}, Owner: &store.SecretOwner{Product: "model-studio", Mode: store.Free}}
	f.Fuzz(func(t *testing.T, text string) {
		var filters Filters
		if err := filters.BindParam(text); err != nil {
			refusedWell(t, text, err)
			return
		}
		if len(filters) > 10 {
			t.Fatalf("%d entries", len(filters))
		}
		for _, e := range filters {
			if len(e.Values) > 10 || filterKeys[e.Key] == nil {
				t.Fatalf("accepted %q", text)
			}
		}
		filters.match(sec)
		filters.match(&store.Secret{})
	})
}

// FuzzTexts: the smaller types.
func FuzzTexts(f *testing.F) {
	for _, s := range []string{"7d", "6h", "8761h", "text", "Generic", `{"a":1}`, "https://e.example/x?y", "https://u@e.example", "acs:bailian:r:1:key/1", "日", "-6h", "+6h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" {
			return // counts as not given and never gets here
		}
		for _, b := range []rpc.Binder{new(Interval), new(DataType), new(Type), new(JSONText), new(ManageURL), new(ResourceARN), new(Stage)} {
			if err := b.BindParam(text); err != nil {
				refusedWell(t, text, err)
				continue
			}
			switch v := b.(type) {
			case *ManageURL:
				u, err := url.Parse(string(*v))
				if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || len(text) > 2048 || strings.ContainsAny(text, "\x00\n\r\x7f") {
					t.Fatalf("accepted the URL %q", text)
				}
			case *ResourceARN:
				if !arn.IsARN(text) || len(text) > 1024 {
					t.Fatalf("accepted the ARN %q", text)
				}
			case *Interval:
				if strings.ContainsAny(text, "+-. ") {
					t.Fatalf("accepted the interval %q", text)
				}
			case *DataType:
				if text != "text" && text != "binary" {
					t.Fatalf("accepted the type %q", text)
				}
			case *JSONText:
				if utf8.RuneCountInString(text) > 1024 || !strings.Contains(text, "{") {
					t.Fatalf("accepted %q", text)
				}
			}
		}
	})
}

func TestInterval(t *testing.T) {
	for text, ok := range map[string]bool{
		"6h": true, "8760h": true, "7d": true, "365d": true, "360m": true, "21600s": true, "31536000s": true,
		"5h": false, "8761h": false, "366d": false, "359m": false, "21599s": false, "31536001s": false, "d": false, "7": false, "-7d": false, "+7d": false, "7D": false, "0x7d": false, "4294967302d": false, "7.0d": false,
	} {
		if err := new(Interval).BindParam(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestPage(t *testing.T) {
	list := []int{1, 2, 3, 4, 5}
	const most = int(^uint(0) >> 1)
	for _, c := range []struct{ number, size, want int }{{1, 2, 2}, {3, 2, 1}, {4, 2, 0}, {1, 5, 5}, {2, 5, 0}, {1, 100, 5}, {most, 100, 0}, {most, 1, 0}, {most/100 + 2, 100, 0}} {
		if got := page(list, c.number, c.size); len(got) != c.want {
			t.Errorf("page %d of size %d has %d", c.number, c.size, len(got))
		}
	}
}
