package xaes

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/sha3"
	"encoding/hex"
	"flag"
	"fmt"
	"strings"
	"testing"
)

var million = flag.Bool("xaes-million", false, "run the accumulated vectors to a million messages (about 10 s)")

// sealWith seals with a nonce of the test's choice, which the package itself
// never does: the same derivation, then GCM with the nonce's second half.
func sealWith(t testing.TB, a *AEAD, nonce, plaintext, aad []byte) []byte {
	t.Helper()
	kx := new([32]byte)
	a.messageKey(kx, nonce[:saltSize])
	block, err := aes.NewCipher(kx[:])
	if err != nil {
		t.Fatal(err)
	}
	// GCM with a nonce from outside is refused under GODEBUG=fips140=only.
	var gcm cipher.AEAD
	fips140.WithoutEnforcement(func() { gcm, err = cipher.NewGCM(block) })
	if err != nil {
		t.Fatal(err)
	}
	return gcm.Seal(bytes.Clone(nonce), nonce[saltSize:], plaintext, aad)
}

func mustNew(t testing.TB, key []byte) *AEAD {
	t.Helper()
	a, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestPublishedVectors are the two worked examples of the specification, which
// between them take both branches of the subkey's doubling.
func TestPublishedVectors(t *testing.T) {
	for _, v := range []struct {
		keyByte          byte
		aad, messageKey  string
		ciphertextAndTag string
	}{
		{1, "", "c8612c9ed53fe43e8e005b828a1631a0bbcb6ab2f46514ec4f439fcfd0fa969b",
			"ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "e9c621d4cdd9b11b00a6427ad7e559aeedd66b3857646677748f8ca796cb3fd8",
			"986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		a := mustNew(t, bytes.Repeat([]byte{v.keyByte}, 32))
		nonce, plaintext := []byte("ABCDEFGHIJKLMNOPQRSTUVWX"), "XAES-256-GCM"
		kx := new([32]byte)
		a.messageKey(kx, nonce)
		if got := hex.EncodeToString(kx[:]); got != v.messageKey {
			t.Errorf("key of %02x: message key %s, want %s", v.keyByte, got, v.messageKey)
		}
		want, _ := hex.DecodeString(v.ciphertextAndTag)
		message := append(bytes.Clone(nonce), want...)
		if got := sealWith(t, a, nonce, []byte(plaintext), []byte(v.aad)); !bytes.Equal(got, message) {
			t.Errorf("key of %02x: sealed %x, want %x", v.keyByte, got, message)
		}
		got, err := a.Open(nil, message, []byte(v.aad))
		if err != nil || string(got) != plaintext {
			t.Errorf("key of %02x: opened %q, %v", v.keyByte, got, err)
		}
	}
}

// TestAccumulatedVectors seals and opens pseudo-random messages and compares
// one digest over all of them with the specification's.
func TestAccumulatedVectors(t *testing.T) {
	n, want := 10_000, "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
	if *million {
		n, want = 1_000_000, "2163ae1445985a30b60585ee67daa55674df06901b890593e824b8a7c885ab15"
	}
	src, sum := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	draw := func(n int) []byte {
		b := make([]byte, n)
		_, _ = src.Read(b)
		return b
	}
	for i := range n {
		a, nonce := mustNew(t, draw(32)), draw(24)
		plaintext := draw(int(draw(1)[0]))
		aad := draw(int(draw(1)[0]))
		message := sealWith(t, a, nonce, plaintext, aad)
		got, err := a.Open(nil, message, aad)
		if err != nil || !bytes.Equal(got, plaintext) {
			t.Fatalf("message %d does not open: %v", i, err)
		}
		_, _ = sum.Write(message[NonceSize:])
	}
	digest := make([]byte, 32)
	_, _ = sum.Read(digest)
	if got := hex.EncodeToString(digest); got != want {
		t.Errorf("digest of %d messages is %s, want %s", n, got, want)
	}
}

func TestSealedMessages(t *testing.T) {
	a := mustNew(t, bytes.Repeat([]byte{7}, 32))
	plaintext, aad := []byte("payload"), []byte("aad")
	prefix := []byte("head")
	m1, err := a.Seal(bytes.Clone(prefix), plaintext, aad)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(m1, prefix) || len(m1) != len(prefix)+len(plaintext)+Overhead {
		t.Fatalf("sealed to %d bytes", len(m1))
	}
	m1 = m1[len(prefix):]
	m2, err := a.Seal(nil, plaintext, aad)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(m1[:saltSize], m2[:saltSize]) || bytes.Equal(m1[saltSize:NonceSize], m2[saltSize:NonceSize]) {
		t.Error("two messages share half a nonce")
	}
	for i := range m1 {
		bad := bytes.Clone(m1)
		bad[i] ^= 1
		if _, err := a.Open(nil, bad, aad); err != ErrOpen {
			t.Errorf("bit %d flipped: %v", i, err)
		}
		if _, err := a.Open(nil, m1[:i], aad); err != ErrOpen {
			t.Errorf("cut to %d: %v", i, err)
		}
	}
	if _, err := a.Open(nil, m1, []byte("aae")); err != ErrOpen {
		t.Errorf("other additional data: %v", err)
	}
	if _, err := mustNew(t, bytes.Repeat([]byte{8}, 32)).Open(nil, m1, aad); err != ErrOpen {
		t.Errorf("other key: %v", err)
	}
}

func TestKeySizes(t *testing.T) {
	for _, n := range []int{0, 16, 24, 31, 33} {
		if _, err := New(make([]byte, n)); err != ErrKeySize {
			t.Errorf("key of %d bytes: %v", n, err)
		}
		if _, err := NewGCM(make([]byte, n)); err != ErrKeySize {
			t.Errorf("GCM key of %d bytes: %v", n, err)
		}
	}
}

// TestPrintsAsStars looks for the subkey, from which forged derivations could
// be made.
func TestPrintsAsStars(t *testing.T) {
	a := mustNew(t, bytes.Repeat([]byte{7}, 32))
	out := fmt.Sprintf("%v %+v %#v %x %d %s", a, a, a, a, a, []*AEAD{a})
	for _, leak := range []string{fmt.Sprintf("%x", a.k1[:4]), strings.Trim(fmt.Sprint(a.k1[:4]), "[]")} {
		if strings.Contains(out, leak) {
			t.Error("the subkey is printed")
		}
	}
}

// FuzzOpen: of all messages only the one that was sealed opens. It is the first
// published vector, a constant because the fuzzer's processes share inputs.
func FuzzOpen(f *testing.F) {
	a := mustNew(f, bytes.Repeat([]byte{1}, 32))
	good, err := hex.DecodeString(hex.EncodeToString([]byte("ABCDEFGHIJKLMNOPQRSTUVWX")) +
		"ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, []byte{})
	f.Add(good, []byte("aad"))
	f.Add(good[:Overhead-1], []byte{})
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, message, aad []byte) {
		want := bytes.Equal(message, good) && len(aad) == 0
		if _, err := a.Open(nil, message, aad); (err == nil) != want || err != nil && err != ErrOpen {
			t.Errorf("opened as: %v", err)
		}
	})
}

func BenchmarkOpen1K(b *testing.B) {
	a := mustNew(b, bytes.Repeat([]byte{7}, 32))
	message, err := a.Seal(nil, make([]byte, 1024), nil)
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Open(dst, message, nil); err != nil {
			b.Fatal(err)
		}
	}
}
