package rotation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/store"
)

const (
	// batchSize is how many records one transaction seals anew: etcd takes 128
	// comparisons.
	batchSize = 100
	// saveEvery is how many records pass between two notes of the progress.
	saveEvery = 2000
	// settle is the pause before another pass over records that changed while
	// the one before went on; it doubles with each, up to maxSettle.
	settle    = 50 * time.Millisecond
	maxSettle = 10 * time.Second
	// maxNamed is how many failed records the task names.
	maxNamed = 20
)

// Phases of a rotation of the keyring.
const (
	phaseAccessKeys  = "AccessKeys"
	phaseServiceKeys = "ServiceKeys"
	phaseRecords     = "Records"
)

// failures collects what could not be carried over.
type failures struct {
	n        int
	seen     map[string]bool
	names    []string
	purposes map[keyring.Purpose]bool // whose older keys must stay
}

func (f *failures) add(name string, purposes ...keyring.Purpose) {
	if !f.seen[name] {
		f.n++
		f.seen[name] = true
		if len(f.names) < maxNamed {
			f.names = append(f.names, name)
		}
	}
	for _, p := range purposes {
		f.purposes[p] = true
	}
}

// rotateRing carries everything over to the new keys and then drops the older
// ones. Done again after an interruption, it passes over what is done.
func (w *Worker) rotateRing(ctx context.Context, r *store.KeyRotation) error {
	for p, version := range r.Versions {
		if have, _, _ := w.Ring.Current(keyring.Purpose(p)); have < version {
			return fmt.Errorf("the new %s key is not loaded", p)
		}
	}
	f := &failures{seen: map[string]bool{}, purposes: map[keyring.Purpose]bool{}}
	if err := w.resealAccessKeys(ctx, f); err != nil {
		return fmt.Errorf("seal access keys anew: %w", err)
	}
	if err := w.rewrapServiceKeys(ctx, f); err != nil {
		return fmt.Errorf("wrap service-managed keys anew: %w", err)
	}
	done, err := w.resign(ctx, r.Versions[string(keyring.MAC)], f)
	if err != nil {
		return fmt.Errorf("sign records anew: %w", err)
	}
	return w.drop(ctx, done, f)
}

// drop ends the rotation: the older keys go, but for those that something still
// needs. Those of security tokens go by their own rule, when the longest session
// is over.
func (w *Worker) drop(ctx context.Context, done store.Resigned, f *failures) error {
	if err := w.step("drop"); err != nil {
		return err
	}
	return w.finish(ctx, store.KeyringRotation, func(tx *store.Tx, r *store.KeyRotation) error {
		r.Kept = nil
		for _, p := range []keyring.Purpose{keyring.MAC, keyring.AccessKey, keyring.Wrap} {
			for _, name := range keyring.Before(keyNames(tx.View()), p, r.Versions[string(p)]) {
				if f.purposes[p] {
					r.Kept = append(r.Kept, name)
				} else {
					tx.DeleteKeyring(name)
				}
			}
		}
		r.Done, r.Total, r.Failed, r.FailedKeys = done.Done, done.Records, f.n, f.names
		r.Note = "All records are under the new keys; the older keys are gone, those of security tokens go after 13 hours."
		if f.n > 0 {
			r.Note = fmt.Sprintf("%d records failed and stay as they are; the older keys %s are kept because of them. Put the records right and rotate again.",
				f.n, strings.Join(r.Kept, ", "))
		}
		return nil
	})
}

// resealer seals one kind of record anew.
type resealer[T any] struct {
	phase   string
	records *store.Collection[T]
	// name is the record's etcd key below its collection's place, for people.
	name func(key string) string
	// reseal changes rec, and reports whether it had to.
	reseal  func(rec *T) (changed bool, err error)
	purpose keyring.Purpose
}

func (w *Worker) resealAccessKeys(ctx context.Context, f *failures) error {
	return resealAll(ctx, w, f, resealer[store.AccessKey]{
		phase: phaseAccessKeys, records: store.AccessKeys, purpose: keyring.AccessKey,
		name:   func(key string) string { return store.Prefix + "access-keys/" + key },
		reseal: func(k *store.AccessKey) (bool, error) { return identity.ResealSecret(w.Ring, k) },
	})
}

func (w *Worker) rewrapServiceKeys(ctx context.Context, f *failures) error {
	return resealAll(ctx, w, f, resealer[store.ServiceKey]{
		phase: phaseServiceKeys, records: store.ServiceKeys, purpose: keyring.Wrap,
		name: func(key string) string {
			parts := strings.SplitN(key, "/", 3)
			return store.Prefix + "kms/" + strings.Join(parts[:2], "/") + "/service-keys/" + parts[2]
		},
		reseal: func(k *store.ServiceKey) (bool, error) { return rewrap(w.Ring, k) },
	})
}

// rewrap wraps the material of all versions of a key anew.
func rewrap(ring *keyring.Ring, k *store.ServiceKey) (changed bool, err error) {
	for i := range k.Versions {
		v := &k.Versions[i]
		sealed, anew, err := ring.RewrapMaterial(keyring.KeyRef{Region: k.Region, Account: k.Account, KeyID: k.ID, KeyVersion: v.ID}, v.Sealed)
		if err != nil {
			return false, err
		}
		if anew {
			v.Sealed, changed = sealed, true
		}
	}
	return changed, nil
}

// resealAll goes over all records of a kind. What is written meanwhile is under
// the new key already, so one pass is complete.
func resealAll[T any](ctx context.Context, w *Worker, f *failures, rs resealer[T]) error {
	v, err := w.Store.View(ctx)
	if err != nil {
		return err
	}
	var keys []string
	err = rs.records.Scan(v, "", func(key string, _ *T) bool {
		keys = append(keys, key)
		return true
	})
	if err != nil { // the pass that signs anew names it
		f.purposes[rs.purpose] = true
	}
	for i := 0; i < len(keys); {
		if i%saveEvery == 0 {
			if err := w.progress(ctx, rs.phase, i, len(keys)); err != nil {
				return err
			}
		}
		batch := keys[i:min(i+batchSize, len(keys))]
		if err := w.step(rs.phase); err != nil {
			return err
		}
		if err := resealBatch(ctx, w, f, rs, batch); err != nil {
			return err
		}
		i += len(batch)
	}
	return nil
}

func resealBatch[T any](ctx context.Context, w *Worker, f *failures, rs resealer[T], keys []string) error {
	return w.commit(ctx, func(tx *store.Tx) error {
		for _, key := range keys {
			rec, err := rs.records.Read(tx, key)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			changed := false
			if err == nil {
				changed, err = rs.reseal(rec)
			}
			switch {
			case errors.Is(err, store.ErrTampered), errors.Is(err, keyring.ErrOpen), errors.Is(err, keyring.ErrUnknownKey):
				f.add(rs.name(key), rs.purpose)
			case err != nil:
				return err
			case changed:
				rs.records.Put(tx, key, rec)
			}
		}
		return nil
	})
}

// resign signs records anew until a pass has found nothing that changed under
// it.
func (w *Worker) resign(ctx context.Context, version uint32, f *failures) (store.Resigned, error) {
	for wait := settle; ; wait = min(2*wait, maxSettle) {
		saved := 0
		v, err := w.Store.View(ctx)
		if err != nil {
			return store.Resigned{}, err
		}
		total := v.Len()
		if err := w.progress(ctx, phaseRecords, 0, total); err != nil {
			return store.Resigned{}, err
		}
		began := time.Now()
		sum, err := w.Store.Resign(ctx, version, func(r store.Resigned) error {
			if r.Records-saved >= saveEvery {
				saved = r.Records
				if err := w.progress(ctx, phaseRecords, r.Done, max(total, r.Records)); err != nil {
					return err
				}
			}
			// Half of the time belongs to the requests.
			if err := pause(ctx, min(time.Since(began), settle)); err != nil {
				return err
			}
			began = time.Now()
			return w.step(phaseRecords)
		})
		if err != nil {
			return sum, err
		}
		if sum.Unsettled == 0 {
			for _, key := range sum.FailedKeys {
				// What a record that fails is sealed under is not known.
				f.add(key, keyring.MAC, keyring.AccessKey, keyring.Wrap)
			}
			f.n = max(f.n, sum.Failed)
			return sum, nil
		}
		if err := pause(ctx, wait); err != nil {
			return sum, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// progress notes how far the rotation is.
func (w *Worker) progress(ctx context.Context, phase string, done, total int) error {
	return w.update(ctx, store.KeyringRotation, func(r *store.KeyRotation) bool {
		r.Phase, r.Done, r.Total, r.Note = phase, done, total, ""
		return r.State == store.RotationRunning
	})
}
