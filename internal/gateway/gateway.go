// Package gateway is the server's door to the network: it reads HTTP requests,
// bounded in size and time, turns both forms of the API's requests into one
// shape for the pipeline, and writes its answers. It also answers the health
// and metrics paths.
//
// It trusts nothing that it reads, and decides nothing about callers.
package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
)

// Limits on what one connection may cost.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	// The official clients send all parameters in the address, so that the
	// largest secret, of which each byte may take three there, must pass.
	maxHeader = MaxBody
)

// Server answers requests over HTTP. It is an http.Handler.
type Server struct {
	// Pipeline runs the requests.
	Pipeline interface {
		Serve(context.Context, *rpc.Request) *rpc.Response
	}
	// Ready returns nil when the server can answer requests.
	Ready func(context.Context) error
	// Gatherer's metrics are served, to loopback callers only; nil for none.
	Gatherer prometheus.Gatherer
	// Logger gets what net/http has to say.
	Logger *slog.Logger
}

// HTTP returns the http.Server for this handler, with its limits set.
func (s *Server) HTTP() *http.Server {
	return &http.Server{
		Handler: s, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		// What net/http logs are its clients' faults (broken handshakes), and it
		// quotes them; they are worth a debug line and no more.
		ErrorLog: slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
		// HTTP/2 is not spoken: no client of this API asks for it.
		Protocols: http1(),
	}
}

func http1() *http.Protocols {
	p := &http.Protocols{}
	p.SetHTTP1(true)
	return p
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && s.serveOps(w, r) {
		return
	}
	req := read(w, r)
	res := s.Pipeline.Serve(r.Context(), req)
	h := w.Header()
	for k, v := range res.Header {
		h[k] = v
	}
	h.Set("Cache-Control", "no-store")
	if res.Stream != nil {
		s.serveStream(w, r, res)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(res.Body)))
	w.WriteHeader(res.Status)
	_, _ = w.Write(res.Body) // a caller who went away is no fault of ours
}

// read turns an HTTP request into the pipeline's shape. What cannot be decoded
// is noted in it, not answered here, so that all refusals are made in one
// place.
func read(w http.ResponseWriter, r *http.Request) *rpc.Request {
	req := &rpc.Request{ID: strings.ToUpper(uuid.NewString()), TLS: r.TLS != nil}
	req.Method, req.Path, req.Host, req.Header = r.Method, r.URL.Path, r.Host, r.Header
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		req.Source = ap.Addr().Unmap().WithZone("")
	}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodPost:
		req.Malformed = apierr.UnsupportedMethod
		return req
	case r.URL.Path != "/" && r.URL.Path != "":
		req.Malformed = apierr.ActionNotFound
		return req
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		req.Malformed = apierr.InvalidParam.Msg("The request body could not be read.")
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			req.Malformed = apierr.BodyTooLarge
		}
		return req
	}
	req.Body = body
	if req.Query, req.Malformed = decodePairs(r.URL.RawQuery); req.Malformed != nil {
		return req
	}
	req.Form, req.JSON, req.Malformed = decodeBody(r.Header, body)
	return req
}

// serveOps answers /livez, /readyz and /metrics.
func (s *Server) serveOps(w http.ResponseWriter, r *http.Request) bool {
	switch r.URL.Path {
	case "/livez":
		plain(w, http.StatusOK, "ok\n")
	case "/readyz":
		ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		if err := s.Ready(ctx); err != nil {
			s.Logger.Warn("not ready", "error", err)
			plain(w, http.StatusServiceUnavailable, "not ready\n")
			return true
		}
		plain(w, http.StatusOK, "ok\n")
	case "/metrics":
		if s.Gatherer == nil || !fromLoopback(r) {
			plain(w, http.StatusForbidden, "metrics are served to loopback callers only\n")
			return true
		}
		promhttp.HandlerFor(s.Gatherer, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	default:
		return false
	}
	return true
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func fromLoopback(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
