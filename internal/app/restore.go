package app

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/opensesame-kms/opensesame/internal/audit/record"
	"github.com/opensesame-kms/opensesame/internal/backup"
	"github.com/opensesame-kms/opensesame/internal/etcdnode"
	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/seal"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// restoringFile marks a data folder that is being restored. A server refuses
// such a folder; its removal is the moment at which the restore counts.
const restoringFile = "restoring"

// revisionLeap is how far above the backup's revision a restored database goes
// on: beyond whatever the lost one can have reached since, so that no revision
// ever means two things. The number is the one that etcd's authors advise.
const revisionLeap = 1_000_000_000

// Restoring is what Restore needs.
type Restoring struct {
	// Backup is read twice: to check all of it, and then to restore it.
	Backup io.ReadSeeker
	// DataDir is the folder to restore into. It must be empty or not exist.
	DataDir string
	// KeysDir holds the root key's file.
	KeysDir string
	// PassphraseFile and Passphrase are as in config.Config and Options: where
	// the passphrase comes from, if the root key is sealed under one.
	PassphraseFile string
	Passphrase     func() (mask.Bytes, error)
	// AuditLog is the folder of the lost server's audit log, if that was saved:
	// it tells what was withdrawn since the backup. Empty: there is none.
	AuditLog string
	// Logger takes the database's warnings. Nil: nothing is logged.
	Logger *slog.Logger
	// Now tells the time. Nil: the real one.
	Now func() time.Time
}

// Restored tells what was restored.
type Restored struct {
	Region   string
	Backup   time.Time // when it was made
	Revision int64     // that it holds
	Epoch    int64     // restore epoch from now on
	Records  int64
	Audit    bool // whether the audit log was in it
	// Damaged are the keys of records that failed their integrity check before
	// the backup was made, at most 20; DamagedCount is how many there are.
	Damaged      []string
	DamagedCount int
	// Revived is what came back to life though it had been withdrawn since the
	// backup; nil if no audit log could tell.
	Revived *Revived
}

// Restore makes a data folder from a backup. Everything that can be refused (a
// wrong root key, a backup that is not whole or not what was written, a newer
// format, a folder with something in it) is refused before anything is touched.
// If it fails later, or is interrupted, no server will start on what is there;
// it removes what it made unless the process was killed.
func Restore(ctx context.Context, opt Restoring) (_ *Restored, err error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	existed, err := emptyTarget(opt.DataDir)
	if err != nil {
		return nil, err
	}
	root, err := seal.OpenRoot(opt.KeysDir, passphraseSource(opt.PassphraseFile, opt.Passphrase))
	if err != nil {
		return nil, err
	}
	defer root.Wipe()
	r := &restore{opt: opt, root: root, found: &contents{epochs: root.Epochs}}
	if err := r.verify(); err != nil {
		return nil, err
	}
	var gone []withdrawal
	if opt.AuditLog != "" {
		if gone, err = withdrawnSince(opt.AuditLog, r.head.Created); err != nil {
			return nil, fmt.Errorf("the audit log in %s: %w", opt.AuditLog, err)
		}
	}
	if err := r.begin(); err != nil {
		return nil, errors.Join(err, r.undo(existed))
	}
	out, err := r.run(ctx, gone)
	if err != nil {
		return nil, errors.Join(err, r.undo(existed))
	}
	return out, nil
}

// emptyTarget refuses a folder with something in it. A file system's own
// lost+found does not count.
func emptyTarget(dir string) (exists bool, err error) {
	if dir == "" {
		return false, errors.New("no data folder is given")
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("the folder to restore into: %w", err)
	}
	if err := refuseUnfinishedRestore(dir); err != nil {
		return false, err
	}
	for _, e := range entries {
		if e.Name() != "lost+found" {
			return false, fmt.Errorf("%s is not empty (it holds %q): a backup is restored into an empty folder only", dir, e.Name())
		}
	}
	return true, nil
}

// refuseUnfinishedRestore refuses a data folder whose restore was interrupted.
func refuseUnfinishedRestore(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, restoringFile)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("a restore into %s was interrupted: remove all that is in the folder, and restore again", dir)
	}
	return nil
}

// restore is one run of Restore.
type restore struct {
	opt   Restoring
	root  *seal.Root
	head  backup.Header
	found *contents
	node  *etcdnode.Node // while it runs
}

func (r *restore) path(name string) string {
	return filepath.Join(r.opt.DataDir, filepath.FromSlash(name))
}

// read reads the whole backup, from its beginning.
func (r *restore) read(fn func(backup.Item) error) (backup.Summary, error) {
	if _, err := r.opt.Backup.Seek(0, io.SeekStart); err != nil {
		return backup.Summary{}, fmt.Errorf("read the backup: %w", err)
	}
	head, sum, err := backup.Read(r.opt.Backup, r.openKey, fn)
	r.head = head
	return sum, err
}

func (r *restore) openKey(h backup.Header) (mask.Bytes, error) {
	if h.LeastReader > store.Format {
		return mask.Bytes{}, fmt.Errorf("%w: the backup has format %d, which this release (format %d) cannot use; run the release that made it, or a newer one",
			store.ErrFormat, h.DataFormat, store.Format)
	}
	return r.root.BackupKey(h.RootKey, h.WrappedKey)
}

// verify reads the backup once and touches nothing.
func (r *restore) verify() error {
	if _, err := r.read(r.found.check); err != nil {
		return err
	}
	return r.found.complete()
}

// begin marks the folder as being restored.
func (r *restore) begin() error {
	if err := os.MkdirAll(r.opt.DataDir, 0o700); err != nil {
		return fmt.Errorf("the folder to restore into: %w", err)
	}
	f, err := os.OpenFile(r.path(restoringFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("the folder to restore into: %w", err)
	}
	return errors.Join(f.Close(), syncDir(r.opt.DataDir))
}

// undo removes what a failed restore made: the folder was empty. The mark goes
// last.
func (r *restore) undo(existed bool) error {
	var errs []error
	if r.node != nil {
		errs = append(errs, r.node.Close())
	}
	entries, err := os.ReadDir(r.opt.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.Join(errs...)
	}
	errs = append(errs, err)
	for _, e := range entries {
		if e.Name() != "lost+found" && e.Name() != restoringFile {
			errs = append(errs, os.RemoveAll(r.path(e.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove the unfinished restore: %w", err)
	}
	if err := os.Remove(r.path(restoringFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !existed {
		return os.Remove(r.opt.DataDir)
	}
	return nil
}

// run restores keys, files, records and the audit log, and then makes of the
// records a state that can be served again.
func (r *restore) run(ctx context.Context, gone []withdrawal) (*Restored, error) {
	if err := r.root.Restore(r.path(sealDir), r.found.keyFiles()); err != nil {
		return nil, err
	}
	for name, mode := range besideFiles() {
		if b, ok := r.found.files[name]; ok {
			if err := WriteFile(r.path(name), b, mode); err != nil {
				return nil, fmt.Errorf("restore %s: %w", name, err)
			}
		}
	}
	if err := r.startDatabase(ctx); err != nil {
		return nil, err
	}
	sum, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	out := &Restored{
		Region: r.head.Region, Backup: r.head.Created, Revision: r.head.Revision, Records: sum.Records, Audit: r.head.Audit,
		Damaged: r.found.damaged, DamagedCount: r.found.damagedN,
	}
	if err := r.renew(ctx, out, gone); err != nil {
		return nil, err
	}
	err = r.node.Close()
	r.node = nil
	if err != nil {
		return nil, fmt.Errorf("close the database: %w", err)
	}
	// The mark's removal, made durable, is what makes the folder a server's.
	err = errors.Join(syncDir(r.opt.DataDir), os.Remove(r.path(restoringFile)), syncDir(r.opt.DataDir))
	if err != nil {
		return nil, fmt.Errorf("finish the restore: %w", err)
	}
	return out, nil
}

// startDatabase starts an empty database whose revisions follow those that the
// lost one can have had.
func (r *restore) startDatabase(ctx context.Context) (err error) {
	cfg := etcdnode.Config{Dir: r.opt.DataDir, Logger: r.opt.Logger}
	first, err := etcdnode.Start(ctx, cfg)
	if err != nil {
		return err
	}
	if err := first.Close(); err != nil {
		return err
	}
	if err := etcdnode.RaiseRevision(r.opt.DataDir, r.head.Revision+revisionLeap); err != nil {
		return err
	}
	r.node, err = etcdnode.Start(ctx, cfg)
	return err
}

// load reads the backup again and writes what is in it.
func (r *restore) load(ctx context.Context) (backup.Summary, error) {
	imp, err := store.NewImport(ctx, r.node.Client())
	if err != nil {
		return backup.Summary{}, err
	}
	log := &segments{dir: r.path(auditDir)}
	sum, err := r.read(func(it backup.Item) error {
		switch it.Kind {
		case backup.Record:
			return imp.Put(it.Name, it.Data)
		case backup.Segment:
			return log.begin(it.Name, int64(binary.BigEndian.Uint64(it.Data)))
		case backup.Bytes:
			return log.write(it.Data)
		}
		return nil
	})
	return sum, errors.Join(err, imp.Close(), log.close())
}

// renew ends all sessions, raises the restore epoch, makes the accounts
// read-only and looks for what came back to life, on the restored records.
func (r *restore) renew(ctx context.Context, out *Restored, gone []withdrawal) (err error) {
	ring := r.found.ring
	st, err := store.Open(ctx, store.Config{
		Client: r.node.Client(), MAC: ring, Keyring: ring.Load, KeyringRemoved: ring.Remove, SingleVoter: r.node.SingleVoter,
		WriteTimeout: time.Minute, CompactEvery: -1, Node: r.head.Node, Logger: r.opt.Logger,
	})
	if err != nil {
		return fmt.Errorf("open the restored state: %w", err)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	now := r.opt.Now().UTC().Truncate(time.Second)
	id := newRequestID()
	_, err = st.Commit(ctx, nil, id, func(tx *store.Tx) error {
		m, err := store.Metas.Read(tx, store.MetaKey)
		if err != nil {
			return fmt.Errorf("format record: %w", err)
		}
		m.RestoreEpoch++
		m.Restored = &store.Restored{At: now, Backup: r.head.Created, Revision: r.head.Revision}
		store.Metas.Put(tx, store.MetaKey, m)
		out.Epoch = m.RestoreEpoch
		if err := endSessions(tx, ring, now); err != nil {
			return err
		}
		return r.announce(tx, id, now, m)
	})
	if err != nil {
		return fmt.Errorf("renew the restored state: %w", err)
	}
	if r.opt.AuditLog == "" {
		return nil
	}
	v, err := st.View(ctx)
	if err == nil {
		out.Revived = revived(v, r.head.Region, gone)
	}
	return err
}

// endSessions replaces the keys of security tokens. No token that was ever
// issued opens under a key that is left, so every session has ended, and no
// record of a user or role needs to be touched for it.
func endSessions(tx *store.Tx, ring *keyring.Ring, now time.Time) error {
	name, sealed, err := ring.Generate(keyring.Token, now)
	if err != nil {
		return err
	}
	for _, old := range tokenKeysBefore(tx.View(), math.MaxUint32) {
		tx.DeleteKeyring(old)
	}
	tx.PutKeyring(name, sealed)
	return nil
}

// announce puts the restore on record.
func (r *restore) announce(tx *store.Tx, id string, now time.Time, m *store.Meta) error {
	payload, err := (&record.Record{
		RequestID: id, Time: now, Operation: "RestoreServer", RW: record.Write, Product: rpc.OpenSesame.Service,
		APIVersion: rpc.OpenSesame.Version, Region: m.Region, Node: r.head.Node, Identity: systemIdentity(),
		Params: map[string]string{
			"BackupTime": r.head.Created.UTC().Format(time.RFC3339), "BackupRevision": fmt.Sprint(r.head.Revision),
			"RestoreEpoch": fmt.Sprint(m.RestoreEpoch),
		},
	}).Marshal()
	if err != nil {
		return err
	}
	tx.Outbox(payload)
	return nil
}

// segments writes the files of a restored audit log.
type segments struct {
	dir  string
	file *os.File
	left int64 // bytes that the present file may still get
}

func (s *segments) begin(name string, size int64) error {
	if err := s.end(); err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("restore the audit log: %w", err)
	}
	s.file, s.left = f, size
	return f.Truncate(size)
}

func (s *segments) write(b []byte) error {
	if s.left -= int64(len(b)); s.left < 0 {
		return fmt.Errorf("a segment of the audit log in the backup is longer than it says: %w", backup.ErrAltered)
	}
	_, err := s.file.Write(b)
	return err
}

func (s *segments) end() error {
	if s.file == nil {
		return nil
	}
	err := errors.Join(s.file.Sync(), s.file.Close())
	s.file = nil
	return err
}

func (s *segments) close() error {
	if err := s.end(); err != nil {
		return err
	}
	if _, err := os.Stat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return syncDir(s.dir)
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
