package main

import (
	"context"
	"fmt"
	"io"
	"strings"
)

type serviceCmds struct {
	Create     serviceCreate      `cmd:"" help:"Register a service and give it its first credential, which is shown only now."`
	Update     serviceUpdate      `cmd:"" help:"Change a service's display name."`
	List       serviceList        `cmd:"" help:"List the services."`
	Show       serviceShow        `cmd:"" help:"Show a service with its role, policy, products and credentials."`
	Credential serviceCredentials `cmd:"" help:"Credentials of services, two at most for each."`
}

// oneService is what the commands on one service have in common.
type oneService struct {
	connection
	output
	Service string `arg:"" help:"Name of the service, for example keys.example.com."`
}

type serviceInfo struct{ ServiceName, DisplayName, RoleName, PolicyName, CreateDate string }

type serviceCreate struct {
	oneService
	DisplayName  string `help:"Name for people."`
	RoleName     string `help:"Name of the service-linked role, AliyunServiceRoleFor…; made out of the service's name if nothing is given."`
	NoCredential bool   `help:"Do not create the first credential now."`
}

type createdService struct {
	Service   serviceInfo
	AccessKey *newKey `json:",omitempty"`
	RequestId string
}

func (c *serviceCreate) Run(ctx context.Context, w io.Writer) error {
	params := map[string]string{"ServiceName": c.Service}
	add(params, "DisplayName", c.DisplayName)
	add(params, "RoleName", c.RoleName)
	var out createdService
	if err := c.operate(ctx, "CreateService", params, &out); err != nil {
		return err
	}
	if !c.NoCredential {
		var key createdCredential
		if err := c.operate(ctx, "CreateServiceCredential", map[string]string{"ServiceName": c.Service}, &key); err != nil {
			return fmt.Errorf("the service %s is registered, but has no credential: %w", c.Service, err)
		}
		out.AccessKey = &key.AccessKey
	}
	if c.Output == "json" {
		return printJSON(w, out)
	}
	s := out.Service
	if err := fields(w, "Service", s.ServiceName, "Name", s.DisplayName, "Role", s.RoleName); err != nil || out.AccessKey == nil {
		return err
	}
	return showCredential(w, *out.AccessKey)
}

type serviceUpdate struct {
	oneService
	DisplayName string `required:"" help:"Name for people."`
}

func (c *serviceUpdate) Run(ctx context.Context, w io.Writer) error {
	var out createdService
	if err := c.operate(ctx, "UpdateService", map[string]string{"ServiceName": c.Service, "DisplayName": c.DisplayName}, &out); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, out)
	}
	return fields(w, "Service", out.Service.ServiceName, "Name", out.Service.DisplayName)
}

type serviceList struct {
	connection
	output
}

func (c *serviceList) Run(ctx context.Context, w io.Writer) error {
	out := struct {
		Services struct{ Service []serviceInfo }
	}{}
	if err := c.operate(ctx, "ListServices", nil, &out); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, out.Services.Service)
	}
	rows := [][]string{{"SERVICE", "NAME", "ROLE", "CREATED"}}
	for _, s := range out.Services.Service {
		rows = append(rows, []string{s.ServiceName, dash(s.DisplayName), s.RoleName, s.CreateDate})
	}
	return table(w, rows)
}

type serviceShow struct{ oneService }

type serviceDescription struct {
	Service            serviceInfo
	RolePolicy         string
	Products           struct{ Product []string }
	Credentials        struct{ AccessKey []shownKey }
	AuthorisedAccounts int
	RequestId          string
}

func (c *serviceShow) Run(ctx context.Context, w io.Writer) error {
	var d serviceDescription
	if err := c.operate(ctx, "DescribeService", map[string]string{"ServiceName": c.Service}, &d); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, d)
	}
	var keys []string
	for _, k := range d.Credentials.AccessKey {
		keys = append(keys, k.AccessKeyId+" ("+k.Status+")")
	}
	return fields(w, "Service", d.Service.ServiceName, "Name", d.Service.DisplayName, "Role", d.Service.RoleName,
		"Policy", d.Service.PolicyName, "Created", d.Service.CreateDate, "Products", strings.Join(d.Products.Product, ", "),
		"Credentials", strings.Join(keys, ", "), "Authorised in", fmt.Sprintf("%d accounts", d.AuthorisedAccounts), "Role policy", d.RolePolicy)
}

type serviceCredentials struct {
	Create  credentialCreate  `cmd:"" help:"Create a credential, which is shown only now. All but a service's first need a server that allows break-glass operations."`
	List    credentialList    `cmd:"" help:"List a service's credentials."`
	Disable credentialDisable `cmd:"" help:"Refuse a credential and end the service's sessions, at once."`
	Enable  credentialEnable  `cmd:"" help:"Let a disabled credential in again."`
	Delete  credentialDelete  `cmd:"" help:"Delete a credential for good and end the service's sessions, at once."`
}

type createdCredential struct {
	ServiceName string
	AccessKey   newKey
	RequestId   string
}

type credentialCreate struct{ oneService }

func (c *credentialCreate) Run(ctx context.Context, w io.Writer) error {
	var out createdCredential
	if err := c.operate(ctx, "CreateServiceCredential", map[string]string{"ServiceName": c.Service}, &out); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, out)
	}
	return showCredential(w, out.AccessKey)
}

func showCredential(w io.Writer, k newKey) error {
	if err := fields(w, "Access key id", k.AccessKeyId, "Access key secret", k.AccessKeySecret); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "\nThe secret of the access key is shown only now. Hand it to the service and keep no copy.")
	return err
}

type credentialList struct{ oneService }

func (c *credentialList) Run(ctx context.Context, w io.Writer) error {
	var out struct {
		AccessKeys struct{ AccessKey []shownKey }
	}
	if err := c.operate(ctx, "ListServiceCredentials", map[string]string{"ServiceName": c.Service}, &out); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, out.AccessKeys.AccessKey)
	}
	return keyTable(w, out.AccessKeys.AccessKey)
}

// oneCredential is what the commands on one credential have in common.
type oneCredential struct {
	oneService
	AccessKeyID string `arg:"" name:"access-key-id" help:"Id of the credential's access key."`
}

func (c *oneCredential) change(ctx context.Context, w io.Writer, operation, done string) error {
	var out struct {
		ServiceName string
		AccessKey   shownKey
		RequestId   string
	}
	params := map[string]string{"ServiceName": c.Service, "ServiceAccessKeyId": c.AccessKeyID}
	if err := c.operate(ctx, operation, params, &out); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, out)
	}
	_, err := fmt.Fprintf(w, "%s of %s is %s.\n", c.AccessKeyID, c.Service, done)
	return err
}

type credentialDisable struct{ oneCredential }

func (c *credentialDisable) Run(ctx context.Context, w io.Writer) error {
	return c.change(ctx, w, "DisableServiceCredential", "disabled")
}

type credentialEnable struct{ oneCredential }

func (c *credentialEnable) Run(ctx context.Context, w io.Writer) error {
	return c.change(ctx, w, "EnableServiceCredential", "enabled")
}

type credentialDelete struct{ oneCredential }

func (c *credentialDelete) Run(ctx context.Context, w io.Writer) error {
	return c.change(ctx, w, "DeleteServiceCredential", "deleted")
}
