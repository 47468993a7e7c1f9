package app

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// How the keys of security tokens live: a new one daily, an old one until the
// longest session (12 h) that it may have sealed is over, and an hour.
const (
	tokenKeyLife = 24 * time.Hour
	tokenKeyKept = 13 * time.Hour
	tokenCheck   = 10 * time.Minute
)

// startTasks starts the background work.
func (a *App) startTasks(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	a.tasks.Go(func() {
		_ = a.store.DrainOutbox(ctx, a.cfg.Node, a.auditLog.AppendAll) // ends with ctx
	})
	a.tasks.Go(func() { a.rotateTokenKeys(ctx) })
	a.tasks.Go(func() { a.watchCertificate(ctx) })
	a.tasks.Go(func() { a.rotationWorker().Run(ctx) })
	a.onClose(func(ctx context.Context) error {
		// No request is running any more: a server that stops in order leaves
		// nothing in the outbox. If it cannot be emptied, the next start does it.
		if a.auditLog.Healthy() == nil {
			ctx, stop := context.WithTimeout(ctx, closeTimeout)
			defer stop()
			_ = a.DrainAudit(ctx)
		}
		cancel()
		a.tasks.Wait()
		return nil
	})
	return nil
}

func (a *App) rotateTokenKeys(ctx context.Context) {
	tick := time.NewTicker(tokenCheck)
	defer tick.Stop()
	for {
		if err := a.renewTokenKey(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("renewing the token key failed, trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// renewTokenKey makes a new token key if the present one is a day old, and
// removes those that were replaced long enough ago.
func (a *App) renewTokenKey(ctx context.Context) error {
	version, created, ok := a.ring.Current(keyring.Token)
	if !ok {
		return fmt.Errorf("the keyring has no token key")
	}
	now := a.clock.Now().UTC()
	age := now.Sub(created)
	v, err := a.store.View(ctx)
	if err != nil {
		return err
	}
	_, err = a.store.Commit(ctx, v, newRequestID(), func(tx *store.Tx) error {
		if age >= tokenKeyLife {
			name, sealed, err := a.ring.Generate(keyring.Token, now)
			if err != nil {
				return err
			}
			tx.PutKeyring(name, sealed)
		}
		if age >= tokenKeyKept {
			for _, name := range tokenKeysBefore(v, version) {
				tx.DeleteKeyring(name)
			}
		}
		return nil
	})
	return err
}

// tokenKeysBefore names the token keys older than version.
func tokenKeysBefore(v *store.View, version uint32) []string {
	var names []string
	store.ScanKeyring(v, func(name string, _ []byte) bool {
		if n, ok := strings.CutPrefix(name, string(keyring.Token)+"/"); ok {
			if old, err := strconv.ParseUint(n, 10, 32); err == nil && uint32(old) < version {
				names = append(names, name)
			}
		}
		return true
	})
	return names
}
