package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

// operate calls an operation of the operator's.
func (c *connection) operate(ctx context.Context, operation string, params map[string]string, out any) error {
	cl, err := c.asOperator()
	if err != nil {
		return err
	}
	return cl.Call(ctx, "opensesame", operation, params, out)
}

// addList adds a list parameter as it goes over the wire: Name.1, Name.2.
func addList(params map[string]string, name string, list []string) {
	for i, v := range list {
		params[fmt.Sprintf("%s.%d", name, i+1)] = v
	}
}

// shownKey is an access key without its secret.
type shownKey struct{ AccessKeyId, Status, CreateDate string }

// newKey is an access key in the one answer that has its secret.
type newKey struct{ AccessKeyId, AccessKeySecret, Status, CreateDate string }

func keyTable(w io.Writer, keys []shownKey) error {
	rows := [][]string{{"ACCESS KEY ID", "STATUS", "CREATED"}}
	for _, k := range keys {
		rows = append(rows, []string{k.AccessKeyId, k.Status, k.CreateDate})
	}
	return table(w, rows)
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
