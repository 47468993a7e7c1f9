package ram_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/ram/ramtest"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// readBailian has spaces and an order of keys that must survive.
const readBailian = `{ "Statement": [{"Action":["kms:List*","kms:Describe*","kms:GetSecretValue"], "Effect":"Allow",
  "Resource":"acs:kms:${region}:${account}:secret/bailian!*"}], "Version": "1" }`

func TestPolicies(t *testing.T) {
	s := ramtest.Start(t)
	made := answer(t, s, s.Root, "ram", "CreatePolicy", P{"PolicyName": "read", "PolicyDocument": readBailian, "Description": "reads"})
	want := obj{"PolicyName": "read", "PolicyType": "Custom", "Description": "reads", "DefaultVersion": "v1", "CreateDate": now}
	same(t, "CreatePolicy", made, obj{"Policy": want})

	want["UpdateDate"], want["AttachmentCount"], want["PolicyDocument"] = now, float64(0), "N/A"
	version := obj{"VersionId": "v1", "IsDefaultVersion": true, "PolicyDocument": readBailian, "CreateDate": now}
	get := P{"PolicyType": "Custom", "PolicyName": "read"}
	same(t, "GetPolicy", answer(t, s, s.Root, "ram", "GetPolicy", get), obj{"Policy": want, "DefaultPolicyVersion": version})

	s.RAM(t, s.Root, "CreateUser", P{"UserName": "alice"}, nil)
	s.RAM(t, s.Root, "AttachPolicyToUser", P{"PolicyType": "Custom", "PolicyName": "read", "UserName": "alice"}, nil)
	s.RAM(t, s.OtherRoot, "CreatePolicy", P{"PolicyName": "read", "PolicyDocument": readBailian}, nil)
	want["AttachmentCount"] = float64(1)
	same(t, "GetPolicy, attached", answer(t, s, s.Root, "ram", "GetPolicy", get), obj{"Policy": want, "DefaultPolicyVersion": version})

	s.Refused(t, s.Root, "ram", "CreatePolicy", P{"PolicyName": "read", "PolicyDocument": readBailian}, "EntityAlreadyExists.Policy")
	s.Refused(t, s.Root, "ram", "GetPolicy", P{"PolicyType": "System", "PolicyName": "read"}, "EntityNotExist.Policy")
	s.Refused(t, s.Root, "ram", "GetPolicy", P{"PolicyType": "Custom", "PolicyName": "AdministratorAccess"}, "EntityNotExist.Policy")

	p, err := store.Policies.Get(s.View(t), store.PolicyKey(ramtest.Account, "read"))
	if err != nil || p.NextVersion != 2 || p.Region != ramtest.Region {
		t.Errorf("record %+v, %v", p, err)
	}
}

func TestSystemPolicies(t *testing.T) {
	s := ramtest.Start(t)
	text, version, description, ok := policy.System("AliyunKMSFullAccess")
	if !ok {
		t.Fatal("AliyunKMSFullAccess is missing")
	}
	const date = "2015-05-01T00:00:00Z"
	for _, tt := range []struct{ name, version, description, text string }{
		{"AliyunKMSFullAccess", version, description, text},
		{
			"AliyunServiceRolePolicyForAlbAccessKMS", "v1", "Permissions of the service-linked role " + ramtest.SLR + ".",
			`{"Version":"1","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"acs:kms:*:*:secret/alb!*"}]}`,
		},
	} {
		got := answer(t, s, s.Root, "ram", "GetPolicy", P{"PolicyType": "System", "PolicyName": tt.name})
		same(t, tt.name, got, obj{
			"Policy": obj{
				"PolicyName": tt.name, "PolicyType": "System", "Description": tt.description, "DefaultVersion": tt.version,
				"CreateDate": date, "UpdateDate": date, "AttachmentCount": float64(0), "PolicyDocument": "N/A",
			},
			"DefaultPolicyVersion": obj{"VersionId": tt.version, "IsDefaultVersion": true, "PolicyDocument": tt.text, "CreateDate": date},
		})
	}
	s.RAM(t, s.Root, "CreateUser", P{"UserName": "alice"}, nil)
	err := s.Refused(t, s.Root, "ram", "AttachPolicyToUser", P{
		"PolicyType": "System", "PolicyName": "AliyunServiceRolePolicyForAlbAccessKMS", "UserName": "alice",
	}, "NoPermission.ServiceLinkedRole")
	if err.Status != 403 {
		t.Errorf("status %d, want 403", err.Status)
	}
	s.Refused(t, s.Root, "ram", "AttachPolicyToUser", P{"PolicyType": "System", "PolicyName": "Nope", "UserName": "alice"}, "EntityNotExist.Policy")
}

func TestPolicyParameters(t *testing.T) {
	s := ramtest.Start(t)
	fits := `{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"` + "%s" + `"}]}`
	fill := func(n int) string { return fmt.Sprintf(fits, strings.Repeat("x", n-len(fits)+2)) }
	tags := P{"PolicyName": "p", "PolicyDocument": readBailian}
	for i := range 21 {
		tags[fmt.Sprintf("Tag.%d.Key", i+1)] = fmt.Sprint("k", i)
	}
	for _, tt := range []struct {
		params P
		code   string
	}{
		{P{"PolicyDocument": readBailian}, "MissingParameter"},
		{P{"PolicyName": "p"}, "MissingParameter"},
		{P{"PolicyName": "a.b", "PolicyDocument": readBailian}, "InvalidParameter.PolicyName.InvalidChars"},
		{P{"PolicyName": strings.Repeat("p", 129), "PolicyDocument": readBailian}, "InvalidParameter.PolicyName.Length"},
		{P{"PolicyName": "p", "PolicyDocument": readBailian, "Description": strings.Repeat("d", 1025)}, "InvalidParameter.Description.Length"},
		{P{"PolicyName": "p", "PolicyDocument": "{}"}, "MalformedPolicyDocument"},
		{P{"PolicyName": "p", "PolicyDocument": fill(6145)}, "InvalidParameter.PolicyDocument.Length"},
		{P{"PolicyName": "p", "PolicyDocument": readBailian, "Tag.1.Key": "acs:x"}, "InvalidParameter.TagKey"},
		{P{"PolicyName": "p", "PolicyDocument": readBailian, "Tag": `[{"Key":"a"},{"Key":"a"}]`}, "Duplicate.TagKey"},
		{tags, "InvalidParameter.Tag.Length"},
	} {
		s.Refused(t, s.Root, "ram", "CreatePolicy", tt.params, tt.code)
	}
	err := s.Refused(t, s.Root, "ram", "CreatePolicy", P{"PolicyName": "p", "PolicyDocument": strings.Replace(readBailian, `"Effect"`, `"Condition":{"Null":{"a":"b"}},"Effect"`, 1)}, "MalformedPolicyDocument")
	if !strings.Contains(err.Message, "The condition operator 'Null' is not supported.") {
		t.Errorf("message %q does not name the operator", err.Message)
	}
	s.RAM(t, s.Root, "CreatePolicy", P{"PolicyName": "p", "PolicyDocument": fill(6144)}, nil)
	for _, op := range []string{"GetPolicy", "AttachPolicyToUser", "DetachPolicyFromUser", "AttachPolicyToRole", "DetachPolicyFromRole"} {
		params := P{"PolicyType": "custom", "PolicyName": "p", "UserName": "u", "RoleName": "r"}
		err := s.Refused(t, s.Root, "ram", op, params, "InvalidParameter.PolicyType")
		if err.Status != 400 {
			t.Errorf("%s: status %d", op, err.Status)
		}
		for _, without := range []string{"PolicyType", "PolicyName"} {
			params := P{"PolicyType": "Custom", "PolicyName": "p", "UserName": "u", "RoleName": "r"}
			delete(params, without)
			s.Refused(t, s.Root, "ram", op, params, "MissingParameter")
		}
	}
}

// TestAttachments runs the same story for users and roles.
func TestAttachments(t *testing.T) {
	s := ramtest.Start(t)
	s.RAM(t, s.Root, "CreatePolicy", P{"PolicyName": "p", "PolicyDocument": readBailian}, nil)
	s.RAM(t, s.Root, "CreateUser", P{"UserName": "one"}, nil)
	s.RAM(t, s.Root, "CreateRole", P{"RoleName": "one", "AssumeRolePolicyDocument": trustAccount}, nil)
	for _, kind := range []string{"User", "Role"} {
		attach, detach := "AttachPolicyTo"+kind, "DetachPolicyFrom"+kind
		params := func(typ, policy, name string) P {
			return P{"PolicyType": typ, "PolicyName": policy, kind + "Name": name}
		}
		s.RAM(t, s.Root, attach, params("Custom", "p", "one"), nil)
		s.RAM(t, s.Root, attach, params("System", "AliyunKMSFullAccess", "one"), nil)
		s.Refused(t, s.Root, "ram", attach, params("Custom", "p", "one"), "EntityAlreadyExists."+kind+".Policy")
		s.Refused(t, s.Root, "ram", attach, params("Custom", "nope", "one"), "EntityNotExist.Policy")
		s.Refused(t, s.Root, "ram", attach, params("Custom", "p", "nobody"), "EntityNotExist."+kind)
		s.Refused(t, s.Root, "ram", detach, params("Custom", "p", "nobody"), "EntityNotExist."+kind)
		s.Refused(t, s.Root, "ram", detach, params("Custom", "nope", "one"), "EntityNotExist.Policy")
		s.Refused(t, s.Root, "ram", detach, params("System", "AliyunKMSReadOnlyAccess", "one"), "EntityNotExist."+kind+".Policy")
		s.Refused(t, s.Root, "ram", attach, P{"PolicyType": "Custom", "PolicyName": "p"}, "MissingParameter")
		s.RAM(t, s.Root, detach, params("Custom", "p", "one"), nil)
		s.Refused(t, s.Root, "ram", detach, params("Custom", "p", "one"), "EntityNotExist."+kind+".Policy")
		s.RAM(t, s.Root, attach, params("Custom", "p", "one"), nil)
	}

	// What is left of a policy that the platform no longer has can be detached.
	key := store.UserKey(ramtest.Account, "one")
	s.Commit(t.Context(), t, func(tx *store.Tx) error {
		u, err := store.Users.Read(tx, key)
		if err == nil {
			u.Policies = append(u.Policies, store.Attachment{Type: "System", Name: "AliyunGone"})
			store.Users.Put(tx, key, u)
		}
		return err
	})
	s.RAM(t, s.Root, "DetachPolicyFromUser", P{"PolicyType": "System", "PolicyName": "AliyunGone", "UserName": "one"}, nil)
}

func TestDeletePolicy(t *testing.T) {
	s := ramtest.Start(t)
	create := P{"PolicyName": "p", "PolicyDocument": readBailian}
	s.RAM(t, s.Root, "CreatePolicy", create, nil)
	s.RAM(t, s.OtherRoot, "CreatePolicy", create, nil)
	s.Refused(t, s.Root, "ram", "DeletePolicy", P{}, "MissingParameter")
	s.Refused(t, s.Root, "ram", "DeletePolicy", P{"PolicyName": "p", "CascadingDelete": "perhaps"}, "InvalidParameter.CascadingDelete")
	s.Refused(t, s.Root, "ram", "DeletePolicy", P{"PolicyName": "AdministratorAccess"}, "EntityNotExist.Policy")
	s.RAM(t, s.Root, "DeletePolicy", P{"PolicyName": "p"}, nil)
	s.Refused(t, s.Root, "ram", "DeletePolicy", P{"PolicyName": "p"}, "EntityNotExist.Policy")

	s.RAM(t, s.Root, "CreatePolicy", create, nil)
	onUser := P{"PolicyType": "Custom", "PolicyName": "p", "UserName": "u"}
	onRole := P{"PolicyType": "Custom", "PolicyName": "p", "RoleName": "Role"}
	s.RAM(t, s.Root, "CreateUser", P{"UserName": "u"}, nil)
	s.RAM(t, s.Root, "CreateRole", P{"RoleName": "Role", "AssumeRolePolicyDocument": trustAccount}, nil)
	s.RAM(t, s.Root, "AttachPolicyToUser", onUser, nil)
	s.RAM(t, s.Root, "AttachPolicyToRole", onRole, nil)
	s.RAM(t, s.Root, "AttachPolicyToUser", P{"PolicyType": "System", "PolicyName": "AdministratorAccess", "UserName": "u"}, nil)
	s.Refused(t, s.Root, "ram", "DeletePolicy", P{"PolicyName": "p"}, "DeleteConflict.Policy.User")
	s.RAM(t, s.Root, "DetachPolicyFromUser", onUser, nil)
	s.Refused(t, s.Root, "ram", "DeletePolicy", P{"PolicyName": "p", "CascadingDelete": "false"}, "DeleteConflict.Role.Policy")
	s.RAM(t, s.Root, "AttachPolicyToUser", onUser, nil)
	s.RAM(t, s.Root, "DeletePolicy", P{"PolicyName": "p", "CascadingDelete": "true"}, nil)

	// A policy made anew under the name is attached to nobody.
	s.RAM(t, s.Root, "CreatePolicy", create, nil)
	s.Refused(t, s.Root, "ram", "DetachPolicyFromUser", onUser, "EntityNotExist.User.Policy")
	s.Refused(t, s.Root, "ram", "DetachPolicyFromRole", onRole, "EntityNotExist.Role.Policy")
	s.RAM(t, s.Root, "DetachPolicyFromUser", P{"PolicyType": "System", "PolicyName": "AdministratorAccess", "UserName": "u"}, nil)

	// Older versions are in the way too, but not of a cascade.
	key := store.PolicyKey(ramtest.Account, "p")
	s.Commit(t.Context(), t, func(tx *store.Tx) error {
		p, err := store.Policies.Read(tx, key)
		if err == nil {
			p.Versions = append(p.Versions, store.PolicyVersion{ID: "v2", Document: readBailian})
			store.Policies.Put(tx, key, p)
		}
		return err
	})
	s.Refused(t, s.Root, "ram", "DeletePolicy", P{"PolicyName": "p"}, "DeleteConflict.Policy.Version")
	s.RAM(t, s.Root, "DeletePolicy", P{"PolicyName": "p", "CascadingDelete": "true"}, nil)
	s.RAM(t, s.OtherRoot, "GetPolicy", P{"PolicyType": "Custom", "PolicyName": "p"}, nil)
}

// TestCascadeLimit: at the limit a cascade is one transaction that etcd takes,
// and beyond it nothing changes.
func TestCascadeLimit(t *testing.T) {
	s := ramtest.Start(t)
	s.RAM(t, s.Root, "CreatePolicy", P{"PolicyName": "p", "PolicyDocument": readBailian}, nil)
	put := func(i int) {
		s.Commit(t.Context(), t, func(tx *store.Tx) error {
			for ; i >= 0; i-- {
				name := fmt.Sprintf("u%d", i)
				store.Users.Put(tx, store.UserKey(ramtest.Account, name), &store.User{
					ID: name, Account: ramtest.Account, Name: name, Policies: []store.Attachment{{Type: "Custom", Name: "p"}},
				})
				if i == 100 {
					break
				}
			}
			return nil
		})
	}
	put(99)
	put(100)
	cascade := P{"PolicyName": "p", "CascadingDelete": "true"}
	s.Refused(t, s.Root, "ram", "DeletePolicy", cascade, "DeleteConflict.Policy.User")
	s.RAM(t, s.Root, "DetachPolicyFromUser", P{"PolicyType": "Custom", "PolicyName": "p", "UserName": "u7"}, nil)
	s.RAM(t, s.Root, "DeletePolicy", cascade, nil)
	left := 0
	err := store.Users.Scan(s.View(t), store.AccountPrefix(ramtest.Account), func(_ string, u *store.User) bool {
		left += len(u.Policies)
		return true
	})
	if err != nil || left != 0 {
		t.Errorf("%d attachments left, %v", left, err)
	}
}
