package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// CA is the server's own certificate authority, for servers that no public one
// certifies. Its key stays in the data folder with mode 0600; clients trust
// ca.pem.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	path string
}

// LeafLife is how long a server certificate lives.
const LeafLife = 397 * 24 * time.Hour

// Names of the CA's files, and how long its own certificate lives.
const (
	caCertFile = "ca.pem"
	caKeyFile  = "ca-key.pem"
	caLife     = 10 * 365 * 24 * time.Hour
)

// CAFiles are the names of the CA's files in its folder: the certificate, and
// the key.
func CAFiles() (cert, key string) { return caCertFile, caKeyFile }

// OpenCA reads the CA in dir, or makes one if neither of its files is there. A
// key without a certificate, which an interrupted first start leaves, gets one
// anew: of the same key and name, so that nobody who trusts an older one is
// shut out. A certificate without its key is an error.
func OpenCA(dir string, now time.Time) (*CA, error) {
	certPath, keyPath := filepath.Join(dir, caCertFile), filepath.Join(dir, caKeyFile)
	certPEM, certErr := os.ReadFile(certPath)
	keyPEM, keyErr := os.ReadFile(keyPath)
	if errors.Is(certErr, fs.ErrNotExist) {
		var err error
		if errors.Is(keyErr, fs.ErrNotExist) {
			keyPEM, keyErr = newCAKey(keyPath)
		}
		if keyErr == nil {
			certPEM, err = newCACert(certPath, keyPEM, now)
		}
		certErr = err
	}
	if err := errors.Join(certErr, keyErr); err != nil {
		return nil, fmt.Errorf("read the CA: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("the CA in %s is damaged: certificate and key do not fit", dir)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the CA key in %s is no ECDSA key", keyPath)
	}
	return &CA{cert: pair.Leaf, key: key, pem: certPEM, path: certPath}, nil
}

// newCAKey makes the CA's key and returns its file's content.
func newCAKey(path string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return text, writeWhole(path, text, 0o600)
}

// newCACert makes the certificate of the CA's key and returns its file's
// content.
func newCACert(path string, keyPEM []byte, now time.Time) ([]byte, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("the CA key is no PEM file")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the CA key cannot be read")
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the CA key is no ECDSA key")
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "OpenSesame CA", Organization: []string{"OpenSesame"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(caLife), IsCA: true, BasicConstraintsValid: true,
		MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return text, writeWhole(path, text, 0o644)
}

// writeWhole writes a file that exists with all its content or not at all,
// whenever the machine stops.
func writeWhole(path string, content []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// PEM is the CA's certificate, Path its file.
func (c *CA) PEM() []byte { return c.pem }

// Path is the file that holds the CA's certificate.
func (c *CA) Path() string { return c.path }

// Leaf issues a server certificate for the names, each a host name or an IP
// address.
func (c *CA) Leaf(names []string, now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "OpenSesame"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(LeafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, &key.PublicKey, c.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der, c.cert.Raw}, PrivateKey: key}, nil
}

// serial draws a certificate serial number of 120 random bits.
func serial() *big.Int {
	b := make([]byte, 15)
	_, _ = rand.Read(b) // never fails
	return new(big.Int).SetBytes(b)
}
