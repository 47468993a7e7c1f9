package product

import (
	"context"
	"errors"
	"time"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// accountInput names the one account that an operation is about.
type accountInput struct {
	AccountID AccountID `param:"AccountId,required"`
}

type accountInfo struct {
	AccountId  string
	Name       string
	Status     string
	CreateDate string
}

type accountOutput struct{ Account accountInfo }

func showAccount(a *store.Account) accountInfo {
	return accountInfo{AccountId: a.ID, Name: a.Name, Status: a.Status, CreateDate: rpc.TimeText(a.CreatedAt)}
}

// readAccount returns the account in the transaction, to be changed.
func readAccount(tx *store.Tx, id AccountID) (*store.Account, error) {
	a, err := store.Accounts.Read(tx, store.AccountKey(string(id)))
	if errors.Is(err, store.ErrNotFound) {
		return nil, apierr.AccountNotFound
	}
	return a, err
}

// setStatus gives the account the status and bumps its access epoch, so that
// no change commits that was judged by the old one. Nothing is written if the
// account has the status already.
func setStatus(ctx context.Context, c *rpc.Call, id AccountID, status string) (*accountOutput, error) {
	return rpc.Update(ctx, c, func(tx *store.Tx) (*accountOutput, error) {
		a, err := readAccount(tx, id)
		if err != nil {
			return nil, err
		}
		if a.Status == status {
			return &accountOutput{showAccount(a)}, nil
		}
		a.Status = status
		if status == store.Suspended {
			a.SessionsNotBefore = sessionsEnd(c, a.SessionsNotBefore)
		}
		store.Accounts.Put(tx, store.AccountKey(a.ID), a)
		tx.BumpEpoch(a.ID)
		return &accountOutput{showAccount(a)}, nil
	})
}

// sessionsEnd is the time that sessions must have begun at to outlive this
// request; before is the time that was set last. Sessions know when they began
// to the second: those of the request's own second end too, and those that were
// made, still in that second, after others had been ended (they are dated
// ahead, see identity.Session.Begin).
func sessionsEnd(c *rpc.Call, before time.Time) time.Time {
	if before.After(c.Now) {
		return before.Add(time.Second)
	}
	return c.Now.Add(time.Second)
}
