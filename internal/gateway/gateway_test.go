package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
)

// pipe is a pipeline that remembers what it was given.
type pipe struct{ got *rpc.Request }

func (p *pipe) Serve(_ context.Context, r *rpc.Request) *rpc.Response {
	p.got = r
	return &rpc.Response{Status: 418, Body: []byte("{}"), Header: http.Header{"X-Test": {"yes"}}}
}

func newServer(ready error) (*Server, *pipe) {
	p := &pipe{}
	return &Server{
		Pipeline: p, Ready: func(context.Context) error { return ready },
		Gatherer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
	}, p
}

// ask answers one request without a network.
func ask(s *Server, method, target string, body io.Reader, edit func(*http.Request)) *http.Response {
	r := httptest.NewRequest(method, target, body)
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

// TestRequests: what reaches the pipeline.
func TestRequests(t *testing.T) {
	s, p := newServer(nil)
	res := ask(s, "POST", "/?a=1&b=%E4%B8%AD", strings.NewReader("c=x+y"), func(r *http.Request) {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr, r.Host = "[::ffff:192.0.2.7]:1234", "kms.example:443"
	})
	if res.StatusCode != 418 || res.Header.Get("X-Test") != "yes" || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Content-Length") != "2" {
		t.Errorf("answered %d %v", res.StatusCode, res.Header)
	}
	g := p.got
	if flat(g.Query) != "a=1\nb=中\n" || flat(g.Form) != "c=x y\n" || string(g.Body) != "c=x+y" || g.Malformed != nil || g.TLS {
		t.Errorf("query %q, form %q, malformed %v", flat(g.Query), flat(g.Form), g.Malformed)
	}
	if g.Source != netip.MustParseAddr("192.0.2.7") || g.Host != "kms.example:443" || g.Path != "/" || g.Method != "POST" {
		t.Errorf("source %v, host %q, %s %q", g.Source, g.Host, g.Method, g.Path)
	}
	first := g.ID
	ask(s, "GET", "/", nil, func(r *http.Request) { r.RemoteAddr = "[fe80::1%eth0]:1" })
	if p.got.ID == first || p.got.ID != strings.ToUpper(p.got.ID) || len(first) != 36 {
		t.Errorf("request ids %s, %s", first, p.got.ID)
	}
	if p.got.Source != netip.MustParseAddr("fe80::1") {
		t.Errorf("source %v", p.got.Source)
	}
	ask(s, "GET", "/", nil, func(r *http.Request) { r.RemoteAddr = "@" })
	if p.got.Source.IsValid() {
		t.Errorf("source %v of an address that is none", p.got.Source)
	}
}

// TestMalformed: what cannot be read reaches the pipeline as such, without
// parameters.
func TestMalformed(t *testing.T) {
	for _, c := range []struct {
		method, target string
		body           io.Reader
		want           *apierr.Error
	}{
		{"PUT", "/", nil, apierr.UnsupportedMethod},
		{"HEAD", "/", nil, apierr.UnsupportedMethod},
		{"OPTIONS", "/", nil, apierr.UnsupportedMethod},
		{"PUT", "/livez", nil, apierr.UnsupportedMethod},
		{"POST", "/livez", nil, apierr.ActionNotFound},
		{"GET", "/x", nil, apierr.ActionNotFound},
		{"GET", "/%2f", nil, apierr.ActionNotFound},
		{"POST", "/", bytes.NewReader(make([]byte, MaxBody+1)), apierr.BodyTooLarge},
		{"POST", "/", iotest.ErrReader(errors.New("gone")), apierr.InvalidParam},
		{"GET", "/?a=%", nil, apierr.InvalidParam},
		{"POST", "/", strings.NewReader("x"), apierr.ContentType},
	} {
		s, p := newServer(nil)
		ask(s, c.method, c.target, c.body, nil)
		m := p.got.Malformed
		if m == nil || m.Code != c.want.Code || (c.want != apierr.InvalidParam && m.Message != c.want.Message) {
			t.Errorf("%s %s: %v, want %v", c.method, c.target, m, c.want)
		}
		if len(p.got.Query)+len(p.got.Form)+len(p.got.JSON) != 0 {
			t.Errorf("%s %s: parameters of a request that could not be read", c.method, c.target)
		}
	}
	s, p := newServer(nil)
	ask(s, "POST", "/", bytes.NewReader(make([]byte, MaxBody)), func(r *http.Request) { r.Header.Set("Content-Type", "application/json") })
	if p.got.Malformed == apierr.BodyTooLarge || len(p.got.Body) != MaxBody {
		t.Errorf("a body of just the limit: %v", p.got.Malformed)
	}
}

// TestOperatorsPaths: health for everybody, metrics for this machine.
func TestOperatorsPaths(t *testing.T) {
	for _, c := range []struct {
		path, from string
		ready      error
		gatherer   bool
		status     int
	}{
		{"/livez", "192.0.2.1:1", errors.New("no"), true, 200},
		{"/readyz", "192.0.2.1:1", nil, true, 200},
		{"/readyz", "192.0.2.1:1", errors.New("no"), true, 503},
		{"/metrics", "127.0.0.1:1", nil, true, 200},
		{"/metrics", "[::1]:1", nil, true, 200},
		{"/metrics", "[::ffff:127.0.0.1]:1", nil, true, 200},
		{"/metrics", "192.0.2.1:1", nil, true, 403},
		{"/metrics", "nonsense", nil, true, 403},
		{"/metrics", "x:1", nil, true, 403},
		{"/metrics", "127.0.0.1:1", nil, false, 403},
	} {
		s, p := newServer(c.ready)
		if !c.gatherer {
			s.Gatherer = nil
		}
		res := ask(s, "GET", c.path, nil, func(r *http.Request) {
			r.RemoteAddr = c.from
			r.Header.Set("X-Forwarded-For", "127.0.0.1")
		})
		if res.StatusCode != c.status || p.got != nil {
			t.Errorf("%s from %s: %d, want %d", c.path, c.from, res.StatusCode, c.status)
		}
	}
}

// TestHTTPLimits: no connection may take its time for ever.
func TestHTTPLimits(t *testing.T) {
	s, _ := newServer(nil)
	h := s.HTTP()
	if h.ReadHeaderTimeout <= 0 || h.ReadTimeout <= 0 || h.WriteTimeout <= 0 || h.IdleTimeout <= 0 || h.MaxHeaderBytes <= 0 || h.Protocols.HTTP2() {
		t.Errorf("%+v", h)
	}
}
