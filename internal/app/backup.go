package app

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/audit"
	"github.com/opensesame-kms/opensesame/internal/audit/record"
	"github.com/opensesame-kms/opensesame/internal/backup"
	"github.com/opensesame-kms/opensesame/internal/gateway"
	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/seal"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// backups makes backups of a running server, one at a time.
type backups struct {
	a    *App
	busy atomic.Bool
}

// besideFiles are the files beside the database that a backup holds, by their
// modes: without them clients would not trust the restored server, and its
// operator could not sign in.
func besideFiles() map[string]os.FileMode {
	cert, key := gateway.CAFiles()
	return map[string]os.FileMode{operatorFile: 0o600, cert: 0o644, key: 0o600}
}

// Begin holds the state at one revision. Nothing is read yet but small files.
func (b *backups) Begin(ctx context.Context, c *rpc.Call, withAudit bool) (rpc.Stream, error) {
	if !b.busy.CompareAndSwap(false, true) {
		return nil, apierr.Throttled.Msg("Another backup is being made. There is one at a time.")
	}
	s := &backupStream{b: b, a: b.a, record: *c.Record}
	s.record.Resources = slices.Clone(s.record.Resources)
	if err := s.prepare(ctx, withAudit); err != nil {
		s.Close()
		if errors.Is(err, store.ErrUnavailable) {
			return nil, apierr.Unavailable.Because(err)
		}
		return nil, err
	}
	return s, nil
}

// backupStream is one backup on its way out.
type backupStream struct {
	b      *backups
	a      *App
	record record.Record // of the request, as it was when the stream began
	head   backup.Header
	key    seal.BackupKey
	files  map[string][]byte
	snap   *store.Snapshot
	once   sync.Once
}

func (s *backupStream) prepare(ctx context.Context, withAudit bool) (err error) {
	// Before the snapshot: what is withdrawn from now on may be missing in it.
	created := s.a.clock.Now().UTC()
	if s.snap, err = s.a.store.Snapshot(ctx); err != nil {
		return err
	}
	meta, err := store.Metas.Get(s.snap.View(), store.MetaKey)
	if err != nil {
		return fmt.Errorf("format record: %w", err)
	}
	if s.key, err = s.a.keys.BackupKey(); err != nil {
		return err
	}
	if s.files, err = s.readFiles(); err != nil {
		return err
	}
	s.head = backup.Header{
		Program: release(), DataFormat: meta.Format, LeastReader: meta.LeastReader, Region: meta.Region, Node: s.a.cfg.Node,
		Created: created, Revision: s.snap.View().Rev(), RestoreEpoch: meta.RestoreEpoch, Audit: withAudit,
		RootKey: s.key.RootKey, WrappedKey: s.key.Wrapped, Salt: make([]byte, backup.SaltSize),
	}
	_, _ = rand.Read(s.head.Salt) // never fails
	return nil
}

// release names this release, as far as the build knows.
func release() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}

func (s *backupStream) readFiles() (map[string][]byte, error) {
	out := map[string][]byte{}
	for name := range besideFiles() {
		b, err := os.ReadFile(filepath.Join(s.a.cfg.DataDir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("read what a backup holds: %w", err)
		default:
			out[name] = b
		}
	}
	epochs, err := s.a.keys.EpochFiles(s.key.RootKey)
	if err != nil {
		return nil, err
	}
	for name, b := range epochs {
		out[path.Join(sealDir, name)] = b
	}
	return out, nil
}

// Close ends the hold on the revision.
func (s *backupStream) Close() {
	s.once.Do(func() {
		if s.snap != nil {
			s.snap.Close()
		}
		s.b.busy.Store(false)
	})
}

// Send writes the backup, and records how that ended.
func (s *backupStream) Send(ctx context.Context, w io.Writer) error {
	found := &contents{epochs: func(map[string][]byte) ([]keyring.Epoch, error) {
		return append([]keyring.Epoch{s.a.keys.Epoch()}, s.a.keys.Older()...), nil
	}}
	sum, err := s.write(ctx, w, found)
	code, note := "", fmt.Sprintf("the backup is whole: revision %d, %d records, %d bytes of the audit log, SHA-256 %x before the final chunk",
		s.head.Revision, sum.Records, sum.AuditBytes, sum.Sum)
	if found.damagedN > 0 {
		note += fmt.Sprintf("; %d records in it failed their integrity check", found.damagedN)
		s.a.log.Error("a backup holds records that failed their integrity check", "records", found.damagedN, "keys", found.damaged)
	}
	if err != nil {
		code, note = "Incomplete", "the backup ended before it was whole, and cannot be used"
		s.a.log.Error("backup failed", "requestId", s.record.RequestID, "error", err)
	}
	payload, merr := s.record.BackupEnded(code, note, s.a.clock.Now().UTC()).Marshal()
	if merr == nil {
		_, merr = s.a.auditLog.Append(context.WithoutCancel(ctx), payload)
	}
	if merr != nil {
		s.a.log.Error("the end of a backup could not be recorded", "requestId", s.record.RequestID, "error", merr)
	}
	return err
}

func (s *backupStream) write(ctx context.Context, w io.Writer, found *contents) (backup.Summary, error) {
	bw, err := backup.NewWriter(w, s.head, s.key.Key, found.check)
	if err != nil {
		return backup.Summary{}, err
	}
	if err := s.fill(ctx, bw); err != nil {
		bw.Abort()
		return backup.Summary{}, err
	}
	return bw.Close(found.complete)
}

func (s *backupStream) fill(ctx context.Context, bw *backup.Writer) error {
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		if err := bw.Add(backup.Item{Kind: backup.File, Name: name, Data: s.files[name]}); err != nil {
			return err
		}
	}
	err := s.snap.Each(ctx, func(key string, value []byte) error {
		return bw.Add(backup.Item{Kind: backup.Record, Name: key, Data: value})
	})
	// From here on etcd may forget the revision, however slow the rest is taken.
	s.snap.Close()
	if err != nil || !s.head.Audit {
		return err
	}
	// After the records: a change in them has its own record in the outbox, which
	// is among them, or by now in the log.
	return audit.Export(s.a.AuditDir(), func(name string, size int64) error {
		return bw.Add(backup.Item{Kind: backup.Segment, Name: name, Data: binary.BigEndian.AppendUint64(nil, uint64(size))})
	}, func(b []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return bw.Add(backup.Item{Kind: backup.Bytes, Data: b})
	})
}

// contents looks at the items of a backup: that they are what a server can be
// restored from. The server that makes a backup uses it on what leaves, and a
// restore before it touches anything.
type contents struct {
	// epochs unlocks the epoch keys, given the files of keys by their names.
	epochs func(files map[string][]byte) ([]keyring.Epoch, error)

	files map[string][]byte // by path in the data folder
	ring  *keyring.Ring     // from the first record on
	meta  bool              // the format record was seen
	// damaged are records that failed their integrity check: some of their keys,
	// and how many there are.
	damaged  []string
	damagedN int
}

// maxNamed bounds how many damaged records are named.
const maxNamed = 20

func (c *contents) check(it backup.Item) error {
	switch it.Kind {
	case backup.File:
		return c.file(it)
	case backup.Record:
		return c.recordItem(it)
	case backup.Segment:
		if size := binary.BigEndian.Uint64(it.Data); !audit.IsSegment(it.Name) || size > audit.MaxSegment {
			return fmt.Errorf("the backup holds %q, which is no segment of an audit log", it.Name)
		}
	}
	return nil
}

func (c *contents) file(it backup.Item) error {
	_, beside := besideFiles()[it.Name]
	dir, base := path.Split(it.Name)
	if !beside && (dir != sealDir+"/" || !seal.IsEpochFile(base)) {
		return fmt.Errorf("the backup holds a file %q, which this release does not know", it.Name)
	}
	if c.files == nil {
		c.files = map[string][]byte{}
	}
	c.files[it.Name] = slices.Clone(it.Data)
	return nil
}

// keyFiles are the epoch keys' files by their names in the keys' folder.
func (c *contents) keyFiles() map[string][]byte {
	out := map[string][]byte{}
	for name, b := range c.files {
		if dir, base := path.Split(name); dir == sealDir+"/" {
			out[base] = b
		}
	}
	return out
}

func (c *contents) recordItem(it backup.Item) error {
	if c.ring == nil {
		epochs, err := c.epochs(c.keyFiles())
		if err != nil {
			return err
		}
		c.ring = keyring.New(epochs[0], epochs[1:]...)
	}
	if name, ok := store.KeyringName(it.Name); ok {
		// Without its keyring a backup is worth nothing.
		if err := c.ring.Load(name, slices.Clone(it.Data)); err != nil {
			return fmt.Errorf("the key %s in the backup does not open under the epoch keys beside it: %w", name, err)
		}
		return nil
	}
	if it.Name == store.Prefix+"meta" {
		c.meta = true
	}
	if err := store.CheckRecord(c.ring, it.Name, it.Data); err != nil {
		// It was so in the database, which refuses it likewise: no reason to
		// have no backup.
		if c.damagedN++; len(c.damaged) < maxNamed {
			c.damaged = append(c.damaged, it.Name)
		}
	}
	return nil
}

// complete says whether anything that a server needs is missing.
func (c *contents) complete() error {
	if !c.meta {
		return errors.New("the backup holds no format record")
	}
	for _, p := range purposes {
		if _, _, ok := c.ring.Current(p); !ok {
			return fmt.Errorf("the backup holds no key for %q", p)
		}
	}
	return nil
}
