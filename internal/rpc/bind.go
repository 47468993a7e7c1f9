package rpc

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

// Binder is implemented by parameter types that know their own rules. BindParam
// gets the text as it came and returns a BadParam (its Field is filled in by
// the caller).
type Binder interface{ BindParam(text string) error }

// Checker is implemented by input structs whose parameters depend on one
// another. Check runs once all are bound, before anything is authorised.
type Checker interface{ Check() error }

// A field of an input struct is bound from the parameter that its tag names:
//
//	SecretName secrets.Name `param:"SecretName,required"`
//
// Options, separated by commas: required; hash (the audit record holds a hash
// in place of the text, for policy documents); min=N and max=N (value of an
// int, characters of a string); bytes=N (at most N bytes); default=V.
//
// Field types: string, mask.Text, int, bool (all also as pointers, nil for a
// parameter that was not given), Binder, []string (Name.1, Name.2 or a JSON
// list), and slices of structs of strings (Name.1.Key or a JSON list), whose
// fields are matched by name.
type field struct {
	name     string
	index    int
	required bool
	masked   bool
	hashed   bool
	min, max int
	bytes    int
	def      string
	typ      reflect.Type
	omit     bool // output: leave out when zero
}

type plan struct {
	typ    reflect.Type
	fields []field
}

var (
	textType   = reflect.TypeFor[mask.Text]()
	binderType = reflect.TypeFor[Binder]()
)

// inputPlan reads an input struct's tags; a mistake in them panics.
func inputPlan(t reflect.Type) *plan {
	p := &plan{typ: t}
	for i := range t.NumField() {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("param")
		if !ok {
			panic(fmt.Sprintf("rpc: field %s.%s has no param tag", t, f.Name))
		}
		parts := strings.Split(tag, ",")
		fd := field{name: parts[0], index: i, min: -1, max: -1, bytes: -1, typ: f.Type}
		for _, o := range parts[1:] {
			fd.option(t, o)
		}
		fd.masked = f.Type == textType || f.Type == reflect.PointerTo(textType)
		p.fields = append(p.fields, fd)
	}
	return p
}

func (f *field) option(t reflect.Type, o string) {
	name, value, _ := strings.Cut(o, "=")
	number := func() int {
		n, err := strconv.Atoi(value)
		if err != nil {
			panic(fmt.Sprintf("rpc: %s.%s: option %q", t, f.name, o))
		}
		return n
	}
	switch name {
	case "required":
		f.required = true
	case "hash":
		f.hashed = true
	case "default":
		f.def = value
	case "min":
		f.min = number()
	case "max":
		f.max = number()
	case "bytes":
		f.bytes = number()
	default:
		panic(fmt.Sprintf("rpc: %s.%s: unknown option %q", t, f.name, o))
	}
}

// bind makes the operation's input from the parameters. An empty text counts
// as not given. Unknown parameters are ignored, as the real service does:
// clients send common parameters that are of no interest here.
func (p *plan) bind(params map[string]string) (any, error) {
	v := reflect.New(p.typ)
	for i := range p.fields {
		f := &p.fields[i]
		if err := f.bind(v.Elem().Field(f.index), params); err != nil {
			return nil, err
		}
	}
	if c, ok := v.Interface().(Checker); ok {
		if err := c.Check(); err != nil {
			return nil, err
		}
	}
	return v.Interface(), nil
}

func (f *field) bind(dst reflect.Value, params map[string]string) error {
	if dst.Kind() == reflect.Slice && !dst.Addr().Type().Implements(binderType) {
		return f.bindList(dst, params)
	}
	text := params[f.name]
	if text == "" {
		if f.required {
			return BadParam{f.name, Missing, "it is required"}
		}
		if text = f.def; text == "" {
			return nil
		}
	}
	if dst.Kind() == reflect.Pointer {
		dst.Set(reflect.New(dst.Type().Elem()))
		dst = dst.Elem()
	}
	return f.bindText(dst, text)
}

func (f *field) bindText(dst reflect.Value, text string) error {
	if f.bytes >= 0 && len(text) > f.bytes {
		return BadParam{f.name, Length, fmt.Sprintf("it is longer than %d bytes", f.bytes)}
	}
	if b, ok := dst.Addr().Interface().(Binder); ok {
		if err := b.BindParam(text); err != nil {
			if bad, ok := err.(BadParam); ok { //nolint:errorlint // BindParam returns it unwrapped by contract
				bad.Field = f.name
				return bad
			}
			return err
		}
		return nil
	}
	switch dst.Kind() {
	case reflect.String:
		dst.SetString(text)
		return f.checkLength(text)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return BadParam{f.name, Value, "it must be a whole number"}
		}
		if f.min >= 0 && n < f.min || f.max >= 0 && n > f.max {
			return BadParam{f.name, Value, fmt.Sprintf("it must lie between %d and %d", f.min, f.max)}
		}
		dst.SetInt(int64(n))
	case reflect.Bool:
		b, ok := map[string]bool{"true": true, "false": false}[strings.ToLower(text)]
		if !ok {
			return BadParam{f.name, Value, "it must be true or false"}
		}
		dst.SetBool(b)
	default:
		if dst.Type() == textType {
			dst.Set(reflect.ValueOf(mask.NewText(text)))
			return f.checkLength(text)
		}
		panic(fmt.Sprintf("rpc: parameter %s has the type %s, which cannot be bound", f.name, dst.Type()))
	}
	return nil
}

func (f *field) checkLength(text string) error {
	n := utf8.RuneCountInString(text)
	switch {
	case f.max >= 0 && n > f.max:
		return BadParam{f.name, Length, fmt.Sprintf("it is longer than %d characters", f.max)}
	case f.min >= 0 && n < f.min:
		return BadParam{f.name, Length, fmt.Sprintf("it is shorter than %d characters", f.min)}
	}
	return nil
}

// maxList bounds the elements of a list parameter; no list of the API has more.
const maxList = 100

// maxElement bounds the texts in a list, in bytes. Conditions of policies look
// at them before the operation checks what it allows, and no list of the API
// has longer ones.
const maxElement = 1024

// longest returns the length of the longest text in a list's element.
func longest(v reflect.Value) int {
	if v.Kind() == reflect.String {
		return v.Len()
	}
	n := 0
	for i := range v.NumField() {
		n = max(n, v.Field(i).Len())
	}
	return n
}

// bindList reads both forms of a list: flattened, or JSON in one parameter.
func (f *field) bindList(dst reflect.Value, params map[string]string) error {
	limit := maxList
	if f.max >= 0 {
		limit = f.max
	}
	if text := params[f.name]; text != "" {
		if err := f.bindJSONList(dst, text); err != nil {
			return err
		}
	} else {
		elem := dst.Type().Elem()
		for n := 1; n <= limit+1; n++ {
			v := reflect.New(elem).Elem()
			if !bindElement(v, f.name+"."+strconv.Itoa(n), params) {
				break
			}
			dst.Set(reflect.Append(dst, v))
		}
	}
	if dst.Len() > limit {
		return BadParam{f.name, Length, fmt.Sprintf("it has more than %d elements", limit)}
	}
	for i := range dst.Len() {
		if longest(dst.Index(i)) > maxElement {
			return BadParam{f.name, Length, fmt.Sprintf("a text in it is longer than %d bytes", maxElement)}
		}
	}
	if dst.Len() == 0 && f.required {
		return BadParam{f.name, Missing, "it is required"}
	}
	return nil
}

func (f *field) bindJSONList(dst reflect.Value, text string) error {
	bad := BadParam{f.name, Format, "it must be a JSON list"}
	dec := json.NewDecoder(strings.NewReader(text))
	if err := dec.Decode(dst.Addr().Interface()); err != nil || dec.More() || dst.IsNil() {
		return bad
	}
	if rest := strings.TrimSpace(text[dec.InputOffset():]); rest != "" {
		return bad
	}
	return nil
}

// bindElement fills one flattened element; false means that it is not there.
func bindElement(v reflect.Value, name string, params map[string]string) bool {
	if v.Kind() == reflect.String {
		text, ok := params[name]
		v.SetString(text)
		return ok && text != ""
	}
	found := false
	for i := range v.NumField() {
		if text, ok := params[name+"."+v.Type().Field(i).Name]; ok {
			v.Field(i).SetString(text)
			found = true
		}
	}
	return found
}

// record returns the given parameters as the audit record holds them: masked
// ones as stars, hashed ones as hashes, unknown ones not at all (a misspelt
// parameter may hold a secret).
func (p *plan) record(params map[string]string) map[string]string {
	out := map[string]string{}
	for i := range p.fields {
		f := &p.fields[i]
		text, ok := params[f.name]
		switch {
		case !ok && f.typ.Kind() == reflect.Slice:
			for name, v := range params {
				if strings.HasPrefix(name, f.name+".") {
					out[name] = v
				}
			}
		case !ok || text == "":
		case f.masked:
			out[f.name] = mask.Stars
		case f.hashed:
			sum := sha256.Sum256([]byte(text))
			out[f.name] = "sha256:" + hex.EncodeToString(sum[:])
		default:
			out[f.name] = text
		}
	}
	return out
}

// hideRefused puts stars in the record for every parameter that its type
// refuses: it may be a secret that was sent under a wrong name.
func (p *plan) hideRefused(params, recorded map[string]string) {
	v := reflect.New(p.typ).Elem()
	for i := range p.fields {
		f := &p.fields[i]
		if f.bind(v.Field(f.index), params) == nil {
			continue
		}
		for name := range recorded {
			if name == f.name || strings.HasPrefix(name, f.name+".") {
				recorded[name] = mask.Stars
			}
		}
	}
}
