package keyring

import (
	"errors"
	"slices"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

func TestReseal(t *testing.T) {
	r := fullRing(t)
	aad, secret := []byte("key id"), mask.NewBytes([]byte("secret"))
	old, err := r.Seal(AccessKey, aad, mask.NewBytes([]byte("secret")))
	if err != nil {
		t.Fatal(err)
	}
	if out, changed, err := r.Reseal(AccessKey, aad, old); changed || err != nil || out != nil {
		t.Errorf("under the current key: %v, %v", changed, err)
	}
	add(t, r, AccessKey)
	fresh, changed, err := r.Reseal(AccessKey, aad, old)
	if err != nil || !changed {
		t.Fatalf("under an older key: %v, %v", changed, err)
	}
	if _, _, err := r.Reseal(AccessKey, []byte("another id"), old); err != ErrOpen {
		t.Errorf("moved elsewhere: %v", err)
	}
	if _, _, err := r.Reseal(MAC, aad, old); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("for a purpose that seals nothing: %v", err)
	}
	if _, _, err := r.Reseal(AccessKey, aad, with(old, len(old)-1, old[len(old)-1]^1)); err != ErrOpen {
		t.Errorf("altered: %v", err)
	}
	if _, _, err := r.Reseal(AccessKey, aad, nil); err != ErrOpen {
		t.Errorf("nothing: %v", err)
	}
	r.Remove("access-key/1")
	if got, err := r.Open(AccessKey, aad, fresh); err != nil || !got.Equal(secret) {
		t.Errorf("after the old key was removed: %v", err)
	}
	if _, _, err := r.Reseal(AccessKey, aad, old); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("under a removed key: %v", err)
	}
}

func TestRewrapMaterial(t *testing.T) {
	r := fullRing(t)
	s := mustSealValue(t, r, ref(), "value")
	if _, changed, err := r.RewrapMaterial(ref().KeyRef, s.material); changed || err != nil {
		t.Errorf("under the current key: %v, %v", changed, err)
	}
	add(t, r, Wrap)
	fresh, changed, err := r.RewrapMaterial(ref().KeyRef, s.material)
	if err != nil || !changed {
		t.Fatalf("under an older key: %v, %v", changed, err)
	}
	eachField(t, func(x string) string { return x + "x" }, func(name string, other ValueRef) {
		_, _, err := r.RewrapMaterial(other.KeyRef, s.material)
		if (err == nil) != (other.KeyRef == ref().KeyRef) {
			t.Errorf("%s changed: %v", name, err)
		}
	})
	if _, _, err := r.RewrapMaterial(KeyRef{}, s.material); err == nil {
		t.Error("for an empty reference")
	}
	for i := range s.material {
		if _, _, err := r.RewrapMaterial(ref().KeyRef, with(s.material, i, s.material[i]^1)); err == nil {
			t.Errorf("byte %d changed: it was wrapped anew", i)
		}
	}
	r.Remove("wrap/1")
	if got, err := r.OpenValue(fresh, ref(), s.blob); err != nil || !got.Equal(mask.NewText("value")) {
		t.Errorf("after the old key was removed: %v", err)
	}
}

func TestBefore(t *testing.T) {
	names := []string{"mac/1", "mac/2", "mac/10", "wrap/1", "mac/x", "mac"}
	if got := Before(names, MAC, 10); !slices.Equal(got, []string{"mac/1", "mac/2"}) {
		t.Errorf("%v", got)
	}
	if p, v, ok := ParseName("access-key/7"); p != AccessKey || v != 7 || !ok {
		t.Errorf("%v %v %v", p, v, ok)
	}
}
