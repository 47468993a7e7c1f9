package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"
)

// errGaveUp ends the writer when the log is closed and cannot be written.
var errGaveUp = errors.New("the log is closed and cannot be written")

// write is the writer's goroutine.
func (l *Log) write() {
	defer close(l.quit)
	defer l.dropSegment()
	for {
		b, ok := l.take()
		if !ok {
			return
		}
		var err error
		if b == nil {
			err = l.tryDisk()
		} else {
			err = l.commitAll(b)
		}
		l.mu.Lock()
		l.busy = time.Time{}
		if err != nil {
			l.withholdAll(ErrClosed)
		}
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// take waits for work. It returns the queued records as a batch, or nil when
// the disk is to be tried; ok is false when the log is closed and all is done.
func (l *Log) take() (b *batch, ok bool) {
	// Before each look, whoever is ready to append may do so: with 16 callers a
	// commit so takes a third less processor time for each record, because
	// there are fewer and larger ones.
	runtime.Gosched()
	for {
		l.mu.Lock()
		switch {
		case len(l.queue.entries) > 0:
			b = l.queue
			l.queue, l.free = l.free, b
			l.inflight = b.entries
			l.busy = monotonic()
			l.mu.Unlock()
			return b, true
		case l.closed:
			l.mu.Unlock()
			return nil, false
		case l.probe:
			l.probe = false
			l.busy = monotonic()
			l.mu.Unlock()
			return nil, true
		}
		l.idle = true
		l.mu.Unlock()
		<-l.wake
		runtime.Gosched()
	}
}

// commitAll makes all records of b durable and answers those who wait. It
// returns an error only if it gave up.
func (l *Log) commitAll(b *batch) error {
	rest := b.entries
	for len(rest) > 0 {
		seg, err := l.segmentFor(rest[0].end - rest[0].start)
		if err != nil {
			return err
		}
		n := fitting(rest, min(seg.size-seg.end, maxBatch))
		begun := l.startIO()
		if err := l.commit(seg, b.buf, rest[:n]); err != nil {
			l.fail(err)
			continue
		}
		l.settle(b, rest[:n], monotonic().Sub(begun))
		rest = rest[n:]
	}
	b.reset()
	return nil
}

// fitting returns how many entries fit into room bytes, at least one: the
// segment was chosen to have room for the first, and no record exceeds a batch.
func fitting(entries []entry, room int64) int {
	n := 1
	for n < len(entries) && int64(entries[n].end-entries[0].start) <= room {
		n++
	}
	return n
}

// startIO notes for the watchdog that a write begins.
func (l *Log) startIO() time.Time {
	now := monotonic()
	l.mu.Lock()
	l.busy = now
	l.mu.Unlock()
	return now
}

// commit writes the frames of entries to seg and syncs it. Only when that
// succeeded do the log's end and the chain move on.
func (l *Log) commit(seg *segment, buf []byte, entries []entry) error {
	chain, index := l.chain, l.nextIdx
	for _, e := range entries {
		chain = sealFrame(buf[e.start:e.end], index, chain)
		index++
	}
	if err := seg.begin(); err != nil {
		return err
	}
	frames := buf[entries[0].start:entries[len(entries)-1].end]
	if _, err := seg.file.WriteAt(frames, seg.end); err != nil {
		return err
	}
	if err := seg.file.Datasync(); err != nil {
		return err
	}
	seg.end += int64(len(frames))
	l.chain, l.nextIdx = chain, index
	l.durable.Store(index)
	return nil
}

// settle answers those whose records are durable, and queues the notices for
// those who were answered otherwise before.
func (l *Log) settle(b *batch, entries []entry, took time.Duration) {
	first := l.nextIdx - uint64(len(entries))
	l.mu.Lock()
	// From here on the watchdog does not see them: their waiters may be used
	// again as soon as they are answered.
	l.inflight = l.inflight[len(entries):]
	l.succeeded(took)
	l.mu.Unlock()
	for i, e := range entries {
		if e.w == nil {
			continue
		}
		index := first + uint64(i)
		if e.w.claim() {
			e.w.answer <- result{index: index}
			continue
		}
		l.notice(b.buf[e.start+frameOverhead:e.end], index)
	}
}

// succeeded notes that the disk took a write. l.mu is held.
func (l *Log) succeeded(took time.Duration) {
	l.failures, l.failing = 0, nil
	if took > l.cfg.LateAfter {
		return
	}
	if h := l.health.Load(); h != nil && !l.closed {
		l.cfg.Logger.Info("audit log is well again")
		l.setHealth(nil)
	}
}

// notice queues the record that follows a withheld one.
func (l *Log) notice(payload []byte, index uint64) {
	if l.cfg.Withheld == nil {
		return
	}
	follow := l.cfg.Withheld(payload, index)
	if len(follow) == 0 {
		return
	}
	if len(follow) > l.cfg.MaxRecord {
		l.cfg.Logger.Error("audit notice is too long and was dropped", "index", index, "bytes", len(follow))
		return
	}
	l.mu.Lock()
	l.queue.add(follow, nil, monotonic())
	l.mu.Unlock()
}

// tryDisk finds out whether an unhealthy log can be written again, without a
// record: it writes a zero where zeros are, or begins a new segment.
func (l *Log) tryDisk() error {
	seg, err := l.segmentFor(1)
	if err != nil {
		return err
	}
	begun := l.startIO()
	if err := seg.try(); err != nil {
		l.fail(err)
		return nil
	}
	l.mu.Lock()
	l.succeeded(monotonic().Sub(begun))
	l.mu.Unlock()
	return nil
}

// segmentFor returns the segment in use, or a new one if there is none or it
// has no room for a frame of n bytes. It waits for the preparer, for ever if
// need be: those whose records wait are answered by the watchdog.
func (l *Log) segmentFor(n int) (*segment, error) {
	if l.seg != nil && l.seg.size-l.seg.end >= int64(n) {
		return l.seg, nil
	}
	l.dropSegment()
	// The first failure is met at once by the segment that lies ready; after
	// more, the disk is given time.
	if l.failures > 1 {
		if err := l.pause(min(50*time.Millisecond<<min(l.failures, 10), 2*time.Second)); err != nil {
			return nil, err
		}
	}
	l.setStarved(true)
	defer l.setStarved(false)
	select {
	case s := <-l.spares:
		s.head = header{seed: l.chain, number: s.number, first: l.nextIdx, size: s.size, begun: l.cfg.Clock.Now().UnixNano()}
		l.seg = s
		return s, nil
	case <-l.giveUp:
		return nil, errGaveUp
	}
}

// setStarved tells the preparer and the watchdog that the writer waits for a
// segment. Only failures to prepare one from now on count.
func (l *Log) setStarved(starved bool) {
	if starved {
		l.prepareErr.Store(nil)
		select {
		case l.hungry <- struct{}{}:
		default:
		}
	}
	l.mu.Lock()
	l.starved = starved
	l.mu.Unlock()
}

// pause waits, but not for a log that is given up.
func (l *Log) pause(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-l.giveUp:
		return errGaveUp
	}
}

// fail closes the segment in use for ever. If it holds no durable record it is
// removed: the next one begins with the same index. The first failure is met by
// changing the segment; after the second in a row, callers are refused.
func (l *Log) fail(cause error) {
	seg := l.seg
	l.failures++
	l.cfg.Logger.Error("audit segment failed and is closed", slog.String("segment", seg.name),
		slog.Int("failures", l.failures), slog.Any("error", cause))
	l.dropSegment()
	if seg.end == headerSize {
		if err := l.cfg.FS.Remove(l.path(seg.name)); err != nil {
			l.cfg.Logger.Warn("failed audit segment stays", slog.String("segment", seg.name), slog.Any("error", err))
		}
	}
	if l.failures > 1 {
		l.mu.Lock()
		l.refuse(cause)
		l.mu.Unlock()
	}
}

// refuse lets Append and Healthy fail until a write succeeds. l.mu is held.
func (l *Log) refuse(cause error) {
	l.failing = fmt.Errorf("%w: %w", ErrFailing, cause)
	l.setHealth(l.failing)
	l.withholdAll(l.failing)
}

// dropSegment closes the segment in use, if there is one. Everything durable in
// it has been synced, so closing cannot lose anything.
func (l *Log) dropSegment() {
	if l.seg == nil {
		return
	}
	if err := l.seg.file.Close(); err != nil {
		l.cfg.Logger.Warn("closing an audit segment", slog.String("segment", l.seg.name), slog.Any("error", err))
	}
	l.seg = nil
}

// watch is the watchdog's goroutine.
func (l *Log) watch() {
	t := time.NewTicker(max(l.cfg.LateAfter/10, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-t.C:
			l.check(monotonic())
		case <-l.quit:
			return
		}
	}
}

// check answers those who have waited too long and sees to it that an
// unhealthy log tries the disk.
func (l *Log) check(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.prepareErr.Load(); err != nil && l.failing == nil && l.starved {
		l.refuse(*err)
	}
	if l.closed && l.failing != nil {
		l.stopTrying()
	}
	if l.failing == nil && l.late(now) {
		l.setHealth(fmt.Errorf("%w: no commit within %s", ErrLate, l.cfg.LateAfter))
		l.withholdLate(now)
	}
	if l.health.Load() != nil && l.idle && !l.closed {
		l.probe, l.idle = true, false
		l.wake <- struct{}{} // idle was true: the channel is empty
	}
}

// late reports whether a write or somebody's wait has taken too long. l.mu is
// held.
func (l *Log) late(now time.Time) bool {
	if !l.busy.IsZero() && now.Sub(l.busy) >= l.cfg.LateAfter {
		return true
	}
	for _, entries := range [][]entry{l.inflight, l.queue.entries} {
		for _, e := range entries {
			if now.Sub(e.since) < l.cfg.LateAfter {
				break // the rest came later
			}
			if e.w != nil && !e.w.settled.Load() {
				return true
			}
		}
	}
	return false
}

// withholdLate answers those who have waited too long. l.mu is held.
func (l *Log) withholdLate(now time.Time) {
	for _, entries := range [][]entry{l.inflight, l.queue.entries} {
		for _, e := range entries {
			if now.Sub(e.since) < l.cfg.LateAfter {
				break
			}
			if e.w != nil && e.w.claim() {
				e.w.answer <- result{err: ErrLate}
			}
		}
	}
}
