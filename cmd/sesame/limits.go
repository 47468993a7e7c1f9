package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

type accountLimitsCmd struct {
	connection
	output
	AccountID string   `arg:"" name:"account-id" help:"Id of the account."`
	Set       []string `arg:"" optional:"" name:"class=limit" help:"Limits to set, in requests per second: secret-read=9000; 0 is no limit, default is the server's."`
}

type accountLimitsAnswer struct {
	AccountId string
	Limits    struct {
		Limit []struct {
			Class     string
			PerSecond string
			Own       bool
		}
	}
	RequestId string
}

func (c *accountLimitsCmd) Run(ctx context.Context, w io.Writer) error {
	cl, err := c.asOperator()
	if err != nil {
		return err
	}
	operation, params := "DescribeAccountLimits", map[string]string{"AccountId": c.AccountID}
	if len(c.Set) > 0 {
		operation = "SetAccountLimits"
		if params["Limits"], err = limitChanges(c.Set); err != nil {
			return err
		}
	}
	var out accountLimitsAnswer
	if err := cl.Call(ctx, "opensesame", operation, params, &out); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, out)
	}
	rows := [][]string{{"CLASS", "REQUESTS/S", "SET BY"}}
	for _, l := range out.Limits.Limit {
		limit, by := l.PerSecond, "server"
		if limit == "0" {
			limit = "no limit"
		}
		if l.Own {
			by = "account"
		}
		rows = append(rows, []string{l.Class, limit, by})
	}
	return table(w, rows)
}

// limitChanges writes class=limit arguments as SetAccountLimits reads them.
func limitChanges(args []string) (string, error) {
	changes := map[string]*float64{}
	for _, arg := range args {
		class, limit, ok := strings.Cut(arg, "=")
		if _, twice := changes[class]; twice {
			return "", fmt.Errorf("the class %q is given twice", class)
		}
		n, err := strconv.ParseFloat(limit, 64)
		switch {
		case !ok || class == "" || err != nil && limit != "default":
			return "", fmt.Errorf("%q is not of the form class=limit, such as secret-read=9000 or secret-read=default", arg)
		case limit == "default":
			changes[class] = nil
		default:
			changes[class] = &n
		}
	}
	b, err := json.Marshal(changes)
	if err != nil {
		return "", fmt.Errorf("a limit is no number: %w", err) // not NaN and not infinite
	}
	return string(b), nil
}
