package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Tx collects what a transaction read and wants to write. It belongs to one
// call of a Commit's function and must not be kept.
type Tx struct {
	s         *Store
	view      *View
	requestID string
	err       error // the first that staging met; fails the commit

	compares map[string]int64 // etcd key → ModRevision in the view, 0 = absent
	staged   map[string]*staged
	order    []string // keys of staged
	outboxN  int
}

// staged is a write to one etcd key.
type staged struct {
	body, value []byte
	deleted     bool
}

// epoch is the record that every change of an account's permissions writes. Its
// content only tells people who wrote it; what counts is its revision.
type epoch struct {
	Request string `json:"request"`
}

// View returns the view that the transaction reads.
func (tx *Tx) View() *View { return tx.view }

// Writes returns how many records the transaction will write or delete, outbox
// records not counted.
func (tx *Tx) Writes() int { return len(tx.order) - tx.outboxN }

// CompareEpoch makes the commit fail with ErrConflict if the permissions of the
// account have changed since the view.
func (tx *Tx) CompareEpoch(account string) {
	etcdKey, err := epochs.etcdKey(account)
	if err != nil {
		tx.fail(err)
		return
	}
	e, ok := epochs.find(tx.view, account)
	tx.compare(etcdKey, revOf(e, ok))
}

// BumpEpoch is CompareEpoch, and changes the epoch: every write judged by the
// permissions before this transaction fails from now on. Each change of users,
// keys, roles, policies, key state or suspension calls it.
func (tx *Tx) BumpEpoch(account string) {
	tx.CompareEpoch(account)
	epochs.Put(tx, account, &epoch{Request: tx.requestID})
}

// Outbox adds an audit record to the transaction. DrainOutbox carries it to the
// log, in the order of commits and within one in the order of calls. A commit
// whose outcome etcd did not tell can be cleared up only if it has one.
func (tx *Tx) Outbox(payload []byte) {
	key := join(tx.s.cfg.Node, tx.requestID, fmt.Sprintf("%04d", tx.outboxN))
	before := len(tx.order)
	outbox.Put(tx, key, &rawRecord{payload})
	tx.outboxN += len(tx.order) - before
}

// PutKeyring stages the keyring record "<purpose>/<version>", sealed by the
// caller. The commit fails with ErrConflict if that record has changed since
// the view, absence included.
func (tx *Tx) PutKeyring(name string, sealed []byte) {
	e, ok := keyring.find(tx.view, name)
	if etcdKey, err := keyring.etcdKey(name); err == nil {
		tx.compare(etcdKey, revOf(e, ok))
	}
	keyring.Put(tx, name, &rawRecord{sealed})
}

// FenceKeyring makes every transaction fail with ErrConflict whose view is older
// than this one's commit. It goes with a new key of the keyring: a view that
// has the fence has the new key too, so whatever is committed from then on was
// signed and sealed under it, and the older one can be retired once what lay
// there before is done.
func (tx *Tx) FenceKeyring() {
	fences.Put(tx, fenceKey, &epoch{Request: tx.requestID})
}

// compareFence is in every transaction.
func (tx *Tx) compareFence() {
	etcdKey, err := fences.etcdKey(fenceKey)
	if err != nil {
		tx.fail(err)
		return
	}
	e, ok := fences.find(tx.view, fenceKey)
	tx.compare(etcdKey, revOf(e, ok))
}

// fenceKey is the key of the one record in fences.
const fenceKey = ""

// DeleteKeyring stages the removal of a keyring record.
func (tx *Tx) DeleteKeyring(name string) { keyring.Delete(tx, name) }

// ScanKeyring calls fn for every keyring record of the view in the order of
// names, until fn returns false. sealed is shared: do not change it.
func ScanKeyring(v *View, fn func(name string, sealed []byte) bool) {
	keyring.ascend(v, "", "", func(name string, e *entry[rawRecord]) bool { return fn(name, e.rec.data) })
}

func (tx *Tx) fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

func (tx *Tx) compare(etcdKey string, rev int64) { tx.compares[etcdKey] = rev }

func (tx *Tx) stage(etcdKey string, st *staged) {
	if tx.staged[etcdKey] == nil {
		tx.order = append(tx.order, etcdKey)
	}
	tx.staged[etcdKey] = st
}

// Commit runs fn against the view (nil: a new one) and commits what it staged as
// one etcd transaction that compares everything fn read by Read, CompareEpoch
// and BumpEpoch. It returns the revision written, after the local replica has
// reached it; if nothing was staged, nothing is sent and the revision is the
// view's.
//
// Errors: fn's own, unchanged; ErrConflict, after the replica has reached the
// change that was in the way, so that a new view shows it; ErrUnavailable;
// ErrOutcomeUnknown. In all but the last nothing was written. ctx counts until
// the transaction is sent, afterwards only WriteTimeout does. requestID names
// the outbox records; two commits at a time must not share one.
func (s *Store) Commit(ctx context.Context, view *View, requestID string, fn func(tx *Tx) error) (int64, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.inflight.Done()
	if view == nil {
		var err error
		if view, err = s.View(ctx); err != nil {
			return 0, err
		}
	}
	tx := &Tx{
		s: s, view: view, requestID: requestID,
		compares: map[string]int64{}, staged: map[string]*staged{},
	}
	if err := fn(tx); err != nil {
		return 0, err
	}
	if tx.err != nil {
		return 0, fmt.Errorf("stage a transaction: %w", tx.err)
	}
	if len(tx.order) == 0 {
		return view.rev, nil
	}
	tx.compareFence()
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("%w: not sent: %w", ErrUnavailable, err)
	}
	return s.send(tx)
}

func (s *Store) send(tx *Tx) (int64, error) {
	var p *pendingCommit
	if tx.outboxN > 0 {
		var err error
		if p, err = s.pending.add(tx.requestID); err != nil {
			return 0, err
		}
		defer s.pending.remove(tx.requestID)
	}
	before := s.current.Load()
	if before.gen != tx.view.gen {
		// Revisions of another load say nothing about this one.
		return 0, ErrConflict
	}
	// Not the caller's context: a transaction on its way cannot be called back,
	// only its outcome be lost.
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.WriteTimeout)
	defer cancel()
	resp, err := s.client.Txn(ctx).If(tx.cmps()...).Then(tx.ops()...).Commit()
	switch {
	case err != nil && refusedForNow(err):
		return 0, fmt.Errorf("%w: refused by etcd: %w", ErrUnavailable, err)
	case err != nil && refusedForGood(err):
		return 0, fmt.Errorf("transaction refused by etcd: %w", err)
	case err != nil:
		return s.resolve(p, err)
	}
	s.checkHeader(resp.Header, before)
	rev := resp.Header.Revision
	if earlyAck && resp.Succeeded {
		return rev, nil
	}
	ctx, cancel = context.WithTimeout(s.ctx, s.cfg.WriteTimeout)
	defer cancel()
	_, err = s.await(ctx, rev)
	switch {
	case !resp.Succeeded:
		return 0, ErrConflict
	case err != nil:
		// It is written, but to say so would promise that the next read shows it.
		return 0, fmt.Errorf("%w: written, but %w", ErrOutcomeUnknown, err)
	}
	return rev, nil
}

func (tx *Tx) cmps() []clientv3.Cmp {
	out := make([]clientv3.Cmp, 0, len(tx.compares))
	for key, rev := range tx.compares {
		out = append(out, clientv3.Compare(clientv3.ModRevision(key), "=", rev))
	}
	return out
}

func (tx *Tx) ops() []clientv3.Op {
	out := make([]clientv3.Op, 0, len(tx.order))
	for _, key := range tx.order {
		if st := tx.staged[key]; st.deleted {
			out = append(out, clientv3.OpDelete(key))
		} else {
			out = append(out, clientv3.OpPut(key, string(st.value)))
		}
	}
	return out
}

// refusedForNow: etcd says no before it proposes the transaction, and may say
// yes later.
func refusedForNow(err error) bool {
	return errors.Is(err, rpctypes.ErrNoSpace) || errors.Is(err, rpctypes.ErrTooManyRequests)
}

// refusedForGood: the transaction is not one that etcd takes.
func refusedForGood(err error) bool {
	return errors.Is(err, rpctypes.ErrTooManyOps) || errors.Is(err, rpctypes.ErrRequestTooLarge) ||
		errors.Is(err, rpctypes.ErrDuplicateKey) || errors.Is(err, rpctypes.ErrEmptyKey)
}

// resolve finds out what became of a transaction that etcd gave no answer to:
// when the replica has reached all that was decided by now, its outbox record
// has been seen or not. Not seen is no proof: it may still be on its way.
func (s *Store) resolve(p *pendingCommit, cause error) (int64, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.WriteTimeout)
	defer cancel()
	unknown := func() (int64, error) { return 0, fmt.Errorf("%w: %w", ErrOutcomeUnknown, cause) }
	if p == nil {
		return unknown()
	}
	if rev, err := s.check.revision(ctx); err == nil {
		_, _ = s.await(ctx, rev) // whether it was seen is asked next
	}
	rev := s.pending.seen(p)
	if rev == 0 {
		return unknown()
	}
	if _, err := s.await(ctx, rev); err != nil {
		return unknown()
	}
	s.log.Info("a transaction that got no answer turned out to be committed", "revision", rev, "error", cause)
	return rev, nil
}

// pendingCommits are the commits whose outbox records the applier looks for, by
// request id.
type pendingCommits struct {
	mu   sync.Mutex
	byID map[string]*pendingCommit
}

type pendingCommit struct{ rev int64 } // of its outbox record, once seen

func (p *pendingCommits) add(id string) (*pendingCommit, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byID[id] != nil {
		return nil, errors.New("two commits at a time with request id " + strconv.Quote(id))
	}
	c := &pendingCommit{}
	p.byID[id] = c
	return c, nil
}

func (p *pendingCommits) remove(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.byID, id)
}

func (p *pendingCommits) note(id string, rev int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.byID[id]; c != nil {
		c.rev = rev
	}
}

func (p *pendingCommits) seen(c *pendingCommit) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.rev
}
