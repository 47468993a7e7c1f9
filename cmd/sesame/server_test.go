package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// writePair writes a certificate for kms.example.com, signed by itself, and its
// key.
func writePair(t *testing.T, certFile, keyFile, organization string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: organization}, DNSNames: []string{"kms.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	check(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	check(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	check(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

// shown is the name on the certificate that the server shows.
func shown(t *testing.T, addr string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: "kms.example.com"})
	check(t, err)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// TestServer starts the server the way a supervisor does: it is told of
// readiness and end over the supervisor's socket, SIGHUP makes the server read
// its certificate files again, and SIGTERM ends it.
func TestServer(t *testing.T) {
	dir, err := os.MkdirTemp("", "sesame") // short: the name of a socket is limited
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cert, key, conf := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "c.yaml")
	writePair(t, cert, key, "one")
	addr, err := freeAddr()
	check(t, err)
	check(t, os.WriteFile(conf, []byte("apiVersion: opensesame/v1\nlisten: "+addr+"\ndataDir: "+filepath.Join(dir, "data")+
		"\ntls: {certFile: "+cert+", keyFile: "+key+"}\n"), 0o600))
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "n"), Net: "unixgram"})
	check(t, err)
	defer socket.Close()
	check(t, socket.SetReadDeadline(time.Now().Add(deadline)))
	told := func(want string) {
		t.Helper()
		b := make([]byte, 100)
		n, err := socket.Read(b)
		check(t, err)
		if string(b[:n]) != want {
			t.Errorf("the supervisor was told %q, want %q", b[:n], want)
		}
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "n"))
	p := launchAs(t, "server", "--config", conf)
	told("READY=1")
	if got := shown(t, addr); got != "one" {
		t.Errorf("the certificate is %q", got)
	}
	writePair(t, cert, key, "two")
	reload(t, p, addr, "two")
	// A pair that does not fit leaves the one before.
	writePair(t, cert, filepath.Join(dir, "other.key"), "three")
	check(t, p.cmd.Process.Signal(syscall.SIGHUP))
	writePair(t, cert, key, "four")
	reload(t, p, addr, "four")
	p.end(t, syscall.SIGTERM)
	told("STOPPING=1")
	if p.err != nil {
		t.Errorf("after SIGTERM: %v\n%s", p.err, p.stderr.String())
	}
	if !strings.HasSuffix(p.stdout.String(), "\nStopping.\n") {
		t.Error("it does not say that it stops")
	}
	if strings.Contains(p.stdout.String(), "ca.pem") {
		t.Error("it names an authority of its own beside the certificate from files")
	}
	if log := p.stderr.String(); !strings.Contains(log, `"msg":"the certificate was read again"`) || strings.Contains(log, "PRIVATE") {
		t.Errorf("the log: %s", log)
	}
}

// reload sends SIGHUP until the server shows the certificate.
func reload(t *testing.T, p *process, addr, want string) {
	t.Helper()
	end := time.Now().Add(deadline)
	for shown(t, addr) != want {
		if time.Now().After(end) {
			t.Fatalf("the certificate %q was not shown\n", want)
		}
		check(t, p.cmd.Process.Signal(syscall.SIGHUP))
		time.Sleep(5 * time.Millisecond) // between two looks, not to wait for anything
	}
}
