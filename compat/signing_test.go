package compat

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	"github.com/alibabacloud-go/darabonba-openapi/v2/models"
	"github.com/alibabacloud-go/tea/dara"
	"github.com/alibabacloud-go/tea/tea"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// roundTripper is a function as a transport.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// between runs every way to call with something between SDK and transport.
func between(srv *sesametest.Server, t *testing.T, wrap func(http.RoundTripper) http.RoundTripper, test func(t *testing.T, c caller)) {
	t.Helper()
	for name, c := range map[string]caller{
		"v3 ACS3":          &newSDK{wrap: wrap},
		"v3 signature 1.0": &newSDK{algorithm: "v2", wrap: wrap},
		"classic":          &classicSDK{scheme: "HTTPS", method: "POST", wrap: wrap},
	} {
		t.Run(name, func(t *testing.T) { test(t, c) })
	}
}

// TestWrongCredentials: what an SDK tells its user about a credential that does
// not hold.
func TestWrongCredentials(t *testing.T) {
	srv := start(t)
	elsewhere := start(t)
	forEachCaller(t, srv, func(t *testing.T, how caller, acct *sesametest.Account) {
		root := at{t, srv, how, acct.Root}
		user := acct.NewUser(t, "app", "")
		acct.Attach(t, "app", "System", "AliyunSTSAssumeRoleAccess")
		role := acct.NewRole(t, "readers", "", "AliyunKMSSecretUserAccess")
		one, two := srv.Assume(t, user, role), srv.Assume(t, user, role)
		foreign := elsewhere.NewAccount(t)
		foreignUser := foreign.NewUser(t, "app", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}`)
		abroad := elsewhere.Assume(t, foreignUser, foreign.NewRole(t, "readers", "", ""))

		changed := func(c sesametest.Credential, change func(*sesametest.Credential)) sesametest.Credential {
			change(&c)
			return c
		}
		for _, c := range []struct {
			name   string
			cred   sesametest.Credential
			status int
			code   string
		}{
			{"unknown key", changed(acct.Root, func(c *sesametest.Credential) { c.AccessKeyID = "LTAI5t000000000000000000" }), 404, "InvalidAccessKeyId.NotFound"},
			{"key of another server", foreignUser, 404, "InvalidAccessKeyId.NotFound"},
			{"wrong secret", changed(acct.Root, func(c *sesametest.Credential) { c.AccessKeySecret = strings.Repeat("x", 30) }), 400, "SignatureDoesNotMatch"},
			{"wrong secret of a session", changed(one, func(c *sesametest.Credential) { c.AccessKeySecret = two.AccessKeySecret }), 400, "SignatureDoesNotMatch"},
			{"session without its token", changed(one, func(c *sesametest.Credential) { c.SecurityToken = "" }), 400, "MissingSecurityToken"},
			{"no token", changed(one, func(c *sesametest.Credential) { c.SecurityToken = "CAISgarbage" }), 400, "InvalidSecurityToken.Malformed"},
			{"changed token", changed(one, func(c *sesametest.Credential) { c.SecurityToken = flip(c.SecurityToken) }), 400, "InvalidSecurityToken.Malformed"},
			{"token of another session", changed(one, func(c *sesametest.Credential) { c.SecurityToken = two.SecurityToken }), 400, "InvalidSecurityToken.MismatchWithAccessKey"},
			{"token with a key that has none", changed(user, func(c *sesametest.Credential) { c.SecurityToken = one.SecurityToken }), 400, "InvalidSecurityToken.MismatchWithAccessKey"},
			{"session of another server", abroad, 400, "InvalidSecurityToken.Malformed"},
		} {
			t.Run(c.name, func(t *testing.T) {
				who := at{t, srv, how, c.cred}
				for _, product := range []string{"kms", "sts", "ram"} {
					operation := map[string]string{"kms": "ListSecrets", "sts": "GetCallerIdentity", "ram": "ListAccessKeys"}[product]
					r := who.refused(product, operation, nil, c.status, c.code)
					if _, classic := how.(*classicSDK); classic && c.name == "wrong secret" && r.Recommend != "InvalidAccessKeySecret: Please check you AccessKeySecret" {
						t.Errorf("the classic SDK recommends %q", r.Recommend)
					}
				}
			})
		}

		// The server's string to sign would repeat a value that the request held.
		wrong := root.as(changed(acct.Root, func(c *sesametest.Credential) { c.AccessKeySecret = strings.Repeat("x", 30) }))
		r := wrong.kmsRefused("CreateSecret", newSecret.with("SecretData", "very-secret"), 400, "SignatureDoesNotMatch")
		if strings.Contains(r.Message, "very-secret") {
			t.Errorf("the refusal repeats the value: %s", r.Message)
		}

		// Sessions end with their role.
		session := root.as(one)
		session.ok("sts", "GetCallerIdentity", nil, nil)
		root.ok("ram", "DetachPolicyFromRole", params{"RoleName": "readers", "PolicyType": "System", "PolicyName": "AliyunKMSSecretUserAccess"}, nil)
		session.kmsRefused("GetSecretValue", params{"SecretName": "x"}, 403, "Forbidden.NoPermission")
		root.ok("ram", "DeleteRole", params{"RoleName": "readers"}, nil)
		session.refused("sts", "GetCallerIdentity", nil, 400, "InvalidSecurityToken.Expired")
	})
}

// flip changes one character in the middle of a text of base64.
func flip(s string) string {
	b := []byte(s)
	if i := len(b) / 2; b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

// TestExpiredSession lets a session of 15 minutes grow 15 minutes old. The
// requests' time, which the SDKs take from the real clock, is then just within
// the server's window.
func TestExpiredSession(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	srv := sesametest.Start(t, sesametest.Options{HTTP: true, Time: now})
	type pending struct {
		name    string
		session at
	}
	var sessions []pending
	for _, c := range callers {
		acct := srv.NewAccount(t)
		acct.NewRole(t, "r", "", "")
		user := at{t, srv, c.caller, acct.NewUser(t, "u", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}`)}
		got := user.ok("sts", "AssumeRole", params{"RoleArn": "acs:ram::" + acct.ID + ":role/r", "RoleSessionName": "s1", "DurationSeconds": "900"}, nil)
		s := user.as(session(got))
		s.ok("sts", "GetCallerIdentity", nil, nil)
		sessions = append(sessions, pending{c.name, s})
	}
	srv.SetTime(now.Add(15 * time.Minute))
	for _, p := range sessions {
		t.Run(p.name, func(t *testing.T) {
			p.session.t = t
			p.session.refused("sts", "GetCallerIdentity", nil, 400, "InvalidSecurityToken.Expired")
			p.session.kmsRefused("ListSecrets", nil, 400, "InvalidSecurityToken.Expired")
		})
	}
}

// TestClockSkew: the refusal tells the server's time, without which nobody
// finds out why.
func TestClockSkew(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	srv := sesametest.Start(t, sesametest.Options{HTTP: true, Time: now})
	acct := srv.NewAccount(t)
	for _, skew := range []time.Duration{-time.Hour, time.Hour} {
		wrong := now.Add(skew)
		srv.SetTime(wrong)
		for _, c := range callers {
			t.Run(c.name+" "+skew.String(), func(t *testing.T) {
				at{t, srv, c.caller, acct.Root}.kmsRefused("ListSecrets", nil, 400, "InvalidTimeStamp.Expired").
					mention(t, "The server's time is "+wrong.UTC().Format("2006-01-02T15:04:05Z"))
			})
		}
	}
}

// TestReplay sends each request of an SDK twice, as it is.
func TestReplay(t *testing.T) {
	srv := start(t)
	acct := srv.NewAccount(t)
	twice := func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			body, err := readBody(r)
			if err != nil {
				return nil, err
			}
			first := r.Clone(r.Context())
			first.Body = io.NopCloser(bytes.NewReader(body))
			res, err := next.RoundTrip(first)
			if err != nil {
				return nil, err
			}
			if err := res.Body.Close(); err != nil {
				return nil, err
			}
			if res.StatusCode != http.StatusOK {
				return nil, errors.New("the request was not answered the first time: " + res.Status)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			return next.RoundTrip(r)
		})
	}
	between(srv, t, twice, func(t *testing.T, c caller) {
		who := at{t, srv, c, acct.Root}
		who.kmsRefused("ListSecrets", nil, 400, "SignatureNonceUsed")
		who.refused("sts", "GetCallerIdentity", nil, 400, "SignatureNonceUsed")
	})
}

func readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	return io.ReadAll(r.Body)
}

// TestTampering changes requests on their way.
func TestTampering(t *testing.T) {
	srv := start(t)
	acct := srv.NewAccount(t)
	for _, c := range []struct {
		name   string
		change func(r *http.Request)
		status int
		code   string
		says   string
	}{
		{"another secret", func(r *http.Request) { r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "one", "two", 1) }, 400, "SignatureDoesNotMatch", ""},
		{"another parameter", func(r *http.Request) { r.URL.RawQuery += "&VersionId=v1" }, 400, "SignatureDoesNotMatch", ""},
		{"another method", func(r *http.Request) { r.Method = http.MethodGet }, 400, "SignatureDoesNotMatch", ""},
		{"an unknown method", func(r *http.Request) { r.Method = http.MethodPut }, 403, "UnsupportedHTTPMethod", ""},
		{"a parameter twice", func(r *http.Request) { r.URL.RawQuery += "&SecretName=two" }, 400, "InvalidParameter", "SecretName"},
		{"a path", func(r *http.Request) { r.URL.Path = "/secrets" }, 404, "InvalidAction.NotFound", ""},
		{"a broken escape", func(r *http.Request) { r.URL.RawQuery += "&X=%zz" }, 400, "InvalidParameter", "X"},
		{"no UTF-8", func(r *http.Request) { r.URL.RawQuery += "&X=%ff" }, 400, "InvalidParameter", "X"},
		{"an unreadable body", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain"); give(r, "x") }, 400, "InvalidParameter", "ContentType"},
		{"a large body", func(r *http.Request) { give(r, strings.Repeat("x", 256<<10+1)) }, 400, "InvalidParameter", "262144"},
	} {
		t.Run(c.name, func(t *testing.T) {
			change := func(next http.RoundTripper) http.RoundTripper {
				return roundTripper(func(r *http.Request) (*http.Response, error) { c.change(r); return next.RoundTrip(r) })
			}
			between(srv, t, change, func(t *testing.T, how caller) {
				r := at{t, srv, how, acct.Root}.kmsRefused("GetSecretValue", params{"SecretName": "one"}, c.status, c.code)
				r.mention(t, c.says)
			})
		})
	}
}

// give puts a body into a request that has none.
func give(r *http.Request, body string) {
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	r.GetBody = nil
}

// TestUnknownOperations calls what does not exist, with the generic parts of
// both SDKs.
func TestUnknownOperations(t *testing.T) {
	srv := start(t)
	acct := srv.NewAccount(t)
	for _, c := range []struct {
		version, operation string
		status             int
		code               string
	}{
		{"2016-01-20", "MakeSecret", 404, "InvalidAction.NotFound"},
		{"2016-01-20", "getSecretValue", 404, "InvalidAction.NotFound"},
		{"2016-01-20", "CreateUser", 404, "InvalidAction.NotFound"},
		{"2015-05-01", "CreateSecret", 404, "InvalidAction.NotFound"},
		{"2016-01-21", "GetSecretValue", 400, "InvalidVersion"},
	} {
		for _, algorithm := range []string{"", "v2"} {
			s := &newSDK{algorithm: algorithm}
			client, err := openapi.NewClient(s.config(srv, acct.Root))
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.CallApi(&models.Params{
				Action: tea.String(c.operation), Version: tea.String(c.version), Protocol: tea.String("HTTPS"), Pathname: tea.String("/"), Method: tea.String("POST"),
				AuthType: tea.String("AK"), Style: tea.String("RPC"), ReqBodyType: tea.String("formData"), BodyType: tea.String("json"),
			}, &models.OpenApiRequest{}, &dara.RuntimeOptions{})
			if r := asRefusal(t, newRefusal(err)); r.Status != c.status || r.Code != c.code {
				t.Errorf("%s %s (%q): got %v, want %d %s", c.version, c.operation, algorithm, r, c.status, c.code)
			}
		}
		s := &classicSDK{scheme: "HTTPS"}
		client, err := sdk.NewClientWithOptions(srv.Region, s.config(srv), classicCredential(acct.Root))
		if err != nil {
			t.Fatal(err)
		}
		req := requests.NewCommonRequest()
		req.Domain, req.Version, req.ApiName, req.Scheme, req.Method = srv.Host, c.version, c.operation, "HTTPS", "POST"
		_, err = client.ProcessCommonRequest(req)
		if r := asRefusal(t, classicRefusal(err)); r.Status != c.status || r.Code != c.code {
			t.Errorf("%s %s (classic): got %v, want %d %s", c.version, c.operation, r, c.status, c.code)
		}
	}
}

// TestShapes sends parameters in all the places where clients put them: Terraform
// in a form with the common ones in the address, scripts in a JSON body.
func TestShapes(t *testing.T) {
	srv := start(t)
	all := []string{"SecretName", "VersionId", "SecretData", "Description", "Tags", "Policy", "RoleArn", "PolicyDocument", "PolicyName", "UserName"}
	for name, how := range map[string]caller{
		"ACS3 form":                   &newSDK{generic: true, form: all},
		"ACS3 form and address":       &newSDK{generic: true, form: []string{"SecretData", "PolicyDocument"}},
		"ACS3 JSON":                   &newSDK{json: true},
		"signature 1.0 form":          &newSDK{generic: true, algorithm: "v2", form: all},
		"signature 1.0 form, address": &newSDK{generic: true, algorithm: "v2", form: []string{"SecretData", "PolicyDocument"}},
	} {
		t.Run(name, func(t *testing.T) {
			acct := srv.NewAccount(t)
			root := at{t, srv, how, acct.Root}
			arn := "acs:kms:cn-hangzhou:" + acct.ID + ":secret/shape"
			root.kms("CreateSecret", params{"SecretName": "shape", "VersionId": "v1", "SecretData": hard, "Description": hard},
				answer{"Arn": arn, "SecretName": "shape", "VersionId": "v1", "SecretType": "Generic"})
			root.kms("GetSecretValue", params{"SecretName": arn}, answer{
				"SecretName": "shape", "VersionId": "v1", "SecretData": hard, "SecretDataType": "text", "SecretType": "Generic",
				"CreateTime": "TIME", "VersionStages": answer{"VersionStage": list("ACSCurrent")},
			})
			// What the typed SDKs do not know, they do not show.
			root.kms("DescribeSecret", params{"SecretName": "shape"}, answer{
				"Arn": arn, "SecretName": "shape", "SecretType": "Generic", "Description": hard, "AutomaticRotation": "Disabled",
				"CreateTime": "TIME", "UpdateTime": "TIME", "Creator": acct.ID,
			})
			root.ok("ram", "CreatePolicy", params{"PolicyName": "p", "PolicyDocument": readerPolicy("bailian")}, nil)
			root.ok("ram", "CreateUser", params{"UserName": "u"}, nil)
			root.kms("ListSecrets", params{"PageNumber": "1"}, nil)
		})
	}
}
