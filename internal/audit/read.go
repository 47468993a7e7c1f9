package audit

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// segmentName is the name of the segment of that number.
func segmentName(number uint64) string { return fmt.Sprintf("audit-%010d.seg", number) }

var segmentPattern = regexp.MustCompile(`^audit-([0-9]{10,19})\.seg$`)

// found is a segment file as it stands in the folder.
type found struct {
	name   string
	number uint64
	head   header
	used   bool
	err    error // why the head could not be understood
}

// list returns the segments of a folder in the order of their numbers. A head
// that cannot be understood is told in the segment's err.
func list(fs FS, dir string) ([]found, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("listing the audit log: %w", err)
	}
	var segs []found
	for _, name := range names {
		m := segmentPattern.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		number, err := strconv.ParseUint(m[1], 10, 64)
		if err != nil || name != segmentName(number) {
			continue
		}
		s := found{name: name, number: number}
		s.head, s.used, err = readHeader(fs, filepath.Join(dir, name))
		if err == nil && s.used && s.head.number != number {
			err = fmt.Errorf("%w: it says it is number %d", ErrDamaged, s.head.number)
		}
		if err != nil {
			s.err = fmt.Errorf("audit segment %s: %w", name, err)
		}
		segs = append(segs, s)
	}
	slices.SortFunc(segs, func(a, b found) int { return cmp.Compare(a.number, b.number) })
	return segs, nil
}

// readHeader reads the head of a file; one shorter than a head counts as
// prepared if it holds nothing but zeros.
func readHeader(fs FS, path string) (h header, used bool, err error) {
	f, err := fs.OpenRead(path)
	if err != nil {
		return header{}, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b := make([]byte, headerSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return header{}, false, err
	}
	return parseHeader(b[:n])
}

// scanner walks the frames of one segment.
type scanner struct {
	r      *bufio.Reader
	size   int64  // of the segment
	offset int64  // of the next frame
	index  uint64 // of the next frame
	chain  uint32 // CRC of the frame before
}

func newScanner(r io.ReaderAt, h header) *scanner {
	// The buffer must hold the longest frame that the segment can hold.
	longest := int(min(maxPayload+frameOverhead, h.size))
	return &scanner{
		r:      bufio.NewReaderSize(io.NewSectionReader(r, headerSize, h.size-headerSize), longest),
		size:   h.size,
		offset: headerSize, index: h.first, chain: h.seed,
	}
}

// next returns the payload of the next good frame, valid until the following
// call. ok is false where the good frames end; whether the log ends there or is
// damaged, the caller must find out. err is an error of reading.
func (s *scanner) next() (payload []byte, ok bool, err error) {
	head, err := s.r.Peek(frameOverhead)
	if err != nil {
		return nil, false, noEOF(err)
	}
	n := frameLength(head, s.index)
	if n == 0 || int64(n) > s.size-s.offset {
		return nil, false, nil
	}
	frame, err := s.r.Peek(n)
	if err != nil {
		return nil, false, noEOF(err)
	}
	crc, ok := checkFrame(frame, s.chain)
	if !ok {
		return nil, false, nil
	}
	// What was peeked is in the buffer: Discard cannot fail.
	_, _ = s.r.Discard(n)
	s.offset += int64(n)
	s.index++
	s.chain = crc
	return frame[frameOverhead:], true, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Read calls fn for each record of the log in dir from index from on, in order,
// each once. payload is valid during the call only. It ends with the first
// error of fn, which it returns. If from is older than the oldest record kept,
// it begins with that one.
//
// A writer may be at work meanwhile: Read ends where the good frames of the
// newest segment end. The last of these may not be durable yet; [Log.Durable]
// tells. Damage before the newest segment gives an error that wraps
// [ErrDamaged].
func Read(dir string, from uint64, fn func(index uint64, payload []byte) error) error {
	return read(osFS{}, dir, from, fn)
}

// ReadSince is Read from the segment on that was in use at the given time: it
// gives every record that was written since then, and some before.
func ReadSince(dir string, since time.Time, fn func(index uint64, payload []byte) error) error {
	segs, err := list(osFS{}, dir)
	if err != nil {
		return err
	}
	from := uint64(0)
	for _, s := range segs {
		if s.err == nil && s.used && s.head.begun <= since.UnixNano() {
			from = s.head.first
		}
	}
	return read(osFS{}, dir, from, fn)
}

func read(fs FS, dir string, from uint64, fn func(index uint64, payload []byte) error) error {
	segs, err := list(fs, dir)
	if err != nil {
		return err
	}
	segs = slices.DeleteFunc(segs, func(s found) bool { return !s.used && s.err == nil })
	for _, s := range segs {
		if s.err != nil {
			return s.err
		}
	}
	for i, s := range segs {
		last := i == len(segs)-1
		end := ^uint64(0)
		if !last {
			end = segs[i+1].head.first
		}
		if end <= from || end <= s.head.first {
			continue
		}
		if err := readSegment(fs, filepath.Join(dir, s.name), s.head, from, end, last, fn); err != nil {
			return err
		}
	}
	return nil
}

// readSegment passes on the frames of one segment with indexes in [from, end).
func readSegment(fs FS, path string, h header, from, end uint64, last bool, fn func(uint64, []byte) error) (err error) {
	f, err := fs.OpenRead(path)
	if err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s := newScanner(f, h)
	for s.index < end {
		index, offset := s.index, s.offset
		payload, ok, err := s.next()
		if err != nil {
			return fmt.Errorf("reading the audit log: %w", err)
		}
		if !ok {
			if last {
				return nil
			}
			return fmt.Errorf("%w: %s at byte %d: record %d is bad or missing, the next segment begins with %d",
				ErrDamaged, filepath.Base(path), offset, index, end)
		}
		if index < from {
			continue
		}
		if err := fn(index, payload); err != nil {
			return err
		}
	}
	return nil
}
