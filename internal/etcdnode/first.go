package etcdnode

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Names in the node's folder.
const (
	lockFile   = "LOCK"
	etcdFolder = "etcd"
	// startingFile exists from before etcd's folder is made until etcd was ready
	// for the first time.
	startingFile = "STARTING"
)

// An etcd that is stopped in the first moments of its first start can leave a
// log without the entry that makes it a member of its own cluster. Started
// again on such a log it waits for a leader for ever. The file STARTING tells
// that state: while it exists nobody has been given a client, so the folder
// holds nothing and can be made anew.

// beginFirstStart prepares dir for etcd to start in.
func beginFirstStart(dir string) error {
	starting, data := filepath.Join(dir, startingFile), filepath.Join(dir, etcdFolder)
	_, err := os.Lstat(starting)
	if err == nil {
		return os.RemoveAll(data)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Lstat(data); !errors.Is(err, fs.ErrNotExist) {
		return err // nil: not the first start
	}
	f, err := os.OpenFile(starting, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return syncFolder(dir)
}

// endFirstStart is called when etcd is ready and before anybody can write to it.
func endFirstStart(dir string) error {
	err := os.Remove(filepath.Join(dir, startingFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncFolder(dir)
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
