package rpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/audit/record"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// Call is one attempt at a request: who asks, what for, and the one snapshot
// of the store that everything in it is decided on. Services reach the store
// no other way.
type Call struct {
	// RequestID is the request's id.
	RequestID string
	// Info is the operation.
	Info *Info
	// Principal is the caller.
	Principal *identity.Principal
	// View is the snapshot.
	View *store.View
	// Now is when the request was received, in UTC, to the second.
	Now time.Time
	// Region of the server.
	Region string
	// Record is filled by the operation with what the audit record should say
	// beyond the pipeline's own facts.
	Record *record.Record

	req       *Request
	pipeline  *Pipeline
	committed bool
	// charged are the owners that the request was charged to.
	charged []string
	// unknown: a transaction was sent and its outcome could not be found out.
	unknown bool
	stream  Stream // the answer, if it is one
}

// Account is the caller's account; empty for services and operators.
func (c *Call) Account() string { return c.Principal.Account }

// Conditions are the facts of the request that policies can ask for.
func (c *Call) Conditions() *access.Request {
	return &access.Request{Now: c.Now, Source: c.req.Source, TLS: c.req.TLS}
}

// Source is the caller's address as audit records write it.
func (c *Call) Source() string { return c.req.Source.Unmap().String() }

// RateLimit is the limit of requests per second that holds in the class for an
// account with the given limits of its own; 0 for none.
func (c *Call) RateLimit(class throttle.Class, own map[string]float64) float64 {
	return c.pipeline.Limiter.Limit(class, own)
}

// Resource notes in the audit record that the request concerns a thing.
func (c *Call) Resource(typ, name string) {
	c.Record.Resources = append(c.Record.Resources, record.Resource{Type: typ, Name: name})
}

// Visible prepares to decide for many things whether the caller may see them:
// the items of a list. The function it returns is pure.
func (c *Call) Visible() (func(t *access.Target) bool, error) {
	return c.pipeline.access.Filter(c.View, c.Principal, c.Conditions(), c.Info.Rule, c.Info.Action)
}

// Update is the only door for writing. It runs fn, which reads and stages
// changes in tx and returns the answer, and commits them in one transaction
// that also compares everything that fn read, the caller's right to act (the
// access epoch of its account, or its credential), and carries the audit
// record. It returns once the change is visible to every later request. At
// most one Update may be made in a call. Without a staged change nothing is
// committed.
//
// On [store.ErrConflict] the pipeline takes a new snapshot and runs
// authorisation and operation again, so the error must be returned as it is.
func Update[O any](ctx context.Context, c *Call, fn func(tx *store.Tx) (*O, error)) (*O, error) {
	if !c.Info.Rule.Writes {
		return nil, fmt.Errorf("operation %s writes but is not declared to", c.Info.Name)
	}
	if c.committed {
		return nil, fmt.Errorf("operation %s writes twice", c.Info.Name)
	}
	if err := c.pipeline.writable(); err != nil {
		return nil, err
	}
	var out *O
	wrote := false
	rev, err := c.pipeline.store.Commit(ctx, c.View, c.RequestID, func(tx *store.Tx) (err error) {
		if out, err = fn(tx); err != nil {
			return err
		}
		if wrote = tx.Writes() > 0; !wrote {
			return nil
		}
		if err := c.fence(tx); err != nil {
			return err
		}
		c.Record.Response = outputRecord(out)
		for _, part := range c.Record.Split(maxAccounts) {
			payload, err := part.Marshal()
			if err != nil {
				return err
			}
			tx.Outbox(payload)
		}
		return nil
	})
	switch {
	case errors.Is(err, store.ErrOutcomeUnknown):
		c.unknown = true
		return nil, apierr.Unavailable.Msg("The outcome of this request is unknown: it may or may not have taken effect. Read the state before trying again.").Because(err)
	case errors.Is(err, store.ErrUnavailable):
		return nil, apierr.Unavailable.Because(err)
	case err != nil:
		return nil, err
	}
	c.committed = wrote
	c.Record.Revision = rev
	return out, nil
}

// maxAccounts is how many accounts one record of a change can be for: so many
// fit into it uncut. A change that more may see has several records.
const maxAccounts = 100

// fence makes the transaction compare the caller's right to act, so that
// nothing commits on a permission that was withdrawn meanwhile.
func (c *Call) fence(tx *store.Tx) error {
	p := c.Principal
	for _, account := range []string{p.Account, p.Behind()} {
		if account != "" {
			tx.CompareEpoch(account)
		}
	}
	if p.Via != "" {
		_, err := store.Services.Read(tx, p.Via)
		return err
	}
	if p.Kind == identity.Operator || p.Kind == identity.Service {
		_, err := store.AccessKeys.Read(tx, p.AccessKeyID)
		return err
	}
	return nil
}
