package ram_test

import (
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/ram/ramtest"
	"github.com/opensesame-kms/opensesame/internal/store"
)

const trustAccount = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::` + ramtest.Account + `:root"]}}]}`

// trust is a trust policy for one RAM principal.
func trust(principal string) string {
	return strings.Replace(trustAccount, "acs:ram::"+ramtest.Account+":root", principal, 1)
}

func TestRoles(t *testing.T) {
	s := ramtest.Start(t)
	made := answer(t, s, s.Root, "ram", "CreateRole", P{
		"RoleName": "App.Role-1", "Description": "for the app", "AssumeRolePolicyDocument": trustAccount,
		"MaxSessionDuration": "43200", "Tag.1.Key": "team", "Tag.1.Value": "a",
	})
	id := takeID(t, made["Role"].(obj), "RoleId")
	want := obj{
		"RoleName": "App.Role-1", "Arn": "acs:ram::" + ramtest.Account + ":role/App.Role-1", "Description": "for the app",
		"AssumeRolePolicyDocument": trustAccount, "MaxSessionDuration": float64(43200), "CreateDate": now,
	}
	same(t, "CreateRole", made, obj{"Role": want})

	want["UpdateDate"] = now
	for _, name := range []string{"App.Role-1", "app.role-1"} {
		read := answer(t, s, s.Root, "ram", "GetRole", P{"RoleName": name})
		if got := takeID(t, read["Role"].(obj), "RoleId"); got != id {
			t.Errorf("GetRole: id %s, want %s", got, id)
		}
		same(t, "GetRole "+name, read, obj{"Role": want})
	}
	rec, err := store.Roles.Get(s.View(t), store.RoleKey(ramtest.Account, "App.Role-1"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "tags", rec.Tags, []store.Tag{{Key: "team", Value: "a"}})

	short := P{"RoleName": "short", "AssumeRolePolicyDocument": trustAccount, "Tag": `[{"Key":"a","Value":"b"}]`}
	read := answer(t, s, s.Root, "ram", "CreateRole", short)["Role"].(obj)
	if read["MaxSessionDuration"] != float64(3600) || read["Description"] != "" {
		t.Errorf("defaults: %v", read)
	}
	s.Refused(t, s.Root, "ram", "CreateRole", P{"RoleName": "SHORT", "AssumeRolePolicyDocument": trustAccount}, "EntityAlreadyExists.Role")

	policy := P{"PolicyType": "System", "PolicyName": "AliyunKMSFullAccess", "RoleName": "SHORT"}
	s.RAM(t, s.Root, "AttachPolicyToRole", policy, nil)
	s.Refused(t, s.Root, "ram", "DeleteRole", P{"RoleName": "short"}, "DeleteConflict.Role.Policy")
	s.RAM(t, s.Root, "DetachPolicyFromRole", policy, nil)
	s.RAM(t, s.Root, "DeleteRole", P{"RoleName": "Short"}, nil)
	for _, op := range []string{"GetRole", "DeleteRole"} {
		s.Refused(t, s.Root, "ram", op, P{"RoleName": "short"}, "EntityNotExist.Role")
		s.Refused(t, s.Root, "ram", op, P{}, "MissingParameter")
		s.Refused(t, s.Root, "ram", op, P{"RoleName": "a_b"}, "InvalidParameter.RoleName.InvalidChars")
	}
}

func TestRoleParameters(t *testing.T) {
	s := ramtest.Start(t)
	s.RAM(t, s.Root, "CreateUser", P{"UserName": "alice"}, nil)
	s.RAM(t, s.Root, "CreateRole", P{"RoleName": "Known", "AssumeRolePolicyDocument": trustAccount}, nil)
	own, other := "acs:ram::"+ramtest.Account, "acs:ram::"+ramtest.Other
	for _, tt := range []struct{ name, value, code string }{
		{"RoleName", "", "MissingParameter"},
		{"RoleName", strings.Repeat("r", 65), "InvalidParameter.RoleName.Length"},
		{"Description", strings.Repeat("d", 1025), "InvalidParameter.Description.Length"},
		{"MaxSessionDuration", "3599", "InvalidParameter.MaxSessionDuration"},
		{"MaxSessionDuration", "43201", "InvalidParameter.MaxSessionDuration"},
		{"MaxSessionDuration", "1h", "InvalidParameter.MaxSessionDuration"},
		{"Tag.1.Key", "aliyun", "InvalidParameter.TagKey"},
		{"AssumeRolePolicyDocument", "", "MissingParameter"},
		{"AssumeRolePolicyDocument", "x", "MalformedPolicyDocument"},
		{"AssumeRolePolicyDocument", readBailian, "MalformedPolicyDocument"},
		{"AssumeRolePolicyDocument", trustAccount + strings.Repeat(" ", 4096), "InvalidParameter.AssumeRolePolicyDocument.Length"},
		{"AssumeRolePolicyDocument", trust(own + ":user/nobody"), "MalformedPolicyDocument"},
		{"AssumeRolePolicyDocument", trust(own + ":role/nobody"), "MalformedPolicyDocument"},
		{"AssumeRolePolicyDocument", trust(own + ":user/alice"), ""},
		{"AssumeRolePolicyDocument", trust(own + ":role/known"), ""},
		{"AssumeRolePolicyDocument", trust(other + ":user/nobody"), ""},
	} {
		params := P{"RoleName": "r", "AssumeRolePolicyDocument": trustAccount, tt.name: tt.value}
		if tt.code != "" {
			s.Refused(t, s.Root, "ram", "CreateRole", params, tt.code)
			continue
		}
		s.RAM(t, s.Root, "CreateRole", params, nil)
		s.RAM(t, s.Root, "DeleteRole", P{"RoleName": "r"}, nil)
	}
}

func TestServiceLinkedRole(t *testing.T) {
	s := ramtest.Start(t)
	const product, op = "resourcemanager", "CreateServiceLinkedRole"
	name := P{"ServiceName": ramtest.Service}
	s.Refused(t, s.Root, product, op, P{}, "MissingParameter")
	s.Refused(t, s.Root, product, op, P{"ServiceName": "nope.aliyuncs.com"}, "EntityNotExist.Service")
	s.Refused(t, s.Root, product, op, P{"ServiceName": "../x"}, "EntityNotExist.Service")
	for param, codes := range map[string][2]string{
		"CustomSuffix": {"x", "InvalidParameter.CustomSuffix.NotAllowed"},
		"Description":  {"x", "InvalidParameter.Description.NotAllowed"},
	} {
		s.Refused(t, s.Root, product, op, P{"ServiceName": ramtest.Service, param: codes[0]}, codes[1])
	}
	s.Refused(t, s.Root, product, op, P{"ServiceName": ramtest.Service, "CustomSuffix": "a_b"}, "InvalidParameter.CustomSuffix.InvalidChars")
	s.Refused(t, s.Root, product, op, P{"ServiceName": ramtest.Service, "CustomSuffix": strings.Repeat("a", 65)}, "InvalidParameter.CustomSuffix.Length")
	s.Refused(t, s.Root, product, op, P{"ServiceName": ramtest.Service, "Description": strings.Repeat("a", 1025)}, "InvalidParameter.Description.Length")

	made := answer(t, s, s.Root, product, op, name)
	id := takeID(t, made["Role"].(obj), "RoleId")
	const description = "Lets Application Load Balancer act in this account as its service-linked role permits."
	same(t, op, made, obj{"Role": obj{
		"RoleName": ramtest.SLR, "Arn": ramtest.SLRArn, "Description": description, "AssumeRolePolicyDocument": ramtest.SLRTrust,
		"CreateDate": now, "IsServiceLinkedRole": true,
		"RolePrincipalName": ramtest.SLR + "@role." + ramtest.Account + ".onaliyunservice.com",
	}})
	s.Refused(t, s.Root, product, op, name, "EntityAlreadyExists.Role")
	answer(t, s, s.OtherRoot, product, op, name)

	for _, spelt := range []string{ramtest.SLR, strings.ToLower(ramtest.SLR)} {
		read := answer(t, s, s.Root, "ram", "GetRole", P{"RoleName": spelt})
		if got := takeID(t, read["Role"].(obj), "RoleId"); got != id {
			t.Errorf("GetRole: id %s, want %s", got, id)
		}
		same(t, "GetRole", read, obj{"Role": obj{
			"RoleName": ramtest.SLR, "Arn": ramtest.SLRArn, "Description": description, "AssumeRolePolicyDocument": ramtest.SLRTrust,
			"MaxSessionDuration": float64(3600), "CreateDate": now, "UpdateDate": now,
		}})
	}
	for _, op := range []string{"DeleteRole", "AttachPolicyToRole", "DetachPolicyFromRole"} {
		params := P{"PolicyType": "System", "PolicyName": "AliyunKMSFullAccess", "RoleName": ramtest.SLR}
		err := s.Refused(t, s.Root, "ram", op, params, "NoPermission.ServiceLinkedRole")
		if err.Status != 403 || !strings.Contains(err.Message, op) {
			t.Errorf("%s: %d %s", op, err.Status, err.Message)
		}
	}
	for _, name := range []string{ramtest.SLR, "aliyunservicerolefor", "AliyunServiceRoleForMine"} {
		s.Refused(t, s.Root, "ram", "CreateRole", P{"RoleName": name, "AssumeRolePolicyDocument": trustAccount}, "InvalidParameter.RoleName")
	}
}

func TestServiceLinkedRoleByPolicy(t *testing.T) {
	s := ramtest.Start(t)
	grant := func(service string) string {
		return `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ram:CreateServiceLinkedRole","Resource":"*","Condition":{"StringEquals":{"ram:ServiceName":"` + service + `"}}}]}`
	}
	alice := s.User(t, s.Root, "alice", grant("other.aliyuncs.com"))
	bob := s.User(t, s.Root, "bob", grant(ramtest.Service))
	for _, name := range []string{ramtest.Service, "nope.aliyuncs.com"} {
		err := s.Refused(t, alice, "resourcemanager", "CreateServiceLinkedRole", P{"ServiceName": name}, "NoPermission")
		if err.AccessDeniedDetail["AuthAction"] != "ram:CreateServiceLinkedRole" {
			t.Errorf("detail %v", err.AccessDeniedDetail)
		}
	}
	answer(t, s, bob, "resourcemanager", "CreateServiceLinkedRole", P{"ServiceName": ramtest.Service})
}
