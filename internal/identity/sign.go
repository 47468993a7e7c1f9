package identity

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// Param is one decoded parameter of a query or a form body. It prints as its
// name alone, because the value may be a secret.
type Param struct{ Name, Value string }

// Format writes the name and stars, whatever the verb.
func (p Param) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.Name+"="+mask.Stars) }

// MarshalText returns the name and stars; encoding/json and log/slog use it.
func (p Param) MarshalText() ([]byte, error) { return []byte(p.Name + "=" + mask.Stars), nil }

// Request is what a signature covers. The gateway fills it from a request
// whose body it has read whole and whose parameters it has decoded strictly:
// a parameter that cannot be decoded never gets here. It prints as method and
// path alone.
type Request struct {
	// Method is the HTTP method as received.
	Method string
	// Path is the escaped path as received; empty means "/".
	Path string
	// Host is the Host header exactly as received, with a port if it had one.
	Host string
	// Header holds the other headers, under canonical names.
	Header http.Header
	// Query and Form are decoded, in order of arrival. Form is set only for a
	// body of type application/x-www-form-urlencoded.
	Query, Form []Param
	// Body is the whole body; nil and empty are the same.
	Body []byte
}

// Format writes method and path, whatever the verb.
func (r Request) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.Method+" "+r.Path) }

// MarshalText returns method and path; encoding/json and log/slog use it.
func (r Request) MarshalText() ([]byte, error) { return []byte(r.Method + " " + r.Path), nil }

// Scheme is the way a request is signed.
type Scheme string

const (
	// SchemeNone is a request that carries neither kind of signature.
	SchemeNone Scheme = ""
	// SchemeV1 is HMAC-SHA1 over the parameters (SignatureVersion 1.0).
	SchemeV1 Scheme = "V1"
	// SchemeV3 is ACS3-HMAC-SHA256 over parameters, headers and body.
	SchemeV3 Scheme = "V3"
)

// Window is how far a request's time may lie from the server's, on either
// side; exactly this far is still accepted. The number is the one that the
// public documentation of Alibaba Cloud states.
const Window = 15 * time.Minute

// StringToSignMarker stands in front of the server's string to sign in the
// message of a SignatureDoesNotMatch; one official SDK searches for it to tell
// its user whether the secret or the string is wrong. What follows it repeats
// parameters of the request: cut it off before writing a log or a record.
const StringToSignMarker = "server string to sign is:"

// minSecret is the least length of a secret in bytes, that of a key by FIPS
// 140-3; the ones this server issues are longer. In its strict mode the crypto
// module panics on a shorter one.
const minSecret = 112 / 8

// timeLayout is the only form of a request's time; it is always UTC.
const timeLayout = "2006-01-02T15:04:05Z"

// kmsVersion decides between two codes for a malformed time, see parseTime.
const kmsVersion = "2016-01-20"

// Credentials is the signing part of a request, parsed but not verified:
// until VerifySignature has returned nil it is a mere claim of whoever sent
// the request. It prints as scheme and access key id.
type Credentials struct {
	Scheme      Scheme
	AccessKeyID string
	// SecurityToken is empty when none was sent.
	SecurityToken string
	// Nonce is empty only for a V1 request that need not have one.
	Nonce string
	// Time is when the client says it signed, UTC, whole seconds.
	Time time.Time

	// The rest serves VerifySignature.
	req           *Request
	signature     string   // as received; its form has been checked
	signedHeaders []string // V3: as received
	signedValues  []string // V3: their values, in the same order
}

// Format writes scheme and access key id, whatever the verb.
func (c Credentials) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, string(c.Scheme)+" "+c.AccessKeyID)
}

// MarshalText returns scheme and access key id; encoding/json and log/slog
// use it.
func (c Credentials) MarshalText() ([]byte, error) {
	return []byte(string(c.Scheme) + " " + c.AccessKeyID), nil
}

// Target tells how the request is signed and which operation of which API
// version it asks for, before anything is checked; absent values are empty.
// A V3 request names its operation in headers only, a V1 request in parameters
// only: its x-acs-action header, which some clients send, is not signed. An
// unsigned request may do either.
func (r *Request) Target() (scheme Scheme, action, version string) {
	scheme = r.scheme()
	if scheme != SchemeV3 {
		action, _ = r.param("Action")
		version, _ = r.param("Version")
		if scheme == SchemeV1 || action != "" || version != "" {
			return scheme, action, version
		}
	}
	return scheme, r.Header.Get("X-Acs-Action"), r.Header.Get("X-Acs-Version")
}

// scheme detects the scheme, by the Authorization header first.
func (r *Request) scheme() Scheme {
	if strings.HasPrefix(r.Header.Get("Authorization"), "ACS3-") {
		return SchemeV3
	}
	if _, n := r.param("Signature"); n > 0 {
		return SchemeV1
	}
	return SchemeNone
}

// param returns the first value of a parameter and how often it occurs in
// query and form together.
func (r *Request) param(name string) (value string, n int) {
	for _, list := range [2][]Param{r.Query, r.Form} {
		for i := range list {
			if list[i].Name != name {
				continue
			}
			if n == 0 {
				value = list[i].Value
			}
			n++
		}
	}
	return value, n
}

// ParseCredentials reads the signing part of r and checks everything that can
// be checked without the secret: that all of it is there, once, well formed,
// and that a V3 signature covers what it must. A V1 request may lack its nonce
// if requireNonce is false. The credentials keep r, which must not change
// until VerifySignature has returned. Errors are rows of the catalogue.
func ParseCredentials(r *Request, requireNonce bool) (*Credentials, error) {
	switch r.scheme() {
	case SchemeV3:
		return parseV3(r)
	case SchemeV1:
		return parseV1(r, requireNonce)
	}
	return nil, r.unsigned()
}

// unsigned explains what a request without signature lacks.
func (r *Request) unsigned() error {
	if r.bearer() {
		return errBearer()
	}
	if r.Header.Get("Authorization") != "" {
		return incomplete("the Authorization header does not begin with %s", algorithmV3)
	}
	if _, n := r.param("AccessKeyId"); n > 0 {
		return missing("Signature")
	}
	// Only V3 signs the body's hash; the other x-acs- headers are sent by
	// clients of V1 too.
	if r.Header.Get(headerContentHash) != "" {
		return missing("Authorization")
	}
	return apierr.MissingAccessKeyID
}

// bearer reports whether the request tries to authenticate with a bearer or
// identity token, which this server does not issue.
func (r *Request) bearer() bool {
	if r.Header.Get("X-Acs-Bearer-Token") != "" || r.Header.Get("X-Acs-Zero-Trust-Idtoken") != "" {
		return true
	}
	if _, n := r.param("BearerToken"); n > 0 {
		return true
	}
	t, _ := r.param("SignatureType")
	return strings.EqualFold(t, "BEARERTOKEN")
}

// CheckTime returns InvalidTimeStamp.Expired when the request's time is more
// than [Window] away from now, and then tells the server's time: a client
// whose clock is wrong cannot find out otherwise.
func (c *Credentials) CheckTime(now time.Time) error {
	if d := now.Sub(c.Time); d > Window || d < -Window {
		return apierr.TimestampExpired.Msg(
			"%s The server's time is %s, the request's is %s; they may differ by 15 minutes.",
			apierr.TimestampExpired.Message, now.UTC().Format(timeLayout), c.Time.Format(timeLayout))
	}
	return nil
}

// VerifySignature checks that the request was signed with secret, in time that
// does not depend on how much of the signature is right. It returns
// SignatureDoesNotMatch otherwise; the message holds the server's string to
// sign (see [StringToSignMarker]) unless that would repeat a secret. Any other
// error is a fault of the server: the secret is too short to be one.
func (c *Credentials) VerifySignature(secret mask.Text) error {
	// A damaged record must not become a key that anyone can guess.
	if secret.Len() < minSecret {
		return fmt.Errorf("the secret of access key %s has %d bytes, want at least %d", c.AccessKeyID, secret.Len(), minSecret)
	}
	if c.Scheme == SchemeV3 {
		return c.verifyV3(secret)
	}
	return c.verifyV1(secret)
}

// parseTime reads a request's time. KMS has one code for absent and malformed,
// the other products one for each.
func parseTime(s, version string) (time.Time, error) {
	if s == "" {
		return time.Time{}, apierr.IllegalTimestamp
	}
	t, err := time.Parse(timeLayout, s)
	// time.Parse also takes fractions of a second and short numbers; what
	// does not print as it came is not in the layout.
	if err == nil && t.Format(timeLayout) == s {
		return t, nil
	}
	if version == kmsVersion {
		return time.Time{}, apierr.IllegalTimestamp.Msg(
			`The input parameter "Timestamp" that is mandatory for processing this request is not well formatted: want YYYY-MM-DDThh:mm:ssZ in UTC.`)
	}
	return time.Time{}, apierr.TimestampFormat
}

// isForm reports whether the request declares an
// application/x-www-form-urlencoded body.
func (r *Request) isForm() bool {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && t == "application/x-www-form-urlencoded"
}

func missing(name string) error {
	return apierr.MissingParam.Msg(
		"The input parameter %q that is mandatory for processing this request is not supplied.", name)
}

func incomplete(format string, args ...any) error {
	return apierr.IncompleteSignature.Msg("%s Here %s.",
		apierr.IncompleteSignature.Message, fmt.Sprintf(format, args...))
}

func errBearer() error {
	return apierr.AccessKeyNotFound.Msg("%s Bearer tokens are not accepted.", apierr.AccessKeyNotFound.Message)
}
