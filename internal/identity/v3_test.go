package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// v3Vector is a request of which an official SDK made the signature.
type v3Vector struct {
	name, method, action, query, body string
	sts                               bool
	canonicalQuery                    string
	hash, signature                   string // hash of the canonical request
}

var v3Vectors = []v3Vector{
	{
		name: "V3-1", method: "POST", action: "GetSecretValue",
		query:          "FetchExtendedConfig=true&SecretName=bailian%21secret-123&VersionStage=ACSCurrent",
		canonicalQuery: "FetchExtendedConfig=true&SecretName=bailian%21secret-123&VersionStage=ACSCurrent",
		hash:           "398c5e5692eb5c327cc353975fc5579a3f9c5938cb1a161703de2a8c47891abc",
		signature:      "5744d68a9692b66e3087226a705197c583d830c1f36c93dc41c79f4d1115feee",
	}, {
		name: "V3-2", method: "POST", action: "CreateSecret",
		query:          "SecretName=a+b%2F%E4%B8%AD%2A~%2Bc",
		body:           "SecretData=p%40ss+w%3Drd%26%2A~&VersionId=v1",
		canonicalQuery: "SecretName=a%20b%2F%E4%B8%AD%2A~%2Bc",
		hash:           "11fa30334c137d5de10be6369b9dc18d7915077cbe00b0db0d5189af3ce91aa9",
		signature:      "5d33e5d95099bd7652f44329090565fd20dbc9219bd3b61b7a592fc3bfc52bfd",
	}, {
		name: "V3-3", method: "POST", action: "GetSecretValue", sts: true,
		query:          "SecretName=bailian%21secret-123",
		canonicalQuery: "SecretName=bailian%21secret-123",
		hash:           "c432a1d5a01d0f28b71f9c5c4c0edab423146cdad2da068bd9b7a2c92fb6c3b1",
		signature:      "1c2087762ff7736f74d150c714b4bbd3ac637690912345a52f4dab1c1cd953d2",
	}, {
		name: "V3-4", method: "GET", action: "ListSecrets",
		query:          "PageNumber=1&Filters=%5B%7B%22Key%22%3A%22SecretName%22%2C%22Values%22%3A%5B%22mcp%21%2A%22%5D%7D%5D",
		canonicalQuery: "Filters=%5B%7B%22Key%22%3A%22SecretName%22%2C%22Values%22%3A%5B%22mcp%21%2A%22%5D%7D%5D&PageNumber=1",
		hash:           "1840ae09a1e415f3af7ceea158c14faf5c742381b4e8d08a557cb369fa2fc29e",
		signature:      "f3144db52d6c536d09e6b658694eb7ddf205060b95144a980eec364783a13d97",
	},
}

func (v v3Vector) request(t testing.TB) *Request {
	sum := sha256.Sum256([]byte(v.body))
	ak, provider := vectorAK, "static_ak"
	h := http.Header{
		"X-Acs-Action":          {v.action},
		"X-Acs-Version":         {"2016-01-20"},
		"X-Acs-Date":            {vectorDate},
		"X-Acs-Signature-Nonce": {vectorNonce},
		"X-Acs-Content-Sha256":  {hex.EncodeToString(sum[:])},
		"Accept":                {"application/json"},
	}
	signed := []string{
		"host", "x-acs-action", "x-acs-content-sha256", "x-acs-credentials-provider",
		"x-acs-date", "x-acs-signature-nonce", "x-acs-version",
	}
	if v.sts {
		ak, provider = vectorSTS, "static_sts"
		h.Set("x-acs-accesskey-id", ak)
		h.Set("x-acs-security-token", vectorToken)
		signed = append(signed, "x-acs-accesskey-id", "x-acs-security-token")
	}
	h.Set("x-acs-credentials-provider", provider)
	r := &Request{Method: v.method, Path: "/", Host: vectorHost, Header: h, Query: parsePairs(t, v.query)}
	if v.body != "" {
		h.Set("content-type", "application/x-www-form-urlencoded")
		signed = append(signed, "content-type")
		r.Body = []byte(v.body)
		r.Form = parsePairs(t, v.body)
	}
	slices.Sort(signed)
	h.Set("Authorization", "ACS3-HMAC-SHA256 Credential="+ak+",SignedHeaders="+strings.Join(signed, ";")+",Signature="+v.signature)
	return r
}

func TestV3Vectors(t *testing.T) {
	for _, v := range v3Vectors {
		t.Run(v.name, func(t *testing.T) {
			r := v.request(t)
			c, err := ParseCredentials(r, true)
			if err != nil {
				t.Fatal(err)
			}
			canonical := strings.Split(string(c.canonicalV3()), "\n")
			if canonical[2] != v.canonicalQuery {
				t.Errorf("canonical query = %s, want %s", canonical[2], v.canonicalQuery)
			}
			if got, want := c.stringToSignV3(), "ACS3-HMAC-SHA256\n"+v.hash; got != want {
				t.Errorf("string to sign = %q, want %q; canonical request:\n%s", got, want, strings.Join(canonical, "\n"))
			}
			if err := c.VerifySignature(vectorSecret); err != nil {
				t.Fatal(err)
			}
			ak, token := vectorAK, ""
			if v.sts {
				ak, token = vectorSTS, vectorToken
			}
			if c.Scheme != SchemeV3 || c.AccessKeyID != ak || c.SecurityToken != token ||
				c.Nonce != vectorNonce || c.Time.Format(timeLayout) != vectorDate {
				t.Errorf("credentials: %v", c)
			}
			empty := clone(r)
			empty.Path = ""
			if err := verify(empty, vectorSecret); err != nil {
				t.Errorf("empty path: %v", err)
			}
		})
	}
}

func TestV3CanonicalRequest(t *testing.T) {
	const want = `POST
/
FetchExtendedConfig=true&SecretName=bailian%21secret-123&VersionStage=ACSCurrent
host:kms.cn-hangzhou.aliyuncs.com
x-acs-action:GetSecretValue
x-acs-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
x-acs-credentials-provider:static_ak
x-acs-date:2026-01-02T03:04:05Z
x-acs-signature-nonce:0123456789abcdef0123456789abcdef
x-acs-version:2016-01-20

host;x-acs-action;x-acs-content-sha256;x-acs-credentials-provider;x-acs-date;x-acs-signature-nonce;x-acs-version
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855`
	c, err := ParseCredentials(v3Vectors[0].request(t), true)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(c.canonicalV3()); got != want {
		t.Fatalf("canonical request:\n%s\nwant:\n%s", got, want)
	}
}

func TestV3Changed(t *testing.T) {
	good := v3Vectors[1].request(t)
	header := func(name, value string) func(*Request) { return func(r *Request) { r.Header.Set(name, value) } }
	for name, change := range map[string]func(*Request){
		"method":          func(r *Request) { r.Method = "GET" },
		"path":            func(r *Request) { r.Path = "/x" },
		"host":            func(r *Request) { r.Host += ":443" },
		"query value":     func(r *Request) { r.Query[0].Value += "x" },
		"query parameter": func(r *Request) { r.Query = append(r.Query, Param{"x", ""}) },
		"body":            func(r *Request) { r.Body[0]++ },
		"body and its hash": func(r *Request) {
			r.Body[0]++
			sum := sha256.Sum256(r.Body)
			r.Header.Set(headerContentHash, hex.EncodeToString(sum[:]))
		},
		"body hash in upper case": header(headerContentHash, strings.ToUpper(good.Header.Get(headerContentHash))),
		"action":                  header("X-Acs-Action", "DeleteSecret"),
		"version":                 header("X-Acs-Version", "2015-04-01"),
		"date":                    header("X-Acs-Date", "2026-01-02T03:04:06Z"),
		"nonce":                   header("X-Acs-Signature-Nonce", "x"),
		"content type":            header("Content-Type", "application/json"),
		"provider":                header("X-Acs-Credentials-Provider", "x"),
	} {
		t.Run(name, func(t *testing.T) {
			r := clone(good)
			change(r)
			wantCode(t, verify(r, vectorSecret), apierr.SignatureMismatch, "not matched")
		})
	}
	for _, s := range []string{vectorSecret.Reveal() + "x", vectorSecret.Reveal()[1:]} {
		wantCode(t, verify(good, mask.NewText(s)), apierr.SignatureMismatch, "not matched")
	}
	for _, s := range []mask.Text{{}, mask.NewText(""), mask.NewText("0123456789012")} {
		if err := verify(good, s); err == nil || apierr.As(err) != nil {
			t.Errorf("a secret of %d bytes: error = %v, want a fault", s.Len(), err)
		}
	}
	// The message tells the string to sign, which is hashes only, even here.
	wantCode(t, verify(good, mask.NewText("TestVectorSecret0000000000001y")), apierr.SignatureMismatch,
		StringToSignMarker+"ACS3-HMAC-SHA256\n"+v3Vectors[1].hash)
	unsigned := clone(good)
	unsigned.Header.Set("Accept", "text/xml")
	if err := verify(unsigned, vectorSecret); err != nil {
		t.Errorf("a header that is not signed may change: %v", err)
	}
}

func TestV3Authorization(t *testing.T) {
	good := v3Vectors[0].request(t)
	auth := good.Header.Get("Authorization")
	sig := v3Vectors[0].signature
	_, fields, _ := strings.Cut(auth, " ")
	f := strings.Split(fields, ",")
	for name, a := range map[string]string{
		"spaces":      "ACS3-HMAC-SHA256  " + strings.Join(f, " , ") + " ",
		"other order": "ACS3-HMAC-SHA256 " + f[2] + "," + f[0] + "," + f[1],
	} {
		r := clone(good)
		r.Header.Set("Authorization", a)
		if err := verify(r, vectorSecret); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, tc := range []struct {
		name, auth string
		want       *apierr.Error
	}{
		{"SM3", strings.Replace(auth, "HMAC-SHA256", "HMAC-SM3", 1), apierr.IncompleteSignature},
		{"RSA", strings.Replace(auth, "HMAC-SHA256", "RSA-SHA256", 1), apierr.IncompleteSignature},
		{"no fields", "ACS3-HMAC-SHA256", apierr.IncompleteSignature},
		{"unknown field", auth + ",Extra=1", apierr.IncompleteSignature},
		{"field twice", auth + "," + f[0], apierr.IncompleteSignature},
		{"trailing comma", auth + ",", apierr.IncompleteSignature},
		{"no Credential", "ACS3-HMAC-SHA256 " + f[1] + "," + f[2], apierr.MissingAccessKeyID},
		{"empty Credential", strings.Replace(auth, vectorAK, "", 1), apierr.MissingAccessKeyID},
		{"no SignedHeaders", "ACS3-HMAC-SHA256 " + f[0] + "," + f[2], apierr.IncompleteSignature},
		{"no Signature", "ACS3-HMAC-SHA256 " + f[0] + "," + f[1], apierr.IncompleteSignature},
		{"short signature", auth[:len(auth)-1], apierr.IncompleteSignature},
		{"long signature", auth + "0", apierr.IncompleteSignature},
		{"upper case signature", strings.Replace(auth, sig, strings.ToUpper(sig), 1), apierr.IncompleteSignature},
		{"not hexadecimal", strings.Replace(auth, sig, strings.Repeat("g", 64), 1), apierr.IncompleteSignature},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := clone(good)
			r.Header.Set("Authorization", tc.auth)
			_, err := ParseCredentials(r, true)
			wantCode(t, err, tc.want, "")
		})
	}
	r := clone(good)
	r.Header.Add("Authorization", auth)
	_, err := ParseCredentials(r, true)
	wantCode(t, err, apierr.IncompleteSignature, "more than once")
}

func TestV3Headers(t *testing.T) {
	for _, h := range requiredV3 {
		name := h.name
		r := v3Vectors[1].request(t)
		r.Header.Del(name)
		_, err := ParseCredentials(r, true)
		wantCode(t, err, apierr.MissingParam, `"`+name+`"`)
	}
	r := v3Vectors[1].request(t)
	r.Header.Del("Content-Type")
	_, err := ParseCredentials(r, true)
	wantCode(t, err, apierr.MissingParam, `"content-type"`)

	// What must be signed, left out of the list one at a time.
	unsigned := func(v v3Vector, name string) {
		t.Helper()
		r := v.request(t)
		a := r.Header.Get("Authorization")
		r.Header.Set("Authorization", strings.Replace(strings.Replace(a, ";"+name, "", 1), name+";", "", 1))
		_, err := ParseCredentials(r, true)
		wantCode(t, err, apierr.IncompleteSignature, name)
	}
	for _, h := range requiredV3 {
		unsigned(v3Vectors[0], h.name)
	}
	unsigned(v3Vectors[0], "host")
	unsigned(v3Vectors[1], "content-type")
	unsigned(v3Vectors[2], "x-acs-security-token")

	for _, name := range []string{"X-Acs-Date", "X-Acs-Action", "Content-Type", "X-Acs-Credentials-Provider"} {
		r := v3Vectors[1].request(t)
		r.Header.Add(name, "second")
		_, err := ParseCredentials(r, true)
		wantCode(t, err, apierr.IncompleteSignature, "2 times")
	}
	for _, extra := range []string{"x-acs-absent", "", "HOST", strings.Repeat("accept;", 64) + "accept"} {
		r := v3Vectors[0].request(t)
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "=host;", "=host;"+extra+";", 1))
		_, err := ParseCredentials(r, true)
		wantCode(t, err, apierr.IncompleteSignature, "")
	}
	r = v3Vectors[0].request(t)
	r.Header.Set("X-Acs-Date", "yesterday")
	_, err = ParseCredentials(r, true)
	wantCode(t, err, apierr.IllegalTimestamp, "")
}

func BenchmarkVerify(b *testing.B) {
	for _, r := range []*Request{v1Vectors[0].request(b), v3Vectors[0].request(b)} {
		scheme, _, _ := r.Target()
		b.Run(string(scheme), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := verify(r, vectorSecret); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestV3SpaceAroundNonce: what the signature ignores around a header's value, the
// nonce must ignore too, or one signature would serve for many nonces.
func TestV3SpaceAroundNonce(t *testing.T) {
	for _, space := range []string{" ", "\t", "\u00a0", "\u0085", "\u3000", "\v", "\u2003\u00a0"} {
		for _, nonce := range []string{vectorNonce + space, space + vectorNonce} {
			r := v3Vectors[0].request(t)
			r.Header.Set("X-Acs-Signature-Nonce", nonce)
			c, err := ParseCredentials(r, true)
			if err == nil {
				err = c.VerifySignature(vectorSecret)
			}
			if err == nil && c.Nonce != vectorNonce {
				t.Errorf("the signature holds for the nonce %q", c.Nonce)
			}
		}
	}
}
