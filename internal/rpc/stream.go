package rpc

import (
	"context"
	"io"
	"net/http"
)

// Stream is an answer too long to hold: the bytes that follow the headers
// instead of a JSON body. It is made by an operation ([Call.Stream]), after the
// same checks as any answer, and sent only once the audit record of the request
// is durable.
type Stream interface {
	// Send writes the whole answer. An error breaks the connection off, so that
	// no client takes a part for the whole.
	Send(ctx context.Context, w io.Writer) error
	// Close is called once, whether Send was or not.
	Close()
}

// Stream makes s the answer if the operation succeeds. The operation's output
// then goes into the audit record only.
func (c *Call) Stream(s Stream) { c.stream = s }

// streamResponse is the answer of an operation that streams.
func streamResponse(c *Call) *Response {
	return &Response{Status: http.StatusOK, Stream: c.stream, Header: http.Header{
		"Content-Type":     {"application/octet-stream"},
		"X-Acs-Request-Id": {c.RequestID},
	}}
}
