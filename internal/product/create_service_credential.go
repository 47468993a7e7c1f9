package product

import (
	"context"
	"fmt"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type createServiceCredentialOutput struct {
	ServiceName string
	// AccessKey's secret is shown only here.
	AccessKey accessKey
}

// maxCredentials is how many credentials a service can have at a time, disabled
// ones included: the old and the new one while it rotates them.
const maxCredentials = 2

// maxTold is how many accounts a change can be recorded for: their records go
// into its transaction, a hundred accounts each, and etcd takes 128 operations
// in one.
const maxTold = 12_000

// createServiceCredential gives a service a credential. The first one is free:
// nothing was deposited by a service that never had one. It is a break-glass
// operation for a service that has or had a credential, since there may be
// secrets to read by now, and for one that ordinary roles trust already, since
// a role may read whatever its account lets it.
func (s *Service) createServiceCredential() rpc.Op[serviceInput, createServiceCredentialOutput] {
	return rpc.Op[serviceInput, createServiceCredentialOutput]{
		Name: "CreateServiceCredential", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: s.createServiceCredentialTargets, Func: s.doCreateServiceCredential,
	}
}

func (s *Service) createServiceCredentialTargets(c *rpc.Call, in *serviceInput) ([]access.Target, error) {
	t, err := serviceTarget(c, in.ServiceName)
	if err != nil || t[0].Missing != nil {
		return t, err
	}
	svc, err := store.Services.Get(c.View, string(in.ServiceName))
	if err != nil {
		return nil, err
	}
	roles, err := trusting(c, svc.Name)
	if err != nil {
		return nil, err
	}
	switch {
	case svc.Credentialed:
		s.breakGlass(&t[0], fmt.Sprintf("the service %s has had its first credential, and another one could read its secrets", svc.Name))
	case roles.ordinary > 0:
		s.breakGlass(&t[0], fmt.Sprintf("roles of accounts already trust the service %s (%d), and its credential could read what they may", svc.Name, roles.ordinary))
	}
	return t, nil
}

func (s *Service) doCreateServiceCredential(ctx context.Context, c *rpc.Call, in *serviceInput) (*createServiceCredentialOutput, error) {
	roles, err := trusting(c, string(in.ServiceName))
	if err != nil {
		return nil, err
	}
	if len(roles.accounts) > maxTold {
		return nil, apierr.LimitExceeded.Msg("The service has roles in %d accounts; this operation can be recorded in the trails of %d at most.", len(roles.accounts), maxTold)
	}
	return rpc.Update(ctx, c, func(tx *store.Tx) (*createServiceCredentialOutput, error) {
		svc, err := readService(tx, in.ServiceName)
		if err != nil {
			return nil, err
		}
		if len(svc.AccessKeys) >= maxCredentials {
			return nil, apierr.LimitExceeded.Msg("The service %s has %d credentials, which is all that it can have; delete one first.", svc.Name, len(svc.AccessKeys))
		}
		key, secret, err := newKey(tx, s.Ring, store.AccessKey{Kind: store.OwnerService, Owner: svc.Name}, c.Now)
		if err != nil {
			return nil, err
		}
		svc.AccessKeys, svc.Credentialed = append(svc.AccessKeys, key.ID), true
		store.Services.Put(tx, svc.Name, svc)
		c.Resource(typeCredential, key.ID)
		c.Record.Accounts = roles.accounts
		return &createServiceCredentialOutput{
			ServiceName: svc.Name, AccessKey: accessKey{key.ID, secret, key.Status, rpc.TimeText(c.Now)},
		}, nil
	})
}
