package sesametest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// TestCertificateFromFiles: a server with a certificate from files serves by
// it, and by the next one once it is told to read the files again.
func TestCertificateFromFiles(t *testing.T) {
	dir := t.TempDir()
	opt := sesametest.Options{CertFile: filepath.Join(dir, "c"), KeyFile: filepath.Join(dir, "k")}
	write := func() {
		t.Helper()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		}
		cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string]*pem.Block{
			opt.CertFile: {Type: "CERTIFICATE", Bytes: cert}, opt.KeyFile: {Type: "PRIVATE KEY", Bytes: der},
		} {
			if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write()
	srv := sesametest.Start(t, opt)
	acct := srv.NewAccount(t)
	srv.MustCall(t, acct.Root, "kms", "ListSecrets", nil, nil)
	write()
	if err := srv.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(opt.KeyFile, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := srv.Reload(); err == nil {
		t.Error("a certificate without its key was taken")
	}
	srv.MustCall(t, acct.Root, "kms", "ListSecrets", nil, nil)
}
