package main

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/client"
)

var kills = flag.Int("kills", 3, "how often TestKill kills the server")

// TestKill kills the server right after it confirmed a change, while others are
// on their way, and starts it again on the same data: everything that was ever
// confirmed is there.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	n := *kills
	if testing.Short() {
		n = min(n, 2)
	}
	w := &writers{confirmed: map[string]string{}}
	account := ""
	for round := range n + 1 {
		p := startDev(t, dir)
		if account == "" {
			account = p.vars["SESAME_ACCOUNT_ID"]
		}
		if got := p.vars["SESAME_ACCOUNT_ID"]; got != account {
			t.Fatalf("round %d: the account is %s, it was %s", round, got, account)
		}
		root := p.as(t, "SESAME_ROOT")
		for name, want := range w.confirmed {
			if value(t, root, name) != want {
				t.Errorf("round %d: %s has another value than was confirmed", round, name)
			}
		}
		if round == n {
			p.stop(t)
			break
		}
		w.run(t, p, root, round, 5+rand.IntN(20))
	}
	if len(w.confirmed) < 5*n {
		t.Errorf("only %d writes were confirmed", len(w.confirmed))
	}
}

// writers write secrets until the server is killed under them.
type writers struct {
	mu        sync.Mutex
	confirmed map[string]string // secret name to its value
}

// run lets four clients write, and kills the server the moment the given number
// of writes is confirmed.
func (w *writers) run(t *testing.T, p *process, root *client.Client, round, least int) {
	t.Helper()
	end := len(w.confirmed) + least
	killed := false
	var wg sync.WaitGroup
	for id := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				name, val := fmt.Sprintf("s-%d-%d-%d", round, id, i), fmt.Sprintf("value %d %d %d", round, id, i)
				params := map[string]string{"SecretName": name, "VersionId": "v1", "SecretData": val}
				err := root.Call(t.Context(), "kms", "CreateSecret", params, nil)
				w.mu.Lock()
				switch {
				case err == nil:
					w.confirmed[name] = val
				case !killed:
					t.Errorf("a write failed before the server was killed: %v", err)
				}
				if len(w.confirmed) == end && !killed {
					killed = true
					_ = p.cmd.Process.Kill()
				}
				w.mu.Unlock()
				if err != nil {
					return // what became of this one is unknown
				}
			}
		})
	}
	wg.Wait()
	p.wait(t)
}

// TestKillFirstStart kills the very first start at several points; the next one
// completes it, or says in a sentence that a credential, which the server shows
// only once, is lost with the start that asked for it.
func TestKillFirstStart(t *testing.T) {
	t.Parallel()
	marks := []string{"keys/epoch-1.key", "etcd", "operator.json", "keyring.id", "ca.pem", "dev.json"}
	if testing.Short() {
		marks = []string{"keys/epoch-1.key", "operator.json"}
	}
	for _, mark := range marks {
		t.Run(mark, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			p := launch(t, "--data", dir)
			if err := waitFile(filepath.Join(dir, mark), p.gone); err != nil {
				t.Fatal(err)
			}
			p.end(t, syscall.SIGKILL)

			env := filepath.Join(t.TempDir(), "env")
			p = launch(t, "--data", dir, "--env-file", env)
			if err := waitFile(env, p.gone); err == nil {
				p.stop(t)
				return
			}
			p.wait(t)
			if line := said(p.stderr.String()); !strings.Contains(line, "its credential is not on file") || strings.Count(line, "\n") != 1 {
				t.Errorf("the start after one that was killed at %s: %s", mark, line)
			}
		})
	}
}

// TestKeys takes away, swaps and damages the keys of a data folder. Each is
// refused in one sentence before anything is touched, the database included.
func TestKeys(t *testing.T) {
	t.Parallel()
	other := keptData(t, 1)
	key := func(dir, name string) string { return filepath.Join(dir, "keys", name) }
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		want  string
	}{
		{"no root key", func(t *testing.T, dir string) { remove(t, key(dir, "root.key")) },
			`/keys/root\.key is missing: without the root key nothing that was stored can be read; put it back`},
		{"no keys folder", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "keys")) },
			`/keys/root\.key is missing: without the root key`},
		{"no keys, no database", func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "keys"))
			remove(t, filepath.Join(dir, "etcd"))
		}, `/keys/root\.key is missing: without the root key`},
		{"another server's root key", func(t *testing.T, dir string) { overwrite(t, key(other, "root.key"), key(dir, "root.key")) },
			`/keys/root\.key is the wrong root key: it is \S+, and \S+/epoch-1\.key was wrapped under `},
		{"root key open to others", func(t *testing.T, dir string) { check(t, os.Chmod(key(dir, "root.key"), 0o644)) },
			`/keys/root\.key is open to others than its owner \(mode 0644\): chmod 600 it`},
		{"damaged root key", func(t *testing.T, dir string) { flip(t, key(dir, "root.key"), -10) },
			`/keys/root\.key is damaged: `},
		{"no epoch key", func(t *testing.T, dir string) { remove(t, key(dir, "epoch-1.key")) },
			`/keys/epoch-1\.key is missing beside the root key: put it back from a copy`},
		{"damaged epoch key", func(t *testing.T, dir string) { flip(t, key(dir, "epoch-1.key"), -60) },
			`/keys/epoch-1\.key is damaged: `},
		{"another server's keys folder", func(t *testing.T, dir string) {
			overwrite(t, key(other, "root.key"), key(dir, "root.key"))
			overwrite(t, key(other, "epoch-1.key"), key(dir, "epoch-1.key"))
		}, `the keys in \S+/keys are not those of the database in \S+/etcd: they are another server's; put the right ones back`},
		{"no database", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "etcd")) },
			`/etcd is missing, though the server has been used: put the database back from a copy`},
		{"damaged keyring name", func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "keyring.id"), 3) },
			`/keyring\.id is damaged: `},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := keptData(t, 0)
			tt.spoil(t, dir)
			before := fingerprint(t, dir)
			for _, command := range []string{"dev", "server"} {
				line := refusal(t, launchAs(t, command, "--listen", "127.0.0.1:0", "--data", dir))
				if !regexp.MustCompile(`^sesame: .*` + tt.want).MatchString(line) {
					t.Errorf("sesame %s says %q, want %s", command, line, tt.want)
				}
				untouched(t, dir, before)
			}
		})
	}
}

// TestKeysOfOthersWithoutName shows that the file which names the keyring is
// not what protects: without it the records refuse another server's keys. With
// the right keys it is made again.
func TestKeysOfOthersWithoutName(t *testing.T) {
	t.Parallel()
	dir, other := keptData(t, 0), keptData(t, 1)
	remove(t, filepath.Join(dir, "keyring.id"))
	right, wrong := filepath.Join(dir, "keys"), filepath.Join(other, "keys")
	aside := filepath.Join(t.TempDir(), "keys")
	check(t, os.Rename(right, aside))
	check(t, os.Rename(wrong, right))
	if line := mustRefuse(t, "--data", dir); !strings.Contains(line, "does not open") {
		t.Errorf("it says %q, want that the keyring does not open", line)
	}
	if _, err := os.Stat(filepath.Join(dir, "keyring.id")); err == nil {
		t.Error("wrong keys were put on file as the right ones")
	}
	check(t, os.Rename(right, wrong))
	check(t, os.Rename(aside, right))
	p := startDev(t, dir)
	if value(t, p.as(t, "ALIBABA_CLOUD"), "bailian!demo-api-key") != "sk-demo-0123456789abcdef" {
		t.Error("the value is another one")
	}
	p.stop(t)
	if _, err := os.Stat(filepath.Join(dir, "keyring.id")); err != nil {
		t.Error(err)
	}
}

// TestAuditTail damages the end of the audit log, as a crash in the middle of a
// write does. The next start repairs it and says so; the one after has nothing
// to say.
func TestAuditTail(t *testing.T) {
	t.Parallel()
	for i, tt := range []struct {
		name  string
		spoil func(t *testing.T, segment string, end int64)
	}{
		{"garbled", func(t *testing.T, segment string, end int64) { flip(t, segment, end-1) }},
		{"half a frame more", func(t *testing.T, segment string, end int64) {
			writeAt(t, segment, end, bytes.Repeat([]byte{0x5e}, 41))
		}},
		{"cut", func(t *testing.T, segment string, end int64) { check(t, os.Truncate(segment, end-7)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if i > 0 && testing.Short() {
				t.Skip("-short tries one kind of damage")
			}
			dir := keptData(t, 0)
			segment, end := lastSegment(t, dir)
			tt.spoil(t, segment, end)

			p := startDev(t, dir)
			p.stop(t)
			log := p.stderr.String()
			if !strings.Contains(log, `"msg":"audit log repaired: its end was cut","segment":"`+filepath.Base(segment)+`"`) {
				t.Errorf("the log does not say that %s was repaired: %s", filepath.Base(segment), log)
			}
			if strings.Contains(log, `"damaged":true`) {
				t.Errorf("a crash was taken for damage: %s", log)
			}
			// The records of this start follow the repaired end.
			if !strings.Contains(p.stdout.String(), " DeleteSecret    root ") {
				t.Errorf("the records of this start cannot be read:\n%s", p.stdout.String())
			}
			p = startDev(t, dir)
			p.stop(t)
			if text := said(p.stderr.String()); text != "" {
				t.Errorf("the second start has something to say: %s", text)
			}
		})
	}
}

// lastSegment returns the audit segment in use and the end of its last frame.
func lastSegment(t *testing.T, dir string) (path string, end int64) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "audit", "audit-*.seg"))
	check(t, err)
	for _, s := range segments { // in the order of their numbers
		b, err := os.ReadFile(s)
		check(t, err)
		if n := len(bytes.TrimRight(b, "\x00")); n > 0 {
			path, end = s, int64(n)
		}
	}
	if path == "" {
		t.Fatalf("no segment is in use among %q", segments)
	}
	return path, end
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	check(t, os.RemoveAll(path))
}

func overwrite(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	check(t, err)
	check(t, os.WriteFile(to, b, 0o600))
}

// flip changes the byte at an offset; a negative one counts from the end.
func flip(t *testing.T, path string, offset int64) {
	t.Helper()
	f, err := os.Open(path)
	check(t, err)
	defer f.Close()
	if offset < 0 {
		info, err := f.Stat()
		check(t, err)
		offset += info.Size()
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, offset)
	check(t, err)
	writeAt(t, path, offset, []byte{b[0] ^ 0x15})
}

func writeAt(t *testing.T, path string, offset int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	check(t, err)
	_, err = f.WriteAt(b, offset)
	check(t, err)
	check(t, f.Close())
}
