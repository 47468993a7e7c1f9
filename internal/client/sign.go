package client

import (
	"context"
	"crypto/fips140"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // V1 is HMAC-SHA1, see mac
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const timeLayout = "2006-01-02T15:04:05Z"

const formType = "application/x-www-form-urlencoded"

// reserved are the parameters that V1 adds itself.
var reserved = []string{
	"Action", "Version", "Format", "AccessKeyId", "SecurityToken", "Timestamp", "SignatureNonce",
	"SignatureMethod", "SignatureVersion", "SignatureType", "Signature", "BearerToken",
}

// newRequest returns the signed request of an operation.
func (c *Client) newRequest(ctx context.Context, version, operation string, params map[string]string) (*http.Request, error) {
	p := make(map[string]string, len(params)+12)
	maps.Copy(p, params)
	for _, name := range reserved {
		if _, ok := p[name]; ok {
			return nil, fmt.Errorf("%s is not a parameter of an operation", name)
		}
	}
	if _, ok := p["RegionId"]; !ok && c.cfg.Region != "" {
		p["RegionId"] = c.cfg.Region
	}
	date := c.cfg.Now().UTC().Format(timeLayout)
	nonce := newNonce()
	if c.cfg.Scheme == V1 {
		c.signV1(p, version, operation, date, nonce)
		return c.post(ctx, encodeForm(p))
	}
	body := encodeForm(p)
	req, err := c.post(ctx, body)
	if err != nil {
		return nil, err
	}
	c.signV3(req, body, version, operation, date, nonce)
	return req, nil
}

// newNonce returns 128 random bits.
func newNonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

func encodeForm(p map[string]string) string {
	v := make(url.Values, len(p))
	for name, value := range p {
		v.Set(name, value)
	}
	return v.Encode()
}

func (c *Client) post(ctx context.Context, body string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Host = c.host
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if body != "" {
		req.Header.Set("Content-Type", formType)
	}
	return req, nil
}

// signV1 adds the common parameters and the signature to p.
func (c *Client) signV1(p map[string]string, version, operation, date, nonce string) {
	p["Action"], p["Version"], p["Format"] = operation, version, "JSON"
	p["AccessKeyId"], p["Timestamp"], p["SignatureNonce"] = c.cfg.AccessKeyID, date, nonce
	p["SignatureMethod"], p["SignatureVersion"] = "HMAC-SHA1", "1.0"
	if c.cfg.SecurityToken.Len() > 0 {
		p["SecurityToken"] = c.cfg.SecurityToken.Reveal()
	}
	pairs := make([]string, 0, len(p))
	for _, name := range slices.Sorted(maps.Keys(p)) {
		pairs = append(pairs, escape(name)+"="+escape(p[name]))
	}
	s := http.MethodPost + "&%2F&" + escape(strings.Join(pairs, "&"))
	p["Signature"] = base64.StdEncoding.EncodeToString(mac(sha1.New, c.cfg.AccessKeySecret.Reveal()+"&", s))
}

// mac is HMAC outside the rules of FIPS 140-3: those forbid SHA-1, which V1
// demands (its collisions do no harm here), and make a short key, which is
// a mistyped secret and the server's to refuse, a panic.
func mac(h func() hash.Hash, key, s string) (sum []byte) {
	fips140.WithoutEnforcement(func() {
		m := hmac.New(h, []byte(key))
		m.Write([]byte(s))
		sum = m.Sum(nil)
	})
	return sum
}

// signV3 adds the x-acs headers and the Authorization header to req.
func (c *Client) signV3(req *http.Request, body, version, operation, date, nonce string) {
	sum := sha256.Sum256([]byte(body))
	h := map[string]string{
		"host":                  c.host,
		"x-acs-action":          operation,
		"x-acs-version":         version,
		"x-acs-date":            date,
		"x-acs-signature-nonce": nonce,
		"x-acs-content-sha256":  hex.EncodeToString(sum[:]),
	}
	if body != "" {
		h["content-type"] = formType
	}
	if c.cfg.SecurityToken.Len() > 0 {
		h["x-acs-accesskey-id"] = c.cfg.AccessKeyID
		h["x-acs-security-token"] = c.cfg.SecurityToken.Reveal()
	}
	names := slices.Sorted(maps.Keys(h))
	signed := strings.Join(names, ";")
	var lines strings.Builder
	for _, name := range names {
		lines.WriteString(name + ":" + strings.TrimSpace(h[name]) + "\n")
		if name != "host" { // net/http sends req.Host
			req.Header.Set(name, h[name])
		}
	}
	canonical := strings.Join([]string{
		http.MethodPost, "/", "", lines.String(), signed, h["x-acs-content-sha256"],
	}, "\n")
	digest := sha256.Sum256([]byte(canonical))
	signature := mac(sha256.New, c.cfg.AccessKeySecret.Reveal(), "ACS3-HMAC-SHA256\n"+hex.EncodeToString(digest[:]))
	req.Header.Set("Authorization", "ACS3-HMAC-SHA256 Credential="+c.cfg.AccessKeyID+
		",SignedHeaders="+signed+",Signature="+hex.EncodeToString(signature))
}

// escape percent-encodes as RFC 3986 has it. QueryEscape differs in the space
// alone: it already encodes "*" and leaves "~".
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
