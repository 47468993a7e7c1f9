// Package sesametest starts a real OpenSesame server inside a test: real
// embedded database, real signatures, encryption, policies and audit log, on a
// free loopback port and in a temporary folder, in a few hundred milliseconds.
//
//	srv := sesametest.Start(t)
//	acct := srv.NewAccount(t)
//	app := acct.NewUser(t, "app", `{"Version":"1","Statement":[…]}`)
//	srv.MustCall(t, acct.Root, "kms", "CreateSecret", sesametest.Params{…}, nil)
//
// Point the official SDKs at Server.Host (host and port) with Server.CAPEM as
// the certificate authority.
//
// Servers of this package wait ten times as long as others before they give
// up, since test machines are busy. They are for tests only.
package sesametest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/internal/app"
	"github.com/opensesame-kms/opensesame/internal/audit/record"
	"github.com/opensesame-kms/opensesame/internal/client"
	"github.com/opensesame-kms/opensesame/internal/clock"
	"github.com/opensesame-kms/opensesame/internal/config"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// Credential is an access key, with the security token of a session if it is
// a temporary one. It is for throw-away servers, so its fields are plain.
type Credential struct{ AccessKeyID, AccessKeySecret, SecurityToken string }

// Params are an operation's parameters.
type Params map[string]string

// Error is the server's refusal of a call.
type Error = client.Error

// Options change how a server starts. The zero value is a server of its own
// for the test, that is gone afterwards.
type Options struct {
	// Dir keeps the data in this folder, so that another server can be started
	// on it; empty takes a temporary one.
	Dir string
	// Region is cn-hangzhou if empty.
	Region string
	// HTTP adds a plain-HTTP listener.
	HTTP bool
	// Time freezes the server's clock at this time; SetTime moves it. Zero: the
	// real clock.
	Time time.Time
	// SharedCheck makes every view ask the database for its revision, as the
	// servers of a cluster do.
	SharedCheck bool
	// TLSNames are further names of the server's certificate.
	TLSNames []string
	// BreakGlass allows the operator's break-glass operations.
	BreakGlass bool
	// Limits turns the documented limits on: so many requests a second for each
	// account, by class of operation. Without it nothing is limited.
	Limits bool
	// CertFile and KeyFile are the server's certificate, if it shall not have one
	// of its own authority. Server.CAPEM is then the content of CertFile.
	CertFile, KeyFile string
}

// Server is a running server.
type Server struct {
	// URL is the HTTPS endpoint, Host its host and port, HTTPURL the plain-HTTP
	// endpoint if Options.HTTP is set.
	URL, Host, HTTPURL string
	// CAPEM is the certificate authority that clients have to trust, CAFile the
	// file that holds it.
	CAPEM  []byte
	CAFile string
	// Region that the server serves.
	Region string
	// Dir is the data folder.
	Dir string
	// Operator is the operator's credential.
	Operator Credential

	opt   Options
	app   *app.App
	clock *clock.Manual
	log   syncBuffer
	stop  sync.Once

	connect sync.Once
	client  *http.Client
}

// Start starts a server and stops it when the test ends.
func Start(t testing.TB, options ...Options) *Server {
	t.Helper()
	s := &Server{}
	if len(options) > 0 {
		s.opt = options[0]
	}
	if s.opt.Dir == "" {
		s.opt.Dir = t.TempDir()
	}
	if err := s.start(); err != nil {
		t.Fatalf("start the server: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop the server: %v", err)
		}
	})
	return s
}

// Open is Start for those who want to see the error of a server that cannot
// start. The caller stops the server.
func Open(options Options) (*Server, error) {
	s := &Server{opt: options}
	if s.opt.Dir == "" {
		return nil, errors.New("sesametest: Open needs Options.Dir")
	}
	return s, s.start()
}

func (s *Server) start() error {
	cfg := config.Config{
		DataDir: s.opt.Dir, Region: s.opt.Region, Listen: "127.0.0.1:0", FastElection: true,
		ForceSharedCheck: s.opt.SharedCheck,
		TLS:              config.TLS{CertFile: s.opt.CertFile, KeyFile: s.opt.KeyFile, Names: s.opt.TLSNames},
		Timeouts:         config.Timeouts{Read: 25 * time.Second, Write: 20 * time.Second},
		Audit:            config.Audit{LateAfter: 5 * time.Second, Segment: 1 << 20},
		Limits:           config.Limits{None: !s.opt.Limits},
		AllowBreakGlass:  s.opt.BreakGlass,
	}
	if s.opt.HTTP {
		cfg.HTTP = "127.0.0.1:0"
	}
	opt := app.Options{Logger: slog.New(slog.NewJSONHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if !s.opt.Time.IsZero() {
		s.clock = clock.NewManual(s.opt.Time)
		opt.Clock = s.clock
	}
	a, err := app.Start(context.Background(), cfg, opt)
	if err != nil {
		return err
	}
	id, secret, err := a.Operator()
	if err != nil {
		return errors.Join(err, a.Close(context.Background()))
	}
	s.app, s.URL, s.HTTPURL, s.Host = a, a.URL(), a.HTTPURL(), strings.TrimPrefix(a.URL(), "https://")
	s.CAPEM, s.CAFile, s.Region, s.Dir = a.CAPEM(), a.CAFile(), a.Region(), s.opt.Dir
	if s.opt.CertFile != "" {
		s.CAFile = s.opt.CertFile
		if s.CAPEM, err = os.ReadFile(s.CAFile); err != nil {
			return errors.Join(err, s.Stop())
		}
	}
	s.Operator = Credential{AccessKeyID: id, AccessKeySecret: secret.Reveal()}
	return nil
}

// Reload makes the server read its certificate files again.
func (s *Server) Reload() error { return s.app.Reload() }

// Stop ends the server gracefully. A second call does nothing.
func (s *Server) Stop() (err error) {
	s.stop.Do(func() {
		s.httpClient().CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = s.app.Close(ctx)
	})
	return err
}

// httpClient is shared by all calls, so that they share connections.
func (s *Server) httpClient() *http.Client {
	s.connect.Do(func() {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(s.CAPEM)
		s.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			MaxIdleConnsPerHost: 16, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		}}
	})
	return s.client
}

// SetTime moves the clock of a server that was started with Options.Time.
func (s *Server) SetTime(t time.Time) { s.clock.Set(t) }

// Now is the server's time.
func (s *Server) Now() time.Time {
	if s.clock != nil {
		return s.clock.Now()
	}
	return time.Now()
}

// Call signs one operation with the credential and sends it. product is kms,
// sts, ram, resourcemanager or opensesame; out, if not nil, gets the answer. A
// refusal by the server is an [*Error].
func (s *Server) Call(c Credential, product, operation string, params Params, out any) error {
	cl, err := client.New(client.Config{
		Endpoint: s.URL, HTTPClient: s.httpClient(), Region: s.Region, AccessKeyID: c.AccessKeyID,
		AccessKeySecret: mask.NewText(c.AccessKeySecret), SecurityToken: mask.NewText(c.SecurityToken), Now: s.Now,
	})
	if err != nil {
		return err
	}
	return cl.Call(context.Background(), product, operation, params, out)
}

// MustCall is Call for what must succeed.
func (s *Server) MustCall(t testing.TB, c Credential, product, operation string, params Params, out any) {
	t.Helper()
	if err := s.Call(c, product, operation, params, out); err != nil {
		t.Fatalf("%s %s: %v", product, operation, err)
	}
}

// MustFail is Call for what must be refused with the code; it returns the
// refusal.
func (s *Server) MustFail(t testing.TB, c Credential, product, operation string, params Params, code string) *Error {
	t.Helper()
	err := s.Call(c, product, operation, params, nil)
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%s %s: got %v, want it refused with %s", product, operation, err, code)
	}
	if e.Code != code {
		t.Fatalf("%s %s: got %v, want the code %s", product, operation, err, code)
	}
	return e
}

// Events returns the audit events that the account may see, oldest first, in
// the form of ActionTrail. It waits for the records of all changes that were
// confirmed.
func (s *Server) Events(t testing.TB, account string) []*Event {
	t.Helper()
	var out []*Event
	for _, r := range s.records(t) {
		if r.VisibleTo(account) {
			out = append(out, r.Event(account))
		}
	}
	return out
}

// Event is an audit event.
type Event = record.Event

func (s *Server) records(t testing.TB) []*record.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out []*record.Record
	err := s.app.DrainAudit(ctx)
	if err == nil {
		err = s.app.ReadAudit(func(r *record.Record) { out = append(out, r) })
	}
	if err != nil {
		t.Fatalf("read the audit log: %v", err)
	}
	return out
}

// Log returns what the server has logged so far.
func (s *Server) Log() string { return s.log.String() }

// syncBuffer is a buffer that many may write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Format keeps credentials out of test output.
func (c Credential) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "credential %s", c.AccessKeyID)
}
