package seal

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

const (
	rootName    = "root.key"
	epochPrefix = "epoch-"
	epochSuffix = ".key"

	// creatingName marks a folder whose keys are being made and were never
	// used. Its end is the moment at which they count.
	creatingName = "creating"

	tmpInfix = ".tmp-" // in the passing names of files being written
)

// Keys are the epoch keys of a folder, unlocked.
type Keys struct {
	dir    string
	epochs []keyring.Epoch // newest first, at least one
	folder *folder
}

// Epoch returns the newest epoch key, under which new keys are sealed.
func (k *Keys) Epoch() keyring.Epoch { return k.epochs[0] }

// Older returns the epoch keys before the newest, newest first. There are some
// only while a change of epochs is under way.
func (k *Keys) Older() []keyring.Epoch { return slices.Clone(k.epochs[1:]) }

// RootKeyPath returns the path of the root key: the file to copy to a safe
// place.
func (k *Keys) RootKeyPath() string { return filepath.Join(k.dir, rootName) }

// Format writes stars, whatever the verb.
func (Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, mask.Stars) }

// Exists reports whether the folder holds keys: a root key or an epoch key, or
// something that cannot be looked at. A folder in which Create was interrupted
// holds none yet, since nothing was ever sealed under them; Create goes on
// there.
//
// Where there is data but Exists is false, the keys are lost. Making new ones
// would only hide that: the caller refuses to start.
func Exists(dir string) bool {
	if isCreating(dir) {
		return false
	}
	root, epochs, err := list(dir)
	return err != nil || root || len(epochs) > 0
}

// HasPassphrase reports whether the root key in the folder is sealed under a
// passphrase. Errors as those of Open.
func HasPassphrase(dir string) (bool, error) {
	f, err := readRootFile(filepath.Join(dir, rootName))
	if err != nil {
		return false, err
	}
	wipe(f.plain)
	return f.sealed != nil, nil
}

func isCreating(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, creatingName))
	return err == nil
}

// list returns whether there is a root key, and the ids of the epoch files in
// ascending order.
func list(dir string) (root bool, epochs []uint32, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, fmt.Errorf("look for keys: %w", err)
	}
	for _, e := range entries {
		if e.Name() == rootName {
			root = true
		}
		if id, ok := parseEpochName(e.Name()); ok {
			epochs = append(epochs, id)
		}
	}
	slices.Sort(epochs)
	return root, epochs, nil
}

func epochName(id uint32) string {
	return epochPrefix + strconv.FormatUint(uint64(id), 10) + epochSuffix
}

func parseEpochName(name string) (uint32, bool) {
	s, ok := strings.CutPrefix(name, epochPrefix)
	if !ok {
		return 0, false
	}
	s, ok = strings.CutSuffix(s, epochSuffix)
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseUint(s, 10, 32)
	return uint32(id), err == nil && id > 0 && epochName(uint32(id)) == name
}

// Open is Unlock for a root key in clear text; one that is sealed under a
// passphrase is ErrPassphrase.
func Open(dir string) (*Keys, error) { return Unlock(dir, nil) }

// Unlock opens the keys of a folder and writes nothing. The passphrase is asked
// for only if the root key is sealed under one; nil: there is none. Errors:
// ErrNoRootKey, ErrPermissions (root.key must be readable by its owner alone),
// ErrPassphrase, ErrWrongRootKey, ErrDamaged, or the operating system's.
func Unlock(dir string, passphrase Passphrase) (*Keys, error) {
	_, ids, err := list(dir)
	if err != nil {
		return nil, err
	}
	k := &Keys{dir: dir, folder: &folder{}}
	roots, err := k.unlockRoots(passphrase)
	if err != nil {
		return nil, err
	}
	defer wipe(roots)
	if len(ids) == 0 {
		return nil, sentence(ErrDamaged, "%s is missing beside the root key: put it back from a copy of this folder", filepath.Join(dir, epochName(1)))
	}
	for _, id := range ids {
		e, err := readEpoch(dir, id, roots)
		if err != nil {
			return nil, err
		}
		k.epochs = append(k.epochs, e)
	}
	slices.SortFunc(k.epochs, func(a, b keyring.Epoch) int { return cmp.Compare(b.ID, a.ID) })
	return k, nil
}

// readRootFile reads root.key, after it was seen that nobody else can.
func readRootFile(path string) (*rootFile, error) {
	text, mode, err := readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, sentence(ErrNoRootKey, "%s is missing: without the root key nothing that was stored can be read; put it back from your safe copy", path)
	case err != nil:
		return nil, fmt.Errorf("read the root key: %w", err)
	case mode.Perm()&0o077 != 0:
		clear(text)
		return nil, sentence(ErrPermissions, "%s is open to others than its owner (mode %04o): chmod 600 it, and consider who may have read it", path, mode.Perm())
	}
	defer clear(text)
	f, err := parseRootFile(text)
	if err != nil {
		return nil, sentence(ErrDamaged, "%s is damaged: it is not a root key that this server wrote; put it back from your safe copy", path)
	}
	return f, nil
}

// unlockRoots reads root.key and opens it. For a sealed one it keeps the key
// that is made of the passphrase, not the passphrase: a rotation needs it.
func (k *Keys) unlockRoots(passphrase Passphrase) ([]*fileSeal, error) {
	path := k.RootKeyPath()
	f, err := readRootFile(path)
	if err != nil || f.sealed == nil {
		if err != nil {
			return nil, err
		}
		return f.plain, nil
	}
	if passphrase == nil {
		return nil, sentence(ErrPassphrase, "%s is sealed under a passphrase, and none was given: name a file that holds it", path)
	}
	text, err := passphrase()
	if err != nil {
		return nil, err
	}
	defer text.Wipe()
	k.folder.kdf = f.kdf
	if k.folder.kek, err = f.kdf.key(text); err != nil {
		return nil, err
	}
	roots, err := f.open(k.folder.kek)
	if err != nil {
		return nil, sentence(ErrPassphrase, "the passphrase is wrong: it does not open %s", path)
	}
	return roots, nil
}

// wipe clears root keys that are not needed any more.
func wipe(roots []*fileSeal) {
	for _, r := range roots {
		r.key.Wipe()
	}
}

func readEpoch(dir string, id uint32, roots []*fileSeal) (keyring.Epoch, error) {
	none, path := keyring.Epoch{}, filepath.Join(dir, epochName(id))
	text, _, err := readFile(path)
	if err != nil {
		return none, fmt.Errorf("read an epoch key: %w", err)
	}
	f, err := parseEpoch(text)
	if err != nil {
		return none, sentence(ErrDamaged, "%s is damaged: it is not an epoch key that this server wrote; put it back from a copy", path)
	}
	if f.epoch != id {
		return none, sentence(ErrDamaged, "%s holds the key of epoch %d: it was renamed or copied over another", path, f.epoch)
	}
	seals := make([]Seal, len(roots))
	for i, r := range roots {
		seals[i] = r
	}
	e, err := unwrapEpoch(f, seals)
	switch {
	case errors.Is(err, errNotMine):
		return none, sentence(ErrWrongRootKey, "%s is the wrong root key: it is %s, and %s was wrapped under %s",
			filepath.Join(dir, rootName), roots[0].id, path, f.wraps[0].sealID)
	case errors.Is(err, errNotOpened):
		return none, sentence(ErrDamaged, "%s is damaged: the root key is the right one, but the key in the file does not open", path)
	case err != nil:
		return none, fmt.Errorf("unwrap %s: %w", path, err)
	}
	return e, nil
}

// readFile reads a regular file of at most maxFile bytes. One byte more shows
// that it is longer, and the parsers refuse it. The mode is that of the file
// that was read, however its name is passed around meanwhile.
func readFile(path string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	return text, info.Mode(), err
}

// Create makes a root key and the key of epoch 1 in a folder, which it makes
// too if need be (mode 0700). When it returns they are on disk. ErrExists, and
// nothing is touched, if the folder holds any key.
//
// An earlier Create that was interrupted is carried on: it left a mark in the
// folder, and its keys, never having been used, are completed. The caller holds
// the data folder's lock; without it two Creates can't harm the keys of one
// another, but one may fail.
func Create(dir string) (*Keys, error) { return CreateSealed(dir, nil) }

// CreateSealed is Create with a root key that is sealed under a passphrase from
// the start; nil: in clear text.
func CreateSealed(dir string, passphrase Passphrase) (*Keys, error) {
	if passphrase != nil {
		text, err := passphrase()
		if err == nil {
			err = NewPassphrase(text)
		}
		if err != nil {
			return nil, err
		}
		defer text.Wipe()
		passphrase = func() (mask.Bytes, error) { return mask.NewBytes(bytes.Clone(text.Reveal())), nil }
	}
	root, epochs, err := list(dir)
	if err != nil {
		return nil, err
	}
	if isCreating(dir) {
		err = removeLeftovers(dir)
	} else if root || len(epochs) > 0 {
		return nil, sentence(ErrExists, "%s holds keys already: they are never overwritten", dir)
	} else {
		err = mark(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("make keys: %w", err)
	}
	if !root {
		if err := createRoot(dir, passphrase); err != nil {
			return nil, fmt.Errorf("make the root key: %w", err)
		}
	}
	if len(epochs) == 0 {
		if err := createEpoch(dir, 1, passphrase); err != nil {
			return nil, fmt.Errorf("make the first epoch key: %w", err)
		}
	}
	// Opened as any start would, so that no key counts which cannot be read.
	k, err := Unlock(dir, passphrase)
	if err != nil {
		return nil, err
	}
	if err := unmark(dir); err != nil {
		return nil, fmt.Errorf("make keys: %w", err)
	}
	return k, nil
}

// mark notes durably that keys are being made in dir.
func mark(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, creatingName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return syncDir(dir)
}

func unmark(dir string) error {
	if err := os.Remove(filepath.Join(dir, creatingName)); err != nil {
		return err
	}
	return syncDir(dir)
}

func createRoot(dir string, passphrase Passphrase) error {
	key := newKey()
	defer key.Wipe()
	s, err := newFileSeal(key)
	if err != nil {
		return err
	}
	f := &rootFile{plain: []*fileSeal{s}}
	if passphrase != nil {
		text, err := passphrase()
		if err != nil {
			return err
		}
		defer text.Wipe()
		d := newKDF()
		kek, err := d.key(text)
		if err != nil {
			return err
		}
		if f, err = sealRoots(d, kek, f.plain); err != nil {
			return err
		}
	}
	text := f.marshal()
	defer clear(text)
	return writeNew(dir, rootName, text)
}

func createEpoch(dir string, id uint32, passphrase Passphrase) error {
	k := &Keys{dir: dir, folder: &folder{}}
	roots, err := k.unlockRoots(passphrase)
	if err != nil {
		return err
	}
	defer wipe(roots)
	key := newKey()
	defer key.Wipe()
	f, err := wrapEpoch(keyring.Epoch{ID: id, Key: key}, roots[0])
	if err != nil {
		return err
	}
	return writeNew(dir, epochName(id), f.marshal())
}

// newKey returns 32 random bytes. rand.Read never fails: it ends the program
// when the system has no randomness to give.
func newKey() mask.Bytes {
	b := make([]byte, keyring.KeySize)
	_, _ = rand.Read(b)
	return mask.NewBytes(b)
}

// writeNew writes a file that must not exist, mode 0600, and returns when it is
// on disk. The name appears only with the whole content behind it: the file is
// written under a passing name, synced, and linked to its own, which the system
// refuses if that exists.
func writeNew(dir, name string, content []byte) (err error) {
	tmp, err := os.CreateTemp(dir, name+tmpInfix+"*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
