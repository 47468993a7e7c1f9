package seal

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// backupContext is the label of the keys that protect backups.
const backupContext = "opensesame/v1/backup-key\x00"

// BackupKey protects one backup.
type BackupKey struct {
	Key mask.Bytes
	// RootKey names the root key that opens Wrapped.
	RootKey string
	Wrapped []byte
}

func newBackupKey(s Seal) (BackupKey, error) {
	k := BackupKey{Key: newKey(), RootKey: s.ID()}
	var err error
	if k.Wrapped, err = s.Wrap([]byte(backupContext), k.Key); err != nil {
		return BackupKey{}, fmt.Errorf("wrap a backup key by %s: %w", s.ID(), err)
	}
	opened, err := s.Unwrap([]byte(backupContext), k.Wrapped)
	if err != nil || !opened.Equal(k.Key) {
		return BackupKey{}, fmt.Errorf("%s does not open the backup key that it wrapped", s.ID())
	}
	return k, nil
}

// BackupKey makes a key for a backup, wrapped under the root key, and tries
// whether that opens it again. The root key is in memory for that moment only.
func (k *Keys) BackupKey() (BackupKey, error) {
	k.folder.mu.Lock()
	roots, err := k.readRoots()
	k.folder.mu.Unlock()
	if err != nil {
		return BackupKey{}, err
	}
	defer wipe(roots)
	return newBackupKey(roots[0])
}

// EpochFiles returns the files that hold the epoch keys, as they stand, wrapped
// under the root key: what a backup needs beside it to be opened. The names
// are those in the folder. It is an error if one of them is not wrapped under
// the root key of that name, which is the backup key's.
func (k *Keys) EpochFiles(rootKey string) (map[string][]byte, error) {
	k.folder.mu.Lock()
	defer k.folder.mu.Unlock()
	_, ids, err := list(k.dir)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, id := range ids {
		path := filepath.Join(k.dir, epochName(id))
		text, _, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("read an epoch key: %w", err)
		}
		f, err := parseEpoch(text)
		if err != nil || f.epoch != id {
			return nil, sentence(ErrDamaged, "%s is damaged: a backup with it could not be opened", path)
		}
		if !slices.ContainsFunc(f.wraps, func(w wrap) bool { return w.sealID == rootKey }) {
			return nil, sentence(ErrWrongRootKey, "%s is not wrapped under the root key %s: if the root key is just being replaced, try again", path, rootKey)
		}
		out[epochName(id)] = text
	}
	if len(out) == 0 {
		return nil, sentence(ErrDamaged, "%s holds no epoch key any more: put it back from a copy", k.dir)
	}
	return out, nil
}

// IsEpochFile reports whether name is that of an epoch key's file.
func IsEpochFile(name string) bool {
	_, ok := parseEpochName(name)
	return ok
}

// Root is a root key that was unlocked to restore a backup.
type Root struct {
	path  string
	seals []*fileSeal
}

// OpenRoot unlocks the root key in dir and writes nothing. The passphrase is asked
// for only if the root key is sealed under one; nil: there is none. Errors:
// ErrNoRootKey, ErrPermissions, ErrPassphrase, ErrDamaged, the operating
// system's. Wipe it after use.
func OpenRoot(dir string, passphrase Passphrase) (*Root, error) {
	k := &Keys{dir: dir, folder: &folder{}}
	seals, err := k.unlockRoots(passphrase)
	if err != nil {
		return nil, err
	}
	return &Root{k.RootKeyPath(), seals}, nil
}

// Wipe clears the root key from memory.
func (r *Root) Wipe() { wipe(r.seals) }

// Format writes stars, whatever the verb.
func (Root) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, mask.Stars) }

// BackupKey opens the key of a backup made under the root key of that name:
// ErrWrongRootKey if this is another, ErrDamaged if it does not open.
func (r *Root) BackupKey(rootKey string, wrapped []byte) (mask.Bytes, error) {
	for _, s := range r.seals {
		if s.ID() != rootKey {
			continue
		}
		key, err := s.Unwrap([]byte(backupContext), wrapped)
		if err != nil || key.Len() != keyring.KeySize {
			return mask.Bytes{}, sentence(ErrDamaged, "the backup is damaged or was altered: the root key is the right one, but the backup's key does not open")
		}
		return key, nil
	}
	return mask.Bytes{}, sentence(ErrWrongRootKey, "%s is the wrong root key: it is %s, and the backup was made under %s", r.path, r.seals[0].id, printable(rootKey))
}

// printable keeps what a stranger may have written into a backup's head from
// reaching a terminal as it is.
func printable(id string) string {
	if len(id) > maxIDLen {
		id = id[:maxIDLen]
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, id)
}

// Epochs unlocks the epoch keys in the files of a backup, newest first.
func (r *Root) Epochs(files map[string][]byte) ([]keyring.Epoch, error) {
	seals := make([]Seal, len(r.seals))
	for i, s := range r.seals {
		seals[i] = s
	}
	var out []keyring.Epoch
	for name, text := range files {
		id, ok := parseEpochName(name)
		f, err := parseEpoch(text)
		if !ok || err != nil || f.epoch != id {
			return nil, sentence(ErrDamaged, "the backup's %s is damaged", printable(name))
		}
		e, err := unwrapEpoch(f, seals)
		if err != nil {
			return nil, sentence(ErrDamaged, "the backup's %s does not open under the root key", name)
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		return nil, sentence(ErrDamaged, "the backup holds no epoch key")
	}
	slices.SortFunc(out, func(a, b keyring.Epoch) int { return cmp.Compare(b.ID, a.ID) })
	return out, nil
}

// Restore makes a folder of keys: the root key's file copied as it stands, and
// the epoch files of a backup, which must open under it. ErrExists if the folder
// holds any key. It returns when they are on disk.
func (r *Root) Restore(dir string, files map[string][]byte) error {
	root, epochs, err := list(dir)
	if err != nil {
		return err
	}
	if root || len(epochs) > 0 {
		return sentence(ErrExists, "%s holds keys already: they are never overwritten", dir)
	}
	if _, err := r.Epochs(files); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("restore the keys: %w", err)
	}
	text, _, err := readFile(r.path)
	if err != nil {
		return fmt.Errorf("read the root key: %w", err)
	}
	defer clear(text)
	for name, content := range files {
		if err := writeNew(dir, name, bytes.Clone(content)); err != nil {
			return fmt.Errorf("restore an epoch key: %w", err)
		}
	}
	if err := writeNew(dir, rootName, text); err != nil {
		return fmt.Errorf("restore the root key: %w", err)
	}
	return syncDir(filepath.Dir(dir))
}
