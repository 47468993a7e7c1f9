package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/etcdnode"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/sesametest"
)

// TestNewerFormat lets a server of today meet data of a newer release: it is
// refused in one sentence, which does not depend on anything else in the record
// being as today.
func TestNewerFormat(t *testing.T) {
	dir := t.TempDir()
	srv, err := sesametest.Open(sesametest.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"leastReader", "leastWriter"} {
		var old []byte
		changeMeta(t, dir, func(value []byte) []byte {
			old = value
			head, body, _ := bytes.Cut(value, []byte("\n"))
			var meta map[string]any
			if err := json.Unmarshal(body, &meta); err != nil {
				t.Fatal(err)
			}
			if _, ok := meta[field]; !ok {
				t.Fatalf("the format record has no %s", field)
			}
			meta["format"], meta[field], meta["region"] = 1000, 1000, "mars-1"
			body, err = json.Marshal(meta)
			if err != nil {
				t.Fatal(err)
			}
			return bytes.Join([][]byte{head, body}, []byte("\n"))
		})
		srv, err := sesametest.Open(sesametest.Options{Dir: dir, Region: "cn-hangzhou"})
		if err == nil {
			t.Errorf("%s: the server starts on data of a newer release", field)
			if err := srv.Stop(); err != nil {
				t.Error(err)
			}
		} else if text := err.Error(); !strings.Contains(text, "the data has format 1000, which this release (format ") || strings.Contains(text, "\n") {
			t.Errorf("%s: the refusal is %q", field, text)
		}
		changeMeta(t, dir, func([]byte) []byte { return old })
	}
	srv, err = sesametest.Open(sesametest.Options{Dir: dir})
	if err != nil {
		t.Fatalf("with its own format record back: %v", err)
	}
	if err := srv.Stop(); err != nil {
		t.Error(err)
	}
}

// changeMeta rewrites the format record of a data folder that no server uses.
func changeMeta(t *testing.T, dir string, change func(value []byte) []byte) {
	t.Helper()
	ctx := context.Background()
	node, err := etcdnode.Start(ctx, etcdnode.Config{Dir: dir, FastTicks: true})
	if err != nil {
		t.Fatal(err)
	}
	key := store.Prefix + "meta"
	resp, err := node.Client().Get(ctx, key)
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("the format record: %d records, %v", len(resp.Kvs), err)
	}
	if _, err := node.Client().Put(ctx, key, string(change(bytes.Clone(resp.Kvs[0].Value)))); err != nil {
		t.Fatal(err)
	}
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
}
