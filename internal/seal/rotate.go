package seal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/opensesame-kms/opensesame/internal/keyring/xaes"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// How a root key is replaced. Each step replaces one file as a whole, and after
// each the folder opens:
//
//	root.key     epoch files wrapped under
//	A            A             before
//	B A          A             the new root key is on disk
//	B A          A, some B A   each epoch file in turn
//	B A          B A           done; what was wrapped before still opens, by A
//	B A          some B        forgetting: each epoch file in turn
//	B            B             A opens nothing here any more
//
// What is left to do shows in the files, so an interrupted rotation is carried
// on by doing it again.

// folder is the part of Keys that changes files.
type folder struct {
	mu  sync.Mutex
	kdf kdf
	kek *xaes.AEAD // seals the root keys; nil if they are in clear text
	// step, if not nil, is asked before each change of a file; an error ends the
	// change there, as a crash would.
	step func(what string) error
}

// RootStatus says which root keys a folder has.
type RootStatus struct {
	// Current is the id of the root key in use.
	Current string
	// Older are the ids of root keys kept for older backups, newest first.
	Older []string
	// Passphrase: the root keys are sealed under a passphrase.
	Passphrase bool
	// Pending: a rotation, or the forgetting of older keys, has not been carried
	// through.
	Pending bool
}

// Root says which root keys there are, as the files have it.
func (k *Keys) Root() (RootStatus, error) {
	k.folder.mu.Lock()
	defer k.folder.mu.Unlock()
	f, err := readRootFile(k.RootKeyPath())
	if err != nil {
		return RootStatus{}, err
	}
	ids := f.ids()
	st := RootStatus{Current: ids[0], Older: ids[1:], Passphrase: f.sealed != nil}
	for _, e := range k.epochs {
		w, err := k.wrapsOf(e.ID)
		if err != nil {
			return RootStatus{}, err
		}
		st.Pending = st.Pending || !slices.Equal(w, ids)
	}
	return st, nil
}

// wrapsOf names the root keys that an epoch's file is wrapped under.
func (k *Keys) wrapsOf(epoch uint32) ([]string, error) {
	path := filepath.Join(k.dir, epochName(epoch))
	text, _, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read an epoch key: %w", err)
	}
	f, err := parseEpoch(text)
	if err != nil {
		return nil, sentence(ErrDamaged, "%s is damaged: it is not an epoch key that this server wrote; put it back from a copy", path)
	}
	var ids []string
	for _, w := range f.wraps {
		ids = append(ids, w.sealID)
	}
	return ids, nil
}

// RotateRoot replaces the root key of the id from by a new one and wraps every
// epoch key under both. The old one stays in root.key, after the new, so that
// older copies of the epoch files still open. If the root key is another than
// from already, none is made: then an interrupted rotation is carried on. It
// returns once all is on disk. The caller holds the data folder's lock.
func (k *Keys) RotateRoot(from string) error {
	k.folder.mu.Lock()
	defer k.folder.mu.Unlock()
	roots, err := k.readRoots()
	if err != nil {
		return err
	}
	defer func() { wipe(roots) }()
	if err := k.clean(); err != nil {
		return err
	}
	if roots[0].id == from {
		if len(roots) >= maxKeys {
			return sentence(ErrTooMany, "%s holds %d root keys, as many as it may: forget the old ones first", k.RootKeyPath(), len(roots))
		}
		fresh, err := newFileSeal(newKey())
		if err != nil {
			return err
		}
		roots = append([]*fileSeal{fresh}, roots...)
		if err := k.writeRoots(roots); err != nil {
			return err
		}
	}
	return k.rewrap(roots)
}

// ForgetOldRoots makes the current root key the only one. Copies of the epoch
// files, older backups among them, that are wrapped under the others open with
// a copy of root.key from before only. The caller holds the data folder's lock.
func (k *Keys) ForgetOldRoots() error {
	k.folder.mu.Lock()
	defer k.folder.mu.Unlock()
	roots, err := k.readRoots()
	if err != nil {
		return err
	}
	defer wipe(roots)
	if err := k.clean(); err != nil {
		return err
	}
	if err := k.rewrap(roots[:1]); err != nil {
		return err
	}
	if len(roots) == 1 {
		return nil
	}
	return k.writeRoots(roots[:1])
}

// Clean removes what an interrupted write left behind: a passing name may hold
// a root key in clear text. The caller holds the data folder's lock.
func (k *Keys) Clean() error {
	k.folder.mu.Lock()
	defer k.folder.mu.Unlock()
	return k.clean()
}

func (k *Keys) clean() error {
	if err := removeLeftovers(k.dir); err != nil {
		return fmt.Errorf("clear up beside the keys: %w", err)
	}
	return nil
}

// readRoots opens root.key as it is now.
func (k *Keys) readRoots() ([]*fileSeal, error) {
	f, err := readRootFile(k.RootKeyPath())
	if err != nil {
		return nil, err
	}
	if f.sealed != nil && (k.folder.kek == nil || f.kdf != k.folder.kdf) {
		return nil, sentence(ErrPassphrase, "the passphrase of %s was changed since the server started: restart it first", k.RootKeyPath())
	}
	roots, err := f.open(k.folder.kek)
	if err != nil {
		return nil, sentence(ErrDamaged, "%s is damaged: put it back from your safe copy", k.RootKeyPath())
	}
	return roots, nil
}

func (k *Keys) writeRoots(roots []*fileSeal) error {
	f := &rootFile{plain: roots}
	if k.folder.kek != nil {
		var err error
		if f, err = sealRoots(k.folder.kdf, k.folder.kek, roots); err != nil {
			return err
		}
	}
	text := f.marshal()
	defer clear(text)
	if err := k.replace(rootName, text); err != nil {
		return fmt.Errorf("write the root key: %w", err)
	}
	return nil
}

// rewrap writes each epoch's file that is not wrapped under exactly these root
// keys anew.
func (k *Keys) rewrap(roots []*fileSeal) error {
	ids := make([]string, len(roots))
	seals := make([]Seal, len(roots))
	for i, r := range roots {
		ids[i], seals[i] = r.id, r
	}
	for _, e := range k.epochs {
		have, err := k.wrapsOf(e.ID)
		if err != nil {
			return err
		}
		if slices.Equal(have, ids) {
			continue
		}
		f, err := wrapEpoch(e, seals...)
		if err != nil {
			return err
		}
		if err := k.replace(epochName(e.ID), f.marshal()); err != nil {
			return fmt.Errorf("write an epoch key: %w", err)
		}
	}
	return nil
}

// replace is the step of a rotation that changes a file.
func (k *Keys) replace(name string, content []byte) error {
	hook := k.folder.step
	if hook == nil {
		hook = func(string) error { return nil }
	}
	return replaceFile(k.dir, name, content, hook)
}

// replaceFile puts a file in the place of another, mode 0600, and returns when
// it is on disk. Whoever reads the name finds the old content or the new. The
// new content was read back before the old one goes.
func replaceFile(dir, name string, content []byte, step func(string) error) (err error) {
	if err := step("write " + name); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, name+tmpInfix+"*") // mode 0600
	if err != nil {
		return err
	}
	crashed := false
	defer func() {
		if err != nil && !crashed {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	back, _, err := readFile(tmp.Name())
	defer clear(back)
	if err == nil && !bytes.Equal(back, content) {
		err = fmt.Errorf("%s does not hold what was written to it", tmp.Name())
	}
	if err != nil {
		return err
	}
	if err = step("rename " + name); err != nil {
		crashed = true
		return err
	}
	if err := os.Rename(tmp.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	return step("done " + name)
}

// SetPassphrase seals the root keys of a folder under a new passphrase, in
// place of clear text or of the passphrase that they are sealed under now,
// which old is asked for. It opens everything first: on any error the folder is
// as it was. The caller holds the data folder's lock.
//
// The root key stays the same. Copies of the file from before, and what is left
// of it on the disk, open as they did; RotateRoot and ForgetOldRoots make them
// worthless.
func SetPassphrase(dir string, old Passphrase, passphrase mask.Bytes) error {
	if err := NewPassphrase(passphrase); err != nil {
		return err
	}
	k, err := Unlock(dir, old)
	if err != nil {
		return err
	}
	roots, err := k.readRoots()
	if err != nil {
		return err
	}
	defer wipe(roots)
	if err := k.clean(); err != nil {
		return err
	}
	d := newKDF()
	kek, err := d.key(passphrase)
	if err != nil {
		return err
	}
	k.folder.kdf, k.folder.kek = d, kek
	return k.writeRoots(roots)
}

// removeLeftovers removes the passing names of interrupted writes. One may be
// a second name of root.key.
func removeLeftovers(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		name, _, passing := strings.Cut(e.Name(), tmpInfix)
		if _, epoch := parseEpochName(name); passing && (epoch || name == rootName) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
