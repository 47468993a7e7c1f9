package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// fuzzPairs decodes what can be decoded of a query or form.
func fuzzPairs(s string) (ps []Param) {
	for pair := range strings.SplitSeq(s, "&") {
		name, value, _ := strings.Cut(pair, "=")
		n, err1 := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		if pair != "" && err1 == nil && err2 == nil {
			ps = append(ps, Param{n, v})
		}
	}
	return ps
}

// lines prints a request's headers as FuzzCredentials reads them.
func lines(h http.Header) string {
	var b strings.Builder
	for name, values := range h {
		for _, v := range values {
			b.WriteString(name + ": " + v + "\n")
		}
	}
	return b.String()
}

// encode prints parameters as a query.
func encode(ps []Param) string { return string(appendCanonical(nil, slices.Clone(ps))) }

// sign gives c the signature that its request should have.
func sign(c *Credentials, secret mask.Text) {
	if c.Scheme == SchemeV1 {
		c.signature = base64.StdEncoding.EncodeToString(hmacSHA1([]byte(secret.Reveal()+"&"), c.req.stringToSignV1()))
		return
	}
	m := hmac.New(sha256.New, []byte(secret.Reveal()))
	m.Write([]byte(c.stringToSignV3()))
	c.signature = hex.EncodeToString(m.Sum(nil))
}

// FuzzCredentials feeds arbitrary requests to the parser and the verifier.
// They must not panic, refuse with nothing but rows of the catalogue, and a
// request must verify with the one right signature and with no other.
func FuzzCredentials(f *testing.F) {
	for _, v := range v1Vectors {
		r := v.request(f)
		f.Add(r.Method, r.Path, r.Host, lines(r.Header), encode(r.Query), r.Body, true)
	}
	for _, v := range v3Vectors {
		r := v.request(f)
		f.Add(r.Method, r.Path, r.Host, lines(r.Header), encode(r.Query), r.Body, false)
	}
	f.Add("", "", "", "Authorization: ACS3-", "Signature", []byte{0}, true)
	f.Fuzz(func(t *testing.T, method, path, host, headers, query string, body []byte, requireNonce bool) {
		r := &Request{Method: method, Path: path, Host: host, Header: http.Header{}, Query: fuzzPairs(query), Body: body}
		for line := range strings.Lines(headers) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			r.Header.Add(name, strings.TrimSpace(value))
		}
		if r.isForm() {
			r.Form = fuzzPairs(string(body))
		}
		scheme, _, _ := r.Target()
		c, err := ParseCredentials(r, requireNonce)
		if err != nil {
			if apierr.As(err) == nil || c != nil {
				t.Fatalf("refused with %v and credentials %v", err, c)
			}
			return
		}
		if c.Scheme != scheme || scheme == SchemeNone || c.AccessKeyID == "" || c.Time.IsZero() || (requireNonce && c.Nonce == "") {
			t.Fatalf("accepted incomplete credentials %v", c)
		}
		checkOnlyRightSignature(t, c)
	})
}

func checkOnlyRightSignature(t *testing.T, c *Credentials) {
	received := c.signature
	receivedErr := c.VerifySignature(vectorSecret)
	if c.Scheme == SchemeV3 {
		sum := sha256.Sum256(c.req.Body)
		if hash := hex.EncodeToString(sum[:]); hash != c.req.Header.Get(headerContentHash) {
			if receivedErr == nil {
				t.Fatal("verified with another body hash")
			}
			c.req.Header.Set(headerContentHash, hash)
			c.signedValues[slices.Index(c.signedHeaders, "x-acs-content-sha256")] = hash
			receivedErr = c.VerifySignature(vectorSecret)
		}
	}
	sign(c, vectorSecret)
	right := c.signature
	if err := c.VerifySignature(vectorSecret); err != nil {
		t.Fatalf("the right signature is refused: %v", err)
	}
	if (receivedErr == nil) != (received == right) {
		t.Fatalf("received %q, right %q: %v", received, right, receivedErr)
	}
	for i := range right {
		b := []byte(right)
		b[i] ^= 0x20 // another letter case, or another character
		c.signature = string(b)
		if c.VerifySignature(vectorSecret) == nil {
			t.Fatalf("verified with %q, right is %q", c.signature, right)
		}
	}
	c.signature = right // HMAC pads keys with zeros, so the other one must not end in a zero
	if c.VerifySignature(mask.NewText(vectorSecret.Reveal()+"x")) == nil {
		t.Fatal("verified with another secret")
	}
}
