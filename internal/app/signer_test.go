package app_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// pair is a parameter; a list of them, and not a map, since some tests give
// one twice.
type pair struct{ name, value string }

func pairs(m map[string]string) []pair {
	var out []pair
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, pair{name, m[name]})
	}
	return out
}

// wire is a request to be signed, written after the public description of the
// signatures and not after this module's client, so that the two check each
// other. The zero value of most fields is what clients usually send.
type wire struct {
	cred            cred
	product, action string
	query, form     []pair

	v1     bool
	method string // POST
	path   string // /
	plain  bool   // over plain HTTP

	body, contentType string // in place of form
	rawQuery          string // appended to the query; not signed
	date, nonce       string
	version           string
	drop              []string          // headers or common parameters to leave out before signing
	set               map[string]string // headers or common parameters to change before signing
	unsigned          []string          // V3: headers that are sent and not signed
	after             func(r *http.Request)
}

var versions = map[string]string{
	"kms": "2016-01-20", "sts": "2015-04-01", "ram": "2015-05-01", "resourcemanager": "2020-03-31", "opensesame": "2026-12-01",
}

const formType = "application/x-www-form-urlencoded"

// request signs w.
func (w wire) request(t testing.TB, d *door) *http.Request {
	t.Helper()
	if w.method == "" {
		w.method = http.MethodPost
	}
	if w.path == "" {
		w.path = "/"
	}
	if w.version == "" {
		w.version = versions[w.product]
	}
	if w.date == "" {
		w.date = d.Now().UTC().Format("2006-01-02T15:04:05Z")
	}
	if w.nonce == "" {
		w.nonce = rand.Text()
	}
	if w.body == "" && len(w.form) > 0 {
		w.body = encode(w.form)
		if w.contentType == "" {
			w.contentType = formType
		}
	}
	var r *http.Request
	if w.v1 {
		r = w.signV1(t, d)
	} else {
		r = w.signV3(t, d)
	}
	if w.after != nil {
		w.after(r)
	}
	return r
}

func (w *wire) make(t testing.TB, d *door, query []pair) *http.Request {
	t.Helper()
	raw := encode(query)
	if w.rawQuery != "" {
		raw = strings.TrimPrefix(raw+"&"+w.rawQuery, "&")
	}
	base := d.URL
	if w.plain {
		base = d.HTTPURL
	}
	r, err := http.NewRequestWithContext(t.Context(), w.method, base+w.path, strings.NewReader(w.body))
	if err != nil {
		t.Fatal(err)
	}
	r.URL.RawQuery = raw
	r.Header.Set("User-Agent", "app-test")
	if w.contentType != "" {
		r.Header.Set("Content-Type", w.contentType)
	}
	return r
}

// signV3 is ACS3-HMAC-SHA256.
func (w *wire) signV3(t testing.TB, d *door) *http.Request {
	t.Helper()
	r := w.make(t, d, w.query)
	sum := sha256.Sum256([]byte(w.body))
	h := map[string]string{
		"host": r.URL.Host, "x-acs-action": w.action, "x-acs-version": w.version, "x-acs-date": w.date,
		"x-acs-signature-nonce": w.nonce, "x-acs-content-sha256": hex.EncodeToString(sum[:]),
	}
	if w.cred.SecurityToken != "" {
		h["x-acs-accesskey-id"], h["x-acs-security-token"] = w.cred.AccessKeyID, w.cred.SecurityToken
	}
	if w.contentType != "" {
		h["content-type"] = w.contentType
	}
	maps.Copy(h, w.set)
	for _, name := range w.drop {
		delete(h, name)
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(h)), func(n string) bool { return slices.Contains(w.unsigned, n) })
	lines := ""
	for _, name := range names {
		lines += name + ":" + h[name] + "\n"
	}
	for name, value := range h {
		if name != "host" {
			r.Header.Set(name, value)
		}
	}
	signed := strings.Join(names, ";")
	canonical := strings.Join([]string{w.method, w.path, canonicalQuery(w.query), lines, signed, h["x-acs-content-sha256"]}, "\n")
	digest := sha256.Sum256([]byte(canonical))
	m := hmac.New(sha256.New, []byte(w.cred.AccessKeySecret))
	m.Write([]byte("ACS3-HMAC-SHA256\n" + hex.EncodeToString(digest[:])))
	r.Header.Set("Authorization", "ACS3-HMAC-SHA256 Credential="+w.cred.AccessKeyID+",SignedHeaders="+signed+",Signature="+hex.EncodeToString(m.Sum(nil)))
	return r
}

// signV1 is HMAC-SHA1 over the parameters of query and form.
func (w *wire) signV1(t testing.TB, d *door) *http.Request {
	t.Helper()
	common := map[string]string{
		"Action": w.action, "Version": w.version, "Format": "JSON", "AccessKeyId": w.cred.AccessKeyID,
		"SignatureMethod": "HMAC-SHA1", "SignatureVersion": "1.0", "SignatureNonce": w.nonce, "Timestamp": w.date,
	}
	if w.cred.SecurityToken != "" {
		common["SecurityToken"] = w.cred.SecurityToken
	}
	maps.Copy(common, w.set)
	for _, name := range w.drop {
		delete(common, name)
	}
	all := append(pairs(common), w.query...)
	if w.contentType == formType {
		all = append(all, w.form...)
	}
	m := hmac.New(sha1.New, []byte(w.cred.AccessKeySecret+"&"))
	m.Write([]byte(w.method + "&%2F&" + escape(canonicalQuery(all))))
	common["Signature"] = base64.StdEncoding.EncodeToString(m.Sum(nil))
	if s, ok := w.set["Signature"]; ok {
		common["Signature"] = s
	}
	if slices.Contains(w.drop, "Signature") {
		delete(common, "Signature")
	}
	return w.make(t, d, append(pairs(common), w.query...))
}

// canonicalQuery sorts and encodes as RFC 3986 has it.
func canonicalQuery(list []pair) string {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b pair) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = escape(p.name) + "=" + escape(p.value)
	}
	return strings.Join(out, "&")
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// encode is what clients put on the wire: a space as +.
func encode(list []pair) string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = url.QueryEscape(p.name) + "=" + url.QueryEscape(p.value)
	}
	return strings.Join(out, "&")
}
