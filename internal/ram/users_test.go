package ram_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/ram/ramtest"
	"github.com/opensesame-kms/opensesame/internal/store"
)

type (
	P   = ramtest.P
	obj = map[string]any
)

const now = "2026-01-02T03:04:05Z"

// answer calls an operation that must succeed and returns its answer without
// the request id, which must be there.
func answer(t *testing.T, s *ramtest.Server, as ramtest.Creds, product, op string, params P) obj {
	t.Helper()
	var out obj
	if err := s.Call(t, as, product, op, params, &out); err != nil {
		t.Fatalf("%s: %v", op, err)
	}
	if id, _ := out["RequestId"].(string); id == "" {
		t.Errorf("%s: no RequestId in %v", op, out)
	}
	delete(out, "RequestId")
	return out
}

// takeID takes an id of 18 digits out of the object.
func takeID(t *testing.T, o obj, name string) string {
	t.Helper()
	id, _ := o[name].(string)
	if !regexp.MustCompile(`^[1-9][0-9]{17}$`).MatchString(id) {
		t.Errorf("%s = %q, want 18 digits", name, id)
	}
	delete(o, name)
	return id
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestUsers(t *testing.T) {
	s := ramtest.Start(t)
	full := P{
		"UserName": "alice.b_c-1", "DisplayName": "Alice 'B'", "MobilePhone": "86-18600008888",
		"Email": "alice@example.com", "Comments": "first\nsecond <line>",
	}
	made := answer(t, s, s.Root, "ram", "CreateUser", full)
	id := takeID(t, made["User"].(obj), "UserId")
	want := obj{
		"UserName": "alice.b_c-1", "DisplayName": "Alice 'B'", "MobilePhone": "86-18600008888",
		"Email": "alice@example.com", "Comments": "first\nsecond <line>", "CreateDate": now,
	}
	same(t, "CreateUser", made, obj{"User": want})

	read := answer(t, s, s.Root, "ram", "GetUser", P{"UserName": "alice.b_c-1"})
	if got := takeID(t, read["User"].(obj), "UserId"); got != id {
		t.Errorf("GetUser: id %s, want %s", got, id)
	}
	want["UpdateDate"], want["LastLoginDate"] = now, ""
	same(t, "GetUser", read, obj{"User": want})

	s.RAM(t, s.Root, "CreateUser", P{"UserName": "plain"}, nil)
	read = answer(t, s, s.Root, "ram", "GetUser", P{"UserName": "plain"})
	takeID(t, read["User"].(obj), "UserId")
	same(t, "GetUser of a plain user", read, obj{"User": obj{
		"UserName": "plain", "DisplayName": "", "MobilePhone": "", "Email": "", "Comments": "",
		"CreateDate": now, "UpdateDate": now, "LastLoginDate": "",
	}})

	s.Refused(t, s.Root, "ram", "CreateUser", P{"UserName": "plain"}, "EntityAlreadyExists.User")
	s.RAM(t, s.Root, "CreateUser", P{"UserName": "Plain"}, nil) // case matters
	s.RAM(t, s.OtherRoot, "CreateUser", P{"UserName": "plain"}, nil)

	s.RAM(t, s.Root, "DeleteUser", P{"UserName": "plain"}, nil)
	for _, op := range []string{"GetUser", "DeleteUser"} {
		s.Refused(t, s.Root, "ram", op, P{"UserName": "plain"}, "EntityNotExist.User")
	}
	s.RAM(t, s.OtherRoot, "GetUser", P{"UserName": "plain"}, nil)
}

func TestUserParameters(t *testing.T) {
	s := ramtest.Start(t)
	long := strings.Repeat("x", 129)
	for _, tt := range []struct {
		params P
		code   string
	}{
		{P{}, "MissingParameter"},
		{P{"UserName": long}, "InvalidParameter.UserName.Length"},
		{P{"UserName": "a b"}, "InvalidParameter.UserName.InvalidChars"},
		{P{"UserName": "u", "DisplayName": long}, "InvalidParameter.DisplayName.Length"},
		{P{"UserName": "u", "DisplayName": "a\x01"}, "InvalidParameter.DisplayName.InvalidChars"},
		{P{"UserName": "u", "Comments": long}, "InvalidParameter.Comments.Length"},
		{P{"UserName": "u", "MobilePhone": "1"}, "InvalidParameter.MobilePhone.Format"},
		{P{"UserName": "u", "Email": "1"}, "InvalidParameter.Email.Format"},
	} {
		s.Refused(t, s.Root, "ram", "CreateUser", tt.params, tt.code)
	}
	for _, op := range []string{"GetUser", "DeleteUser"} {
		s.Refused(t, s.Root, "ram", op, P{}, "MissingParameter")
		s.Refused(t, s.Root, "ram", op, P{"UserName": "a/b"}, "InvalidParameter.UserName.InvalidChars")
	}
	s.Refused(t, s.Root, "ram", "GetUser", P{"UserName": "u"}, "EntityNotExist.User") // none was made
}

func TestDeleteUserConflicts(t *testing.T) {
	s := ramtest.Start(t)
	creds := s.User(t, s.Root, "alice", "")
	policy := P{"PolicyType": "System", "PolicyName": "AliyunKMSFullAccess", "UserName": "alice"}
	s.RAM(t, s.Root, "AttachPolicyToUser", policy, nil)
	s.Refused(t, s.Root, "ram", "DeleteUser", P{"UserName": "alice"}, "DeleteConflict.User.AccessKey")
	s.RAM(t, s.Root, "DeleteAccessKey", P{"UserName": "alice", "UserAccessKeyId": creds.ID}, nil)
	s.Refused(t, s.Root, "ram", "DeleteUser", P{"UserName": "alice"}, "DeleteConflict.User.Policy")
	s.RAM(t, s.Root, "DetachPolicyFromUser", policy, nil)
	s.RAM(t, s.Root, "DeleteUser", P{"UserName": "alice"}, nil)
}

// TestQuotas fills an account behind the server's back: neighbours in other
// accounts and service-linked roles must not count.
func TestQuotas(t *testing.T) {
	s := ramtest.Start(t)
	const trust = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"x.aliyuncs.com"}}]}`
	const doc = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	put := map[string]func(tx *store.Tx, account, name, service string){
		"user": func(tx *store.Tx, account, name, _ string) {
			store.Users.Put(tx, store.UserKey(account, name), &store.User{ID: name, Account: account, Name: name})
		},
		"role": func(tx *store.Tx, account, name, service string) {
			store.Roles.Put(tx, store.RoleKey(account, name), &store.Role{ID: name, Account: account, Name: name, TrustPolicy: trust, Service: service})
		},
		"policy": func(tx *store.Tx, account, name, _ string) {
			store.Policies.Put(tx, store.PolicyKey(account, name), &store.Policy{
				Account: account, Name: name, Default: "v1", Versions: []store.PolicyVersion{{ID: "v1", Document: doc}},
			})
		},
	}
	fill := func(kind string, n int) {
		for from := 0; from < n; from += 100 {
			s.Commit(t.Context(), t, func(tx *store.Tx) error {
				for i := from; i < min(n, from+100); i++ {
					put[kind](tx, ramtest.Account, fmt.Sprintf("x%d", i), "")
				}
				return nil
			})
		}
		s.Commit(t.Context(), t, func(tx *store.Tx) error {
			put[kind](tx, ramtest.Other, "x", "")
			if kind == "role" {
				put[kind](tx, ramtest.Account, "linked", ramtest.Service)
			}
			return nil
		})
	}
	for _, tt := range []struct {
		kind, op, code string
		max            int
		params         func(name string) P
	}{
		{"user", "CreateUser", "LimitExceeded.User", 1000, func(n string) P { return P{"UserName": n} }},
		{"role", "CreateRole", "LimitExceeded.Role", 1000, func(n string) P { return P{"RoleName": n, "AssumeRolePolicyDocument": trust} }},
		{"policy", "CreatePolicy", "LimitExceeded.Policy", 1500, func(n string) P { return P{"PolicyName": n, "PolicyDocument": doc} }},
	} {
		fill(tt.kind, tt.max-1)
		s.RAM(t, s.Root, tt.op, tt.params("last"), nil)
		s.Refused(t, s.Root, "ram", tt.op, tt.params("more"), tt.code)
		s.RAM(t, s.OtherRoot, tt.op, tt.params("more"), nil)
	}
	answer(t, s, s.Root, "resourcemanager", "CreateServiceLinkedRole", P{"ServiceName": ramtest.Service})
}
