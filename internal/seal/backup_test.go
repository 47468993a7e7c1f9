package seal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBackupKey: what a running server wraps opens with the root key alone, in
// another place and later.
func TestBackupKey(t *testing.T) {
	dir, k := mustCreate(t)
	bk, err := k.BackupKey()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := k.BackupKey(); err != nil || again.Key.Equal(bk.Key) {
		t.Errorf("two backups have the same key, or: %v", err)
	}
	files, err := k.EpochFiles(bk.RootKey)
	if err != nil {
		t.Fatal(err)
	}
	safe := t.TempDir()
	write(t, safe, rootName, read(t, dir, rootName))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	r, err := OpenRoot(safe, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Wipe()
	if key, err := r.BackupKey(bk.RootKey, bk.Wrapped); err != nil || !key.Equal(bk.Key) {
		t.Errorf("BackupKey: %v", err)
	}
	epochs, err := r.Epochs(files)
	if err != nil || len(epochs) != 1 || !epochs[0].Key.Equal(k.Epoch().Key) {
		t.Errorf("Epochs: %d, %v", len(epochs), err)
	}
	if err := r.Restore(dir, files); err != nil {
		t.Fatal(err)
	}
	back, err := Open(dir)
	if err != nil || !back.Epoch().Key.Equal(k.Epoch().Key) {
		t.Errorf("Open after Restore: %v", err)
	}
	if err := r.Restore(dir, files); !errors.Is(err, ErrExists) {
		t.Errorf("Restore over keys: %v", err)
	}
	if text := fmt.Sprintf("%v %+v %#v", *r, r, bk); bytes.Contains([]byte(text), read(t, safe, rootName)[60:90]) || strings.Contains(text, fmt.Sprint(bk.Key.Reveal())) {
		t.Error("a key is printed")
	}
}

func TestBackupKeyRefusals(t *testing.T) {
	dir, k := mustCreate(t)
	otherDir, other := mustCreate(t)
	r, err := OpenRoot(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Wipe()
	bk, err := k.BackupKey()
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.BackupKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.BackupKey(foreign.RootKey, foreign.Wrapped); !errors.Is(err, ErrWrongRootKey) || !strings.Contains(err.Error(), foreign.RootKey) {
		t.Errorf("another root key's: %v", err)
	}
	if _, err := r.BackupKey("file:\x1b[2J"+strings.Repeat("x", 500), nil); !errors.Is(err, ErrWrongRootKey) || strings.ContainsRune(err.Error(), 0x1b) || len(err.Error()) > 500 {
		t.Errorf("a strange name: %v", err)
	}
	bad := bytes.Clone(bk.Wrapped)
	bad[30] ^= 1
	// A wrap made for another purpose is none for a backup.
	epoch, err := parseEpoch(read(t, dir, epochName(1)))
	if err != nil {
		t.Fatal(err)
	}
	for name, wrapped := range map[string][]byte{"altered": bad, "cut": bad[:20], "none": nil, "an epoch key's": epoch.wraps[0].wrapped} {
		if _, err := r.BackupKey(bk.RootKey, wrapped); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, files := range map[string]map[string][]byte{
		"none":      {},
		"renamed":   {epochName(2): read(t, dir, epochName(1))},
		"foreign":   {epochName(1): read(t, otherDir, epochName(1))},
		"no text":   {epochName(1): nil},
		"no key":    {"notes.txt": read(t, dir, epochName(1))},
		"traversal": {"../" + epochName(1): read(t, dir, epochName(1))},
	} {
		if _, err := r.Epochs(files); !errors.Is(err, ErrDamaged) {
			t.Errorf("Epochs of %s: %v", name, err)
		}
	}
	into := filepath.Join(t.TempDir(), "keys")
	if err := r.Restore(into, map[string][]byte{"../" + epochName(1): nil}); err == nil {
		t.Error("Restore wrote outside its folder")
	}
	if err := r.Restore(into, nil); err == nil {
		t.Error("Restore made keys without an epoch")
	}
}

func TestEpochFilesRefusals(t *testing.T) {
	dir, k := mustCreate(t)
	otherDir, _ := mustCreate(t)
	bk, err := k.BackupKey()
	if err != nil {
		t.Fatal(err)
	}
	whole := read(t, dir, epochName(1))
	for name, content := range map[string][]byte{"another root key's": read(t, otherDir, epochName(1)), "damaged": whole[:len(whole)-5]} {
		write(t, dir, epochName(1), content)
		if _, err := k.EpochFiles(bk.RootKey); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if err := os.Remove(filepath.Join(dir, epochName(1))); err != nil {
		t.Fatal(err)
	}
	if _, err := k.EpochFiles(bk.RootKey); !errors.Is(err, ErrDamaged) {
		t.Errorf("without a file: %v", err)
	}
}

// TestBackupUnderPassphraseAndRotation: a backup needs the root key of its time,
// which root.key keeps, and the passphrase if that is sealed.
func TestBackupUnderPassphraseAndRotation(t *testing.T) {
	dir := mustCreateSealed(t)
	k, err := Unlock(dir, phrase(goodPhrase))
	if err != nil {
		t.Fatal(err)
	}
	before, err := k.BackupKey()
	if err != nil {
		t.Fatal(err)
	}
	files, err := k.EpochFiles(before.RootKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.RotateRoot(before.RootKey); err != nil {
		t.Fatal(err)
	}
	after, err := k.BackupKey()
	if err != nil || after.RootKey == before.RootKey {
		t.Fatalf("after the rotation: %v, the same root key: %t", err, after.RootKey == before.RootKey)
	}
	if _, err := k.EpochFiles(after.RootKey); err != nil {
		t.Error(err)
	}
	for name, p := range map[string]Passphrase{"none": nil, "wrong": phrase("another passphrase")} {
		if _, err := OpenRoot(dir, p); !errors.Is(err, ErrPassphrase) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r, err := OpenRoot(dir, phrase(goodPhrase))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Wipe()
	for _, bk := range []BackupKey{before, after} {
		if key, err := r.BackupKey(bk.RootKey, bk.Wrapped); err != nil || !key.Equal(bk.Key) {
			t.Errorf("BackupKey: %v", err)
		}
	}
	into := filepath.Join(t.TempDir(), "keys")
	if err := r.Restore(into, files); err != nil {
		t.Fatal(err)
	}
	back, err := Unlock(into, phrase(goodPhrase))
	if err != nil || !back.Epoch().Key.Equal(k.Epoch().Key) {
		t.Errorf("Unlock after Restore: %v", err)
	}
	// Once the old root key is forgotten, new backups are made, and the old one
	// needs the old root.key.
	if err := k.ForgetOldRoots(); err != nil {
		t.Fatal(err)
	}
	if bk, err := k.BackupKey(); err != nil || bk.RootKey != after.RootKey {
		t.Errorf("BackupKey after forgetting: %v", err)
	}
	r2, err := OpenRoot(dir, phrase(goodPhrase))
	if err != nil {
		t.Fatal(err)
	}
	defer r2.Wipe()
	if _, err := r2.BackupKey(before.RootKey, before.Wrapped); !errors.Is(err, ErrWrongRootKey) {
		t.Errorf("the old backup under the new root key: %v", err)
	}
}
