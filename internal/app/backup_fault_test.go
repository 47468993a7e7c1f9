package app

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/audit"
	"github.com/opensesame-kms/opensesame/internal/audit/record"
	"github.com/opensesame-kms/opensesame/internal/backup"
	"github.com/opensesame-kms/opensesame/internal/config"
	"github.com/opensesame-kms/opensesame/internal/rpc"
)

// TestBackupBrokenOff: a client that goes away leaves nothing held, a record of
// how it ended, and bytes that are no backup.
func TestBackupBrokenOff(t *testing.T) {
	a, err := Start(t.Context(), config.Config{
		DataDir: t.TempDir(), Listen: "127.0.0.1:0", FastElection: true, Audit: config.Audit{Segment: 1 << 20},
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	b := &backups{a: a}
	begin := func() rpc.Stream {
		t.Helper()
		s, err := b.Begin(t.Context(), &rpc.Call{Record: &record.Record{RequestID: newRequestID(), Operation: "Backup", RW: record.Read}}, true)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := begin()
	// Another one meanwhile is refused, and refusing it gives nothing free.
	for range 2 {
		if _, err := b.Begin(t.Context(), &rpc.Call{Record: &record.Record{}}, false); apierr.As(err) == nil || apierr.As(err).Status != 429 {
			t.Errorf("a second backup: %v", err)
		}
	}
	var out bytes.Buffer
	gone := errors.New("the client went away")
	for _, room := range []int{0, 20, 2000} {
		out.Reset()
		if err := s.Send(t.Context(), &narrow{&out, room, gone}); !errors.Is(err, gone) {
			t.Errorf("Send with room for %d bytes: %v", room, err)
		}
		s.Close()
		s.Close()
		if _, err := backup.Copy(io.Discard, &out); err == nil {
			t.Error("what was sent passes for a backup")
		}
		s = begin()
	}
	out.Reset()
	if err := s.Send(t.Context(), &out); err != nil {
		t.Errorf("Send: %v", err)
	}
	s.Close()
	if _, err := backup.Copy(io.Discard, &out); err != nil {
		t.Errorf("Copy: %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	s = begin()
	if err := s.Send(canceled, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("Send in an ended context: %v", err)
	}
	s.Close()
	endsOnRecord(t, a)
}

func endsOnRecord(t *testing.T, a *App) {
	t.Helper()
	var ends []string
	err := audit.Read(a.AuditDir(), 0, func(_ uint64, payload []byte) error {
		r, err := record.Unmarshal(payload)
		if err == nil && r.Operation == record.NoticeBackupEnded {
			ends = append(ends, r.ErrorCode)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(ends, ","); got != "Incomplete,Incomplete,Incomplete,,Incomplete" {
		t.Errorf("ends on record: %s", got)
	}
}

// narrow takes so many bytes, and then fails.
type narrow struct {
	w    io.Writer
	room int
	err  error
}

func (n *narrow) Write(p []byte) (int, error) {
	if len(p) > n.room {
		k, _ := n.w.Write(p[:n.room])
		n.room = 0
		return k, n.err
	}
	n.room -= len(p)
	return n.w.Write(p)
}
