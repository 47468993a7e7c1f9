package gateway

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var caNow = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)

// verifies reports whether a client that trusts pem accepts a server with a
// certificate of ca.
func verifies(t *testing.T, pem []byte, ca *CA) bool {
	t.Helper()
	leaf, err := ca.Leaf([]string{"kms.example", "127.0.0.1"}, caNow)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(leaf.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: "kms.example", CurrentTime: caNow})
	return err == nil
}

func openCA(t *testing.T, dir string) *CA {
	t.Helper()
	ca, err := OpenCA(dir, caNow)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestCALastsOverStarts(t *testing.T) {
	dir := t.TempDir()
	first := openCA(t, dir)
	second := openCA(t, dir)
	if !bytes.Equal(first.PEM(), second.PEM()) || !verifies(t, first.PEM(), second) {
		t.Error("another CA after a restart")
	}
	for name, want := range map[string]os.FileMode{caKeyFile: 0o600, caCertFile: 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if verifies(t, openCA(t, t.TempDir()).PEM(), first) {
		t.Error("the certificate of another CA verifies")
	}
}

// TestCAOfInterruptedStart: the key is written first, so a crash in between
// leaves it alone. A certificate without key is none of ours to replace.
func TestCAOfInterruptedStart(t *testing.T) {
	dir := t.TempDir()
	old := openCA(t, dir)
	if err := os.Remove(filepath.Join(dir, caCertFile)); err != nil {
		t.Fatal(err)
	}
	if !verifies(t, old.PEM(), openCA(t, dir)) {
		t.Error("who trusts the old certificate is shut out")
	}
	if err := os.Remove(filepath.Join(dir, caKeyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCA(dir, caNow); err == nil {
		t.Error("a CA without its key was opened")
	}
	if err := os.WriteFile(filepath.Join(dir, caKeyFile), []byte("-----BEGIN PRIV"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCA(dir, caNow); err == nil {
		t.Error("a damaged key was accepted")
	}
}
