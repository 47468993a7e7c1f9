// Package xaes is XAES-256-GCM (https://c2sp.org/XAES-256-GCM): AES-256-GCM
// under a key of its own for every message, derived from the long-lived key
// and the first half of a random 24-byte nonce.
//
// It exists because plain AES-GCM with random 12-byte nonces must stop after
// 2³² messages under one key, and some keys of this server see more than that
// in days. Here 2⁸⁰ messages under one key keep the chance of a repeated nonce
// at 2⁻³², so nobody has to count.
//
// It trusts its caller with the key only. Nonces are made inside and cannot be
// passed in. Everything is built from AES and GCM of the standard library, in
// the way its FIPS 140-3 module approves (a counter-mode KDF over CMAC, and
// GCM that picks its own nonce), so it works with GODEBUG=fips140=only too.
package xaes

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
)

const (
	// KeySize is the only key length, in bytes.
	KeySize = 32
	// NonceSize is the length of the random nonce that leads every message.
	NonceSize = saltSize + gcmNonceSize
	// Overhead is how much longer a sealed message is than its plaintext:
	// the nonce before it, the tag behind it.
	Overhead = NonceSize + tagSize

	saltSize     = 12 // the half of the nonce that makes the message's key
	gcmNonceSize = 12 // the half that GCM uses under that key
	tagSize      = 16
)

var (
	// ErrOpen says that a message is not what was sealed under this key with
	// this additional data. It does not say why, so that it can be no oracle.
	ErrOpen = errors.New("xaes: message does not open")
	// ErrKeySize is returned for a key that is not 32 bytes long.
	ErrKeySize = errors.New("xaes: the key must be 32 bytes long")
)

// AEAD seals and opens messages under one key. It is safe for concurrent use,
// and prints as stars, since it holds what is as good as the key.
type AEAD struct {
	block cipher.Block
	k1    [aes.BlockSize]byte // the CMAC subkey for messages of whole blocks
}

// New returns the AEAD for a 32-byte key. The key is not kept: the caller may
// wipe it, though the key schedule made from it lives as long as the AEAD.
func New(key []byte) (*AEAD, error) {
	if len(key) != KeySize {
		return nil, ErrKeySize
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	a := &AEAD{block: block}
	a.block.Encrypt(a.k1[:], a.k1[:])
	doubleGF128(&a.k1)
	return a, nil
}

// doubleGF128 multiplies by x in GF(2¹²⁸) as CMAC (SP 800-38B, 6.1) makes its
// first subkey from the encrypted zero block. It takes the same time for every
// block: the carry is spread to a mask instead of branched on.
func doubleGF128(b *[aes.BlockSize]byte) {
	var carry byte
	for i := len(b) - 1; i >= 0; i-- {
		next := b[i] >> 7
		b[i] = b[i]<<1 | carry
		carry = next
	}
	b[len(b)-1] ^= 0x87 & -carry
}

// messageKey writes the AES-256 key of the messages with this salt.
//
// The key is two AES-CMAC outputs over (counter, "X", 0, salt), the counter
// KDF of SP 800-108. Each input is exactly one block, so CMAC is one
// encryption of the block masked with k1; a salt fills its 12 bytes, so no two
// salts share an input.
func (a *AEAD) messageKey(key *[KeySize]byte, salt []byte) {
	for i := range 2 {
		half := key[i*aes.BlockSize : (i+1)*aes.BlockSize]
		copy(half, []byte{0, byte(i + 1), 'X', 0})
		copy(half[4:], salt[:saltSize])
		subtle.XORBytes(half, half, a.k1[:])
		a.block.Encrypt(half, half)
	}
}

// messageGCM returns AES-256-GCM under the key of the messages with this salt.
func (a *AEAD) messageGCM(salt []byte) (cipher.AEAD, error) {
	key := new([KeySize]byte)
	defer clear(key[:])
	a.messageKey(key, salt)
	return NewGCM(key[:])
}

// NewGCM returns AES-256-GCM that puts a random 12-byte nonce before each
// message and finds it there again. It is for keys that seal few messages,
// such as a data key's one: at 2³² the random nonces would run out.
func NewGCM(key []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, ErrKeySize
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Seal appends nonce, ciphertext and tag to dst, Overhead bytes more than the
// plaintext. aad is authenticated with it and must be given to Open again.
//
// Both halves of the nonce are random: the first is drawn here, the second by
// GCM, which writes it just behind.
func (a *AEAD) Seal(dst, plaintext, aad []byte) ([]byte, error) {
	start := len(dst)
	dst = append(dst, make([]byte, saltSize)...)
	salt := dst[start:]
	// rand.Read never fails: it ends the program when the system has no
	// randomness to give.
	_, _ = rand.Read(salt)
	gcm, err := a.messageGCM(salt)
	if err != nil {
		return nil, err
	}
	return gcm.Seal(dst, nil, plaintext, aad), nil //nolint:gosec // it draws its own nonce and takes none
}

// Open appends the plaintext of a message that Seal made to dst, or returns
// ErrOpen and nothing of it.
func (a *AEAD) Open(dst, message, aad []byte) ([]byte, error) {
	if len(message) < Overhead {
		return nil, ErrOpen
	}
	gcm, err := a.messageGCM(message[:saltSize])
	if err != nil {
		return nil, err
	}
	out, err := gcm.Open(dst, nil, message[saltSize:], aad)
	if err != nil {
		return nil, ErrOpen
	}
	return out, nil
}

// Format writes stars, whatever the verb.
func (a *AEAD) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "******") }
