package audit

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
)

// exportBuffer is how many bytes Export passes on at a time.
const exportBuffer = 256 << 10

// Export passes on the segments of the log in dir, oldest first, so that files
// of the same names and lengths, with these bytes at their beginning and zeros
// after, are the same log: segment is called with a file's name and length, then
// part with its bytes, piece by piece. b is valid during the call only. The first
// error of either ends it and is returned.
//
// Only good frames are passed on. A writer may be at work meanwhile; what it
// appends to the newest segment during the call is there or is not. Damage
// before the newest segment gives an error that wraps [ErrDamaged].
func Export(dir string, segment func(name string, size int64) error, part func(b []byte) error) error {
	segs, err := list(osFS{}, dir)
	if err != nil {
		return err
	}
	for i, s := range segs {
		if s.err != nil {
			return s.err
		}
		if !s.used {
			continue
		}
		last, end := true, ^uint64(0)
		for _, later := range segs[i+1:] {
			if later.used {
				last, end = false, later.head.first
				break
			}
		}
		if err := exportSegment(filepath.Join(dir, s.name), s, end, last, segment, part); err != nil {
			return err
		}
	}
	return nil
}

func exportSegment(path string, s found, end uint64, last bool, segment func(string, int64) error, part func([]byte) error) (err error) {
	f, err := osFS{}.OpenRead(path)
	if err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	scan := newScanner(f, s.head)
	for ok := true; ok && scan.index < end; {
		if _, ok, err = scan.next(); err != nil {
			return fmt.Errorf("reading the audit log: %w", err)
		}
	}
	if !last && scan.index < end {
		return fmt.Errorf("%w: %s at byte %d: record %d is bad or missing", ErrDamaged, s.name, scan.offset, scan.index)
	}
	if err := segment(s.name, s.head.size); err != nil {
		return err
	}
	b := make([]byte, exportBuffer)
	for at := int64(0); at < scan.offset; {
		n := min(int64(len(b)), scan.offset-at)
		if _, err := f.ReadAt(b[:n], at); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading the audit log: %w", err)
		}
		if err := part(b[:n]); err != nil {
			return err
		}
		at += n
	}
	return nil
}

// IsSegment reports whether name is that of a segment's file.
func IsSegment(name string) bool { return segmentPattern.MatchString(name) }

// MaxSegment is the largest length of a segment's file, in bytes.
const MaxSegment = maxSegment
