package store

import (
	"bytes"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

// FuzzDecodeValue: whatever decodes must encode to the same bytes; everything
// else is refused.
func FuzzDecodeValue(f *testing.F) {
	_, sum, _ := testMAC{}.MAC("k", []byte("{}"))
	good := encodeValue(7, sum[:], []byte(`{"a":1}`))
	f.Add(good)
	f.Add(encodeValue(4294967295, sum[:], nil))
	f.Add([]byte(""))
	f.Add([]byte("s1.7."))
	f.Add([]byte("s1.07." + strings.Repeat("A", 43) + "\n{}"))
	f.Add([]byte("s1.+7." + strings.Repeat("A", 43) + "\n{}"))
	f.Add([]byte("s1.7." + strings.Repeat("A", 42) + "B\n{}"))
	f.Add(bytes.Replace(good, []byte("\n"), nil, 1))
	f.Fuzz(func(t *testing.T, value []byte) {
		version, sum, body, err := decodeValue(value)
		if err != nil {
			return
		}
		if again := encodeValue(version, sum, body); !bytes.Equal(again, value) {
			t.Errorf("%q decodes and encodes to %q", value, again)
		}
	})
}

func TestDecodeValueRefuses(t *testing.T) {
	for _, bad := range []string{
		"", "s1.", "s2.7." + strings.Repeat("A", 43) + "\n", "s1.7." + strings.Repeat("A", 43),
		"s1.-1." + strings.Repeat("A", 43) + "\n", "s1.4294967296." + strings.Repeat("A", 43) + "\n",
		"s1.07." + strings.Repeat("A", 43) + "\n", "s1.7." + strings.Repeat("A", 44) + "\n",
		"s1.7." + strings.Repeat("A", 42) + "=\n", "s1.7." + strings.Repeat("A", 42) + "B\n",
	} {
		if _, _, _, err := decodeValue([]byte(bad)); err == nil {
			t.Errorf("%q was decoded", bad)
		}
	}
}

// FuzzMatch: a path that belongs to a collection is the one its key makes, and
// a key that fits makes a path that belongs to it.
func FuzzMatch(f *testing.F) {
	for _, s := range []string{
		"meta", "ram/1/account", "ram/1/users/u", "ram/1/users/", "ram//users/u", "ram/1/policies/a/b",
		"access-keys/LTAI", "kms/r/1/secrets/bailian!x/y", "kms/r/1/values/id/v1", "kms/r/1/values/id/v/1",
		"outbox/n/r/0000", "keyring/mac/1", "elections/leader", "", "/", "test/a/notes/x", "a/b/c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if c, key := registry.root.match(s); c != nil {
			got := etcdKeyOf(t, c, key)
			if got != Prefix+s {
				t.Errorf("%q matches %s with key %q, which makes %q", s, c.name(), key, got)
			}
		}
		for _, c := range registry.all {
			etcdKey, ok := fill(c, s)
			if !ok {
				continue
			}
			if back, key := registry.root.match(strings.TrimPrefix(etcdKey, Prefix)); back != c || key != s {
				t.Errorf("key %q of %s makes %q, which matches %v with %q", s, c.name(), etcdKey, back, key)
			}
		}
	})
}

type filler interface {
	etcdKey(key string) (string, error)
}

func fill(c collection, key string) (string, bool) {
	k, err := c.(filler).etcdKey(key)
	return k, err == nil
}

func etcdKeyOf(t *testing.T, c collection, key string) string {
	t.Helper()
	k, ok := fill(c, key)
	if !ok {
		t.Fatalf("%q does not fit %s", key, c.name())
	}
	return k
}

func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		c         collection
		key, want string
	}{
		{Users, UserKey("1", "Ann"), "ram/1/users/Ann"},
		{Roles, RoleKey("1", "AliyunServiceRoleForX"), "ram/1/roles/aliyunserviceroleforx"},
		{Policies, PolicyKey("1", "p"), "ram/1/policies/p"},
		{Accounts, AccountKey("1"), "ram/1/account"},
		{Secrets, SecretKey("r", "1", "bailian!a/b"), "kms/r/1/secrets/bailian!a/b"},
		{SecretValues, SecretValueKey("r", "1", "id", "v1"), "kms/r/1/values/id/v1"},
		{ServiceKeys, ServiceKeyKey("r", "1", "k"), "kms/r/1/service-keys/k"},
		{Counters, CounterKey("r", "1", "product/x"), "kms/r/1/counters/product/x"},
		{AccessKeys, "LTAI", "access-keys/LTAI"},
		{Services, "alb.aliyuncs.com", "registry/services/alb.aliyuncs.com"},
		{Metas, MetaKey, "meta"},
	} {
		if got := etcdKeyOf(t, tt.c, tt.key); got != Prefix+tt.want {
			t.Errorf("got %s, want %s%s", got, Prefix, tt.want)
		}
	}
	for _, key := range []string{
		UserKey("1/users/x", "y"), UserKey("", "y"), UserKey("1", ""), SecretKey("r", "1/secrets", "x"),
		SecretKey("r/1", "secrets", "x"), SecretValueKey("r", "1", "i/d", "v"),
	} {
		if key != invalidKey {
			t.Errorf("parts that must not make a key made %q", key)
		}
	}
}

func TestDefineRefuses(t *testing.T) {
	for name, fn := range map[string]func(n *shapeNode){
		"double":        func(n *shapeNode) { n.insert(parseShape("a/*/b"), notes); n.insert(parseShape("a/*/b"), notes) },
		"covered":       func(n *shapeNode) { n.insert(parseShape("a/*/b"), notes); n.insert(parseShape("a/*"), notes) },
		"below":         func(n *shapeNode) { n.insert(parseShape("a/*"), notes); n.insert(parseShape("a/*/b"), notes) },
		"empty segment": func(*shapeNode) { parseShape("a//b") },
		"half a star":   func(*shapeNode) { parseShape("a/b*") },
		"masked field":  func(*shapeNode) { define[masked]("masked/*") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			fn(&shapeNode{})
		}()
	}
}

// masked is a record that would be stored as stars.
type masked struct {
	Next []*masked
	Deep struct{ Value mask.Text }
}
