package keyring

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/opensesame-kms/opensesame/internal/keyring/xaes"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// The first byte of every blob: what it is in the upper half, the version of
// its format in the lower.
const (
	formatRingKey  = 0x11
	formatSealed   = 0x21
	formatMaterial = 0x31
	formatValue    = 0x41
)

// blob is the form that sealed ring keys, sealed things and key material have
// in common (numbers are big-endian):
//
//	0   1  format
//	1   4  which key sealed it: the epoch of a ring key, else a key version
//	5  24  nonce
//	29  n  ciphertext
//	   16  tag
type blob struct {
	format  byte
	key     uint32
	message []byte // nonce, ciphertext, tag: as package xaes makes and takes it
}

const blobHeader = 1 + 4

// parseBlob splits a blob of the given format. The message is a part of b.
func parseBlob(format byte, b []byte) (blob, bool) {
	if len(b) < blobHeader+xaes.Overhead || b[0] != format {
		return blob{}, false
	}
	return blob{b[0], binary.BigEndian.Uint32(b[1:]), b[blobHeader:]}, true
}

// appendHeader appends what comes before the message.
func (s blob) appendHeader(b []byte) []byte {
	return binary.BigEndian.AppendUint32(append(b, s.format), s.key)
}

// sealBlob seals under an AEAD that may see any number of messages: the nonce
// is 24 random bytes, which do not run out.
func sealBlob(a *xaes.AEAD, format byte, key uint32, aad, plaintext []byte) ([]byte, error) {
	b := make([]byte, 0, blobHeader+xaes.Overhead+len(plaintext))
	return a.Seal(blob{format: format, key: key}.appendHeader(b), plaintext, aad)
}

// The plaintext of a ring key: when it was made, in Unix seconds, and the key.
const ringKeyPlaintext = 8 + KeySize

func ringKeyAAD(n keyName, epoch uint32) []byte {
	b := appendField(nil, labelRingKey)
	b = appendField(b, n.purpose)
	b = appendUint32(b, n.version)
	return appendUint32(b, epoch)
}

func (r *Ring) sealRingKey(n keyName, created time.Time, key []byte) ([]byte, error) {
	plaintext := make([]byte, 0, ringKeyPlaintext)
	plaintext = binary.BigEndian.AppendUint64(plaintext, uint64(created.Unix()))
	plaintext = append(plaintext, key...)
	defer clear(plaintext)
	return sealBlob(r.kek[r.epoch], formatRingKey, r.epoch, ringKeyAAD(n, r.epoch), plaintext)
}

func (r *Ring) openRingKey(n keyName, sealed []byte) (*ringKey, error) {
	s, ok := parseBlob(formatRingKey, sealed)
	if !ok {
		return nil, ErrOpen
	}
	kek := r.kek[s.key]
	if kek == nil {
		return nil, fmt.Errorf("%w: %s is sealed under epoch %d", ErrUnknownKey, n, s.key)
	}
	plaintext, err := kek.Open(nil, s.message, ringKeyAAD(n, s.key))
	if err != nil || len(plaintext) != ringKeyPlaintext {
		return nil, ErrOpen
	}
	created := time.Unix(int64(binary.BigEndian.Uint64(plaintext)), 0).UTC()
	k := &ringKey{name: n, created: created, key: mask.NewBytes(plaintext[8:])}
	if n.purpose == MAC {
		k.mac = newMACPool(k.key.Reveal())
		return k, nil
	}
	k.aead, err = xaes.New(k.key.Reveal())
	return k, err
}

// sealer returns the current key of a purpose that seals.
func (r *Ring) sealer(p Purpose) (*ringKey, error) {
	k := r.keys.Load().current[p]
	if k == nil || k.aead == nil {
		return nil, fmt.Errorf("%w: nothing seals for purpose %q", ErrUnknownKey, string(p))
	}
	return k, nil
}

// opener returns the version of a purpose's key that sealed a blob.
func (r *Ring) opener(p Purpose, version uint32) (*ringKey, error) {
	n := keyName{p, version}
	k := r.keys.Load().byName[n]
	if k == nil || k.aead == nil {
		return nil, fmt.Errorf("%w: %s", ErrUnknownKey, n)
	}
	return k, nil
}

func sealedAAD(n keyName, aad []byte) []byte {
	b := make([]byte, 0, 64+len(aad))
	b = appendField(b, labelSealed)
	b = appendField(b, n.purpose)
	b = appendUint32(b, n.version)
	return appendField(b, aad)
}

// Seal seals a small confidential thing, such as the secret of an AccessKey,
// under the current key of the purpose. aad says where it belongs: only with
// the same bytes will it open. ErrUnknownKey if no key is loaded.
func (r *Ring) Seal(p Purpose, aad []byte, plaintext mask.Bytes) ([]byte, error) {
	k, err := r.sealer(p)
	if err != nil {
		return nil, err
	}
	return sealBlob(k.aead, formatSealed, k.name.version, sealedAAD(k.name, aad), plaintext.Reveal())
}

// Open opens what Seal made for the same purpose and aad, under any version
// that is loaded: ErrUnknownKey for one that is not, else ErrOpen.
func (r *Ring) Open(p Purpose, aad []byte, sealed []byte) (mask.Bytes, error) {
	s, ok := parseBlob(formatSealed, sealed)
	if !ok {
		return mask.Bytes{}, ErrOpen
	}
	k, err := r.opener(p, s.key)
	if err != nil {
		return mask.Bytes{}, err
	}
	plaintext, err := k.aead.Open(nil, s.message, sealedAAD(k.name, aad))
	if err != nil {
		return mask.Bytes{}, ErrOpen
	}
	return mask.NewBytes(plaintext), nil
}
