package app_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/opensesame-kms/opensesame/internal/app"
	"github.com/opensesame-kms/opensesame/internal/config"
	"github.com/opensesame-kms/opensesame/internal/etcdnode"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/sesametest"
)

// keyServer is a server whose keys are replaced.
type keyServer struct {
	*door
	dir  string
	stop func()
}

func keyConfig(dir string) config.Config {
	return config.Config{
		DataDir: dir, Listen: "127.0.0.1:0", FastElection: true, Limits: config.Limits{None: true},
		Timeouts: config.Timeouts{Read: 25 * time.Second, Write: 20 * time.Second},
		Audit:    config.Audit{LateAfter: 5 * time.Second, Segment: 1 << 20},
	}
}

// startKeys starts a server on the folder; step may end a rotation.
func startKeys(t *testing.T, dir string, step func(string) error) *keyServer {
	t.Helper()
	return startWith(t, keyConfig(dir), app.Options{RotationStep: step})
}

func startWith(t *testing.T, cfg config.Config, opt app.Options) *keyServer {
	t.Helper()
	a, err := app.Start(t.Context(), cfg, opt)
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := a.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	t.Cleanup(stop)
	id, secret, err := a.Operator()
	if err != nil {
		t.Fatal(err)
	}
	return &keyServer{door: newDoor(&sesametest.Server{
		URL: a.URL(), Host: a.URL()[len("https://"):], CAPEM: a.CAPEM(), Region: a.Region(),
		Operator: cred{AccessKeyID: id, AccessKeySecret: secret.Reveal()},
	}), dir: cfg.DataDir, stop: stop}
}

// keyState is DescribeKeyRotation's answer.
type keyState struct {
	RootKey struct {
		KeyId, Seal string
		OlderKeyIds []string //nolint:revive // the wire's spelling
	}
	Keyring struct {
		Key []struct {
			Purpose       string
			Version       int
			OlderVersions []string
		}
	}
	Rotations struct {
		Rotation []struct {
			Kind, State, Phase, Note string
			Done, Total, Failed      int
			FailedRecords, KeptKeys  []string
			StartDate, FinishDate    string
			RotationId               string
		}
	}
}

func (d *keyServer) keys(t testing.TB) keyState {
	t.Helper()
	var st keyState
	d.api(t, d.Operator, "opensesame", "DescribeKeyRotation", nil).ok(t, &st)
	return st
}

// finished waits until no rotation is running.
func (d *keyServer) finished(t testing.TB) keyState {
	t.Helper()
	end := time.After(time.Minute)
	for {
		st := d.keys(t)
		running := false
		for _, r := range st.Rotations.Rotation {
			running = running || r.State == "Running"
		}
		if !running {
			return st
		}
		select {
		case <-end:
			t.Fatalf("the rotation does not end: %+v", st.Rotations)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// versions is the keyring as text.
func (st keyState) versions() string {
	var out []string
	for _, k := range st.Keyring.Key {
		out = append(out, fmt.Sprintf("%s/%d%v", k.Purpose, k.Version, k.OlderVersions))
	}
	return strings.Join(out, " ")
}

const (
	ringBefore = "mac/1[] token/1[] access-key/1[] wrap/1[]"
	ringAfter  = "mac/2[] token/2[token/1] access-key/2[] wrap/2[]"
)

var errStop = errors.New("stopped by the test")

// stopAt ends every attempt at the step of that name and closes reached the
// first time.
func stopAt(name string) (step func(string) error, reached <-chan struct{}) {
	c := make(chan struct{})
	once := sync.OnceFunc(func() { close(c) })
	return func(what string) error {
		if what != name {
			return nil
		}
		once()
		return errStop
	}, c
}

// wait waits for reached.
func wait(t *testing.T, reached <-chan struct{}) {
	t.Helper()
	select {
	case <-reached:
	case <-time.After(time.Minute):
		t.Fatal("the step was not reached")
	}
}

func TestRotateRootKey(t *testing.T) {
	t.Parallel()
	for _, n := range []string{"root", "root done", ""} { // before the files, after them, not interrupted
		step, reached := stopAt(n)
		d := startKeys(t, t.TempDir(), step)
		acct := d.NewAccount(t)
		d.create(t, acct.Root, "a", "hush")
		before := d.keys(t)
		epochBefore := readFile(t, filepath.Join(d.dir, "keys", "epoch-1.key"))
		d.api(t, d.Operator, "opensesame", "RotateRootKey", nil).ok(t)
		if n != "" {
			wait(t, reached)
		} else {
			d.finished(t)
		}
		d.stop()

		d = startKeys(t, d.dir, nil)
		st := d.finished(t)
		if st.RootKey.KeyId == before.RootKey.KeyId || !slices.Equal(st.RootKey.OlderKeyIds, []string{before.RootKey.KeyId}) || st.RootKey.Seal != "file" {
			t.Fatalf("stopped at %q: after the rotation: %+v", n, st.RootKey)
		}
		d.api(t, d.Operator, "opensesame", "RotateRootKey", p{"ForgetOld": "true"}).ok(t)
		forgot := d.finished(t)
		if forgot.RootKey.KeyId != st.RootKey.KeyId || len(forgot.RootKey.OlderKeyIds) != 0 {
			t.Fatalf("after forgetting: %+v", forgot.RootKey)
		}
		d.api(t, d.Operator, "opensesame", "RotateRootKey", p{"ForgetOld": "true"}).refused(t, 400, "Rejected.UnsupportedOperation")
		d.stop()

		d = startKeys(t, d.dir, nil)
		if got := d.value(t, acct.Root, "a"); got != "hush" {
			t.Error("the value is another one")
		}
		d.stop()
		// The older epoch file is worth nothing beside the new root key.
		if err := os.WriteFile(filepath.Join(d.dir, "keys", "epoch-1.key"), epochBefore, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := app.Start(t.Context(), keyConfig(d.dir), app.Options{}); err == nil || !strings.Contains(err.Error(), "is the wrong root key") {
			t.Errorf("an epoch file under a forgotten root key: %v", err)
		}
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKeyOperationsAreTheOperators(t *testing.T) {
	t.Parallel()
	acct := shared.NewAccount(t)
	for _, op := range []string{"DescribeKeyRotation", "RotateKeyring", "RotateRootKey"} {
		shared.api(t, acct.Root, "opensesame", op, nil).refused(t, 403, "Forbidden.NoPermission")
	}
}

// TestRotateKeyringInterrupted ends the rotation at each of its steps and
// starts the server anew, which carries it on.
func TestRotateKeyringInterrupted(t *testing.T) {
	t.Parallel()
	for _, n := range []string{"AccessKeys", "ServiceKeys", "Records", "drop"} {
		step, reached := stopAt(n)
		d := startKeys(t, t.TempDir(), step)
		acct := d.NewAccount(t)
		user := acct.NewUser(t, "u", allow("*", "kms:*"))
		d.create(t, acct.Root, "a", "hush")
		if got := d.keys(t).versions(); got != ringBefore {
			t.Fatalf("before: %s", got)
		}
		d.api(t, d.Operator, "opensesame", "RotateKeyring", nil).ok(t)
		wait(t, reached)
		// Asked for again, it is the same rotation.
		d.api(t, d.Operator, "opensesame", "RotateKeyring", nil).ok(t)
		if got := d.keys(t).versions(); !strings.Contains(got, "mac/2[mac/1]") {
			t.Errorf("step %s: in between: %s", n, got)
		}
		d.create(t, user, "b", "in between")
		d.stop()

		d = startKeys(t, d.dir, nil)
		st := d.finished(t)
		if got := st.versions(); got != ringAfter {
			t.Errorf("step %s: after: %s", n, got)
		}
		r := st.Rotations.Rotation[0]
		if r.Kind != "keyring" || r.Failed != 0 || r.Done != r.Total || r.Done < 20 {
			t.Errorf("step %s: %+v", n, r)
		}
		d.stop()

		// Nothing is left that only the old keys open.
		d = startKeys(t, d.dir, nil)
		if d.value(t, user, "a") != "hush" || d.value(t, acct.Root, "b") != "in between" {
			t.Error("a value is another one")
		}
		d.stop()
		if n == "drop" {
			onlyNewMACs(t, d.dir)
		}
	}
}

// onlyNewMACs looks into the database of a stopped server.
func onlyNewMACs(t *testing.T, dir string) {
	t.Helper()
	inDatabase(t, dir, func(ctx context.Context, c *clientv3.Client) {
		resp, err := c.Get(ctx, "/sesame/", clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range resp.Kvs {
			if !strings.HasPrefix(string(kv.Key), "/sesame/v1/keyring/") && !strings.HasPrefix(string(kv.Value), "s1.2.") {
				t.Errorf("%s is signed %.5s", kv.Key, kv.Value)
			}
			if strings.HasPrefix(string(kv.Key), "/sesame/v1/keyring/mac/1") {
				t.Error("the old MAC key is there")
			}
		}
	})
}

// inDatabase opens the database of a stopped server.
func inDatabase(t *testing.T, dir string, f func(ctx context.Context, c *clientv3.Client)) {
	t.Helper()
	n, err := etcdnode.Start(t.Context(), etcdnode.Config{Dir: dir, FastTicks: true})
	if err != nil {
		t.Fatal(err)
	}
	f(t.Context(), n.Client())
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRotateKeyringUnderLoad: readers and writers notice nothing of two
// rotations in a row, and sessions go on.
func TestRotateKeyringUnderLoad(t *testing.T) {
	t.Parallel()
	d := startKeys(t, t.TempDir(), nil)
	acct := d.NewAccount(t)
	for i := range 120 { // more than a batch
		d.create(t, acct.Root, fmt.Sprintf("s%d", i), fmt.Sprintf("value %d", i))
	}
	session := d.adminSession(t, acct)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var reads, writes atomic.Int64
	for w := range 3 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				n := (i*7 + w) % 120
				if got := d.value(t, session, fmt.Sprintf("s%d", n)); got != fmt.Sprintf("value %d", n) {
					t.Errorf("s%d has another value", n)
				}
				reads.Add(1)
			}
		})
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				other := d.NewAccount(t)
				d.create(t, other.Root, "x", "new")
				if d.value(t, other.Root, "x") != "new" {
					t.Error("a new secret has another value")
				}
				writes.Add(1)
			}
		})
	}
	for range 2 {
		d.api(t, d.Operator, "opensesame", "RotateKeyring", nil).ok(t)
		d.finished(t)
	}
	cancel()
	wg.Wait()
	if got := d.keys(t).versions(); got != "mac/3[] token/3[token/1 token/2] access-key/3[] wrap/3[]" {
		t.Errorf("after two rotations: %s", got)
	}
	t.Logf("%d reads, %d writes", reads.Load(), writes.Load())
	d.stop()
	d = startKeys(t, d.dir, nil)
	for i := range 120 {
		if d.value(t, session, fmt.Sprintf("s%d", i)) != fmt.Sprintf("value %d", i) {
			t.Errorf("s%d has another value", i)
		}
	}
}

// TestRotateKeyringPastDamage: a record that somebody changed is named, keeps
// the old keys alive and nothing else.
func TestRotateKeyringPastDamage(t *testing.T) {
	t.Parallel()
	d := startKeys(t, t.TempDir(), nil)
	acct := d.NewAccount(t)
	acct.NewUser(t, "victim", allow("*", "kms:*"))
	d.create(t, acct.Root, "a", "hush")
	d.stop()
	var key string
	var good []byte
	put := func(value []byte) {
		inDatabase(t, d.dir, func(ctx context.Context, c *clientv3.Client) {
			resp, err := c.Get(ctx, "/sesame/v1/ram/", clientv3.WithPrefix())
			if err != nil {
				t.Fatal(err)
			}
			for _, kv := range resp.Kvs {
				if strings.HasSuffix(string(kv.Key), "/users/victim") {
					key = string(kv.Key)
					if good == nil {
						good = slices.Clone(kv.Value)
						value = slices.Clone(kv.Value)
						value[len(value)-3] ^= 1
					}
				}
			}
			if _, err := c.Put(ctx, key, string(value)); err != nil {
				t.Fatal(err)
			}
		})
	}
	put(nil)

	d = startKeys(t, d.dir, nil)
	d.api(t, d.Operator, "opensesame", "RotateKeyring", nil).ok(t)
	st := d.finished(t)
	r := st.Rotations.Rotation[0]
	if r.Failed != 1 || !slices.Equal(r.FailedRecords, []string{key}) || !slices.Contains(r.KeptKeys, "mac/1") ||
		!strings.Contains(r.Note, "kept because of them") || r.Done != r.Total-1 {
		t.Errorf("the damage is not told: %+v", r)
	}
	if got := st.versions(); !strings.Contains(got, "mac/2[mac/1]") {
		t.Errorf("the old MAC key is gone: %s", got)
	}
	if d.value(t, acct.Root, "a") != "hush" {
		t.Error("another value")
	}
	d.stop()

	// Put right, it is carried over by the next rotation, and the old keys go.
	put(good)
	d = startKeys(t, d.dir, nil)
	d.api(t, d.Operator, "opensesame", "RotateKeyring", nil).ok(t)
	if got := d.finished(t).versions(); got != "mac/3[] token/3[token/1 token/2] access-key/3[] wrap/3[]" {
		t.Errorf("after the repair: %s", got)
	}
	d.api(t, acct.Root, "ram", "GetUser", p{"UserName": "victim"}).ok(t)
}

func TestPassphraseSeal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	phrase := func(text string) func() (mask.Bytes, error) {
		return func() (mask.Bytes, error) { return mask.NewBytes([]byte(text)), nil }
	}
	file := filepath.Join(t.TempDir(), "phrase")
	if err := os.WriteFile(file, []byte("correct horse battery staple\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	d := startKeys(t, dir, nil)
	acct := d.NewAccount(t)
	d.create(t, acct.Root, "a", "hush")
	fresh := func() (mask.Bytes, error) { return app.ReadPassphrase(file) }
	if err := app.SetPassphrase(dir, "", nil, fresh); !errors.Is(err, etcdnode.ErrInUse) {
		t.Fatalf("while the server runs: %v", err)
	}
	d.stop()
	cfg := keyConfig(dir)
	cfg.Seal = config.SealPassphrase
	if _, err := app.Start(t.Context(), cfg, app.Options{}); err == nil || !strings.Contains(err.Error(), "set-passphrase") {
		t.Errorf("clear text where a passphrase is demanded: %v", err)
	}
	if err := app.SetPassphrase(dir, "", nil, fresh); err != nil {
		t.Fatal(err)
	}
	for what, ask := range map[string]func() (mask.Bytes, error){"none": nil, "wrong": phrase("correct horse battery stable")} {
		_, err := app.Start(t.Context(), cfg, app.Options{Passphrase: ask})
		if err == nil || !strings.Contains(err.Error(), "passphrase") || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "horse") {
			t.Errorf("%s: %v", what, err)
		}
	}
	cfg.PassphraseFile = file
	d = startWith(t, cfg, app.Options{})
	if d.value(t, acct.Root, "a") != "hush" || d.keys(t).RootKey.Seal != "passphrase" {
		t.Error("another value or seal")
	}
	d.api(t, d.Operator, "opensesame", "RotateRootKey", nil).ok(t)
	if st := d.finished(t); st.RootKey.Seal != "passphrase" || len(st.RootKey.OlderKeyIds) != 1 {
		t.Errorf("after the rotation: %+v", st.RootKey)
	}
	d.stop()
	if strings.Contains(string(readFile(t, filepath.Join(dir, "keys", "root.key"))), "\nkey ") {
		t.Error("the rotation wrote the root key in clear text")
	}
	cfg.PassphraseFile = ""
	d = startWith(t, cfg, app.Options{Passphrase: phrase("correct horse battery staple")})
	if d.value(t, acct.Root, "a") != "hush" {
		t.Error("another value")
	}
	d.stop()
	cfg.Seal = config.SealFile
	if _, err := app.Start(t.Context(), cfg, app.Options{Passphrase: phrase("correct horse battery staple")}); err == nil || !strings.Contains(err.Error(), "asks for clear text") {
		t.Errorf("a passphrase where clear text is demanded: %v", err)
	}
}
