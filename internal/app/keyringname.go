package app

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/keyring"
)

// A keys folder that is whole but another server's can only be told by trying
// it on the database, and to open the database is to write to it. So a small
// file beside the database names the keyring that the database is sealed under,
// and a start compares before it touches anything:
//
//	opensesame-keyring/v1 <name, 32 hexadecimal digits>
//
// The file is against mistakes, not against attackers: where it is missing the
// records themselves are what refuses wrong keys.
const (
	keyringFile   = "keyring.id"
	keyringHeader = "opensesame-keyring/v1 "
)

var keyringNamePattern = regexp.MustCompile(`^[0-9a-f]{32}$`)

// keyringName names an epoch key without giving anything of it away: 16 bytes
// derived from it under a label that no other use has.
func keyringName(e keyring.Epoch) (string, error) {
	b, err := hkdf.Key(sha256.New, e.Key.Reveal(), nil, "opensesame keyring name v1", 16)
	if err != nil {
		return "", fmt.Errorf("name the keyring: %w", err)
	}
	return hex.EncodeToString(b), nil
}

func (a *App) keyringFile() string { return filepath.Join(a.cfg.DataDir, keyringFile) }

// readKeyringName returns the name on file, empty if there is no file.
func (a *App) readKeyringName() (string, error) {
	b, err := os.ReadFile(a.keyringFile())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the name of the keyring: %w", err)
	}
	name, ok := strings.CutPrefix(strings.TrimSpace(string(b)), keyringHeader)
	if !ok || !keyringNamePattern.MatchString(name) {
		return "", fmt.Errorf("%s is damaged: if the keys and the database in its folder belong together, remove it and it is made again", a.keyringFile())
	}
	return name, nil
}

// compareKeyring refuses, before the database is opened, keys that are not the
// database's, and keys whose database is gone.
func (a *App) compareKeyring(databaseExists bool) error {
	want, err := a.readKeyringName()
	if want == "" {
		return err
	}
	keysPath, etcdPath := filepath.Join(a.cfg.DataDir, sealDir), filepath.Join(a.cfg.DataDir, etcdDir)
	if !databaseExists {
		return fmt.Errorf("%s is missing, though the server has been used: put the database back from a copy, or start on an empty data folder", etcdPath)
	}
	for _, e := range append(a.keys.Older(), a.keys.Epoch()) {
		got, err := keyringName(e)
		if err != nil || got == want {
			return err
		}
	}
	return fmt.Errorf("the keys in %s are not those of the database in %s: they are another server's; put the right ones back from your safe copy", keysPath, etcdPath)
}

// wasUsed reports that the database was opened with its keys before, so that
// keys which are not there are lost and not yet to be made.
func (a *App) wasUsed() bool {
	_, err := os.Lstat(a.keyringFile())
	return !errors.Is(err, fs.ErrNotExist)
}

// nameKeyring puts the newest epoch's name on file, now that the database was
// opened with these keys.
func (a *App) nameKeyring(context.Context) error {
	name, err := keyringName(a.keys.Epoch())
	if err != nil {
		return err
	}
	have, err := a.readKeyringName()
	if err != nil || have == name {
		return err
	}
	if err := WriteFile(a.keyringFile(), []byte(keyringHeader+name+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the name of the keyring: %w", err)
	}
	return nil
}
