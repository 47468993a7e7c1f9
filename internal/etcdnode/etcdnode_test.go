package etcdnode_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/internal/etcdnode"
)

// start starts a node; the test closes it.
func start(t *testing.T, dir string, l *slog.Logger) *etcdnode.Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	n, err := etcdnode.Start(ctx, etcdnode.Config{Dir: dir, FastTicks: true, Logger: l})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return n
}

func TestRestartKeepsData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	n := start(t, dir, nil)
	ctx := t.Context()
	if !n.SingleVoter() {
		t.Error("SingleVoter = false in a new single member")
	}
	if _, err := n.Client().Put(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if n.SingleVoter() {
		t.Error("SingleVoter = true after Close")
	}
	n = start(t, dir, nil)
	resp, err := n.Client().Get(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != "v" {
		t.Errorf("after restart: got %v", resp.Kvs)
	}
	if !n.SingleVoter() {
		t.Error("SingleVoter = false after restart")
	}
}

func TestSecondStartIsRefused(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, nil)
	_, err := etcdnode.Start(t.Context(), etcdnode.Config{Dir: dir, FastTicks: true})
	if !errors.Is(err, etcdnode.ErrInUse) {
		t.Fatalf("Start = %v, want ErrInUse", err)
	}
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("%q does not name the folder", err)
	}
}

func TestStartFailureFreesFolder(t *testing.T) {
	dir := t.TempDir()
	// A file where etcd wants its folder.
	if err := os.WriteFile(filepath.Join(dir, "etcd"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := etcdnode.Start(t.Context(), etcdnode.Config{Dir: dir, FastTicks: true}); err == nil {
		t.Fatal("Start succeeded with a file in the place of etcd's folder")
	}
	if err := os.Remove(filepath.Join(dir, "etcd")); err != nil {
		t.Fatal(err)
	}
	start(t, dir, nil)
}

func TestAddingMemberEndsSingleVoter(t *testing.T) {
	n := start(t, t.TempDir(), nil)
	resp, err := n.Client().MemberAddAsLearner(t.Context(), []string{"http://localhost:1"})
	if n.SingleVoter() {
		t.Errorf("SingleVoter still true after a learner was added: %v, %v", resp, err)
	}
}

// TestNoListener looks at the process's descriptors: the member must be out of
// everybody's reach.
func TestNoListener(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	start(t, t.TempDir(), nil)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err == nil && strings.HasPrefix(to, "socket:") {
			t.Errorf("descriptor %s is a %s", fd.Name(), to)
		}
	}
}

func TestLog(t *testing.T) {
	var mu sync.Mutex
	var buf bytes.Buffer
	w := writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return buf.Write(p)
	})
	dir := t.TempDir()
	text := func() string {
		mu.Lock()
		defer mu.Unlock()
		return buf.String()
	}
	n := start(t, dir, slog.New(slog.NewTextHandler(w, nil)))
	if got := text(); got != "" {
		t.Errorf("an uneventful start must log nothing above debug, got:\n%s", got)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, dir, slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if got := text(); !strings.Contains(got, "component=etcd") || !strings.Contains(got, "starting an etcd server") {
		t.Errorf("etcd's messages are missing at debug level:\n%.500s", got)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestStartGivesUpWithContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("changed my mind")
	cancel(why)
	dir := t.TempDir()
	n, err := etcdnode.Start(ctx, etcdnode.Config{Dir: dir})
	if err == nil { // etcd was ready at once
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	} else if !errors.Is(err, why) {
		t.Fatalf("Start = %v, want the context's cause", err)
	}
	start(t, dir, nil) // the folder is free again
}

// TestUnfinishedFirstStart: what a first start left behind that never became
// ready is made anew; without the mark of such a start nothing is removed.
func TestUnfinishedFirstStart(t *testing.T) {
	dir := t.TempDir()
	junk := filepath.Join(dir, "etcd", "member", "wal", "0000000000000000-0000000000000000.wal")
	if err := os.MkdirAll(filepath.Dir(junk), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	mark := filepath.Join(dir, "STARTING")
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n := start(t, dir, nil)
	if _, err := os.Stat(mark); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the mark is still there when the node is ready: %v", err)
	}
	if _, err := n.Client().Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = start(t, dir, nil)
	if resp, err := n.Client().Get(t.Context(), "k"); err != nil || len(resp.Kvs) != 1 {
		t.Errorf("after another start: %v, %v", resp, err)
	}
}
