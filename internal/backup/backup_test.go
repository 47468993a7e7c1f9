package backup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

var testKey = mask.NewBytes(bytes.Repeat([]byte{7}, 32))

func testHeader() Header {
	return Header{
		Program: "test", DataFormat: 1, LeastReader: 1, Region: "cn-hangzhou", Node: "node-1", Created: time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC),
		Revision: 42, RestoreEpoch: 3, Audit: true, RootKey: "file:00", WrappedKey: []byte("wrapped"), Salt: bytes.Repeat([]byte{9}, SaltSize),
	}
}

// testItems fill several chunks.
func testItems() []Item {
	items := []Item{{File, "keys/epoch-1.key", []byte("epoch")}, {File, "empty", nil}}
	for i := range 40 {
		items = append(items, Item{Record, fmt.Sprintf("/sesame/v1/x/%02d", i), bytes.Repeat([]byte{byte(i)}, 500)})
	}
	return append(items, Item{Segment, "audit-0000000001.seg", make([]byte, 8)}, Item{Bytes, "", []byte("frames")},
		Item{Segment, "audit-0000000002.seg", make([]byte, 8)})
}

func write(t testing.TB, items []Item) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, testHeader(), testKey, func(Item) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	w.full = 4 << 10
	for _, it := range items {
		if err := w.Add(it); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func read(b []byte) ([]Item, Header, Summary, error) {
	var items []Item
	h, sum, err := Read(bytes.NewReader(b), func(Header) (mask.Bytes, error) { return testKey, nil }, func(it Item) error {
		it.Data = bytes.Clone(it.Data)
		items = append(items, it)
		return nil
	})
	return items, h, sum, err
}

func TestRoundTrip(t *testing.T) {
	want := testItems()
	b := write(t, want)
	got, h, sum, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	empty := cmp.Transformer("empty", func(b []byte) []byte { return append([]byte{}, b...) })
	if d := cmp.Diff(want, got, empty); d != "" {
		t.Errorf("items (-want +got):\n%s", d)
	}
	if d := cmp.Diff(testHeader(), h); d != "" {
		t.Errorf("head (-want +got):\n%s", d)
	}
	sum.Sum = nil
	if d := cmp.Diff(Summary{Files: 2, Records: 40, Segments: 2, AuditBytes: 6}, sum); d != "" {
		t.Errorf("summary (-want +got):\n%s", d)
	}
	var dup bytes.Buffer
	if h, err := Copy(&dup, iotest.OneByteReader(bytes.NewReader(b))); err != nil || !bytes.Equal(dup.Bytes(), b) || h.Revision != 42 {
		t.Errorf("Copy: %v, equal: %t, revision %d", err, bytes.Equal(dup.Bytes(), b), h.Revision)
	}
	for _, it := range want {
		if len(it.Data) > 8 && bytes.Contains(b, it.Data) || it.Name != "" && bytes.Contains(b, []byte(it.Name)) {
			t.Errorf("%q stands in clear text", it.Name)
		}
	}
}

// TestSameContentTwice: nonces count, so the key must be each backup's own.
func TestSameContentTwice(t *testing.T) {
	a := write(t, testItems())
	var out bytes.Buffer
	h := testHeader()
	h.Salt = bytes.Repeat([]byte{8}, SaltSize)
	w, err := NewWriter(&out, h, testKey, func(Item) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range testItems() {
		if err := w.Add(it); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(nil); err != nil {
		t.Fatal(err)
	}
	from := boundaries(t, a)[1]
	if bytes.Equal(a[from:from+64], out.Bytes()[from:from+64]) {
		t.Error("two backups with different salts share a key")
	}
}

// boundaries returns the offsets at which a part of the backup ends: preamble,
// head, chunks.
func boundaries(t testing.TB, b []byte) []int {
	t.Helper()
	at := preamble
	out := []int{at}
	at += int(binary.BigEndian.Uint32(b[len(magic)+1:]))
	for out = append(out, at); b[at] != markSeal; out = append(out, at) {
		at += chunkHead + int(binary.BigEndian.Uint32(b[at+1:]))
	}
	if at+1+32 != len(b) {
		t.Fatalf("the seal is not at the end: %d of %d", at, len(b))
	}
	return out
}

func TestTruncated(t *testing.T) {
	b := write(t, testItems())
	cuts := map[int]bool{1: true, len(magic): true, len(b) - 1: true}
	for _, at := range boundaries(t, b) {
		for d := -1; d <= chunkHead+1; d++ {
			if at+d < len(b) {
				cuts[at+d] = true
			}
		}
	}
	if len(boundaries(t, b)) < 6 {
		t.Fatal("the test backup has too few chunks to be cut between")
	}
	for n := range cuts {
		if _, _, _, err := read(b[:n]); !errors.Is(err, ErrTruncated) {
			t.Errorf("Read of the first %d of %d bytes: %v", n, len(b), err)
		}
		if _, err := Copy(io.Discard, bytes.NewReader(b[:n])); !errors.Is(err, ErrTruncated) {
			t.Errorf("Copy of the first %d of %d bytes: %v", n, len(b), err)
		}
	}
	if _, _, _, err := read(nil); !errors.Is(err, ErrNotBackup) {
		t.Errorf("Read of nothing: %v", err)
	}
}

// reseal makes the last 32 bytes right again, as somebody could who has no key.
func reseal(b []byte) []byte {
	r := newReader(bytes.NewReader(b))
	if _, _, err := r.head(); err != nil {
		return b
	}
	for final := false; !final; {
		var err error
		if _, final, err = r.chunk(); err != nil {
			return b
		}
	}
	return r.hash.Sum(append(b[:len(b)-33:len(b)-33], markSeal))
}

func TestFlippedBits(t *testing.T) {
	b := write(t, testItems())
	var at []int
	for _, n := range boundaries(t, b) {
		at = append(at, n-1, n, n+1, n+chunkHead, n+chunkHead+7)
	}
	for i := 0; i < len(b); i += 97 {
		at = append(at, i)
	}
	for i := range preamble + 100 {
		at = append(at, i)
	}
	for _, i := range append(at, len(b)-1) {
		if i >= len(b) {
			continue
		}
		for _, bit := range []byte{1, 0x80} {
			bad := bytes.Clone(b)
			bad[i] ^= bit
			if _, _, _, err := read(bad); err == nil {
				t.Errorf("Read accepts a flipped bit in byte %d", i)
			}
			if _, err := Copy(io.Discard, bytes.NewReader(bad)); err == nil {
				t.Errorf("Copy accepts a flipped bit in byte %d", i)
			}
			if i < len(b)-33 && i >= boundaries(t, b)[0] {
				if _, _, _, err := read(reseal(bad)); err == nil {
					t.Errorf("Read accepts a flipped bit in byte %d under a new seal", i)
				}
			}
		}
	}
}

// TestRearranged does to chunks what can be done without the key, and makes a
// new seal each time.
func TestRearranged(t *testing.T) {
	b := write(t, testItems())
	at := boundaries(t, b)
	head, seal := b[:at[1]], b[at[len(at)-1]:]
	var chunks [][]byte
	for i := 1; i < len(at)-1; i++ {
		chunks = append(chunks, b[at[i]:at[i+1]])
	}
	n := len(chunks)
	build := func(order ...int) []byte {
		out := bytes.Clone(head)
		for _, i := range order {
			out = append(out, chunks[i]...)
		}
		return reseal(append(out, seal...))
	}
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	if _, _, _, err := read(build(all...)); err != nil {
		t.Fatalf("rebuilt as it was: %v", err)
	}
	for i := range n - 1 {
		dropped := append(append([]int{}, all[:i]...), all[i+1:]...)
		order := append([]int{}, all...)
		order[i], order[i+1] = order[i+1], order[i]
		swapped := build(order...)
		twice := append(append(append([]int{}, all[:i+1]...), i), all[i+1:]...)
		for what, bad := range map[string][]byte{"swapped with the next": swapped, "dropped": build(dropped...), "repeated": build(twice...)} {
			if _, _, _, err := read(bad); err == nil {
				t.Errorf("Read accepts chunk %d %s", i, what)
			}
		}
		final := bytes.Clone(b)
		final[at[i+1]] = markFinal
		if _, _, _, err := read(reseal(append(final[:at[i+2]:at[i+2]], seal...))); err == nil {
			t.Errorf("Read accepts chunk %d as the final one", i)
		}
	}
	for _, more := range [][]byte{{0}, seal, chunks[0]} {
		if _, _, _, err := read(append(bytes.Clone(b), more...)); !errors.Is(err, ErrAltered) {
			t.Errorf("Read of a backup with %d more bytes: %v", len(more), err)
		}
		if _, err := Copy(io.Discard, bytes.NewReader(append(bytes.Clone(b), more...))); !errors.Is(err, ErrAltered) {
			t.Errorf("Copy of a backup with %d more bytes: %v", len(more), err)
		}
	}
}

func TestRefused(t *testing.T) {
	b := write(t, testItems())
	newer := bytes.Clone(b)
	newer[len(magic)]++
	for name, tt := range map[string]struct {
		b    []byte
		want error
	}{
		"text": {[]byte("#!/bin/sh\necho hello, this is something else\n"), ErrNotBackup}, "newer": {newer, ErrNewer},
		"newer, short": {newer[:len(magic)+1], ErrNewer}, "short text": {[]byte("SESA?"), ErrNotBackup},
	} {
		if _, _, _, err := read(tt.b); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	wrong := func(Header) (mask.Bytes, error) { return mask.NewBytes(make([]byte, 32)), nil }
	if _, _, err := Read(bytes.NewReader(b), wrong, func(Item) error { t.Error("an item was handed out"); return nil }); !errors.Is(err, ErrAltered) {
		t.Errorf("under another key: %v", err)
	}
	mine := errors.New("mine")
	if _, _, err := Read(bytes.NewReader(b), func(Header) (mask.Bytes, error) { return mask.Bytes{}, mine }, nil); !errors.Is(err, mine) {
		t.Errorf("open's error became %v", err)
	}
	if _, _, err := Read(bytes.NewReader(b), func(Header) (mask.Bytes, error) { return testKey, nil }, func(Item) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("fn's error became %v", err)
	}
}

func TestItemsOutOfTurn(t *testing.T) {
	for name, items := range map[string][]Item{
		"a file after a record":  {{Record, "r", nil}, {File, "f", nil}},
		"bytes of no segment":    {{Record, "r", nil}, {Bytes, "", []byte("x")}},
		"a record after segment": {{Segment, "a", make([]byte, 8)}, {Record, "r", nil}},
		"a segment of no size":   {{Segment, "a", nil}},
		"an unknown kind":        {{Kind('z'), "a", nil}},
		"a long name":            {{Record, strings.Repeat("a", MaxName+1), nil}},
		"long data":              {{Record, "a", make([]byte, MaxData+1)}},
	} {
		var out bytes.Buffer
		w, err := NewWriter(&out, testHeader(), testKey, func(Item) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range items {
			_ = w.Add(it) // Close reports
		}
		if _, err := w.Close(nil); err == nil {
			t.Errorf("%s was written", name)
		}
		if _, _, _, err := read(out.Bytes()); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

// faulty changes one byte on its way to the checker and to the file.
type faulty struct{ n, at int }

func (f *faulty) flip(p []byte) []byte {
	if f.at >= f.n && f.at < f.n+len(p) {
		p = bytes.Clone(p)
		p[f.at-f.n] ^= 1
	}
	f.n += len(p)
	return p
}

// TestCheckedAsItLeaves: a backup that does not read back is never sealed.
func TestCheckedAsItLeaves(t *testing.T) {
	mine := errors.New("mine")
	for name, broken := range map[string]func(*Writer, *bytes.Buffer){
		"a bit flips": func(w *Writer, out *bytes.Buffer) {
			f := &faulty{at: 3_000}
			w.out = writerFunc(func(p []byte) (int, error) {
				return io.MultiWriter(w.pipe, out, w.hash).Write(f.flip(p))
			})
		},
	} {
		var out bytes.Buffer
		w, err := NewWriter(&out, testHeader(), testKey, func(Item) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		w.full = 1 << 10
		broken(w, &out)
		for _, it := range testItems() {
			_ = w.Add(it)
		}
		if _, err := w.Close(nil); !errors.Is(err, ErrAltered) {
			t.Errorf("%s: Close = %v", name, err)
		}
		if _, err := Copy(io.Discard, &out); err == nil {
			t.Errorf("%s: it was sealed", name)
		}
	}
	var out bytes.Buffer
	n := 0
	w, err := NewWriter(&out, testHeader(), testKey, func(Item) error {
		if n++; n == 30 {
			return mine
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range testItems() {
		_ = w.Add(it)
	}
	if _, err := w.Close(nil); !errors.Is(err, mine) {
		t.Errorf("the checker refuses: Close = %v", err)
	}
	if _, err := Copy(io.Discard, &out); !errors.Is(err, ErrTruncated) {
		t.Errorf("the checker refuses: Copy = %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestWriterFails: the destination may fail at any byte; nothing hangs.
func TestWriterFails(t *testing.T) {
	full := errors.New("disk full")
	size := len(write(t, testItems()))
	for left := 0; left < size; left += size/50 + 1 {
		room := left
		w, err := NewWriter(writerFunc(func(p []byte) (int, error) {
			if len(p) > room {
				return 0, full
			}
			room -= len(p)
			return len(p), nil
		}), testHeader(), testKey, func(Item) error { return nil })
		if err == nil {
			for _, it := range testItems() {
				_ = w.Add(it)
			}
			_, err = w.Close(nil)
		}
		if !errors.Is(err, full) {
			t.Errorf("room for %d of %d bytes: %v", left, size, err)
		}
	}
}

func TestAbort(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, testHeader(), testKey, func(Item) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(testItems()[0]); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	w.Abort()
	if _, err := w.Close(nil); err == nil {
		t.Error("Close after Abort succeeded")
	}
}

// FuzzRead: whatever stands in a stream, Read and Copy end, and accept only
// what is sealed. The fuzzer's changes come under a new seal too.
func FuzzRead(f *testing.F) {
	b := write(f, append(testItems()[:3], Item{Segment, "audit-0000000001.seg", make([]byte, 8)}, Item{Bytes, "", []byte("x")}))
	f.Add(b)
	f.Add(b[:len(b)-33])
	f.Add(b[:40])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _, _, err := read(in)
		if err == nil && !bytes.Equal(in, b) {
			t.Error("Read accepts what was not written")
		}
		_, copyErr := Copy(io.Discard, bytes.NewReader(in))
		if err == nil && copyErr != nil {
			t.Errorf("Read accepts what Copy refuses: %v", copyErr)
		}
		if len(in) > 33 {
			if again := reseal(bytes.Clone(in)); !bytes.Equal(again, b) {
				if _, _, _, err := read(again); err == nil {
					t.Error("Read accepts what was not written, under a new seal")
				}
			}
		}
	})
}

// FuzzItems parses the plaintext of a chunk, which only a holder of the key can
// have written, and which must not break the program all the same.
func FuzzItems(f *testing.F) {
	f.Add([]byte("r\x00\x00\x00\x01\x00\x00\x00\x02kvv"))
	f.Add([]byte("a\x00\x00\x00\x01\x00\x00\x00\x08s12345678b\x00\x00\x00\x00\x00\x00\x00\x01x"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var again []byte
		phase, found := File, Summary{}
		err := items(bytes.Clone(in), &phase, &found, func(it Item) error {
			again = append(again, byte(it.Kind))
			again = binary.BigEndian.AppendUint32(again, uint32(len(it.Name)))
			again = binary.BigEndian.AppendUint32(again, uint32(len(it.Data)))
			again = append(append(again, it.Name...), it.Data...)
			return nil
		})
		if err == nil && !bytes.Equal(again, in) {
			t.Error("what was accepted is written otherwise")
		}
	})
}
