package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/opensesame-kms/opensesame/internal/clock"
	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/seal"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// Back-off after a step that failed.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// Worker carries rotations out. One runs per server; every field is required
// but Step.
type Worker struct {
	Store  *store.Store
	Ring   *keyring.Ring
	Keys   *seal.Keys
	Clock  clock.Clock
	Logger *slog.Logger
	// NewID makes the ids of the worker's own transactions.
	NewID func() string
	// Notice makes the audit record that says how a rotation ended.
	Notice func(id, note string) ([]byte, error)
	// Step, if not nil, is asked before each step; an error ends the attempt
	// there. For tests.
	Step func(what string) error
}

// Run carries on what is there to do, and what is asked for later, until ctx
// ends. A failing step is tried again, ever less often.
func (w *Worker) Run(ctx context.Context) {
	if err := w.Keys.Clean(); err != nil {
		w.Logger.Warn("what an interrupted change of keys left behind could not be removed", "error", err)
	}
	wait := minBackoff
	for ctx.Err() == nil {
		v, err := w.Store.View(ctx)
		if err == nil {
			err = w.carryOn(ctx, v)
		}
		if ctx.Err() != nil {
			return
		}
		var again <-chan time.Time
		var changed <-chan struct{}
		if err != nil {
			w.Logger.Warn("a rotation of keys does not go on, trying again", "error", err, "in", wait.String())
			again, wait = time.After(wait), min(2*wait, maxBackoff)
		} else {
			changed, wait = v.Superseded(), minBackoff
		}
		select {
		case <-ctx.Done():
		case <-again:
		case <-changed:
		}
	}
}

// carryOn does what the tasks in the view ask for. One that fails does not keep
// the other from going on.
func (w *Worker) carryOn(ctx context.Context, v *store.View) error {
	var errs []error
	for _, kind := range kinds {
		r, err := store.KeyRotations.Get(v, kind)
		if errors.Is(err, store.ErrNotFound) || err == nil && r.State != store.RotationRunning {
			continue
		}
		if err == nil {
			run := w.rotateRing
			if kind == store.RootKeyRotation {
				run = w.rotateRoot
			}
			err = run(ctx, r)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", kind, err))
			w.explain(ctx, kind, err)
		}
	}
	return errors.Join(errs...)
}

// explain notes in the task why it does not go on.
func (w *Worker) explain(ctx context.Context, kind string, cause error) {
	if ctx.Err() != nil {
		return
	}
	note := "It does not go on, and is tried again: " + cause.Error()
	_ = w.update(ctx, kind, func(r *store.KeyRotation) bool { // the log has it
		changed := r.Note != note
		r.Note = note
		return changed
	})
}

func (w *Worker) step(what string) error {
	if w.Step == nil {
		return nil
	}
	return w.Step(what)
}

// commit runs fn until it meets no conflict.
func (w *Worker) commit(ctx context.Context, fn func(tx *store.Tx) error) error {
	for {
		_, err := w.Store.Commit(ctx, nil, w.NewID(), fn)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// update changes the task, unless change says that there is nothing to change.
func (w *Worker) update(ctx context.Context, kind string, change func(r *store.KeyRotation) bool) error {
	return w.commit(ctx, func(tx *store.Tx) error {
		r, err := store.KeyRotations.Read(tx, kind)
		if err == nil && change(r) {
			store.KeyRotations.Put(tx, kind, r)
		}
		return err
	})
}

// finish ends the task and leaves an audit record, in one transaction with
// whatever more does.
func (w *Worker) finish(ctx context.Context, kind string, more func(tx *store.Tx, r *store.KeyRotation) error) error {
	return w.commit(ctx, func(tx *store.Tx) error {
		r, err := store.KeyRotations.Read(tx, kind)
		if err != nil || r.State != store.RotationRunning {
			return err
		}
		r.State, r.Phase, r.FinishedAt = store.RotationFinished, "", w.Clock.Now().UTC().Truncate(time.Second)
		if err := more(tx, r); err != nil {
			return err
		}
		store.KeyRotations.Put(tx, kind, r)
		payload, err := w.Notice(kind+" "+r.ID, r.Note)
		if err != nil {
			return err
		}
		tx.Outbox(payload)
		return nil
	})
}

// rotateRoot replaces the root key, or drops the older ones. All of it is a few
// files; an interrupted change is carried on by doing it again.
func (w *Worker) rotateRoot(ctx context.Context, r *store.KeyRotation) error {
	if err := w.step("root"); err != nil {
		return err
	}
	change := func() error { return w.Keys.RotateRoot(r.From) }
	note := "The root key was replaced. Copy root.key to a safe place again; the older ones in it open backups made before."
	if r.ForgetOld {
		change, note = w.Keys.ForgetOldRoots, "The older root keys were dropped. Backups made under them open with a copy of root.key from before only."
	}
	switch err := change(); {
	case errors.Is(err, seal.ErrTooMany):
		note = "The root key was not replaced: " + err.Error()
	case err != nil:
		return err
	}
	if err := w.step("root done"); err != nil {
		return err
	}
	return w.finish(ctx, store.RootKeyRotation, func(_ *store.Tx, r *store.KeyRotation) error {
		r.Note = note
		return nil
	})
}
