package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/client"
)

// TestServe looks at one running server from outside: its certificate, its two
// listeners with both ways to sign, its pages for operators, and its end by
// SIGTERM.
func TestServe(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	p := startDev(t, dir, "--http", "127.0.0.1:0", "--region", "cn-beijing",
		"--tls-name", "kms.internal.example", "--tls-name", "192.0.2.7")
	t.Run("certificate", func(t *testing.T) { checkCertificate(t, p) })
	t.Run("listeners", func(t *testing.T) { checkListeners(t, p) })
	t.Run("pages", func(t *testing.T) { checkPages(t, p) })
	p.end(t, syscall.SIGTERM)
	if p.err != nil {
		t.Errorf("after SIGTERM: %v\n%s", p.err, p.stderr.String())
	}
	if !strings.HasSuffix(p.stdout.String(), "\nStopping.\n") {
		t.Error("it does not say that it stops")
	}
}

func caPool(t *testing.T, p *process) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(p.vars["SESAME_CA_FILE"])
	check(t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("the CA file holds no certificate")
	}
	return pool
}

// checkCertificate connects by every name that clients may use.
func checkCertificate(t *testing.T, p *process) {
	names := []string{
		"localhost", "kms.internal.example",
		"kms.cn-beijing.aliyuncs.com", "kms-vpc.cn-beijing.aliyuncs.com",
		"sts.cn-beijing.aliyuncs.com", "sts-vpc.cn-beijing.aliyuncs.com",
	}
	ips := []string{"127.0.0.1", "::1", "192.0.2.7"}
	var leaf *x509.Certificate
	for _, name := range slices.Concat(names, ips) {
		conn, err := tls.Dial("tcp", p.vars["SESAME_ENDPOINT_HOST"], &tls.Config{RootCAs: caPool(t, p), ServerName: name})
		if err != nil {
			t.Errorf("as %s: %v", name, err)
			continue
		}
		leaf = conn.ConnectionState().PeerCertificates[0]
		if got := conn.ConnectionState().Version; got != tls.VersionTLS13 {
			t.Errorf("as %s: %s", name, tls.VersionName(got))
		}
		check(t, conn.Close())
	}
	for _, name := range []string{"example.com", "192.0.2.8", "kms.cn-hangzhou.aliyuncs.com"} {
		conn, err := tls.Dial("tcp", p.vars["SESAME_ENDPOINT_HOST"], &tls.Config{RootCAs: caPool(t, p), ServerName: name})
		if err == nil {
			conn.Close()
			t.Errorf("the certificate is valid for %s too", name)
		}
	}
	if leaf == nil {
		t.Fatal("no certificate was seen")
	}
	var gotIPs []string
	for _, ip := range leaf.IPAddresses {
		gotIPs = append(gotIPs, ip.String())
	}
	sorted := func(s []string) []string { return slices.Sorted(slices.Values(s)) }
	if diff := cmp.Diff(sorted(names), sorted(leaf.DNSNames)); diff != "" {
		t.Errorf("host names (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(sorted(ips), sorted(gotIPs)); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if _, err := tls.Dial("tcp", p.vars["SESAME_ENDPOINT_HOST"], &tls.Config{RootCAs: caPool(t, p), MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

// checkListeners reads the secret as the reader, signed both ways, over both
// listeners.
func checkListeners(t *testing.T, p *process) {
	for _, endpoint := range []string{p.vars["SESAME_ENDPOINT"], p.vars["SESAME_HTTP_ENDPOINT"]} {
		for _, scheme := range []client.Scheme{client.V1, client.V3} {
			c := p.as(t, "ALIBABA_CLOUD", func(cfg *client.Config) {
				cfg.Endpoint, cfg.Scheme = endpoint, scheme
			})
			if value(t, c, "bailian!demo-api-key") != "sk-demo-0123456789abcdef" {
				t.Errorf("%s, %s: another value", endpoint, scheme)
			}
		}
	}
	host, _, err := net.SplitHostPort(strings.TrimPrefix(p.vars["SESAME_HTTP_ENDPOINT"], "http://"))
	if err != nil || host != "127.0.0.1" {
		t.Errorf("the plain-HTTP endpoint is %s", p.vars["SESAME_HTTP_ENDPOINT"])
	}
}

// TestStaleEnvFile shows that nobody who waits for the env file finds an earlier
// server's.
func TestStaleEnvFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env, data := filepath.Join(dir, "env"), filepath.Join(dir, "data")
	check(t, os.WriteFile(env, []byte("export SESAME_STALE='1'\n"), 0o600))
	p := launch(t, "--data", data, "--env-file", env)
	check(t, waitFile(data, p.gone)) // from here on it is this server's file or none
	check(t, waitFile(env, p.gone))
	text, err := os.ReadFile(env)
	check(t, err)
	if strings.Contains(string(text), "STALE") {
		t.Error("the env file is an earlier server's")
	}
	p.stop(t)
}

// checkPages asks for the pages that need no signature.
func checkPages(t *testing.T, p *process) {
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: caPool(t, p)}}}
	defer hc.CloseIdleConnections()
	get := func(url string) (int, string) {
		resp, err := hc.Get(url)
		check(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		check(t, err)
		return resp.StatusCode, string(body)
	}
	for _, endpoint := range []string{p.vars["SESAME_ENDPOINT"], p.vars["SESAME_HTTP_ENDPOINT"]} {
		for _, page := range []string{"/livez", "/readyz"} {
			if status, body := get(endpoint + page); status != 200 || body != "ok\n" {
				t.Errorf("%s%s: %d %q", endpoint, page, status, body)
			}
		}
		status, body := get(endpoint + "/metrics")
		if status != 200 {
			t.Errorf("%s/metrics: %d", endpoint, status)
		}
		for _, name := range []string{"sesame_store_revision ", "sesame_audit_records_total ", "sesame_outbox_records ", "sesame_nonces "} {
			if !strings.Contains(body, "\n"+name) {
				t.Errorf("%s/metrics has no %s", endpoint, name)
			}
		}
		if strings.Contains(body, p.vars["SESAME_ROOT_ACCESS_KEY_ID"]) || strings.Contains(body, "demo-api-key") {
			t.Errorf("%s/metrics names keys or secrets", endpoint)
		}
	}
}
