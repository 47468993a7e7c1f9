package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/identity"
)

// MaxBody is the largest request body, in bytes. The largest legitimate one is
// a 30,720 byte secret whose every byte is percent-encoded, plus a policy.
const MaxBody = 256 << 10

// maxParams bounds the parameters of a request.
const maxParams = 1000

// decodePairs reads name=value pairs of a query or form body strictly: a
// broken escape, a text that is no UTF-8 and a pair without a name are
// refused, so that what is verified is exactly what was sent.
func decodePairs(raw string) ([]identity.Param, *apierr.Error) {
	var out []identity.Param
	for len(raw) > 0 {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil || name == "" || !utf8.ValidString(name) {
			return nil, apierr.InvalidParam.Msg("The name of a parameter is empty, is no UTF-8 or has a broken percent escape.")
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil || !utf8.ValidString(value) {
			return nil, apierr.InvalidParameter(name, "its value is no UTF-8 or has a broken percent escape")
		}
		if len(out) == maxParams {
			return nil, apierr.InvalidParam.Msg("The request has more than %d parameters.", maxParams)
		}
		out = append(out, identity.Param{Name: name, Value: value})
	}
	return out, nil
}

// decodeJSON reads the members of a JSON object: scalars as text, objects and
// lists as compact JSON, null as not given.
func decodeJSON(body []byte) ([]identity.Param, *apierr.Error) {
	broken := func(why string) *apierr.Error {
		return apierr.InvalidParam.Msg("The request body is no JSON object of parameters: %s.", why)
	}
	if !utf8.Valid(body) {
		return nil, broken("it is no UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, broken("it does not begin with {")
	}
	var out []identity.Param
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok || name == "" {
			return nil, broken("the name of a member is missing or empty")
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, broken("the value of a member cannot be read")
		}
		if loneSurrogate(raw) {
			return nil, broken("a string holds half of a \\u surrogate pair, which is no character")
		}
		value, given := jsonText(raw)
		if !given {
			continue
		}
		if len(out) == maxParams {
			return nil, apierr.InvalidParam.Msg("The request has more than %d parameters.", maxParams)
		}
		out = append(out, identity.Param{Name: name, Value: value})
	}
	if _, err := dec.Token(); err != nil {
		return nil, broken("its closing brace is missing")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, broken("something follows it")
	}
	return out, nil
}

// jsonText turns a valid JSON value into a parameter's text; false for null.
func jsonText(raw json.RawMessage) (string, bool) {
	switch raw[0] {
	case 'n':
		return "", false
	case '"':
		var s string
		_ = json.Unmarshal(raw, &s) // valid by the decoder's word
		return s, true
	case '{', '[':
		var b bytes.Buffer
		_ = json.Compact(&b, raw) // likewise
		return b.String(), true
	default:
		return string(raw), true
	}
}

// loneSurrogate reports whether a valid JSON value holds a \u escape of half a
// surrogate pair. The decoder would put another character in its place, and a
// secret would come back other than it was sent.
func loneSurrogate(raw []byte) bool {
	escape := func(b []byte) rune { // of \uXXXX at the front of b, else 0
		if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
			return 0
		}
		n, _ := strconv.ParseUint(string(b[2:6]), 16, 16) // valid by the decoder's word
		return rune(n)
	}
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		if r := escape(raw[i:]); utf16.IsSurrogate(r) {
			if utf16.DecodeRune(r, escape(raw[i+6:])) == utf8.RuneError {
				return true
			}
			i += 6
		}
		i++ // the character after the backslash
	}
	return false
}

// decodeBody reads the body's parameters by its content type. A body that is
// neither a form nor JSON is refused, unless it is empty.
func decodeBody(h http.Header, body []byte) (form, members []identity.Param, bad *apierr.Error) {
	if len(body) == 0 {
		return nil, nil, nil
	}
	media, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return nil, nil, apierr.ContentType
	}
	if cs, ok := params["charset"]; ok && !strings.EqualFold(cs, "utf-8") {
		return nil, nil, apierr.ContentType
	}
	switch media {
	case "application/x-www-form-urlencoded":
		form, bad = decodePairs(string(body))
	case "application/json":
		members, bad = decodeJSON(body)
	default:
		return nil, nil, apierr.ContentType
	}
	return form, members, bad
}
