package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Defaults of Config.
const (
	// DefaultReadTimeout is longer than an election.
	DefaultReadTimeout  = 2500 * time.Millisecond
	DefaultWriteTimeout = 2 * time.Second
	// DefaultCompactEvery and DefaultKeepRevisions bound etcd's history.
	DefaultCompactEvery  = 30 * time.Second
	DefaultKeepRevisions = 10_000
)

// Config is what Open needs.
type Config struct {
	// Client reaches etcd. The store does not close it. Required.
	Client *clientv3.Client
	// MAC signs and verifies the records. Required.
	MAC MACer
	// Keyring is called with each record under keyring/ (its name is
	// "<purpose>/<version>") before any record that comes after it is verified:
	// at every load with all of them, later with each that is written. An error
	// fails a load; of a later record it is logged. Calls do not overlap. Nil:
	// ignored.
	Keyring func(name string, sealed []byte) error
	// KeyringRemoved is called when such a record is gone. Nil: ignored.
	KeyringRemoved func(name string)
	// SingleVoter reports that this process is the only member of the etcd
	// cluster, so that all acknowledged writes have passed through this store and
	// are in its replica: views then ask etcd nothing. It must turn false before
	// a member is added. It is called for every view. Nil: never.
	SingleVoter func() bool
	// ForceSharedCheck makes views ask etcd even if SingleVoter holds.
	ForceSharedCheck bool
	// ReadTimeout is how long a view waits for a current state. Zero:
	// DefaultReadTimeout.
	ReadTimeout time.Duration
	// WriteTimeout is how long a transaction may take; finding out what became
	// of it, and waiting for it to reach the replica, may take as long again
	// each. Zero: DefaultWriteTimeout.
	WriteTimeout time.Duration
	// CompactEvery is the time between compactions of etcd's history; zero:
	// DefaultCompactEvery, negative: the store does not compact.
	CompactEvery time.Duration
	// KeepRevisions is how many revisions a compaction leaves. Zero:
	// DefaultKeepRevisions.
	KeepRevisions int64
	// Node names this server in the outbox. Required; without "/".
	Node string
	// Logger takes what an operator should know. Nil: nothing is logged.
	Logger *slog.Logger
}

func (cfg *Config) complete() error {
	switch {
	case cfg.Client == nil || cfg.MAC == nil:
		return errors.New("store: Client and MAC are required")
	case cfg.Node == "" || strings.Contains(cfg.Node, "/"):
		return fmt.Errorf("store: bad node name %q", cfg.Node)
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&cfg.ReadTimeout, DefaultReadTimeout)
	def(&cfg.WriteTimeout, DefaultWriteTimeout)
	def(&cfg.CompactEvery, DefaultCompactEvery)
	if cfg.KeepRevisions == 0 {
		cfg.KeepRevisions = DefaultKeepRevisions
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Store is the state of the server. It is safe for concurrent use.
type Store struct {
	cfg    Config
	client *clientv3.Client
	log    *slog.Logger
	colls  []collection

	// current is never nil. Readers load it; only publish and drop replace it,
	// under pub.
	current atomic.Pointer[View]
	pub     sync.Mutex
	// dropped wakes the applier when somebody else has dropped the replica.
	dropped chan struct{}

	check   checker
	pending pendingCommits
	pins    pins

	// mu guards closed; a commit registers with inflight while it holds mu for
	// reading, so that Close waits for all that got in.
	mu       sync.RWMutex
	closed   bool
	inflight sync.WaitGroup

	// ctx ends when the store closes, after the commits in flight.
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// Open loads all records and follows etcd from there. It returns when the first
// load is complete; ctx bounds that load only. Data of a newer format, a record
// of the keyring that Config.Keyring refuses, and a format record whose MAC
// fails are errors.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	meta, err := ReadMeta(ctx, cfg.Client)
	if err == nil {
		err = meta.CheckFormat()
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	s := &Store{cfg: cfg, client: cfg.Client, log: cfg.Logger, dropped: make(chan struct{}, 1)}
	registry.Lock()
	s.colls = registry.all[:len(registry.all):len(registry.all)]
	registry.Unlock()
	s.check.read = s.readRevision
	s.pending.byID = map[string]*pendingCommit{}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	r := &replica{s: s, keyring: map[string]bool{}}
	s.current.Store(s.emptyView(1))
	if err := r.load(ctx); err != nil {
		s.cancel()
		return nil, fmt.Errorf("load the state: %w", err)
	}
	v := s.current.Load()
	if _, err := Metas.Get(v, MetaKey); err != nil && !errors.Is(err, ErrNotFound) {
		s.cancel()
		return nil, err
	}
	s.tasks.Go(r.run)
	if cfg.CompactEvery > 0 {
		s.tasks.Go(s.compactLoop)
	}
	return s, nil
}

// View returns a snapshot that holds at least every write confirmed before the
// call. The error is ErrUnavailable if that could not be established within
// ReadTimeout or before ctx ended.
func (s *Store) View(ctx context.Context) (*View, error) {
	shared := s.cfg.ForceSharedCheck || s.cfg.SingleVoter == nil || !s.cfg.SingleVoter()
	if !shared {
		if v := s.current.Load(); v.live {
			return v, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ReadTimeout)
	defer cancel()
	var rev int64
	if shared {
		var err error
		if rev, err = s.check.revision(ctx); err != nil {
			return nil, fmt.Errorf("%w: revision check: %w", ErrUnavailable, err)
		}
	}
	return s.await(ctx, rev)
}

// Rev returns the revision that the replica has reached, or 0 while it is being
// loaded.
func (s *Store) Rev() int64 {
	if v := s.current.Load(); v.live {
		return v.rev
	}
	return 0
}

// WriteTimeout returns the deadline of a transaction. A commit may take it three
// times over: see Config.WriteTimeout.
func (s *Store) WriteTimeout() time.Duration { return s.cfg.WriteTimeout }

// OutboxBacklog returns how many audit records of this node wait in the outbox,
// as far as the replica knows.
func (s *Store) OutboxBacklog() int { return s.current.Load().backlog }

// Close refuses new commits, waits for those in flight (their deadlines bound
// that) and stops. Views handed out stay readable.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.inflight.Wait()
	s.cancel()
	s.tasks.Wait()
	s.check.close()
	s.drop(s.current.Load().gen, nil)
	return nil
}

// enter registers a commit; the caller must call s.inflight.Done.
func (s *Store) enter() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed)
	}
	s.inflight.Add(1)
	return nil
}

// await returns the first live view that has reached rev.
func (s *Store) await(ctx context.Context, rev int64) (*View, error) {
	for {
		v := s.current.Load()
		if v.live && v.rev >= rev {
			return v, nil
		}
		select {
		case <-v.next:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: the replica has not reached revision %d: %w", ErrUnavailable, rev, context.Cause(ctx))
		case <-s.ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed)
		}
	}
}

func (s *Store) emptyView(gen uint64) *View {
	v := &View{gen: gen, next: make(chan struct{}), trees: make([]tree, len(s.colls))}
	for i, c := range s.colls {
		v.trees[i] = c.newTree()
	}
	return v
}

// publish replaces the current view and wakes who waits for it. It reports
// false if the replica has been dropped since gen was loaded.
func (s *Store) publish(v *View) bool {
	s.pub.Lock()
	defer s.pub.Unlock()
	old := s.current.Load()
	if old.gen != v.gen {
		return false
	}
	s.current.Store(v)
	close(old.next)
	return true
}

// drop takes the replica out of service, unless it is no longer the one of that
// generation, and wakes the applier to load it afresh.
func (s *Store) drop(gen uint64, reason error) {
	s.pub.Lock()
	defer s.pub.Unlock()
	old := s.current.Load()
	if old.gen != gen {
		return
	}
	v := s.emptyView(gen + 1)
	v.backlog = old.backlog
	s.current.Store(v)
	close(old.next)
	if reason == nil {
		return
	}
	s.log.Warn("dropped the replica of the state, loading it afresh", "reason", reason, "revision", old.rev)
	select {
	case s.dropped <- struct{}{}:
	default:
	}
}
