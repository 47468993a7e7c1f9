package app

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/opensesame-kms/opensesame/internal/audit/record"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/product"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// operatorName is the operator that the first start makes.
const operatorName = "operator"

// bootstrap makes what a first start has to make, in two transactions: the
// keyring, and then, signed by it, everything else. A start that is
// interrupted in between goes on where it was.
func (a *App) bootstrap(ctx context.Context) error {
	v, err := a.store.View(ctx)
	if err != nil {
		return err
	}
	_, err = store.Metas.Get(v, store.MetaKey)
	switch {
	case err == nil:
		return a.checkKeyring()
	case !errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("format record: %w", err)
	}
	a.fresh = true
	if err := a.makeKeyring(ctx, v); err != nil {
		return fmt.Errorf("make the keyring: %w", err)
	}
	id, secret := identity.NewAccessKey()
	// The file comes first: a credential that is stored and not on file would be
	// lost, one that is on file and not stored is written anew.
	if err := writeOperator(a.OperatorFile(), id, secret); err != nil {
		return fmt.Errorf("operator's credential: %w", err)
	}
	return a.makeState(ctx, id, secret)
}

var purposes = []keyring.Purpose{keyring.MAC, keyring.Token, keyring.AccessKey, keyring.Wrap}

// checkKeyring refuses data whose keyring lacks a key.
func (a *App) checkKeyring() error {
	for _, p := range purposes {
		if _, _, ok := a.ring.Current(p); !ok {
			return fmt.Errorf("the data in %s has no key for %q: it is incomplete", a.cfg.DataDir, p)
		}
	}
	return nil
}

func (a *App) makeKeyring(ctx context.Context, v *store.View) error {
	rev, err := a.store.Commit(ctx, v, newRequestID(), func(tx *store.Tx) error {
		for _, p := range purposes {
			if _, _, ok := a.ring.Current(p); ok {
				continue
			}
			name, sealed, err := a.ring.Generate(p, a.clock.Now().UTC())
			if err != nil {
				return err
			}
			tx.PutKeyring(name, sealed)
		}
		return nil
	})
	a.catchUp(rev)
	return err
}

func (a *App) makeState(ctx context.Context, operatorKey string, secret mask.Text) error {
	v, err := a.store.View(ctx)
	if err != nil {
		return err
	}
	now := a.clock.Now().UTC().Truncate(time.Second)
	id := newRequestID()
	rev, err := a.store.Commit(ctx, v, id, func(tx *store.Tx) error {
		if err := product.NewOperator(tx, a.ring, operatorName, operatorKey, secret, now); err != nil {
			return err
		}
		product.Seed(tx, now)
		store.Metas.Put(tx, store.MetaKey, &store.Meta{
			Format: store.Format, LeastReader: store.LeastReader, LeastWriter: store.LeastWriter,
			Region: a.cfg.Region, NonceSeed: nonceSeed(), CreatedAt: now,
		})
		payload, err := (&record.Record{
			RequestID: id, Time: now, Operation: "InitializeServer", RW: record.Write, Product: rpc.OpenSesame.Service,
			APIVersion: rpc.OpenSesame.Version, Region: a.cfg.Region, Node: a.cfg.Node, Identity: systemIdentity(),
			Resources: []record.Resource{{Type: "ACS::OpenSesame::Operator", Name: operatorName}},
		}).Marshal()
		if err != nil {
			return err
		}
		tx.Outbox(payload)
		return nil
	})
	a.catchUp(rev)
	return err
}

func nonceSeed() []byte {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return b
}

func systemIdentity() record.Identity {
	return record.Identity{Type: record.TypeSystem, PrincipalID: "system", AccountID: "system", UserName: "system"}
}

func newRequestID() string { return strings.ToUpper(uuid.NewString()) }

// operatorCredential is the content of the operator's file.
type operatorCredential struct {
	AccessKeyID     string `json:"accessKeyId"`
	AccessKeySecret string `json:"accessKeySecret"`
}

// OperatorFile is the file that holds the operator's first credential.
func (a *App) OperatorFile() string { return filepath.Join(a.cfg.DataDir, operatorFile) }

// Operator reads the operator's first credential from its file.
func (a *App) Operator() (id string, secret mask.Text, err error) {
	b, err := os.ReadFile(a.OperatorFile())
	if err != nil {
		return "", secret, err
	}
	var c operatorCredential
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&c); err != nil {
		return "", secret, fmt.Errorf("%s is no operator's credential", a.OperatorFile())
	}
	return c.AccessKeyID, mask.NewText(c.AccessKeySecret), nil
}

func writeOperator(path, id string, secret mask.Text) error {
	b, err := json.MarshalIndent(operatorCredential{id, secret.Reveal()}, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(path, append(b, '\n'), 0o600)
}

// WriteFile writes a file whole: who reads it sees the old content or the new.
func WriteFile(path string, content []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
