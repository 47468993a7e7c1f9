package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"testing"
)

// FuzzSegment reads any bytes as a segment: what is accepted must be exactly
// what the writer would write.
func FuzzSegment(f *testing.F) {
	seg := header{seed: 7, number: 1, first: 5, size: 1024, begun: 9}.encode()
	chain := uint32(7)
	for i, p := range []string{"a", "bcd", "e"} {
		frame := append(make([]byte, frameOverhead), p...)
		chain = sealFrame(frame, uint64(5+i), chain)
		seg = append(seg, frame...)
	}
	f.Add(append(bytes.Clone(seg), make([]byte, 100)...))
	f.Add(seg)
	f.Add(seg[:70])
	f.Add(make([]byte, 64))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, used, err := parseHeader(b[:min(len(b), headerSize)])
		if err != nil || !used {
			// Nearly nothing has a good checksum: go on with what is there.
			h = header{seed: 7, first: 5, size: int64(max(len(b), headerSize))}
		} else if !bytes.Equal(h.encode(), b[:headerSize]) {
			t.Fatalf("head %x encodes to %x", b[:headerSize], h.encode())
		}
		s := newScanner(bytes.NewReader(b), h)
		for {
			index, offset, chain := s.index, s.offset, s.chain
			payload, ok, err := s.next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				return
			}
			again := append(make([]byte, frameOverhead), payload...)
			sealFrame(again, index, chain)
			if !bytes.Equal(again, b[offset:s.offset]) {
				t.Fatalf("frame %x encodes to %x", b[offset:s.offset], again)
			}
		}
	})
}

// FuzzReadFrame walks a chain whose checksums are made good, so that lengths
// and indexes are met that no checksum stops.
func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("abc"), uint64(0), uint32(3))
	f.Add([]byte{}, uint64(1), uint32(0))
	f.Add([]byte("abc"), uint64(0), uint32(1<<31))
	f.Fuzz(func(t *testing.T, payload []byte, index uint64, length uint32) {
		frame := append(make([]byte, frameOverhead), payload...)
		sealFrame(frame, index, 0)
		frame[8], frame[9], frame[10], frame[11] = byte(length), byte(length>>8), byte(length>>16), byte(length>>24)
		n := frameLength(frame, 0)
		if n == 0 || n > len(frame) {
			return
		}
		crc := frameCRC(frame[:n], 0)
		frame[12], frame[13], frame[14], frame[15] = byte(crc), byte(crc>>8), byte(crc>>16), byte(crc>>24)
		h := header{size: int64(headerSize + len(frame))}
		s := newScanner(io.NewSectionReader(bytes.NewReader(append(make([]byte, headerSize), frame...)), 0, h.size), h)
		got, ok, err := s.next()
		if !ok || err != nil || !bytes.Equal(got, payload[:n-frameOverhead]) {
			t.Fatalf("a good frame of %d bytes: %q, %t, %v", n, got, ok, err)
		}
	})
}

func TestHeaderRejects(t *testing.T) {
	good := header{seed: 1, number: 2, first: 3, size: 4096, begun: 5}
	for name, h := range map[string]header{
		"too small": {size: headerSize - 1},
		"too large": {size: maxSegment + 1},
	} {
		if _, _, err := parseHeader(h.encode()); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := 1; n < headerSize; n++ {
		if _, _, err := parseHeader(good.encode()[:n]); err == nil {
			t.Errorf("%d bytes of a head were accepted", n)
		}
	}
	if got, used, err := parseHeader(good.encode()); got != good || !used || err != nil {
		t.Errorf("good head: %+v %t %v", got, used, err)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			l, _, err := Open(Config{Dir: b.TempDir(), LateAfter: patient})
			if err != nil {
				b.Fatal(err)
			}
			defer closeLog(b, l)
			payload := bytes.Repeat([]byte("x"), 700)
			var left atomic.Int64
			left.Store(int64(b.N))
			done := make(chan error, callers)
			b.ReportAllocs()
			b.ResetTimer()
			for range callers {
				go func() {
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					for left.Add(-1) >= 0 {
						if _, err := l.Append(ctx, payload); err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
			}
			for range callers {
				if err := <-done; err != nil {
					b.Error(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// A frame is good only after the very frame that it was written after: one that
// is left over from before a cut does not continue what was written later.
func TestChain(t *testing.T) {
	frame := func(p string, index uint64, chain uint32) ([]byte, uint32) {
		b := append(make([]byte, frameOverhead), p...)
		return b, sealFrame(b, index, chain)
	}
	h := header{seed: 1, size: 4096}
	a, ca := frame("a", 0, h.seed)
	other, _ := frame("A", 0, h.seed)
	b, _ := frame("b", 1, ca)
	for _, c := range []struct {
		first []byte
		want  uint64
	}{{a, 2}, {other, 1}} {
		s := newScanner(bytes.NewReader(slices.Concat(h.encode(), c.first, b, make([]byte, 100))), h)
		for ok := true; ok; {
			_, ok, _ = s.next()
		}
		if s.index != c.want {
			t.Errorf("after %q: %d good frames, want %d", c.first[frameOverhead:], s.index, c.want)
		}
	}
}
