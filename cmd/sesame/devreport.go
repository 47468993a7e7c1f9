package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/opensesame-kms/opensesame/internal/app"
	"github.com/opensesame-kms/opensesame/internal/audit/record"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/sample"
)

// variable is one line of the env file.
type variable struct {
	name  string
	value mask.Text
}

type variables []variable

func (v *variables) add(name, value string) { *v = append(*v, variable{name, mask.NewText(value)}) }

func (v *variables) addKey(prefix string, c sample.Credential) {
	v.add(prefix+"_ACCESS_KEY_ID", c.ID)
	*v = append(*v, variable{prefix + "_ACCESS_KEY_SECRET", c.Secret})
}

// file writes the variables as shell export lines.
func (v variables) file() string {
	var b strings.Builder
	for _, e := range v {
		fmt.Fprintf(&b, "export %s='%s'\n", e.name, strings.ReplaceAll(e.value.Reveal(), "'", `'\''`))
	}
	return b.String()
}

// get returns the value of one of them.
func (v variables) get(name string) string {
	for _, e := range v {
		if e.name == name {
			return e.value.Reveal()
		}
	}
	return ""
}

// environment is what a client needs to know. The names are part of the
// program's interface.
func environment(a *app.App, s *sample.Sample) variables {
	var v variables
	endpoint := a.LoopbackURL()
	v.add("SESAME_ENDPOINT", endpoint)
	v.add("SESAME_ENDPOINT_HOST", strings.TrimPrefix(endpoint, "https://"))
	if a.HTTPURL() != "" {
		v.add("SESAME_HTTP_ENDPOINT", a.HTTPURL())
	}
	v.add("SESAME_CA_FILE", a.CAFile())
	v.add("SESAME_REGION", a.Region())
	v.add("SESAME_ACCOUNT_ID", s.AccountID)
	v.addKey("SESAME_ROOT", s.Root)
	v.addKey("ALIBABA_CLOUD", s.Reader)
	v.addKey("SESAME_OPERATOR", s.Operator())
	for _, p := range s.Products {
		for _, code := range p.Codes {
			prefix := "SESAME_PRODUCT_" + strings.ToUpper(strings.ReplaceAll(code, "-", "_"))
			v.addKey(prefix, p.Credential)
			v.add(prefix+"_ROLE_ARN", p.RoleARN)
		}
	}
	return v
}

// report prints what happened and what to paste next.
func report(w io.Writer, a *app.App, job mainJob, env variables, took time.Duration, envFile string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "OpenSesame is ready after %.1f s: region %s, account %s\n\n", took.Seconds(), a.Region(), env.get("SESAME_ACCOUNT_ID"))
	fmt.Fprintf(&b, "What happened so far, over the network, signed:\n")
	for i, st := range job.steps {
		fmt.Fprintf(&b, "  %d. %s: %s\n     -> %s\n", i+1, st.Who, st.What, st.Outcome)
	}
	records, err := recordsSince(a, job.mark)
	if err != nil {
		return err
	}
	fmt.Fprintf(&b, "\nThe audit records of it:\n")
	for _, r := range records {
		fmt.Fprintf(&b, "  %s  %-14s  %-62s  %s\n", r.Time.Format("15:04:05"), r.Operation, r.Identity.UserName, cmp.Or(r.ErrorCode, "ok"))
	}
	pasteEnvironment(&b, env, envFile)
	pasteCommands(&b, a, env)
	b.WriteString(goProgram)
	b.WriteString("\nStop with Ctrl-C.\n")
	_, err = io.WriteString(w, b.String())
	return err
}

// recordsSince reads the audit records from a mark on. The record of a change
// reaches the log a moment after its answer.
func recordsSince(a *app.App, mark uint64) (records []*record.Record, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := a.DrainAudit(ctx); err != nil {
		return nil, err
	}
	err = a.ReadAuditFrom(mark, func(r *record.Record) { records = append(records, r) })
	return records, err
}

func pasteEnvironment(b *strings.Builder, env variables, envFile string) {
	fmt.Fprintf(b, "\nTo use it from another terminal, paste")
	if envFile != "" {
		fmt.Fprintf(b, " (or: . '%s', which has every product's credential too)", envFile)
	}
	b.WriteString(":\n\n")
	for _, line := range strings.SplitAfter(env.file(), "\n") {
		if line != "" && !strings.Contains(line, "SESAME_PRODUCT_") {
			b.WriteString("  " + line)
		}
	}
	b.WriteString("\nThe products, by their codes (a product assumes its role, and manages its secrets with that session):\n\n")
	for _, line := range strings.SplitAfter(env.file(), "\n") {
		if strings.Contains(line, "SESAME_PRODUCT_") {
			b.WriteString("  " + line)
		}
	}
}

func pasteCommands(b *strings.Builder, a *app.App, env variables) {
	u, err := url.Parse(a.LoopbackURL())
	if err != nil {
		return
	}
	fmt.Fprintf(b, `
Read the secret as the user %[1]s, with this program and with the aliyun command line:

  go run ./cmd/sesame secret get '%[2]s' --value
  go run ./cmd/sesame secret describe '%[2]s'
  SSL_CERT_FILE="$SESAME_CA_FILE" aliyun kms GetSecretValue --SecretName '%[2]s' \
    --region %[3]s --endpoint %[4]s --secure --mode AK \
    --access-key-id "$ALIBABA_CLOUD_ACCESS_KEY_ID" --access-key-secret "$ALIBABA_CLOUD_ACCESS_KEY_SECRET"

Try to delete it as the owner's root user, and see whose it is:

  SESAME_ACCESS_KEY_ID="$SESAME_ROOT_ACCESS_KEY_ID" SESAME_ACCESS_KEY_SECRET="$SESAME_ROOT_ACCESS_KEY_SECRET" \
    go run ./cmd/sesame call kms DeleteSecret 'SecretName=%[2]s'
`, sample.ReaderName, sample.SecretName, env.get("SESAME_REGION"), net.JoinHostPort(u.Hostname(), u.Port()))
}

// goProgram shows the official SDK; it is complete but for the imports.
const goProgram = `
The same with the official Go SDK (github.com/alibabacloud-go/kms-20160120/v3):

  ca, _ := os.ReadFile(os.Getenv("SESAME_CA_FILE"))
  kms, err := kms.NewClient(&openapi.Config{
      Endpoint:        tea.String(os.Getenv("SESAME_ENDPOINT_HOST")),
      RegionId:        tea.String(os.Getenv("SESAME_REGION")),
      AccessKeyId:     tea.String(os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_ID")),
      AccessKeySecret: tea.String(os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET")),
      Ca:              tea.String(string(ca)),
  })
  secret, err := kms.GetSecretValue(&kms.GetSecretValueRequest{SecretName: tea.String("bailian!demo-api-key")})
  fmt.Println(tea.StringValue(secret.Body.SecretData))
`
