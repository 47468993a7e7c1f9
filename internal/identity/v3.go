package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// algorithmV3 is the only V3 algorithm this server knows. The choice is the
// server's: another name in the request is refused, never followed.
const algorithmV3 = "ACS3-HMAC-SHA256"

const (
	headerContentHash = "X-Acs-Content-Sha256"
	headerToken       = "X-Acs-Security-Token"
)

// requiredV3 are the headers without which a V3 signature is refused: they
// carry everything of the request that is in neither query nor body.
var requiredV3 = [...]struct{ name, canonical string }{
	{"x-acs-action", "X-Acs-Action"},
	{"x-acs-version", "X-Acs-Version"},
	{"x-acs-date", "X-Acs-Date"},
	{"x-acs-signature-nonce", "X-Acs-Signature-Nonce"},
	{"x-acs-content-sha256", headerContentHash},
}

// maxSignedHeaders bounds the work that an unverified list can ask for; the
// clients sign about ten.
const maxSignedHeaders = 64

// parseV3 reads and checks the signing part of a V3 request.
func parseV3(r *Request) (*Credentials, error) {
	if len(r.Header.Values("Authorization")) != 1 {
		return nil, incomplete("the Authorization header is given more than once")
	}
	c, err := parseAuthorization(r.Header.Get("Authorization"))
	if err != nil {
		return nil, err
	}
	if err := r.checkSignedHeaders(c.signedHeaders); err != nil {
		return nil, err
	}
	if c.signedValues, err = r.signedHeaderValues(c.signedHeaders); err != nil {
		return nil, err
	}
	c.req = r
	c.Nonce = trimSpace(r.Header.Get("X-Acs-Signature-Nonce"))
	c.SecurityToken = r.Header.Get(headerToken)
	c.Time, err = parseTime(r.Header.Get("X-Acs-Date"), r.Header.Get("X-Acs-Version"))
	if err != nil {
		return nil, err
	}
	return c, nil
}

// parseAuthorization reads
//
//	ACS3-HMAC-SHA256 Credential=<AK>,SignedHeaders=<a;b;c>,Signature=<hex>
//
// with the fields in any order and optional spaces around the commas.
func parseAuthorization(s string) (*Credentials, error) {
	algorithm, rest, _ := strings.Cut(s, " ")
	if algorithm != algorithmV3 {
		return nil, incomplete("the algorithm is not %s", algorithmV3)
	}
	var ak, headers, signature string
	for field := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		var to *string
		switch name {
		case "Credential":
			to = &ak
		case "SignedHeaders":
			to = &headers
		case "Signature":
			to = &signature
		}
		if !ok || to == nil || *to != "" {
			return nil, incomplete("the Authorization header is not made of one Credential, SignedHeaders and Signature each")
		}
		*to = value
	}
	switch {
	case ak == "":
		return nil, apierr.MissingAccessKeyID
	case headers == "":
		return nil, incomplete("the Authorization header has no SignedHeaders")
	case !isLowerHex(signature, sha256.Size):
		return nil, incomplete("the Signature in the Authorization header is not 64 lower-case hexadecimal digits")
	}
	return &Credentials{
		Scheme: SchemeV3, AccessKeyID: ak, signature: signature,
		signedHeaders: strings.Split(headers, ";"),
	}, nil
}

func isLowerHex(s string, size int) bool {
	if len(s) != 2*size {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// checkSignedHeaders requires that the mandatory headers are there and signed.
func (r *Request) checkSignedHeaders(signed []string) error {
	for _, h := range &requiredV3 {
		if r.Header.Get(h.canonical) == "" {
			return missing(h.name)
		}
		if !slices.Contains(signed, h.name) {
			return notSigned(h.name)
		}
	}
	if !slices.Contains(signed, "host") {
		return notSigned("host")
	}
	if len(r.Body) > 0 {
		if r.Header.Get("Content-Type") == "" {
			return missing("content-type")
		}
		if !slices.Contains(signed, "content-type") {
			return notSigned("content-type")
		}
	}
	if len(r.Header.Values(headerToken)) > 0 && !slices.Contains(signed, "x-acs-security-token") {
		return notSigned("x-acs-security-token")
	}
	return nil
}

func notSigned(name string) error { return incomplete("the header %s is not signed", name) }

// signedHeaderValues returns the values of the signed headers. Each must be
// there exactly once: net/http and whoever stands before it would not agree
// which of two values counts.
func (r *Request) signedHeaderValues(signed []string) ([]string, error) {
	if len(signed) > maxSignedHeaders {
		return nil, incomplete("more than %d headers are signed", maxSignedHeaders)
	}
	values := make([]string, len(signed))
	for i, name := range signed {
		if name == "host" {
			values[i] = r.Host
			continue
		}
		v := r.Header.Values(name)
		if len(v) != 1 {
			return nil, incomplete("the signed header %q is given %d times", name, len(v))
		}
		values[i] = trimSpace(v[0])
	}
	return values, nil
}

// trimSpace trims a header's value as HTTP does, of spaces and tabs. Were
// more trimmed before the signature is checked than before the value is used,
// a nonce with a no-break space added would be another nonce under the same
// signature.
func trimSpace(s string) string { return strings.Trim(s, " \t") }

// verifyV3 first checks that the body is the one whose hash was signed, then
// the signature itself. The string to sign holds hashes only, so it can always
// be told.
func (c *Credentials) verifyV3(secret mask.Text) error {
	sum := sha256.Sum256(c.req.Body)
	if hex.EncodeToString(sum[:]) != c.req.Header.Get(headerContentHash) {
		return apierr.SignatureMismatch.Msg("%s The header x-acs-content-sha256 is not the lower-case hexadecimal SHA-256 of the body.",
			apierr.SignatureMismatch.Message)
	}
	s := c.stringToSignV3()
	m := hmac.New(sha256.New, []byte(secret.Reveal()))
	m.Write([]byte(s))
	want := hex.EncodeToString(m.Sum(nil))
	if subtle.ConstantTimeCompare([]byte(want), []byte(c.signature)) == 1 {
		return nil
	}
	return mismatch(s)
}

// stringToSignV3 is the algorithm and the hash of the canonical request.
func (c *Credentials) stringToSignV3() string {
	sum := sha256.Sum256(c.canonicalV3())
	return algorithmV3 + "\n" + hex.EncodeToString(sum[:])
}

// canonicalV3 is the canonical request: method, path, query, signed headers
// (each line ended, hence an empty line after them), their names, and the
// body's hash, joined by newlines.
func (c *Credentials) canonicalV3() []byte {
	r := c.req
	b := make([]byte, 0, 1024)
	b = append(b, r.Method...)
	b = append(b, '\n')
	if r.Path == "" {
		b = append(b, '/')
	}
	b = append(b, r.Path...)
	b = append(b, '\n')
	b = appendCanonical(b, slices.Clone(r.Query))
	b = append(b, '\n')
	for i, name := range c.signedHeaders {
		b = append(b, strings.ToLower(name)...)
		b = append(b, ':')
		b = append(b, c.signedValues[i]...)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	b = append(b, strings.Join(c.signedHeaders, ";")...)
	b = append(b, '\n')
	return append(b, r.Header.Get(headerContentHash)...)
}
