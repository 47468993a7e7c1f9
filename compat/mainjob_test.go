package compat

import (
	"testing"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// TestMainJob is what the server is for: a product deposits a credential for an
// account, the account's owner lets one user read it, and nobody else can
// change it, with every SDK.
func TestMainJob(t *testing.T) {
	srv := start(t)
	studio, alb := srv.Service(t, "bailian"), srv.Service(t, "alb")
	forEachCaller(t, srv, func(t *testing.T, how caller, acct *sesametest.Account) {
		root := at{t, srv, how, acct.Root}
		reader := root.as(acct.NewUser(t, "reader", readerPolicy("bailian")))
		root.kms("CreateSecret", params{"SecretName": "ordinary", "VersionId": "v1", "SecretData": "mine"}, answer{
			"Arn": "acs:kms:cn-hangzhou:" + acct.ID + ":secret/ordinary", "SecretName": "ordinary", "VersionId": "v1", "SecretType": "Generic",
		})
		product := root.as(deposit(t, root.as(studio), acct, "bailian"))
		other := root.as(deposit(t, root.as(alb), acct, "alb"))

		const name = "bailian!secret-123"
		arn := "acs:kms:cn-hangzhou:" + acct.ID + ":secret/" + name
		product.kms("CreateSecret", params{
			"SecretName": name, "VersionId": "v1", "SecretData": "sk-1", "Description": "key of a model provider",
			"Tags": `[{"TagKey":"team","TagValue":"search"}]`,
		}, answer{"Arn": arn, "SecretName": name, "VersionId": "v1", "SecretType": "Generic"})
		read := func(version, data string, stages ...string) {
			t.Helper()
			reader.kms("GetSecretValue", params{"SecretName": name}, answer{
				"SecretName": name, "VersionId": version, "SecretData": data, "SecretDataType": "text", "SecretType": "Generic",
				"CreateTime": "TIME", "VersionStages": answer{"VersionStage": list(stages...)},
			})
		}
		read("v1", "sk-1", "ACSCurrent")
		product.kms("PutSecretValue", params{"SecretName": name, "VersionId": "v2", "SecretData": "sk-2"}, answer{
			"SecretName": name, "VersionId": "v2", "VersionStages": answer{"VersionStage": list("ACSCurrent")},
		})
		read("v2", "sk-2", "ACSCurrent")
		described := answer{
			"Arn": arn, "SecretName": name, "SecretType": "Generic", "Description": "key of a model provider", "AutomaticRotation": "Disabled",
			"CreateTime": "TIME", "UpdateTime": "TIME", "OwingService": "model-studio",
			"Tags": answer{"Tag": list(answer{"TagKey": "team", "TagValue": "search"})},
		}
		for _, who := range []at{reader, product, root} {
			who.kms("DescribeSecret", params{"SecretName": arn, "FetchTags": "true"}, described)
			who.kms("ListSecrets", params{"Filters": `[{"Key":"SecretName","Values":["bailian!"]}]`}, answer{
				"PageNumber": 1, "PageSize": 10, "TotalCount": 1, "SecretList": answer{"Secret": list(answer{
					"SecretName": name, "SecretType": "Generic", "CreateTime": "TIME", "UpdateTime": "TIME", "OwingService": "model-studio",
				})},
			})
		}

		ownerIsRefused(t, root, acct, name, arn)
		foreignersAreRefused(t, reader, other, acct.ID, name)

		product.kms("DeleteSecret", params{"SecretName": name, "RecoveryWindowInDays": "7"}, answer{"SecretName": name, "PlannedDeleteTime": "TIME"})
		reader.kmsRefused("GetSecretValue", params{"SecretName": name}, 409, "Rejected.ResourceInDeleteWindow")
		root.kmsRefused("RestoreSecret", params{"SecretName": name}, 403, "Forbidden.NoPermission").mention(t, arn, "Model Studio")
		product.kms("RestoreSecret", params{"SecretName": name}, answer{"SecretName": name})
		read("v2", "sk-2", "ACSCurrent")
		product.kms("DeleteSecret", params{"SecretName": name, "ForceDeleteWithoutRecovery": "true"}, answer{"SecretName": name, "PlannedDeleteTime": "TIME"})
		reader.kmsRefused("GetSecretValue", params{"SecretName": name}, 404, "Forbidden.ResourceNotFound")
	})
}

// deposit makes the managing session of a service in the account: the account
// authorises the service by its service-linked role, which the service assumes.
func deposit(t *testing.T, service at, acct *sesametest.Account, code string) sesametest.Credential {
	t.Helper()
	return session(service.ok("sts", "AssumeRole", params{"RoleArn": acct.Authorise(t, code), "RoleSessionName": "deposit"}, nil))
}

// ownerIsRefused tries every write on a default secret as the account's root
// user, an administrator, and a session of a role that may do everything.
func ownerIsRefused(t *testing.T, root at, acct *sesametest.Account, name, arn string) {
	t.Helper()
	const everything = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	admin := acct.NewUser(t, "admin", everything)
	role := root.srv.Assume(t, admin, acct.NewRole(t, "administrators", "", "AdministratorAccess"))
	for who, owner := range map[string]at{"root": root, "an administrator": root.as(admin), "a role session": root.as(role)} {
		for operation, p := range map[string]params{
			"CreateSecret":   {"SecretName": name, "VersionId": "v1", "SecretData": "x"},
			"PutSecretValue": {"SecretName": name, "VersionId": "v3", "SecretData": "x"},
			"DeleteSecret":   {"SecretName": name, "ForceDeleteWithoutRecovery": "true"},
			"RestoreSecret":  {"SecretName": arn},
		} {
			r := owner.kmsRefused(operation, p, 403, "Forbidden.NoPermission")
			r.mention(t, arn, "Model Studio")
			if r.Denied["AuthAction"] != "kms:"+operation {
				t.Errorf("%s as %s: AccessDeniedDetail is %v", operation, who, r.Denied)
			}
		}
	}
}

// foreignersAreRefused tries what the reader and another service's managing
// session must not do.
func foreignersAreRefused(t *testing.T, reader, other at, account, name string) {
	t.Helper()
	const refused = "Forbidden.NoPermission"
	reader.kmsRefused("GetSecretValue", params{"SecretName": "ordinary"}, 403, refused).mention(t, ":secret/ordinary")
	reader.kmsRefused("PutSecretValue", params{"SecretName": name, "VersionId": "v3", "SecretData": "x"}, 403, refused)

	arn := "acs:kms:cn-hangzhou:" + account + ":secret/"
	other.kmsRefused("GetSecretValue", params{"SecretName": name}, 403, refused).mention(t, arn+name)
	other.kmsRefused("DescribeSecret", params{"SecretName": name}, 403, refused)
	other.kmsRefused("CreateSecret", params{"SecretName": "bailian!of-another", "VersionId": "v1", "SecretData": "x"}, 403, refused).
		mention(t, arn+"bailian!of-another")
	other.kmsRefused("PutSecretValue", params{"SecretName": name, "VersionId": "v3", "SecretData": "x"}, 403, refused)
	other.kmsRefused("DeleteSecret", params{"SecretName": name}, 403, refused)
	other.kmsRefused("GetSecretValue", params{"SecretName": "ordinary"}, 403, refused)
	other.kms("ListSecrets", params{}, answer{"PageNumber": 1, "PageSize": 10})
}
