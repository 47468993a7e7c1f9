package sts_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/ram/ramtest"
	"github.com/opensesame-kms/opensesame/internal/store"
)

type (
	P   = ramtest.P
	obj = map[string]any
)

const (
	account   = ramtest.Account
	other     = ramtest.Other
	mayAssume = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}`
)

// trust is a trust policy for one principal, and a condition if one is given.
func trust(kind, principal, condition string) string {
	if condition != "" {
		condition = `,"Condition":` + condition
	}
	return fmt.Sprintf(`{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"%s":["%s"]}%s}]}`, kind, principal, condition)
}

var trustOwn = trust("RAM", "acs:ram::"+account+":root", "")

func role(name string) string { return "acs:ram::" + account + ":role/" + name }

// answered is AssumeRole's answer.
type answered struct {
	RequestId       string
	AssumedRoleUser struct{ Arn, AssumedRoleId string }
	Credentials     struct{ AccessKeyId, AccessKeySecret, SecurityToken, Expiration string }
	SourceIdentity  *string
}

func (a *answered) creds() ramtest.Creds {
	c := a.Credentials
	return ramtest.Creds{ID: c.AccessKeyId, Secret: mask.NewText(c.AccessKeySecret), Token: mask.NewText(c.SecurityToken)}
}

// assume assumes a role and must succeed.
func assume(t *testing.T, s *ramtest.Server, as ramtest.Creds, arn string, more P) *answered {
	t.Helper()
	var out answered
	if err := s.Call(t, as, "sts", "AssumeRole", assumeParams(arn, more), &out); err != nil {
		t.Fatalf("AssumeRole %s: %v", arn, err)
	}
	return &out
}

func assumeParams(arn string, more P) P {
	params := P{"RoleArn": arn, "RoleSessionName": "app"}
	for k, v := range more {
		params[k] = v
	}
	return params
}

func refused(t *testing.T, s *ramtest.Server, as ramtest.Creds, arn string, more P, code string) *ramtest.Refusal {
	t.Helper()
	return s.Refused(t, as, "sts", "AssumeRole", assumeParams(arn, more), code)
}

// newRole makes a role and returns its id.
func newRole(t *testing.T, s *ramtest.Server, root ramtest.Creds, name, trust string, more P) string {
	t.Helper()
	params := P{"RoleName": name, "AssumeRolePolicyDocument": trust}
	for k, v := range more {
		params[k] = v
	}
	var out struct{ Role struct{ RoleId string } }
	s.RAM(t, root, "CreateRole", params, &out)
	return out.Role.RoleId
}

func identity(t *testing.T, s *ramtest.Server, as ramtest.Creds) obj {
	t.Helper()
	var out obj
	if err := s.Call(t, as, "sts", "GetCallerIdentity", nil, &out); err != nil {
		t.Fatal(err)
	}
	delete(out, "RequestId")
	return out
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestAssumeRole(t *testing.T) {
	s := ramtest.Start(t)
	alice := s.User(t, s.Root, "alice", mayAssume)
	id := newRole(t, s, s.Root, "Admin", trustOwn, P{"MaxSessionDuration": "7200"})
	out := assume(t, s, alice, role("aDMIN"), P{"SourceIdentity": "Alice"})
	if out.AssumedRoleUser.Arn != role("Admin")+"/app" || out.AssumedRoleUser.AssumedRoleId != id+":app" {
		t.Errorf("AssumedRoleUser %+v", out.AssumedRoleUser)
	}
	c := out.Credentials
	if !regexp.MustCompile(`^STS\.N\w{24}$`).MatchString(c.AccessKeyId) || len(c.AccessKeySecret) != 44 || !strings.HasPrefix(c.SecurityToken, "CAIS") {
		t.Errorf("credentials of an odd form: id %q", c.AccessKeyId)
	}
	if c.Expiration != "2026-01-02T04:04:05Z" || out.SourceIdentity == nil || *out.SourceIdentity != "Alice" || out.RequestId == "" {
		t.Errorf("expiration %q, source identity %v", c.Expiration, out.SourceIdentity)
	}
	same(t, "GetCallerIdentity", identity(t, s, out.creds()), obj{
		"IdentityType": "AssumedRoleUser", "AccountId": account, "PrincipalId": id + ":app", "RoleId": id,
		"Arn": "acs:ram::" + account + ":assumed-role/Admin/app",
	})

	// What the role may do, the session may, and nothing else.
	session := out.creds()
	s.Refused(t, session, "ram", "GetRole", P{"RoleName": "Admin"}, "NoPermission")
	s.RAM(t, s.Root, "AttachPolicyToRole", P{"PolicyType": "System", "PolicyName": "AliyunRAMReadOnlyAccess", "RoleName": "Admin"}, nil)
	s.RAM(t, session, "GetRole", P{"RoleName": "Admin"}, nil)
	s.Refused(t, session, "ram", "DeleteRole", P{"RoleName": "Admin"}, "NoPermission")
	s.Refused(t, session, "ram", "ListAccessKeys", P{}, "MissingParameter") // a session has none of its own
	narrow := P{"Policy": `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ram:GetUser","Resource":"*"}]}`}
	s.Refused(t, assume(t, s, alice, role("Admin"), narrow).creds(), "ram", "GetRole", P{"RoleName": "Admin"}, "NoPermission")
	s.RAM(t, assume(t, s, alice, role("Admin"), narrow).creds(), "GetUser", P{"UserName": "alice"}, nil)

	long := assume(t, s, alice, role("Admin"), P{"DurationSeconds": "7200"})
	if long.Credentials.Expiration != "2026-01-02T05:04:05Z" || long.SourceIdentity != nil {
		t.Errorf("expiration %q, source identity %v", long.Credentials.Expiration, long.SourceIdentity)
	}
	err := refused(t, s, alice, role("Admin"), P{"DurationSeconds": "7201"}, "InvalidParameter.DurationSeconds")
	if err.Message != "The Min/Max value of DurationSeconds is 15min/2hr." {
		t.Errorf("message %q", err.Message)
	}

	s.Clock.Advance(time.Hour - time.Second)
	identity(t, s, session)
	s.Clock.Advance(time.Second)
	s.Refused(t, session, "sts", "GetCallerIdentity", nil, "InvalidSecurityToken.Expired")
	identity(t, s, long.creds())
}

func TestAssumeRoleParameters(t *testing.T) {
	s := ramtest.Start(t)
	alice := s.User(t, s.Root, "alice", mayAssume)
	newRole(t, s, s.Root, "admin", trustOwn, nil)
	doc := `{"Version":"1","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"%s"}]}`
	of := func(n int, c string) string { return fmt.Sprintf(doc, strings.Repeat(c, n-len(doc)+2)) }
	for _, tt := range []struct{ name, value, code string }{
		{"RoleArn", "", "MissingParameter"},
		{"RoleArn", "admin", "InvalidParameter.RoleArn"},
		{"RoleSessionName", "", "MissingParameter"},
		{"RoleSessionName", "a", "InvalidParameter.RoleSessionName"},
		{"RoleSessionName", "a b", "InvalidParameter.RoleSessionName"},
		{"DurationSeconds", "899", "InvalidParameter.DurationSeconds"},
		{"DurationSeconds", "3601", "InvalidParameter.DurationSeconds"},
		{"DurationSeconds", "x", "InvalidParameter.DurationSeconds"},
		{"Policy", "{", "InvalidParameter.PolicyGrammar"},
		{"Policy", trustOwn, "InvalidParameter.PolicyGrammar"},
		{"Policy", of(2049, "x"), "InvalidParameter.PolicySize"},
		{"Policy", of(2048, "<"), "InvalidParameter.PolicySize"}, // would not fit into a token
		{"Policy", of(2048, "x"), ""},
		{"ExternalId", "a", "InvalidParameter.ExternalId"},
		{"ExternalId", "a b", "InvalidParameter.ExternalId"},
		{"SourceIdentity", "a b", "InvalidParameter.SourceIdentity"},
	} {
		more := P{tt.name: tt.value}
		if tt.code == "" {
			identity(t, s, assume(t, s, alice, role("admin"), more).creds())
		} else if err := refused(t, s, alice, role("admin"), more, tt.code); err.Status != 400 {
			t.Errorf("%s %q: status %d", tt.name, tt.value, err.Status)
		}
	}
	err := refused(t, s, alice, role("admin"), P{"Policy": of(2049, "x")}, "InvalidParameter.PolicySize")
	if err.Message != "The size of Policy must be smaller than 2048 bytes." {
		t.Errorf("message %q", err.Message)
	}
}

// TestTrust: both sides must allow, in one account and across two.
func TestTrust(t *testing.T) {
	s := ramtest.Start(t)
	alice := s.User(t, s.Root, "alice", mayAssume)
	bob := s.User(t, s.Root, "bob", "")
	eve := s.User(t, s.OtherRoot, "eve", mayAssume)
	mallory := s.User(t, s.OtherRoot, "mallory", "")
	newRole(t, s, s.Root, "own", trustOwn, nil)
	newRole(t, s, s.Root, "bobs", trust("RAM", "acs:ram::"+account+":user/bob", ""), nil)
	newRole(t, s, s.Root, "foreign", trust("RAM", "acs:ram::"+other+":root", ""), nil)
	newRole(t, s, s.Root, "eves", trust("RAM", "acs:ram::"+other+":user/eve", `{"StringEquals":{"sts:ExternalId":"id-1"}}`), nil)
	newRole(t, s, s.Root, "source", trust("RAM", "acs:ram::"+account+":root", `{"StringEquals":{"sts:SourceIdentity":"Alice"}}`), nil)
	for _, tt := range []struct {
		who  string
		as   ramtest.Creds
		role string
		more P
		ok   bool
	}{
		{"alice", alice, "own", nil, true},
		{"bob, without a policy", bob, "own", nil, false},
		{"bob, trusted, without a policy", bob, "bobs", nil, false},
		{"alice, not trusted", alice, "bobs", nil, false},
		{"alice, of another account", alice, "foreign", nil, false},
		{"eve", eve, "foreign", nil, true},
		{"mallory, without a policy", mallory, "foreign", nil, false},
		{"eve, of another account", eve, "own", nil, false},
		{"eve without the external id", eve, "eves", nil, false},
		{"eve with a wrong external id", eve, "eves", P{"ExternalId": "id-2"}, false},
		{"eve with the external id", eve, "eves", P{"ExternalId": "id-1"}, true},
		{"alice without the source identity", alice, "source", nil, false},
		{"alice with the source identity", alice, "source", P{"SourceIdentity": "Alice"}, true},
		{"root", s.Root, "own", nil, false},
		{"the other root", s.OtherRoot, "foreign", nil, false},
		{"an operator", s.Operator, "own", nil, false},
		{"a service", s.Svc, "own", nil, false},
	} {
		if tt.ok {
			assume(t, s, tt.as, role(tt.role), tt.more)
			continue
		}
		if err := refused(t, s, tt.as, role(tt.role), tt.more, "NoPermission"); err.Status != 403 || err.AccessDeniedDetail["AuthAction"] != "sts:AssumeRole" {
			t.Errorf("%s: %d %v", tt.who, err.Status, err.AccessDeniedDetail)
		}
	}
	if err := refused(t, s, s.Root, role("own"), nil, "NoPermission"); err.Message != "Roles may not be assumed by root accounts." {
		t.Errorf("root: %q", err.Message)
	}
}

// TestMissingRole: only callers whose business it is learn that a role does not
// exist. For all others it looks like one that does not trust them.
func TestMissingRole(t *testing.T) {
	s := ramtest.Start(t)
	alice := s.User(t, s.Root, "alice", mayAssume)
	bob := s.User(t, s.Root, "bob", "")
	eve := s.User(t, s.OtherRoot, "eve", mayAssume)
	newRole(t, s, s.Root, "there", trust("Service", "x.aliyuncs.com", ""), nil)

	err := refused(t, s, alice, role("gone"), nil, "EntityNotExist.Role")
	if err.Status != 404 || err.Message != "The specified Role not exists ." {
		t.Errorf("alice: %d %q", err.Status, err.Message)
	}
	refused(t, s, s.Svc, ramtest.SLRArn, nil, "EntityNotExist.Role")
	for who, as := range map[string]ramtest.Creds{"bob": bob, "eve": eve, "root": s.Root, "service": s.Svc, "operator": s.Operator} {
		gone := refused(t, s, as, role("gone"), nil, "NoPermission")
		there := refused(t, s, as, role("there"), nil, "NoPermission")
		same(t, who, gone.AccessDeniedDetail, there.AccessDeniedDetail)
		same(t, who, strings.ReplaceAll(gone.Message, "gone", "there"), there.Message)
	}
	refused(t, s, eve, "acs:ram::9999999999999999:role/gone", nil, "NoPermission")
}

func TestServiceSessions(t *testing.T) {
	s := ramtest.Start(t)
	var made struct{ Role struct{ RoleId string } }
	if err := s.Call(t, s.Root, "resourcemanager", "CreateServiceLinkedRole", P{"ServiceName": ramtest.Service}, &made); err != nil {
		t.Fatal(err)
	}
	for _, arn := range []string{ramtest.SLRArn, role(ramtest.SLR)} {
		out := assume(t, s, s.Svc, arn, nil)
		if out.AssumedRoleUser.Arn != ramtest.SLRArn+"/app" || out.AssumedRoleUser.AssumedRoleId != made.Role.RoleId+":app" {
			t.Errorf("%s: %+v", arn, out.AssumedRoleUser)
		}
		same(t, "identity", identity(t, s, out.creds()), obj{
			"IdentityType": "AssumedRoleUser", "AccountId": account, "PrincipalId": made.Role.RoleId + ":app", "RoleId": made.Role.RoleId,
			"Arn": "acs:ram::" + account + ":assumed-role/" + ramtest.SLR + "/app",
		})
	}
	refused(t, s, s.Svc, ramtest.SLRArn, P{"DurationSeconds": "3601"}, "InvalidParameter.DurationSeconds")
	alice := s.User(t, s.Root, "alice", mayAssume)
	refused(t, s, alice, ramtest.SLRArn, nil, "NoPermission")

	// An ordinary role that trusts the service, and for one account only.
	newRole(t, s, s.Root, "plain", trust("Service", ramtest.Service, ""), nil)
	newRole(t, s, s.Root, "mine", trust("Service", account+"@"+ramtest.Service, ""), nil)
	newRole(t, s, s.Root, "others", trust("Service", other+"@"+ramtest.Service, ""), nil)
	assume(t, s, s.Svc, role("plain"), nil)
	assume(t, s, s.Svc, role("mine"), nil)
	refused(t, s, s.Svc, role("others"), nil, "NoPermission")

	// The service's sessions end when the operator says so.
	session := assume(t, s, s.Svc, role("plain"), nil).creds()
	s.Commit(t.Context(), t, func(tx *store.Tx) error {
		svc, err := store.Services.Read(tx, ramtest.Service)
		if err == nil {
			svc.SessionsNotBefore = s.Clock.Now().Add(time.Second)
			store.Services.Put(tx, ramtest.Service, svc)
		}
		return err
	})
	s.Refused(t, session, "sts", "GetCallerIdentity", nil, "InvalidSecurityToken.Expired")
}

func TestChaining(t *testing.T) {
	s := ramtest.Start(t)
	alice := s.User(t, s.Root, "alice", mayAssume)
	newRole(t, s, s.Root, "first", trustOwn, P{"MaxSessionDuration": "43200"})
	newRole(t, s, s.Root, "second", trust("RAM", role("first"), ""), P{"MaxSessionDuration": "43200"})
	s.RAM(t, s.Root, "AttachPolicyToRole", P{"PolicyType": "System", "PolicyName": "AliyunSTSAssumeRoleAccess", "RoleName": "first"}, nil)
	first := assume(t, s, alice, role("first"), P{"DurationSeconds": "43200"}).creds()
	refused(t, s, alice, role("second"), nil, "NoPermission")
	second := assume(t, s, first, role("second"), P{"DurationSeconds": "3600"})
	identity(t, s, second.creds())
	err := refused(t, s, first, role("second"), P{"DurationSeconds": "3601"}, "InvalidParameter.DurationSeconds")
	if err.Message != "The Min/Max value of DurationSeconds is 15min/1hr." {
		t.Errorf("message %q", err.Message)
	}

	s.RAM(t, s.Root, "DetachPolicyFromUser", P{"PolicyType": "Custom", "PolicyName": "for-alice", "UserName": "alice"}, nil)
	s.RAM(t, s.Root, "DeleteAccessKey", P{"UserName": "alice", "UserAccessKeyId": alice.ID}, nil)
	identity(t, s, second.creds())
	s.RAM(t, s.Root, "DeleteUser", P{"UserName": "alice"}, nil)
	if err := s.Call(t, second.creds(), "sts", "GetCallerIdentity", nil, nil); err == nil || err.Code != "InvalidSecurityToken.Expired" {
		t.Errorf("the chain outlives the user who began it: %v", err)
	}
}

// TestEndOfSessions: a session ends with its role and with the user behind it,
// also when another is made under the name, and with their accounts.
func TestEndOfSessions(t *testing.T) {
	s := ramtest.Start(t)
	alice := s.User(t, s.Root, "alice", "")
	s.RAM(t, s.Root, "AttachPolicyToUser", P{"PolicyType": "System", "PolicyName": "AliyunSTSAssumeRoleAccess", "UserName": "alice"}, nil)
	newRole(t, s, s.Root, "r", trustOwn, nil)
	expired := func(what string, c ramtest.Creds) {
		t.Helper()
		if err := s.Call(t, c, "sts", "GetCallerIdentity", nil, nil); err == nil || err.Code != "InvalidSecurityToken.Expired" {
			t.Errorf("%s: %v", what, err)
		}
	}

	session := assume(t, s, alice, role("r"), nil).creds()
	s.RAM(t, s.Root, "DeleteRole", P{"RoleName": "r"}, nil)
	expired("role deleted", session)
	newRole(t, s, s.Root, "r", trustOwn, nil)
	expired("role made anew", session)

	session = assume(t, s, alice, role("r"), nil).creds()
	s.RAM(t, s.Root, "DeleteAccessKey", P{"UserName": "alice", "UserAccessKeyId": alice.ID}, nil)
	identity(t, s, session) // a replaced key cuts nothing off
	s.RAM(t, s.Root, "DetachPolicyFromUser", P{"PolicyType": "System", "PolicyName": "AliyunSTSAssumeRoleAccess", "UserName": "alice"}, nil)
	s.RAM(t, s.Root, "DeleteUser", P{"UserName": "alice"}, nil)
	expired("user deleted", session)
	s.RAM(t, s.Root, "CreateUser", P{"UserName": "alice"}, nil)
	expired("user made anew", session)

	eve := s.User(t, s.OtherRoot, "eve", mayAssume)
	newRole(t, s, s.Root, "foreign", trust("RAM", "acs:ram::"+other+":root", ""), nil)
	session = assume(t, s, eve, role("foreign"), nil).creds()
	s.Commit(t.Context(), t, func(tx *store.Tx) error {
		a, err := store.Accounts.Read(tx, account)
		if err == nil {
			a.Status = store.Suspended
			store.Accounts.Put(tx, account, a)
		}
		return err
	})
	refused(t, s, eve, role("foreign"), nil, "NoPermission")
	if err := s.Call(t, session, "sts", "GetCallerIdentity", nil, nil); err == nil {
		t.Error("a session of a suspended account is accepted")
	}
}

func TestGetCallerIdentity(t *testing.T) {
	s := ramtest.Start(t)
	same(t, "root", identity(t, s, s.Root), obj{
		"IdentityType": "Account", "AccountId": account, "PrincipalId": account, "UserId": account, "Arn": "acs:ram::" + account + ":root",
	})
	same(t, "service", identity(t, s, s.Svc), obj{
		"IdentityType": "Service", "AccountId": "system", "PrincipalId": ramtest.Service, "Arn": "acs:ram::system:service/" + ramtest.Service,
	})
	same(t, "operator", identity(t, s, s.Operator), obj{
		"IdentityType": "Operator", "AccountId": "system", "PrincipalId": "operator", "Arn": "acs:ram::system:operator/operator",
	})
	// No policy is needed, and none can forbid it.
	alice := s.User(t, s.Root, "alice", `{"Version":"1","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`)
	var user struct{ User struct{ UserId string } }
	s.RAM(t, s.Root, "GetUser", P{"UserName": "alice"}, &user)
	same(t, "user", identity(t, s, alice), obj{
		"IdentityType": "RAMUser", "AccountId": account, "PrincipalId": user.User.UserId, "UserId": user.User.UserId,
		"Arn": "acs:ram::" + account + ":user/alice",
	})
}
