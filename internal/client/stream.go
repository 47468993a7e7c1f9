package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// stallTimeout is how long a stream may stand still.
const stallTimeout = 2 * time.Minute

// errStalled is why a stream that stood still was given up.
var errStalled = errors.New("the server sent nothing for " + stallTimeout.String())

// Stream is Call for an operation whose answer is a stream of bytes, which may
// take as long as it moves. The caller closes it. A stream that the server breaks
// off ends with an error, never with io.EOF.
func (c *Client) Stream(ctx context.Context, product, operation string, params map[string]string) (io.ReadCloser, error) {
	version, ok := versions[product]
	if !ok {
		return nil, fmt.Errorf("client: unknown product %q", product)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := c.newRequest(ctx, version, operation, params)
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("client: make the request of %s: %w", operation, err)
	}
	s := &stream{ctx: ctx, cancel: cancel, stall: time.AfterFunc(stallTimeout, func() { cancel(errStalled) })}
	hc := *c.http
	hc.Timeout = 0          // it would bound the whole stream
	resp, err := hc.Do(req) //nolint:bodyclose // the stream closes it
	if err != nil {
		s.end()
		return nil, fmt.Errorf("client: send %s: %w", operation, s.cause(err))
	}
	s.body = resp.Body
	if resp.StatusCode == http.StatusOK {
		return s, nil
	}
	defer func() { _ = s.Close() }()
	body, err := io.ReadAll(io.LimitReader(s, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("client: read the answer of %s: %w", operation, err)
	}
	return nil, newError(resp, body)
}

// stream is the body of an answer that is given up when it stands still.
type stream struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	stall  *time.Timer
	body   io.ReadCloser
	once   sync.Once
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	s.stall.Reset(stallTimeout)
	if err != nil && !errors.Is(err, io.EOF) {
		err = s.cause(err)
	}
	return n, err
}

// cause tells why the context ended, if that is what ended the stream.
func (s *stream) cause(err error) error {
	if why := context.Cause(s.ctx); why != nil && !errors.Is(err, why) {
		return errors.Join(why, err)
	}
	return err
}

func (s *stream) end() {
	s.once.Do(func() {
		s.stall.Stop()
		s.cancel(nil)
	})
}

// Close ends the stream, whether it was read to its end or not.
func (s *stream) Close() error {
	err := s.body.Close()
	s.end()
	return err
}
