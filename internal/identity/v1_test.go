package identity

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

const passwordForm = "SecretData=p%40ss+w%3Drd%26%2A~"

// v1Vector is a request of which an official SDK made the signature.
type v1Vector struct {
	name, method, action, version string
	sts, oldSDK                   bool   // temporary key and token; RegionId, SignatureType, Format=JSON
	form, signature               string // the form as on the wire
	stringToSign                  string // empty: not known from elsewhere
}

var v1Vectors = []v1Vector{
	{
		name: "V1-1", method: "GET", signature: "obbhqinr0y79kaUnDRKa3XwUqHM=",
		stringToSign: "GET&%2F&AccessKeyId%3DLTAI5tTESTVECTOR00000001%26Action%3DGetSecretValue%26Format%3Djson%26SecretName%3Dbailian%2521secret-123%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3D0123456789abcdef0123456789abcdef%26SignatureVersion%3D1.0%26Timestamp%3D2026-01-02T03%253A04%253A05Z%26Version%3D2016-01-20",
	}, {
		name: "V1-2", method: "POST", form: passwordForm, signature: "OyKh9ADoxADP6o8nCejEcuadsS8=",
		stringToSign: "POST&%2F&AccessKeyId%3DLTAI5tTESTVECTOR00000001%26Action%3DGetSecretValue%26Format%3Djson%26SecretData%3Dp%2540ss%2520w%253Drd%2526%252A~%26SecretName%3Dbailian%2521secret-123%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3D0123456789abcdef0123456789abcdef%26SignatureVersion%3D1.0%26Timestamp%3D2026-01-02T03%253A04%253A05Z%26Version%3D2016-01-20",
	}, {
		name: "V1-3", method: "GET", sts: true, signature: "I0mIvhgvoPbCqgw6iAJXHXtr8Pw=",
		stringToSign: "GET&%2F&AccessKeyId%3DSTS.NTestVector000000000000001%26Action%3DGetSecretValue%26Format%3Djson%26SecretName%3Dbailian%2521secret-123%26SecurityToken%3DCAISTestVector%252BToken%252FWith%253DSpecials%253D%253D%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3D0123456789abcdef0123456789abcdef%26SignatureVersion%3D1.0%26Timestamp%3D2026-01-02T03%253A04%253A05Z%26Version%3D2016-01-20",
	},
	{name: "V1-4", method: "GET", oldSDK: true, signature: "fkF0TYZ/gFx51LD9DhhK4HpD3Jc="},
	{
		name: "V1-5", method: "POST", oldSDK: true, form: passwordForm, signature: "Qabye6UvWbdcA70kegYQssBKdkU=",
		stringToSign: "POST&%2F&AccessKeyId%3DLTAI5tTESTVECTOR00000001%26Action%3DGetSecretValue%26Format%3DJSON%26RegionId%3Dcn-hangzhou%26SecretData%3Dp%2540ss%2520w%253Drd%2526%252A~%26SecretName%3Dbailian%2521secret-123%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3D0123456789abcdef0123456789abcdef%26SignatureType%3D%26SignatureVersion%3D1.0%26Timestamp%3D2026-01-02T03%253A04%253A05Z%26Version%3D2016-01-20",
	},
	{name: "V1-6", method: "GET", sts: true, oldSDK: true, signature: "LYdXixgXkk3BcNzyrpGKt+ZTLX8="},
	{
		name: "V1-7", method: "POST", action: "CreateRole", version: "2015-05-01",
		form:         "MaxSessionDuration=3600&RoleName=r1&Tag=%5B%7B%22Key%22%3A%22a%22%2C%22Value%22%3A%22b%22%7D%5D",
		signature:    "EgcX3ykm2fhfK41oMeDbri9W3ug=",
		stringToSign: "POST&%2F&AccessKeyId%3DLTAI5tTESTVECTOR00000001%26Action%3DCreateRole%26Format%3Djson%26MaxSessionDuration%3D3600%26RoleName%3Dr1%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3D0123456789abcdef0123456789abcdef%26SignatureVersion%3D1.0%26Tag%3D%255B%257B%2522Key%2522%253A%2522a%2522%252C%2522Value%2522%253A%2522b%2522%257D%255D%26Timestamp%3D2026-01-02T03%253A04%253A05Z%26Version%3D2015-05-01",
	},
}

func (v v1Vector) request(t testing.TB) *Request {
	ps := []Param{
		{"Timestamp", vectorDate}, {"SignatureNonce", vectorNonce}, {"SignatureMethod", "HMAC-SHA1"},
		{"SignatureVersion", "1.0"}, {"Signature", v.signature},
	}
	if v.action == "" {
		ps = append(ps, Param{"Action", "GetSecretValue"}, Param{"Version", "2016-01-20"}, Param{"SecretName", "bailian!secret-123"})
	} else {
		ps = append(ps, Param{"Action", v.action}, Param{"Version", v.version})
	}
	if v.oldSDK {
		ps = append(ps, Param{"Format", "JSON"}, Param{"RegionId", "cn-hangzhou"}, Param{"SignatureType", ""})
	} else {
		ps = append(ps, Param{"Format", "json"})
	}
	if v.sts {
		ps = append(ps, Param{"AccessKeyId", vectorSTS}, Param{"SecurityToken", vectorToken})
	} else {
		ps = append(ps, Param{"AccessKeyId", vectorAK})
	}
	r := &Request{Method: v.method, Path: "/", Host: vectorHost, Query: ps}
	if v.form != "" {
		r.Form = parsePairs(t, v.form)
		r.Body = []byte(v.form)
		r.Header = map[string][]string{"Content-Type": {"application/x-www-form-urlencoded"}}
	}
	return r
}

func TestV1Vectors(t *testing.T) {
	for _, v := range v1Vectors {
		t.Run(v.name, func(t *testing.T) {
			r := v.request(t)
			if got := r.stringToSignV1(); v.stringToSign != "" && got != v.stringToSign {
				t.Errorf("string to sign:\n got %s\nwant %s", got, v.stringToSign)
			}
			c, err := ParseCredentials(r, true)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.VerifySignature(vectorSecret); err != nil {
				t.Fatal(err)
			}
			ak, token := vectorAK, ""
			if v.sts {
				ak, token = vectorSTS, vectorToken
			}
			if c.Scheme != SchemeV1 || c.AccessKeyID != ak || c.SecurityToken != token ||
				c.Nonce != vectorNonce || c.Time.Format(timeLayout) != vectorDate {
				t.Errorf("credentials: %v", c)
			}
			// The same parameters, all in the body, are the same request.
			moved := clone(r)
			moved.Form, moved.Query = append(moved.Form, moved.Query...), nil
			if err := verify(moved, vectorSecret); err != nil {
				t.Errorf("parameters moved to the form: %v", err)
			}
		})
	}
}

func TestV1Changed(t *testing.T) {
	good := v1Vectors[4].request(t)
	for name, change := range map[string]func(*Request){
		"method":             func(r *Request) { r.Method = "GET" },
		"value":              func(r *Request) { set(r, "SecretName", "bailian!secret-124") },
		"parameter added":    func(r *Request) { r.Query = append(r.Query, Param{"VersionId", ""}) },
		"parameter removed":  func(r *Request) { set(r, "RegionId", "") },
		"empty one removed":  func(r *Request) { set(r, "SignatureType", "") },
		"form value":         func(r *Request) { r.Form[0].Value = "other" },
		"form value doubled": func(r *Request) { r.Form = append(r.Form, r.Form[0]) },
		"date":               func(r *Request) { set(r, "Timestamp", "2026-01-02T03:04:06Z") },
		"nonce":              func(r *Request) { set(r, "SignatureNonce", "x") },
		"action":             func(r *Request) { set(r, "Action", "DeleteSecret") },
		"signature":          func(r *Request) { set(r, "Signature", "Qabye6UvWbdcA70kegYQssBKdkQ=") },
		// Base64 decoders ignore the last two bits and newlines: the same
		// bytes, but not the signature that was made.
		"spare bits": func(r *Request) { set(r, "Signature", "Qabye6UvWbdcA70kegYQssBKdkV=") },
		"newline":    func(r *Request) { set(r, "Signature", "Qabye6UvWbdcA70kegYQssBKdkU=\n") },
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
}

func TestV1StringToSignInMessage(t *testing.T) {
	wrong := mask.NewText("TestVectorSecret0000000000001y")
	r := v1Vectors[0].request(t)
	want := "Specified signature is not matched with our calculation. server string to sign is:" + v1Vectors[0].stringToSign
	if e := apierr.As(verify(r, wrong)); e == nil || e.Message != want {
		t.Errorf("message = %v, want %s", e, want)
	}
	hidden := func(name string, r *Request) {
		t.Helper()
		if e := apierr.As(verify(r, wrong)); e == nil || e.Message != apierr.SignatureMismatch.Message {
			t.Errorf("%s: message = %v, want the bare one", name, e)
		}
	}
	hidden("V1-2", v1Vectors[1].request(t))
	hidden("V1-3", v1Vectors[2].request(t))
	for _, name := range []string{
		"SecretData", "Plaintext", "CiphertextBlob", "SecurityToken", "Password",
		"EncryptedKeyMaterial", "NewPassword", "OIDCToken", "secretdata",
	} {
		r := v1Vectors[0].request(t)
		set(r, name, "value")
		hidden(name, r)
	}
	long := v1Vectors[0].request(t)
	set(long, "Description", strings.Repeat("!", maxStringShown/5))
	hidden("long", long)
}

func TestV1Refused(t *testing.T) {
	good := v1Vectors[3].request(t)
	form := map[string][]string{"Content-Type": {"application/x-www-form-urlencoded; charset=UTF-8"}}
	param := func(name, value string) func(*Request) { return func(r *Request) { set(r, name, value) } }
	for _, tc := range []struct {
		name   string
		change func(*Request)
		want   *apierr.Error
		part   string
	}{
		{"no key", param("AccessKeyId", ""), apierr.MissingAccessKeyID, ""},
		{"no method", param("SignatureMethod", ""), apierr.MissingParam, `"SignatureMethod"`},
		{"other method", param("SignatureMethod", "HMAC-SHA256"), apierr.IncompleteSignature, "SignatureMethod"},
		{"no version", param("SignatureVersion", ""), apierr.MissingParam, `"SignatureVersion"`},
		{"other version", param("SignatureVersion", "2.0"), apierr.IncompleteSignature, "SignatureVersion"},
		{"client key", param("SignatureType", "PRIVATEKEY"), apierr.IncompleteSignature, "SignatureType"},
		{"no nonce", param("SignatureNonce", ""), apierr.MissingParam, `"SignatureNonce"`},
		{"no time", param("Timestamp", ""), apierr.IllegalTimestamp, "not supplied"},
		{"bad time", param("Timestamp", "now"), apierr.IllegalTimestamp, "well formatted"},
		{"empty signature", func(r *Request) { set(r, "Signature", ""); r.Form = []Param{{"Signature", ""}} }, apierr.MissingParam, `"Signature"`},
		{"signature not base64", param("Signature", "?"), apierr.IncompleteSignature, "base64"},
		{"signature of wrong size", param("Signature", "AAAA"), apierr.IncompleteSignature, "base64"},
		{"plus turned into space", param("Signature", "LYdXixgXkk3BcNzyrpGKt ZTLX8="), apierr.IncompleteSignature, "%2B"},
		{"bearer token (V1-8)", func(r *Request) {
			set(r, "AccessKeyId", "")
			r.Query = append(r.Query, Param{"AccessKeyId", ""}, Param{"BearerToken", "bearer-token-value"})
			set(r, "SignatureType", "BEARERTOKEN")
			set(r, "Signature", "xIVUixU2Lmox6pE5NyHZrlS8mG4=")
		}, apierr.AccessKeyNotFound, ""},
		{"JSON body", func(r *Request) {
			r.Body, r.Header = []byte("{}"), map[string][]string{"Content-Type": {"application/json"}}
		}, apierr.InvalidParam, "Content-Type"},
		{"body without type", func(r *Request) { r.Body = []byte("a=b") }, apierr.InvalidParam, "Content-Type"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := clone(good)
			tc.change(r)
			_, err := ParseCredentials(r, true)
			wantCode(t, err, tc.want, tc.part)
		})
	}
	for _, name := range []string{
		"Action", "Version", "AccessKeyId", "SecurityToken", "SignatureNonce", "Timestamp",
		"SignatureMethod", "SignatureVersion", "SignatureType", "Signature",
	} {
		r := clone(good)
		r.Header = form
		r.Form = []Param{{name, "x"}, {name, "x"}}
		_, err := ParseCredentials(r, true)
		wantCode(t, err, apierr.InvalidParam, `"`+name+`"`)
	}
}

// TestV1WithoutNonce signs with our own code: there is no vector without one.
func TestV1WithoutNonce(t *testing.T) {
	r := v1Vectors[0].request(t)
	set(r, "SignatureNonce", "")
	c, err := ParseCredentials(r, false)
	if err != nil || c.Nonce != "" {
		t.Fatalf("ParseCredentials = %v, %v", c, err)
	}
	if _, err := ParseCredentials(r, true); err == nil {
		t.Fatal("accepted although the nonce is required")
	}
}

// TestV1UnderFIPS runs the vectors in a process whose crypto refuses SHA-1.
func TestV1UnderFIPS(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^(TestV1Vectors|TestV3Vectors|TestClientSigns)$", "-test.v")
	cmd.Env = append(slices.Clone(os.Environ()), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestV1Vectors/V1-7") {
		t.Fatalf("under GODEBUG=fips140=only: %v\n%s", err, out)
	}
}
