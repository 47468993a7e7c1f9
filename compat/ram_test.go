package compat

import (
	"testing"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// TestRAM runs the operations on identities. The current SDK calls them through
// its generic client, which decodes whatever is sent: there the whole answer is
// compared.
func TestRAM(t *testing.T) {
	srv := start(t)
	forEachCaller(t, srv, func(t *testing.T, how caller, acct *sesametest.Account) {
		root := at{t, srv, how, acct.Root}
		t.Run("users", func(t *testing.T) { root := root; root.t = t; users(root, acct) })
		t.Run("policies", func(t *testing.T) { root := root; root.t = t; policies(root, acct) })
		t.Run("roles", func(t *testing.T) { root := root; root.t = t; roles(root, acct) })
		t.Run("service-linked role", func(t *testing.T) { root := root; root.t = t; serviceLinkedRole(root, acct) })
	})
}

func users(root at, _ *sesametest.Account) {
	bob := params{"UserName": "bob"}
	user := answer{
		"UserId": "ENTITY", "UserName": "bob", "DisplayName": "Bob 鲍勃", "MobilePhone": "86-18600008888", "Email": "bob@example.com",
		"Comments": "of the team", "CreateDate": "TIME",
	}
	root.ok("ram", "CreateUser", params{
		"UserName": "bob", "DisplayName": "Bob 鲍勃", "MobilePhone": "86-18600008888", "Email": "bob@example.com", "Comments": "of the team",
	}, answer{"User": user})
	user["UpdateDate"] = "TIME"
	root.ok("ram", "GetUser", bob, answer{"User": user})
	root.refused("ram", "CreateUser", bob, 409, "EntityAlreadyExists.User")

	key := answer{"AccessKeyId": "KEY", "Status": "Active", "CreateDate": "TIME"}
	created := root.ok("ram", "CreateAccessKey", bob, answer{"AccessKey": answer{"AccessKeyId": "KEY", "AccessKeySecret": "SECRET", "Status": "Active", "CreateDate": "TIME"}})
	id := field(created, "AccessKey", "AccessKeyId")
	second := field(root.ok("ram", "CreateAccessKey", bob, nil), "AccessKey", "AccessKeyId")
	root.ok("ram", "ListAccessKeys", bob, answer{"AccessKeys": answer{"AccessKey": list(key, key)}})
	root.refused("ram", "CreateAccessKey", bob, 409, "LimitExceeded.User.AccessKey")

	self := root.as(sesametest.Credential{AccessKeyID: id, AccessKeySecret: field(created, "AccessKey", "AccessKeySecret")})
	self.ok("sts", "GetCallerIdentity", nil, nil)
	self.refused("ram", "ListAccessKeys", nil, 403, "NoPermission")

	root.refused("ram", "DeleteUser", bob, 409, "DeleteConflict.User.AccessKey")
	for _, k := range []string{id, second} {
		root.ok("ram", "DeleteAccessKey", params{"UserName": "bob", "UserAccessKeyId": k}, answer{})
	}
	root.refused("ram", "DeleteAccessKey", params{"UserName": "bob", "UserAccessKeyId": id}, 404, "EntityNotExist.User.AccessKey")
	self.refused("sts", "GetCallerIdentity", nil, 404, "InvalidAccessKeyId.NotFound")
	root.ok("ram", "ListAccessKeys", bob, answer{})
	root.ok("ram", "DeleteUser", bob, answer{})
	for _, operation := range []string{"GetUser", "DeleteUser", "CreateAccessKey", "ListAccessKeys"} {
		root.refused("ram", operation, bob, 404, "EntityNotExist.User")
	}
}

func policies(root at, acct *sesametest.Account) {
	acct.NewUser(root.t, "carol", "")
	document := readerPolicy("bailian")
	name := params{"PolicyName": "readers"}
	policy := answer{"PolicyName": "readers", "PolicyType": "Custom", "Description": "of secrets", "DefaultVersion": "v1", "CreateDate": "TIME"}
	root.ok("ram", "CreatePolicy", params{"PolicyName": "readers", "PolicyDocument": document, "Description": "of secrets"}, answer{"Policy": policy})
	root.refused("ram", "CreatePolicy", params{"PolicyName": "readers", "PolicyDocument": document}, 409, "EntityAlreadyExists.Policy")
	root.refused("ram", "CreatePolicy", params{"PolicyName": "broken", "PolicyDocument": `{"Version":"1"}`}, 400, "MalformedPolicyDocument")

	attach := params{"PolicyType": "Custom", "PolicyName": "readers", "UserName": "carol"}
	root.ok("ram", "AttachPolicyToUser", attach, answer{})
	root.refused("ram", "AttachPolicyToUser", attach, 409, "EntityAlreadyExists.User.Policy")
	version := answer{"VersionId": "v1", "IsDefaultVersion": true, "PolicyDocument": document, "CreateDate": "TIME"}
	policy["UpdateDate"], policy["AttachmentCount"], policy["PolicyDocument"] = "TIME", 1, "N/A"
	root.ok("ram", "GetPolicy", params{"PolicyType": "Custom", "PolicyName": "readers"}, answer{"Policy": policy, "DefaultPolicyVersion": version})
	root.refused("ram", "DeletePolicy", name, 409, "DeleteConflict.Policy.User")
	root.refused("ram", "DeleteUser", params{"UserName": "carol"}, 409, "DeleteConflict.User.AccessKey")
	root.ok("ram", "DetachPolicyFromUser", attach, answer{})
	root.refused("ram", "DetachPolicyFromUser", attach, 404, "EntityNotExist.User.Policy")
	root.ok("ram", "DeletePolicy", name, answer{})
	root.refused("ram", "GetPolicy", params{"PolicyType": "Custom", "PolicyName": "readers"}, 404, "EntityNotExist.Policy")
	root.refused("ram", "GetPolicy", params{"PolicyType": "Other", "PolicyName": "readers"}, 400, "InvalidParameter.PolicyType")

	system := root.ok("ram", "GetPolicy", params{"PolicyType": "System", "PolicyName": "AliyunKMSFullAccess"}, nil)
	if field(system, "Policy", "PolicyType") != "System" || field(system, "DefaultPolicyVersion", "PolicyDocument") == "" {
		root.t.Errorf("the system policy is %v", system)
	}
}

func roles(root at, acct *sesametest.Account) {
	name := params{"RoleName": "ops-1"}
	trust := `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::` + acct.ID + `:root"]}}]}`
	role := answer{
		"RoleId": "ENTITY", "RoleName": "ops-1", "Arn": "acs:ram::" + acct.ID + ":role/ops-1", "Description": "for operations",
		"AssumeRolePolicyDocument": trust, "MaxSessionDuration": 7200, "CreateDate": "TIME",
	}
	root.ok("ram", "CreateRole", params{
		"RoleName": "ops-1", "AssumeRolePolicyDocument": trust, "Description": "for operations", "MaxSessionDuration": "7200",
	}, answer{"Role": role})
	root.refused("ram", "CreateRole", params{"RoleName": "OPS-1", "AssumeRolePolicyDocument": trust}, 409, "EntityAlreadyExists.Role")
	root.refused("ram", "CreateRole", params{"RoleName": "r", "AssumeRolePolicyDocument": trust, "MaxSessionDuration": "3599"}, 400, "InvalidParameter.MaxSessionDuration")
	role["UpdateDate"] = "TIME"
	root.ok("ram", "GetRole", name, answer{"Role": role})

	attach := params{"PolicyType": "System", "PolicyName": "AliyunKMSFullAccess", "RoleName": "ops-1"}
	root.ok("ram", "AttachPolicyToRole", attach, answer{})
	root.refused("ram", "AttachPolicyToRole", attach, 409, "EntityAlreadyExists.Role.Policy")
	root.refused("ram", "DeleteRole", name, 409, "DeleteConflict.Role.Policy")
	root.ok("ram", "DetachPolicyFromRole", attach, answer{})
	root.refused("ram", "DetachPolicyFromRole", attach, 404, "EntityNotExist.Role.Policy")
	root.ok("ram", "DeleteRole", name, answer{})
	for _, operation := range []string{"GetRole", "DeleteRole"} {
		root.refused("ram", operation, name, 404, "EntityNotExist.Role")
	}
}

func serviceLinkedRole(root at, acct *sesametest.Account) {
	const name = "AliyunServiceRoleForSFMAccessKMS"
	service := params{"ServiceName": sesametest.Services["bailian"]}
	role := answer{
		"RoleId": "ENTITY", "RoleName": name, "Arn": "acs:ram::" + acct.ID + ":role/aliyunserviceroleforsfmaccesskms",
		"Description":              "Lets Model Studio act in this account as its service-linked role permits.",
		"AssumeRolePolicyDocument": `{"Statement":[{"Action":"sts:AssumeRole","Effect":"Allow","Principal":{"Service":["kms-access.sfm.aliyuncs.com"]}}],"Version":"1"}`,
		"CreateDate":               "TIME", "IsServiceLinkedRole": true, "RolePrincipalName": name + "@role." + acct.ID + ".onaliyunservice.com",
	}
	create := func(p params, status int, code string) {
		root.t.Helper()
		root.refused("resourcemanager", "CreateServiceLinkedRole", p, status, code)
	}
	root.ok("resourcemanager", "CreateServiceLinkedRole", service, answer{"Role": role})
	create(service, 409, "EntityAlreadyExists.Role")
	create(params{"ServiceName": "nobody.aliyuncs.com"}, 404, "EntityNotExist.Service")
	create(params{"ServiceName": sesametest.Services["alb"], "CustomSuffix": "x"}, 400, "InvalidParameter.CustomSuffix.NotAllowed")
	create(params{"ServiceName": sesametest.Services["alb"], "Description": "x"}, 400, "InvalidParameter.Description.NotAllowed")
	for operation, p := range map[string]params{
		"DeleteRole":         {"RoleName": name},
		"AttachPolicyToRole": {"RoleName": name, "PolicyType": "System", "PolicyName": "AdministratorAccess"},
	} {
		root.refused("ram", operation, p, 403, "NoPermission.ServiceLinkedRole").mention(root.t, operation)
	}
}
