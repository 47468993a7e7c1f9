package client

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

var secret = mask.NewText("TestVectorSecret0000000000001x")

func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	if cfg.AccessKeyID == "" {
		cfg.AccessKeyID, cfg.AccessKeySecret = "ak", secret
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answer serves one fixed answer to every request.
func answer(t *testing.T, status int, body string) *httptest.Server {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Acs-Request-Id", "FROM-HEADER")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(srv.Close)
	return srv
}

func TestNewRefuses(t *testing.T) {
	good := Config{Endpoint: "https://127.0.0.1:8443", AccessKeyID: "ak", AccessKeySecret: secret}
	for name, change := range map[string]func(*Config){
		"no endpoint":       func(c *Config) { c.Endpoint = "" },
		"no scheme":         func(c *Config) { c.Endpoint = "127.0.0.1:8443" },
		"other scheme":      func(c *Config) { c.Endpoint = "ftp://127.0.0.1" },
		"path":              func(c *Config) { c.Endpoint += "/x" },
		"query":             func(c *Config) { c.Endpoint += "/?x" },
		"user":              func(c *Config) { c.Endpoint = "https://u:p@127.0.0.1" },
		"foreign letters":   func(c *Config) { c.Endpoint = "https://bücher.example" },
		"http to elsewhere": func(c *Config) { c.Endpoint = "http://192.0.2.1:8080" },
		"http to a name":    func(c *Config) { c.Endpoint = "http://kms.example" },
		"no key":            func(c *Config) { c.AccessKeyID = "" },
		"no secret":         func(c *Config) { c.AccessKeySecret = mask.Text{} },
		"unknown signature": func(c *Config) { c.Scheme = "V2" },
		"no certificate":    func(c *Config) { c.CAPEM = []byte("x") },
		"CA and client":     func(c *Config) { c.CAPEM, c.HTTPClient = []byte("x"), http.DefaultClient },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: error shows the password: %v", name, err)
		}
	}
	for _, e := range []string{good.Endpoint, good.Endpoint + "/", "http://localhost", "http://127.0.0.1:", "http://[::1]:80", "https://kms.example"} {
		cfg := good
		cfg.Endpoint = e
		if _, err := New(cfg); err != nil {
			t.Errorf("%s: %v", e, err)
		}
	}
}

func TestCallDecodes(t *testing.T) {
	c := newClient(t, Config{Endpoint: answer(t, 200, `{"RequestId":"r","SecretName":"bailian!x","N":3}`).URL})
	var out struct {
		SecretName string
		N          int
	}
	if err := c.Call(context.Background(), "kms", "GetSecretValue", nil, &out); err != nil {
		t.Fatal(err)
	}
	if out.SecretName != "bailian!x" || out.N != 3 {
		t.Errorf("out = %+v", out)
	}
	c = newClient(t, Config{Endpoint: answer(t, 200, `{"SecretData":"the-value"`).URL})
	err := c.Call(context.Background(), "kms", "GetSecretValue", nil, &out)
	if err == nil || strings.Contains(err.Error(), "the-value") {
		t.Errorf("broken JSON: error = %v", err)
	}
	c = newClient(t, Config{Endpoint: answer(t, 200, strings.Repeat(" ", maxAnswer+1)).URL})
	if err := c.Call(context.Background(), "kms", "GetSecretValue", nil, nil); err == nil {
		t.Error("an endless answer was accepted")
	}
}

func TestCallErrors(t *testing.T) {
	call := func(status int, body string) *Error {
		t.Helper()
		c := newClient(t, Config{Endpoint: answer(t, status, body).URL})
		err := c.Call(context.Background(), "kms", "GetSecretValue", nil, nil)
		var e *Error
		if !errors.As(err, &e) || e.Status != status || string(e.Raw) != body {
			t.Fatalf("error = %#v", err)
		}
		return e
	}
	e := call(403, `{"RequestId":"r","Code":"Forbidden.NoPermission","Message":"No.","HttpStatus":403,"AccessDeniedDetail":{"AuthAction":"kms:GetSecretValue"}}`)
	if e.Code != "Forbidden.NoPermission" || e.Message != "No." || e.RequestID != "r" || e.AccessDeniedDetail["AuthAction"] != "kms:GetSecretValue" {
		t.Errorf("error = %+v", e)
	}
	if got := e.Error(); got != "Forbidden.NoPermission: No. (request id r)" {
		t.Errorf("Error() = %s", got)
	}
	e = call(502, "<html>the-value</html>")
	if e.Code != "" || e.RequestID != "FROM-HEADER" || e.Error() != "the server answered HTTP 502 Bad Gateway, not with an error of this API" {
		t.Errorf("error = %v", e)
	}
	if e := call(204, ""); e.Code != "" {
		t.Errorf("error = %v", e)
	}
}

func TestCallRefuses(t *testing.T) {
	c := newClient(t, Config{Endpoint: "http://127.0.0.1:1"})
	if err := c.Call(context.Background(), "oss", "X", nil, nil); err == nil || !strings.Contains(err.Error(), `"oss"`) {
		t.Errorf("unknown product: %v", err)
	}
	for _, scheme := range []Scheme{V1, V3} {
		c := newClient(t, Config{Endpoint: "http://127.0.0.1:1", Scheme: scheme})
		for _, name := range reserved {
			err := c.Call(context.Background(), "kms", "X", map[string]string{name: "the-value"}, nil)
			if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "the-value") {
				t.Errorf("%s: parameter %s: %v", scheme, name, err)
			}
		}
	}
}

// TestCallKeepsAddressClean checks what may end up in an access log.
func TestCallKeepsAddressClean(t *testing.T) {
	for _, scheme := range []Scheme{V1, V3} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost || r.RequestURI != "/" {
				t.Errorf("%s: %s %s", scheme, r.Method, r.RequestURI)
			}
			if err := r.ParseForm(); err != nil {
				t.Error(err)
			}
			if r.PostForm.Get("SecretData") != "value" || r.PostForm.Get("RegionId") != "cn-hangzhou" {
				t.Errorf("%s: parameters did not arrive", scheme)
			}
			if r.UserAgent() != "test/1" {
				t.Errorf("user agent %q", r.UserAgent())
			}
			_, _ = io.WriteString(w, "{}")
		}))
		params := map[string]string{"SecretData": "value"}
		c := newClient(t, Config{Endpoint: srv.URL, Scheme: scheme, Region: "cn-hangzhou", UserAgent: "test/1", SecurityToken: mask.NewText("t")})
		if err := c.Call(context.Background(), "kms", "CreateSecret", params, nil); err != nil {
			t.Error(err)
		}
		if len(params) != 1 {
			t.Error("the caller's parameters were changed")
		}
		srv.Close()
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the request was sent on")
	}))
	defer other.Close()
	srv := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer srv.Close()
	own := &http.Client{}
	for _, hc := range []*http.Client{nil, own} {
		c := newClient(t, Config{Endpoint: srv.URL, HTTPClient: hc})
		var e *Error
		if err := c.Call(context.Background(), "kms", "CreateSecret", map[string]string{"SecretData": "x"}, nil); !errors.As(err, &e) || e.Status != 307 {
			t.Errorf("error = %v", err)
		}
	}
	if own.CheckRedirect != nil {
		t.Error("the caller's HTTP client was changed")
	}
}

func TestTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "{}")
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // the refusal below is expected
	srv.StartTLS()
	defer srv.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := newClient(t, Config{Endpoint: srv.URL, CAPEM: ca}).Call(context.Background(), "kms", "X", nil, nil); err != nil {
		t.Error(err)
	}
	if err := newClient(t, Config{Endpoint: srv.URL}).Call(context.Background(), "kms", "X", nil, nil); err == nil {
		t.Error("a certificate of an unknown CA was accepted")
	}
}

func TestCallStopsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := newClient(t, Config{Endpoint: "http://127.0.0.1:1"})
	if err := c.Call(ctx, "kms", "X", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}

func TestClientDoesNotPrintSecrets(t *testing.T) {
	c := newClient(t, Config{Endpoint: "http://127.0.0.1:1", SecurityToken: mask.NewText("the-token")})
	for _, format := range []string{"%v", "%+v", "%#v"} {
		if s := fmt.Sprintf(format, c); strings.Contains(s, secret.Reveal()) || strings.Contains(s, "the-token") {
			t.Errorf("%s prints %s", format, s)
		}
	}
}
