package etcdnode_test

import (
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/opensesame-kms/opensesame/internal/etcdnode"
)

// TestRaiseRevision: revisions go on above the raised one, for writes, watches
// and compactions, and stay there after further starts.
func TestRaiseRevision(t *testing.T) {
	dir := t.TempDir()
	if err := etcdnode.RaiseRevision(dir, 5); err == nil {
		t.Error("RaiseRevision made a database where none was")
	}
	n := start(t, dir, nil)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	const raised = 3_000_000_000
	if err := etcdnode.RaiseRevision(dir, raised); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	last := int64(raised)
	for range 3 {
		n = start(t, dir, nil)
		watch := n.Client().Watch(ctx, "k", clientv3.WithRev(last+1))
		resp, err := n.Client().Put(ctx, "k", "v")
		if err != nil {
			t.Fatal(err)
		}
		if resp.Header.Revision <= last {
			t.Fatalf("a write got revision %d after %d", resp.Header.Revision, last)
		}
		last = resp.Header.Revision
		if ev := (<-watch).Events; len(ev) != 1 || ev[0].Kv.ModRevision != last {
			t.Errorf("the watch delivered %v", ev)
		}
		got, err := n.Client().Get(ctx, "k", clientv3.WithRev(last))
		if err != nil || len(got.Kvs) != 1 || got.Kvs[0].ModRevision != last {
			t.Fatalf("Get at %d: %v, %v", last, got, err)
		}
		if _, err := n.Client().Compact(ctx, last); err != nil {
			t.Fatal(err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
