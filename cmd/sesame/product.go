package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
)

type productCmds struct {
	Register productRegister `cmd:"" help:"Register a product of a service."`
	Update   productUpdate   `cmd:"" help:"Change a product: name, codes, hosting modes, quotas."`
	List     productListCmd  `cmd:"" help:"List the products that may deposit default secrets."`
	Show     productShow     `cmd:"" help:"Show a product, how many secrets it has, and the accounts with a quota of their own."`
	Retire   productRetire   `cmd:"" help:"Retire a product for good: it creates nothing more, and owners may delete its secrets."`
}

type productInfo struct {
	Product, DisplayName, ServiceName, RoleName string
	ProductCodes, HostingModes                  []string
	Quota                                       int
	Status, CreateDate                          string
	RetireDate                                  string `json:",omitempty"`
}

type productListCmd struct {
	connection
	output
}

func (c *productListCmd) Run(ctx context.Context, w io.Writer) error {
	var out struct {
		Products struct{ Product []productInfo }
	}
	if err := c.operate(ctx, "ListProducts", nil, &out); err != nil {
		return err
	}
	list := out.Products.Product
	if c.Output == "json" {
		return printJSON(w, list)
	}
	rows := [][]string{{"PRODUCT", "NAME", "CODES", "HOSTING", "QUOTA", "STATUS", "SERVICE"}}
	for _, p := range list {
		rows = append(rows, []string{p.Product, p.DisplayName, strings.Join(p.ProductCodes, ", "),
			strings.Join(p.HostingModes, ", "), fmt.Sprint(p.Quota), p.Status, p.ServiceName})
	}
	return table(w, rows)
}

// oneProduct is what the commands on one product have in common.
type oneProduct struct {
	connection
	output
	Product string `arg:"" help:"Id of the product, for example model-studio."`
}

// change calls an operation that answers with the product.
func (c *oneProduct) change(ctx context.Context, w io.Writer, operation string, params map[string]string) error {
	params["Product"] = c.Product
	var out struct {
		Product   productInfo
		RequestId string
	}
	if err := c.operate(ctx, operation, params, &out); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, out)
	}
	return fields(w, out.Product.fields()...)
}

func (p productInfo) fields() []string {
	return []string{"Product", p.Product, "Name", p.DisplayName, "Codes", strings.Join(p.ProductCodes, ", "),
		"Hosting", strings.Join(p.HostingModes, ", "), "Quota", strconv.Itoa(p.Quota), "Status", p.Status,
		"Service", p.ServiceName, "Role", p.RoleName, "Created", p.CreateDate, "Retired", p.RetireDate}
}

type productRegister struct {
	oneProduct
	Service string   `required:"" help:"Name of the service that the product belongs to."`
	Name    string   `required:"" help:"Name for people."`
	Code    []string `required:"" sep:"," help:"Product codes, the part of a default secret's name before the !."`
	Hosting []string `required:"" sep:"," enum:"Free,Paid" help:"Hosting modes: ${enum}."`
	Quota   int      `default:"100" help:"How many free secrets the product may keep in one account."`
}

func (c *productRegister) Run(ctx context.Context, w io.Writer) error {
	params := map[string]string{"ServiceName": c.Service, "DisplayName": c.Name, "Quota": strconv.Itoa(c.Quota)}
	addList(params, "ProductCodes", c.Code)
	addList(params, "HostingModes", c.Hosting)
	return c.change(ctx, w, "RegisterProduct", params)
}

type productUpdate struct {
	oneProduct
	Name         string   `help:"New name for people."`
	AddCode      []string `sep:"," help:"Codes to add."`
	RemoveCode   []string `sep:"," help:"Codes to remove; refused while secrets are left under one."`
	Hosting      []string `sep:"," enum:"Free,Paid" help:"Hosting modes from now on: ${enum}."`
	Quota        *int     `help:"How many free secrets the product may keep in one account."`
	AccountID    string   `name:"account-id" help:"Account to give a quota of its own."`
	AccountQuota string   `help:"That account's quota; default ends it."`
}

func (c *productUpdate) Run(ctx context.Context, w io.Writer) error {
	params := map[string]string{}
	add(params, "DisplayName", c.Name)
	add(params, "AccountId", c.AccountID)
	add(params, "AccountQuota", c.AccountQuota)
	addList(params, "AddProductCodes", c.AddCode)
	addList(params, "RemoveProductCodes", c.RemoveCode)
	addList(params, "HostingModes", c.Hosting)
	if c.Quota != nil {
		params["Quota"] = strconv.Itoa(*c.Quota)
	}
	return c.change(ctx, w, "UpdateProduct", params)
}

type productShow struct{ oneProduct }

type productDescription struct {
	Product                   productInfo
	SecretCount, PendingCount int
	AccountQuotas             struct {
		AccountQuota []struct {
			AccountId   string
			Quota, Used int
		}
	}
	RequestId string
}

func (c *productShow) Run(ctx context.Context, w io.Writer) error {
	var d productDescription
	if err := c.operate(ctx, "DescribeProduct", map[string]string{"Product": c.Product}, &d); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, d)
	}
	if err := fields(w, append(d.Product.fields(), "Secrets", fmt.Sprintf("%d, of which %d pending deletion", d.SecretCount, d.PendingCount))...); err != nil {
		return err
	}
	if len(d.AccountQuotas.AccountQuota) == 0 {
		return nil
	}
	rows := [][]string{{"\nACCOUNT", "USED", "OWN QUOTA"}}
	for _, q := range d.AccountQuotas.AccountQuota {
		rows = append(rows, []string{q.AccountId, strconv.Itoa(q.Used), strconv.Itoa(q.Quota)})
	}
	return table(w, rows)
}

type productRetire struct{ oneProduct }

func (c *productRetire) Run(ctx context.Context, w io.Writer) error {
	return c.change(ctx, w, "RetireProduct", map[string]string{})
}
