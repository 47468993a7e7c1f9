package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/audit"
	"github.com/opensesame-kms/opensesame/internal/clock"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// MaxUndrained is how many audit records of committed changes may wait to be
// moved into the log before further changes are refused.
const MaxUndrained = 10_000

// Config is what a pipeline is made of. All fields are required but Limiter
// and Metrics.
type Config struct {
	Table    *Table
	Store    *store.Store
	Resolver *identity.Resolver
	Nonces   *identity.Nonces
	Log      *audit.Log
	Refusals *audit.Refusals
	Clock    clock.Clock
	Logger   *slog.Logger
	// Limiter limits how often callers are served; nil for without limits.
	Limiter *throttle.Limiter
	// Region and Node go into ARNs and records.
	Region, Node string
	// Metrics counts; nil for none.
	Metrics *Metrics
}

// Pipeline runs requests. It is safe for concurrent use.
type Pipeline struct {
	Config
	store  *store.Store
	access *access.Authorizer
}

// NewPipeline makes a pipeline.
func NewPipeline(cfg Config) *Pipeline {
	if cfg.Limiter == nil {
		cfg.Limiter = throttle.New(throttle.Config{})
	}
	return &Pipeline{Config: cfg, store: cfg.Store, access: &access.Authorizer{}}
}

// Serve answers one request. The order of the checks is the order of the
// methods below; a failure at any step goes to the record, or is counted if
// the caller is not known yet, and to the answer.
func (p *Pipeline) Serve(ctx context.Context, req *Request) *Response {
	c := &Call{
		RequestID: req.ID, Now: p.Clock.Now().UTC().Truncate(time.Second), Region: p.Region,
		req: req, pipeline: p,
	}
	start := time.Now()
	out, err := p.run(ctx, c)
	var res *Response
	switch {
	case err != nil:
		if c.stream != nil {
			c.stream.Close()
		}
		res = p.errorResponse(c, err)
	case c.stream != nil:
		res = streamResponse(c)
	default:
		res = okResponse(c, out)
	}
	p.Metrics.observe(c.Info, res.Status, time.Since(start))
	if res.Status == apierr.Throttled.Status {
		p.Limiter.Hold(ctx)
	}
	return res
}

func (p *Pipeline) run(ctx context.Context, c *Call) (any, error) {
	cred, params, err := p.admit(ctx, c)
	if err != nil {
		p.Refusals.Add(c.req.Source.Unmap().String(), c.account(), p.wireError(c, err).Code)
		p.chargeStranger(c, err)
		return nil, err
	}
	claim, err := p.claimNonce(c, cred)
	if err != nil {
		p.Refusals.Add(c.req.Source.Unmap().String(), c.account(), p.wireError(c, err).Code)
		return nil, err
	}
	c.Record = p.newRecord(c, params)
	c.Record.NonceHash, c.Record.NonceTime = claim.Hash(), cred.Time
	out, err := p.perform(ctx, c, cred, params)
	if c.Info.DryRun && isDryRun(params) {
		out, err = nil, p.dryRun(c, err)
	}
	if err == nil && c.committed {
		return out, nil // its record is in the transaction
	}
	release := err != nil && p.wireError(c, err).Status >= 429 && !c.committed && !c.unknown
	if release {
		c.Record.NonceHash = 0
	}
	if logErr := p.record(ctx, c, out, err); logErr != nil {
		release = !c.committed && !c.unknown
		out, err = nil, apierr.Unavailable.Because(fmt.Errorf("audit: %w", logErr))
	}
	if release {
		claim.Release() // the very same request may be sent again
	}
	return out, err
}

func isDryRun(params map[string]string) bool { return strings.EqualFold(params["DryRun"], "true") }

// dryRun is the answer to a request that only asks whether it would succeed:
// always an error, whose code tells. What the operation read is dropped.
func (p *Pipeline) dryRun(c *Call, err error) error {
	if err == nil {
		return apierr.DryRun
	}
	e := p.wireError(c, err)
	switch {
	case errors.As(err, new(BadParam)), e.Is(apierr.InvalidParam), e.Is(apierr.MissingParam):
		// Without err as the cause: wireError would find the BadParam in it.
		return apierr.DryRunInvalid.Msg("%s", e.Message)
	case e.Denied != nil:
		return apierr.DryRunDenied.Msg("%s", e.Message).WithDenied(e.Denied).Because(err)
	}
	return err
}

func (c *Call) account() string {
	if c.Principal == nil {
		return ""
	}
	return c.Principal.Account
}

// admit runs the checks that come before the caller is believed: product and
// operation, signing parameters, time, access key, token, signature, rate. The
// address's own limit is the first, so that a stranger's storm costs nothing.
func (p *Pipeline) admit(ctx context.Context, c *Call) (*identity.Credentials, map[string]string, error) {
	if err := p.Limiter.Stranger(p.Clock.Now(), c.req.Source); err != nil {
		return nil, nil, err
	}
	if c.req.Malformed != nil {
		return nil, nil, p.malformed(c)
	}
	scheme, action, version := c.req.Target()
	op, err := p.Table.find(version, action)
	if err != nil {
		return nil, nil, err
	}
	c.Info = op
	if scheme != identity.SchemeV3 && len(c.req.JSON) > 0 {
		return nil, nil, apierr.InvalidParam.Msg("A JSON body is read only in a request signed with ACS3.")
	}
	params, err := c.req.params(op)
	if err != nil {
		return nil, nil, err
	}
	cred, err := identity.ParseCredentials(&c.req.Request, !op.Product.NonceOptional)
	if err != nil {
		return nil, nil, err
	}
	if err := cred.CheckTime(c.Now); err != nil {
		return nil, nil, err
	}
	secret, err := p.resolve(ctx, c, cred)
	if err != nil {
		return nil, nil, err
	}
	if err := cred.VerifySignature(secret); err != nil {
		return nil, nil, err
	}
	if err := p.charge(c, c.Principal.Account); err != nil {
		return nil, nil, err
	}
	return cred, params, nil
}

// malformed is the refusal of a request that could not be decoded, in the form
// of the product that it was meant for, as far as that can be told.
func (p *Pipeline) malformed(c *Call) *apierr.Error {
	_, action, version := c.req.Target()
	if op, err := p.Table.find(version, action); err == nil {
		c.Info = op
	}
	if c.req.Malformed == apierr.ContentType && c.Info != nil && c.Info.Product.Global {
		return apierr.GlobalContentType
	}
	return c.req.Malformed
}

// charge charges the request to the account's rate class. It comes before the
// nonce is claimed, so that a throttled request can be sent again as it is.
func (p *Pipeline) charge(c *Call, account string) error {
	if account == "" {
		return nil // services and operators
	}
	a, err := store.Accounts.Get(c.View, store.AccountKey(account))
	if errors.Is(err, store.ErrNotFound) {
		return nil // the caller's is there: this is what a target says of itself
	}
	if err != nil {
		return apierr.Unavailable.Because(fmt.Errorf("the limits of account %s: %w", account, err))
	}
	return p.Limiter.Allow(p.Clock.Now(), account, c.Info.Class, a.Limits)
}

// chargeOwners charges the request to the accounts of its targets, where they
// are not the caller's. That comes once the request is allowed: nobody can use
// up the rate of an account that does not let him in.
func (p *Pipeline) chargeOwners(c *Call, targets []access.Target) error {
	for i := range targets {
		owner := targets[i].Account
		if owner == "" || owner == c.Principal.Account || slices.Contains(c.charged, owner) {
			continue
		}
		c.charged = append(c.charged, owner)
		if err := p.charge(c, owner); err != nil {
			e := *apierr.As(err)
			e.RateLimit = "" // it is the owner's, and not for others to know
			return &e
		}
	}
	return nil
}

// chargeStranger charges a request that admit refused to its address, unless a
// limit or the server was the reason: what is left is refused before its
// signature was verified.
func (p *Pipeline) chargeStranger(c *Call, err error) {
	if p.wireError(c, err).Status < apierr.Throttled.Status {
		p.Limiter.Refused(p.Clock.Now(), c.req.Source)
	}
}

// resolve takes a new snapshot and finds the caller in it.
func (p *Pipeline) resolve(ctx context.Context, c *Call, cred *identity.Credentials) (secret mask.Text, err error) {
	v, err := p.store.View(ctx)
	if err != nil {
		return secret, apierr.Unavailable.Because(err)
	}
	who, secret, err := p.Resolver.Resolve(v, cred, c.Now)
	if err != nil {
		return secret, err
	}
	c.View, c.Principal = v, who
	return secret, nil
}

func (p *Pipeline) claimNonce(c *Call, cred *identity.Credentials) (*identity.NonceClaim, error) {
	if cred.Nonce == "" {
		return nil, nil // only where the product makes it optional
	}
	return p.Nonces.Claim(c.Now, cred.Time, c.Principal.Account, cred.AccessKeyID, cred.Nonce)
}

// perform binds the parameters and runs authorisation and operation, again on
// a new snapshot as long as its transaction meets a conflict.
func (p *Pipeline) perform(ctx context.Context, c *Call, cred *identity.Credentials, params map[string]string) (any, error) {
	if isDryRun(params) && c.Info.Rule.Writes {
		// To carry it out all the same would be the worst of answers.
		return nil, apierr.UnsupportedOperation.Msg("%s cannot be run dry: DryRun is for operations that read.", c.Info.Name)
	}
	in, err := c.Info.in.bind(params)
	if err != nil {
		c.Info.in.hideRefused(params, c.Record.Params)
		return nil, err
	}
	// As long as one transaction may take, a request is tried again after
	// conflicts.
	patience := p.store.WriteTimeout()
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	deadline := time.Now().Add(patience)
	begun := *c.Record // what an attempt adds is forgotten by the next
	for attempt := 1; ; attempt++ {
		*c.Record = begun
		out, err := p.attempt(ctx, c, in)
		if !errors.Is(err, store.ErrConflict) {
			return out, err
		}
		if time.Now().After(deadline) {
			return nil, apierr.Unavailable.Because(fmt.Errorf("gave up after %d conflicting attempts", attempt))
		}
		if err := pause(ctx, attempt); err != nil {
			return nil, apierr.Unavailable.Because(err)
		}
		if _, err := p.resolve(ctx, c, cred); err != nil {
			return nil, err
		}
	}
}

// pause waits a short random time, longer with each attempt, so that writers
// who met do not meet again.
func pause(ctx context.Context, attempt int) error {
	limit := min(attempt, 20) * int(time.Millisecond)
	t := time.NewTimer(time.Duration(rand.IntN(limit))) //nolint:gosec // jitter needs no secrecy
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// attempt judges the targets and runs the operation on c.View.
func (p *Pipeline) attempt(ctx context.Context, c *Call, in any) (out any, err error) {
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("panic: %T at %s", r, panicSite(debug.Stack()))
		}
	}()
	targets, err := c.Info.targets(c, in)
	if err != nil {
		return nil, err
	}
	verdict, err := p.access.Authorize(c.View, c.Principal, c.Conditions(), c.Info.Rule, targets)
	if err != nil {
		return nil, err
	}
	c.noteVerdict(targets, verdict)
	if !verdict.Allowed {
		return nil, p.refusal(c, verdict)
	}
	if err := p.chargeOwners(c, targets); err != nil {
		return nil, err
	}
	for i := range targets {
		if targets[i].Missing != nil {
			return nil, targets[i].Missing
		}
	}
	if err := p.Log.Healthy(); err != nil {
		return nil, apierr.Unavailable.Because(fmt.Errorf("audit: %w", err))
	}
	return c.Info.call(ctx, c, in)
}

// panicSite names the function that panicked, without any value: a panic's
// text may quote what it choked on.
func panicSite(stack []byte) string {
	lines := strings.Split(string(stack), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "panic(") && i+3 < len(lines) {
			return strings.TrimSpace(lines[i+3])
		}
	}
	return "unknown"
}

// writable refuses changes while their records could not be kept.
func (p *Pipeline) writable() error {
	if n := p.store.OutboxBacklog(); n >= MaxUndrained {
		return apierr.Unavailable.Because(fmt.Errorf("%d audit records wait to be moved into the log", n))
	}
	return nil
}

// record writes the audit record of a request that committed nothing and waits
// until it is durable.
func (p *Pipeline) record(ctx context.Context, c *Call, out any, err error) error {
	if c.Info.NoTrail {
		return nil
	}
	if err != nil {
		e := p.wireError(c, err)
		c.Record.ErrorCode, c.Record.ErrorMessage, c.Record.HTTPStatus = e.Code, e.Message, e.Status
		c.Record.Response = nil
	} else {
		c.Record.Response = outputRecord(out)
	}
	if c.unknown {
		c.Record.Part = 1 // the transaction's own record is part 0, if it was made
	}
	payload, merr := c.Record.Marshal()
	if merr != nil {
		return merr
	}
	// The caller's impatience must not cancel the record of what was done.
	ctx = context.WithoutCancel(ctx)
	if _, err := p.Log.Append(ctx, payload); err != nil || !c.unknown {
		return err
	}
	if payload, merr = c.Record.OutcomeUnknown(c.Now).Marshal(); merr != nil {
		return merr
	}
	_, err = p.Log.Append(ctx, payload)
	return err
}
