package keyring

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

var made = time.Date(2026, 12, 1, 10, 20, 30, 999, time.UTC)

func testEpoch(id uint32) Epoch {
	return Epoch{id, mask.NewBytes(bytes.Repeat([]byte{byte(id)}, KeySize))}
}

func mustGenerate(t testing.TB, r *Ring, p Purpose) (string, []byte) {
	t.Helper()
	name, sealed, err := r.Generate(p, made)
	if err != nil {
		t.Fatal(err)
	}
	return name, sealed
}

func mustLoad(t testing.TB, r *Ring, name string, sealed []byte) {
	t.Helper()
	if err := r.Load(name, sealed); err != nil {
		t.Fatal(err)
	}
}

// add makes the next version of a purpose and puts it to use.
func add(t testing.TB, r *Ring, p Purpose) (string, []byte) {
	t.Helper()
	name, sealed := mustGenerate(t, r, p)
	mustLoad(t, r, name, sealed)
	return name, sealed
}

// fullRing has one key of each purpose.
func fullRing(t testing.TB) *Ring {
	t.Helper()
	r := New(testEpoch(1))
	for _, p := range []Purpose{MAC, Token, AccessKey, Wrap} {
		add(t, r, p)
	}
	return r
}

func TestLifeOfAKey(t *testing.T) {
	r := New(testEpoch(1))
	if _, _, ok := r.Current(Token); ok {
		t.Error("an empty ring has a current key")
	}
	name, first := mustGenerate(t, r, Token)
	if name != "token/1" {
		t.Errorf("the first key is %q", name)
	}
	if _, _, ok := r.Current(Token); ok {
		t.Error("a generated key is in use before it was loaded")
	}
	mustLoad(t, r, name, first)
	mustLoad(t, r, name, first)
	v, created, ok := r.Current(Token)
	if v != 1 || !ok || !created.Equal(made.Truncate(time.Second)) || created.Location() != time.UTC {
		t.Errorf("current is %d, %v, %v", v, created, ok)
	}
	blob, err := r.Seal(Token, []byte("a"), mask.NewBytes([]byte("x")))
	if err != nil {
		t.Fatal(err)
	}

	second, sealed := mustGenerate(t, r, Token)
	if second != "token/2" {
		t.Errorf("the second key is %q", second)
	}
	mustLoad(t, r, second, sealed)
	mustLoad(t, r, name, first) // an older one that comes late stays older
	if v, _, _ := r.Current(Token); v != 2 {
		t.Errorf("current is %d", v)
	}
	if _, err := r.Open(Token, []byte("a"), blob); err != nil {
		t.Errorf("what version 1 sealed: %v", err)
	}
	r.Remove(name)
	r.Remove(name)
	r.Remove("no such name")
	if _, err := r.Open(Token, []byte("a"), blob); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("after version 1 was removed: %v", err)
	}
	r.Remove(second)
	if _, _, ok := r.Current(Token); ok {
		t.Error("a removed key is current")
	}
	if third, _ := mustGenerate(t, r, Token); third != "token/3" {
		t.Errorf("a used version was given again: %q", third)
	}
}

// TestRingsShareStoredKeys is two servers on one store, and a restart.
func TestRingsShareStoredKeys(t *testing.T) {
	a, b := New(testEpoch(1)), New(testEpoch(1))
	name, sealed := add(t, a, AccessKey)
	mustLoad(t, b, name, sealed)
	blob, err := a.Seal(AccessKey, []byte("id"), mask.NewBytes([]byte("secret")))
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.Open(AccessKey, []byte("id"), blob)
	if err != nil || string(got.Reveal()) != "secret" {
		t.Errorf("the other server: %v", err)
	}
	// Both make version 2; the store keeps one, and both must follow it.
	nameA, sealedA := mustGenerate(t, a, AccessKey)
	nameB, sealedB := mustGenerate(t, b, AccessKey)
	if nameA != nameB {
		t.Fatalf("%q and %q", nameA, nameB)
	}
	mustLoad(t, b, nameB, sealedB)
	mustLoad(t, b, nameA, sealedA)
	mustLoad(t, a, nameA, sealedA)
	if blob, err = b.Seal(AccessKey, nil, mask.NewBytes([]byte("2"))); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Open(AccessKey, nil, blob); err != nil {
		t.Errorf("the replaced key is still in use: %v", err)
	}
}

// TestLoadOrder loads the newest version first, as a listing by name may do.
func TestLoadOrder(t *testing.T) {
	a, b := New(testEpoch(1)), New(testEpoch(1))
	name1, sealed1 := add(t, a, Wrap)
	name2, sealed2 := add(t, a, Wrap)
	mustLoad(t, b, name2, sealed2)
	mustLoad(t, b, name1, sealed1)
	if v, _, _ := b.Current(Wrap); v != 2 {
		t.Errorf("current is %d", v)
	}
	if next, _ := mustGenerate(t, b, Wrap); next != "wrap/3" {
		t.Errorf("the next key is %q", next)
	}
}

func TestLoadRefuses(t *testing.T) {
	r := New(testEpoch(1))
	name, sealed := mustGenerate(t, r, Token)
	_, other := mustGenerate(t, r, Wrap)
	for _, n := range []string{"", "token", "token/", "/1", "token/0", "token/01", "token/+1", "token/-1", "token/1 ",
		"token/4294967296", "token/1/1", "nothing/1", "TOKEN/1"} {
		if err := r.Load(n, sealed); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("name %q: %v", n, err)
		}
	}
	for n, s := range map[string][]byte{"token/2": sealed, "wrap/1": sealed, "mac/1": sealed, name: other} {
		if err := r.Load(n, s); err != ErrOpen {
			t.Errorf("loaded as %q: %v", n, err)
		}
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		err := r.Load(name, bad)
		epochByte := i >= 1 && i < 5
		if epochByte && !errors.Is(err, ErrUnknownKey) || !epochByte && err != ErrOpen {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if err := r.Load(name, sealed[:i]); err != ErrOpen {
			t.Errorf("cut to %d: %v", i, err)
		}
	}
	if _, _, ok := r.Current(Token); ok {
		t.Error("a refused key is in use")
	}
	if _, _, err := r.Generate("nothing", made); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("Generate for an unknown purpose: %v", err)
	}
}

// TestEpochs: a new epoch opens what the older one sealed only while that is
// at hand, and its id alone does not make a key the older one.
func TestEpochs(t *testing.T) {
	old := New(testEpoch(1))
	name, sealed := add(t, old, MAC)
	both := New(testEpoch(2), testEpoch(1))
	mustLoad(t, both, name, sealed)
	name2, sealed2 := mustGenerate(t, both, MAC)
	if name2 != "mac/2" {
		t.Errorf("generated %q", name2)
	}
	if err := old.Load(name2, sealed2); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("a key of epoch 2 under epoch 1: %v", err)
	}
	if err := New(testEpoch(2)).Load(name, sealed); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("a key of epoch 1 under epoch 2: %v", err)
	}
	if err := New(Epoch{1, testEpoch(2).Key}).Load(name, sealed); err != ErrOpen {
		t.Errorf("another epoch key under the same id: %v", err)
	}
	for _, bad := range [][]Epoch{{{1, mask.NewBytes(make([]byte, 31))}}, {{}}, {testEpoch(1), testEpoch(1)}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New took %d epochs", len(bad))
				}
			}()
			New(bad[0], bad[1:]...)
		}()
	}
}

func TestSealAndOpen(t *testing.T) {
	r := fullRing(t)
	aad, plaintext := []byte("access key LTAI1"), []byte("its secret")
	blob, err := r.Seal(AccessKey, aad, mask.NewBytes(bytes.Clone(plaintext)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Open(AccessKey, aad, blob)
	if err != nil || !bytes.Equal(got.Reveal(), plaintext) {
		t.Fatalf("open: %v", err)
	}
	again, err := r.Seal(AccessKey, aad, mask.NewBytes(plaintext))
	if err != nil || bytes.Equal(blob[5:29], again[5:29]) {
		t.Errorf("the nonce is not new (%v)", err)
	}
	empty, err := r.Seal(Token, nil, mask.Bytes{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Open(Token, nil, empty); err != nil || got.Len() != 0 {
		t.Errorf("an empty thing: %v", err)
	}

	for what, open := range map[string]func() (mask.Bytes, error){
		"other purpose":    func() (mask.Bytes, error) { return r.Open(Token, aad, blob) },
		"other aad":        func() (mask.Bytes, error) { return r.Open(AccessKey, []byte("access key LTAI2"), blob) },
		"no aad":           func() (mask.Bytes, error) { return r.Open(AccessKey, nil, blob) },
		"as other format":  func() (mask.Bytes, error) { return r.Open(AccessKey, aad, with(blob, 0, formatMaterial)) },
		"with a byte more": func() (mask.Bytes, error) { return r.Open(AccessKey, aad, append(bytes.Clone(blob), 0)) },
	} {
		if got, err := open(); err != ErrOpen || got.Len() != 0 {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range blob {
		_, err := r.Open(AccessKey, aad, with(blob, i, blob[i]^0x80))
		if i >= 1 && i < 5 && !errors.Is(err, ErrUnknownKey) || (i < 1 || i >= 5) && err != ErrOpen {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := r.Open(AccessKey, aad, blob[:i]); err != ErrOpen {
			t.Errorf("cut to %d: %v", i, err)
		}
	}
}

func with(b []byte, i int, v byte) []byte {
	c := bytes.Clone(b)
	c[i] = v
	return c
}

// TestVersionIsBound gives two versions the same key bytes, which only a store
// that was tampered with by someone holding the epoch key could do. The blob
// still belongs to the version in its header.
func TestVersionIsBound(t *testing.T) {
	r := New(testEpoch(1))
	key := bytes.Repeat([]byte{9}, KeySize)
	for v := range uint32(2) {
		n := keyName{Token, v + 1}
		sealed, err := r.sealRingKey(n, made, key)
		if err != nil {
			t.Fatal(err)
		}
		mustLoad(t, r, n.String(), sealed)
	}
	blob, err := r.Seal(Token, nil, mask.NewBytes([]byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Open(Token, nil, with(blob, 4, 1)); err != ErrOpen {
		t.Errorf("under another version: %v", err)
	}
}

// TestKeysHaveOneUse: MAC keys do not seal, and the others make no MACs.
func TestKeysHaveOneUse(t *testing.T) {
	r := fullRing(t)
	if _, err := r.Seal(MAC, nil, mask.Bytes{}); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("Seal with a MAC key: %v", err)
	}
	blob, err := r.Seal(Token, nil, mask.Bytes{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Open(MAC, nil, blob); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("Open with a MAC key: %v", err)
	}
	empty := New(testEpoch(1))
	if _, err := empty.Seal(Token, nil, mask.Bytes{}); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("Seal without a key: %v", err)
	}
	if _, _, err := empty.MAC("k", nil); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("MAC without a key: %v", err)
	}
	if _, err := empty.NewMaterial(ref().KeyRef); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("NewMaterial without a key: %v", err)
	}
}

func TestMAC(t *testing.T) {
	r := fullRing(t)
	const key = "/sesame/v1/ram/1/user/a"
	body := []byte(`{"name":"a"}`)
	v, sum, err := r.MAC(key, body)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.VerifyMAC(v, key, body, sum[:]); err != nil {
		t.Error(err)
	}
	flipped := sum
	flipped[31] ^= 1
	for what, err := range map[string]error{
		"body":                r.VerifyMAC(v, key, []byte(`{"name":"b"}`), sum[:]),
		"key":                 r.VerifyMAC(v, "/sesame/v1/ram/1/user/b", body, sum[:]),
		"byte moved to key":   r.VerifyMAC(v, key+"{", body[1:], sum[:]),
		"byte moved from key": r.VerifyMAC(v, key[:len(key)-1], append([]byte("a"), body...), sum[:]),
		"sum":                 r.VerifyMAC(v, key, body, flipped[:]),
		"short sum":           r.VerifyMAC(v, key, body, sum[:31]),
		"no sum":              r.VerifyMAC(v, key, body, nil),
	} {
		if err != ErrOpen {
			t.Errorf("%s changed: %v", what, err)
		}
	}
	if err := r.VerifyMAC(v+1, key, body, sum[:]); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("unknown version: %v", err)
	}
	add(t, r, MAC)
	if v2, sum2, err := r.MAC(key, body); err != nil || v2 != v+1 || sum2 == sum {
		t.Errorf("after rotation: version %d, %v", v2, err)
	}
	if err := r.VerifyMAC(v, key, body, sum[:]); err != nil {
		t.Errorf("the old version: %v", err)
	}
}

// TestMACFormat pins the bytes: sums are stored.
func TestMACFormat(t *testing.T) {
	p := newMACPool(bytes.Repeat([]byte{1}, KeySize))
	got := p.sum("key", []byte("body"))
	// HMAC-SHA256 by another program over
	// 0000 0018 "opensesame/v1/record-mac" 0000 0003 "key" 0000 0004 "body"
	const want = "b16139d1061333299bd0ef5ff496b7beb3d859b241da85ebc31ada066c5594a9"
	if hex.EncodeToString(got[:]) != want {
		t.Errorf("%x, want %s", got, want)
	}
}

func TestFieldsAreUnambiguous(t *testing.T) {
	seen := map[string]string{}
	for _, fields := range [][]string{{}, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"ab"}, {"a", "b"}, {"a\x00\x00\x00\x01b"}} {
		var b []byte
		for _, f := range fields {
			b = appendField(b, f)
		}
		if other, twice := seen[string(b)]; twice {
			t.Errorf("%q and %s are encoded alike", fields, other)
		}
		seen[string(b)] = fmt.Sprintf("%q", fields)
	}
}

func TestRingNeverPrintsKeys(t *testing.T) {
	r := fullRing(t)
	var out bytes.Buffer
	for _, v := range []any{r, []*Ring{r}, testEpoch(1), struct{ R *Ring }{r}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			fmt.Fprintf(&out, verb, v)
			if got := fmt.Sprintf(verb, r); got != mask.Stars {
				t.Errorf("%s of a ring prints %d bytes", verb, len(got))
			}
		}
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(j)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	for _, k := range r.keys.Load().byName {
		b := k.key.Reveal()[:6]
		for _, leak := range []string{string(b), fmt.Sprintf("%x", b), strings.Trim(fmt.Sprint(b), "[]")} {
			if strings.Contains(out.String(), leak) {
				t.Errorf("the key %s is printed", k.name)
			}
		}
	}
}

// TestConcurrentUse reads while keys come and go; the race detector watches.
func TestConcurrentUse(t *testing.T) {
	r := fullRing(t)
	sealedMaterial, err := r.NewMaterial(ref().KeyRef)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				text := mask.NewText(fmt.Sprint("value ", i))
				blob, err := r.SealValue(sealedMaterial, ref(), text)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := r.OpenValue(sealedMaterial, ref(), blob); err != nil || !got.Equal(text) {
					t.Errorf("OpenValue: %v", err)
				}
				v, sum, err := r.MAC("k", []byte{byte(i)})
				if err != nil || r.VerifyMAC(v, "k", []byte{byte(i)}, sum[:]) != nil {
					t.Errorf("MAC: %v", err)
				}
			}
		})
	}
	for range 50 {
		add(t, r, MAC)
		name, _ := add(t, r, Token)
		r.Remove(name)
	}
	wg.Wait()
}
