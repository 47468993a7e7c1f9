// Package seal keeps what unlocks everything else: the root key, and the epoch
// keys of package keyring, which live outside etcd wrapped under it.
//
// The default seal is a file. A folder holds
//
//	root.key        the root key in clear text, mode 0600: the one file to copy
//	                to a safe place
//	epoch-1.key     the epoch key, wrapped under the root key
//
// The other seal is a passphrase: root.key then holds the root key encrypted
// under a key that argon2id makes from it, and is worth nothing without it.
//
// It trusts whoever can read root.key (and knows the passphrase), and refuses to
// start when others than the file's owner can. It trusts nothing else in the
// folder: a wrapped key opens only as the epoch that it was made for.
//
// A key file is never deleted, and replaced only by a rotation or a new
// passphrase, in one step, after all that it holds was opened. Every refusal is
// one sentence that names the file, and leaves the folder as it was.
package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/keyring/xaes"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// Each error that Open and Create return is a sentence of its own and wraps at
// most one of these.
var (
	// ErrNoRootKey: the folder holds no root key.
	ErrNoRootKey = errors.New("no root key")
	// ErrWrongRootKey: the root key is whole, but another one wrapped the
	// epoch keys beside it.
	ErrWrongRootKey = errors.New("wrong root key")
	// ErrPermissions: others than its owner may read or write the root key.
	ErrPermissions = errors.New("root key is open to others")
	// ErrPassphrase: the root key is sealed under a passphrase that was not
	// given, or under another one.
	ErrPassphrase = errors.New("passphrase does not open the root key")
	// ErrTooMany: the folder holds as many root keys as it may.
	ErrTooMany = errors.New("too many root keys")
	// ErrDamaged: a key file is not what was written, or is missing beside
	// the others.
	ErrDamaged = errors.New("damaged key file")
	// ErrExists: keys would have to be overwritten.
	ErrExists = errors.New("keys exist")
)

// Seal protects epoch keys by a root key that it alone can use. A file, an HSM,
// a cloud service differ behind these methods. Implementations are safe for
// concurrent use.
type Seal interface {
	// ID says which root key this is. It is kept beside what Wrap made, so
	// that the right seal can be found, and a wrong one told from damage. It
	// is one word, without white space, of at most 128 bytes.
	ID() string
	// Wrap seals a 32-byte key; context says what it is.
	Wrap(context []byte, key mask.Bytes) ([]byte, error)
	// Unwrap opens what Wrap made for the same context. errNotOpened if it
	// was not made so.
	Unwrap(context, wrapped []byte) (mask.Bytes, error)
}

var (
	// errNotOpened is a seal's answer to what it did not wrap so.
	errNotOpened = errors.New("the wrapped key does not open")
	// errNotMine says that none of the seals at hand wrapped a key.
	errNotMine = errors.New("wrapped under another root key")
)

// fileSeal is the seal of a root key that was read from a file.
type fileSeal struct {
	id   string
	key  mask.Bytes
	aead *xaes.AEAD
}

// rootKeyIDSize is 16 of the 32 bytes of HMAC-SHA256: enough that no two root
// keys ever share an id.
const rootKeyIDSize = 16

// newFileSeal takes a 32-byte root key.
func newFileSeal(key mask.Bytes) (*fileSeal, error) {
	aead, err := xaes.New(key.Reveal())
	if err != nil {
		return nil, err
	}
	// HMAC under the key over a label that no other use has: the id shows
	// nothing of the key, and serves as its check value.
	h := hmac.New(sha256.New, key.Reveal())
	h.Write([]byte("opensesame/v1/root-key-id"))
	id := "file:" + hex.EncodeToString(h.Sum(nil)[:rootKeyIDSize])
	return &fileSeal{id: id, key: key, aead: aead}, nil
}

func (s *fileSeal) ID() string { return s.id }

// Wrap uses XAES-256-GCM with a random nonce: a root key may wrap any number
// of keys.
func (s *fileSeal) Wrap(context []byte, key mask.Bytes) ([]byte, error) {
	return s.aead.Seal(nil, key.Reveal(), context)
}

func (s *fileSeal) Unwrap(context, wrapped []byte) (mask.Bytes, error) {
	key, err := s.aead.Open(nil, wrapped, context)
	if err != nil {
		return mask.Bytes{}, errNotOpened
	}
	return mask.NewBytes(key), nil
}

// Format writes stars, whatever the verb.
func (fileSeal) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, mask.Stars) }

// epochContext binds a wrapped key to being the key of that epoch.
func epochContext(id uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte("opensesame/v1/epoch-key\x00"), id)
}

// wrapEpoch makes the content of an epoch's file, wrapped under each seal.
func wrapEpoch(e keyring.Epoch, seals ...Seal) (epochFile, error) {
	f := epochFile{epoch: e.ID}
	for _, s := range seals {
		w, err := s.Wrap(epochContext(e.ID), e.Key)
		if err != nil {
			return epochFile{}, fmt.Errorf("wrap the key of epoch %d by %s: %w", e.ID, s.ID(), err)
		}
		f.wraps = append(f.wraps, wrap{s.ID(), w})
	}
	return f, nil
}

// unwrapEpoch opens an epoch's file by the first seal that has a wrap in it:
// errNotMine if none has, errNotOpened if one has but it does not open.
func unwrapEpoch(f epochFile, seals []Seal) (keyring.Epoch, error) {
	for _, s := range seals {
		i := slices.IndexFunc(f.wraps, func(w wrap) bool { return w.sealID == s.ID() })
		if i < 0 {
			continue
		}
		key, err := s.Unwrap(epochContext(f.epoch), f.wraps[i].wrapped)
		if err == nil && key.Len() != keyring.KeySize {
			err = errNotOpened
		}
		return keyring.Epoch{ID: f.epoch, Key: key}, err
	}
	return keyring.Epoch{}, errNotMine
}

// refusal is a sentence with the kind of refusal that errors.Is finds.
type refusal struct {
	kind error
	text string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.kind }

func sentence(kind error, format string, args ...any) error {
	return &refusal{kind, fmt.Sprintf(format, args...)}
}
