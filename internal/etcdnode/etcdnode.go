// Package etcdnode runs the etcd server that the program embeds: one member, in
// this process, reached by direct calls. It listens nowhere, so nothing outside
// the process can talk to it, and it is the only package that knows the etcd
// server.
//
// It trusts the data folder and whoever can write it; what is stored in etcd is
// protected by package store, not here. etcd ends the process when it cannot
// write its log or its database any more, since it can then no longer tell what
// is durable.
package etcdnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

const (
	// DefaultName is the member's name.
	DefaultName = "sesame"
	// DefaultQuotaBytes is the largest database that etcd's authors advise.
	DefaultQuotaBytes = 8 << 30

	// The raft log in memory of a member that nobody has to catch up with: the
	// defaults keep thousands of entries, which cost 220 to 250 MB with large
	// transactions.
	snapshotCount   = 500
	snapshotCatchUp = 100
)

// Errors of Start and Err.
var (
	// ErrInUse: another process (or another Node of this one) has the folder.
	ErrInUse = errors.New("the data folder is in use by another server")
	// ErrStopped: etcd stopped without being asked to.
	ErrStopped = errors.New("the embedded etcd has stopped")
)

// Config is what Start needs.
type Config struct {
	// Dir is the folder of the node, made with mode 0700 if it does not exist.
	// It holds a lock file and etcd's own folder. Required.
	Dir string
	// Name is the member's name. Empty: DefaultName.
	Name string
	// Logger takes etcd's warnings and errors, and the rest of its talk at debug
	// level. Nil: nothing is logged.
	Logger *slog.Logger
	// FastTicks makes etcd elect itself in a tenth of the time. For tests: on a
	// busy machine such a member loses its own leadership.
	FastTicks bool
	// QuotaBytes bounds etcd's database; beyond it etcd refuses writes. Zero:
	// DefaultQuotaBytes.
	QuotaBytes int64
}

// Node is a running etcd member. Its methods are safe for concurrent use.
type Node struct {
	etcd   *embed.Etcd
	client *clientv3.Client
	lock   *fileutil.LockedFile
	alone  atomic.Bool
	errc   chan error

	closing   chan struct{}
	closeOnce sync.Once
	closeErr  error
	watchdog  sync.WaitGroup
}

// Start starts etcd in cfg.Dir and returns when it is ready for reads and
// writes. The error is ErrInUse if the folder is taken; nothing was touched
// then. If ctx ends first, etcd is stopped again.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if cfg.Dir == "" {
		return nil, errors.New("etcdnode: Dir is required")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	lock, err := tryLock(cfg.Dir)
	if err != nil {
		return nil, err
	}
	n := &Node{lock: lock, errc: make(chan error, 1), closing: make(chan struct{})}
	if err := n.start(ctx, cfg); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	n.client = v3client.New(n.etcd.Server)
	n.client.Cluster = &guardedCluster{Cluster: n.client.Cluster, alone: &n.alone}
	members := n.etcd.Server.Cluster().Members()
	n.alone.Store(len(members) == 1 && members[0].ID == n.etcd.Server.MemberID())
	n.watchdog.Go(n.watch)
	return n, nil
}

func tryLock(dir string) (*fileutil.LockedFile, error) {
	lock, err := fileutil.TryLockFile(filepath.Join(dir, lockFile), os.O_WRONLY|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	return lock, nil
}

// Lock takes a data folder for work that no server may be running beside, until
// the result is closed. The folder must exist. The error is ErrInUse if a
// server has it.
func Lock(dir string) (io.Closer, error) { return tryLock(dir) }

func (n *Node) start(ctx context.Context, cfg Config) error {
	if err := beginFirstStart(cfg.Dir); err != nil {
		return fmt.Errorf("prepare the data folder: %w", err)
	}
	var err error
	if n.etcd, err = embed.StartEtcd(embedConfig(cfg)); err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	if err = n.ready(ctx); err == nil {
		if err = endFirstStart(cfg.Dir); err != nil {
			err = fmt.Errorf("prepare the data folder: %w", err)
		}
	}
	if err != nil {
		n.etcd.Close()
	}
	return err
}

func (n *Node) ready(ctx context.Context) error {
	select {
	case <-n.etcd.Server.ReadyNotify():
		return nil
	case <-n.etcd.Server.StopNotify():
		return ErrStopped
	case <-ctx.Done():
		return fmt.Errorf("etcd did not become ready: %w", context.Cause(ctx))
	}
}

// watch reports an etcd that stops by itself.
func (n *Node) watch() {
	select {
	case <-n.closing:
	case <-n.etcd.Server.StopNotify():
		select {
		case <-n.closing:
		default:
			n.errc <- ErrStopped
		}
	}
}

func embedConfig(cfg Config) *embed.Config {
	name := cfg.Name
	if name == "" {
		name = DefaultName
	}
	c := embed.NewConfig()
	c.Name = name
	c.Dir = filepath.Join(cfg.Dir, etcdFolder)
	// No listeners. The peer address is a mere name that the member list wants.
	c.ListenPeerUrls, c.ListenClientUrls, c.AdvertiseClientUrls = nil, nil, nil
	c.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "localhost:0"}}
	c.InitialCluster = c.InitialClusterFromName(name)
	c.EnableGRPCGateway = false
	c.SnapshotCount = snapshotCount
	c.SnapshotCatchUpEntries = snapshotCatchUp
	c.AutoCompactionRetention = "0" // package store compacts
	c.QuotaBackendBytes = cfg.QuotaBytes
	if cfg.QuotaBytes == 0 {
		c.QuotaBackendBytes = DefaultQuotaBytes
	}
	if cfg.FastTicks {
		c.TickMs, c.ElectionMs = 10, 100
	}
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(cfg.Logger))
	return c
}

// Client returns the in-process client. It belongs to the node and ends with it.
func (n *Node) Client() *clientv3.Client { return n.client }

// SingleVoter reports whether the member list, learners included, is this
// member alone. It turns false for good before a member is added.
func (n *Node) SingleVoter() bool { return n.alone.Load() }

// Err delivers ErrStopped if etcd stops without Close having been called.
func (n *Node) Err() <-chan error { return n.errc }

// Close stops etcd and gives the folder free. What etcd acknowledged is durable
// with or without it.
func (n *Node) Close() error {
	n.closeOnce.Do(func() {
		close(n.closing)
		n.alone.Store(false)
		err := n.client.Close()
		if errors.Is(err, context.Canceled) {
			err = nil // what it says when its watches were still open
		}
		n.etcd.Close()
		n.watchdog.Wait()
		n.closeErr = errors.Join(err, n.lock.Close())
	})
	return n.closeErr
}

// guardedCluster takes back the single-voter rule before the member list grows.
type guardedCluster struct {
	clientv3.Cluster
	alone *atomic.Bool
}

func (g *guardedCluster) MemberAdd(ctx context.Context, peerAddrs []string) (*clientv3.MemberAddResponse, error) {
	g.alone.Store(false)
	return g.Cluster.MemberAdd(ctx, peerAddrs)
}

func (g *guardedCluster) MemberAddAsLearner(ctx context.Context, peerAddrs []string) (*clientv3.MemberAddResponse, error) {
	g.alone.Store(false)
	return g.Cluster.MemberAddAsLearner(ctx, peerAddrs)
}
