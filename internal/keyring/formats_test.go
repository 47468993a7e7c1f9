package keyring

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

// Blobs that an earlier build stored, under the keys of fixedRing. They must
// open for ever; a format that changes gets blobs of its own beside them.
const (
	goldenRingKey = "110000000124e34a4b27d62406046e6b204ba7ce8c010e2975885a4fede93af6" +
		"ab6b8fb2fcfb468555ed87d14c220b27120df2b24bcd423450e55f805f163ee7" +
		"b59c5eeeb74ce73dc7a6c5e1f19d1088da737eefaf"
	goldenSealed = "210000000112bd259734f2b05cb0edec829de203ec64de0f3fa8ac42478f5223" +
		"a43203bf40271d57f1a4dad7420d"
	goldenMaterial = "310000000145d14dbd207f5d4567b14a500090c81f35fc80a7ae0eadcd622a5a" +
		"7804a416a3ec449a1458ecaeaa3f347bb1fc2814ba82db424932922394a5c5dd" +
		"8ec517b7becea4a04b1215787f"
	goldenValue = "419c55689e80661cb4e0277d210bcbec622ca0517b5a10315c24180d52c03c10" +
		"abc624281bcbb7eda01a1488b989aa70f86ec2de7ef03f64ddda484766c37ed5" +
		"bdedf12f789f2140fcd01411a0238d8d17ba97b5cb25a4a8edb3933dd5bcd7b6" +
		"b588eb0a8fe0ee15559e"
)

// fixedRing is a ring whose keys never change.
func fixedRing(t testing.TB) *Ring {
	t.Helper()
	r := New(testEpoch(1))
	for _, p := range []Purpose{MAC, Token, AccessKey, Wrap} {
		n := keyName{p, 1}
		sealed, err := r.sealRingKey(n, made, bytes.Repeat([]byte(p[:1]), KeySize))
		if err != nil {
			t.Fatal(err)
		}
		mustLoad(t, r, n.String(), sealed)
	}
	return r
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStoredFormatsOpen(t *testing.T) {
	r := fixedRing(t)
	if got, err := r.Open(Token, []byte("aad"), unhex(t, goldenSealed)); err != nil || string(got.Reveal()) != "x" {
		t.Errorf("sealed thing: %v", err)
	}
	got, err := r.OpenValue(unhex(t, goldenMaterial), ref(), unhex(t, goldenValue))
	if err != nil || !got.Equal(mask.NewText("value")) {
		t.Errorf("value: %v", err)
	}
	mustLoad(t, r, "token/2", unhex(t, goldenRingKey))
	if v, created, _ := r.Current(Token); v != 2 || created.Unix() != made.Unix() {
		t.Errorf("ring key: version %d, made %v", v, created)
	}
}

// FuzzParseBlob: what parses is written again alike, and of all blobs only the
// ones that were sealed open. They are constants because the fuzzer's processes
// share their inputs.
func FuzzParseBlob(f *testing.F) {
	r := fixedRing(f)
	sealed, ringKey, material := unhex(f, goldenSealed), unhex(f, goldenRingKey), unhex(f, goldenMaterial)
	for _, g := range [][]byte{sealed, ringKey, material} {
		f.Add(g)
		f.Add(g[:len(g)-1])
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, format := range []byte{formatSealed, formatRingKey, formatMaterial} {
			s, ok := parseBlob(format, b)
			if ok && !bytes.Equal(append(s.appendHeader(nil), s.message...), b) {
				t.Errorf("format %x: written anew, the blob differs", format)
			}
		}
		if _, err := r.Open(Token, []byte("aad"), b); (err == nil) != bytes.Equal(b, sealed) {
			t.Errorf("as a sealed thing: %v", err)
		}
		if _, err := r.openRingKey(keyName{Token, 2}, b); (err == nil) != bytes.Equal(b, ringKey) {
			t.Errorf("as a ring key: %v", err)
		}
		if _, err := r.openMaterial(new(scratch), ref().KeyRef, b); (err == nil) != bytes.Equal(b, material) {
			t.Errorf("as material: %v", err)
		}
	})
}

// FuzzParseValue does the same for sealed values.
func FuzzParseValue(f *testing.F) {
	r := fixedRing(f)
	material, blob := unhex(f, goldenMaterial), unhex(f, goldenValue)
	f.Add(blob)
	f.Add(blob[:valueOverhead])
	f.Add(blob[:valueOverhead-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, ok := parseValue(b); ok {
			if !bytes.Equal(append(append([]byte{formatValue}, v.dataKey...), v.message...), b) {
				t.Error("written anew, the value differs")
			}
		}
		if _, err := r.OpenValue(material, ref(), b); (err == nil) != bytes.Equal(b, blob) {
			t.Errorf("opened as: %v", err)
		}
	})
}

// FuzzParseName: a name that is read is written again alike.
func FuzzParseName(f *testing.F) {
	for _, s := range []string{"token/1", "wrap/4294967295", "mac/0", "mac/01", "access-key/2/3", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, ok := parseName(s); ok && (n.String() != s || n.version == 0 || !n.purpose.known()) {
			t.Errorf("%q is read as %v", s, n)
		}
	})
}
