// Package audit is the log on disk that every answer waits for: a record is
// durable before a secret leaves or a refusal is told. It also counts the
// refusals that get no record of their own.
//
// It stores payloads without looking into them (record is their content) and
// trusts the process that calls it. It does not trust the disk: a write or a
// sync may fail, hang, or be forgotten in a crash, and a record is acknowledged
// only once none of that can lose it. Checksums find damage by accident; they
// are no proof against somebody who can write the files.
package audit

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opensesame-kms/opensesame/internal/clock"
)

// Config says how a log is kept. Only Dir is needed.
type Config struct {
	// Dir is the folder of the log. It is made if it does not exist and must
	// not be shared with another log or process.
	Dir string
	// SegmentSize is the length of new segments in bytes, 0 for 64 MiB. Two of
	// them are on disk from the start: the one in use and the next.
	SegmentSize int64
	// MaxRecord is the longest payload in bytes, 0 for 16 KiB, at most 1 MiB
	// less 16 bytes.
	MaxRecord int
	// LateAfter is how long a record may take to become durable, 0 for 500 ms.
	LateAfter time.Duration
	// Withheld returns the payload of the record that follows one that became
	// durable after its Append had returned an error, so that no reader takes
	// the first for an answer that was given. It is called by the writer and
	// must neither wait nor call the log; payload is valid during the call
	// only. nil, or an empty result: no such record.
	Withheld func(payload []byte, index uint64) []byte
	// FS is the file system, nil for the operating system's.
	FS FS
	// Logger is told of repairs and failures, nil for none.
	Logger *slog.Logger
	// Clock dates the segments, nil for the real one. Lateness is always
	// measured by real, monotonic time.
	Clock clock.Clock
}

const (
	defaultSegmentSize = 64 << 20
	defaultMaxRecord   = 16 << 10
	defaultLateAfter   = 500 * time.Millisecond
	// maxBatch bounds what is written and synced at once, so that one sync is
	// never long, and how far back recovery rewrites.
	maxBatch = 1 << 20
	// maxQueue bounds the memory of records that wait for a disk that hangs.
	maxQueue = 16 << 20
)

func (c *Config) setDefaults() error {
	if c.Dir == "" {
		return errors.New("audit log: no folder given")
	}
	if c.SegmentSize == 0 {
		c.SegmentSize = defaultSegmentSize
	}
	if c.MaxRecord == 0 {
		c.MaxRecord = min(defaultMaxRecord, int(c.SegmentSize)-headerSize-frameOverhead)
	}
	if c.LateAfter == 0 {
		c.LateAfter = defaultLateAfter
	}
	if c.FS == nil {
		c.FS = osFS{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = clock.Real{}
	}
	if c.MaxRecord < 1 || c.MaxRecord > maxPayload {
		return fmt.Errorf("audit log: longest record of %d bytes: want 1 to %d", c.MaxRecord, maxPayload)
	}
	if least := int64(headerSize + frameOverhead + c.MaxRecord); c.SegmentSize < least || c.SegmentSize > maxSegment {
		return fmt.Errorf("audit log: segments of %d bytes: want %d to %d", c.SegmentSize, least, int64(maxSegment))
	}
	if c.LateAfter < 0 {
		return fmt.Errorf("audit log: late after %s", c.LateAfter)
	}
	return nil
}

// Errors of Append and Healthy. After any of them the record may still become
// durable; then the record of Config.Withheld follows it.
var (
	// ErrLate: durability took longer than Config.LateAfter.
	ErrLate = errors.New("audit log is late")
	// ErrFailing: the log cannot be written; the error wraps why.
	ErrFailing = errors.New("audit log cannot be written")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("audit log is closed")
	// ErrSize: the payload is empty or longer than Config.MaxRecord. It was
	// not and will not be written.
	ErrSize = errors.New("audit record has an impossible size")
)

// Log is an open log. All methods may be called from any goroutine.
//
// Three goroutines belong to it: the writer, which alone writes and syncs
// segments in use; the preparer, which makes the next segment; the watchdog,
// which answers those who have waited too long. Appenders only copy their
// payload into memory; nobody holds a lock during I/O.
type Log struct {
	cfg Config

	// health is nil while records become durable in time.
	health  atomic.Pointer[healthError]
	durable atomic.Uint64 // index after the last durable record
	// prepareErr is why the last attempt to prepare a segment failed.
	prepareErr atomic.Pointer[error]
	// waiters are used again only after the writer's own answer: after any
	// other the writer still holds them. (One pool a log: channels must not
	// wander between tests that have a time of their own.)
	waiters sync.Pool

	mu       sync.Mutex // protects the following
	queue    *batch     // waits for the writer
	inflight []entry    // of the batch that the writer has, not settled yet
	busy     time.Time  // since when the writer is at the present I/O; zero: not
	idle     bool       // the writer waits for wake
	probe    bool       // the writer is asked to try the disk
	starved  bool       // the writer waits for a segment
	failing  error      // not nil: Append refuses at once
	closed   bool
	gaveUp   bool // giveUp is closed

	wake   chan struct{} // capacity 1: something for an idle writer
	spares chan *segment // from the preparer to the writer
	hungry chan struct{} // capacity 1: the writer waits for a spare
	giveUp chan struct{} // closed when Close stops waiting
	quit   chan struct{} // closed when the writer has ended
	done   chan struct{} // closed when all goroutines have ended

	// Of the writer alone, and of Open before it starts.
	seg      *segment // nil after a failure
	nextIdx  uint64   // of the next record
	chain    uint32   // CRC of the last durable frame
	failures int      // in a row
	free     *batch   // emptied, to be used again
}

type healthError struct{ err error }

// result is the answer to one Append.
type result struct {
	index uint64
	err   error
}

// waiter is one Append. Its state is settled once, by whoever is first: the
// writer (durable), the watchdog (late) or the caller (context ended).
type waiter struct {
	settled atomic.Bool
	answer  chan result // capacity 1: answering never blocks
}

// newWaiter returns a waiter, used before or new.
func (l *Log) newWaiter() *waiter {
	if w, ok := l.waiters.Get().(*waiter); ok {
		w.settled.Store(false)
		return w
	}
	return &waiter{answer: make(chan result, 1)}
}

// claim reports whether the caller is the one to answer.
func (w *waiter) claim() bool { return w.settled.CompareAndSwap(false, true) }

// entry is a record in a batch. It does not change once queued.
type entry struct {
	start, end int       // its frame in the batch's buffer
	since      time.Time // when it was appended
	w          *waiter   // nil: nobody waits (a notice)
}

// batch holds frames one after the other. Heads are filled in by the writer.
type batch struct {
	buf     []byte
	entries []entry
}

func (b *batch) add(payload []byte, w *waiter, now time.Time) {
	start := len(b.buf)
	b.buf = append(b.buf, make([]byte, frameOverhead)...)
	b.buf = append(b.buf, payload...)
	b.entries = append(b.entries, entry{start, len(b.buf), now, w})
}

// reset empties b. A buffer that grew while the disk hung is let go.
func (b *batch) reset() {
	clear(b.entries)
	b.entries = b.entries[:0]
	if cap(b.buf) > 2*maxBatch {
		b.buf = nil
	}
	b.buf = b.buf[:0]
}

// Open recovers the log in cfg.Dir, or begins one, and starts its goroutines.
// The log can be written when Open returns. Recovery tells what was found and
// repaired. Records that were durable, but whose Append had not returned when
// the process ended, are in the log without a notice: nobody knows any more
// whether they were answered.
func Open(cfg Config) (*Log, Recovery, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, Recovery{}, err
	}
	l := &Log{
		cfg:    cfg,
		queue:  &batch{},
		free:   &batch{},
		wake:   make(chan struct{}, 1),
		spares: make(chan *segment),
		hungry: make(chan struct{}, 1),
		giveUp: make(chan struct{}),
		quit:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	rec, number, leftover, err := l.recover()
	if err != nil {
		return nil, Recovery{}, err
	}
	l.durable.Store(l.nextIdx)
	var running sync.WaitGroup
	running.Go(l.write)
	running.Go(func() { l.prepareAll(number, leftover) })
	running.Go(l.watch)
	go func() {
		running.Wait()
		close(l.done)
	}()
	return l, rec, nil
}

// Append adds a record and returns its index when it is durable: written and
// synced, so that neither a crash of the process nor of the machine loses it.
// payload is copied. Errors are ErrLate, ErrFailing, ErrClosed, ErrSize or that
// of ctx; with any of them the caller must act as if there were no record.
func (l *Log) Append(ctx context.Context, payload []byte) (uint64, error) {
	if len(payload) == 0 || len(payload) > l.cfg.MaxRecord {
		return 0, fmt.Errorf("%w: %d bytes, want 1 to %d", ErrSize, len(payload), l.cfg.MaxRecord)
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	w := l.newWaiter()
	if err := l.enqueue(payload, w); err != nil {
		l.waiters.Put(w)
		return 0, err
	}
	return l.await(ctx, w)
}

// await waits for the writer's answer to a record that was queued.
func (l *Log) await(ctx context.Context, w *waiter) (uint64, error) {
	var r result
	select {
	case r = <-w.answer:
	case <-ctx.Done():
		if w.claim() {
			return 0, ctx.Err()
		}
		r = <-w.answer
	}
	if r.err != nil {
		return 0, r.err
	}
	l.waiters.Put(w)
	return r.index, nil
}

// AppendAll adds records in their order and returns when all of them are
// durable, after as few syncs as possible. After an error any of them may be
// in the log; the caller gives them again. It is for whoever moves records that
// are durable elsewhere.
func (l *Log) AppendAll(ctx context.Context, payloads [][]byte) error {
	var errs []error
	waiters := make([]*waiter, 0, len(payloads))
	for _, p := range payloads {
		if len(p) == 0 || len(p) > l.cfg.MaxRecord {
			errs = append(errs, fmt.Errorf("%w: %d bytes, want 1 to %d", ErrSize, len(p), l.cfg.MaxRecord))
			break
		}
		w := l.newWaiter()
		if err := l.enqueue(p, w); err != nil {
			l.waiters.Put(w)
			errs = append(errs, err)
			break
		}
		waiters = append(waiters, w)
	}
	for _, w := range waiters {
		if _, err := l.await(ctx, w); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// enqueue hands a record to the writer.
func (l *Log) enqueue(payload []byte, w *waiter) error {
	now := monotonic()
	l.mu.Lock()
	if err := l.refusal(len(payload)); err != nil {
		l.mu.Unlock()
		return err
	}
	l.queue.add(payload, w, now)
	wake := l.idle
	l.idle = false
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{} // idle was true: the channel is empty
	}
	return nil
}

// refusal returns why a record of that size cannot be queued. l.mu is held.
func (l *Log) refusal(size int) error {
	switch {
	case l.closed:
		return ErrClosed
	case l.failing != nil:
		return l.failing
	case len(l.queue.buf)+frameOverhead+size > maxQueue:
		return fmt.Errorf("%w: %d MiB wait for the disk", ErrFailing, maxQueue>>20)
	}
	return nil
}

// Healthy returns nil if the last commit was in time, or why records cannot be
// expected to become durable in time: an error that wraps ErrLate, ErrFailing
// or ErrClosed. Ask before doing what needs a record. It costs one atomic load.
// The log tries the disk by itself and becomes healthy when that succeeds.
func (l *Log) Healthy() error {
	if h := l.health.Load(); h != nil {
		return h.err
	}
	return nil
}

// Durable returns the index after that of the last durable record, which is the
// number of records when none was ever removed.
func (l *Log) Durable() uint64 { return l.durable.Load() }

// Close refuses new records, makes the queued ones durable, and ends the log's
// goroutines. It waits no longer than ctx: with a disk that hangs it returns an
// error that wraps that of ctx, and the goroutine in the stuck call ends when
// the call does. It may be called more than once.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	wake := l.idle
	l.idle = false
	l.health.Store(&healthError{ErrClosed})
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{}
	}
	select {
	case <-l.done:
		return l.unwritten()
	case <-ctx.Done():
	}
	l.mu.Lock()
	l.stopTrying()
	l.withholdAll(ErrClosed)
	l.mu.Unlock()
	return fmt.Errorf("closing the audit log: the disk does not answer: %w", ctx.Err())
}

// unwritten returns an error if the writer ended with records in hand.
func (l *Log) unwritten() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.inflight) + len(l.queue.entries); n > 0 {
		return fmt.Errorf("closing the audit log: %d unacknowledged records were not written: %w", n, cmp.Or(l.failing, ErrClosed))
	}
	return nil
}

// stopTrying makes the writer give up instead of waiting for a usable segment.
// l.mu is held.
func (l *Log) stopTrying() {
	if !l.gaveUp {
		l.gaveUp = true
		close(l.giveUp)
	}
}

// withholdAll answers all who wait. Their records stay queued. l.mu is held,
// which keeps the writer from settling and recycling the same waiters.
func (l *Log) withholdAll(err error) {
	for _, entries := range [][]entry{l.inflight, l.queue.entries} {
		for _, e := range entries {
			if e.w != nil && e.w.claim() {
				e.w.answer <- result{err: err}
			}
		}
	}
}

// setHealth changes what Healthy says, but for a closed log. l.mu is held.
func (l *Log) setHealth(err error) {
	switch {
	case l.closed:
	case err == nil:
		l.health.Store(nil)
	default:
		l.health.Store(&healthError{err})
	}
}

// monotonic returns the time that durations are measured by. A clock set by
// hand must not make a disk late.
func monotonic() time.Time { return clock.Real{}.Now() }

// randomSeed begins the chain of a new log.
func randomSeed() (uint32, error) {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b[:]), nil
}

func (l *Log) path(name string) string { return filepath.Join(l.cfg.Dir, name) }
