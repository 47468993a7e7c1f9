package app_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// What a child process, which is this test binary again, is told in its
// environment: the data folder and the file to announce itself in.
const (
	linChildData     = "OPENSESAME_TEST_CHILD_DATA"
	linChildAnnounce = "OPENSESAME_TEST_CHILD_ANNOUNCE"
)

// linAnnouncement is what the child writes when it is ready.
type linAnnouncement struct {
	URL        string
	CAPEM      []byte
	KeyID, Key string // the operator's
}

// TestLinearizableChild is no test: it is the server that
// TestLinearizableAcrossCrashes kills. It ends when its standard input does, so
// that it does not outlive its parent.
func TestLinearizableChild(t *testing.T) {
	data, announce := os.Getenv(linChildData), os.Getenv(linChildAnnounce)
	if data == "" {
		t.Skip("is run by TestLinearizableAcrossCrashes, in a process of its own")
	}
	srv := sesametest.Start(t, sesametest.Options{Dir: data})
	b, err := json.Marshal(linAnnouncement{srv.URL, srv.CAPEM, srv.Operator.AccessKeyID, srv.Operator.AccessKeySecret})
	if err == nil {
		err = os.WriteFile(announce+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(announce+".new", announce)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// linChild is a running child.
type linChild struct {
	linAnnouncement
	cmd    *exec.Cmd
	stdin  io.Closer
	output bytes.Buffer  // whole when gone is closed
	gone   chan struct{} // closed when it has ended
}

// startLinChild starts a server on the data folder in a process of its own.
func startLinChild(data, scratch string) (*linChild, error) {
	announce := filepath.Join(scratch, fmt.Sprintf("announce-%d", time.Now().UnixNano()))
	c := &linChild{gone: make(chan struct{})}
	c.cmd = exec.Command(os.Args[0], "-test.run=^TestLinearizableChild$")
	c.cmd.Env = append(os.Environ(), linChildData+"="+data, linChildAnnounce+"="+announce, "TMPDIR="+scratch)
	c.cmd.Stdout, c.cmd.Stderr = &c.output, &c.output
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = c.cmd.Wait() // it is killed
		close(c.gone)
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); ; {
		b, err := os.ReadFile(announce)
		if err == nil {
			return c, json.Unmarshal(b, &c.linAnnouncement)
		}
		select {
		case <-tick.C:
		case <-c.gone:
			return nil, fmt.Errorf("the server ended before it was ready:\n%s", c.output.String())
		case <-end:
			c.kill()
			return nil, fmt.Errorf("the server was not ready in time:\n%s", c.output.String())
		}
	}
}

func (c *linChild) kill() {
	_ = c.cmd.Process.Kill()
	<-c.gone
	_ = c.stdin.Close()
}

// TestLinearizableAcrossCrashes kills the server again and again the moment it
// has confirmed a change, while other requests are on their way, and starts it
// anew on the same data. The clients' history goes on across the crashes and
// must fit one order: nothing confirmed is lost, nothing refused comes true, and
// what got no answer happened once or never.
func TestLinearizableAcrossCrashes(t *testing.T) {
	if earlyAckBuild {
		t.Skip("this build is wrong on purpose: see TestEarlyAck")
	}
	crashes, every := 5, 60
	if testing.Short() {
		crashes, every = 2, 40
	}
	data, scratch := t.TempDir(), t.TempDir()
	child, err := startLinChild(data, scratch)
	if err != nil {
		t.Fatal(err)
	}
	w := &linWorld{}
	w.moveTo(child.URL, child.CAPEM)
	w.setUp(t, cred{AccessKeyID: child.KeyID, AccessKeySecret: child.Key}, 3)

	// The client whose write is the n-th kills, at once; another goroutine
	// starts the next server, for that takes a while.
	var restarts sync.WaitGroup
	var mu sync.Mutex // guards child
	w.onWrite = func(n int) {
		if n%every != 0 || n > crashes*every {
			return
		}
		mu.Lock()
		child.kill()
		restarts.Go(func() {
			defer mu.Unlock()
			next, err := startLinChild(data, scratch)
			if err != nil {
				t.Error(err)
				return
			}
			child = next
			w.moveTo(child.URL, child.CAPEM)
		})
	}
	const tooMany = 10_000 // operations of one client: something is wrong
	w.run(t, 8, func(i int) bool { return i < tooMany && w.confirmed() < (crashes+1)*every }, porcupine.Ok)
	restarts.Wait()
	child.kill()
	if w.writes < (crashes+1)*every {
		t.Errorf("only %d writes were confirmed", w.writes)
	}
	t.Logf("%d operations, %d confirmed writes", len(w.ops), w.writes)
}
