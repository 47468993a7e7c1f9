package product

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type resetRootKeyOutput struct {
	AccountId string
	// AccessKey is the root user's only key from now on; its secret is shown
	// only here.
	AccessKey accessKey
}

// resetRootKey gives the root user of an account a new access key in place of
// all that it has. Who holds it can read every secret of the account, so it is
// a break-glass operation.
func (s *Service) resetRootKey() rpc.Op[accountInput, resetRootKeyOutput] {
	return rpc.Op[accountInput, resetRootKeyOutput]{
		Name: "ResetRootKey", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: func(c *rpc.Call, in *accountInput) ([]access.Target, error) {
			t, err := accountTarget(c, in.AccountID)
			s.breakGlass(&t[0], "a new key of the root user could read every secret of the account")
			return t, err
		},
		Func: s.doResetRootKey,
	}
}

func (s *Service) doResetRootKey(ctx context.Context, c *rpc.Call, in *accountInput) (*resetRootKeyOutput, error) {
	return rpc.Update(ctx, c, func(tx *store.Tx) (*resetRootKeyOutput, error) {
		a, err := readAccount(tx, in.AccountID)
		if err != nil {
			return nil, err
		}
		for _, id := range a.RootKeys {
			store.AccessKeys.Delete(tx, id)
		}
		key, secret, err := newKey(tx, s.Ring, store.AccessKey{Kind: store.OwnerRoot, Account: a.ID}, c.Now)
		if err != nil {
			return nil, err
		}
		a.RootKeys = []string{key.ID}
		store.Accounts.Put(tx, store.AccountKey(a.ID), a)
		tx.BumpEpoch(a.ID)
		return &resetRootKeyOutput{a.ID, accessKey{key.ID, secret, key.Status, rpc.TimeText(c.Now)}}, nil
	})
}
