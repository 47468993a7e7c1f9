package gateway

import (
	"net/http"
	"time"

	"github.com/opensesame-kms/opensesame/internal/rpc"
)

// serveStream answers with a stream. The limits on time are those of one write
// instead of those of the whole: a long answer is well as long as it moves.
func (s *Server) serveStream(w http.ResponseWriter, r *http.Request, res *rpc.Response) {
	defer res.Stream.Close()
	sw := &streamWriter{w: w, rc: http.NewResponseController(w)}
	w.WriteHeader(res.Status)
	if err := res.Stream.Send(r.Context(), sw); err != nil {
		// The status is gone. A broken connection is what tells the client.
		panic(http.ErrAbortHandler)
	}
}

// streamWriter gives each write its own time.
type streamWriter struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (s *streamWriter) Write(p []byte) (int, error) {
	if err := s.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return s.w.Write(p)
}
