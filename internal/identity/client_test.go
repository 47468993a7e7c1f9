package identity_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/client"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// read makes of an HTTP request what the gateway would.
func read(t *testing.T, r *http.Request) *identity.Request {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	pairs := func(s string) (ps []identity.Param) {
		v, err := url.ParseQuery(s)
		if err != nil {
			t.Error(err)
		}
		for name, values := range v {
			for _, value := range values {
				ps = append(ps, identity.Param{Name: name, Value: value})
			}
		}
		return ps
	}
	out := &identity.Request{
		Method: r.Method, Path: r.URL.EscapedPath(), Host: r.Host, Header: r.Header,
		Query: pairs(r.URL.RawQuery), Body: body,
	}
	if r.Header.Get("Content-Type") == "application/x-www-form-urlencoded" {
		out.Form = pairs(string(body))
	}
	return out
}

// seen is what the server found in a request.
type seen struct {
	Scheme                 identity.Scheme
	Action, Version        string
	AccessKeyID, Token     string
	Time                   time.Time
	Params                 map[string]string
	InAddress              string
	Verified, WrongRefused bool
}

// common are the parameters that V1 adds.
var common = map[string]bool{
	"Action": true, "Version": true, "Format": true, "AccessKeyId": true, "SecurityToken": true,
	"Timestamp": true, "SignatureNonce": true, "SignatureMethod": true, "SignatureVersion": true, "Signature": true,
}

func TestClientSigns(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	secret := mask.NewText("TestVectorSecret0000000000001x")
	hard := map[string]string{
		"SecretName": "a b/中*~+c", "SecretData": "p@ss w=rd&*~!'();:\"\\%20\x00\n\u2028", "Empty": "",
		"Filters": `[{"Key":"SecretName","Values":["mcp!*"]}]`, "Tag.1.Key": "k", "-_.~": "-_.~",
	}
	for _, scheme := range []client.Scheme{client.V3, client.V1} {
		for _, token := range []string{"", "CAISTestVector+Token/With=Specials=="} {
			for _, params := range []map[string]string{nil, hard} {
				var got seen
				nonces := map[string]bool{}
				srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					q := read(t, r)
					got = seen{InAddress: r.URL.RawQuery, Params: map[string]string{}}
					got.Scheme, got.Action, got.Version = q.Target()
					for _, p := range q.Form {
						if !common[p.Name] {
							got.Params[p.Name] = p.Value
						}
					}
					c, err := identity.ParseCredentials(q, true)
					if err != nil {
						t.Error(err)
						return
					}
					got.AccessKeyID, got.Token, got.Time = c.AccessKeyID, c.SecurityToken, c.Time
					if err := c.VerifySignature(secret); err != nil {
						t.Error(err)
					}
					got.Verified = c.VerifySignature(secret) == nil
					got.WrongRefused = c.VerifySignature(mask.NewText("TestVectorSecret0000000000001y")) != nil
					nonces[c.Nonce] = true
					_, _ = io.WriteString(w, `{"RequestId":"x"}`)
				}))
				c, err := client.New(client.Config{
					Endpoint: srv.URL, AccessKeyID: "ak", AccessKeySecret: secret, SecurityToken: mask.NewText(token),
					Scheme: scheme, Now: func() time.Time { return now },
				})
				if err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if err := c.Call(context.Background(), "kms", "CreateSecret", params, nil); err != nil {
						t.Fatal(err)
					}
				}
				srv.Close()
				want := seen{
					Scheme: identity.Scheme(scheme), Action: "CreateSecret", Version: "2016-01-20",
					AccessKeyID: "ak", Token: token, Time: now.Truncate(time.Second),
					Params: map[string]string{}, Verified: true, WrongRefused: true,
				}
				for name, value := range params {
					want.Params[name] = value
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%s, token %t: (-want +got)\n%s", scheme, token != "", d)
				}
				if len(nonces) != 2 {
					t.Errorf("%s: %d nonces in 2 calls", scheme, len(nonces))
				}
			}
		}
	}
}

// TestReplayedCall sends one signed request many times at once, as an attacker
// who recorded it would.
func TestReplayedCall(t *testing.T) {
	secret := mask.NewText("TestVectorSecret0000000000001x")
	var recorded *identity.Request
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorded = read(t, r)
		_, _ = io.WriteString(w, "{}")
	}))
	defer srv.Close()
	c, err := client.New(client.Config{Endpoint: srv.URL, AccessKeyID: "ak", AccessKeySecret: secret})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Call(context.Background(), "sts", "GetCallerIdentity", nil, nil); err != nil {
		t.Fatal(err)
	}
	nonces := identity.NewNonces(identity.NonceConfig{})
	var wg sync.WaitGroup
	accepted := make(chan bool, 20)
	for range cap(accepted) {
		wg.Go(func() {
			creds, err := identity.ParseCredentials(recorded, true)
			if err != nil || creds.VerifySignature(secret) != nil {
				t.Errorf("the recorded request is not valid: %v", err)
				return
			}
			now := creds.Time.Add(time.Second)
			if _, err := nonces.Claim(now, creds.Time, "account", creds.AccessKeyID, creds.Nonce); err == nil {
				accepted <- true
			} else if !strings.Contains(err.Error(), "SignatureNonceUsed") {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(accepted) != 1 {
		t.Fatalf("%d of %d copies of a request were accepted", len(accepted), cap(accepted))
	}
}
