package audit

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"time"
)

// segment is an open segment file. It belongs to the preparer until it is
// handed over, and to the writer from then on.
type segment struct {
	file   File
	name   string
	number uint64
	size   int64
	end    int64  // of the last durable frame; zeros follow
	head   header // decided when it is taken into use
	begun  bool   // the header has been written
}

// begin writes the header, once. The sync of the first commit covers it.
func (s *segment) begin() error {
	if s.begun {
		return nil
	}
	if _, err := s.file.WriteAt(s.head.encode(), 0); err != nil {
		return err
	}
	s.begun = true
	return nil
}

// try writes something that changes nothing and syncs it.
func (s *segment) try() error {
	if !s.begun {
		if err := s.begin(); err != nil {
			return err
		}
	} else if s.end < s.size {
		if _, err := s.file.WriteAt([]byte{0}, s.end); err != nil {
			return err
		}
	}
	return s.file.Datasync()
}

// zeros is what segments are filled with; nobody writes to it.
var zeros = make([]byte, 1<<20)

// writeZeros fills [from, to) of f, until stop is closed.
func writeZeros(f File, from, to int64, stop <-chan struct{}) error {
	for from < to {
		select {
		case <-stop:
			return ErrClosed
		default:
		}
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), to-from)], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// prepare makes a segment file full of zeros and makes it durable, so that
// later commits into it have only their own bytes to sync. A file of that name
// is replaced.
func (l *Log) prepare(number uint64) (*segment, error) {
	s := &segment{name: segmentName(number), number: number, size: l.cfg.SegmentSize, end: headerSize}
	if err := l.cfg.FS.Remove(l.path(s.name)); err != nil {
		return nil, err
	}
	f, err := l.cfg.FS.Create(l.path(s.name))
	if err != nil {
		return nil, err
	}
	s.file = f
	err = writeZeros(f, 0, s.size, l.quit)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.cfg.FS.SyncDir(l.cfg.Dir)
	}
	if err != nil {
		// Half a segment only takes space on a disk that may be full.
		return nil, errors.Join(err, f.Close(), l.cfg.FS.Remove(l.path(s.name)))
	}
	return s, nil
}

// adopt takes over a segment that an earlier process prepared. It is synced
// again: that process may have ended before its own sync did.
func (l *Log) adopt(number uint64) (*segment, error) {
	s := &segment{name: segmentName(number), number: number, size: l.cfg.SegmentSize, end: headerSize}
	f, err := l.cfg.FS.Open(l.path(s.name))
	if err != nil {
		return nil, err
	}
	s.file = f
	size, err := f.Size()
	if err == nil && size != s.size {
		err = errors.New("it has another size")
	}
	if err == nil {
		var last int64
		if last, err = lastNonzero(f, 0, size); err == nil && last >= 0 {
			// The crash of a machine can leave parts of a first batch that
			// was never acknowledged.
			err = errors.New("it is not empty")
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.cfg.FS.SyncDir(l.cfg.Dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

// lastNonzero returns the offset of the last byte in [from, to) that is not
// zero, or -1.
func lastNonzero(f io.ReaderAt, from, to int64) (int64, error) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, from, to-from), int(min(to-from, 1<<20)))
	last := int64(-1)
	for at := from; ; {
		_, err := r.Peek(1)
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return -1, err
		}
		b, _ := r.Peek(r.Buffered())
		if !allZero(b) {
			i := len(b) - 1
			for b[i] == 0 {
				i--
			}
			last = at + int64(i)
		}
		at += int64(len(b))
		_, _ = r.Discard(len(b))
	}
}

// prepareAll is the preparer's goroutine: it keeps one segment ready. number is
// that of the first; leftover says that an earlier process may have prepared it.
func (l *Log) prepareAll(number uint64, leftover bool) {
	for ; ; number++ {
		s := l.prepareOne(number, leftover)
		leftover = false
		if s == nil {
			return
		}
		select {
		case l.spares <- s:
		case <-l.quit:
			// It stays in the folder for the next process.
			if err := s.file.Close(); err != nil {
				l.cfg.Logger.Warn("closing an audit segment", slog.String("segment", s.name), slog.Any("error", err))
			}
			return
		}
	}
}

// prepareOne tries until it has a segment, or returns nil when the log ends.
func (l *Log) prepareOne(number uint64, leftover bool) *segment {
	if leftover {
		s, err := l.adopt(number)
		if err == nil {
			return s
		}
		l.cfg.Logger.Info("prepared audit segment is made anew",
			slog.String("segment", segmentName(number)), slog.Any("reason", err))
	}
	for {
		s, err := l.prepare(number)
		if err == nil {
			l.prepareErr.Store(nil)
			return s
		}
		if errors.Is(err, ErrClosed) {
			return nil
		}
		l.cfg.Logger.Error("audit segment cannot be prepared", slog.String("segment", segmentName(number)), slog.Any("error", err))
		l.prepareErr.Store(&err)
		retry := time.NewTimer(prepareRetry)
		select {
		case <-retry.C:
		case <-l.hungry:
		case <-l.quit:
			retry.Stop()
			return nil
		}
		retry.Stop()
	}
}

// prepareRetry is how often a segment is tried again; a full disk is not made
// emptier by asking more often.
const prepareRetry = 500 * time.Millisecond
