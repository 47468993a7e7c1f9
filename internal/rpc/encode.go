package rpc

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

// An output struct's fields go over the wire under their Go names, in order of
// declaration. Field types: string, bool, int, mask.Text, structs, pointers to
// structs, slices of these, map[string]string. The tag `wire:"omitempty"`
// leaves a field out when it is zero; an empty slice without it is written as
// [], never as null, because clients index straight into it.
func outputPlan(t reflect.Type) *plan {
	p := &plan{typ: t}
	for i := range t.NumField() {
		f := t.Field(i)
		fd := field{name: f.Name, index: i, typ: f.Type, omit: f.Tag.Get("wire") == "omitempty"}
		checkOutput(f.Type, t.Name()+"."+f.Name)
		p.fields = append(p.fields, fd)
	}
	return p
}

// checkOutput panics at start for a type that the encoder does not know.
func checkOutput(t reflect.Type, where string) {
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int:
	case reflect.Slice, reflect.Pointer:
		checkOutput(t.Elem(), where)
	case reflect.Map:
		if t.Key().Kind() != reflect.String || t.Elem().Kind() != reflect.String {
			panic("rpc: output " + where + " is a map of something else than strings")
		}
	case reflect.Struct:
		if t == textType {
			return
		}
		for i := range t.NumField() {
			checkOutput(t.Field(i).Type, where+"."+t.Field(i).Name)
		}
	default:
		panic(fmt.Sprintf("rpc: output %s has the type %s, which cannot be encoded", where, t))
	}
}

// appendOutput writes out (a pointer to an output struct) as the JSON answer
// with its request id. This is the one place where a masked value is revealed
// to a caller.
func appendOutput(dst []byte, out any, requestID string) []byte {
	dst = append(dst, `{"RequestId":`...)
	dst = appendString(dst, requestID)
	if out == nil || reflect.ValueOf(out).IsNil() {
		return append(dst, '}')
	}
	dst = appendFields(dst, reflect.ValueOf(out).Elem(), true, true)
	return append(dst, '}')
}

// outputRecord writes the answer as the audit record holds it: masked values
// as stars.
func outputRecord(out any) []byte {
	if out == nil || reflect.ValueOf(out).IsNil() {
		return nil
	}
	return append(appendFields([]byte{'{'}, reflect.ValueOf(out).Elem(), false, false), '}')
}

func appendFields(dst []byte, v reflect.Value, more, reveal bool) []byte {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Tag.Get("wire") == "omitempty" && v.Field(i).IsZero() {
			continue
		}
		if more {
			dst = append(dst, ',')
		}
		more = true
		dst = append(dst, '"')
		dst = append(dst, f.Name...)
		dst = append(dst, '"', ':')
		dst = appendValue(dst, v.Field(i), reveal)
	}
	return dst
}

func appendValue(dst []byte, v reflect.Value, reveal bool) []byte {
	switch v.Kind() {
	case reflect.String:
		return appendString(dst, v.String())
	case reflect.Bool:
		return strconv.AppendBool(dst, v.Bool())
	case reflect.Int:
		return strconv.AppendInt(dst, v.Int(), 10)
	case reflect.Pointer:
		if v.IsNil() {
			return append(dst, "null"...)
		}
		return appendValue(dst, v.Elem(), reveal)
	case reflect.Slice:
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, v.Index(i), reveal)
		}
		return append(dst, ']')
	case reflect.Map:
		b, _ := json.Marshal(v.Interface()) // a map of strings always encodes
		return append(dst, b...)
	}
	if v.Type() == textType {
		if reveal {
			return appendString(dst, v.Interface().(mask.Text).Reveal())
		}
		return appendString(dst, mask.Stars)
	}
	dst = append(dst, '{')
	dst = appendFields(dst, v, false, reveal)
	return append(dst, '}')
}

// TimeText is a time as answers write it: UTC, to the second; empty for the
// zero time.
func TimeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// appendString writes s as a JSON string. Texts of printable ASCII without
// quotes, the usual case, are copied; everything else goes through the
// standard encoder, with the HTML escapes off, since values must come back
// byte for byte and readable.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			var b strings.Builder
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			_ = enc.Encode(s) // a string always encodes
			return append(dst, strings.TrimSuffix(b.String(), "\n")...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
