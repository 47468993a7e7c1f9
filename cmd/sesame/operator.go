package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

type productCmds struct {
	List productListCmd `cmd:"" help:"List the products that may deposit default secrets."`
}

type productListCmd struct {
	connection
	output
}

type productInfo struct {
	Product, DisplayName, ServiceName, RoleName string
	ProductCodes, HostingModes                  []string
	Quota                                       int
}

func (c *productListCmd) Run(ctx context.Context, w io.Writer) error {
	cl, err := c.asOperator()
	if err != nil {
		return err
	}
	var out struct {
		Products struct{ Product []productInfo }
	}
	if err := cl.Call(ctx, "opensesame", "ListProducts", nil, &out); err != nil {
		return err
	}
	list := out.Products.Product
	if c.Output == "json" {
		return printJSON(w, list)
	}
	rows := [][]string{{"PRODUCT", "NAME", "CODES", "HOSTING", "QUOTA", "SERVICE"}}
	for _, p := range list {
		rows = append(rows, []string{p.Product, p.DisplayName, strings.Join(p.ProductCodes, ", "),
			strings.Join(p.HostingModes, ", "), fmt.Sprint(p.Quota), p.ServiceName})
	}
	return table(w, rows)
}

type accountCmds struct {
	Create accountCreate    `cmd:"" help:"Create an account with its root user's access key, which is shown only now."`
	Limits accountLimitsCmd `cmd:"" help:"Show the limits of an account's requests, or set them."`
}

type accountCreate struct {
	connection
	output
	AccountID string `name:"account-id" help:"Id of 16 digits; the server chooses one if nothing is given."`
	Name      string `help:"Name for people."`
}

type createdAccount struct {
	Account   struct{ AccountId, Name, Status, CreateDate string }
	AccessKey struct{ AccessKeyId, AccessKeySecret, Status, CreateDate string }
	RequestId string
}

func (c *accountCreate) Run(ctx context.Context, w io.Writer) error {
	cl, err := c.asOperator()
	if err != nil {
		return err
	}
	params := map[string]string{}
	add(params, "AccountId", c.AccountID)
	add(params, "Name", c.Name)
	var out createdAccount
	if err := cl.Call(ctx, "opensesame", "CreateAccount", params, &out); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, out)
	}
	if err := fields(w, "Account", out.Account.AccountId, "Name", out.Account.Name, "Status", out.Account.Status,
		"Root access key id", out.AccessKey.AccessKeyId, "Root access key secret", out.AccessKey.AccessKeySecret); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, "\nThe secret of the root user's access key is shown only now. Keep it safe.")
	return err
}

// callCommand calls any operation: what has no command of its own is a line
// away.
type callCommand struct {
	connection
	Product   string   `arg:"" help:"kms, sts, ram, resourcemanager or opensesame."`
	Operation string   `arg:"" help:"Name of the operation, for example DescribeSecret."`
	Params    []string `arg:"" optional:"" help:"Parameters as Name=Value; Name=@FILE takes the value from a file, so that it is not among the program's arguments."`
	Operator  bool     `help:"Sign with the operator's access key."`
	Value     bool     `help:"Print a secret's value as it is; without it, as stars."`
}

func (c *callCommand) Run(ctx context.Context, w io.Writer) error {
	connect := c.asUser
	if c.Operator {
		connect = c.asOperator
	}
	cl, err := connect()
	if err != nil {
		return err
	}
	params := map[string]string{}
	for _, p := range c.Params {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return fmt.Errorf("the parameter %q is not of the form Name=Value", name)
		}
		if file, fromFile := strings.CutPrefix(value, "@"); fromFile {
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			value = string(b)
		}
		params[name] = value
	}
	var out map[string]any
	if err := cl.Call(ctx, c.Product, c.Operation, params, &out); err != nil {
		return err
	}
	if _, ok := out["SecretData"]; ok && !c.Value {
		out["SecretData"] = mask.Stars
	}
	return printJSON(w, out)
}
