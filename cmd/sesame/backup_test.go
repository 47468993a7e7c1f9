package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// stepPattern finds the commands of a page: each fenced block after a comment
// that names the step.
var stepPattern = regexp.MustCompile("(?s)<!-- step: ([a-z]+) -->\n```sh\n(.*?)```\n")

// page is a page of the documentation whose commands are run.
type page struct {
	steps map[string]string
	env   []string
}

func readPage(t *testing.T, name string, replace *strings.Replacer, env ...string) *page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	p := &page{steps: map[string]string{}, env: append(os.Environ(), env...)}
	for _, m := range stepPattern.FindAllStringSubmatch(string(text), -1) {
		p.steps[m[1]] = replace.Replace(m[2])
	}
	if blocks := strings.Count(string(text), "```sh\n"); blocks != len(p.steps) {
		t.Fatalf("%s has %d blocks of commands, of which %d are steps of their own", name, blocks, len(p.steps))
	}
	return p
}

// run runs steps in one shell, and ends what they left running.
func (p *page) run(t *testing.T, steps ...string) string {
	t.Helper()
	script := "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"
	for _, s := range steps {
		if p.steps[s] == "" {
			t.Fatalf("the page has no step %q", s)
		}
		script += p.steps[s]
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Env, cmd.WaitDelay = p.env, deadline
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s\n%s", strings.Join(steps, ", "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// TestBackupPage follows docs/backup.md from a running server by way of its total
// loss to a secret that is read again.
func TestBackupPage(t *testing.T) {
	dir := t.TempDir()
	data, safe, backups := filepath.Join(dir, "data"), filepath.Join(dir, "safe"), filepath.Join(dir, "backups")
	for _, d := range []string{safe, backups} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	srv := sesametest.Start(t, sesametest.Options{Dir: data})
	acct := srv.NewAccount(t)
	user := acct.NewUser(t, "my-app", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}`)
	srv.MustCall(t, acct.Root, "kms", "CreateSecret", sesametest.Params{"SecretName": "my-app/database", "VersionId": "v1", "SecretData": "the password"}, nil)

	ca := filepath.Join(dir, "ca.pem") // as a client has it
	if err := os.WriteFile(ca, srv.CAPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freeAddress(t)
	p := readPage(t, "backup.md", strings.NewReplacer(
		"/var/lib/opensesame", data, "/safe", safe, "/backups", backups, "sesame server ", "sesame server --listen "+addr+" "),
		"SESAME_CA_FILE="+ca, "SESAME_ENDPOINT="+srv.URL,
		"SESAME_ACCESS_KEY_ID="+user.AccessKeyID, "SESAME_ACCESS_KEY_SECRET="+user.AccessKeySecret,
		"SESAME_OPERATOR_ACCESS_KEY_ID="+srv.Operator.AccessKeyID, "SESAME_OPERATOR_ACCESS_KEY_SECRET="+srv.Operator.AccessKeySecret)
	p.run(t, "keep", "backup")
	if err := srv.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(data); err != nil { // total loss
		t.Fatal(err)
	}
	p.env = append(p.env, "SESAME_ENDPOINT=https://"+addr)
	out := p.run(t, "restore", "start", "confirm", "read")
	for _, want := range []string{"Everything that was deleted", "Accounts can make changes again.", "\nthe password\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("the commands did not print %q:\n%s", want, out)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
