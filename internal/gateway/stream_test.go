package gateway_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/internal/gateway"
	"github.com/opensesame-kms/opensesame/internal/rpc"
)

// fixed answers every request with one stream.
type fixed struct{ rpc.Stream }

func (f fixed) Serve(context.Context, *rpc.Request) *rpc.Response {
	return &rpc.Response{Status: http.StatusOK, Header: http.Header{"X-Acs-Request-Id": {"id"}}, Stream: f.Stream}
}

type testStream struct {
	send   func(ctx context.Context, w io.Writer) error
	closed atomic.Int32
}

func (s *testStream) Send(ctx context.Context, w io.Writer) error { return s.send(ctx, w) }
func (s *testStream) Close()                                      { s.closed.Add(1) }

// get asks a gateway whose limits on a whole request are short.
func get(t *testing.T, s *testStream) (string, error) {
	t.Helper()
	srv := (&gateway.Server{Pipeline: fixed{s}, Logger: slog.New(slog.DiscardHandler)}).HTTP()
	srv.ReadTimeout, srv.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = srv.Serve(l); close(done) }()
	defer func() { _ = srv.Close(); <-done }()
	res, err := http.Post("http://"+l.Addr().String()+"/", "application/x-www-form-urlencoded", strings.NewReader("a=b"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("X-Acs-Request-Id") != "id" {
		t.Errorf("headers %v", res.Header)
	}
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// TestStreamOutlivesDeadlines: a stream may take longer than a request may.
func TestStreamOutlivesDeadlines(t *testing.T) {
	s := &testStream{send: func(ctx context.Context, w io.Writer) error {
		if _, err := io.WriteString(w, strings.Repeat("a", 1<<20)); err != nil {
			return err
		}
		select { // past both deadlines
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
		_, err := io.WriteString(w, "end")
		return err
	}}
	got, err := get(t, s)
	if err != nil || len(got) != 1<<20+3 || !strings.HasSuffix(got, "end") {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n := s.closed.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}
}

// TestStreamBreaksOff: a stream that fails does not look like one that ended.
func TestStreamBreaksOff(t *testing.T) {
	s := &testStream{send: func(_ context.Context, w io.Writer) error {
		_, _ = io.WriteString(w, strings.Repeat("a", 10_000))
		return errors.New("no more")
	}}
	if got, err := get(t, s); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n := s.closed.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}
}
