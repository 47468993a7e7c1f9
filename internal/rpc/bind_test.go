package rpc

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// even is a parameter type with a rule of its own.
type even string

var errOwn = apierr.LimitExceeded

func (e *even) BindParam(text string) error {
	*e = even(text)
	switch {
	case text == "own":
		return errOwn
	case len(text)%2 != 0:
		return BadParam{Fault: Format, Why: "want an even length"}
	}
	return nil
}

type item struct{ Key, Value string }

// allTypes has a field of every type that can be bound.
type allTypes struct {
	Name    string    `param:"Name,required,min=2,max=5"`
	Bytes   string    `param:"Bytes,bytes=4"`
	Secret  mask.Text `param:"Secret,bytes=8"`
	Number  int       `param:"Number,default=7,min=1,max=9"`
	Any     int       `param:"Any"`
	Flag    bool      `param:"Flag"`
	Even    even      `param:"Even"`
	Doc     string    `param:"Doc,hash"`
	MaybeS  *string   `param:"MaybeS,max=3"`
	MaybeN  *int      `param:"MaybeN"`
	MaybeB  *bool     `param:"MaybeB"`
	Texts   []string  `param:"Texts,max=3"`
	Items   []item    `param:"Items,max=2"`
	Ordered int       `param:"Ordered"`
}

// Check lets no Ordered be below Number.
func (a *allTypes) Check() error {
	if a.Ordered != 0 && a.Ordered < a.Number {
		return BadParam{"Ordered", Value, "it must not be below Number"}
	}
	return nil
}

var allPlan = inputPlan(reflect.TypeFor[allTypes]())

func bound(t *testing.T, params map[string]string) *allTypes {
	t.Helper()
	in, err := allPlan.bind(params)
	if err != nil {
		t.Fatalf("%v: %v", params, err)
	}
	return in.(*allTypes)
}

func TestBind(t *testing.T) {
	in := bound(t, map[string]string{
		"Name": "中文é", "Bytes": "abcd", "Secret": "hush", "Number": "9", "Any": "-3", "Flag": "TRUE", "Even": "ab", "MaybeS": "x", "MaybeN": "0", "MaybeB": "false",
		"Texts.1": "a", "Texts.2": "b", "Texts.4": "d", "Items.1.Key": "k", "Items.1.Value": "v", "Items.2.Value": "w", "Items.1.Other": "o", "Unknown": "x", "Ordered": "9",
	})
	if in.Name != "中文é" || in.Number != 9 || in.Any != -3 || !in.Flag || in.Even != "ab" || *in.MaybeS != "x" || *in.MaybeN != 0 || *in.MaybeB || in.Secret.Reveal() != "hush" {
		t.Errorf("bound %+v", in)
	}
	if diff := cmp.Diff([]string{"a", "b"}, in.Texts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]item{{"k", "v"}, {"", "w"}}, in.Items); diff != "" {
		t.Error(diff)
	}
	in = bound(t, map[string]string{"Name": "ab", "Number": "", "Flag": "", "Even": "", "MaybeS": "", "Texts": `["x","y"]`, "Items": ` [{"Key":"k","Value":"v"}] `})
	if in.Number != 7 || in.Flag || in.MaybeS != nil || in.MaybeN != nil || in.MaybeB != nil || len(in.Texts) != 2 || len(in.Items) != 1 {
		t.Errorf("bound %+v", in)
	}
}

func TestBindRefusals(t *testing.T) {
	for _, c := range []struct {
		params map[string]string
		field  string
		fault  Fault
	}{
		{nil, "Name", Missing},
		{map[string]string{"Name": ""}, "Name", Missing},
		{map[string]string{"Name": "a"}, "Name", Length},
		{map[string]string{"Name": "中中中中中中"}, "Name", Length},
		{map[string]string{"Bytes": "中中"}, "Bytes", Length},
		{map[string]string{"Secret": "123456789"}, "Secret", Length},
		{map[string]string{"Number": "0"}, "Number", Value},
		{map[string]string{"Number": "10"}, "Number", Value},
		{map[string]string{"Number": "x"}, "Number", Value},
		{map[string]string{"Any": "99999999999999999999"}, "Any", Value},
		{map[string]string{"Any": "1.0"}, "Any", Value},
		{map[string]string{"Flag": "1"}, "Flag", Value},
		{map[string]string{"Even": "abc"}, "Even", Format},
		{map[string]string{"MaybeS": "abcd"}, "MaybeS", Length},
		{map[string]string{"MaybeN": "x"}, "MaybeN", Value},
		{map[string]string{"MaybeB": "x"}, "MaybeB", Value},
		{map[string]string{"Texts": "a,b"}, "Texts", Format},
		{map[string]string{"Texts": "null"}, "Texts", Format},
		{map[string]string{"Texts": `["a"]x`}, "Texts", Format},
		{map[string]string{"Texts": `["a"]["b"]`}, "Texts", Format},
		{map[string]string{"Texts": `[1]`}, "Texts", Format},
		{map[string]string{"Texts": `["1","2","3","4"]`}, "Texts", Length},
		{map[string]string{"Texts.1": "1", "Texts.2": "2", "Texts.3": "3", "Texts.4": "4"}, "Texts", Length},
		{map[string]string{"Items": `[{"Key":1}]`}, "Items", Format},
		{map[string]string{"Items.1.Key": "1", "Items.2.Key": "2", "Items.3.Key": "3"}, "Items", Length},
		{map[string]string{"Number": "5", "Ordered": "4"}, "Ordered", Value},
	} {
		params := map[string]string{"Name": "name"}
		if c.field == "Name" {
			params = map[string]string{}
		}
		maps.Copy(params, c.params)
		_, err := allPlan.bind(params)
		var bad BadParam
		if !errors.As(err, &bad) || bad.Field != c.field || bad.Fault != c.fault || bad.Why == "" {
			t.Errorf("%v: %v, want %s refused with fault %d", c.params, err, c.field, c.fault)
		}
	}
	if _, err := allPlan.bind(map[string]string{"Name": "name", "Even": "own"}); !errors.Is(err, errOwn) {
		t.Errorf("a type's own error became %v", err)
	}
}

func TestRecordedParameters(t *testing.T) {
	params := map[string]string{
		"Name": "name", "Secret": "hush", "Doc": "hush", "Texts.1": "a", "Items": `[{"Key":"k"}]`, "Number": "", "SecretX": "hush", "Unknown": "hush",
	}
	got := allPlan.record(params)
	sum := sha256.Sum256([]byte("hush"))
	want := map[string]string{
		"Name": "name", "Secret": mask.Stars, "Texts.1": "a", "Items": `[{"Key":"k"}]`, "Doc": "sha256:" + hex.EncodeToString(sum[:]),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// What its type refuses is hidden, all of it, and nothing else.
	params = map[string]string{"Name": "n", "Even": "odd", "Number": "hush", "Texts": "hush", "Flag": "true", "Items.1.Key": "1", "Items.2.Key": "2", "Items.3.Key": "hush"}
	got = allPlan.record(params)
	allPlan.hideRefused(params, got)
	want = map[string]string{
		"Name": mask.Stars, "Even": mask.Stars, "Number": mask.Stars, "Texts": mask.Stars, "Flag": "true",
		"Items.1.Key": mask.Stars, "Items.2.Key": mask.Stars, "Items.3.Key": mask.Stars,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestDeclarations: a mistake in an operation's types is found at start.
func TestDeclarations(t *testing.T) {
	for what, declare := range map[string]func(){
		"no tag": func() { inputPlan(reflect.TypeFor[struct{ A string }]()) },
		"unknown option": func() {
			inputPlan(reflect.TypeFor[struct {
				A string `param:"A,maximum=3"`
			}]())
		},
		"no number": func() {
			inputPlan(reflect.TypeFor[struct {
				A string `param:"A,max=x"`
			}]())
		},
		"output of floats": func() { outputPlan(reflect.TypeFor[struct{ A float64 }]()) },
		"output of maps":   func() { outputPlan(reflect.TypeFor[struct{ A []map[string]int }]()) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: declared", what)
				}
			}()
			declare()
		}()
	}
}

func FuzzBind(f *testing.F) {
	for _, s := range []string{
		"Name=abc", "Name=abc\nNumber=9\nFlag=true", "Name=ab\nTexts=[\"a\"]\nItems=[{\"Key\":\"k\"}]", "Texts.1=a\nTexts.2=b", "Items.1.Key=k\nItems.1.Value=v",
		"Name=ab\nMaybeN=1\nMaybeS=中\nEven=ab", "Name=ab\nTexts=null", "Name=ab\nAny=-9223372036854775808", "Name=ab\nItems=[null]",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		params := map[string]string{}
		for _, line := range strings.Split(text, "\n") {
			name, value, _ := strings.Cut(line, "=")
			params[name] = value
		}
		recorded := allPlan.record(params)
		in, err := allPlan.bind(params)
		if err != nil {
			var bad BadParam
			if !errors.As(err, &bad) && !errors.Is(err, errOwn) {
				t.Fatalf("refused with %v", err)
			}
			if bad.Field != "" && len(bad.Why) > 0 && params[bad.Field] != "" && len(params[bad.Field]) > 12 && strings.Contains(bad.Why, params[bad.Field]) {
				t.Fatalf("the refusal repeats the value: %v", err)
			}
			allPlan.hideRefused(params, recorded)
			return
		}
		checkBound(t, in.(*allTypes))
		before := fmt.Sprint(recorded)
		if allPlan.hideRefused(params, recorded); fmt.Sprint(recorded) != before {
			t.Fatal("an accepted parameter is hidden")
		}
		if s := params["Secret"]; s != "" && recorded["Secret"] != mask.Stars {
			t.Fatal("a secret is recorded")
		}
	})
}

// checkBound checks all rules that the tags of allTypes set.
func checkBound(t *testing.T, in *allTypes) {
	t.Helper()
	n := utf8.RuneCountInString(in.Name)
	switch {
	case n < 2 || n > 5, len(in.Bytes) > 4, in.Secret.Len() > 8, in.Number < 1 || in.Number > 9, len(in.Even)%2 != 0,
		in.MaybeS != nil && utf8.RuneCountInString(*in.MaybeS) > 3, len(in.Texts) > 3, len(in.Items) > 2,
		in.Ordered != 0 && in.Ordered < in.Number:
		t.Fatalf("accepted %+v", in)
	}
}
