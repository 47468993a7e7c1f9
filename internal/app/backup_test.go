package app_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/internal/app"
	"github.com/opensesame-kms/opensesame/internal/audit/record"
	"github.com/opensesame-kms/opensesame/internal/backup"
	"github.com/opensesame-kms/opensesame/internal/client"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/seal"
	"github.com/opensesame-kms/opensesame/sesametest"
)

// backupStream asks for a backup as c.
func (d *door) backupStream(t testing.TB, c cred, params p) (io.ReadCloser, error) {
	t.Helper()
	cl, err := client.New(client.Config{
		Endpoint: d.URL, CAPEM: d.CAPEM, AccessKeyID: c.AccessKeyID, AccessKeySecret: mask.NewText(c.AccessKeySecret),
		SecurityToken: mask.NewText(c.SecurityToken), Now: d.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return cl.Stream(t.Context(), "opensesame", "Backup", params)
}

// backup makes a backup as the command does.
func (d *door) backup(t testing.TB, withAudit bool) []byte {
	t.Helper()
	s, err := d.backupStream(t, d.Operator, p{"Audit": strconv.FormatBool(withAudit)})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := backup.Copy(&b, s); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// keepRootKey copies a server's root key to a safe place.
func (d *door) keepRootKey(t testing.TB) string {
	t.Helper()
	safe := t.TempDir()
	b, err := os.ReadFile(filepath.Join(d.Dir, "keys", "root.key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(safe, "root.key"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return safe
}

func restore(t testing.TB, b []byte, keys, auditLog string) (dir string, r *app.Restored) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "restored")
	r, err := app.Restore(t.Context(), app.Restoring{Backup: bytes.NewReader(b), DataDir: dir, KeysDir: keys, AuditLog: auditLog})
	if err != nil {
		t.Fatal(err)
	}
	return dir, r
}

func TestBackupAndRestore(t *testing.T) {
	for _, withAudit := range []bool{false, true} {
		t.Run(fmt.Sprintf("audit=%t", withAudit), func(t *testing.T) { backupAndRestore(t, withAudit) })
	}
}

func backupAndRestore(t *testing.T, withAudit bool) {
	d := start(t, sesametest.Options{})
	acct := d.NewAccount(t)
	session := d.adminSession(t, acct)
	user := acct.NewUser(t, "reader", allow("*", "kms:*"))
	managing := d.manage(t, acct, "bailian")
	d.create(t, acct.Root, "own", "own value")
	d.call(t, acct.Root, "PutSecretValue", p{"SecretName": "own", "VersionId": "v2", "SecretData": "newer value"}).ok(t)
	d.create(t, managing, "bailian!app", "product's value")
	d.create(t, acct.Root, "leaving", "x")
	d.call(t, acct.Root, "DeleteSecret", p{"SecretName": "leaving"}).ok(t)
	names := []string{"own", "bailian!app", "leaving"}
	before := d.state(t, user, names...)
	d.call(t, session, "DescribeSecret", p{"SecretName": "own"}).ok(t)

	b := d.backup(t, withAudit)
	keys, oldCA, oldLog := d.keepRootKey(t), d.CAPEM, len(d.Events(t, acct.ID))
	d.create(t, acct.Root, "too-late", "x")
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}

	dir, r := restore(t, b, keys, "")
	if r.Epoch != 1 || r.Revived != nil || r.DamagedCount != 0 || r.Audit != withAudit {
		t.Errorf("restored: %+v", r)
	}
	n := start(t, sesametest.Options{Dir: dir})
	if !bytes.Equal(n.CAPEM, oldCA) || n.Operator != d.Operator {
		t.Error("the restored server has another CA or operator")
	}
	before = strings.ReplaceAll(before, d.Host, n.Host)
	if after := n.state(t, user, names...); after != before {
		t.Errorf("the state changed from\n%s\nto\n%s", before, after)
	}
	n.call(t, acct.Root, "DescribeSecret", p{"SecretName": "too-late"}).refused(t, 404, "Forbidden.ResourceNotFound")

	// Sessions have ended, new ones can be had.
	for _, old := range []cred{session, managing} {
		n.call(t, old, "DescribeSecret", p{"SecretName": "own"}).refused(t, 400, "InvalidSecurityToken.Malformed")
	}
	again := n.Assume(t, d.services[sesametest.Services["bailian"]], fmt.Sprintf("acs:ram::%s:role/aliyunserviceroleforsfmaccesskms", acct.ID))

	// Read-only, for owners and products alike, until the operator confirms.
	why := "restored from a backup of " + r.Backup.UTC().Format(time.RFC3339)
	put := p{"SecretName": "own", "VersionId": "v3", "SecretData": "newest"}
	n.call(t, acct.Root, "PutSecretValue", put).refused(t, 403, "Forbidden.NoPermission", why, "sesame restore confirm")
	n.call(t, again, "PutSecretValue", p{"SecretName": "bailian!app", "VersionId": "v9", "SecretData": "x"}).refused(t, 403, "Forbidden.NoPermission", why)
	n.api(t, acct.Root, "ram", "CreateUser", p{"UserName": "late"}).refused(t, 403, "NoPermission", why)
	n.api(t, acct.Root, "opensesame", "ConfirmRestore", nil).refused(t, 403, "Forbidden.NoPermission")
	n.NewAccount(t) // the operator's own writes
	var out struct {
		Confirmed  bool
		BackupTime string
	}
	n.api(t, n.Operator, "opensesame", "ConfirmRestore", nil).ok(t, &out)
	if !out.Confirmed || out.BackupTime != r.Backup.UTC().Format(time.RFC3339) {
		t.Errorf("ConfirmRestore: %+v", out)
	}
	n.call(t, acct.Root, "PutSecretValue", put).ok(t)
	n.call(t, again, "PutSecretValue", p{"SecretName": "bailian!app", "VersionId": "v9", "SecretData": "x"}).ok(t)
	if got := n.value(t, user, "own"); got != "newest" {
		t.Errorf("own = %q", got)
	}
	n.api(t, n.Operator, "opensesame", "ConfirmRestore", nil).ok(t, &out)
	if out.Confirmed {
		t.Error("ConfirmRestore confirmed twice")
	}
	checkRestoredLog(t, n, acct, withAudit, oldLog, r)

	// The restored server's own backup can be restored in turn.
	_, r2 := restore(t, n.backup(t, true), keys, "")
	if r2.Epoch != 2 || r2.Revision <= r.Revision+1_000_000_000 {
		t.Errorf("restored again: epoch %d, revision %d after %d", r2.Epoch, r2.Revision, r.Revision)
	}
}

// checkRestoredLog: the restore itself is on record, and the old log is there if
// it was in the backup.
func checkRestoredLog(t *testing.T, n *door, acct *sesametest.Account, withAudit bool, oldLog int, r *app.Restored) {
	t.Helper()
	var restores, account int
	for _, rec := range n.log(t) {
		if rec.Operation == "RestoreServer" && rec.Params["BackupRevision"] == fmt.Sprint(r.Revision) {
			restores++
		}
		if rec.VisibleTo(acct.ID) && rec.Operation == "CreateUser" {
			account++
		}
	}
	if restores != 1 {
		t.Errorf("the restore is on record %d times", restores)
	}
	want := 1 // the refused one after the restore
	if withAudit {
		want = 3
	}
	if account != want || oldLog == 0 {
		t.Errorf("%d records of CreateUser, want %d (the log of before had %d records of the account)", account, want, oldLog)
	}
}

// log waits for the records of all changes and returns the audit log.
func (d *door) log(t *testing.T) []*record.Record {
	t.Helper()
	d.Events(t, "")
	return readAudit(t, d.Dir)
}

func TestBackupIsTheOperators(t *testing.T) {
	acct := shared.NewAccount(t)
	for name, c := range map[string]cred{"root": acct.Root, "user": acct.NewUser(t, "all", allow("*", "*")), "service": shared.service(t, "alb")} {
		_, err := shared.backupStream(t, c, nil)
		var e *client.Error
		if !errors.As(err, &e) || e.Status != http.StatusForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	forged := shared.Operator
	forged.AccessKeySecret += "x"
	_, err := shared.backupStream(t, forged, nil)
	var e *client.Error
	if !errors.As(err, &e) || e.Code != "SignatureDoesNotMatch" {
		t.Errorf("forged: %v", err)
	}
}

// TestBackupOnRecord: begin and end of a backup are in the log.
func TestBackupOnRecord(t *testing.T) {
	d := start(t, sesametest.Options{})
	d.backup(t, false)
	var got []string
	for _, rec := range d.log(t) {
		if strings.HasPrefix(rec.Operation, "Backup") {
			got = append(got, rec.Operation)
		}
	}
	if !slices.Equal(got, []string{"Backup", "BackupEnded"}) {
		t.Errorf("on record: %v", got)
	}
}

// TestBackupHoldsNoPlaintext looks for the values themselves.
func TestBackupHoldsNoPlaintext(t *testing.T) {
	d := start(t, sesametest.Options{})
	acct := d.NewAccount(t)
	d.create(t, acct.Root, "a-name-of-a-secret", "a value that must not be seen")
	b := d.backup(t, true)
	for _, text := range []string{"a value that must not be seen", "a-name-of-a-secret", acct.ID, acct.Root.AccessKeyID, d.Operator.AccessKeySecret, "PRIVATE KEY", "kms/cn-hangzhou"} {
		if bytes.Contains(b, []byte(text)) {
			t.Errorf("the backup holds %q", text[:4])
		}
	}
}

// records decrypts a backup and returns the bodies of its records by their keys.
func records(t testing.TB, b []byte, keys string) map[string][]byte {
	t.Helper()
	root, err := seal.OpenRoot(keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Wipe()
	out := map[string][]byte{}
	_, _, err = backup.Read(bytes.NewReader(b), func(h backup.Header) (mask.Bytes, error) {
		return root.BackupKey(h.RootKey, h.WrappedKey)
	}, func(it backup.Item) error {
		if it.Kind == backup.Record {
			_, body, _ := bytes.Cut(it.Data, []byte("\n"))
			out[strings.TrimPrefix(it.Name, "/sesame/v1/")] = bytes.Clone(body)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestBackupIsOneRevision makes backups while products create, change and purge
// secrets. In each backup the counters of the quotas must be the numbers of
// secrets, and every listed version must have its value, and no other.
func TestBackupIsOneRevision(t *testing.T) {
	d := start(t, sesametest.Options{})
	acct := d.NewAccount(t)
	managing := d.manage(t, acct, "bailian")
	keys := d.keepRootKey(t)
	d.fill(t, acct, 1000, 8_000) // many pages of records, too many for the buffers on the way
	stop := make(chan struct{})
	var writers sync.WaitGroup
	var writes atomic.Int64
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprintf("bailian!w%d-%d", w, i%7)
				d.call(t, managing, "CreateSecret", p{"SecretName": name, "VersionId": "v1", "SecretData": "x"}).ok(t)
				d.call(t, managing, "PutSecretValue", p{"SecretName": name, "VersionId": "v2", "SecretData": "y"}).ok(t)
				d.call(t, managing, "DeleteSecret", p{"SecretName": name, "ForceDeleteWithoutRecovery": "true"}).ok(t)
				writes.Add(3)
			}
		})
	}
	sizes := map[int]bool{}
	for range 5 {
		s, err := d.backupStream(t, d.Operator, nil)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		// The state moves on while the backup is under way.
		slow := &pausing{Reader: s, after: 64 << 10, until: func() bool { return false }}
		slow.pause = func() {
			from := writes.Load()
			slow.until = func() bool { return writes.Load() > from+10 || t.Failed() }
		}
		if _, err := backup.Copy(&b, slow); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		sizes[checkOneRevision(t, records(t, b.Bytes(), keys))] = true
	}
	close(stop)
	writers.Wait()
	if len(sizes) < 2 {
		t.Errorf("all backups had the same number of secrets %v: they met no writer", sizes)
	}
}

// pausing stops reading once, until something has happened.
type pausing struct {
	io.Reader
	n, after int
	pause    func()
	until    func() bool
}

func (p *pausing) Read(b []byte) (int, error) {
	if p.n < p.after && p.n+len(b) >= p.after {
		for p.pause(); !p.until(); {
			time.Sleep(time.Millisecond)
		}
	}
	n, err := p.Reader.Read(b)
	p.n += n
	return n, err
}

// fill makes n secrets with values of the size.
func (d *door) fill(t testing.TB, acct *sesametest.Account, n, size int) {
	t.Helper()
	value := strings.Repeat("x", size)
	var g sync.WaitGroup
	var next atomic.Int64
	for range 16 {
		g.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				d.call(t, acct.Root, "CreateSecret", p{"SecretName": fmt.Sprintf("filler-%06d", i), "VersionId": "v1", "SecretData": value}).ok(t)
			}
		})
	}
	g.Wait()
}

func checkOneRevision(t *testing.T, recs map[string][]byte) (owned int) {
	t.Helper()
	values, counted, ofService := map[string]bool{}, 0, 0
	for key := range recs {
		if strings.Contains(key, "/values/") {
			values[key] = true
		}
	}
	for key, body := range recs {
		var c struct{ N int }
		if strings.Contains(key, "/counters/") {
			if err := json.Unmarshal(body, &c); err != nil {
				t.Fatal(err)
			}
		}
		if strings.Contains(key, "/counters/free/") {
			counted += c.N
		}
		if strings.Contains(key, "/counters/service/") {
			ofService += c.N
		}
		if !strings.HasPrefix(key, "kms/") || !strings.Contains(key, "/secrets/") {
			continue
		}
		var s struct {
			SecretID, Account, Region string
			Versions                  []struct{ ID string }
			Owner                     *struct{}
		}
		if err := json.Unmarshal(body, &s); err != nil {
			t.Fatal(err)
		}
		if s.Owner != nil {
			owned++
		}
		for _, v := range s.Versions {
			value := "kms/" + s.Region + "/" + s.Account + "/values/" + s.SecretID + "/" + v.ID
			if !values[value] {
				t.Errorf("the value of version %s of %s is missing", v.ID, key)
			}
			delete(values, value)
		}
	}
	if counted != owned || ofService != owned {
		t.Errorf("the quota counts %d secrets, the service's counter %d, the backup holds %d", counted, ofService, owned)
	}
	for v := range values {
		t.Errorf("the value %s belongs to no version", v)
	}
	return owned
}

// treeOf describes all files below a folder, whose parent need not exist.
func treeOf(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime())
		} else if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRestoreRefuses(t *testing.T) {
	d := start(t, sesametest.Options{})
	acct := d.NewAccount(t)
	d.create(t, acct.Root, "a", "x")
	whole, keys := d.backup(t, true), d.keepRootKey(t)
	otherKeys := start(t, sesametest.Options{}).keepRootKey(t)
	open := t.TempDir()
	if err := os.CopyFS(open, os.DirFS(keys)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(open, "root.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	flipped := func(at int) []byte {
		b := bytes.Clone(whole)
		b[at] ^= 1
		return b
	}
	newer := bytes.Clone(whole)
	newer[8]++
	filled := t.TempDir()
	if err := os.WriteFile(filepath.Join(filled, "notes.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		b         []byte
		keys, dir string
		is        error
		says      string
	}{
		"another root key":   {b: whole, keys: otherKeys, is: seal.ErrWrongRootKey, says: "is the wrong root key: it is file:"},
		"no root key":        {b: whole, keys: t.TempDir(), is: seal.ErrNoRootKey},
		"an open root key":   {b: whole, keys: open, is: seal.ErrPermissions},
		"cut at the seal":    {b: whole[:len(whole)-33], is: backup.ErrTruncated},
		"cut in the middle":  {b: whole[:len(whole)/2], is: backup.ErrTruncated},
		"a byte more":        {b: append(bytes.Clone(whole), 0), is: backup.ErrAltered},
		"a bit in the head":  {b: flipped(20), is: backup.ErrAltered},
		"a bit in a chunk":   {b: flipped(len(whole) / 2), is: backup.ErrAltered},
		"a bit in the seal":  {b: flipped(len(whole) - 1), is: backup.ErrAltered},
		"a newer form":       {b: newer, is: backup.ErrNewer},
		"no backup":          {b: []byte("something else"), is: backup.ErrNotBackup},
		"nothing":            {b: nil, is: backup.ErrNotBackup},
		"a filled target":    {b: whole, dir: filled, says: `is not empty (it holds "notes.txt")`},
		"a target in use":    {b: whole, dir: d.Dir, says: "is not empty"},
		"a target of a file": {b: whole, dir: filepath.Join(filled, "notes.txt"), says: "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.keys == "" {
				tt.keys = keys
			}
			parent := t.TempDir()
			if tt.dir == "" {
				tt.dir = filepath.Join(parent, "new", "data")
			}
			before := treeOf(t, parent) + treeOf(t, filled)
			_, err := app.Restore(t.Context(), app.Restoring{Backup: bytes.NewReader(tt.b), DataDir: tt.dir, KeysDir: tt.keys})
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Restore: %v; want %v, %q", err, tt.is, tt.says)
			}
			if after := treeOf(t, parent) + treeOf(t, filled); after != before {
				t.Errorf("something was touched: before\n%s\nafter\n%s", before, after)
			}
		})
	}
}

// TestRestoreFails: what a failed restore made is gone, and the next one works.
func TestRestoreFails(t *testing.T) {
	d := start(t, sesametest.Options{})
	b, keys := d.backup(t, true), d.keepRootKey(t)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	// The second reading finds the backup changed.
	changing := &changingBackup{Reader: bytes.NewReader(b), second: b[:len(b)-50]}
	_, err := app.Restore(t.Context(), app.Restoring{Backup: changing, DataDir: dir, KeysDir: keys})
	if !errors.Is(err, backup.ErrTruncated) {
		t.Errorf("Restore: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "lost+found" {
		t.Errorf("left: %v, %v", entries, err)
	}
	if _, err := app.Restore(t.Context(), app.Restoring{Backup: bytes.NewReader(b), DataDir: dir, KeysDir: keys}); err != nil {
		t.Fatal(err)
	}
	start(t, sesametest.Options{Dir: dir})
}

type changingBackup struct {
	*bytes.Reader
	second []byte
	seeks  int
}

func (c *changingBackup) Seek(offset int64, whence int) (int64, error) {
	if c.seeks++; c.seeks == 2 {
		c.Reader = bytes.NewReader(c.second)
	}
	return c.Reader.Seek(offset, whence)
}

// TestInterruptedRestore: no server starts on half a restore.
func TestInterruptedRestore(t *testing.T) {
	d := start(t, sesametest.Options{})
	b, keys := d.backup(t, false), d.keepRootKey(t)
	dir, _ := restore(t, b, keys, "")
	if err := os.WriteFile(filepath.Join(dir, "restoring"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := treeOf(t, dir)
	if _, err := sesametest.Open(sesametest.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "a restore into "+dir+" was interrupted") {
		t.Errorf("Open: %v", err)
	}
	if _, err := app.Restore(t.Context(), app.Restoring{Backup: bytes.NewReader(b), DataDir: dir, KeysDir: keys}); err == nil || !strings.Contains(err.Error(), "was interrupted") {
		t.Errorf("Restore: %v", err)
	}
	if after := treeOf(t, dir); after != before {
		t.Errorf("something was touched: before\n%s\nafter\n%s", before, after)
	}
}

// TestRevived: the lost server's log tells what came back to life.
func TestRevived(t *testing.T) {
	d := start(t, sesametest.Options{})
	acct := d.NewAccount(t)
	user := acct.NewUser(t, "leaver", allow("*", "kms:*"))
	acct.NewUser(t, "stayer", allow("*", "kms:*"))
	acct.NewRole(t, "Helper", "", "AliyunKMSReadOnlyAccess")
	managing := d.manage(t, acct, "bailian")
	d.create(t, managing, "bailian!gone", "x")
	for _, name := range []string{"purged", "scheduled", "gone-before", "stays"} {
		d.create(t, acct.Root, name, "x")
	}
	d.call(t, acct.Root, "DeleteSecret", p{"SecretName": "gone-before", "ForceDeleteWithoutRecovery": "true"}).ok(t)

	b, keys := d.backup(t, false), d.keepRootKey(t)
	d.call(t, acct.Root, "DeleteSecret", p{"SecretName": "purged", "ForceDeleteWithoutRecovery": "true"}).ok(t)
	d.call(t, acct.Root, "DeleteSecret", p{"SecretName": "scheduled"}).ok(t)
	d.call(t, managing, "DeleteSecret", p{"SecretName": "bailian!gone", "ForceDeleteWithoutRecovery": "true"}).ok(t)
	d.create(t, acct.Root, "born-later", "x")
	d.call(t, acct.Root, "DeleteSecret", p{"SecretName": "born-later", "ForceDeleteWithoutRecovery": "true"}).ok(t)
	d.call(t, user, "DeleteSecret", p{"SecretName": "no-such"}).refused(t, 404, "Forbidden.ResourceNotFound")
	for _, call := range []struct {
		operation string
		params    p
	}{
		{"DeleteAccessKey", p{"UserName": "leaver", "UserAccessKeyId": user.AccessKeyID}},
		{"DetachPolicyFromUser", p{"UserName": "leaver", "PolicyType": "Custom", "PolicyName": "of-leaver"}},
		{"DetachPolicyFromRole", p{"RoleName": "Helper", "PolicyType": "System", "PolicyName": "AliyunKMSReadOnlyAccess"}},
		{"DeleteUser", p{"UserName": "leaver"}},
	} {
		d.api(t, acct.Root, "ram", call.operation, call.params).ok(t)
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	_, r := restore(t, b, keys, filepath.Join(d.Dir, "audit"))
	if r.Revived == nil {
		t.Fatal("nothing is told")
	}
	names := func(things []app.RevivedThing) (out []string) {
		for _, x := range things {
			if x.Account != acct.ID || x.Who == "" || x.At.IsZero() {
				t.Errorf("incomplete: %+v", x)
			}
			out = append(out, x.Name)
		}
		slices.Sort(out)
		return out
	}
	for _, tt := range []struct {
		what      string
		got, want []string
	}{
		{"access keys", names(r.Revived.AccessKeys), []string{user.AccessKeyID}},
		{"attachments", names(r.Revived.Attachments), []string{"Custom policy of-leaver on user leaver", "System policy AliyunKMSReadOnlyAccess on role Helper"}},
		{"secrets", names(r.Revived.Secrets), []string{"bailian!gone", "purged", "scheduled"}},
		{"other", names(r.Revived.Other), []string{"leaver"}},
	} {
		if !slices.Equal(tt.got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, tt.got, tt.want)
		}
	}
}
