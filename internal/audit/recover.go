package audit

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
)

// Recovery says what Open found.
type Recovery struct {
	// Records is the index that the next record gets; the last good record is
	// the one before.
	Records uint64
	// Repaired: the newest segment did not end cleanly, and was cut at the
	// first bad frame. The following fields say where.
	Repaired bool
	Segment  string // name of the file
	Offset   int64  // of the first bad byte
	Bytes    int64  // how many were removed, from the first bad to the last that was not zero
	Saved    string // file in the folder of the log that keeps the removed bytes; empty if there were none
	// Damaged: more was removed than a crash can explain, so that acknowledged
	// records may be among it.
	Damaged bool
}

// recover brings the folder into the state that the writer expects: l.seg is
// the segment in use, with nothing but zeros after its last frame, and all of
// it durable. It returns the number of the segment to prepare next, and whether
// an earlier process may have done so.
func (l *Log) recover() (rec Recovery, number uint64, leftover bool, err error) {
	fail := func(err error) (Recovery, uint64, bool, error) {
		l.dropSegment()
		return Recovery{}, 0, false, fmt.Errorf("opening the audit log: %w", err)
	}
	if err := l.cfg.FS.MkdirAll(l.cfg.Dir); err != nil {
		return fail(err)
	}
	segs, err := list(l.cfg.FS, l.cfg.Dir)
	if err != nil {
		return fail(err)
	}
	newest := -1
	for i, s := range segs {
		if s.used {
			newest = i
		}
	}
	if err := l.lookOver(segs, newest); err != nil {
		return fail(err)
	}
	if newest < 0 {
		number, err = l.beginLog(segs)
		if err != nil {
			return fail(err)
		}
		return Recovery{}, number + 1, false, nil
	}
	if rec, err = l.recoverTail(segs[newest]); err != nil {
		return fail(err)
	}
	spares := segs[newest+1:]
	if len(spares) == 0 {
		return rec, segs[newest].number + 1, false, nil
	}
	for _, s := range spares[1:] {
		if err := l.cfg.FS.Remove(l.path(s.name)); err != nil {
			return fail(err)
		}
	}
	return rec, spares[0].number, true, nil
}

// lookOver refuses a log whose newest segment cannot be understood: taken for
// unused, it would be written over. Older ones concern readers only.
func (l *Log) lookOver(segs []found, newest int) error {
	for i, s := range segs {
		if s.err == nil {
			continue
		}
		if i > newest {
			return s.err
		}
		l.cfg.Logger.Error("audit segment cannot be read", slog.String("segment", s.name), slog.Any("error", s.err))
	}
	return nil
}

// beginLog makes the first segment. Others can only be prepared ones, left by a
// process that ended before it used any; they are replaced.
func (l *Log) beginLog(segs []found) (number uint64, err error) {
	for _, s := range segs {
		if err := l.cfg.FS.Remove(l.path(s.name)); err != nil {
			return 0, err
		}
	}
	seed, err := randomSeed()
	if err != nil {
		return 0, err
	}
	s, err := l.prepare(1)
	if err != nil {
		return 0, err
	}
	s.head = header{seed: seed, number: 1, size: s.size, begun: l.cfg.Clock.Now().UnixNano()}
	l.seg, l.chain = s, seed
	return 1, s.try()
}

// recoverTail finds the end of the newest segment, cuts what is bad, and makes
// sure that what it calls good is durable.
func (l *Log) recoverTail(s found) (Recovery, error) {
	f, err := l.cfg.FS.Open(l.path(s.name))
	if err != nil {
		return Recovery{}, err
	}
	l.seg = &segment{file: f, name: s.name, number: s.number, size: s.head.size, head: s.head, begun: true}
	scan := newScanner(f, s.head)
	for ok := true; ok; {
		if _, ok, err = scan.next(); err != nil {
			return Recovery{}, err
		}
	}
	l.seg.end, l.nextIdx, l.chain = scan.offset, scan.index, scan.chain
	rec := Recovery{Records: l.nextIdx}
	if err := l.cutTail(&rec); err != nil {
		return Recovery{}, fmt.Errorf("repairing %s: %w", s.name, err)
	}
	if err := l.rewriteTail(); err != nil {
		return Recovery{}, fmt.Errorf("making %s durable: %w", s.name, err)
	}
	if rec.Repaired {
		l.cfg.Logger.Warn("audit log repaired: its end was cut", slog.String("segment", rec.Segment),
			slog.Int64("offset", rec.Offset), slog.Int64("bytes", rec.Bytes),
			slog.Uint64("records", rec.Records), slog.String("saved", rec.Saved), slog.Bool("damaged", rec.Damaged))
	}
	return rec, nil
}

// cutTail zeroes what follows the last good frame and gives the file its full
// length again. What it removes is kept aside first: it may be all that is left
// of records that were acknowledged, if this is damage and no crash.
func (l *Log) cutTail(rec *Recovery) error {
	s := l.seg
	size, err := s.file.Size()
	if err != nil {
		return err
	}
	last, err := lastNonzero(s.file, s.end, max(s.end, size))
	if err != nil {
		return err
	}
	if last < 0 && size >= s.size {
		return nil
	}
	rec.Repaired, rec.Segment, rec.Offset = true, s.name, s.end
	if last >= 0 {
		rec.Bytes = last + 1 - s.end
		rec.Damaged = rec.Bytes > maxBatch
		rec.Saved = fmt.Sprintf("%s.cut-%d", s.name, s.end)
		if err := l.saveAside(rec.Saved, s.end, rec.Bytes); err != nil {
			return err
		}
		if err := writeZeros(s.file, s.end, last+1, nil); err != nil {
			return err
		}
	}
	if size < s.size {
		return writeZeros(s.file, size, s.size, nil)
	}
	return nil
}

// saveAside copies n bytes of the segment, from offset on, to a new file.
func (l *Log) saveAside(name string, offset, n int64) error {
	path := filepath.Join(l.cfg.Dir, name)
	if err := l.cfg.FS.Remove(path); err != nil {
		return err
	}
	f, err := l.cfg.FS.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.NewOffsetWriter(f, 0), io.NewSectionReader(l.seg.file, offset, n))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return l.cfg.FS.SyncDir(l.cfg.Dir)
}

// rewriteTail writes the last batch once more, as it was read, and syncs. What
// was read may exist in the page cache only: after a sync that failed, the
// kernel holds such pages for clean, and a later sync alone would not write
// them. At most one batch was never synced; the header may be part of it.
func (l *Log) rewriteTail() error {
	s := l.seg
	from := s.end - maxBatch
	if from <= headerSize {
		from = 0
	}
	b := make([]byte, s.end-from)
	if _, err := s.file.ReadAt(b, from); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if _, err := s.file.WriteAt(b, from); err != nil {
		return err
	}
	return s.file.Sync()
}
