package app_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// fence is a caller who may write, and what takes the permission away.
type fence struct {
	owner, trail *sesametest.Account // whose secrets are written; who withdraws
	writer       cred
	withdraw     func() answer
	status       int // of what is refused from then on
	code         string
}

// fences are the ways to lose a permission that a request in flight may have
// been judged by already. Each call makes accounts of its own.
var fences = map[string]func(t *testing.T) fence{
	"a policy is detached from the user": func(t *testing.T) fence {
		acct := shared.NewAccount(t)
		user := acct.NewUser(t, "u", allow("*", "kms:CreateSecret"))
		return fence{acct, acct, user, func() answer {
			return shared.api(t, acct.Root, "ram", "DetachPolicyFromUser", p{"UserName": "u", "PolicyType": "Custom", "PolicyName": "of-u"})
		}, 403, "Forbidden.NoPermission"}
	},
	"the user's key is deleted": func(t *testing.T) fence {
		acct := shared.NewAccount(t)
		user := acct.NewUser(t, "u", allow("*", "kms:CreateSecret"))
		return fence{acct, acct, user, func() answer {
			return shared.api(t, acct.Root, "ram", "DeleteAccessKey", p{"UserName": "u", "UserAccessKeyId": user.AccessKeyID})
		}, 404, "InvalidAccessKeyId.NotFound"}
	},
	"a policy is detached from the session's role": func(t *testing.T) fence {
		acct := shared.NewAccount(t)
		return fence{acct, acct, shared.adminSession(t, acct), func() answer {
			return shared.api(t, acct.Root, "ram", "DetachPolicyFromRole", p{"RoleName": "admin-role", "PolicyType": "System", "PolicyName": "AdministratorAccess"})
		}, 403, "Forbidden.NoPermission"}
	},
	// The session belongs to the role's account; what ends it happens in the
	// account of the user who assumed the role.
	"another account's user behind the session is deleted": func(t *testing.T) fence {
		acct, other := shared.NewAccount(t), shared.NewAccount(t)
		document := `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::` + other.ID + `:root"]}}]}`
		role := acct.NewRole(t, "for-partners", document, "AdministratorAccess")
		user := other.NewUser(t, "u", allow("*", "sts:AssumeRole"))
		session := shared.Assume(t, user, role)
		shared.api(t, other.Root, "ram", "DeleteAccessKey", p{"UserName": "u", "UserAccessKeyId": user.AccessKeyID}).ok(t)
		shared.api(t, other.Root, "ram", "DetachPolicyFromUser", p{"UserName": "u", "PolicyType": "Custom", "PolicyName": "of-u"}).ok(t)
		return fence{acct, other, session, func() answer {
			return shared.api(t, other.Root, "ram", "DeleteUser", p{"UserName": "u"})
		}, 400, "InvalidSecurityToken.Expired"}
	},
}

// TestNothingCommitsAfterWithdrawal: a change that was judged by a permission
// does not commit after the permission was withdrawn, not even one that was
// well on its way. The audit log, which is in the order of commits, is the
// judge.
func TestNothingCommitsAfterWithdrawal(t *testing.T) {
	for what, setUp := range fences {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			for range 3 { // there is always some request in flight, and not always at the worst point
				f := setUp(t)
				withdrawn := f.underLoad(t)
				f.check(t, withdrawn.text("RequestId"))
			}
		})
	}
}

// underLoad withdraws the permission once all of many writers have used it and
// are at it again, and waits until all of them are refused.
func (f *fence) underLoad(t *testing.T) answer {
	t.Helper()
	const writers = 12
	var confirmed atomic.Bool
	var begun, all sync.WaitGroup
	begun.Add(writers)
	for n := range writers {
		all.Go(func() {
			used := sync.OnceFunc(begun.Done)
			defer used()
			for i := 0; ; i++ {
				late := confirmed.Load()
				a := shared.call(t, f.writer, "CreateSecret", p{"SecretName": fmt.Sprint("s/", n, "/", i), "VersionId": "v", "SecretData": "x"})
				switch {
				case a.status != 200:
					a.refused(t, f.status, f.code)
					return
				case late:
					t.Error("a write succeeded that was begun after the withdrawal was confirmed")
					return
				}
				used()
			}
		})
	}
	defer all.Wait()
	defer confirmed.Store(true)
	begun.Wait()
	return f.withdraw().ok(t)
}

// check looks for changes that stand in the log behind the withdrawal.
func (f *fence) check(t *testing.T, withdrawal string) {
	t.Helper()
	list := shared.eventsOf(t, f.trail.ID)[withdrawal]
	if len(list) != 1 {
		t.Fatalf("%d events of the withdrawal", len(list))
	}
	last := sequence(t, list[0])
	written, late := 0, 0
	for _, e := range shared.Events(t, f.owner.ID) {
		if e.EventName != "CreateSecret" || e.ErrorCode != "" {
			continue
		}
		if written++; sequence(t, e) > last {
			late++
		}
	}
	if written == 0 || late > 0 {
		t.Errorf("of %d changes %d were committed after the permission was withdrawn", written, late)
	}
}

// sequence is the event's place in the log.
func sequence(t *testing.T, e *sesametest.Event) uint64 {
	t.Helper()
	n, ok := e.AdditionalEventData["Sequence"].(uint64)
	if !ok {
		t.Fatalf("an event whose Sequence is %v", e.AdditionalEventData["Sequence"])
	}
	return n
}
