package keyring

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

func ref() ValueRef {
	return ValueRef{
		KeyRef:   KeyRef{Region: "cn-hangzhou", Account: "1000000000000001", KeyID: "key-1", KeyVersion: "kv-1"},
		SecretID: "id-1", SecretName: "bailian!a", VersionID: "v1",
	}
}

type sealedValue struct{ material, blob []byte }

func mustSealValue(t testing.TB, r *Ring, ref ValueRef, text string) sealedValue {
	t.Helper()
	material, err := r.NewMaterial(ref.KeyRef)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := r.SealValue(material, ref, mask.NewText(text))
	if err != nil {
		t.Fatal(err)
	}
	return sealedValue{material, blob}
}

func TestValues(t *testing.T) {
	r := fullRing(t)
	for _, text := range []string{"", "x", strings.Repeat("long ", 6144), strings.Repeat("y", 100_000), "\x00\xff"} {
		s := mustSealValue(t, r, ref(), text)
		if len(s.blob) != len(text)+101 {
			t.Errorf("%d bytes are sealed to %d", len(text), len(s.blob))
		}
		if len(text) > 1 && bytes.Contains(s.blob, []byte(text)) {
			t.Error("the value stands in the blob")
		}
		got, err := r.OpenValue(s.material, ref(), s.blob)
		if err != nil || !got.Equal(mask.NewText(text)) {
			t.Errorf("%d bytes: %v", len(text), err)
		}
	}
	// A new Wrap key does not touch what is there.
	s := mustSealValue(t, r, ref(), "before")
	add(t, r, Wrap)
	if _, err := r.OpenValue(s.material, ref(), s.blob); err != nil {
		t.Errorf("after the Wrap key changed: %v", err)
	}
	r.Remove("wrap/1")
	if _, err := r.OpenValue(s.material, ref(), s.blob); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("after the old Wrap key was removed: %v", err)
	}
	if _, err := r.SealValue(s.material, ref(), mask.Text{}); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("SealValue after the old Wrap key was removed: %v", err)
	}
}

// eachField calls f with every field of a reference changed in turn. It walks
// the type, so that a new field cannot be forgotten.
func eachField(t *testing.T, change func(string) string, f func(name string, changed ValueRef)) {
	t.Helper()
	n := 0
	var walk func(root *ValueRef, v reflect.Value)
	walk = func(root *ValueRef, v reflect.Value) {
		for i := range v.NumField() {
			field := v.Field(i)
			if field.Kind() == reflect.Struct {
				walk(root, field)
				continue
			}
			was := field.String()
			field.SetString(change(was))
			f(v.Type().Field(i).Name, *root)
			field.SetString(was)
			n++
		}
	}
	base := ref()
	walk(&base, reflect.ValueOf(&base).Elem())
	if n != 7 {
		t.Errorf("%d fields were changed", n)
	}
}

// TestEveryFieldBinds changes each field of the reference, first as a thief
// would who moves a blob within the store and then with the key's material
// made to fit, so that each layer's own binding shows.
func TestEveryFieldBinds(t *testing.T) {
	r := fullRing(t)
	s := mustSealValue(t, r, ref(), "value")
	eachField(t, func(s string) string { return s + "x" }, func(name string, changed ValueRef) {
		if got, err := r.OpenValue(s.material, changed, s.blob); err != ErrOpen || got.Len() != 0 {
			t.Errorf("%s changed: %v", name, err)
		}
		fitting := resealMaterial(t, r, s.material, changed.KeyRef)
		if _, err := r.OpenValue(fitting, changed, s.blob); err != ErrOpen {
			t.Errorf("%s changed, material fitting: %v", name, err)
		}
		blob := resealDataKey(t, r, s, changed)
		if _, err := r.OpenValue(fitting, changed, blob); err != ErrOpen {
			t.Errorf("%s changed, material and data key fitting: %v", name, err)
		}
	})
	// Bytes that pass from one field to the next change the reference too.
	for what, changed := range map[string]ValueRef{
		"name to version": {ref().KeyRef, "id-1", "bailian!", "av1"},
		"id to name":      {ref().KeyRef, "id-", "1bailian!a", "v1"},
	} {
		if _, err := r.OpenValue(s.material, changed, s.blob); err != ErrOpen {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// resealMaterial binds the same material to another reference.
func resealMaterial(t *testing.T, r *Ring, sealed []byte, to KeyRef) []byte {
	t.Helper()
	k, err := r.sealer(Wrap)
	if err != nil {
		t.Fatal(err)
	}
	material, err := k.aead.Open(nil, sealed[blobHeader:], ref().materialAAD(nil, k.name.version))
	if err != nil {
		t.Fatal(err)
	}
	out, err := sealBlob(k.aead, formatMaterial, k.name.version, to.materialAAD(nil, k.name.version), material)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// resealDataKey binds the data key of a value to another reference, and leaves
// the value itself.
func resealDataKey(t *testing.T, r *Ring, s sealedValue, to ValueRef) []byte {
	t.Helper()
	a, err := r.openMaterial(new(scratch), ref().KeyRef, s.material)
	if err != nil {
		t.Fatal(err)
	}
	v, _ := parseValue(s.blob)
	dataKey, err := a.Open(nil, v.dataKey, ref().aad(nil, labelDataKey))
	if err != nil {
		t.Fatal(err)
	}
	out, err := a.Seal([]byte{formatValue}, dataKey, to.aad(nil, labelDataKey))
	if err != nil {
		t.Fatal(err)
	}
	out = append(out, v.message...)
	if !bytes.Equal(out[1+wrappedKeySize:], s.blob[1+wrappedKeySize:]) {
		t.Fatal("the value was changed")
	}
	return out
}

func TestIncompleteReferencesDoNotSeal(t *testing.T) {
	r := fullRing(t)
	s := mustSealValue(t, r, ref(), "value")
	eachField(t, func(string) string { return "" }, func(name string, changed ValueRef) {
		_, err := r.SealValue(s.material, changed, mask.NewText("value"))
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
		_, err = r.NewMaterial(changed.KeyRef)
		_, inKey := reflect.TypeFor[KeyRef]().FieldByName(name)
		if inKey != (err != nil) {
			t.Errorf("NewMaterial without %s: %v", name, err)
		}
	})
}

// TestPartsDoNotFitElsewhere mixes the parts of two secrets under one key, of
// one secret under two keys, and of things of different kinds.
func TestPartsDoNotFitElsewhere(t *testing.T) {
	r := fullRing(t)
	one := mustSealValue(t, r, ref(), "one")
	other := ref()
	other.SecretID, other.SecretName = "id-2", "bailian!b"
	blob, err := r.SealValue(one.material, other, mask.NewText("two"))
	if err != nil {
		t.Fatal(err)
	}
	again := mustSealValue(t, r, ref(), "one") // new material, same reference
	cut := 1 + wrappedKeySize
	token, err := r.Seal(Wrap, ref().materialAAD(nil, 1), mask.NewBytes(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ material, blob []byte }{
		"another secret's blob":     {one.material, blob},
		"another secret's data key": {one.material, append(bytes.Clone(blob[:cut]), one.blob[cut:]...)},
		"another secret's message":  {one.material, append(bytes.Clone(one.blob[:cut]), blob[cut:]...)},
		"other material":            {again.material, one.blob},
		"other blob":                {one.material, again.blob},
		"a sealed thing":            {with(token, 0, formatMaterial), one.blob},
		"blob as material":          {one.blob, one.blob},
		"material as blob":          {one.material, one.material},
		"nothing":                   {nil, nil},
	} {
		if _, err := r.OpenValue(c.material, ref(), c.blob); err != ErrOpen {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range one.blob {
		if _, err := r.OpenValue(one.material, ref(), with(one.blob, i, one.blob[i]^1)); err != ErrOpen {
			t.Errorf("byte %d of the blob changed: %v", i, err)
		}
		if _, err := r.OpenValue(one.material, ref(), one.blob[:i]); err != ErrOpen {
			t.Errorf("blob cut to %d: %v", i, err)
		}
	}
	for i := range one.material {
		_, err := r.OpenValue(with(one.material, i, one.material[i]^0x10), ref(), one.blob)
		if i >= 1 && i < 5 && !errors.Is(err, ErrUnknownKey) || (i < 1 || i >= 5) && err != ErrOpen {
			t.Errorf("byte %d of the material changed: %v", i, err)
		}
	}
}

// TestScratchIsWiped looks at the memory that goes back to the pool.
func TestScratchIsWiped(t *testing.T) {
	r := fullRing(t)
	s := &scratch{value: append(make([]byte, 0, 64), "a plain value"...)}
	material, err := r.NewMaterial(ref().KeyRef)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.openMaterial(s, ref().KeyRef, material); err != nil {
		t.Fatal(err)
	}
	if s.key == [KeySize]byte{} {
		t.Fatal("the material is not in the scratch: the test looks at nothing")
	}
	value := s.value[:cap(s.value)]
	s.wipe()
	if s.key != [KeySize]byte{} || !bytes.Equal(value, make([]byte, 64)) {
		t.Error("the scratch is not wiped")
	}
}

func BenchmarkOpenValue1K(b *testing.B) {
	r := fullRing(b)
	s := mustSealValue(b, r, ref(), strings.Repeat("k", 1024))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.OpenValue(s.material, ref(), s.blob); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSealValue1K(b *testing.B) {
	r := fullRing(b)
	s := mustSealValue(b, r, ref(), "")
	value := mask.NewText(strings.Repeat("k", 1024))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.SealValue(s.material, ref(), value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyMAC1K(b *testing.B) {
	r := fullRing(b)
	body := make([]byte, 1024)
	v, sum, err := r.MAC("/sesame/v1/kms/cn-hangzhou/1000000000000001/secret/a", body)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.VerifyMAC(v, "/sesame/v1/kms/cn-hangzhou/1000000000000001/secret/a", body, sum[:]); err != nil {
			b.Fatal(err)
		}
	}
}
