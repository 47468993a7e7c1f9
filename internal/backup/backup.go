// Package backup is the form in which the server's state leaves it: a stream
// that can go to a file or a pipe, encrypted under a key that only the root key
// opens, and checked as it is written.
//
// It trusts whoever holds the root key and nobody else: where a backup is kept,
// who carries it and what was done to it on the way. What is cut off, swapped,
// altered or appended is refused by [Read]. Who has no key can still tell a
// whole backup from a broken one ([Copy]), but not from one that somebody
// remade to look whole.
//
// The package knows neither where the items come from nor where they go.
//
// # The form
//
// Numbers are big-endian.
//
//	 0   8  "SESAMEBK"
//	 8   1  version of the form, 1
//	 9   4  n, at most 16 KiB
//	13   n  head, JSON (see Header), in clear text: it says what the backup is of
//	        and which root key opens it
//
//	        then chunks, in order, the last one and only it marked as such:
//
//	     1  'c', or 'f' for the final chunk
//	     4  m, at most 4 MiB
//	     m  AES-256-GCM: ciphertext and tag
//
//	        then the seal, written only after all that precedes was decrypted
//	        again and found to be what went in:
//
//	     1  's'
//	    32  SHA-256 of all bytes before the 's'
//
// The key of the chunks is HKDF-SHA256(backup key, salt of the head,
// "opensesame/v1/backup-chunks"): new for each backup, so that the nonces may
// count. The nonce of chunk i is four zero bytes and i (8 bytes); its associated
// data is "opensesame/v1/backup-chunk", a zero byte, SHA-256 of everything
// before the first chunk, i (8 bytes), and 1 for the final chunk, else 0.
//
// The chunks' plaintexts, but the final one's, are items one after the other,
// none divided between chunks:
//
//	1  kind: 'f' file, 'r' record, 'a' audit segment, 'b' bytes of it
//	4  length of the name, at most 64 KiB
//	4  length of the data, at most 2 MiB
//	   name, data
//
// in this order of kinds: files, records, then each segment with its bytes. The
// final chunk's plaintext is JSON (see Summary) and holds the counts, and the
// SHA-256 of everything before that chunk.
package backup

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

// Version is the version of the form that this release writes, and the newest
// that it reads.
const Version = 1

const (
	magic     = "SESAMEBK"
	preamble  = len(magic) + 1 + 4
	maxHeader = 16 << 10
	maxChunk  = 4 << 20
	// chunkSize is how much plaintext makes a chunk full.
	chunkSize = 256 << 10

	markChunk, markFinal, markSeal = 'c', 'f', 's'
	chunkHead                      = 1 + 4

	// MaxName is the longest name of an item, in bytes.
	MaxName = 64 << 10
	// MaxData is the longest data of an item, in bytes.
	MaxData  = 2 << 20
	itemHead = 1 + 4 + 4

	// SaltSize is the length of Header.Salt.
	SaltSize = 32
)

// Errors of Read and Copy; compare with errors.Is. All but ErrKey mean that the
// backup cannot be used.
var (
	// ErrNotBackup: the stream does not begin like a backup.
	ErrNotBackup = errors.New("this is not a backup of this program")
	// ErrNewer: a newer release made it.
	ErrNewer = errors.New("the backup was made by a newer release, and in a form that this one does not know")
	// ErrTruncated: it ends too early.
	ErrTruncated = errors.New("the backup is cut off: its end is missing")
	// ErrAltered: it is not what was written.
	ErrAltered = errors.New("the backup is damaged or was altered")
)

// Kind says what an item is.
type Kind byte

// The kinds of items, in the order in which they come.
const (
	// File is a small file beside the database: Name is its path in the data
	// folder, with slashes.
	File Kind = 'f'
	// Record is one record of the database: Name is its key, Data its value, as
	// they are stored.
	Record Kind = 'r'
	// Segment begins a file of the audit log: Name is its name, Data its full
	// length (8 bytes), of which the bytes that follow may be the beginning; the
	// rest are zeros.
	Segment Kind = 'a'
	// Bytes are the next bytes of the segment. Name is empty.
	Bytes Kind = 'b'
)

// Item is a part of a backup's content.
type Item struct {
	Kind Kind
	Name string
	Data []byte
}

// order numbers the phases of a backup; 0 for what is no kind.
func (k Kind) order() int {
	switch k {
	case File:
		return 1
	case Record:
		return 2
	case Segment, Bytes:
		return 3
	}
	return 0
}

// Header says in clear text what a backup is of. It is bound to the chunks: an
// altered one opens none of them.
type Header struct {
	// Program is the release that made it, for people.
	Program string `json:"program,omitempty"`
	// DataFormat is the format of the records, LeastReader the oldest release's
	// format that can read them.
	DataFormat  int `json:"dataFormat"`
	LeastReader int `json:"leastReader"`
	// Region that the server serves, Node its name: audit records that were on
	// their way to its log wait for a server of that name.
	Region string `json:"region"`
	Node   string `json:"node"`
	// Created is when the backup was begun, Revision the one revision of the
	// database that it holds, RestoreEpoch how often that data was restored.
	Created      time.Time `json:"created"`
	Revision     int64     `json:"revision"`
	RestoreEpoch int64     `json:"restoreEpoch"`
	// Audit says whether the audit log is in it.
	Audit bool `json:"audit"`
	// RootKey names the root key, WrappedKey is the backup key sealed under it.
	RootKey    string `json:"rootKey"`
	WrappedKey []byte `json:"wrappedKey"`
	// Salt makes the chunks' key one of its own.
	Salt []byte `json:"salt"`
}

// Summary closes a backup: what is in it.
type Summary struct {
	Files      int64 `json:"files"`
	Records    int64 `json:"records"`
	Segments   int64 `json:"segments"`
	AuditBytes int64 `json:"auditBytes"`
	// Sum is the SHA-256 of everything before the final chunk.
	Sum []byte `json:"sum"`
}

func (s *Summary) count(it Item) {
	switch it.Kind {
	case File:
		s.Files++
	case Record:
		s.Records++
	case Segment:
		s.Segments++
	case Bytes:
		s.AuditBytes += int64(len(it.Data))
	}
}

// marshal returns preamble and head.
func (h Header) marshal() ([]byte, error) {
	if len(h.Salt) != SaltSize {
		return nil, fmt.Errorf("backup: the salt has %d bytes, want %d", len(h.Salt), SaltSize)
	}
	h.Created = h.Created.UTC()
	body, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	if len(body) > maxHeader {
		return nil, errors.New("backup: the head is too long")
	}
	b := append(make([]byte, 0, preamble+len(body)), magic...)
	b = append(b, Version)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	return append(b, body...), nil
}

// parseHeader reads the head's JSON, and accepts only what marshal writes.
func parseHeader(body []byte) (Header, error) {
	var h Header
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&h); err != nil {
		return h, ErrAltered
	}
	if again, err := h.marshal(); err != nil || !bytes.Equal(again[preamble:], body) {
		return h, ErrAltered
	}
	return h, nil
}

// parseSummary is parseHeader for the final chunk.
func parseSummary(body []byte) (Summary, error) {
	var s Summary
	if err := json.Unmarshal(body, &s); err != nil {
		return s, ErrAltered
	}
	if again, err := json.Marshal(s); err != nil || !bytes.Equal(again, body) {
		return s, ErrAltered
	}
	return s, nil
}

// sealer seals and opens the chunks of one backup.
type sealer struct {
	aead  cipher.AEAD
	aad   []byte // what is the same for all chunks
	index uint64
}

// newSealer takes the backup key, the salt, and what precedes the first chunk.
func newSealer(key mask.Bytes, salt, before []byte) (*sealer, error) {
	k, err := hkdf.Key(sha256.New, key.Reveal(), salt, "opensesame/v1/backup-chunks", 32)
	if err != nil {
		return nil, err
	}
	defer clear(k)
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(before)
	return &sealer{aead: aead, aad: append([]byte("opensesame/v1/backup-chunk\x00"), sum[:]...)}, nil
}

// next returns nonce and associated data of the next chunk. A nonce is used for
// one chunk only: the key is this backup's own, and the index never repeats.
func (s *sealer) next(final bool) (nonce, aad []byte) {
	nonce = binary.BigEndian.AppendUint64(make([]byte, 4, 12), s.index)
	aad = binary.BigEndian.AppendUint64(bytes.Clone(s.aad), s.index)
	s.index++
	if final {
		return nonce, append(aad, 1)
	}
	return nonce, append(aad, 0)
}
