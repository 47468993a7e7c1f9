package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

// Read reads a whole backup. open is called once, with the head, and returns
// the backup key that Header.WrappedKey opens to; its error ends the reading
// and is returned as it is. fn is called with each item in order; data is valid
// during the call only, and an error of it is returned as it is.
//
// Items are authentic when fn gets them, but only when Read returns nil is it
// certain that the backup was whole: who must not act on a part of one reads it
// twice. Other errors: ErrNotBackup, ErrNewer, ErrTruncated, ErrAltered, and
// those of r.
func Read(r io.Reader, open func(Header) (mask.Bytes, error), fn func(Item) error) (Header, Summary, error) {
	rd := newReader(r)
	h, sum, err := rd.content(open, fn)
	if err == nil {
		err = rd.end()
	}
	return h, sum, err
}

// Copy copies a backup and checks all that can be checked without its key: that
// nothing is missing at the end, and that the bytes are those that the server
// sealed. Errors as of Read, and those of dst. What was copied before an error
// is in dst.
func Copy(dst io.Writer, src io.Reader) (Header, error) {
	rd := newReader(io.TeeReader(src, dst))
	h, _, err := rd.head()
	for final := false; err == nil && !final; {
		_, final, err = rd.chunk()
	}
	if err == nil {
		err = rd.end()
	}
	return h, err
}

type reader struct {
	r    *bufio.Reader
	hash hash.Hash // of everything taken from r
	buf  []byte    // the present chunk
}

func newReader(r io.Reader) *reader {
	return &reader{r: bufio.NewReaderSize(r, 64<<10), hash: sha256.New()}
}

// take reads exactly len(b) bytes.
func (r *reader) take(b []byte) error {
	if _, err := io.ReadFull(r.r, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return ErrTruncated
		}
		return err
	}
	_, _ = r.hash.Write(b) // a hash never fails
	return nil
}

// head reads what precedes the first chunk, and returns it as it stands too.
func (r *reader) head() (Header, []byte, error) {
	start := make([]byte, preamble)
	n, err := io.ReadFull(r.r, start)
	if !bytes.HasPrefix(start, []byte(magic)[:min(n, len(magic))]) || n == 0 && errors.Is(err, io.EOF) {
		return Header{}, nil, ErrNotBackup
	}
	if n > len(magic) && start[len(magic)] > Version {
		return Header{}, nil, ErrNewer
	}
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return Header{}, nil, ErrTruncated
	case err != nil:
		return Header{}, nil, err
	case start[len(magic)] != Version:
		return Header{}, nil, ErrAltered
	}
	_, _ = r.hash.Write(start)
	size := binary.BigEndian.Uint32(start[len(magic)+1:])
	if size > maxHeader {
		return Header{}, nil, ErrAltered
	}
	body := make([]byte, size)
	if err := r.take(body); err != nil {
		return Header{}, nil, err
	}
	h, err := parseHeader(body)
	return h, append(start, body...), err
}

// chunk reads the next chunk; it is valid until the following call.
func (r *reader) chunk() (sealed []byte, final bool, err error) {
	var head [chunkHead]byte
	if err := r.take(head[:]); err != nil {
		return nil, false, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if head[0] != markChunk && head[0] != markFinal || size > maxChunk {
		return nil, false, ErrAltered
	}
	if cap(r.buf) < int(size) {
		r.buf = make([]byte, size)
	}
	r.buf = r.buf[:size]
	return r.buf, head[0] == markFinal, r.take(r.buf)
}

// content reads everything but the seal.
func (r *reader) content(open func(Header) (mask.Bytes, error), fn func(Item) error) (Header, Summary, error) {
	h, before, err := r.head()
	if err != nil {
		return h, Summary{}, err
	}
	key, err := open(h)
	if err != nil {
		return h, Summary{}, err
	}
	s, err := newSealer(key, h.Salt, before)
	if err != nil {
		return h, Summary{}, err
	}
	var found Summary
	phase := Kind(File)
	for {
		found.Sum = r.hash.Sum(nil)
		sealed, final, err := r.chunk()
		if err != nil {
			return h, Summary{}, err
		}
		nonce, aad := s.next(final)
		plaintext, err := s.aead.Open(sealed[:0], nonce, sealed, aad)
		if err != nil {
			return h, Summary{}, ErrAltered
		}
		if final {
			said, err := parseSummary(plaintext)
			if err == nil && !same(said, found) {
				err = ErrAltered
			}
			return h, said, err
		}
		if err := items(plaintext, &phase, &found, fn); err != nil {
			return h, Summary{}, err
		}
	}
}

// items passes on the items of one chunk. phase is the kind of the last one.
func items(b []byte, phase *Kind, found *Summary, fn func(Item) error) error {
	for len(b) > 0 {
		if len(b) < itemHead {
			return ErrAltered
		}
		it := Item{Kind: Kind(b[0])}
		name, data := binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint32(b[5:])
		b = b[itemHead:]
		if name > MaxName || data > MaxData || uint64(name)+uint64(data) > uint64(len(b)) {
			return ErrAltered
		}
		it.Name, it.Data, b = string(b[:name]), b[name:name+data:name+data], b[name+data:]
		outOfTurn := it.Kind.order() < phase.order() || it.Kind == Bytes && *phase != Segment && *phase != Bytes
		if it.Kind.order() == 0 || outOfTurn || it.Kind == Segment && len(it.Data) != 8 {
			return ErrAltered
		}
		*phase = it.Kind
		found.count(it)
		if err := fn(it); err != nil {
			return err
		}
	}
	return nil
}

// end reads the seal, after which nothing may follow.
func (r *reader) end() error {
	want := r.hash.Sum([]byte{markSeal})
	got := make([]byte, len(want))
	if err := r.take(got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return ErrAltered
	}
	switch _, err := r.r.ReadByte(); {
	case err == nil:
		return ErrAltered
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}
