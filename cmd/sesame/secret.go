package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

type secretCommands struct {
	Get      secretGet      `cmd:"" help:"Read a secret. The value itself is printed with --value only."`
	List     secretList     `cmd:"" help:"List the secrets that you may see."`
	Describe secretDescribe `cmd:"" help:"Describe a secret."`
}

type secretGet struct {
	connection
	output
	Name  string `arg:"" help:"Name or ARN of the secret; quote it ('bailian!demo'), for ! means something to shells."`
	Stage string `help:"Stage label of the version to read, ACSCurrent if nothing is given."`
	ID    string `name:"version-id" help:"Id of the version to read."`
	Value bool   `help:"Print the value, and nothing else."`
}

type stages struct{ VersionStage []string }

type secretValue struct {
	SecretName, VersionId, SecretData, SecretDataType, SecretType, CreateTime string
	VersionStages                                                             stages
	RequestId                                                                 string
}

func (c *secretGet) Run(ctx context.Context, w io.Writer) error {
	cl, err := c.asUser()
	if err != nil {
		return err
	}
	params := map[string]string{"SecretName": c.Name}
	add(params, "VersionStage", c.Stage)
	add(params, "VersionId", c.ID)
	var out secretValue
	if err := cl.Call(ctx, "kms", "GetSecretValue", params, &out); err != nil {
		return err
	}
	if c.Value {
		_, err := io.WriteString(w, out.SecretData)
		if err == nil && !strings.HasSuffix(out.SecretData, "\n") {
			_, err = io.WriteString(w, "\n")
		}
		return err
	}
	size := len(out.SecretData)
	out.SecretData = mask.Stars
	if c.Output == "json" {
		return printJSON(w, out)
	}
	return fields(w, "Name", out.SecretName, "Version", out.VersionId, "Stages", strings.Join(out.VersionStages.VersionStage, ", "),
		"Created", out.CreateTime, "Type", out.SecretDataType, "Value", fmt.Sprintf("%d bytes; print it with --value", size))
}

func add(params map[string]string, name, value string) {
	if value != "" {
		params[name] = value
	}
}

type secretList struct {
	connection
	output
	Prefix string `arg:"" optional:"" help:"Beginning of the names, for example 'bailian!'."`
}

type secretItem struct {
	SecretName, SecretType, CreateTime, UpdateTime string
	PlannedDeleteTime                              string `json:",omitempty"`
	OwingService                                   string `json:",omitempty"`
	HostingMode                                    string `json:",omitempty"`
	ManageUrl                                      string `json:",omitempty"`
}

func (c *secretList) Run(ctx context.Context, w io.Writer) error {
	cl, err := c.asUser()
	if err != nil {
		return err
	}
	params := map[string]string{"PageSize": "100"}
	if c.Prefix != "" {
		filter, err := json.Marshal([]map[string]any{{"Key": "SecretName", "Values": []string{c.Prefix}}})
		if err != nil {
			return err
		}
		params["Filters"] = string(filter)
	}
	all := []secretItem{}
	for page := 1; ; page++ {
		params["PageNumber"] = strconv.Itoa(page)
		var out struct {
			TotalCount int
			SecretList struct{ Secret []secretItem }
		}
		if err := cl.Call(ctx, "kms", "ListSecrets", params, &out); err != nil {
			return err
		}
		all = append(all, out.SecretList.Secret...)
		if len(out.SecretList.Secret) == 0 || len(all) >= out.TotalCount {
			break
		}
	}
	if c.Output == "json" {
		return printJSON(w, all)
	}
	rows := [][]string{{"NAME", "STATE", "PRODUCT", "HOSTING", "CREATED"}}
	for _, s := range all {
		rows = append(rows, []string{s.SecretName, secretState(s.PlannedDeleteTime), dash(s.OwingService), dash(s.HostingMode), s.CreateTime})
	}
	return table(w, rows)
}

// secretState is a secret's state in words; the API has no field for it.
func secretState(plannedDelete string) string {
	if plannedDelete == "" {
		return "Normal"
	}
	return "PendingDeletion (until " + plannedDelete + ")"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

type secretDescribe struct {
	connection
	output
	Name string `arg:"" help:"Name or ARN of the secret."`
}

type wireTag struct{ TagKey, TagValue string }

type secretDescription struct {
	Arn, SecretName, SecretType, Description, CreateTime, UpdateTime, Creator string
	PlannedDeleteTime                                                         string `json:",omitempty"`
	AutomaticRotation                                                         string
	OwingService                                                              string `json:",omitempty"`
	HostingMode                                                               string `json:",omitempty"`
	ManageUrl                                                                 string `json:",omitempty"`
	Tags                                                                      struct{ Tag []wireTag }
	RequestId                                                                 string
}

func (c *secretDescribe) Run(ctx context.Context, w io.Writer) error {
	cl, err := c.asUser()
	if err != nil {
		return err
	}
	var d secretDescription
	if err := cl.Call(ctx, "kms", "DescribeSecret", map[string]string{"SecretName": c.Name, "FetchTags": "true"}, &d); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, d)
	}
	var tags []string
	for _, t := range d.Tags.Tag {
		tags = append(tags, t.TagKey+"="+t.TagValue)
	}
	return fields(w, "Name", d.SecretName, "ARN", d.Arn, "State", secretState(d.PlannedDeleteTime), "Description", d.Description,
		"Product", d.OwingService, "Hosting", d.HostingMode, "Managed at", d.ManageUrl, "Type", d.SecretType, "Creator", d.Creator,
		"Created", d.CreateTime, "Updated", d.UpdateTime, "Tags", strings.Join(tags, ", "))
}
