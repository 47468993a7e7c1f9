package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary the program, under the name sesame in PATH,
// for the scripts and for the tests that kill it.
func TestMain(m *testing.M) {
	testscript.Main(withKeptData{m}, map[string]func(){"sesame": main})
}

// TestScripts runs testdata/script: the program as its users see it. Beside
// testscript's own commands there are
//
//	status N program [args]   runs the program, which must exit with status N
//	waitfile FILE             waits until the file is there
//	sourceenv FILE            does what a shell does with ". FILE"
//	sourcesession FILE        exports the credential in AssumeRole's answer
//	envnames FILE OUT         writes the names that FILE exports, sorted, a line each
//	without REGEXP FILE OUT   copies a file without the lines that match
//	quiet                     checks that standard error is empty, see said
//	mode MODE FILE            checks a file's permissions
//	empty FOLDER              checks that nothing is in a folder
//	freeaddr NAME             sets the variable to a free address on loopback
//	waitready URL             waits until the server there says that it is ready
//	operatorenv FOLDER        exports the operator's credential of a data folder
//
// and the condition [root].
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"), RequireExplicitExec: true, RequireUniqueNames: true,
		Condition: func(cond string) (bool, error) {
			if cond != "root" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			return os.Geteuid() == 0, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": scriptStatus, "waitfile": scriptWaitFile, "sourceenv": scriptSourceEnv, "sourcesession": scriptSourceSession, "envnames": scriptEnvNames,
			"without": scriptWithout, "quiet": scriptQuiet, "mode": scriptMode, "empty": scriptEmpty,
			"freeaddr": scriptFreeAddr, "waitready": scriptWaitReady, "operatorenv": scriptOperatorEnv,
		},
	})
}

// deadline bounds every wait of these tests; it is reached only if something
// is broken.
const deadline = time.Minute

func need(ts *testscript.TestScript, neg bool, args []string, least int, usage string) {
	if neg || len(args) < least {
		ts.Fatalf("usage: %s", usage)
	}
}

func scriptStatus(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "status N program [args]")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func scriptWaitFile(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "waitfile FILE")
	ts.Check(waitFile(ts.MkAbs(args[0]), nil))
}

// waitFile waits until the file is there, or gone is closed.
func waitFile(path string, gone <-chan struct{}) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(deadline)
	for {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-tick.C:
		case <-gone:
			return errors.New("the program ended before it was ready")
		case <-end:
			return fmt.Errorf("%s did not appear within %v", path, deadline)
		}
	}
}

var exportLine = regexp.MustCompile(`^export ([A-Z0-9_]+)='(.*)'$`)

// parseEnv reads an env file, strictly.
func parseEnv(text string) (names []string, values map[string]string, err error) {
	values = map[string]string{}
	for line := range strings.Lines(text) {
		m := exportLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			return nil, nil, fmt.Errorf("a line of %d bytes is no export of one quoted value", len(line))
		}
		if _, twice := values[m[1]]; twice {
			return nil, nil, fmt.Errorf("%s is exported twice", m[1])
		}
		names = append(names, m[1])
		values[m[1]] = strings.ReplaceAll(m[2], `'\''`, "'")
	}
	return names, values, nil
}

func scriptSourceEnv(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "sourceenv FILE")
	_, values, err := parseEnv(ts.ReadFile(args[0]))
	ts.Check(err)
	for name, value := range values {
		ts.Setenv(name, value)
	}
}

func scriptSourceSession(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "sourcesession FILE")
	var out struct {
		Credentials struct{ AccessKeyId, AccessKeySecret, SecurityToken string }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &out))
	ts.Setenv("SESAME_ACCESS_KEY_ID", out.Credentials.AccessKeyId)
	ts.Setenv("SESAME_ACCESS_KEY_SECRET", out.Credentials.AccessKeySecret)
	ts.Setenv("SESAME_SECURITY_TOKEN", out.Credentials.SecurityToken)
}

func scriptEnvNames(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "envnames FILE OUT")
	names, _, err := parseEnv(ts.ReadFile(args[0]))
	ts.Check(err)
	slices.Sort(names)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(strings.Join(names, "\n")+"\n"), 0o600))
}

func scriptWithout(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 3, "without REGEXP FILE OUT")
	drop, err := regexp.Compile(args[0])
	ts.Check(err)
	var out strings.Builder
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		if !drop.MatchString(line) {
			out.WriteString(line)
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(out.String()), 0o600))
}

func scriptQuiet(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 0, "quiet")
	if text := said(ts.ReadFile("stderr")); text != "" {
		ts.Fatalf("there is something on standard error: %s", text)
	}
}

// said is standard error without the warnings of etcd, which finds busy
// machines slow.
func said(stderr string) string {
	var out strings.Builder
	for line := range strings.Lines(stderr) {
		if !strings.Contains(line, `"level":"WARN"`) || !strings.Contains(line, `"component":"etcd"`) {
			out.WriteString(line)
		}
	}
	return out.String()
}

func scriptMode(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "mode MODE FILE")
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

func scriptEmpty(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "empty FOLDER")
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	for _, e := range entries {
		ts.Fatalf("%s is not empty: %s", args[0], e.Name())
	}
}

func scriptFreeAddr(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "freeaddr NAME")
	addr, err := freeAddr()
	ts.Check(err)
	ts.Setenv(args[0], addr)
}

// freeAddr is an address on loopback that nobody listened on a moment ago.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func scriptWaitReady(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "waitready URL")
	ts.Check(waitReady(args[0], nil))
}

// waitReady waits until the server says that it is ready, or gone is closed.
func waitReady(url string, gone <-chan struct{}) error {
	hc := &http.Client{Timeout: deadline, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer hc.CloseIdleConnections()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(deadline)
	for {
		if resp, err := hc.Get(url + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-gone:
			return errors.New("the program ended before it was ready")
		case <-end:
			return fmt.Errorf("%s was not ready within %v", url, deadline)
		}
	}
}

func scriptOperatorEnv(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "operatorenv FOLDER")
	var c struct{ AccessKeyID, AccessKeySecret string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(filepath.Join(args[0], "operator.json"))), &c))
	ts.Setenv("SESAME_OPERATOR_ACCESS_KEY_ID", c.AccessKeyID)
	ts.Setenv("SESAME_OPERATOR_ACCESS_KEY_SECRET", c.AccessKeySecret)
}
