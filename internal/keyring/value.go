package keyring

import (
	"crypto/rand"
	"fmt"
	"sync"

	"github.com/opensesame-kms/opensesame/internal/keyring/xaes"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// KeyRef names one version of a customer key or of an account's service-managed
// key. No field may be empty.
type KeyRef struct {
	Region, Account, KeyID string
	KeyVersion             string
}

// ValueRef names one version of a secret and the key version that seals it. No
// field may be empty. SecretID is drawn anew for each creation, so a value does
// not open for a secret made later under the same name.
type ValueRef struct {
	KeyRef
	SecretID, SecretName, VersionID string
}

// A sealed value, of 85 + n + 16 bytes for a value of n:
//
//	0    1  format
//	1   72  data key, sealed under the key material: nonce 24, key 32, tag 16
//	73  12  nonce
//	85   n  ciphertext, under the data key
//	    16  tag
const (
	wrappedKeySize = xaes.Overhead + KeySize
	gcmOverhead    = 12 + 16
	valueOverhead  = 1 + wrappedKeySize + gcmOverhead
)

// valueBlob is a sealed value in its parts.
type valueBlob struct {
	dataKey []byte // sealed data key
	message []byte // nonce, ciphertext, tag
}

// parseValue splits a sealed value. The parts are parts of b.
func parseValue(b []byte) (valueBlob, bool) {
	if len(b) < valueOverhead || b[0] != formatValue {
		return valueBlob{}, false
	}
	return valueBlob{b[1 : 1+wrappedKeySize], b[1+wrappedKeySize:]}, true
}

// complete reports the first empty field: a caller that forgot one would seal
// without binding to it, and nothing would show.
func (k KeyRef) complete() error {
	return firstEmpty("Region", k.Region, "Account", k.Account, "KeyID", k.KeyID, "KeyVersion", k.KeyVersion)
}

func (v ValueRef) complete() error {
	if err := v.KeyRef.complete(); err != nil {
		return err
	}
	return firstEmpty("SecretID", v.SecretID, "SecretName", v.SecretName, "VersionID", v.VersionID)
}

func firstEmpty(namesAndValues ...string) error {
	for i := 0; i < len(namesAndValues); i += 2 {
		if namesAndValues[i+1] == "" {
			return fmt.Errorf("keyring: cannot seal for a reference with an empty %s", namesAndValues[i])
		}
	}
	return nil
}

func (k KeyRef) appendAAD(b []byte) []byte {
	b = appendField(b, k.Region)
	b = appendField(b, k.Account)
	b = appendField(b, k.KeyID)
	return appendField(b, k.KeyVersion)
}

func (k KeyRef) materialAAD(b []byte, wrapVersion uint32) []byte {
	b = appendField(b, labelMaterial)
	b = appendUint32(b, wrapVersion)
	return k.appendAAD(b)
}

// aad is the associated data of a value or of its data key, as the label says.
// Both are bound to all of the reference.
func (v ValueRef) aad(b []byte, l label) []byte {
	b = appendField(b, l)
	b = v.appendAAD(b)
	b = appendField(b, v.SecretID)
	b = appendField(b, v.SecretName)
	return appendField(b, v.VersionID)
}

// NewMaterial makes the key material of one key version, 32 random bytes, and
// returns it sealed under the current Wrap key and bound to the reference. The
// caller stores it; the bytes themselves never leave this package.
func (r *Ring) NewMaterial(ref KeyRef) (sealed []byte, err error) {
	if err := ref.complete(); err != nil {
		return nil, err
	}
	k, err := r.sealer(Wrap)
	if err != nil {
		return nil, err
	}
	material := newKey()
	defer clear(material)
	aad := ref.materialAAD(nil, k.name.version)
	return sealBlob(k.aead, formatMaterial, k.name.version, aad, material)
}

// scratch is the memory of one SealValue or OpenValue. It is kept for the next
// one, wiped: what was in it never outlives its use.
type scratch struct {
	aad   []byte
	key   [KeySize]byte // the material, then the data key
	value []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// maxKeptValue bounds the buffers that the pool keeps. The longest secret value
// of the API is 30,720 bytes.
const maxKeptValue = 32 << 10

func (s *scratch) wipe() {
	clear(s.key[:])
	clear(s.value[:cap(s.value)])
}

func (s *scratch) release() {
	s.wipe()
	if cap(s.value) > maxKeptValue {
		s.value = nil
	}
	scratches.Put(s)
}

// openMaterial returns the AEAD of a key version's material.
func (r *Ring) openMaterial(s *scratch, ref KeyRef, sealed []byte) (*xaes.AEAD, error) {
	b, ok := parseBlob(formatMaterial, sealed)
	if !ok {
		return nil, ErrOpen
	}
	k, err := r.opener(Wrap, b.key)
	if err != nil {
		return nil, err
	}
	s.aad = ref.materialAAD(s.aad[:0], b.key)
	material, err := k.aead.Open(s.key[:0], b.message, s.aad)
	if err != nil || len(material) != KeySize {
		return nil, ErrOpen
	}
	return xaes.New(material)
}

// SealValue seals a secret version's value under a new data key, and the data
// key under the material that sealedMaterial holds. It opens only with the same
// reference and material. The result is 101 bytes longer than the value.
func (r *Ring) SealValue(sealedMaterial []byte, ref ValueRef, value mask.Text) ([]byte, error) {
	if err := ref.complete(); err != nil {
		return nil, err
	}
	s := scratches.Get().(*scratch)
	defer s.release()
	material, err := r.openMaterial(s, ref.KeyRef, sealedMaterial)
	if err != nil {
		return nil, err
	}
	dataKey := s.key[:]
	_, _ = rand.Read(dataKey) // never fails, see newKey
	out := make([]byte, 0, valueOverhead+value.Len())
	s.aad = ref.aad(s.aad[:0], labelDataKey)
	if out, err = material.Seal(append(out, formatValue), dataKey, s.aad); err != nil {
		return nil, err
	}
	// Plain GCM with a random nonce is enough here: this data key seals this
	// one message and is then forgotten.
	gcm, err := xaes.NewGCM(dataKey)
	if err != nil {
		return nil, err
	}
	s.value = append(s.value[:0], value.Reveal()...)
	s.aad = ref.aad(s.aad[:0], labelValue)
	return gcm.Seal(out, nil, s.value, s.aad), nil //nolint:gosec // it draws its own nonce and takes none
}

// OpenValue opens what SealValue made for the same reference: ErrOpen if
// anything differs, ErrUnknownKey if the Wrap key of the material is not
// loaded.
func (r *Ring) OpenValue(sealedMaterial []byte, ref ValueRef, sealed []byte) (mask.Text, error) {
	v, ok := parseValue(sealed)
	if !ok {
		return mask.Text{}, ErrOpen
	}
	s := scratches.Get().(*scratch)
	defer s.release()
	material, err := r.openMaterial(s, ref.KeyRef, sealedMaterial)
	if err != nil {
		return mask.Text{}, err
	}
	s.aad = ref.aad(s.aad[:0], labelDataKey)
	dataKey, err := material.Open(s.key[:0], v.dataKey, s.aad)
	if err != nil {
		return mask.Text{}, ErrOpen
	}
	gcm, err := xaes.NewGCM(dataKey)
	if err != nil {
		return mask.Text{}, ErrOpen
	}
	s.aad = ref.aad(s.aad[:0], labelValue)
	s.value, err = gcm.Open(s.value[:0], nil, v.message, s.aad)
	if err != nil {
		return mask.Text{}, ErrOpen
	}
	return mask.NewText(string(s.value)), nil
}
