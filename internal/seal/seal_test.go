package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

func mustCreate(t testing.TB) (dir string, k *Keys) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "keys")
	k, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, k
}

func read(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, dir, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// file is what a refusal must leave as it was. The content is compared by
// length and equality only, so that a failing test prints no key.
type file struct {
	Mode    fs.FileMode
	ModTime time.Time
	Content mask.Bytes
}

func snapshot(t testing.TB, dir string) map[string]file {
	t.Helper()
	files := map[string]file{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := file{Mode: info.Mode(), ModTime: info.ModTime()}
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			f.Content = mask.NewBytes(b)
		}
		files[path] = f
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// untouched runs f and reports whatever it changed in dir.
func untouched(t *testing.T, dir string, f func()) {
	t.Helper()
	before := snapshot(t, dir)
	f()
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Errorf("the folder was touched (-before +after):\n%s", diff)
	}
}

func TestCreateAndOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "keys")
	if Exists(dir) {
		t.Error("keys exist before they were made")
	}
	made, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !Exists(dir) {
		t.Error("the keys do not exist after they were made")
	}
	opened, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	e := opened.Epoch()
	if e.ID != 1 || e.Key.Len() != keyring.KeySize || !e.Key.Equal(made.Epoch().Key) || len(opened.Older()) != 0 {
		t.Errorf("opened epoch %d with a key of %d bytes", e.ID, e.Key.Len())
	}
	if got, want := opened.RootKeyPath(), filepath.Join(dir, "root.key"); got != want {
		t.Errorf("root key path %s, want %s", got, want)
	}
	var names []string
	for path, f := range snapshot(t, dir) {
		if path == dir {
			continue
		}
		names = append(names, filepath.Base(path))
		if f.Mode != 0o600 {
			t.Errorf("%s has mode %v", path, f.Mode)
		}
	}
	if len(names) != 2 {
		t.Errorf("the folder holds %v", names)
	}
	_, other := mustCreate(t)
	if other.Epoch().Key.Equal(e.Key) {
		t.Error("two folders have the same epoch key")
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	for _, names := range [][]string{{rootName}, {"epoch-1.key"}, {"epoch-7.key"}, {rootName, "epoch-1.key"}} {
		dir := t.TempDir()
		for _, n := range names {
			write(t, dir, n, []byte("something"))
		}
		untouched(t, dir, func() {
			if !Exists(dir) {
				t.Errorf("%v: Exists says no", names)
			}
			if _, err := Create(dir); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%v: %v", names, err)
			}
		})
	}
	dir, _ := mustCreate(t)
	untouched(t, dir, func() {
		if _, err := Create(dir); !errors.Is(err, ErrExists) {
			t.Errorf("second Create: %v", err)
		}
	})
}

// TestWriteNewNeverOverwrites is the last line of defence: the name came into
// being after Create had looked.
func TestWriteNewNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, rootName, []byte("first"))
	untouchedContent := read(t, dir, rootName)
	if err := writeNew(dir, rootName, []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("writeNew: %v", err)
	}
	if !bytes.Equal(read(t, dir, rootName), untouchedContent) {
		t.Error("the file was overwritten")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files are left", len(entries))
	}
}

// TestCreateInterrupted sets a folder to each state in which a crash can leave
// it. Until Create has returned there are no keys, and Create goes on; what was
// made so far is kept.
func TestCreateInterrupted(t *testing.T) {
	whole, made := mustCreate(t)
	root, epoch := read(t, whole, rootName), read(t, whole, "epoch-1.key")
	for name, files := range map[string]map[string][]byte{
		"marked only":         {},
		"half a root key":     {rootName + ".tmp-1": root[:20]},
		"root key, two names": {rootName + ".tmp-1": root, rootName: root},
		"root key":            {rootName: root},
		"half an epoch key":   {rootName: root, "epoch-1.key.tmp-2": epoch[:9]},
		"both keys":           {rootName: root, "epoch-1.key": epoch},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, creatingName, nil)
			for n, content := range files {
				write(t, dir, n, content)
			}
			if Exists(dir) {
				t.Error("unfinished keys exist")
			}
			k, err := Create(dir)
			if err != nil {
				t.Fatal(err)
			}
			if _, kept := files[rootName]; kept && !bytes.Equal(read(t, dir, rootName), root) {
				t.Error("the root key was replaced")
			}
			if _, kept := files["epoch-1.key"]; kept && !k.Epoch().Key.Equal(made.Epoch().Key) {
				t.Error("the epoch key was replaced")
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 2 || !Exists(dir) {
				t.Errorf("the folder holds %v", entries)
			}
			if again, err := Open(dir); err != nil || !again.Epoch().Key.Equal(k.Epoch().Key) {
				t.Errorf("Open: %v", err)
			}
		})
	}
}

// TestRefusals tries each way in which a folder can be unfit. Each refusal is
// one line that names the file, and changes nothing.
func TestRefusals(t *testing.T) {
	other, _ := mustCreate(t)
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		want  error
		names string
	}{
		{"no folder", func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) }, ErrNoRootKey, "root.key"},
		{"root key lost", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, rootName))) }, ErrNoRootKey, "root.key"},
		{"another root key", func(t *testing.T, dir string) { write(t, dir, rootName, read(t, other, rootName)) }, ErrWrongRootKey, "root.key"},
		{"another's epoch key", func(t *testing.T, dir string) { write(t, dir, "epoch-1.key", read(t, other, "epoch-1.key")) }, ErrWrongRootKey, "root.key"},
		{"readable by the group", func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, rootName), 0o640)) }, ErrPermissions, "root.key"},
		{"readable by all", func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, rootName), 0o604)) }, ErrPermissions, "root.key"},
		{"writable by all", func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, rootName), 0o602)) }, ErrPermissions, "root.key"},
		{"root key empty", func(t *testing.T, dir string) { write(t, dir, rootName, nil) }, ErrDamaged, "root.key"},
		{"root key cut", func(t *testing.T, dir string) { write(t, dir, rootName, read(t, dir, rootName)[:60]) }, ErrDamaged, "root.key"},
		{"root key huge", func(t *testing.T, dir string) {
			write(t, dir, rootName, append(read(t, dir, rootName), bytes.Repeat([]byte("\n"), maxFile)...))
		}, ErrDamaged, "root.key"},
		{"root key of a later format", func(t *testing.T, dir string) {
			write(t, dir, rootName, bytes.Replace(read(t, dir, rootName), []byte("/v1"), []byte("/v2"), 1))
		}, ErrDamaged, "root.key"},
		{"epoch key lost", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "epoch-1.key"))) }, ErrDamaged, "epoch-1.key"},
		{"epoch key cut", func(t *testing.T, dir string) {
			write(t, dir, "epoch-1.key", read(t, dir, "epoch-1.key")[:80])
		}, ErrDamaged, "epoch-1.key"},
		{"epoch key renamed", func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, "epoch-1.key"), filepath.Join(dir, "epoch-2.key")))
		}, ErrDamaged, "epoch-2.key"},
		{"epoch key made to be another's", func(t *testing.T, dir string) {
			f, err := parseEpoch(read(t, dir, "epoch-1.key"))
			must(t, err)
			f.epoch = 2
			write(t, dir, "epoch-2.key", f.marshal())
		}, ErrDamaged, "epoch-2.key"},
		{"epoch key altered with its sum", func(t *testing.T, dir string) {
			f, err := parseEpoch(read(t, dir, "epoch-1.key"))
			must(t, err)
			f.wraps[0].wrapped[30] ^= 1
			write(t, dir, "epoch-1.key", f.marshal())
		}, ErrDamaged, "epoch-1.key"},
		{"a folder for a file", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, rootName)))
			must(t, os.Mkdir(filepath.Join(dir, rootName), 0o700))
		}, nil, "root.key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, k := mustCreate(t)
			secrets := append(keyTexts(t, dir, k), keyTexts(t, other, nil)...)
			c.spoil(t, dir)
			untouched(t, filepath.Dir(dir), func() {
				_, err := Open(dir)
				switch {
				case err == nil:
					t.Fatal("it opens")
				case c.want != nil && !errors.Is(err, c.want):
					t.Errorf("%v; want %v", err, c.want)
				case !strings.Contains(err.Error(), filepath.Join(dir, c.names)):
					t.Errorf("%v; want the file named: %s", err, c.names)
				case strings.Contains(err.Error(), "\n"):
					t.Errorf("more than one line: %v", err)
				}
				for _, s := range secrets {
					if strings.Contains(fmt.Sprintf("%+v %#v", err, err), s) {
						t.Error("the error holds key bytes")
					}
				}
			})
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryByteOfAFileCounts changes each byte of both files.
func TestEveryByteOfAFileCounts(t *testing.T) {
	dir, _ := mustCreate(t)
	for _, name := range []string{rootName, "epoch-1.key"} {
		good := read(t, dir, name)
		for i := range good {
			for _, mask := range []byte{0x01, 0x20} {
				bad := bytes.Clone(good)
				bad[i] ^= mask
				write(t, dir, name, bad)
				if _, err := Open(dir); !errors.Is(err, ErrDamaged) {
					t.Errorf("%s, byte %d changed: %v", name, i, err)
				}
			}
		}
		write(t, dir, name, good)
	}
}

// TestCopiedByHand accepts what pasting a key does to the end of the file.
func TestCopiedByHand(t *testing.T) {
	dir, made := mustCreate(t)
	for _, end := range []string{"", "\r\n", "\n\n \t\n"} {
		write(t, dir, rootName, append(bytes.TrimSpace(read(t, dir, rootName)), end...))
		k, err := Open(dir)
		if err != nil || !k.Epoch().Key.Equal(made.Epoch().Key) {
			t.Errorf("end %q: %v", end, err)
		}
	}
}

// TestSeveralRootKeysAndEpochs reads the state in the middle of a rotation: the
// new root key first in the file, epoch 1 still under the old one, epoch 2
// under both.
func TestSeveralRootKeysAndEpochs(t *testing.T) {
	dir, made := mustCreate(t)
	old, err := parseRoot(read(t, dir, rootName))
	must(t, err)
	fresh, err := newFileSeal(newKey())
	must(t, err)
	second := keyring.Epoch{ID: 2, Key: newKey()}
	f, err := wrapEpoch(second, fresh, old[0])
	must(t, err)
	write(t, dir, "epoch-2.key", f.marshal())

	write(t, dir, rootName, marshalRoot([]*fileSeal{fresh, old[0]}))
	k, err := Open(dir)
	must(t, err)
	if k.Epoch().ID != 2 || !k.Epoch().Key.Equal(second.Key) {
		t.Errorf("the newest epoch is %d", k.Epoch().ID)
	}
	if o := k.Older(); len(o) != 1 || o[0].ID != 1 || !o[0].Key.Equal(made.Epoch().Key) {
		t.Errorf("older epochs: %v", o)
	}

	write(t, dir, rootName, marshalRoot([]*fileSeal{fresh}))
	if _, err := Open(dir); !errors.Is(err, ErrWrongRootKey) {
		t.Errorf("without the old root key: %v", err)
	}
	write(t, dir, rootName, marshalRoot([]*fileSeal{fresh, fresh}))
	if _, err := Open(dir); !errors.Is(err, ErrDamaged) {
		t.Errorf("one root key twice: %v", err)
	}
}

// keyTexts returns the forms in which key bytes could show.
func keyTexts(t testing.TB, dir string, k *Keys) []string {
	t.Helper()
	roots, err := parseRoot(read(t, dir, rootName))
	must(t, err)
	keys := [][]byte{roots[0].key.Reveal()}
	if k != nil {
		keys = append(keys, k.Epoch().Key.Reveal())
	}
	var out []string
	for _, b := range keys {
		out = append(out, string(b[:6]), fmt.Sprintf("%x", b[:6]), fmt.Sprintf("%X", b[:6]),
			strings.Trim(fmt.Sprint(b[:6]), "[]"), base64.StdEncoding.EncodeToString(b)[:10])
	}
	return out
}

func TestKeysNeverPrint(t *testing.T) {
	dir, k := mustCreate(t)
	roots, err := parseRoot(read(t, dir, rootName))
	must(t, err)
	var out bytes.Buffer
	for _, v := range []any{k, *k, k.Epoch(), []keyring.Epoch{k.Epoch()}, roots, roots[0], *roots[0], Seal(roots[0])} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb, v)
		}
		j, err := json.Marshal(v)
		must(t, err)
		out.Write(j)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
	}
	for _, s := range keyTexts(t, dir, k) {
		if strings.Contains(out.String(), s) {
			t.Error("key bytes are printed")
		}
	}
}

// TestRootKeyIDs: the id is a function of the key, differs between keys, and
// stays what it is, since it is stored.
func TestRootKeyIDs(t *testing.T) {
	s, err := newFileSeal(mask.NewBytes(bytes.Repeat([]byte{1}, 32)))
	must(t, err)
	if got, want := s.ID(), "file:71adecc153dc870749bc638d9c206845"; got != want {
		t.Errorf("id %s, want %s", got, want)
	}
	u, err := newFileSeal(mask.NewBytes(bytes.Repeat([]byte{2}, 32)))
	must(t, err)
	if s.ID() == u.ID() {
		t.Error("two keys share an id")
	}
}

func FuzzParseRoot(f *testing.F) {
	a, err := newFileSeal(mask.NewBytes(bytes.Repeat([]byte{1}, 32)))
	must(f, err)
	b, err := newFileSeal(mask.NewBytes(bytes.Repeat([]byte{2}, 32)))
	must(f, err)
	f.Add(marshalRoot([]*fileSeal{a}))
	f.Add(marshalRoot([]*fileSeal{a, b}))
	f.Add(bytes.TrimSpace(marshalRoot([]*fileSeal{a})))
	f.Add([]byte(rootHeader + "\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		seals, err := parseRoot(text)
		if err == nil && !bytes.Equal(trim(marshalRoot(seals)), trim(text)) {
			t.Error("written anew, the file differs")
		}
	})
}

func FuzzParseEpoch(f *testing.F) {
	good := epochFile{1, []wrap{{"file:00112233445566778899aabbccddeeff", bytes.Repeat([]byte{3}, 72)}}}
	two := epochFile{4294967295, []wrap{{"file:a", []byte{1}}, {"hsm:b", nil}}}
	f.Add(good.marshal())
	f.Add(two.marshal())
	f.Add(bytes.TrimSpace(good.marshal()))
	f.Add([]byte(epochHeader + "\nepoch 1\nsum 00\n"))
	f.Add([]byte{})
	key, err := newFileSeal(mask.NewBytes(bytes.Repeat([]byte{1}, 32)))
	must(f, err)
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := parseEpoch(text)
		if err != nil {
			return
		}
		if !bytes.Equal(trim(e.marshal()), trim(text)) {
			t.Error("written anew, the file differs")
		}
		if _, err := unwrapEpoch(e, []Seal{key}); err == nil {
			t.Error("a foreign file opens")
		}
	})
}
