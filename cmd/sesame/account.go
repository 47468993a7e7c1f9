package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
)

type accountCmds struct {
	Create       accountCreate    `cmd:"" help:"Create an account with its root user's access key, which is shown only now."`
	List         accountList      `cmd:"" help:"List the accounts."`
	Describe     accountDescribe  `cmd:"" help:"Describe an account."`
	Suspend      accountSuspend   `cmd:"" help:"Refuse an account's access keys and end its sessions, at once. Nothing is deleted."`
	Resume       accountResume    `cmd:"" help:"Let a suspended account's access keys in again."`
	ResetRootKey accountResetKey  `cmd:"" help:"Replace all access keys of an account's root user by a new one, which is shown only now. Needs a server that allows break-glass operations."`
	Limits       accountLimitsCmd `cmd:"" help:"Show the limits of an account's requests, or set them."`
}

type accountCreate struct {
	connection
	output
	AccountID string `name:"account-id" help:"Id of 16 digits; the server chooses one if nothing is given."`
	Name      string `help:"Name for people."`
}

type accountInfo struct{ AccountId, Name, Status, CreateDate string }

type createdAccount struct {
	Account   accountInfo
	AccessKey newKey
	RequestId string
}

func (c *accountCreate) Run(ctx context.Context, w io.Writer) error {
	params := map[string]string{}
	add(params, "AccountId", c.AccountID)
	add(params, "Name", c.Name)
	var out createdAccount
	if err := c.operate(ctx, "CreateAccount", params, &out); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, out)
	}
	if err := fields(w, "Account", out.Account.AccountId, "Name", out.Account.Name, "Status", out.Account.Status,
		"Root access key id", out.AccessKey.AccessKeyId, "Root access key secret", out.AccessKey.AccessKeySecret); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "\nThe secret of the root user's access key is shown only now. Keep it safe.")
	return err
}

type accountList struct {
	connection
	output
}

func (c *accountList) Run(ctx context.Context, w io.Writer) error {
	all := []accountInfo{}
	for page := 1; ; page++ {
		var out struct {
			TotalCount int
			Accounts   struct{ Account []accountInfo }
		}
		params := map[string]string{"PageSize": "1000", "PageNumber": strconv.Itoa(page)}
		if err := c.operate(ctx, "ListAccounts", params, &out); err != nil {
			return err
		}
		all = append(all, out.Accounts.Account...)
		if len(out.Accounts.Account) == 0 || len(all) >= out.TotalCount {
			break
		}
	}
	if c.Output == "json" {
		return printJSON(w, all)
	}
	rows := [][]string{{"ACCOUNT", "NAME", "STATUS", "CREATED"}}
	for _, a := range all {
		rows = append(rows, []string{a.AccountId, dash(a.Name), a.Status, a.CreateDate})
	}
	return table(w, rows)
}

// oneAccount is what the commands on one account have in common.
type oneAccount struct {
	connection
	output
	AccountID string `arg:"" name:"account-id" help:"Id of the account."`
}

type accountDescribe struct{ oneAccount }

type accountProduct struct {
	Product     string
	Quota, Used int
	OwnQuota    bool
}

type accountDescription struct {
	Account            accountInfo
	RootAccessKeys     struct{ AccessKey []shownKey }
	AuthorisedServices struct{ ServiceName []string }
	Products           struct{ Product []accountProduct }
	RequestId          string
}

func (c *accountDescribe) Run(ctx context.Context, w io.Writer) error {
	var d accountDescription
	if err := c.operate(ctx, "DescribeAccount", map[string]string{"AccountId": c.AccountID}, &d); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, d)
	}
	var keys, products []string
	for _, k := range d.RootAccessKeys.AccessKey {
		keys = append(keys, k.AccessKeyId+" ("+k.Status+")")
	}
	for _, p := range d.Products.Product {
		text := fmt.Sprintf("%s %d of %d", p.Product, p.Used, p.Quota)
		if p.OwnQuota {
			text += " (own quota)"
		}
		products = append(products, text)
	}
	return fields(w, "Account", d.Account.AccountId, "Name", d.Account.Name, "Status", d.Account.Status, "Created", d.Account.CreateDate,
		"Root access keys", strings.Join(keys, ", "), "Authorised services", strings.Join(d.AuthorisedServices.ServiceName, ", "),
		"Default secrets", strings.Join(products, ", "))
}

type accountSuspend struct{ oneAccount }

func (c *accountSuspend) Run(ctx context.Context, w io.Writer) error {
	return c.setStatus(ctx, w, "SuspendAccount")
}

type accountResume struct{ oneAccount }

func (c *accountResume) Run(ctx context.Context, w io.Writer) error {
	return c.setStatus(ctx, w, "ResumeAccount")
}

func (c *oneAccount) setStatus(ctx context.Context, w io.Writer, operation string) error {
	var out struct {
		Account   accountInfo
		RequestId string
	}
	if err := c.operate(ctx, operation, map[string]string{"AccountId": c.AccountID}, &out); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, out)
	}
	return fields(w, "Account", out.Account.AccountId, "Status", out.Account.Status)
}

type accountResetKey struct{ oneAccount }

func (c *accountResetKey) Run(ctx context.Context, w io.Writer) error {
	var out struct {
		AccountId string
		AccessKey newKey
		RequestId string
	}
	if err := c.operate(ctx, "ResetRootKey", map[string]string{"AccountId": c.AccountID}, &out); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, out)
	}
	if err := fields(w, "Account", out.AccountId, "Root access key id", out.AccessKey.AccessKeyId, "Root access key secret", out.AccessKey.AccessKeySecret); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "\nThe secret of the root user's access key is shown only now. Keep it safe. The keys that it had are gone.")
	return err
}
