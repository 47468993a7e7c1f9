package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// patient is a lateness that no test machine reaches unless a test wants it.
const patient = time.Minute

// open opens a log over fs, which closes with the test.
func open(t testing.TB, cfg Config) (*Log, Recovery) {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = "/log"
	}
	if cfg.SegmentSize == 0 {
		cfg.SegmentSize = 4096
	}
	if cfg.MaxRecord == 0 {
		cfg.MaxRecord = 1024
	}
	if cfg.LateAfter == 0 {
		cfg.LateAfter = patient
	}
	l, rec, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLog(t, l) })
	return l, rec
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// add appends and wants it to succeed.
func add(t testing.TB, l *Log, payload string) uint64 {
	t.Helper()
	i, err := l.Append(context.Background(), []byte(payload))
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return i
}

// all reads the log back and checks that the indexes have no gap.
func all(t testing.TB, fs FS, dir string, from uint64) []string {
	t.Helper()
	if fs == nil {
		fs = osFS{}
	}
	var got []string
	next := from
	err := read(fs, dir, from, func(i uint64, p []byte) error {
		if i != next {
			t.Errorf("index %d follows %d", i, next-1)
		}
		next++
		got = append(got, string(p))
		return nil
	})
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return got
}

func payload(i int) string { return fmt.Sprintf("record %d %s", i, strings.Repeat("x", i*37%200)) }

func TestRoundTripAndRotation(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "audit")
	const n = 300
	l, rec := open(t, Config{Dir: dir, SegmentSize: 2048})
	if rec != (Recovery{}) {
		t.Errorf("recovery of a new log: %+v", rec)
	}
	for i := range n / 2 {
		if got := add(t, l, payload(i)); got != uint64(i) {
			t.Fatalf("index %d, want %d", got, i)
		}
	}
	closeLog(t, l)
	l, rec = open(t, Config{Dir: dir, SegmentSize: 1536}) // another size from here on
	if rec.Records != n/2 || rec.Repaired {
		t.Errorf("recovery after a clean end: %+v", rec)
	}
	for i := n / 2; i < n; i++ {
		add(t, l, payload(i))
	}
	if l.Durable() != n {
		t.Errorf("Durable() = %d, want %d", l.Durable(), n)
	}
	for _, from := range []int{0, 1, n / 2, n - 1, n, n + 10} {
		got := all(t, nil, dir, uint64(from)) // beside the live writer
		if len(got) != max(0, n-from) {
			t.Fatalf("from %d: %d records, want %d", from, len(got), max(0, n-from))
		}
		for i, p := range got {
			if p != payload(from+i) {
				t.Fatalf("record %d is %q", from+i, p)
			}
		}
	}
	segs, err := list(osFS{}, dir)
	if err != nil || len(segs) < 10 {
		t.Errorf("%d segments, %v: rotation was not tried", len(segs), err)
	}
	stop := errors.New("stop")
	if err := Read(dir, 0, func(uint64, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Read hides the error of its function: %v", err)
	}
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l, _ := open(t, Config{Dir: dir})
	add(t, l, "x")
	for _, path := range []string{dir, filepath.Join(dir, segmentName(1))} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: others may do %v, %v", path, info.Mode().Perm(), err)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for _, cfg := range []Config{
		{}, {Dir: "x", SegmentSize: 64}, {Dir: "x", SegmentSize: maxSegment + 1}, {Dir: "x", MaxRecord: maxPayload + 1},
		{Dir: "x", MaxRecord: -1}, {Dir: "x", LateAfter: -1}, {Dir: "x", SegmentSize: 1024, MaxRecord: 1024},
	} {
		cfg.FS = newFakeFS()
		if l, _, err := Open(cfg); err == nil {
			closeLog(t, l)
			t.Errorf("%+v was accepted", cfg)
		}
	}
	for _, name := range []string{"write", "sync", "datasync", "create", "syncdir"} {
		fs := newFakeFS()
		fs.before = func(op, _ string) error {
			if op == name {
				return errors.New("injected")
			}
			return nil
		}
		if l, _, err := Open(Config{Dir: "x", FS: fs, SegmentSize: 4096}); err == nil {
			closeLog(t, l)
			t.Errorf("opened although %s fails", name)
		}
	}
}

func TestSizes(t *testing.T) {
	l, _ := open(t, Config{FS: newFakeFS(), MaxRecord: 100})
	for _, n := range []int{0, 101} {
		if _, err := l.Append(context.Background(), make([]byte, n)); !errors.Is(err, ErrSize) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	add(t, l, strings.Repeat("x", 100))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.Append(ctx, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	if l.Durable() != 1 {
		t.Errorf("%d records, want 1", l.Durable())
	}
}

// TestAppendAll: a list goes into the log whole and in its order, and one bad
// payload in it is an error that loses none of those before it.
func TestAppendAll(t *testing.T) {
	l, _ := open(t, Config{Dir: t.TempDir(), SegmentSize: 4096, MaxRecord: 100})
	var want [][]byte
	for i := range 200 {
		want = append(want, fmt.Appendf(nil, "record %03d", i))
	}
	if err := l.AppendAll(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	err := l.AppendAll(t.Context(), [][]byte{[]byte("good"), bytes.Repeat([]byte("x"), 101), []byte("after")})
	if !errors.Is(err, ErrSize) {
		t.Errorf("a payload that is too long: %v", err)
	}
	want = append(want, []byte("good"))
	var got [][]byte
	if err := Read(l.cfg.Dir, 0, func(_ uint64, p []byte) error {
		got = append(got, bytes.Clone(p))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(want, got, bytes.Equal) {
		t.Errorf("got %d records, want %d in their order", len(got), len(want))
	}
}

func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, Config{Dir: dir, SegmentSize: 16 << 10})
	const workers, each = 16, 100
	index := make([][]uint64, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				got, err := l.Append(context.Background(), fmt.Appendf(nil, "%d/%d", w, i))
				if err != nil {
					t.Error(err)
					return
				}
				index[w] = append(index[w], got)
			}
		})
	}
	wg.Wait()
	got := all(t, nil, dir, 0)
	if len(got) != workers*each {
		t.Fatalf("%d records, want %d", len(got), workers*each)
	}
	for w := range index {
		for i, at := range index[w] {
			if want := fmt.Sprintf("%d/%d", w, i); got[at] != want {
				t.Errorf("record %d is %q, want %q", at, got[at], want)
			}
		}
	}
}

func TestClose(t *testing.T) {
	l, _ := open(t, Config{FS: newFakeFS()})
	add(t, l, "x")
	closeLog(t, l)
	closeLog(t, l)
	if _, err := l.Append(context.Background(), []byte("y")); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
	if err := l.Healthy(); !errors.Is(err, ErrClosed) {
		t.Errorf("Healthy after Close: %v", err)
	}
}

// tail returns a folder with one segment of some records, and where its frames
// begin.
func tail(t *testing.T, records int) (dir string, starts []int64, content []byte) {
	t.Helper()
	dir = t.TempDir()
	l, _ := open(t, Config{Dir: dir})
	at := int64(headerSize)
	for i := range records {
		add(t, l, payload(i))
		starts = append(starts, at)
		at += frameOverhead + int64(len(payload(i)))
	}
	starts = append(starts, at)
	closeLog(t, l)
	content, err := os.ReadFile(filepath.Join(dir, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	return dir, starts, content
}

// reopened writes content as the only segment, opens the log, and checks that
// it holds want records, takes another, and is clean when opened again.
func reopened(t *testing.T, dir string, content []byte, want int) Recovery {
	t.Helper()
	fs := newFakeFS()
	name := filepath.Join(dir, segmentName(1))
	n := &fakeNode{cache: bytes.Clone(content), disk: bytes.Clone(content), dirty: map[int]bool{}}
	fs.names[name], fs.durable[name] = n, n
	l, rec := open(t, Config{Dir: dir, FS: fs})
	if rec.Records != uint64(want) {
		t.Fatalf("%d records, want %d; %+v", rec.Records, want, rec)
	}
	add(t, l, "more")
	closeLog(t, l)
	got := all(t, fs, dir, 0)
	if len(got) != want+1 || got[want] != "more" {
		t.Fatalf("after repair and one more: %q, want %d and \"more\"", got, want)
	}
	for i := range want {
		if got[i] != payload(i) {
			t.Fatalf("record %d is %q", i, got[i])
		}
	}
	if rec.Saved != "" {
		saved := fs.names[filepath.Join(dir, rec.Saved)]
		if saved == nil || !bytes.Equal(saved.disk, content[rec.Offset:rec.Offset+rec.Bytes]) {
			t.Fatalf("what was cut was not kept aside: %+v", rec)
		}
	}
	l, again := open(t, Config{Dir: dir, FS: fs.crash(keepNone)})
	if again.Repaired || again.Records != uint64(want+1) {
		t.Fatalf("repaired twice: %+v", again)
	}
	closeLog(t, l)
	return rec
}

func TestTruncatedTail(t *testing.T) {
	dir, starts, content := tail(t, 5)
	for cut := starts[2]; cut <= starts[5]; cut++ {
		want := 0
		for want < 5 && starts[want+1] <= cut {
			want++
		}
		// Once the file is shorter, once its end was never written.
		rec := reopened(t, dir, content[:cut], want)
		if !rec.Repaired || rec.Offset != starts[want] || rec.Bytes > cut-starts[want] || rec.Damaged {
			t.Fatalf("cut at %d: %+v, want offset %d", cut, rec, starts[want])
		}
		zeroed := append(bytes.Clone(content[:cut]), make([]byte, len(content)-int(cut))...)
		rec = reopened(t, dir, zeroed, want)
		if rec.Repaired != (cut != starts[want]) {
			t.Fatalf("zeroed from %d: %+v", cut, rec)
		}
	}
}

func TestBitFlip(t *testing.T) {
	dir, starts, content := tail(t, 4)
	for at := starts[0]; at < starts[4]; at++ {
		want := 0
		for starts[want+1] <= at {
			want++
		}
		flipped := bytes.Clone(content)
		flipped[at] ^= 1 << (at % 8)
		rec := reopened(t, dir, flipped, want)
		if !rec.Repaired || rec.Segment != segmentName(1) || rec.Offset != starts[want] {
			t.Fatalf("flip at %d: %+v", at, rec)
		}
	}
	// A frame that was lost as a whole, before one that was not.
	gap := bytes.Clone(content)
	clear(gap[starts[1]:starts[2]])
	reopened(t, dir, gap, 1)
	// Frames that are good, but elsewhere.
	swapped := bytes.Clone(content[:starts[1]])
	swapped = append(swapped, content[starts[2]:starts[3]]...)
	swapped = append(swapped, content[starts[1]:starts[2]]...)
	reopened(t, dir, append(swapped, content[starts[3]:]...), 1)
}

func TestDamagedHead(t *testing.T) {
	dir, _, content := tail(t, 2)
	for _, at := range []int{0, 8, 12, 30, 50, 63} {
		fs := newFakeFS()
		flipped := bytes.Clone(content)
		flipped[at] ^= 4
		fs.names[filepath.Join(dir, segmentName(1))] = &fakeNode{cache: flipped, dirty: map[int]bool{}}
		l, _, err := Open(Config{Dir: dir, FS: fs, SegmentSize: 4096})
		if err == nil {
			closeLog(t, l)
			t.Fatalf("flip at %d in the head: opened", at)
		}
		if !strings.Contains(err.Error(), segmentName(1)) {
			t.Errorf("the error does not name the file: %v", err)
		}
		if !bytes.Equal(fs.names[filepath.Join(dir, segmentName(1))].cache, flipped) {
			t.Fatal("a segment that was not understood was changed")
		}
		if err := read(fs, dir, 0, func(uint64, []byte) error { return nil }); err == nil {
			t.Errorf("flip at %d in the head: Read said nothing", at)
		}
	}
}

// Damage in an older segment does not stop the server, but every reader.
func TestDamageInside(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, Config{Dir: dir})
	for i := range 100 {
		add(t, l, payload(i))
	}
	closeLog(t, l)
	path := filepath.Join(dir, segmentName(2))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[200] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	n := 0
	err = Read(dir, 0, func(uint64, []byte) error { n++; return nil })
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), segmentName(2)) || n == 0 {
		t.Errorf("Read: %d records, %v", n, err)
	}
	l, rec := open(t, Config{Dir: dir})
	if rec.Repaired || rec.Records != 100 {
		t.Errorf("recovery: %+v", rec)
	}
	add(t, l, "more")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := Read(dir, 0, func(uint64, []byte) error { return nil }); !errors.Is(err, ErrDamaged) {
		t.Errorf("Read without a segment: %v", err)
	}
}

// crashes runs a random life of a log that ends in crashes of the machine, and
// returns how many acknowledged records were missing afterwards.
func crashes(t *testing.T, seed uint64, lazy bool) (missing int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	fs := newFakeFS()
	acked := map[uint64]string{}
	for life := range 4 {
		fs.lazy = lazy
		l, rec, err := Open(Config{Dir: "/log", FS: fs, SegmentSize: 4096, MaxRecord: 1024, LateAfter: patient})
		if err != nil {
			if lazy {
				return missing + len(acked)
			}
			t.Fatalf("seed %d: %v", seed, err)
		}
		if rec.Damaged {
			t.Errorf("seed %d: a crash is taken for damage: %+v", seed, rec)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		for w := range 4 {
			n := r.IntN(30)
			wg.Go(func() {
				for i := range n {
					p := fmt.Sprintf("%d/%d/%s", life, w, payload(i))
					index, err := l.Append(context.Background(), []byte(p))
					if err == nil {
						mu.Lock()
						acked[index] = p
						mu.Unlock()
					}
				}
			})
		}
		if r.IntN(2) == 0 {
			wg.Wait() // else crash in the middle
		}
		mu.Lock()
		before := len(acked)
		want := make(map[uint64]string, before)
		for i, p := range acked {
			want[i] = p
		}
		after := fs.crash(keepSome(r))
		mu.Unlock()
		wg.Wait()
		closeLog(t, l)
		fs, acked = after, want
		missing += lost(t, after, want)
	}
	return missing
}

// lost recovers a copy of the log and counts the acknowledged records that it
// does not hold.
func lost(t *testing.T, fs *fakeFS, want map[uint64]string) (n int) {
	t.Helper()
	copied := fs.crash(keepNone)
	l, _, err := Open(Config{Dir: "/log", FS: copied, SegmentSize: 4096})
	if err != nil {
		t.Logf("open: %v", err)
		return len(want)
	}
	closeLog(t, l)
	got := map[uint64]string{}
	if err := read(copied, "/log", 0, func(i uint64, p []byte) error { got[i] = string(p); return nil }); err != nil {
		t.Logf("read: %v", err)
	}
	for i, p := range want {
		if got[i] != p {
			n++
		}
	}
	return n
}

func TestNothingAcknowledgedIsForgotten(t *testing.T) {
	for seed := range uint64(40) {
		if n := crashes(t, seed, false); n > 0 {
			t.Errorf("seed %d: %d acknowledged records missing after a crash", seed, n)
		}
	}
	// The same without syncs must be noticed, or the test proves nothing.
	n := 0
	for seed := range uint64(5) {
		n += crashes(t, seed, true)
	}
	if n == 0 {
		t.Error("a log that never syncs passes this test")
	}
}
