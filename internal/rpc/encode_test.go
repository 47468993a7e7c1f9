package rpc

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

type inner struct {
	Text  string
	Token mask.Text
}

type answerAll struct {
	Text   string
	Flag   bool
	Number int
	Secret mask.Text
	Inner  inner
	None   *inner
	Some   *inner
	List   []string
	Nested struct{ Item []inner }
	Map    map[string]string
	Gone   string    `wire:"omitempty"`
	Zero   mask.Text `wire:"omitempty"`
	Kept   string    `wire:"omitempty"`
}

// TestOutput: members in order under their Go names, lists never null, secrets
// for the caller and stars for the record.
func TestOutput(t *testing.T) {
	out := &answerAll{
		Text: "a\"<&>\\中\u2028\x00", Flag: true, Number: -7, Secret: mask.NewText("hush</script>"),
		Inner: inner{"i", mask.NewText("token")}, Some: &inner{}, Map: map[string]string{"k": "v"}, Kept: "k",
	}
	out.Nested.Item = []inner{{"x", mask.NewText("deep")}}
	outputPlan(reflect.TypeFor[answerAll]())
	sent := string(appendOutput(nil, out, "ID"))
	want := `{"RequestId":"ID","Text":"a\"<&>\\中\u2028\u0000","Flag":true,"Number":-7,"Secret":"hush</script>","Inner":{"Text":"i","Token":"token"},` +
		`"None":null,"Some":{"Text":"","Token":""},"List":[],"Nested":{"Item":[{"Text":"x","Token":"deep"}]},"Map":{"k":"v"},"Kept":"k"}`
	if sent != want {
		t.Error(cmp.Diff(want, sent))
	}
	recorded := string(outputRecord(out))
	if strings.Contains(recorded, "hush") || strings.Contains(recorded, "token\"") || strings.Contains(recorded, "deep") || strings.Contains(recorded, "RequestId") {
		t.Errorf("the record is %s", recorded)
	}
	if !json.Valid([]byte(recorded)) || strings.Count(recorded, mask.Stars) != 4 {
		t.Errorf("the record is %s", recorded)
	}
	var none *answerAll
	if got := string(appendOutput(nil, none, "ID")); got != `{"RequestId":"ID"}` {
		t.Errorf("no answer is %s", got)
	}
	if outputRecord(none) != nil || outputRecord(nil) != nil {
		t.Error("no answer is recorded")
	}
}

// FuzzString: every text comes back as it was written.
func FuzzString(f *testing.F) {
	for _, s := range []string{"", "plain", `"\`, "<a href='&'>", "中é😀", "\x00\x1f\x7f\u2028\ufffd", "a\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := appendString(nil, s)
		var got string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q is written as %s: %v", s, b, err)
		}
		if want := strings.ToValidUTF8(s, "\uFFFD"); utf8.ValidString(s) && got != want {
			t.Fatalf("%q came back as %q", s, got)
		}
	})
}
