package product

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type listAccountsInput struct {
	PageNumber int `param:"PageNumber,default=1,min=1"`
	PageSize   int `param:"PageSize,default=100,min=1,max=1000"`
}

type accountList struct{ Account []accountInfo }

type listAccountsOutput struct {
	PageNumber, PageSize, TotalCount int
	Accounts                         accountList
}

// listAccounts lists the accounts in the order of their ids.
func (s *Service) listAccounts() rpc.Op[listAccountsInput, listAccountsOutput] {
	return rpc.Op[listAccountsInput, listAccountsOutput]{
		Name: "ListAccounts", Class: throttle.Operator, Callers: access.Operators,
		Targets: func(c *rpc.Call, _ *listAccountsInput) ([]access.Target, error) { return everything(c), nil },
		Func: func(_ context.Context, c *rpc.Call, in *listAccountsInput) (*listAccountsOutput, error) {
			var all []accountInfo
			err := store.Accounts.Scan(c.View, "", func(_ string, a *store.Account) bool {
				all = append(all, showAccount(a))
				return true
			})
			return &listAccountsOutput{
				PageNumber: in.PageNumber, PageSize: in.PageSize, TotalCount: len(all),
				Accounts: accountList{page(all, in.PageNumber, in.PageSize)},
			}, err
		},
	}
}
