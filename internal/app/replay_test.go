package app_test

import (
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// TestReplayAfterRestart: a request that was answered is not answered again by
// the server's next life, neither a read nor a change, and one whose answer was
// a fault of the server may be sent again.
func TestReplayAfterRestart(t *testing.T) {
	dir, at := t.TempDir(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	life := func() *door { return start(t, sesametest.Options{Dir: dir, Time: at}) }
	first := life()
	acct := first.NewAccount(t)
	create := wire{v1: true, cred: acct.Root, product: "kms", action: "CreateSecret", nonce: "nonce-of-a-change",
		query: []pair{{"SecretName", "s"}, {"VersionId", "v1"}, {"SecretData", "x"}}}
	read := wire{v1: true, cred: acct.Root, product: "kms", action: "GetSecretValue", nonce: "nonce-of-a-read", query: []pair{{"SecretName", "s"}}}
	first.send(t, create).ok(t)
	first.send(t, read).ok(t)
	first.send(t, create).refused(t, 400, "SignatureNonceUsed")
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}

	second := life()
	second.send(t, create).refused(t, 400, "SignatureNonceUsed")
	second.send(t, read).refused(t, 400, "SignatureNonceUsed")
	fresh := read
	fresh.nonce = "another"
	second.send(t, fresh).ok(t)
	// Past the window the time alone refuses it.
	old := read
	old.date = at.Format("2006-01-02T15:04:05Z")
	second.SetTime(at.Add(15*time.Minute + time.Second))
	second.send(t, old).refused(t, 400, "InvalidTimeStamp.Expired")
}
