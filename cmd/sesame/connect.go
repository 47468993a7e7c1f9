package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/opensesame-kms/opensesame/internal/client"
	"github.com/opensesame-kms/opensesame/internal/config"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

const defaultEndpoint = "https://" + config.DefaultListen

// connection says which server to call. Secrets come from the environment
// only: arguments are visible to every user of the machine.
type connection struct {
	Endpoint string `help:"URL of the server." env:"SESAME_ENDPOINT" default:"${default_endpoint}"`
	CAFile   string `name:"ca-file" help:"File with the certificate authority that the server's certificate chains to; without it the system's." env:"SESAME_CA_FILE"`
	Region   string `help:"Region." env:"SESAME_REGION" default:"cn-hangzhou"`
}

// output says how to print an answer.
type output struct {
	Output string `short:"o" help:"Output format: ${enum}." enum:"text,json" default:"text"`
}

// asUser returns a client that signs as a user of an account.
func (c *connection) asUser() (*client.Client, error) {
	return c.as("an access key", [][3]string{
		{"SESAME_ACCESS_KEY_ID", "SESAME_ACCESS_KEY_SECRET", "SESAME_SECURITY_TOKEN"},
		{"ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN"},
	})
}

// asOperator returns a client that signs as the operator.
func (c *connection) asOperator() (*client.Client, error) {
	return c.as("the operator's access key", [][3]string{
		{"SESAME_OPERATOR_ACCESS_KEY_ID", "SESAME_OPERATOR_ACCESS_KEY_SECRET", ""},
	})
}

func (c *connection) as(what string, names [][3]string) (*client.Client, error) {
	var ca []byte
	if c.CAFile != "" {
		var err error
		if ca, err = os.ReadFile(c.CAFile); err != nil {
			return nil, fmt.Errorf("the CA file: %w", err)
		}
	}
	for _, n := range names {
		id := os.Getenv(n[0])
		if id == "" {
			continue
		}
		if os.Getenv(n[1]) == "" {
			return nil, fmt.Errorf("%s is set, but %s is not", n[0], n[1])
		}
		token := ""
		if n[2] != "" {
			token = os.Getenv(n[2])
		}
		return client.New(client.Config{
			Endpoint: cmp.Or(c.Endpoint, defaultEndpoint), CAPEM: ca, Region: c.Region, UserAgent: "sesame/" + version(),
			AccessKeyID: id, AccessKeySecret: mask.NewText(os.Getenv(n[1])), SecurityToken: mask.NewText(token),
		})
	}
	return nil, fmt.Errorf("%s is needed: set %s and %s", what, names[0][0], names[0][1])
}

// printJSON prints an answer as indented JSON.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table prints rows in columns; the first row holds the headings.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		_, _ = fmt.Fprintln(t, strings.Join(r, "\t")) // Flush reports
	}
	return t.Flush()
}

// fields prints names and values, a line each, leaving out empty ones.
func fields(w io.Writer, pairs ...string) error {
	if len(pairs)%2 != 0 {
		return errors.New("fields: a name without a value")
	}
	var rows [][]string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			rows = append(rows, []string{pairs[i] + ":", pairs[i+1]})
		}
	}
	return table(w, rows)
}
