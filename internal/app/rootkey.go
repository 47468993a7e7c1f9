package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opensesame-kms/opensesame/internal/audit/record"
	"github.com/opensesame-kms/opensesame/internal/config"
	"github.com/opensesame-kms/opensesame/internal/etcdnode"
	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/rotation"
	"github.com/opensesame-kms/opensesame/internal/seal"
)

// openKeys opens the root key, or makes it if there is no data yet.
func (a *App) openKeys(context.Context) (err error) {
	if err := os.MkdirAll(a.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if err := refuseUnfinishedRestore(a.cfg.DataDir); err != nil {
		return err
	}
	dir := filepath.Join(a.cfg.DataDir, sealDir)
	_, statErr := os.Stat(filepath.Join(a.cfg.DataDir, etcdDir))
	databaseExists := !errors.Is(statErr, fs.ErrNotExist)
	passphrase := passphraseSource(a.cfg.PassphraseFile, a.opt.Passphrase)
	switch {
	case seal.Exists(dir) || databaseExists || a.wasUsed():
		a.keys, err = seal.Unlock(dir, passphrase)
		if err == nil {
			err = a.checkSeal()
		}
	case a.cfg.Seal == config.SealPassphrase && passphrase == nil:
		err = errors.New("the config asks for a passphrase to seal the root key, and none was given: name a file that holds it")
	default:
		if a.cfg.Seal != config.SealPassphrase {
			passphrase = nil
		}
		if a.keys, err = seal.CreateSealed(dir, passphrase); err != nil {
			err = fmt.Errorf("make the root key: %w", err)
		}
	}
	if err != nil {
		return err
	}
	a.ring = keyring.New(a.keys.Epoch(), a.keys.Older()...)
	return a.compareKeyring(databaseExists)
}

// checkSeal refuses a root key that is kept otherwise than the config demands.
func (a *App) checkSeal() error {
	st, err := a.keys.Root()
	switch {
	case err != nil:
		return err
	case a.cfg.Seal == config.SealPassphrase && !st.Passphrase:
		return fmt.Errorf("%s is in clear text, but the config asks for a passphrase: run sesame key set-passphrase first", a.RootKeyPath())
	case a.cfg.Seal == config.SealFile && st.Passphrase:
		return fmt.Errorf("%s is sealed under a passphrase, but the config asks for clear text", a.RootKeyPath())
	}
	return nil
}

// passphraseSource returns where a passphrase comes from, nil if there is none:
// the file, or else who can be asked.
func passphraseSource(file string, ask func() (mask.Bytes, error)) seal.Passphrase {
	switch {
	case file != "":
		return func() (mask.Bytes, error) { return seal.PassphraseFile(file) }
	case ask != nil:
		return ask
	}
	return nil
}

// SetPassphrase seals the root key in a data folder whose server is stopped
// under a new passphrase, instead of clear text or of the present passphrase,
// which comes from the file or from ask. On an error the folder is as it was.
func SetPassphrase(dataDir, file string, ask, fresh func() (mask.Bytes, error)) (err error) {
	lock, err := etcdnode.Lock(dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	passphrase, err := fresh()
	if err != nil {
		return err
	}
	defer passphrase.Wipe()
	return seal.SetPassphrase(filepath.Join(dataDir, sealDir), passphraseSource(file, ask), passphrase)
}

// HasPassphrase reports whether the root key in the data folder is sealed under
// a passphrase.
func HasPassphrase(dataDir string) (bool, error) {
	return seal.HasPassphrase(filepath.Join(dataDir, sealDir))
}

// ReadPassphrase reads a passphrase from a file: see [config.Config].
func ReadPassphrase(file string) (mask.Bytes, error) { return seal.PassphraseFile(file) }

// keyGrace is how long a key of the keyring stays in memory once its record is
// gone: far longer than a request lives, whose snapshot may still need it.
const keyGrace = time.Minute

// retireKey takes a key out of use, a while after it was deleted. A version is
// never made again, so nothing else can come under its name meanwhile.
func (a *App) retireKey(name string) {
	time.AfterFunc(keyGrace, func() { a.ring.Remove(name) })
}

// rotationWorker is what replaces keys in the background.
func (a *App) rotationWorker() *rotation.Worker {
	return &rotation.Worker{
		Store: a.store, Ring: a.ring, Keys: a.keys, Clock: a.clock, Logger: a.log, NewID: newRequestID,
		Step: a.opt.RotationStep,
		Notice: func(id, note string) ([]byte, error) {
			r := a.notice(record.NoticeKeysRotated)
			r.Note, r.Resources = note, []record.Resource{{Type: "ACS::OpenSesame::KeyRotation", Name: id}}
			return r.Marshal()
		},
	}
}
