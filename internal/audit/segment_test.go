package audit

import (
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// The rule for a failed segment that holds more than counts.
func TestFailedSegmentOverridden(t *testing.T) {
	fs := newFakeFS()
	chain := uint32(7)
	put := func(number, firstIndex uint64, seed uint32, payloads ...string) (at []uint32) {
		b := header{seed: seed, number: number, first: firstIndex, size: 4096}.encode()
		c := seed
		for i, p := range payloads {
			frame := append(make([]byte, frameOverhead), p...)
			c = sealFrame(frame, firstIndex+uint64(i), c)
			at = append(at, c)
			b = append(b, frame...)
		}
		b = append(b, make([]byte, 4096-len(b))...)
		n := &fakeNode{cache: b, disk: b, dirty: map[int]bool{}}
		fs.names[filepath.Join("/log", segmentName(number))] = n
		return at
	}
	at := put(1, 0, chain, "a", "b", "unacknowledged c", "unacknowledged d")
	put(3, 2, at[1])                 // failed with its first batch
	at = put(4, 2, at[1], "c", "d")  // whose records are here
	put(5, 4, at[1], "e")            //
	fs.names["/log/other.txt"] = nil // not ours
	want := []string{"a", "b", "c", "d", "e"}
	for from := range len(want) {
		if got := all(t, fs, "/log", uint64(from)); !slices.Equal(got, want[from:]) {
			t.Errorf("from %d: %q, want %q", from, got, want[from:])
		}
	}
	l, rec := open(t, Config{FS: fs})
	if rec.Records != 5 || rec.Repaired {
		t.Errorf("recovery: %+v", rec)
	}
	if i := add(t, l, "f"); i != 5 {
		t.Errorf("index %d, want 5", i)
	}
}

// Segments that were prepared by an earlier process are used, if they are what
// they should be.
func TestPreparedSegments(t *testing.T) {
	for name, spoil := range map[string]func(fs *fakeFS, path string){
		"good":      func(*fakeFS, string) {},
		"short":     func(fs *fakeFS, path string) { fs.names[path].cache = fs.names[path].cache[:1000] },
		"no head":   func(fs *fakeFS, path string) { fs.names[path].cache = nil },
		"not empty": func(fs *fakeFS, path string) { fs.names[path].cache[3000] = 1 },
		"missing":   func(fs *fakeFS, path string) { delete(fs.names, path) },
	} {
		synctest.Test(t, func(t *testing.T) {
			fs, f := newFakeFS(), &faults{}
			fs.before = f.before
			l, _ := open(t, Config{FS: fs})
			add(t, l, "a")
			synctest.Wait()
			closeLog(t, l)
			spare := "/log/" + segmentName(2)
			spoil(fs, spare)
			var created atomic.Int32
			f.set(func(op, _ string) error {
				if op == "create" {
					created.Add(1)
				}
				return nil
			})
			l, _ = open(t, Config{FS: fs})
			synctest.Wait()
			if n := created.Load(); (n == 0) != (name == "good") {
				t.Errorf("%s: %d segments made", name, n)
			}
			for i := range 40 {
				add(t, l, strings.Repeat("x", 100+i))
			}
			if got := all(t, fs.crash(keepNone), "/log", 0); len(got) != 41 {
				t.Errorf("%s: %d records, want 41", name, len(got))
			}
		})
	}
}
