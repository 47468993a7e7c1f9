// Package app puts a server together: it is the only package that knows all
// others. Start opens things from the inside out, Close ends them in reverse.
package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/opensesame-kms/opensesame/internal/audit"
	"github.com/opensesame-kms/opensesame/internal/audit/record"
	"github.com/opensesame-kms/opensesame/internal/clock"
	"github.com/opensesame-kms/opensesame/internal/config"
	"github.com/opensesame-kms/opensesame/internal/etcdnode"
	"github.com/opensesame-kms/opensesame/internal/gateway"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/product"
	"github.com/opensesame-kms/opensesame/internal/ram"
	"github.com/opensesame-kms/opensesame/internal/rotation"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/seal"
	"github.com/opensesame-kms/opensesame/internal/secrets"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/sts"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// Options are what a test or a command gives beside the config.
type Options struct {
	// Logger takes the server's log. Nil: nothing is logged.
	Logger *slog.Logger
	// Clock is the time that the server goes by. Nil: the real one.
	Clock clock.Clock
	// AuditFS is the file system of the audit log. Nil: the operating system's.
	AuditFS audit.FS
	// Passphrase asks for the passphrase that the root key is sealed under, if
	// the config names no file that holds it. Nil: nobody is asked.
	Passphrase func() (mask.Bytes, error)
	// RotationStep, if not nil, is asked before each step of a rotation of keys;
	// an error ends the attempt there. For tests.
	RotationStep func(what string) error
}

// App is a running server.
type App struct {
	cfg   config.Config
	opt   Options
	log   *slog.Logger
	clock clock.Clock

	keys     *seal.Keys
	ring     *keyring.Ring
	node     *etcdnode.Node
	store    *store.Store
	auditLog *audit.Log
	refusals *audit.Refusals
	ca       *gateway.CA // nil if the certificate comes from files
	gateway  *gateway.Server
	nonces   *identity.Nonces

	// The sockets come first, the listeners that serve on them last.
	tlsSocket, httpSocket net.Listener
	https, http           *listener
	certs                 certificates

	// fresh: this start made the data.
	fresh bool

	tasks sync.WaitGroup // the background goroutines

	fatal chan error
	// closers undo what was opened, in reverse.
	closers []func(context.Context) error
}

// Folders and files within the data folder.
const (
	sealDir      = "keys"
	auditDir     = "audit"
	etcdDir      = "etcd"
	operatorFile = "operator.json"
)

// Start opens the data folder, makes what a first start has to make, and
// serves. It returns once requests are answered. On an error nothing is left
// running.
func Start(ctx context.Context, cfg config.Config, opt Options) (_ *App, err error) {
	if err := cfg.Complete(); err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, opt: opt, log: opt.Logger, clock: opt.Clock, fatal: make(chan error, 1)}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.clock == nil {
		a.clock = clock.Real{}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close(context.WithoutCancel(ctx)))
		}
	}()
	for _, step := range []func(context.Context) error{
		a.bind, a.openKeys, a.startEtcd, a.openStore, a.bootstrap, a.nameKeyring, a.openAudit, a.openCertificate, a.startTasks, a.restoreNonces,
		a.buildGateway, a.listen,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// onClose remembers how to undo a step.
func (a *App) onClose(f func(context.Context) error) { a.closers = append(a.closers, f) }

func (a *App) startEtcd(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	a.node, err = etcdnode.Start(ctx, etcdnode.Config{
		Dir: a.cfg.DataDir, Logger: a.log, FastTicks: a.cfg.FastElection,
	})
	if err != nil {
		return err
	}
	a.onClose(func(context.Context) error { return a.node.Close() })
	return nil
}

func (a *App) openStore(ctx context.Context) (err error) {
	meta, err := store.ReadMeta(ctx, a.node.Client())
	if err == nil {
		err = meta.CheckFormat() // before anything else of a newer release is believed
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		if a.cfg.Region == "" {
			a.cfg.Region = config.DefaultRegion
		}
	case err != nil:
		return err
	case a.cfg.Region != "" && a.cfg.Region != meta.Region:
		return fmt.Errorf("the data in %s is of the region %s, not %s: a server serves one region", a.cfg.DataDir, meta.Region, a.cfg.Region)
	default:
		a.cfg.Region = meta.Region
	}
	a.store, err = store.Open(ctx, store.Config{
		Client: a.node.Client(), MAC: a.ring, Keyring: a.ring.Load, KeyringRemoved: a.retireKey,
		SingleVoter: a.node.SingleVoter, ForceSharedCheck: a.cfg.ForceSharedCheck,
		ReadTimeout: a.cfg.Timeouts.Read, WriteTimeout: a.cfg.Timeouts.Write, Node: a.cfg.Node, Logger: a.log,
	})
	if err != nil {
		return err
	}
	a.onClose(func(context.Context) error { return a.store.Close() })
	return nil
}

func (a *App) openAudit(ctx context.Context) error {
	if _, err := os.Stat(a.AuditDir()); errors.Is(err, fs.ErrNotExist) && !a.fresh {
		a.log.Error("the audit log of this data is gone; a new one begins", "folder", a.AuditDir())
	}
	log, recovery, err := audit.Open(audit.Config{
		Dir: a.AuditDir(), LateAfter: a.cfg.Audit.LateAfter, SegmentSize: int64(a.cfg.Audit.Segment),
		FS: a.opt.AuditFS, Logger: a.log, Clock: a.clock, Withheld: a.withheld,
	})
	if err != nil {
		return err
	}
	a.auditLog = log
	a.onClose(log.Close)
	a.refusals = audit.NewRefusals(a.recordRefusals)
	a.onClose(func(context.Context) error { a.refusals.Close(); return nil })
	if !recovery.Repaired {
		return nil
	}
	return a.recordRepair(ctx, recovery)
}

// recordRepair leaves a record that the end of the log was cut.
func (a *App) recordRepair(ctx context.Context, rec audit.Recovery) error {
	r := a.notice(record.NoticeTailRepaired)
	r.Note = fmt.Sprintf("the end of the log was cut at byte %d of %s: %d bytes after the last whole record, kept in %q", rec.Offset, rec.Segment, rec.Bytes, rec.Saved)
	payload, err := r.Marshal()
	if err != nil {
		return err
	}
	_, err = a.auditLog.Append(ctx, payload)
	return err
}

// notice begins a record in which the server itself speaks.
func (a *App) notice(operation string) *record.Record {
	return &record.Record{
		Kind: record.KindNotice, Operation: operation, RW: record.Write, Time: a.clock.Now(),
		RequestID: newRequestID(), Product: rpc.OpenSesame.Service, APIVersion: rpc.OpenSesame.Version,
		Region: a.cfg.Region, Node: a.cfg.Node, Identity: systemIdentity(),
	}
}

// withheld makes the record that follows one whose answer was withheld.
func (a *App) withheld(payload []byte, index uint64) []byte {
	r, err := record.Unmarshal(payload)
	if err != nil {
		return nil
	}
	out, err := r.Withheld(index, a.clock.Now()).Marshal()
	if err != nil {
		return nil
	}
	return out
}

// recordRefusals writes one record of a second's refusals of unknown callers.
func (a *App) recordRefusals(counts []audit.Refusal) {
	r := a.notice("Refusals")
	r.Kind, r.RW, r.Counts = record.KindRefusals, record.Read, counts
	for _, c := range counts {
		if c.Account != "" && !slices.Contains(r.Accounts, c.Account) {
			r.Accounts = append(r.Accounts, c.Account)
		}
	}
	payload, err := r.Marshal()
	if err == nil {
		_, err = a.auditLog.Append(context.Background(), payload)
	}
	if err != nil {
		a.log.Error("refusals could not be recorded", "error", err)
	}
}

// Table declares all operations of the server.
func Table(ring *keyring.Ring) *rpc.Table {
	return table(&product.Service{Ring: ring}, &rotation.Service{Ring: ring})
}

// table is Table with the operator's operations as a server has set them up.
func table(operators *product.Service, rotations *rotation.Service) *rpc.Table {
	ring := operators.Ring
	t := rpc.NewTable()
	(&secrets.Service{Ring: ring}).Register(t)
	(&ram.Service{Ring: ring}).Register(t)
	(&sts.Service{Ring: ring}).Register(t)
	operators.Register(t)
	rotations.Register(t)
	return t
}

func (a *App) buildGateway(context.Context) error {
	if a.cfg.AllowBreakGlass {
		a.log.Warn("break-glass operations are allowed: an operator can get credentials that read secrets")
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sesame_outbox_records", Help: "Audit records of committed changes that are not in the log yet."},
			func() float64 { return float64(a.store.OutboxBacklog()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sesame_nonces", Help: "Signature nonces that are remembered."},
			func() float64 { return float64(a.nonces.Len()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sesame_audit_records_total", Help: "Records in the audit log."},
			func() float64 { return float64(a.auditLog.Durable()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sesame_store_revision", Help: "Revision of the state that is served."},
			func() float64 { return float64(a.store.Rev()) }),
	)
	operators := &product.Service{Ring: a.ring, AllowBreakGlass: a.cfg.AllowBreakGlass, Backups: &backups{a: a}}
	a.gateway = &gateway.Server{
		Pipeline: rpc.NewPipeline(rpc.Config{
			Table: table(operators, &rotation.Service{Ring: a.ring, Keys: a.keys}), Store: a.store, Resolver: &identity.Resolver{Ring: a.ring, Region: a.cfg.Region}, Nonces: a.nonces, Limiter: a.limiter(),
			Log: a.auditLog, Refusals: a.refusals, Clock: a.clock, Logger: a.log,
			Region: a.cfg.Region, Node: a.cfg.Node, Metrics: rpc.NewMetrics(reg),
		}),
		Ready: a.ready, Gatherer: prometheus.Gatherers{reg, prometheus.DefaultGatherer}, Logger: a.log,
	}
	return nil
}

// limiter makes the limiter that the config asks for.
func (a *App) limiter() *throttle.Limiter {
	limits, strangers := throttle.Documented(), float64(config.DefaultStrangers)
	if a.cfg.Limits.None {
		limits, strangers = throttle.Limits{}, 0
	}
	a.cfg.Limits.Shared.Each(func(class string, r config.Rate) {
		limits[throttle.Class(class)] = r.Or(limits[throttle.Class(class)])
	})
	return throttle.New(throttle.Config{Limits: limits, Strangers: a.cfg.Limits.Strangers.Or(strangers)})
}

// ready reports whether requests can be answered.
func (a *App) ready(ctx context.Context) error {
	if _, err := a.store.View(ctx); err != nil {
		return err
	}
	return a.auditLog.Healthy()
}

// listener is an HTTP server on its address.
type listener struct {
	net.Listener
	server *http.Server
}

// Close ends the server in reverse order of Start: no new requests, the running
// ones finish, what they wrote becomes durable. ctx bounds the wait.
func (a *App) Close(ctx context.Context) error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i](ctx))
	}
	a.closers = nil
	return errors.Join(errs...)
}

// Wait returns when ctx ends (nil) or when the server cannot go on.
func (a *App) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-a.fatal:
		return err
	case err := <-a.node.Err():
		return fmt.Errorf("the database stopped: %w", err)
	}
}

// URL is the HTTPS endpoint.
func (a *App) URL() string { return "https://" + a.https.Addr().String() }

// LoopbackURL is the HTTPS endpoint as a client on this machine reaches it: a
// listener on all addresses is addressed by 127.0.0.1.
func (a *App) LoopbackURL() string {
	host, port, err := net.SplitHostPort(a.https.Addr().String())
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return "https://" + net.JoinHostPort("127.0.0.1", port)
	}
	return a.URL()
}

// DrainAudit waits until every change that was confirmed so far has its record
// in the log.
func (a *App) DrainAudit(ctx context.Context) error {
	for a.store.OutboxBacklog() > 0 {
		t := time.NewTimer(time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
	return nil
}

// ReadAudit calls fn with every record of this server's audit log, oldest
// first.
func (a *App) ReadAudit(fn func(r *record.Record)) error { return a.ReadAuditFrom(0, fn) }

// AuditMark returns the number that the next record of the audit log gets, for
// ReadAuditFrom: all that was confirmed so far has its records before it.
func (a *App) AuditMark(ctx context.Context) (uint64, error) {
	if err := a.DrainAudit(ctx); err != nil {
		return 0, err
	}
	return a.auditLog.Durable(), nil
}

// ReadAuditFrom is ReadAudit for the records from a mark on.
func (a *App) ReadAuditFrom(mark uint64, fn func(r *record.Record)) error {
	return audit.Read(a.AuditDir(), mark, func(index uint64, payload []byte) error {
		r, err := record.Unmarshal(payload)
		if err != nil {
			return fmt.Errorf("audit record %d: %w", index, err)
		}
		r.Sequence = index
		fn(r)
		return nil
	})
}

// HTTPURL is the plain-HTTP endpoint, empty if there is none.
func (a *App) HTTPURL() string {
	if a.http == nil {
		return ""
	}
	return "http://" + a.http.Addr().String()
}

// CAFile is the file with the certificate that clients have to trust; empty if
// the server's certificate comes from files and so from another authority.
func (a *App) CAFile() string {
	if a.ca == nil {
		return ""
	}
	return a.ca.Path()
}

// CAPEM is the content of CAFile.
func (a *App) CAPEM() []byte {
	if a.ca == nil {
		return nil
	}
	return a.ca.PEM()
}

// Fresh reports whether this start made the data.
func (a *App) Fresh() bool { return a.fresh }

// KeysDir is the folder to copy to a safe place: without it nothing that is
// stored can be read.
func (a *App) KeysDir() string { return filepath.Join(a.cfg.DataDir, sealDir) }

// Region is the region that is served.
func (a *App) Region() string { return a.cfg.Region }

// RootKeyPath is the file to copy to a safe place.
func (a *App) RootKeyPath() string { return a.keys.RootKeyPath() }

// AuditDir is the folder of the audit log.
func (a *App) AuditDir() string { return filepath.Join(a.cfg.DataDir, auditDir) }

// startTimeout is how long the database may take to become ready: a million
// secrets take some seconds.
const startTimeout = 2 * time.Minute

// closeTimeout is how long running requests may take to finish.
const closeTimeout = 10 * time.Second
