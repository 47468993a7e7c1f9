package main

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/client"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// process is a running `sesame dev`.
type process struct {
	// vars are what its env file exports.
	vars           map[string]string
	stdout, stderr bytes.Buffer // whole when gone is closed

	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended
	err  error         // how; set when gone is closed
}

// launch starts `sesame dev` on a free port and does not wait for anything.
func launch(t testing.TB, args ...string) *process {
	t.Helper()
	return launchAs(t, "dev", append([]string{"--listen", "127.0.0.1:0"}, args...)...)
}

// launchAs is launch for any command.
func launchAs(t testing.TB, command string, args ...string) *process {
	t.Helper()
	p := &process{gone: make(chan struct{})}
	p.cmd = exec.Command("sesame", append([]string{command}, args...)...)
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(), "GOCOVERDIR=" + os.Getenv("GOCOVERDIR"), "NOTIFY_SOCKET=" + os.Getenv("NOTIFY_SOCKET")}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.gone)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.gone
	})
	return p
}

// startDev starts `sesame dev` on a data folder and waits until it is ready.
func startDev(t testing.TB, data string, args ...string) *process {
	t.Helper()
	env := filepath.Join(t.TempDir(), "env")
	p := launch(t, append([]string{"--data", data, "--env-file", env}, args...)...)
	if err := waitFile(env, p.gone); err != nil {
		_ = p.cmd.Process.Kill()
		<-p.gone
		t.Fatalf("%v\n%s", err, p.stderr.String())
	}
	text, err := os.ReadFile(env)
	if err == nil {
		_, p.vars, err = parseEnv(string(text))
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// end sends the signal and waits for the end.
func (p *process) end(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	p.wait(t)
}

func (p *process) wait(t testing.TB) {
	t.Helper()
	select {
	case <-p.gone:
	case <-time.After(deadline):
		t.Fatalf("the program did not end within %v", deadline)
	}
}

// stop ends it as Ctrl-C does, which it must take well.
func (p *process) stop(t testing.TB) {
	t.Helper()
	p.end(t, syscall.SIGINT)
	if p.err != nil {
		t.Fatalf("after Ctrl-C: %v\n%s", p.err, p.stderr.String())
	}
}

// mustRefuse starts `sesame dev`, which must end by itself with status 1 and
// one line on standard error, and returns the line.
func mustRefuse(t testing.TB, args ...string) string {
	t.Helper()
	return refusal(t, launch(t, args...))
}

// refusal is mustRefuse for a program that was started.
func refusal(t testing.TB, p *process) string {
	t.Helper()
	p.wait(t)
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v, want exit status 1", p.err)
	}
	if p.stdout.Len() > 0 {
		t.Errorf("it printed: %s", p.stdout.String())
	}
	line, ok := strings.CutSuffix(said(p.stderr.String()), "\n")
	if !ok || strings.Contains(line, "\n") {
		t.Errorf("want one sentence, got: %s", p.stderr.String())
	}
	return line
}

// as returns a client that signs with the access key that the env file exports
// under the prefix.
func (p *process) as(t testing.TB, prefix string, change ...func(*client.Config)) *client.Client {
	t.Helper()
	ca, err := os.ReadFile(p.vars["SESAME_CA_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	cfg := client.Config{
		Endpoint: p.vars["SESAME_ENDPOINT"], CAPEM: ca, Region: p.vars["SESAME_REGION"],
		AccessKeyID: p.vars[prefix+"_ACCESS_KEY_ID"], AccessKeySecret: mask.NewText(p.vars[prefix+"_ACCESS_KEY_SECRET"]),
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// value reads a secret.
func value(t testing.TB, c *client.Client, name string) string {
	t.Helper()
	var out struct{ SecretData string }
	if err := c.Call(t.Context(), "kms", "GetSecretValue", map[string]string{"SecretName": name}, &out); err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return out.SecretData
}

// withKeptData runs the tests and then removes the data folders that they
// shared.
type withKeptData struct{ m *testing.M }

func (k withKeptData) Run() int {
	defer func() {
		for i := range kept {
			_ = os.RemoveAll(kept[i].dir)
		}
	}()
	return k.m.Run()
}

// kept are two data folders that a server has used and left in order.
var kept [2]struct {
	once sync.Once
	dir  string
}

// keptData returns a copy of one of the two data folders that a server has used
// and left in order.
func keptData(t testing.TB, i int) string {
	t.Helper()
	k := &kept[i]
	k.once.Do(func() {
		var err error
		if k.dir, err = os.MkdirTemp("", "sesame-kept-"); err != nil {
			t.Fatal(err)
		}
		startDev(t, filepath.Join(k.dir, "data")).stop(t)
	})
	dir := filepath.Join(t.TempDir(), "data")
	copyTree(t, filepath.Join(k.dir, "data"), dir)
	return dir
}

// copyTree copies a folder. Runs of zeros, of which a data folder has many,
// become holes.
func copyTree(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		return copyFile(path, filepath.Join(to, rel))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode())
	if err != nil {
		return err
	}
	buf, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < info.Size() && err == nil; {
		var n int
		if n, err = in.ReadAt(buf, off); errors.Is(err, io.EOF) {
			err = nil
		}
		if err == nil && !bytes.Equal(buf[:n], zeros[:n]) {
			_, err = out.WriteAt(buf[:n], off)
		}
		off += int64(n)
	}
	return errors.Join(err, out.Truncate(info.Size()), out.Close())
}

var hashSeed = maphash.MakeSeed()

// fingerprint says of every file below a folder what would change if somebody
// touched it.
func fingerprint(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		var h maphash.Hash
		h.SetSeed(hashSeed)
		if info.Mode().IsRegular() {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := io.Copy(&h, f); err != nil {
				return err
			}
		}
		out[path] = fmt.Sprintf("%v %d %v %x", info.Mode(), info.Size(), info.ModTime().UnixNano(), h.Sum64())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// untouched checks that nothing below dir has changed since before.
func untouched(t testing.TB, dir string, before map[string]string) {
	t.Helper()
	if after := fingerprint(t, dir); !maps.Equal(before, after) {
		t.Errorf("the data folder was touched (-before +after):\n%s", cmp.Diff(before, after))
	}
}
