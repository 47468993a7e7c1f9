package app_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// TestV3Signature: what is wrong with an ACS3 signature is told.
func TestV3Signature(t *testing.T) {
	acct := shared.NewAccount(t)
	shared.create(t, acct.Root, "a", "x")
	session := shared.adminSession(t, acct)
	header := func(name, value string) func(r *http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	auth := func(edit func(s string) string) func(r *http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", edit(r.Header.Get("Authorization"))) }
	}
	type test struct {
		w      wire
		status int
		code   string
		text   string
	}
	tests := map[string]test{
		"no Authorization":  {wire{after: func(r *http.Request) { r.Header.Del("Authorization") }}, 400, "MissingParameter", "Authorization"},
		"another algorithm": {wire{after: auth(func(s string) string { return strings.Replace(s, "HMAC-SHA256", "HMAC-SM3", 1) })}, 400, "IncompleteSignature", "ACS3-HMAC-SHA256"},
		"another scheme":    {wire{after: header("Authorization", "Bearer x")}, 400, "IncompleteSignature", "ACS3"},
		"no fields":         {wire{after: header("Authorization", "ACS3-HMAC-SHA256 x")}, 400, "IncompleteSignature", ""},
		"a field twice":     {wire{after: auth(func(s string) string { return s + ",Credential=x" })}, 400, "IncompleteSignature", ""},
		"no Credential":     {wire{after: auth(func(s string) string { return s[:17] + s[strings.Index(s, "SignedHeaders"):] })}, 400, "MissingAccessKeyId", ""},
		"no SignedHeaders": {wire{after: auth(func(s string) string {
			return s[:strings.Index(s, "SignedHeaders")] + s[strings.Index(s, "Signature="):]
		})}, 400, "IncompleteSignature", "SignedHeaders"},
		"no Signature": {wire{after: auth(func(s string) string { return s[:strings.Index(s, ",Signature=")] })}, 400, "IncompleteSignature", "Signature"},
		"upper case": {wire{after: auth(func(s string) string {
			i := strings.Index(s, "Signature=")
			return s[:i+10] + strings.ToUpper(s[i+10:])
		})}, 400, "IncompleteSignature", "lower-case"},
		"two Authorizations": {wire{after: func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }}, 400, "IncompleteSignature", ""},
		"wrong secret":       {wire{cred: cred{AccessKeyID: acct.Root.AccessKeyID, AccessKeySecret: "wrongwrongwrongwrong"}}, 400, "SignatureDoesNotMatch", "server string to sign is:ACS3-HMAC-SHA256\n"},
		"changed signature": {wire{after: auth(func(s string) string {
			return s[:len(s)-1] + map[bool]string{true: "1", false: "0"}[s[len(s)-1] == '0']
		})}, 400, "SignatureDoesNotMatch", ""},
		"changed query":        {wire{after: func(r *http.Request) { r.URL.RawQuery += "b" }}, 400, "SignatureDoesNotMatch", ""},
		"more query":           {wire{after: func(r *http.Request) { r.URL.RawQuery += "&VersionId=v1" }}, 400, "SignatureDoesNotMatch", ""},
		"changed action":       {wire{after: header("x-acs-action", "DeleteSecret")}, 400, "SignatureDoesNotMatch", ""},
		"changed nonce":        {wire{after: header("x-acs-signature-nonce", "other")}, 400, "SignatureDoesNotMatch", ""},
		"changed method":       {wire{after: func(r *http.Request) { r.Method = http.MethodGet }}, 400, "SignatureDoesNotMatch", ""},
		"changed host":         {wire{after: func(r *http.Request) { r.Host = "kms.cn-hangzhou.aliyuncs.com" }}, 400, "SignatureDoesNotMatch", ""},
		"changed body hash":    {wire{after: header("x-acs-content-sha256", strings.Repeat("0", 64))}, 400, "SignatureDoesNotMatch", "x-acs-content-sha256"},
		"hash of another body": {wire{set: map[string]string{"x-acs-content-sha256": strings.Repeat("0", 64)}}, 400, "SignatureDoesNotMatch", "x-acs-content-sha256"},
		"content type changed": {wire{form: []pair{{"VersionId", "v1"}}, after: header("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")}, 400, "SignatureDoesNotMatch", ""},
		"content type unsigned": {wire{form: []pair{{"VersionId", "v1"}}, set: map[string]string{"content-type": formType}, unsigned: []string{"content-type"}},
			400, "IncompleteSignature", "content-type"},
		"token unsigned":  {wire{cred: session, unsigned: []string{"x-acs-security-token"}}, 400, "IncompleteSignature", "x-acs-security-token"},
		"host unsigned":   {wire{unsigned: []string{"host"}}, 400, "IncompleteSignature", "host"},
		"bearer token":    {wire{after: func(r *http.Request) { r.Header.Del("Authorization"); r.Header.Set("x-acs-bearer-token", "x") }}, 404, "InvalidAccessKeyId.NotFound", "Bearer"},
		"unknown key":     {wire{cred: cred{AccessKeyID: "LTAI5tNoSuchKey", AccessKeySecret: "x"}}, 404, "InvalidAccessKeyId.NotFound", ""},
		"key of any text": {wire{cred: cred{AccessKeyID: "../%00;==", AccessKeySecret: "x"}}, 404, "InvalidAccessKeyId.NotFound", ""},
	}
	for _, h := range []string{"x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"} {
		tests[h+" unsigned"] = test{wire{unsigned: []string{h}}, 400, "IncompleteSignature", h}
		if h != "x-acs-action" && h != "x-acs-version" { // without these nobody knows what is asked
			tests["no "+h] = test{wire{drop: []string{h}}, 400, "MissingParameter", h}
		}
	}
	for what, c := range tests {
		t.Run(what, func(t *testing.T) {
			w := c.w
			if w.cred.AccessKeyID == "" {
				w.cred = acct.Root
			}
			w.product, w.action, w.query = "kms", "GetSecretValue", []pair{{"SecretName", "a"}}
			shared.send(t, w).refused(t, c.status, c.code, c.text)
		})
	}
}

// TestV3Lenient: what clients may do differently.
func TestV3Lenient(t *testing.T) {
	acct := shared.NewAccount(t)
	w := wire{cred: acct.Root, product: "kms", action: "DescribeRegions"}
	w.after = func(r *http.Request) {
		r.Header.Set("Authorization", strings.ReplaceAll(r.Header.Get("Authorization"), ",", " , "))
	}
	shared.send(t, w).ok(t)
	w.after, w.set = nil, map[string]string{"x-acs-credentials-provider": "static_ak", "accept": "application/json"}
	shared.send(t, w).ok(t)
	w.set, w.query = nil, []pair{{"a b/中*~+c", "a b/中*~+c"}, {"Empty", ""}}
	shared.send(t, w).ok(t)
}

// TestUnsigned: a request without any signature.
func TestUnsigned(t *testing.T) {
	for what, c := range map[string]struct {
		query string
		code  string
	}{
		"nothing":          {"Action=GetSecretValue&Version=2016-01-20", "MissingAccessKeyId"},
		"a key id":         {"Action=GetSecretValue&Version=2016-01-20&AccessKeyId=x", "MissingParameter"},
		"not even a name":  {"", "InvalidVersion"},
		"AssumeRole":       {"Action=AssumeRole&Version=2015-04-01", "MissingAccessKeyId"},
		"a bearer's token": {"Action=GetSecretValue&Version=2016-01-20&BearerToken=x&SignatureType=BEARERTOKEN", "InvalidAccessKeyId.NotFound"},
	} {
		t.Run(what, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, shared.URL+"/?"+c.query, nil)
			if err != nil {
				t.Fatal(err)
			}
			a := shared.do(t, r, what)
			a.refused(t, a.status, c.code)
		})
	}
}

// TestV1Signature: what is wrong with a V1 signature is told, with the string
// to sign unless that would repeat a secret.
func TestV1Signature(t *testing.T) {
	acct := shared.NewAccount(t)
	shared.create(t, acct.Root, "a", "x")
	name := []pair{{"SecretName", "a"}}
	set := func(name, value string) wire { return wire{set: map[string]string{name: value}} }
	for what, c := range map[string]struct {
		w      wire
		status int
		code   string
		text   string
	}{
		"no key id":            {wire{drop: []string{"AccessKeyId"}}, 400, "MissingAccessKeyId", ""},
		"no method":            {wire{drop: []string{"SignatureMethod"}}, 400, "MissingParameter", "SignatureMethod"},
		"no signature version": {wire{drop: []string{"SignatureVersion"}}, 400, "MissingParameter", "SignatureVersion"},
		"empty signature":      {set("Signature", ""), 400, "MissingParameter", "Signature"},
		"no signature":         {wire{drop: []string{"Signature"}}, 400, "MissingParameter", "Signature"},
		"another method":       {set("SignatureMethod", "HMAC-SHA256"), 400, "IncompleteSignature", "HMAC-SHA1"},
		"another version":      {set("SignatureVersion", "2.0"), 400, "IncompleteSignature", "1.0"},
		"a signature type":     {set("SignatureType", "PRIVATEKEY"), 400, "IncompleteSignature", "SignatureType"},
		"a bearer":             {set("SignatureType", "BEARERTOKEN"), 404, "InvalidAccessKeyId.NotFound", "Bearer"},
		"no base64":            {set("Signature", "???"), 400, "IncompleteSignature", "base64"},
		"short signature":      {set("Signature", "AAAA"), 400, "IncompleteSignature", "base64"},
		"wrong signature":      {set("Signature", base64.StdEncoding.EncodeToString(make([]byte, 20))), 400, "SignatureDoesNotMatch", "server string to sign is:POST&%2F&AccessKeyId%3D"},
		"unknown key":          {wire{cred: cred{AccessKeyID: "LTAI5tNoSuchKey", AccessKeySecret: "x"}}, 404, "InvalidAccessKeyId.NotFound", ""},
		"changed method":       {wire{after: func(r *http.Request) { r.Method = http.MethodGet; r.Body = http.NoBody }}, 400, "SignatureDoesNotMatch", "server string to sign is:GET&%2F&"},
		"more parameters":      {wire{after: func(r *http.Request) { r.URL.RawQuery += "&VersionId=v1" }}, 400, "SignatureDoesNotMatch", "VersionId%3Dv1"},
	} {
		t.Run(what, func(t *testing.T) {
			w := c.w
			if w.cred.AccessKeyID == "" {
				w.cred = acct.Root
			}
			w.v1, w.product, w.action, w.query = true, "kms", "GetSecretValue", name
			shared.send(t, w).refused(t, c.status, c.code, c.text)
		})
	}
	for _, sensitive := range []string{"SecretData", "SecurityToken", "Plaintext", "Password", "PrivateKeyData"} {
		w := set("Signature", base64.StdEncoding.EncodeToString(make([]byte, 20)))
		w.cred, w.v1, w.product, w.action, w.form = acct.Root, true, "kms", "PutSecretValue", []pair{{sensitive, "hush"}}
		if sensitive == "SecurityToken" {
			w.cred = shared.adminSession(t, acct)
			w.form = nil
		}
		if m := shared.send(t, w).refused(t, 400, "SignatureDoesNotMatch"); strings.Contains(m, "string to sign") {
			t.Errorf("the refusal of a request with %s repeats it", sensitive)
		}
	}
}

// TestTokens: security tokens that are missing, another's, broken or old.
func TestTokens(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	d := start(t, sesametest.Options{Time: now})
	acct := d.NewAccount(t)
	session := d.adminSession(t, acct)
	other := d.manage(t, acct, "alb")
	who := func(c cred, v1 bool) answer {
		return d.send(t, wire{cred: c, product: "sts", action: "GetCallerIdentity", v1: v1})
	}
	with := func(c cred, token string) cred { c.SecurityToken = token; return c }
	for _, v1 := range []bool{false, true} {
		who(session, v1).ok(t)
		who(with(session, ""), v1).refused(t, 400, "MissingSecurityToken")
		who(with(session, other.SecurityToken), v1).refused(t, 400, "InvalidSecurityToken.MismatchWithAccessKey")
		who(with(acct.Root, session.SecurityToken), v1).refused(t, 400, "InvalidSecurityToken.MismatchWithAccessKey")
		for _, bad := range []string{"x", "CAIS", "CAIS====", session.SecurityToken[:len(session.SecurityToken)-4], session.SecurityToken + "AAAA", "CAIS" + strings.Repeat("A", 9000), flip(session.SecurityToken)} {
			who(with(session, bad), v1).refused(t, 400, "InvalidSecurityToken.Malformed")
		}
		who(cred{AccessKeyID: "STS.NoSuchSession", AccessKeySecret: "x"}, v1).refused(t, 400, "MissingSecurityToken")
	}
	d.SetTime(now.Add(time.Hour - time.Second))
	who(session, false).ok(t)
	d.SetTime(now.Add(time.Hour))
	who(session, false).refused(t, 400, "InvalidSecurityToken.Expired")
	who(session, true).refused(t, 400, "InvalidSecurityToken.Expired")
}

// flip changes a letter in the middle of a text.
func flip(s string) string {
	b := []byte(s)
	if i := len(b) / 2; b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}
