package app_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// TestWithdrawnPermission: a policy that is detached, a key and a user that
// are deleted count from the answer on.
func TestWithdrawnPermission(t *testing.T) {
	for _, sharedCheck := range []bool{false, true} {
		d := shared
		if sharedCheck {
			d = start(t, sesametest.Options{SharedCheck: true})
		}
		acct := d.NewAccount(t)
		d.create(t, acct.Root, "s", "x")
		user := acct.NewUser(t, "u", allow("*", "kms:GetSecretValue"))
		name := p{"SecretName": "s"}
		attachment := p{"UserName": "u", "PolicyType": "Custom", "PolicyName": "of-u"}
		for range 20 {
			d.call(t, user, "GetSecretValue", name).ok(t)
			d.api(t, acct.Root, "ram", "DetachPolicyFromUser", attachment).ok(t)
			d.call(t, user, "GetSecretValue", name).refused(t, 403, "Forbidden.NoPermission")
			d.api(t, acct.Root, "ram", "AttachPolicyToUser", attachment).ok(t)
		}
		d.call(t, user, "GetSecretValue", name).ok(t)
		d.api(t, acct.Root, "ram", "DeleteAccessKey", p{"UserName": "u", "UserAccessKeyId": user.AccessKeyID}).ok(t)
		d.call(t, user, "GetSecretValue", name).refused(t, 404, "InvalidAccessKeyId.NotFound")
	}
}

// TestWithdrawnUnderLoad: no read that was begun after the detachment was
// confirmed succeeds, however many run.
func TestWithdrawnUnderLoad(t *testing.T) {
	acct := shared.NewAccount(t)
	shared.create(t, acct.Root, "s", "x")
	user := acct.NewUser(t, "u", allow("*", "kms:GetSecretValue"))
	var withdrawn, stop atomic.Bool
	var wg sync.WaitGroup
	var first sync.WaitGroup
	first.Add(4)
	for range 4 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				late := withdrawn.Load()
				a := shared.call(t, user, "GetSecretValue", p{"SecretName": "s"})
				if late && a.status == 200 {
					t.Error("a read succeeded after its permission was withdrawn")
				}
				if i == 0 {
					first.Done()
				}
			}
		})
	}
	first.Wait()
	shared.api(t, acct.Root, "ram", "DetachPolicyFromUser", p{"UserName": "u", "PolicyType": "Custom", "PolicyName": "of-u"}).ok(t)
	withdrawn.Store(true)
	for range 50 {
		shared.call(t, user, "GetSecretValue", p{"SecretName": "s"}).refused(t, 403, "Forbidden.NoPermission")
	}
	stop.Store(true)
	wg.Wait()
}

// TestEndedSessions: a session ends with its role, though one of the same name
// is made anew; a change of the role's policies counts at once.
func TestEndedSessions(t *testing.T) {
	acct := shared.NewAccount(t)
	shared.create(t, acct.Root, "s", "x")
	session := shared.adminSession(t, acct)
	name := p{"SecretName": "s"}
	attachment := p{"RoleName": "admin-role", "PolicyType": "System", "PolicyName": "AdministratorAccess"}
	shared.call(t, session, "GetSecretValue", name).ok(t)
	shared.api(t, acct.Root, "ram", "DetachPolicyFromRole", attachment).ok(t)
	shared.call(t, session, "GetSecretValue", name).refused(t, 403, "Forbidden.NoPermission")
	shared.api(t, acct.Root, "ram", "DeleteRole", p{"RoleName": "admin-role"}).ok(t)
	shared.call(t, session, "GetSecretValue", name).refused(t, 400, "InvalidSecurityToken.Expired")
	acct.NewRole(t, "admin-role", "", "AdministratorAccess")
	shared.call(t, session, "GetSecretValue", name).refused(t, 400, "InvalidSecurityToken.Expired")
	shared.api(t, session, "sts", "GetCallerIdentity", nil).refused(t, 400, "InvalidSecurityToken.Expired")
}

// TestDeletedUserEndsSessions: what a user assumed ends with the user.
func TestDeletedUserEndsSessions(t *testing.T) {
	acct := shared.NewAccount(t)
	session := shared.adminSession(t, acct)
	shared.call(t, session, "ListSecrets", nil).ok(t)
	shared.api(t, acct.Root, "ram", "DetachPolicyFromUser", p{"UserName": "assumer", "PolicyType": "System", "PolicyName": "AliyunSTSAssumeRoleAccess"}).ok(t)
	var keys struct {
		AccessKeys struct {
			AccessKey []struct{ AccessKeyId string }
		}
	}
	shared.api(t, acct.Root, "ram", "ListAccessKeys", p{"UserName": "assumer"}).ok(t, &keys)
	for _, k := range keys.AccessKeys.AccessKey {
		shared.api(t, acct.Root, "ram", "DeleteAccessKey", p{"UserName": "assumer", "UserAccessKeyId": k.AccessKeyId}).ok(t)
	}
	shared.api(t, acct.Root, "ram", "DeleteUser", p{"UserName": "assumer"}).ok(t)
	shared.call(t, session, "ListSecrets", nil).refused(t, 400, "InvalidSecurityToken.Expired")
}

// TestServiceLinkedRole: only its service assumes it, and nobody changes it.
func TestServiceLinkedRole(t *testing.T) {
	c := newCast(t)
	const role = "AliyunServiceRoleForSFMAccessKMS"
	arn := "acs:ram::" + c.ID + ":role/" + strings.ToLower(role)
	assume := p{"RoleArn": arn, "RoleSessionName": "test"}
	for who, caller := range c.insiders {
		if who == "root" {
			continue
		}
		shared.api(t, caller, "sts", "AssumeRole", assume).refused(t, 403, "NoPermission")
	}
	shared.api(t, c.Root, "sts", "AssumeRole", assume).refused(t, 403, "NoPermission", "root")
	shared.api(t, shared.service(t, "alb"), "sts", "AssumeRole", assume).refused(t, 403, "NoPermission")
	shared.api(t, shared.Operator, "sts", "AssumeRole", assume).refused(t, 403, "NoPermission")
	for who, caller := range c.insiders {
		for operation, params := range map[string]p{
			"DeleteRole":           {"RoleName": role},
			"AttachPolicyToRole":   {"RoleName": role, "PolicyType": "System", "PolicyName": "AdministratorAccess"},
			"DetachPolicyFromRole": {"RoleName": role, "PolicyType": "System", "PolicyName": "AliyunServiceRolePolicyForSFMAccessKMS"},
		} {
			a := shared.api(t, caller, "ram", operation, params)
			if a.what = who + ": " + operation; a.status != 403 {
				t.Errorf("%s: HTTP %d %s", a.what, a.status, a.body)
			}
		}
	}
	shared.create(t, c.manager, "bailian!s", "x") // its session goes on

	// A session policy can only take rights away, also from a product.
	var out struct {
		Credentials struct{ AccessKeyId, AccessKeySecret, SecurityToken string }
	}
	assume["Policy"] = allow("*", "kms:DescribeSecret")
	shared.api(t, shared.service(t, "bailian"), "sts", "AssumeRole", assume).ok(t, &out)
	narrow := cred{AccessKeyID: out.Credentials.AccessKeyId, AccessKeySecret: out.Credentials.AccessKeySecret, SecurityToken: out.Credentials.SecurityToken}
	shared.call(t, narrow, "DescribeSecret", p{"SecretName": "bailian!s"}).ok(t)
	shared.call(t, narrow, "GetSecretValue", p{"SecretName": "bailian!s"}).refused(t, 403, "Forbidden.NoPermission")
	shared.call(t, narrow, "DeleteSecret", p{"SecretName": "bailian!s"}).refused(t, 403, "Forbidden.NoPermission")
}

// TestImpostor: an account cannot make a role under the name of a
// service-linked one, and one that merely trusts the service makes no managing
// session.
func TestImpostor(t *testing.T) {
	acct := shared.NewAccount(t)
	document := trust(sesametest.Services["bailian"])
	for _, name := range []string{"AliyunServiceRoleForSFMAccessKMS", "aliyunserviceroleforsfmaccesskms"} {
		shared.api(t, acct.Root, "ram", "CreateRole", p{"RoleName": name, "AssumeRolePolicyDocument": document}).refused(t, 400, "InvalidParameter.RoleName")
	}
	session := shared.Assume(t, shared.service(t, "bailian"), acct.NewRole(t, "SFMAccessKMS", document, "AdministratorAccess"))
	shared.call(t, session, "CreateSecret", p{"SecretName": "bailian!s", "VersionId": "v", "SecretData": "x"}).
		refused(t, 403, "Forbidden.NoPermission", "Model Studio")
	shared.create(t, session, "plain", "x")
}

// TestCredentialsOfNoAccount: what a service's and the operator's own
// credentials can do.
func TestCredentialsOfNoAccount(t *testing.T) {
	acct := shared.NewAccount(t)
	service := shared.service(t, "bailian")
	for _, c := range []struct {
		cred                cred
		kind, id, arn, word string
	}{
		{service, "Service", sesametest.Services["bailian"], "acs:ram::system:service/" + sesametest.Services["bailian"], "service"},
		{shared.Operator, "Operator", "operator", "acs:ram::system:operator/operator", "operator"},
	} {
		a := shared.api(t, c.cred, "sts", "GetCallerIdentity", nil).ok(t)
		if a.text("IdentityType") != c.kind || a.text("PrincipalId") != c.id || a.text("AccountId") != "system" || a.text("Arn") != c.arn {
			t.Errorf("GetCallerIdentity answered %s", a.body)
		}
		for operation, params := range map[string]p{
			"CreateUser": {"UserName": "x"}, "GetUser": {"UserName": "x"}, "CreateAccessKey": {"UserName": "x"},
			"CreateRole": {"RoleName": "x", "AssumeRolePolicyDocument": trust("a.aliyuncs.com")}, "GetPolicy": {"PolicyType": "System", "PolicyName": "AdministratorAccess"},
		} {
			shared.api(t, c.cred, "ram", operation, params).refused(t, 403, "NoPermission")
		}
		shared.api(t, c.cred, "resourcemanager", "CreateServiceLinkedRole", p{"ServiceName": sesametest.Services["bailian"]}).refused(t, 403, "NoPermission")
		shared.call(t, c.cred, "ListSecrets", nil).refused(t, 403, "Forbidden.NoPermission", c.word)
	}
	for operation, params := range map[string]p{"CreateAccount": nil, "ListProducts": nil, "CreateServiceCredential": {"ServiceName": sesametest.Services["bailian"]}} {
		for _, c := range []cred{acct.Root, service, shared.adminSession(t, shared.NewAccount(t))} {
			shared.api(t, c, "opensesame", operation, params).refused(t, 403, "Forbidden.NoPermission", "sesame:"+operation)
		}
	}
	// A service has its first credential once.
	shared.api(t, shared.Operator, "opensesame", "CreateServiceCredential", p{"ServiceName": sesametest.Services["bailian"]}).refused(t, 403, "Forbidden.NoPermission")
	shared.api(t, shared.Operator, "opensesame", "CreateServiceCredential", p{"ServiceName": "nosuch.aliyuncs.com"}).refused(t, 404, "EntityNotExist.Service")
	shared.api(t, shared.Operator, "opensesame", "CreateAccount", p{"AccountId": acct.ID}).refused(t, 409, "Rejected.ResourceExist")
	shared.api(t, shared.Operator, "opensesame", "CreateAccount", p{"AccountId": "1"}).refused(t, 400, "InvalidParameter", `"AccountId"`)
}
