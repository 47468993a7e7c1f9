package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opensesame-kms/opensesame/internal/gateway"
)

// certificates are where the HTTPS listener takes its certificate from.
type certificates interface {
	get(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// openCertificate reads the certificate files, or opens the server's own
// authority.
func (a *App) openCertificate(context.Context) (err error) {
	now := a.clock.Now()
	if c := a.cfg.TLS; c.CertFile != "" {
		f := &fileCertificate{certFile: c.CertFile, keyFile: c.KeyFile, log: a.log, now: a.clock.Now}
		a.certs = f
		return f.load()
	}
	if a.ca, err = gateway.OpenCA(a.cfg.DataDir, now); err != nil {
		return err
	}
	own := &ownCertificate{ca: a.ca, names: a.certificateNames(a.tlsSocket), now: a.clock.Now}
	a.certs = own
	_, err = own.get(nil)
	return err
}

// Reload reads the certificate files again, at once. If they cannot be used,
// the certificate before stays, and the error says why; it is logged, too. It
// does nothing for a certificate of the server's own authority.
func (a *App) Reload() error {
	if f, ok := a.certs.(*fileCertificate); ok {
		return f.reload()
	}
	return nil
}

// certificatePoll is how often the certificate files are looked at.
const certificatePoll = time.Minute

// watchCertificate reads the certificate files again whenever they changed.
func (a *App) watchCertificate(ctx context.Context) {
	f, ok := a.certs.(*fileCertificate)
	if !ok {
		return
	}
	tick := time.NewTicker(certificatePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if f.changed() {
				_ = f.reload() // it logs
			}
		}
	}
}

// ownCertificate is issued by the server's own authority, and renewed a month
// before it expires.
type ownCertificate struct {
	ca    *gateway.CA
	names []string
	now   func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	renew   time.Time
}

func (c *ownCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); c.current == nil || now.After(c.renew) {
		cert, err := c.ca.Leaf(c.names, now)
		if err != nil {
			return nil, fmt.Errorf("issue the server's certificate: %w", err)
		}
		c.current, c.renew = &cert, now.Add(gateway.LeafLife-30*24*time.Hour)
	}
	return c.current, nil
}

// fileCertificate is read from two files, which others renew.
type fileCertificate struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	current atomic.Pointer[tls.Certificate]

	mu   sync.Mutex // of reloads
	seen [2]stamp   // the files as they were when they were last read
}

// stamp tells a file from what it was before.
type stamp struct {
	size  int64
	mtime time.Time
}

func (c *fileCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

func (c *fileCertificate) stamps() (out [2]stamp) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil { // what is missing is stamped as such
			out[i] = stamp{info.Size(), info.ModTime()}
		}
	}
	return out
}

// changed reports whether the files are not as they were last read.
func (c *fileCertificate) changed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stamps() != c.seen
}

// reload is load with a word in the log.
func (c *fileCertificate) reload() error {
	if err := c.load(); err != nil {
		c.log.Error("the new certificate cannot be used; the one before stays", "error", err)
		return err
	}
	leaf := c.current.Load().Leaf
	c.log.Info("the certificate was read again", "file", c.certFile, "notAfter", leaf.NotAfter.UTC())
	return nil
}

// load reads both files and takes the pair if it can be used now.
func (c *fileCertificate) load() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = c.stamps() // before reading: a change in between is seen the next time
	certPEM, err := os.ReadFile(c.certFile)
	if err != nil {
		return fmt.Errorf("the certificate: %w", err)
	}
	info, err := os.Stat(c.keyFile)
	if err != nil {
		return fmt.Errorf("the certificate's key: %w", err)
	}
	keyPEM, err := os.ReadFile(c.keyFile)
	if err != nil {
		return fmt.Errorf("the certificate's key: %w", err)
	}
	// The package's own errors may quote what they could not read.
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("the certificate in %s and the key in %s are no pair in PEM", c.certFile, c.keyFile)
	}
	if err := c.usable(pair.Leaf); err != nil {
		return err
	}
	if info.Mode().Perm()&0o007 != 0 {
		c.log.Warn("the certificate's key can be read or changed by everybody on this machine",
			"file", c.keyFile, "mode", fmt.Sprintf("%04o", info.Mode().Perm()&fs.ModePerm))
	}
	c.current.Store(&pair)
	return nil
}

func (c *fileCertificate) usable(leaf *x509.Certificate) error {
	switch now := c.now(); {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate in %s expired at %s", c.certFile, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate in %s is valid from %s on only", c.certFile, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}
