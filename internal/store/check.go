package store

import (
	"context"
	"errors"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var (
	errWentBack     = errors.New("etcd's revision is below the one reached: its data was replaced")
	errOtherCluster = errors.New("etcd answers with another cluster id")
)

// checker shares one question among all who ask at the same moment: which
// revision did etcd have, at least, when I asked? A question that is already on
// its way does not do for a newcomer, whose write may have been confirmed after
// it was answered; newcomers gather for the next.
type checker struct {
	// read asks etcd. It must end by itself: nobody's context bounds it.
	read func() (int64, error)

	mu      sync.Mutex
	closed  bool
	running bool
	next    *question // gathering; nil if nobody waits
	idle    sync.WaitGroup
}

type question struct {
	done chan struct{} // closed when rev and err are set
	rev  int64
	err  error
}

// revision returns a revision that etcd reached after the call began, and that
// holds every write confirmed before it. ctx ends the caller's wait, not the
// question.
func (c *checker) revision(ctx context.Context) (int64, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return 0, ErrClosed
	}
	if c.next == nil {
		c.next = &question{done: make(chan struct{})}
	}
	q := c.next
	if !c.running {
		c.running = true
		c.idle.Go(c.run)
	}
	c.mu.Unlock()
	select {
	case <-q.done:
		return q.rev, q.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// close refuses further callers and waits for the question on its way.
func (c *checker) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.idle.Wait()
}

// run asks as long as there is somebody to ask for.
func (c *checker) run() {
	for {
		c.mu.Lock()
		q := c.next
		c.next = nil
		if q == nil {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		q.rev, q.err = c.read()
		close(q.done)
	}
}

// readRevision makes one linearizable read of a single key and returns the
// revision in its header.
func (s *Store) readRevision() (int64, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.ReadTimeout)
	defer cancel()
	before := s.current.Load()
	resp, err := s.client.Get(ctx, Prefix+"meta", clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	s.checkHeader(resp.Header, before)
	return resp.Header.Revision, nil
}

// checkHeader drops the replica if the answer to a linearizable request comes
// from another cluster, or shows a revision below the one that the replica had
// reached before the request was sent.
func (s *Store) checkHeader(h *pb.ResponseHeader, before *View) {
	switch {
	case !before.live:
	case h.ClusterId != before.cluster:
		s.drop(before.gen, errOtherCluster)
	case h.Revision < before.rev:
		s.drop(before.gen, errWentBack)
	}
}
