package product

import (
	"context"
	"errors"
	"time"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type createServiceCredentialInput struct {
	ServiceName string `param:"ServiceName,required,max=128"`
}

type createServiceCredentialOutput struct {
	ServiceName string
	AccessKey   accessKey
}

// createServiceCredential gives a service its first credential. It is refused
// for a service that has one or had one: by then there may be secrets to read,
// and no operator's operation hands out what could read them.
func (s *Service) createServiceCredential() rpc.Op[createServiceCredentialInput, createServiceCredentialOutput] {
	return rpc.Op[createServiceCredentialInput, createServiceCredentialOutput]{
		Name: "CreateServiceCredential", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: func(c *rpc.Call, in *createServiceCredentialInput) ([]access.Target, error) {
			t := everything(c)
			if _, err := store.Services.Get(c.View, in.ServiceName); errors.Is(err, store.ErrNotFound) {
				t[0].Missing = apierr.ServiceNotFound
			} else if err != nil {
				return nil, err
			}
			return t, nil
		},
		Func: s.doCreateServiceCredential,
	}
}

func (s *Service) doCreateServiceCredential(ctx context.Context, c *rpc.Call, in *createServiceCredentialInput) (*createServiceCredentialOutput, error) {
	return rpc.Update(ctx, c, func(tx *store.Tx) (*createServiceCredentialOutput, error) {
		svc, err := store.Services.Read(tx, in.ServiceName)
		if errors.Is(err, store.ErrNotFound) {
			return nil, apierr.ServiceNotFound
		}
		if err != nil {
			return nil, err
		}
		if svc.Credentialed {
			return nil, apierr.NoPermission.Msg("The service %s has had its first credential; another one could read its secrets.", svc.Name)
		}
		key, secret, err := newKey(tx, s.Ring, store.AccessKey{Kind: store.OwnerService, Owner: svc.Name}, c.Now)
		if err != nil {
			return nil, err
		}
		svc.AccessKeys, svc.Credentialed = append(svc.AccessKeys, key.ID), true
		store.Services.Put(tx, svc.Name, svc)
		c.Resource("ACS::OpenSesame::Service", svc.Name)
		return &createServiceCredentialOutput{
			ServiceName: svc.Name, AccessKey: accessKey{key.ID, secret, key.Status, dateText(c.Now)},
		}, nil
	})
}

// NewOperator stages an operator with its access key. It is for the first
// start, in the transaction that makes the data; there is no operation for it.
func NewOperator(tx *store.Tx, ring *keyring.Ring, name, keyID string, secret mask.Text, now time.Time) error {
	sealed, err := identity.SealSecret(ring, keyID, secret)
	if err != nil {
		return err
	}
	store.AccessKeys.Put(tx, keyID, &store.AccessKey{
		ID: keyID, Kind: store.OwnerOperator, Owner: name, Status: store.Active, Sealed: sealed, CreatedAt: now,
	})
	store.Operators.Put(tx, name, &store.Operator{Name: name, AccessKeys: []string{keyID}, CreatedAt: now})
	return nil
}
