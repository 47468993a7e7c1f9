package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Tests of this file run in a synctest bubble: time passes only when every
// goroutine of the log waits, so that lateness needs no patience and is exact.

const late = 500 * time.Millisecond

// hold makes calls wait until it is released.
type hold struct {
	mu     sync.Mutex
	closed chan struct{}
}

func (h *hold) set() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = make(chan struct{})
}

func (h *hold) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.closed)
	h.closed = nil
}

func (h *hold) wait() {
	h.mu.Lock()
	c := h.closed
	h.mu.Unlock()
	if c != nil {
		<-c
	}
}

func withheld(p []byte, index uint64) []byte { return fmt.Appendf(nil, "withheld %d: %s", index, p) }

// faults makes operations fail while its condition says so.
type faults struct {
	on atomic.Pointer[func(op, name string) error]
}

func (f *faults) set(fail func(op, name string) error) { f.on.Store(&fail) }
func (f *faults) clear()                               { f.on.Store(nil) }
func (f *faults) before(op, name string) error {
	if fail := f.on.Load(); fail != nil {
		return (*fail)(op, name)
	}
	return nil
}

var errInjected = errors.New("injected")

// once fails the given operation on used segments the first n times.
func first(n int32, wanted string, err error) func(op, name string) error {
	var count atomic.Int32
	return func(op, _ string) error {
		if op == wanted && count.Add(1) <= n {
			return err
		}
		return nil
	}
}

// One failure of the disk: nobody notices but the log, which changes the
// segment. What was in the failed one counts once.
func TestOneFailureChangesTheSegment(t *testing.T) {
	for _, c := range []struct {
		op  string
		err error
	}{{"write", errInjected}, {"write", errHalfWritten}, {"datasync", errInjected}} {
		for before := range 3 {
			synctest.Test(t, func(t *testing.T) {
				fs, f := newFakeFS(), &faults{}
				fs.before = f.before
				l, _ := open(t, Config{FS: fs, LateAfter: late, Withheld: withheld})
				var want []string
				for i := range before {
					add(t, l, payload(i))
					want = append(want, payload(i))
				}
				synctest.Wait() // the next segment lies ready
				f.set(first(1, c.op, c.err))
				add(t, l, "during")
				add(t, l, "after")
				want = append(want, "during", "after")
				if err := l.Healthy(); err != nil {
					t.Errorf("Healthy: %v", err)
				}
				if got := all(t, fs, "/log", 0); !slices.Equal(got, want) {
					t.Errorf("live: %q, want %q", got, want)
				}
				failed := slices.Contains(fs.files(), "/log/"+segmentName(1))
				if failed != (before > 0) {
					t.Errorf("failed segment with %d records: on disk %t", before, failed)
				}
				closeLog(t, l)
				for _, after := range []*fakeFS{fs.crash(keepNone), fs} { // machine, process
					l, rec := open(t, Config{FS: after, LateAfter: late})
					if rec.Repaired || rec.Records != uint64(len(want)) {
						t.Errorf("recovery: %+v", rec)
					}
					if got := all(t, after, "/log", 0); !slices.Equal(got, want) {
						t.Errorf("reopened: %q, want %q", got, want)
					}
					closeLog(t, l)
				}
			})
		}
	}
}

// A disk that keeps failing: nothing is acknowledged, everything is refused,
// and both end by themselves when it is mended. What was refused is followed by
// a notice.
func TestFailingDisk(t *testing.T) {
	for _, op := range []string{"write", "datasync"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs, f := newFakeFS(), &faults{}
				fs.before = f.before
				l, _ := open(t, Config{FS: fs, LateAfter: late, Withheld: withheld})
				add(t, l, "good")
				f.set(first(1<<30, op, errInjected))
				_, err := l.Append(context.Background(), []byte("bad"))
				if !errors.Is(err, ErrFailing) && !errors.Is(err, ErrLate) {
					t.Fatalf("Append on a failing disk: %v", err)
				}
				time.Sleep(time.Second)
				if err := l.Healthy(); !errors.Is(err, ErrFailing) || !errors.Is(err, errInjected) {
					t.Errorf("Healthy: %v", err)
				}
				begun := time.Now()
				if _, err := l.Append(context.Background(), []byte("refused at once")); !errors.Is(err, ErrFailing) || time.Since(begun) > 0 {
					t.Errorf("Append while failing: %v after %s", err, time.Since(begun))
				}
				if l.Durable() != 1 {
					t.Errorf("%d records durable, want 1", l.Durable())
				}
				f.clear()
				for l.Healthy() != nil {
					time.Sleep(late)
				}
				add(t, l, "after")
				want := []string{"good", "bad", "withheld 1: bad", "after"}
				if got := all(t, fs, "/log", 0); !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
				if n := len(fs.files()); n > 4 {
					t.Errorf("%d files after many failures: failed segments pile up", n)
				}
			})
		})
	}
}

// A disk without room for the next segment: harmless until it is needed.
func TestNoRoomForTheNextSegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, f := newFakeFS(), &faults{}
		fs.before = f.before
		l, _ := open(t, Config{FS: fs, LateAfter: late, SegmentSize: 2048, Withheld: withheld})
		synctest.Wait()
		f.set(first(1<<30, "create", errInjected))
		n := 0
		var err error
		for ; err == nil && n < 1000; n++ {
			_, err = l.Append(context.Background(), []byte(strings.Repeat("x", 100)))
		}
		if !errors.Is(err, ErrFailing) || !errors.Is(err, errInjected) {
			t.Fatalf("Append without room: %v", err)
		}
		if n < 20 {
			t.Errorf("only %d records went into two segments", n)
		}
		f.clear()
		for l.Healthy() != nil {
			time.Sleep(late)
		}
		add(t, l, "after")
		got := all(t, fs, "/log", 0)
		if len(got) != n+2 || !strings.HasPrefix(got[n], "withheld") || got[n+1] != "after" {
			t.Errorf("%d records, %q at the end", len(got), got[len(got)-2:])
		}
	})
}

// A sync that hangs: after LateAfter all who wait are refused, Healthy says so,
// and when the disk comes back the records are followed by notices.
func TestLateSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, h := newFakeFS(), &hold{}
		fs.before = func(op, _ string) error {
			if op == "datasync" {
				h.wait()
			}
			return nil
		}
		l, _ := open(t, Config{FS: fs, LateAfter: late, Withheld: withheld})
		add(t, l, "good")
		h.set()
		begun := time.Now()
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				_, err := l.Append(context.Background(), fmt.Appendf(nil, "late %d", i))
				if !errors.Is(err, ErrLate) {
					t.Errorf("Append with a hanging sync: %v", err)
				}
				if err := l.Healthy(); !errors.Is(err, ErrLate) {
					t.Errorf("Healthy with a hanging sync: %v", err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begun); took < late || took > late+late/5 {
			t.Errorf("refused after %s, want %s", took, late)
		}
		ctx, cancel := context.WithTimeout(context.Background(), late/10)
		defer cancel()
		if _, err := l.Append(ctx, []byte("impatient")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Append with an ended context: %v", err)
		}
		if l.Durable() != 1 {
			t.Errorf("%d records durable, want 1", l.Durable())
		}
		h.release()
		for l.Healthy() != nil {
			time.Sleep(late / 10)
		}
		add(t, l, "after")
		got := all(t, fs, "/log", 0)
		if len(got) != 10 || got[9] != "after" {
			t.Fatalf("got %d records: %q", len(got), got)
		}
		for i := 1; i < 9; i++ {
			if strings.HasPrefix(got[i], "withheld") {
				continue
			}
			if want := fmt.Sprintf("withheld %d: %s", i, got[i]); !slices.Contains(got[i+1:], want) {
				t.Errorf("record %d %q is not followed by %q: %q", i, got[i], want, got)
			}
		}
	})
}

// An unhealthy log without traffic finds out by itself that the disk is back:
// callers who ask Healthy first send it nothing.
func TestLateLogMendsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, h := newFakeFS(), &hold{}
		fs.before = func(op, _ string) error {
			if op == "datasync" {
				h.wait()
			}
			return nil
		}
		l, _ := open(t, Config{FS: fs, LateAfter: late}) // no notices either
		h.set()
		if _, err := l.Append(context.Background(), []byte("late")); !errors.Is(err, ErrLate) {
			t.Fatalf("Append: %v", err)
		}
		time.Sleep(10 * late)
		if err := l.Healthy(); !errors.Is(err, ErrLate) {
			t.Errorf("Healthy while the sync hangs: %v", err)
		}
		h.release()
		time.Sleep(late / 2)
		if err := l.Healthy(); err != nil {
			t.Errorf("Healthy after the sync came back: %v", err)
		}
		if got := all(t, fs, "/log", 0); !slices.Equal(got, []string{"late"}) {
			t.Errorf("trying the disk left records: %q", got)
		}
		add(t, l, "after")
	})
}

// A disk that takes writes, but slowly, does not make the log healthy.
func TestSlowDiskStaysUnhealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		var slow atomic.Bool
		fs.before = func(op, _ string) error {
			if op == "datasync" && slow.Load() {
				time.Sleep(2 * late)
			}
			return nil
		}
		l, _ := open(t, Config{FS: fs, LateAfter: late, Withheld: withheld})
		slow.Store(true)
		if _, err := l.Append(context.Background(), []byte("late")); !errors.Is(err, ErrLate) {
			t.Fatalf("Append: %v", err)
		}
		for range 1000 {
			if l.Healthy() == nil {
				t.Fatal("healthy, though each commit is late")
			}
			time.Sleep(late / 50)
		}
		slow.Store(false)
		time.Sleep(5 * late)
		if err := l.Healthy(); err != nil {
			t.Errorf("Healthy with a quick disk: %v", err)
		}
	})
}

// Close with a stuck sync returns when its context ends, and lets nobody wait.
func TestCloseWithStuckSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, h := newFakeFS(), &hold{}
		fs.before = func(op, _ string) error {
			if op == "datasync" {
				h.wait()
			}
			return nil
		}
		l, _ := open(t, Config{FS: fs, LateAfter: patient})
		add(t, l, "good")
		h.set()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := l.Append(context.Background(), []byte("stuck")); !errors.Is(err, ErrClosed) {
				t.Errorf("Append of a log that closed: %v", err)
			}
		})
		synctest.Wait()
		begun := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close with a stuck sync: %v", err)
		}
		wg.Wait()
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("Close waited %s, was allowed 3s", took)
		}
		h.release() // now the goroutines end; the bubble checks that they do
		closeLog(t, l)
	})
}

// Closing while the disk fails ends too, and says that records are missing.
func TestCloseWhileFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, f := newFakeFS(), &faults{}
		fs.before = f.before
		l, _, err := Open(Config{Dir: "/log", FS: fs, SegmentSize: 4096, LateAfter: late})
		if err != nil {
			t.Fatal(err)
		}
		f.set(first(1<<30, "datasync", errInjected))
		if _, err := l.Append(context.Background(), []byte("x")); err == nil {
			t.Fatal("acknowledged without a sync")
		}
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		if err := l.Close(ctx); !errors.Is(err, errInjected) {
			t.Errorf("Close: %v", err)
		}
	})
}

// After a failed sync the kernel takes the pages for clean. A record of such a
// batch that is read back at the next start must be written again, or a crash
// of the machine takes it away from under those that follow.
func TestRecordsOfAFailedSyncAreWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, f := newFakeFS(), &faults{}
		fs.before = f.before
		l, _, err := Open(Config{Dir: "/log", FS: fs, SegmentSize: 8192, MaxRecord: 2048, LateAfter: late})
		if err != nil {
			t.Fatal(err)
		}
		add(t, l, "good")
		synctest.Wait()
		var written atomic.Int32
		f.set(func(op, name string) error {
			// The batch is written and its sync fails; the next segment takes no
			// write at all.
			if op == "datasync" || op == "write" && written.Add(1) > 1 {
				return errInjected
			}
			return nil
		})
		lost := strings.Repeat("y", 2000)
		if _, err := l.Append(context.Background(), []byte(lost)); err == nil {
			t.Fatal("acknowledged without a sync")
		}
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		if err := l.Close(ctx); err == nil {
			t.Error("Close says that everything was written")
		}
		f.clear()
		l, rec := open(t, Config{FS: fs, SegmentSize: 8192, MaxRecord: 2048})
		if rec.Records != 2 {
			t.Fatalf("%+v: want the record of the failed sync, which the page cache still has", rec)
		}
		add(t, l, "acknowledged")
		if got, want := all(t, fs.crash(keepNone), "/log", 0), []string{"good", lost, "acknowledged"}; !slices.Equal(got, want) {
			t.Errorf("after the crash: %d records, want %d", len(got), len(want))
		}
	})
}

// A full queue refuses instead of growing.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, h := newFakeFS(), &hold{}
		fs.before = func(op, _ string) error {
			if op == "datasync" {
				h.wait()
			}
			return nil
		}
		l, _ := open(t, Config{FS: fs, SegmentSize: 4 << 20, MaxRecord: maxPayload})
		h.set()
		var wg sync.WaitGroup
		var failed, good atomic.Int32
		appendOne := func() {
			switch _, err := l.Append(context.Background(), make([]byte, maxPayload)); {
			case err == nil:
				good.Add(1)
			case errors.Is(err, ErrFailing):
				failed.Add(1)
			default:
				t.Error(err)
			}
		}
		wg.Go(appendOne)
		synctest.Wait() // the writer has this one
		for range 20 {
			wg.Go(appendOne)
		}
		synctest.Wait()
		if n := failed.Load(); n != 20-maxQueue>>20 {
			t.Errorf("%d of 20 records of a megabyte refused, want %d", n, 20-maxQueue>>20)
		}
		h.release()
		wg.Wait()
		if got := len(all(t, fs, "/log", 0)); got != int(good.Load()) {
			t.Errorf("%d records, %d acknowledged", got, good.Load())
		}
	})
}
