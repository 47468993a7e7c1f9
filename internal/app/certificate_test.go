package app

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair makes a certificate with the serial number, and its key, in PEM.
func pair(t *testing.T, serial int64, from, to time.Time) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: from, NotAfter: to, DNSNames: []string{"kms.example.com"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

// TestFileCertificate: files that change are noticed and read; what cannot be
// used is told once, and the certificate before stays.
func TestFileCertificate(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	var log bytes.Buffer
	c := &fileCertificate{
		certFile: filepath.Join(dir, "c"), keyFile: filepath.Join(dir, "k"), now: func() time.Time { return now },
		log: slog.New(slog.NewTextHandler(&log, nil)),
	}
	stamp := now
	write := func(cert, key []byte) {
		t.Helper()
		stamp = stamp.Add(time.Second) // file systems may tell times coarsely
		for name, content := range map[string][]byte{c.certFile: cert, c.keyFile: key} {
			if content == nil {
				_ = os.Remove(name)
				continue
			}
			if err := os.WriteFile(name, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(name, stamp, stamp); err != nil {
				t.Fatal(err)
			}
		}
	}
	serial := func() int64 {
		cert, err := c.get(nil)
		if err != nil || cert == nil {
			t.Fatal("no certificate")
		}
		return cert.Leaf.SerialNumber.Int64()
	}
	cert1, key1 := pair(t, 1, now.Add(-time.Hour), now.Add(time.Hour))
	if err := c.load(); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("without files: %v", err)
	}
	write(cert1, key1)
	if err := c.load(); err != nil || serial() != 1 || c.changed() {
		t.Fatalf("the first pair: %v", err)
	}
	cert2, key2 := pair(t, 2, now.Add(-time.Hour), now.Add(time.Hour))
	old, oldKey := pair(t, 3, now.Add(-2*time.Hour), now.Add(-time.Hour))
	next, nextKey := pair(t, 4, now.Add(time.Hour), now.Add(2*time.Hour))
	for _, tt := range []struct {
		name, want string
		cert, key  []byte
	}{
		{"half changed", "are no pair in PEM", cert2, key1},
		{"damaged", "are no pair in PEM", cert2[:100], key2},
		{"expired", "expired at", old, oldKey},
		{"not valid yet", "is valid from", next, nextKey},
		{"gone", "no such file", nil, nil},
	} {
		log.Reset()
		write(tt.cert, tt.key)
		if !c.changed() {
			t.Errorf("%s: not noticed", tt.name)
		}
		if err := c.reload(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
		if c.changed() {
			t.Errorf("%s: it would be told every minute", tt.name)
		}
		if serial() != 1 || !strings.Contains(log.String(), "the one before stays") || strings.Contains(log.String(), "PRIVATE") {
			t.Errorf("%s: certificate %d, log %s", tt.name, serial(), log.String())
		}
	}
	log.Reset()
	write(cert2, key2)
	if err := c.reload(); err != nil || serial() != 2 {
		t.Errorf("the second pair: %v", err)
	}
	if strings.Contains(log.String(), "everybody") {
		t.Error("a private key was taken for an open one")
	}
	if err := os.Chmod(c.keyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.load(); err != nil || !strings.Contains(log.String(), "everybody") {
		t.Errorf("an open key is not warned of: %v %s", err, log.String())
	}
}
