package seal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

var errCrash = errors.New("crash")

// crashAt makes the n-th step of a change end it, counted from 0.
func crashAt(k *Keys, n int) {
	k.folder.step = func(what string) error {
		if n--; n < 0 {
			return fmt.Errorf("%w at %s", errCrash, what)
		}
		return nil
	}
}

func mustRoot(t testing.TB, k *Keys) RootStatus {
	t.Helper()
	st, err := k.Root()
	must(t, err)
	return st
}

const goodPhrase = "correct horse battery staple"

func phrase(text string) Passphrase {
	return func() (mask.Bytes, error) { return mask.NewBytes([]byte(text)), nil }
}

// mustCreateSealed makes a folder with cheap parameters, so that tests that
// open it often are quick.
func mustCreateSealed(t testing.TB) string {
	t.Helper()
	dir, _ := mustCreate(t)
	roots, err := parseRoot(read(t, dir, rootName))
	must(t, err)
	d := kdf{memory: minMemory, time: minTime, lanes: 1}
	kek, err := d.key(mask.NewBytes([]byte(goodPhrase)))
	must(t, err)
	f, err := sealRoots(d, kek, roots)
	must(t, err)
	write(t, dir, rootName, f.marshal())
	return dir
}

func TestRotateRoot(t *testing.T) {
	dir, k := mustCreate(t)
	oldRoot, oldEpoch := read(t, dir, rootName), read(t, dir, "epoch-1.key")
	before := mustRoot(t, k)
	must(t, k.RotateRoot(before.Current))
	after := mustRoot(t, k)
	if after.Current == before.Current || len(after.Older) != 1 || after.Older[0] != before.Current || after.Pending {
		t.Fatalf("after the rotation: %+v", after)
	}
	// A second call for the same key makes no third one.
	must(t, k.RotateRoot(before.Current))
	if again := mustRoot(t, k); again.Current != after.Current {
		t.Error("a repeated rotation made another root key")
	}
	opens := func(what string, root, epoch []byte, want error) {
		t.Helper()
		d := t.TempDir()
		write(t, d, rootName, root)
		write(t, d, "epoch-1.key", epoch)
		got, err := Open(d)
		if !errors.Is(err, want) || err == nil && !got.Epoch().Key.Equal(k.Epoch().Key) {
			t.Errorf("%s: %v; want %v", what, err, want)
		}
	}
	both, newEpoch := read(t, dir, rootName), read(t, dir, "epoch-1.key")
	opens("new root key, old epoch file", both, oldEpoch, nil)
	opens("old root key, old epoch file", oldRoot, oldEpoch, nil)
	opens("old root key, new epoch file", oldRoot, newEpoch, nil)

	must(t, k.ForgetOldRoots())
	st := mustRoot(t, k)
	if st.Current != after.Current || len(st.Older) != 0 || st.Pending {
		t.Errorf("after forgetting: %+v", st)
	}
	alone, lastEpoch := read(t, dir, rootName), read(t, dir, "epoch-1.key")
	opens("new root key alone", alone, lastEpoch, nil)
	opens("new root key alone, epoch file under both", alone, newEpoch, nil)
	opens("forgotten root key", oldRoot, lastEpoch, ErrWrongRootKey)
	opens("new root key, backup from before", alone, oldEpoch, ErrWrongRootKey)
	opens("old root key, backup from before", oldRoot, oldEpoch, nil)
}

// TestRotateRootInterrupted crashes a rotation, and a forgetting, at each of
// their steps: the folder opens, and the next one carries it through.
func TestRotateRootInterrupted(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(k *Keys, from string) error
		run    func(k *Keys, from string) error
		older  int
	}{
		{"rotate", func(*Keys, string) error { return nil }, func(k *Keys, from string) error { return k.RotateRoot(from) }, 1},
		{"forget", func(k *Keys, from string) error { return k.RotateRoot(from) }, func(k *Keys, _ string) error { return k.ForgetOldRoots() }, 0},
	} {
		for _, create := range []func() (string, Passphrase){
			func() (string, Passphrase) { d, _ := mustCreate(t); return d, nil },
			func() (string, Passphrase) { return mustCreateSealed(t), phrase(goodPhrase) },
		} {
			steps := 0
			for ; ; steps++ {
				dir, pass := create()
				second := newKey()
				k, err := Unlock(dir, pass)
				must(t, err)
				e := k.Epoch()
				e.ID, e.Key = 2, second
				roots, err := k.readRoots()
				must(t, err)
				f, err := wrapEpoch(e, roots[0])
				must(t, err)
				write(t, dir, "epoch-2.key", f.marshal())
				k, err = Unlock(dir, pass)
				must(t, err)
				from := mustRoot(t, k).Current
				must(t, c.before(k, from))
				crashAt(k, steps)
				err = c.run(k, from)
				if err != nil && !errors.Is(err, errCrash) {
					t.Fatal(err)
				}
				again, openErr := Unlock(dir, pass)
				if openErr != nil || again.Epoch().ID != 2 || !again.Epoch().Key.Equal(second) {
					t.Fatalf("%s, after %v: %v", c.name, err, openErr)
				}
				if pending := mustRoot(t, again).Pending; pending && err == nil {
					t.Errorf("%s: done, but called pending", c.name)
				}
				must(t, c.run(again, from))
				st := mustRoot(t, again)
				if st.Pending || len(st.Older) != c.older || st.Current == from {
					t.Errorf("%s, after %v and again: %+v", c.name, err, st)
				}
				entries, _ := os.ReadDir(dir)
				if len(entries) != 3 {
					t.Errorf("%s, after %v: leftovers %v", c.name, err, entries)
				}
				if err == nil {
					break
				}
			}
			if steps != 9 {
				t.Errorf("%s has %d steps, want three for each of three files", c.name, steps)
			}
		}
	}
}

func TestRotateRootIsBounded(t *testing.T) {
	dir, k := mustCreate(t)
	for range maxKeys - 1 {
		must(t, k.RotateRoot(mustRoot(t, k).Current))
	}
	untouched(t, dir, func() {
		if err := k.RotateRoot(mustRoot(t, k).Current); !errors.Is(err, ErrTooMany) {
			t.Errorf("one root key too many: %v", err)
		}
	})
	if _, err := Open(dir); err != nil {
		t.Error(err)
	}
	must(t, k.ForgetOldRoots())
	must(t, k.RotateRoot(mustRoot(t, k).Current))
}

func TestClean(t *testing.T) {
	dir, k := mustCreate(t)
	for _, name := range []string{"root.key.tmp-1", "epoch-1.key.tmp-2", "epoch-17.key.tmp-3", "other.tmp-4"} {
		write(t, dir, name, []byte("x"))
	}
	must(t, k.Clean())
	left, err := filepath.Glob(filepath.Join(dir, "*.tmp-*"))
	must(t, err)
	if len(left) != 1 || filepath.Base(left[0]) != "other.tmp-4" {
		t.Errorf("left: %v", left)
	}
}

func TestPassphrase(t *testing.T) {
	dir, made := mustCreate(t)
	plain := read(t, dir, rootName)
	must(t, SetPassphrase(dir, nil, mask.NewBytes([]byte(goodPhrase))))
	if bytes.Contains(read(t, dir, rootName), bytes.Fields(plain)[3]) {
		t.Fatal("the root key stands in the file")
	}
	k, err := Unlock(dir, phrase(goodPhrase))
	must(t, err)
	if !k.Epoch().Key.Equal(made.Epoch().Key) {
		t.Error("another epoch key")
	}
	if st := mustRoot(t, k); !st.Passphrase || st.Pending {
		t.Errorf("%+v", st)
	}
	const other = "another one, just as long"
	untouched(t, dir, func() {
		for what, pass := range map[string]Passphrase{"none": nil, "wrong": phrase("Correct horse battery staple"), "empty": phrase("")} {
			_, err := Unlock(dir, pass)
			if !errors.Is(err, ErrPassphrase) || !strings.Contains(err.Error(), "root.key") || strings.Contains(err.Error(), "horse") {
				t.Errorf("%s: %v", what, err)
			}
			if err := SetPassphrase(dir, pass, mask.NewBytes([]byte(other))); !errors.Is(err, ErrPassphrase) {
				t.Errorf("changed with %s: %v", what, err)
			}
		}
		for _, short := range []string{"", "elevenchars", strings.Repeat("x", MaxPassphrase+1)} {
			if err := SetPassphrase(dir, phrase(goodPhrase), mask.NewBytes([]byte(short))); err == nil {
				t.Errorf("a passphrase of %d bytes was accepted", len(short))
			}
		}
	})
	must(t, k.RotateRoot(mustRoot(t, k).Current))
	must(t, SetPassphrase(dir, phrase(goodPhrase), mask.NewBytes([]byte(other))))
	if _, err := Unlock(dir, phrase(goodPhrase)); !errors.Is(err, ErrPassphrase) {
		t.Errorf("the old passphrase: %v", err)
	}
	changed, err := Unlock(dir, phrase(other))
	must(t, err)
	if st := mustRoot(t, changed); len(st.Older) != 1 || st.Pending {
		t.Errorf("after the change: %+v", st)
	}
	// The keys that were opened before the change must not write the old seal.
	if err := k.RotateRoot(mustRoot(t, k).Current); !errors.Is(err, ErrPassphrase) {
		t.Errorf("a rotation under the old passphrase: %v", err)
	}
}

func TestCreateSealed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := CreateSealed(dir, phrase("short")); err == nil || Exists(dir) {
		t.Fatalf("a short passphrase: %v", err)
	}
	made, err := CreateSealed(dir, phrase(goodPhrase))
	must(t, err)
	k, err := Unlock(dir, phrase(goodPhrase))
	must(t, err)
	if !k.Epoch().Key.Equal(made.Epoch().Key) || !mustRoot(t, k).Passphrase {
		t.Error("another folder than was made")
	}
	if _, err := Open(dir); !errors.Is(err, ErrPassphrase) {
		t.Errorf("without the passphrase: %v", err)
	}
}

// TestEveryByteOfASealedRootCounts: what the sum does not catch, the bounds
// and the seal do.
func TestEveryByteOfASealedRootCounts(t *testing.T) {
	dir := mustCreateSealed(t)
	good := read(t, dir, rootName)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		write(t, dir, rootName, bad)
		if _, err := Unlock(dir, phrase(goodPhrase)); !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	f, err := parseRootFile(good)
	must(t, err)
	f.sealed[0].wrapped[30] ^= 1
	write(t, dir, rootName, f.marshal())
	if _, err := Unlock(dir, phrase(goodPhrase)); !errors.Is(err, ErrPassphrase) {
		t.Errorf("altered with its sum: %v", err)
	}
}

// TestAbsurdParameters: a file cannot ask for a machine's whole memory, nor for
// so little work that passphrases can be guessed.
func TestAbsurdParameters(t *testing.T) {
	salt := " salt AAAAAAAAAAAAAAAAAAAAAA=="
	for _, c := range []struct {
		line string
		want bool
	}{
		{"argon2id v=19 m=65536 t=3 p=4" + salt, true},
		{"argon2id v=19 m=19456 t=2 p=1" + salt, true},
		{"argon2id v=19 m=1048576 t=16 p=16" + salt, true},
		{"argon2id v=19 m=19455 t=2 p=1" + salt, false},
		{"argon2id v=19 m=1048577 t=3 p=4" + salt, false},
		{"argon2id v=19 m=4294967295 t=3 p=4" + salt, false},
		{"argon2id v=19 m=65536 t=1 p=4" + salt, false},
		{"argon2id v=19 m=65536 t=17 p=4" + salt, false},
		{"argon2id v=19 m=65536 t=3 p=0" + salt, false},
		{"argon2id v=19 m=65536 t=3 p=17" + salt, false},
		{"argon2id v=16 m=65536 t=3 p=4" + salt, false},
		{"argon2id v=19 m=65536 t=03 p=4" + salt, false},
		{"argon2id v=19 t=3 m=65536 p=4" + salt, false},
		{"argon2id v=19 m=65536 t=3 p=4 salt AAAA", false},
		{"argon2id v=19 m=65536 t=3 p=4", false},
		{"argon2i v=19 m=65536 t=3 p=4" + salt, false},
	} {
		if _, ok := parseKDF([]byte(c.line)); ok != c.want {
			t.Errorf("%s: %v", c.line, ok)
		}
	}
}

func TestPassphraseFile(t *testing.T) {
	dir := t.TempDir()
	for content, want := range map[string]string{
		goodPhrase: goodPhrase, goodPhrase + "\n": goodPhrase, goodPhrase + "\r\n": goodPhrase,
		" two\nlines \n\n": " two\nlines \n", "": "", "\n": "", strings.Repeat("x", MaxPassphrase+1): "",
	} {
		path := filepath.Join(dir, "phrase")
		must(t, os.WriteFile(path, []byte(content), 0o600))
		got, err := PassphraseFile(path)
		if string(got.Reveal()) != want || (err == nil) != (want != "") {
			t.Errorf("%d bytes: %d bytes, %v", len(content), got.Len(), err)
		}
	}
	path := filepath.Join(dir, "open")
	must(t, os.WriteFile(path, []byte(goodPhrase), 0o600))
	for mode, ok := range map[os.FileMode]bool{0o400: true, 0o440: true, 0o404: false, 0o602: false, 0o660: false} {
		must(t, os.Chmod(path, mode))
		if _, err := PassphraseFile(path); errors.Is(err, ErrPermissions) == ok {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	if _, err := PassphraseFile(filepath.Join(dir, "none")); err == nil {
		t.Error("a missing file")
	}
}

func FuzzParseRootFile(f *testing.F) {
	d := kdf{memory: minMemory, time: minTime, lanes: 1}
	sealed := rootFile{kdf: d, sealed: []wrap{{"file:00112233445566778899aabbccddeeff", bytes.Repeat([]byte{3}, 72)}, {"file:a", []byte{1}}}}
	f.Add(sealed.marshal())
	key, err := newFileSeal(mask.NewBytes(bytes.Repeat([]byte{1}, 32)))
	must(f, err)
	f.Add((&rootFile{plain: []*fileSeal{key}}).marshal())
	f.Add([]byte(rootHeader + "\n" + d.line() + "\nsum 00\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := parseRootFile(text)
		if err != nil {
			return
		}
		if !bytes.Equal(trim(file.marshal()), trim(text)) {
			t.Error("written anew, the file differs")
		}
		if file.sealed != nil && !file.kdf.sane() {
			t.Error("parameters out of bounds")
		}
	})
}
