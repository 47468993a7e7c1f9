package ram_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/ram/ramtest"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// every is each operation of RAM with the resources that a caller must be
// allowed, all of them, in the account where the things of fixture exist.
var every = []struct {
	op        string
	params    P
	resources []string
}{
	{"CreateUser", P{"UserName": "new"}, []string{"user/*"}},
	{"GetUser", P{"UserName": "u"}, []string{"user/u"}},
	{"DeleteUser", P{"UserName": "bare"}, []string{"user/bare"}},
	{"CreateAccessKey", P{"UserName": "u"}, []string{"user/u"}},
	{"ListAccessKeys", P{"UserName": "u"}, []string{"user/u"}},
	{"DeleteAccessKey", P{"UserName": "u", "UserAccessKeyId": "$key"}, []string{"user/u"}},
	{"CreatePolicy", P{"PolicyName": "new", "PolicyDocument": readBailian}, []string{"policy/*"}},
	{"GetPolicy", P{"PolicyType": "Custom", "PolicyName": "p"}, []string{"policy/p"}},
	{"GetPolicy", P{"PolicyType": "System", "PolicyName": "AliyunKMSFullAccess"}, []string{"system:policy/AliyunKMSFullAccess"}},
	{"DeletePolicy", P{"PolicyName": "spare"}, []string{"policy/spare"}},
	{"AttachPolicyToUser", P{"PolicyType": "Custom", "PolicyName": "p", "UserName": "u"}, []string{"user/u", "policy/p"}},
	{"DetachPolicyFromUser", P{"PolicyType": "Custom", "PolicyName": "q", "UserName": "u"}, []string{"user/u", "policy/q"}},
	{"AttachPolicyToRole", P{"PolicyType": "System", "PolicyName": "AliyunKMSFullAccess", "RoleName": "r"}, []string{"role/r", "system:policy/AliyunKMSFullAccess"}},
	{"DetachPolicyFromRole", P{"PolicyType": "Custom", "PolicyName": "q", "RoleName": "r"}, []string{"role/r", "policy/q"}},
	{"CreateRole", P{"RoleName": "new", "AssumeRolePolicyDocument": trustAccount}, []string{"role/*"}},
	{"GetRole", P{"RoleName": "r"}, []string{"role/r"}},
	{"DeleteRole", P{"RoleName": "idle"}, []string{"role/idle"}},
}

// fixture makes the things that every speaks of and returns a key of user u.
func fixture(t *testing.T, s *ramtest.Server) string {
	t.Helper()
	for _, name := range []string{"u", "bare"} {
		s.RAM(t, s.Root, "CreateUser", P{"UserName": name}, nil)
	}
	for _, name := range []string{"p", "q", "spare"} {
		s.RAM(t, s.Root, "CreatePolicy", P{"PolicyName": name, "PolicyDocument": readBailian}, nil)
	}
	for _, name := range []string{"r", "idle"} {
		s.RAM(t, s.Root, "CreateRole", P{"RoleName": name, "AssumeRolePolicyDocument": trustAccount}, nil)
	}
	s.RAM(t, s.Root, "AttachPolicyToUser", P{"PolicyType": "Custom", "PolicyName": "q", "UserName": "u"}, nil)
	s.RAM(t, s.Root, "AttachPolicyToRole", P{"PolicyType": "Custom", "PolicyName": "q", "RoleName": "r"}, nil)
	return s.Key(t, s.Root, "u").ID
}

func grant(action string, resources ...string) string {
	full := make([]string, len(resources))
	for i, r := range resources {
		if !strings.Contains(r, ":") {
			r = ramtest.Account + ":" + r
		}
		full[i] = `"acs:ram:*:` + r + `"`
	}
	return fmt.Sprintf(`{"Version":"1","Statement":[{"Effect":"Allow","Action":"ram:%s","Resource":[%s]}]}`, action, strings.Join(full, ","))
}

// TestAuthorization: an operation needs its action on each of its resources;
// without one it changes nothing; and who lacks the permission cannot tell a
// missing thing from one that exists.
func TestAuthorization(t *testing.T) {
	s := ramtest.Start(t)
	key := fixture(t, s)
	for i, tt := range every {
		params := P{}
		for k, v := range tt.params {
			params[k] = strings.Replace(v, "$key", key, 1)
		}
		var before int64
		for j := range tt.resources {
			rest := append(append([]string{"nothing/x"}, tt.resources[:j]...), tt.resources[j+1:]...)
			lacking := s.User(t, s.Root, fmt.Sprintf("no%d-%d", i, j), grant(tt.op, rest...))
			before = s.Store.Rev()
			refusal := s.Refused(t, lacking, "ram", tt.op, params, "NoPermission")
			if tt.resources[j] != "user/*" && tt.resources[j] != "role/*" && tt.resources[j] != "policy/*" {
				absent := P{"UserAccessKeyId": "x", "PolicyType": params["PolicyType"]}
				for _, name := range []string{"UserName", "RoleName", "PolicyName"} {
					if params[name] != "" {
						absent[name] = "absent"
					}
				}
				gone := s.Refused(t, lacking, "ram", tt.op, absent, "NoPermission")
				same(t, tt.op+" of an absent thing", gone.AccessDeniedDetail, refusal.AccessDeniedDetail)
			}
			if after := s.Store.Rev(); after != before {
				t.Errorf("%s was refused and changed the store", tt.op)
			}
		}
		able := s.User(t, s.Root, fmt.Sprintf("yes%d", i), grant(tt.op, tt.resources...))
		if err := s.Call(t, able, "ram", tt.op, params, nil); err != nil {
			t.Errorf("%s on %v: %v", tt.op, tt.resources, err)
		}
	}
}

// TestChangesBumpTheEpoch: every change makes a write judged before it fail.
func TestChangesBumpTheEpoch(t *testing.T) {
	s := ramtest.Start(t)
	key := fixture(t, s)
	bumped := func(change func()) bool {
		v := s.View(t)
		change()
		_, err := s.Store.Commit(t.Context(), v, "probe", func(tx *store.Tx) error {
			tx.CompareEpoch(ramtest.Account)
			store.Users.Put(tx, store.UserKey(ramtest.Other, "probe"), &store.User{Name: "probe"})
			return nil
		})
		return err != nil
	}
	for _, tt := range every {
		reads := strings.HasPrefix(tt.op, "Get") || strings.HasPrefix(tt.op, "List")
		params := P{}
		for k, v := range tt.params {
			params[k] = strings.Replace(v, "$key", key, 1)
		}
		if got := bumped(func() { s.RAM(t, s.Root, tt.op, params, nil) }); got == reads {
			t.Errorf("%s: epoch bumped = %v", tt.op, got)
		}
	}
	if !bumped(func() {
		answer(t, s, s.Root, "resourcemanager", "CreateServiceLinkedRole", P{"ServiceName": ramtest.Service})
	}) {
		t.Error("CreateServiceLinkedRole does not bump the epoch")
	}
	second := ramtest.Creds{}
	if !bumped(func() { second = s.Key(t, s.Root, "") }) {
		t.Error("a new root key does not bump the epoch")
	}
	if !bumped(func() { s.RAM(t, s.Root, "DeleteAccessKey", P{"UserAccessKeyId": second.ID}, nil) }) {
		t.Error("the deletion of a root key does not bump the epoch")
	}
}

// TestConditionsOnTags: the tags of a request and of a thing are condition keys.
func TestConditionsOnTags(t *testing.T) {
	s := ramtest.Start(t)
	alice := s.User(t, s.Root, "alice", `{"Version":"1","Statement":[
		{"Effect":"Allow","Action":"ram:Create*","Resource":"*","Condition":{"StringEquals":{"acs:RequestTag/team":"a"}}},
		{"Effect":"Allow","Action":["ram:Get*","ram:Delete*"],"Resource":"*","Condition":{"StringEquals":{"acs:ResourceTag/team":"a"}}}]}`)
	for _, tt := range []struct{ kind, param, document string }{
		{"Role", "AssumeRolePolicyDocument", trustAccount}, {"Policy", "PolicyDocument", readBailian},
	} {
		for _, team := range []string{"a", "b"} {
			create := P{tt.kind + "Name": team, tt.param: tt.document, "Tag.1.Key": "team", "Tag.1.Value": team}
			use := P{tt.kind + "Name": team, "PolicyType": "Custom"}
			if team == "a" {
				s.RAM(t, alice, "Create"+tt.kind, create, nil)
				s.RAM(t, alice, "Get"+tt.kind, use, nil)
				s.RAM(t, alice, "Delete"+tt.kind, use, nil)
				continue
			}
			s.Refused(t, alice, "ram", "Create"+tt.kind, create, "NoPermission")
			s.RAM(t, s.Root, "Create"+tt.kind, create, nil)
			s.Refused(t, alice, "ram", "Get"+tt.kind, use, "NoPermission")
			s.Refused(t, alice, "ram", "Delete"+tt.kind, use, "NoPermission")
		}
	}
}
