package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

var errAborted = errors.New("backup: given up")

// Writer writes a backup. What it writes is read again at once by [Read]'s own
// code, and the stream is sealed only if that found what went in. Its methods
// are for one goroutine.
type Writer struct {
	out    io.Writer // dst, the checker, the hash
	dst    io.Writer
	pipe   *io.PipeWriter
	check  chan checked
	hash   hash.Hash
	sealer *sealer
	full   int    // how much plaintext makes a chunk
	buf    []byte // plaintext of the next chunk
	frame  []byte // used again for each chunk
	sum    Summary
	err    error // the first; everything fails from then on
	done   bool
}

type checked struct {
	sum Summary
	err error
}

// NewWriter writes the head. key is the backup key that h.WrappedKey opens to.
// check is called from another goroutine with every item as it was decrypted
// again, and an error of it fails the backup; data is valid during the call
// only. Every Writer must be ended by Close or Abort.
func NewWriter(dst io.Writer, h Header, key mask.Bytes, check func(Item) error) (*Writer, error) {
	head, err := h.marshal()
	if err != nil {
		return nil, err
	}
	s, err := newSealer(key, h.Salt, head)
	if err != nil {
		return nil, err
	}
	pr, pw := io.Pipe()
	w := &Writer{dst: dst, pipe: pw, check: make(chan checked, 1), hash: sha256.New(), sealer: s, full: chunkSize}
	w.out = io.MultiWriter(pw, dst, w.hash)
	go func() {
		r := newReader(pr)
		_, sum, err := r.content(func(Header) (mask.Bytes, error) { return key, nil }, check)
		w.check <- checked{sum, err}
		// Whatever is written from now on comes too late to be checked.
		_ = pr.CloseWithError(errors.Join(errors.New("backup: what was written does not read back"), err))
	}()
	if _, err := w.out.Write(head); err != nil {
		w.Abort()
		return nil, err
	}
	return w, nil
}

// Add adds an item. Items come in the order of their kinds.
func (w *Writer) Add(it Item) error {
	if w.err != nil {
		return w.err
	}
	if len(it.Name) > MaxName || len(it.Data) > MaxData {
		return w.fail(fmt.Errorf("backup: an item of kind %q is too long (%d and %d bytes)", it.Kind, len(it.Name), len(it.Data)))
	}
	w.buf = append(w.buf, byte(it.Kind))
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(it.Name)))
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(it.Data)))
	w.buf = append(append(w.buf, it.Name...), it.Data...)
	w.sum.count(it)
	if len(w.buf) < w.full {
		return nil
	}
	return w.flush()
}

func (w *Writer) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.chunk(markChunk, w.buf)
	w.buf = w.buf[:0]
	return err
}

func (w *Writer) chunk(mark byte, plaintext []byte) error {
	nonce, aad := w.sealer.next(mark == markFinal)
	w.frame = append(w.frame[:0], mark)
	w.frame = binary.BigEndian.AppendUint32(w.frame, uint32(len(plaintext)+w.sealer.aead.Overhead()))
	w.frame = w.sealer.aead.Seal(w.frame, nonce, plaintext, aad)
	if _, err := w.out.Write(w.frame); err != nil {
		return w.fail(err)
	}
	return nil
}

func (w *Writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return w.err
}

// Close writes the final chunk, waits until all that was written has been
// checked, and seals the stream unless last, if it is not nil, has something
// against it. Only a backup whose Close succeeded is one.
func (w *Writer) Close(last func() error) (Summary, error) {
	if w.err != nil || w.flush() != nil {
		w.Abort()
		return Summary{}, w.err
	}
	w.sum.Sum = w.hash.Sum(nil)
	body, err := json.Marshal(w.sum)
	if err == nil {
		err = w.chunk(markFinal, body)
	}
	if err != nil {
		_ = w.fail(err)
		w.Abort()
		return Summary{}, w.err
	}
	found := <-w.check
	w.done = true
	if found.err == nil && !same(found.sum, w.sum) {
		found.err = errors.New("backup: what was written reads back as something else")
	}
	if found.err == nil && last != nil {
		found.err = last()
	}
	if found.err != nil {
		return Summary{}, w.fail(found.err)
	}
	if _, err := w.dst.Write(w.hash.Sum([]byte{markSeal})); err != nil {
		return Summary{}, w.fail(err)
	}
	_ = w.fail(errors.New("backup: closed"))
	return w.sum, nil
}

func same(a, b Summary) bool {
	x, y := a.Sum, b.Sum
	a.Sum, b.Sum = nil, nil
	return a.Files == b.Files && a.Records == b.Records && a.Segments == b.Segments && a.AuditBytes == b.AuditBytes && bytes.Equal(x, y)
}

// Abort gives the backup up and waits for the checker. After Close it does
// nothing.
func (w *Writer) Abort() {
	if w.done {
		return
	}
	w.done = true
	_ = w.fail(errAborted)
	_ = w.pipe.CloseWithError(errAborted) // never fails
	if found := <-w.check; found.err != nil && !errors.Is(found.err, errAborted) {
		// The checker's reason is why the pipe broke.
		w.err = found.err
	}
}
