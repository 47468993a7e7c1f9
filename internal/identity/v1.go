package identity

import (
	"crypto/fips140"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // V1 is HMAC-SHA1, see hmacSHA1
	"crypto/subtle"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// maxStringShown bounds the string to sign in an error message. Doubly
// encoded, the parameters of a full body would make an answer of a megabyte
// and more.
const maxStringShown = 8 << 10

// once returns a parameter's value. A signing parameter that occurs twice
// means two things at once, so it is refused before it means anything.
func (r *Request) once(name string) (string, error) {
	v, n := r.param(name)
	if n > 1 {
		return "", apierr.InvalidParameter(name, "it is given more than once")
	}
	return v, nil
}

// v1Params are the common parameters of a V1 request, each at most once.
type v1Params struct {
	accessKeyID, token, nonce, timestamp, version      string
	method, signatureVersion, signatureType, signature string
}

func (r *Request) v1Params() (p v1Params, err error) {
	var action string // only so that it is not repeated
	for _, f := range []struct {
		name string
		to   *string
	}{
		{"Action", &action}, {"Version", &p.version}, {"AccessKeyId", &p.accessKeyID},
		{"SecurityToken", &p.token}, {"SignatureNonce", &p.nonce}, {"Timestamp", &p.timestamp},
		{"SignatureMethod", &p.method}, {"SignatureVersion", &p.signatureVersion},
		{"SignatureType", &p.signatureType}, {"Signature", &p.signature},
	} {
		if *f.to, err = r.once(f.name); err != nil {
			return p, err
		}
	}
	return p, nil
}

// parseV1 reads and checks the signing part of a V1 request.
func parseV1(r *Request, requireNonce bool) (*Credentials, error) {
	if r.bearer() {
		return nil, errBearer()
	}
	p, err := r.v1Params()
	if err != nil {
		return nil, err
	}
	if err := p.check(requireNonce); err != nil {
		return nil, err
	}
	// V1 signs parameters only. A body of any other kind could be replaced on
	// its way without anyone noticing.
	if len(r.Body) > 0 && !r.isForm() {
		return nil, apierr.InvalidParameter("Content-Type",
			"a request with SignatureVersion 1.0 may have a body of type application/x-www-form-urlencoded only")
	}
	t, err := parseTime(p.timestamp, p.version)
	if err != nil {
		return nil, err
	}
	return &Credentials{
		Scheme: SchemeV1, AccessKeyID: p.accessKeyID, SecurityToken: p.token,
		Nonce: p.nonce, Time: t, req: r, signature: p.signature,
	}, nil
}

// check refuses what is missing or of an unknown kind, in the order in which
// a client's author would want to learn it.
func (p *v1Params) check(requireNonce bool) error {
	switch {
	case p.accessKeyID == "":
		return apierr.MissingAccessKeyID
	case p.signature == "":
		return missing("Signature")
	case p.method == "":
		return missing("SignatureMethod")
	case p.method != "HMAC-SHA1":
		return incomplete("SignatureMethod is not HMAC-SHA1")
	case p.signatureVersion == "":
		return missing("SignatureVersion")
	case p.signatureVersion != "1.0":
		return incomplete("SignatureVersion is not 1.0")
	case p.signatureType != "":
		return incomplete("SignatureType is not empty")
	case p.nonce == "" && requireNonce:
		return missing("SignatureNonce")
	}
	raw, err := base64.StdEncoding.DecodeString(p.signature)
	if err != nil || len(raw) != sha1.Size {
		return incomplete(`Signature is not base64 of 20 bytes (was "+" sent without encoding it as %%2B?)`)
	}
	return nil
}

// verifyV1 compares texts, not decoded bytes: base64 decoding forgives, so
// that one signature could be written in several ways.
func (c *Credentials) verifyV1(secret mask.Text) error {
	s := c.req.stringToSignV1()
	want := base64.StdEncoding.EncodeToString(hmacSHA1([]byte(secret.Reveal()+"&"), s))
	if subtle.ConstantTimeCompare([]byte(want), []byte(c.signature)) == 1 {
		return nil
	}
	if len(s) > maxStringShown || c.req.hasSensitiveParam() {
		return apierr.SignatureMismatch
	}
	return mismatch(s)
}

// mismatch is the refusal of a signature that tells the string to sign.
func mismatch(stringToSign string) error {
	return apierr.SignatureMismatch.Msg("%s %s%s",
		apierr.SignatureMismatch.Message, StringToSignMarker, stringToSign)
}

// hmacSHA1 is what V1 clients compute. SHA-1's collisions do not weaken HMAC,
// but the FIPS 140-3 module refuses it; the wire leaves no choice, hence the
// exception, which covers this call only.
func hmacSHA1(key []byte, s string) (sum []byte) {
	fips140.WithoutEnforcement(func() {
		m := hmac.New(sha1.New, key)
		m.Write([]byte(s))
		sum = m.Sum(nil)
	})
	return sum
}

// stringToSignV1 is METHOD&%2F& and the encoded list of all parameters of
// query and form but Signature.
func (r *Request) stringToSignV1() string {
	ps := make([]Param, 0, len(r.Query)+len(r.Form))
	for _, list := range [2][]Param{r.Query, r.Form} {
		for _, p := range list {
			if p.Name != "Signature" {
				ps = append(ps, p)
			}
		}
	}
	canonical := appendCanonical(make([]byte, 0, 1024), ps)
	b := make([]byte, 0, len(canonical)*3/2+16)
	b = append(b, r.Method...)
	b = append(b, "&%2F&"...)
	return string(appendEscaped(b, canonical))
}

// appendCanonical sorts ps in place, bytewise by name, and appends them as
// pct(name)=pct(value) joined by "&". Equal names, which the gateway refuses
// later, are ordered by value so that the result is definite.
func appendCanonical(b []byte, ps []Param) []byte {
	slices.SortFunc(ps, func(x, y Param) int {
		if c := strings.Compare(x.Name, y.Name); c != 0 {
			return c
		}
		return strings.Compare(x.Value, y.Value)
	})
	for i, p := range ps {
		if i > 0 {
			b = append(b, '&')
		}
		b = appendEscaped(b, p.Name)
		b = append(b, '=')
		b = appendEscaped(b, p.Value)
	}
	return b
}

// appendEscaped percent-encodes s as RFC 3986 has it: letters, digits and
// "-_.~" stay, every other byte becomes %XX in upper case.
func appendEscaped[T string | []byte](b []byte, s T) []byte {
	const hexUpper = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '_', c == '.', c == '~':
			b = append(b, c)
		default:
			b = append(b, '%', hexUpper[c>>4], hexUpper[c&15])
		}
	}
	return b
}

// sensitiveParts are what the name of a parameter contains, in lower case,
// when its value must not be repeated in an answer. Rather too many: a match
// costs the client a hint, a miss would show a secret.
var sensitiveParts = [...]string{
	"secretdata", "plaintext", "ciphertext", "securitytoken", "password", "keymaterial",
	"privatekey", "accesskeysecret", "oidctoken", "assertion", "bearertoken",
}

func (r *Request) hasSensitiveParam() bool {
	sensitive := func(p Param) bool {
		name := strings.ToLower(p.Name)
		return slices.ContainsFunc(sensitiveParts[:], func(s string) bool { return strings.Contains(name, s) })
	}
	return slices.ContainsFunc(r.Query, sensitive) || slices.ContainsFunc(r.Form, sensitive)
}
