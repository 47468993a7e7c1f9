package product

import (
	"context"
	"errors"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type createAccountInput struct {
	// AccountID is chosen by the server if absent.
	AccountID AccountID   `param:"AccountId"`
	Name      DisplayName `param:"Name"`
}

type createAccountOutput struct {
	Account accountInfo
	// AccessKey is the root user's first key; its secret is shown only here.
	AccessKey accessKey
}

func (s *Service) createAccount() rpc.Op[createAccountInput, createAccountOutput] {
	return rpc.Op[createAccountInput, createAccountOutput]{
		Name: "CreateAccount", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: func(c *rpc.Call, _ *createAccountInput) ([]access.Target, error) { return everything(c), nil },
		Func:    s.doCreateAccount,
	}
}

func (s *Service) doCreateAccount(ctx context.Context, c *rpc.Call, in *createAccountInput) (*createAccountOutput, error) {
	id := string(in.AccountID)
	if id == "" {
		id = identity.NewID(16)
	}
	return rpc.Update(ctx, c, func(tx *store.Tx) (*createAccountOutput, error) {
		_, err := store.Accounts.Read(tx, store.AccountKey(id))
		if err == nil {
			return nil, apierr.ResourceExists.Msg("The account %s already exists.", id)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		key, secret, err := newKey(tx, s.Ring, store.AccessKey{Kind: store.OwnerRoot, Account: id}, c.Now)
		if err != nil {
			return nil, err
		}
		a := &store.Account{ID: id, Name: string(in.Name), Status: store.Active, CreatedAt: c.Now, RootKeys: []string{key.ID}}
		store.Accounts.Put(tx, store.AccountKey(id), a)
		tx.BumpEpoch(id)
		c.Record.Accounts = append(c.Record.Accounts, id)
		c.Resource(typeAccount, id)
		return &createAccountOutput{
			Account:   showAccount(a),
			AccessKey: accessKey{key.ID, secret, key.Status, rpc.TimeText(c.Now)},
		}, nil
	})
}
