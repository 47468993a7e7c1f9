package compat

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// with returns the parameters with others added or replaced: name, value, …
func (p params) with(pairs ...string) params {
	out := params{}
	for k, v := range p {
		out[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

// without returns the parameters without one.
func (p params) without(name string) params {
	out := p.with()
	delete(out, name)
	return out
}

var (
	newSecret  = params{"SecretName": "new", "VersionId": "v1", "SecretData": "x"}
	newVersion = params{"SecretName": "there", "VersionId": "v2", "SecretData": "x"}
)

// badParameters are requests of the account's root user that break a rule of
// one parameter. The message names it.
var badParameters = []struct {
	operation string
	p         params
	status    int
	code      string
	names     string
}{
	{"CreateSecret", newSecret.without("SecretName"), 400, "MissingParameter", "SecretName"},
	{"CreateSecret", newSecret.without("VersionId"), 400, "MissingParameter", "VersionId"},
	{"CreateSecret", newSecret.without("SecretData"), 400, "MissingParameter", "SecretData"},
	{"CreateSecret", newSecret.with("SecretData", ""), 400, "MissingParameter", "SecretData"},
	{"CreateSecret", newSecret.with("SecretName", "two words"), 400, "InvalidParameter", "SecretName"},
	{"CreateSecret", newSecret.with("SecretName", strings.Repeat("n", 193)), 400, "InvalidParameter", "SecretName"},
	{"CreateSecret", newSecret.with("SecretName", strings.Repeat("中", 65)), 400, "InvalidParameter", "SecretName"},
	{"CreateSecret", newSecret.with("SecretName", "acs/ram/user/x"), 400, "InvalidParameter", "SecretName"},
	{"CreateSecret", newSecret.with("SecretName", "acs:kms:cn-hangzhou:1234567890123456:secret/x"), 400, "InvalidParameter", "SecretName"},
	{"CreateSecret", newSecret.with("SecretName", "unregistered!x"), 400, "InvalidParameter", "SecretName"},
	{"CreateSecret", newSecret.with("SecretName", "Bailian!x"), 400, "InvalidParameter", "SecretName"},
	{"CreateSecret", newSecret.with("SecretName", "bailian!"), 400, "InvalidParameter", "SecretName"},
	{"CreateSecret", newSecret.with("SecretName", "bailian!x!y"), 400, "InvalidParameter", "SecretName"},
	{"CreateSecret", newSecret.with("VersionId", strings.Repeat("v", 65)), 400, "InvalidParameter", "VersionId"},
	{"CreateSecret", newSecret.with("VersionId", "v\n1"), 400, "InvalidParameter", "VersionId"},
	{"CreateSecret", newSecret.with("SecretData", strings.Repeat("x", 30721)), 400, "InvalidParameter", "SecretData"},
	{"CreateSecret", newSecret.with("SecretDataType", "json"), 400, "InvalidParameter", "SecretDataType"},
	{"CreateSecret", newSecret.with("SecretType", "Rds"), 400, "UnsupportedOperation", "SecretType"},
	{"CreateSecret", newSecret.with("SecretType", "generic"), 400, "InvalidParameter", "SecretType"},
	{"CreateSecret", newSecret.with("EnableAutomaticRotation", "true"), 400, "InvalidParameter", "EnableAutomaticRotation"},
	{"CreateSecret", newSecret.with("RotationInterval", "7w"), 400, "InvalidParameter", "RotationInterval"},
	{"CreateSecret", newSecret.with("RotationInterval", "5h"), 400, "InvalidParameter", "RotationInterval"},
	{"CreateSecret", newSecret.with("Description", strings.Repeat("d", 8193)), 400, "InvalidParameter", "Description"},
	{"CreateSecret", newSecret.with("Tags", "team"), 400, "InvalidParameter", "Tags"},
	{"CreateSecret", newSecret.with("Tags", `[{"TagKey":"acs:x","TagValue":""}]`), 400, "InvalidParameter.TagKey", "tag key"},
	{"CreateSecret", newSecret.with("Tags", `[{"TagKey":"x","TagValue":"a b"}]`), 400, "InvalidParameter.TagValue", "tag value"},
	{"CreateSecret", newSecret.with("Tags", `[{"TagKey":"x"},{"TagKey":"x"}]`), 400, "Duplicate.TagKey", "tagKey"},
	{"CreateSecret", newSecret.with("Tags", "["+strings.Repeat(`{"TagKey":"x"},`, 20)+`{"TagKey":"y"}]`), 400, "Rejected.LimitExceeded", "20 tags"},
	{"CreateSecret", newSecret.with("DKMSInstanceId", "kst-none"), 403, "Forbidden.DKMSInstanceNotFound", "Instance"},
	{"CreateSecret", newSecret.with("EncryptionKeyId", "key-none"), 400, "InvalidParameter", "EncryptionKeyId"},
	{"CreateSecret", newSecret.with("Policy", "{}"), 400, "Forbidden.KeyPolicyUnSupported", "Policy"},
	{"CreateSecret", newSecret.with("ExtendedConfig", `{"k":"`+strings.Repeat("x", 1024)+`"}`), 400, "InvalidParameter", "ExtendedConfig"},
	{"CreateSecret", newSecret.with("SecretName", "there"), 409, "Rejected.ResourceExist", "already exists"},

	{"GetSecretValue", params{}, 400, "MissingParameter", "SecretName"},
	{"GetSecretValue", params{"SecretName": "there", "VersionStage": "a b"}, 400, "InvalidParameter", "VersionStage"},
	{"GetSecretValue", params{"SecretName": "there", "VersionId": strings.Repeat("v", 65)}, 400, "InvalidParameter", "VersionId"},
	{"GetSecretValue", params{"SecretName": "acs:kms:cn-hangzhou:1234567890123456:key/x"}, 400, "InvalidParameter", "SecretName"},
	{"GetSecretValue", params{"SecretName": "acs:kms:cn-hangzhou:*:secret/x"}, 400, "InvalidParameter", "SecretName"},
	{"GetSecretValue", params{"SecretName": "missing"}, 404, "Forbidden.ResourceNotFound", ""},
	{"GetSecretValue", params{"SecretName": "bailian!missing"}, 404, "Forbidden.ResourceNotFound", ""},
	{"GetSecretValue", params{"SecretName": "unregistered!missing"}, 404, "Forbidden.ResourceNotFound", ""},

	{"PutSecretValue", newVersion.without("SecretName"), 400, "MissingParameter", "SecretName"},
	{"PutSecretValue", newVersion.without("VersionId"), 400, "MissingParameter", "VersionId"},
	{"PutSecretValue", newVersion.without("SecretData"), 400, "MissingParameter", "SecretData"},
	{"PutSecretValue", newVersion.with("VersionStages", `["ACSPrevious"]`), 400, "InvalidParameter", "VersionStages"},
	{"PutSecretValue", newVersion.with("VersionStages", `["a","a"]`), 400, "InvalidParameter", "VersionStages"},
	{"PutSecretValue", newVersion.with("VersionStages", `[`), 400, "InvalidParameter", "VersionStages"},
	{"PutSecretValue", newVersion.with("VersionStages", `["`+strings.Repeat("s", 65)+`"]`), 400, "InvalidParameter", "VersionStages"},
	{"PutSecretValue", newVersion.with("SecretName", "missing"), 404, "Forbidden.ResourceNotFound", ""},

	{"DescribeSecret", params{}, 400, "MissingParameter", "SecretName"},
	{"DescribeSecret", params{"SecretName": "there", "FetchTags": "maybe"}, 400, "InvalidParameter", "FetchTags"},
	{"DescribeSecret", params{"SecretName": "missing"}, 404, "Forbidden.ResourceNotFound", ""},

	{"ListSecrets", params{"PageNumber": "0"}, 400, "InvalidParameter", "PageNumber"},
	{"ListSecrets", params{"PageSize": "0"}, 400, "InvalidParameter", "PageSize"},
	{"ListSecrets", params{"PageSize": "101"}, 400, "InvalidParameter", "PageSize"},
	{"ListSecrets", params{"Filters": "SecretName"}, 400, "InvalidParameter", "Filters"},
	{"ListSecrets", params{"Filters": `[{"Key":"Colour","Values":["red"]}]`}, 400, "InvalidParameter", "Filters"},
	{"ListSecrets", params{"Filters": "[" + strings.Repeat(`{"Key":"SecretName"},`, 10) + `{"Key":"SecretName"}]`}, 400, "InvalidParameter", "Filters"},
	{"ListSecrets", params{"Filters": `[{"Key":"SecretName","Values":["1","2","3","4","5","6","7","8","9","10","11"]}]`}, 400, "InvalidParameter", "Filters"},

	{"ListSecretVersionIds", params{}, 400, "MissingParameter", "SecretName"},
	{"ListSecretVersionIds", params{"SecretName": "there", "PageSize": "101"}, 400, "InvalidParameter", "PageSize"},
	{"ListSecretVersionIds", params{"SecretName": "there", "IncludeDeprecated": "1"}, 400, "InvalidParameter", "IncludeDeprecated"},
	{"ListSecretVersionIds", params{"SecretName": "missing"}, 404, "Forbidden.ResourceNotFound", ""},

	{"DeleteSecret", params{}, 400, "MissingParameter", "SecretName"},
	{"DeleteSecret", params{"SecretName": "there", "RecoveryWindowInDays": "6"}, 400, "InvalidParameter", "RecoveryWindowInDays"},
	{"DeleteSecret", params{"SecretName": "there", "RecoveryWindowInDays": "31"}, 400, "InvalidParameter", "RecoveryWindowInDays"},
	{"DeleteSecret", params{"SecretName": "there", "RecoveryWindowInDays": "a week"}, 400, "InvalidParameter", "RecoveryWindowInDays"},
	{"DeleteSecret", params{"SecretName": "there", "ForceDeleteWithoutRecovery": "maybe"}, 400, "InvalidParameter", "ForceDeleteWithoutRecovery"},
	{"DeleteSecret", params{"SecretName": "missing"}, 404, "Forbidden.ResourceNotFound", ""},

	{"RestoreSecret", params{}, 400, "MissingParameter", "SecretName"},
	{"RestoreSecret", params{"SecretName": "missing"}, 404, "Forbidden.ResourceNotFound", ""},
}

// TestBadParameters: a refused request says which parameter is wrong, and
// changes nothing.
func TestBadParameters(t *testing.T) {
	srv := start(t)
	forEachCaller(t, srv, func(t *testing.T, how caller, acct *sesametest.Account) {
		root := at{t, srv, how, acct.Root}
		root.kms("CreateSecret", newSecret.with("SecretName", "there"), nil)
		before := root.kms("DescribeSecret", params{"SecretName": "there", "FetchTags": "true"}, nil)
		for _, c := range badParameters {
			r := root.kmsRefused(c.operation, c.p, c.status, c.code)
			r.mention(t, c.names)
			if data := c.p["SecretData"]; len(data) > 1 && strings.Contains(r.Message, data) {
				t.Errorf("%s: the message repeats the value", c.operation)
			}
		}
		after := root.kms("DescribeSecret", params{"SecretName": "there", "FetchTags": "true"}, nil)
		delete(before, "RequestId")
		delete(after, "RequestId")
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("the refused requests changed the secret:\n%s", diff)
		}
		if got := root.kms("ListSecrets", nil, nil); got["TotalCount"] != float64(1) {
			t.Errorf("the refused requests left %v secrets, want 1", got["TotalCount"])
		}
	})
}

// badIdentityParameters are refused requests to STS, as a user who may assume
// every role, and to RAM and ResourceManager, as root. ROLE stands for the ARN
// of a role.
var badIdentityParameters = []struct {
	product, operation string
	p                  params
	status             int
	code               string
	names              string
}{
	{"sts", "AssumeRole", params{"RoleSessionName": "s1"}, 400, "MissingParameter", "RoleArn"},
	{"sts", "AssumeRole", params{"RoleArn": "ROLE"}, 400, "MissingParameter", "RoleSessionName"},
	{"sts", "AssumeRole", params{"RoleArn": "role/r", "RoleSessionName": "s1"}, 400, "InvalidParameter.RoleArn", "RoleArn"},
	{"sts", "AssumeRole", params{"RoleArn": "acs:ram::1234567890123456:user/r", "RoleSessionName": "s1"}, 400, "InvalidParameter.RoleArn", "RoleArn"},
	{"sts", "AssumeRole", params{"RoleArn": "ROLE", "RoleSessionName": "s"}, 400, "InvalidParameter.RoleSessionName", "RoleSessionName"},
	{"sts", "AssumeRole", params{"RoleArn": "ROLE", "RoleSessionName": "a b"}, 400, "InvalidParameter.RoleSessionName", "RoleSessionName"},
	{"sts", "AssumeRole", params{"RoleArn": "ROLE", "RoleSessionName": "s1", "DurationSeconds": "899"}, 400, "InvalidParameter.DurationSeconds", "15min/1hr"},
	{"sts", "AssumeRole", params{"RoleArn": "ROLE", "RoleSessionName": "s1", "DurationSeconds": "3601"}, 400, "InvalidParameter.DurationSeconds", "15min/1hr"},
	{"sts", "AssumeRole", params{"RoleArn": "ROLE", "RoleSessionName": "s1", "Policy": "{"}, 400, "InvalidParameter.PolicyGrammar", "Policy"},
	{"sts", "AssumeRole", params{"RoleArn": "ROLE", "RoleSessionName": "s1", "Policy": strings.Repeat("x", 2049)}, 400, "InvalidParameter.PolicySize", "2048"},
	{"sts", "AssumeRole", params{"RoleArn": "ROLE", "RoleSessionName": "s1", "ExternalId": "a b"}, 400, "InvalidParameter.ExternalId", "ExternalId"},
	{"sts", "AssumeRole", params{"RoleArn": "ROLE-missing", "RoleSessionName": "s1"}, 404, "EntityNotExist.Role", "The specified Role not exists ."},

	{"ram", "CreateUser", params{}, 400, "MissingParameter", "UserName"},
	{"ram", "CreateUser", params{"UserName": "a b"}, 400, "InvalidParameter.UserName.InvalidChars", "UserName"},
	{"ram", "CreateUser", params{"UserName": strings.Repeat("u", 65)}, 400, "InvalidParameter.UserName.Length", "UserName"},
	{"ram", "CreateUser", params{"UserName": "u", "DisplayName": strings.Repeat("d", 129)}, 400, "InvalidParameter.DisplayName.Length", "DisplayName"},
	{"ram", "CreateUser", params{"UserName": "u", "Email": "nobody"}, 400, "InvalidParameter.Email.Format", "Email"},
	{"ram", "CreateUser", params{"UserName": "u", "MobilePhone": "110"}, 400, "InvalidParameter.MobilePhone.Format", "MobilePhone"},
	{"ram", "CreateUser", params{"UserName": "u", "Comments": strings.Repeat("c", 129)}, 400, "InvalidParameter.Comments.Length", "Comments"},
	{"ram", "DeleteAccessKey", params{"UserName": "app"}, 400, "MissingParameter", "UserAccessKeyId"},
	{"ram", "CreatePolicy", params{"PolicyName": "p"}, 400, "MissingParameter", "PolicyDocument"},
	{"ram", "CreatePolicy", params{"PolicyName": "p_1", "PolicyDocument": "{}"}, 400, "InvalidParameter.PolicyName.InvalidChars", "PolicyName"},
	{"ram", "CreatePolicy", params{"PolicyName": "p", "PolicyDocument": "{}"}, 400, "MalformedPolicyDocument", "PolicyDocument"},
	{"ram", "AttachPolicyToUser", params{"UserName": "app", "PolicyName": "p"}, 400, "MissingParameter", "PolicyType"},
	{"ram", "AttachPolicyToUser", params{"UserName": "app", "PolicyName": "p", "PolicyType": "Custom"}, 404, "EntityNotExist.Policy", ""},
	{"ram", "AttachPolicyToUser", params{"UserName": "nobody", "PolicyName": "AdministratorAccess", "PolicyType": "System"}, 404, "EntityNotExist.User", ""},
	{"ram", "AttachPolicyToRole", params{"RoleName": "nobody", "PolicyName": "AdministratorAccess", "PolicyType": "System"}, 404, "EntityNotExist.Role", ""},
	{"ram", "CreateRole", params{"RoleName": "r"}, 400, "MissingParameter", "AssumeRolePolicyDocument"},
	{"ram", "CreateRole", params{"RoleName": "a b", "AssumeRolePolicyDocument": "{}"}, 400, "InvalidParameter.RoleName.InvalidChars", "RoleName"},
	{"ram", "CreateRole", params{"RoleName": "r", "AssumeRolePolicyDocument": "{}"}, 400, "MalformedPolicyDocument", "AssumeRolePolicyDocument"},
	{"resourcemanager", "CreateServiceLinkedRole", params{}, 400, "MissingParameter", "ServiceName"},
	{"resourcemanager", "CreateServiceLinkedRole", params{"ServiceName": "x", "CustomSuffix": strings.Repeat("s", 65)}, 400, "InvalidParameter.CustomSuffix.Length", ""},
	{"resourcemanager", "CreateServiceLinkedRole", params{"ServiceName": "x", "CustomSuffix": "a b"}, 400, "InvalidParameter.CustomSuffix.InvalidChars", ""},
	{"resourcemanager", "CreateServiceLinkedRole", params{"ServiceName": "x", "Description": strings.Repeat("d", 1025)}, 400, "InvalidParameter.Description.Length", ""},
}

func TestBadIdentityParameters(t *testing.T) {
	srv := start(t)
	forEachCaller(t, srv, func(t *testing.T, how caller, acct *sesametest.Account) {
		root := at{t, srv, how, acct.Root}
		app := root.as(acct.NewUser(t, "app", ""))
		acct.Attach(t, "app", "System", "AliyunSTSAssumeRoleAccess")
		role := acct.NewRole(t, "readers", "", "")
		for _, c := range badIdentityParameters {
			who, p := root, c.p
			if c.product == "sts" {
				who = app
			}
			if rest, ok := strings.CutPrefix(p["RoleArn"], "ROLE"); ok {
				p = p.with("RoleArn", role+rest)
			}
			who.refused(c.product, c.operation, p, c.status, c.code).mention(t, c.names)
		}
	})
}

// TestPermissions: who may not do a thing learns what is refused to whom by
// what, and nothing about whether the thing exists.
func TestPermissions(t *testing.T) {
	srv := start(t)
	service := srv.Service(t, "bailian")
	forEachCaller(t, srv, func(t *testing.T, how caller, acct *sesametest.Account) {
		root := at{t, srv, how, acct.Root}
		root.kms("CreateSecret", newSecret.with("SecretName", "there"), nil)
		reader := root.as(acct.NewUser(t, "reader", readerPolicy("bailian")))
		stranger := root.as(srv.NewAccount(t).Root)
		arn := "acs:kms:cn-hangzhou:" + acct.ID + ":secret/"

		operations := map[string]params{
			"GetSecretValue": {}, "DescribeSecret": {}, "ListSecretVersionIds": {}, "DeleteSecret": {}, "RestoreSecret": {},
			"PutSecretValue": {"VersionId": "v1", "SecretData": "x"},
		}
		for operation, p := range operations {
			present := reader.kmsRefused(operation, p.with("SecretName", "there"), 403, "Forbidden.NoPermission")
			missing := reader.kmsRefused(operation, p.with("SecretName", "gone"), 403, "Forbidden.NoPermission")
			sameBut(t, operation, present, missing, "there", "gone")
			if diff := cmp.Diff(map[string]any{
				"AuthAction": "kms:" + operation, "AuthPrincipalType": "SubUser", "AuthPrincipalOwnerId": acct.ID,
				"AuthPrincipalDisplayName": present.Denied["AuthPrincipalDisplayName"], "NoPermissionType": "ImplicitDeny",
				"PolicyType": "AccountLevelIdentityBasedPolicy",
			}, present.Denied); diff != "" {
				t.Errorf("%s: AccessDeniedDetail: want -, got +:\n%s", operation, diff)
			}
			present = stranger.kmsRefused(operation, p.with("SecretName", arn+"there"), 403, "Forbidden.NoPermission")
			missing = stranger.kmsRefused(operation, p.with("SecretName", arn+"gone"), 403, "Forbidden.NoPermission")
			sameBut(t, operation, present, missing, "there", "gone")
			for _, who := range []at{root.as(service), root.as(srv.Operator)} {
				who.kmsRefused(operation, p.with("SecretName", arn+"there"), 403, "Forbidden.NoPermission").mention(t, "kms:"+operation)
			}
		}
		reader.kmsRefused("GetSecretValue", params{"SecretName": "bailian!gone"}, 404, "Forbidden.ResourceNotFound")
		reader.kmsRefused("CreateSecret", newSecret, 403, "Forbidden.NoPermission").mention(t, arn+"new", "kms:CreateSecret")
		reader.kmsRefused("CreateSecret", newSecret.with("SecretName", "bailian!new"), 403, "Forbidden.NoPermission").mention(t, arn+"bailian!new", "Model Studio")
		root.kmsRefused("GetSecretValue", params{"SecretName": "acs:kms:cn-beijing:" + acct.ID + ":secret/there"}, 404, "Forbidden.ResourceNotFound")

		for operation, p := range map[string]params{
			"CreateUser": {"UserName": "eve"}, "GetUser": {"UserName": "reader"}, "CreateAccessKey": {"UserName": "reader"}, "DeleteUser": {"UserName": "nobody"},
			"AttachPolicyToUser": {"UserName": "reader", "PolicyType": "System", "PolicyName": "AdministratorAccess"},
		} {
			reader.refused("ram", operation, p, 403, "NoPermission").mention(t, "ram:"+operation)
		}
		reader.refused("sts", "AssumeRole", params{"RoleArn": "acs:ram::" + acct.ID + ":role/gone", "RoleSessionName": "s1"}, 403, "NoPermission")
		reader.refused("resourcemanager", "CreateServiceLinkedRole", params{"ServiceName": sesametest.Services["alb"]}, 403, "NoPermission")
	})
}

// sameBut compares two refusals that may differ in one name only.
func sameBut(t *testing.T, operation string, a, b *refusal, nameA, nameB string) {
	t.Helper()
	x, y := *a, *b
	x.Message, y.Message = strings.ReplaceAll(x.Message, nameA, "NAME"), strings.ReplaceAll(y.Message, nameB, "NAME")
	x.RequestID, y.RequestID = "", ""
	if diff := cmp.Diff(x, y); diff != "" {
		t.Errorf("%s tells a missing secret from a forbidden one:\n%s", operation, diff)
	}
}

// TestGatewayProducts: products that offer only the paid mode, which needs a
// KMS instance.
func TestGatewayProducts(t *testing.T) {
	srv := start(t)
	service := srv.Service(t, "aigw")
	forEachCaller(t, srv, func(t *testing.T, how caller, acct *sesametest.Account) {
		root := at{t, srv, how, acct.Root}
		product := root.as(deposit(t, root.as(service), acct, "aigw"))
		secret := newSecret.with("SecretName", "aigw!x")
		product.kmsRefused("CreateSecret", secret, 400, "UnsupportedOperation").mention(t, "AI Gateway", "Free")
		product.kmsRefused("CreateSecret", secret.with("DKMSInstanceId", "kst-1"), 400, "MissingParameter").mention(t, "EncryptionKeyId")
		product.kmsRefused("CreateSecret", secret.with("DKMSInstanceId", "kst-1", "EncryptionKeyId", "key-1"), 403, "Forbidden.DKMSInstanceNotFound")
	})
}

// asRefusal is for calls outside of the callers' tables.
func asRefusal(t *testing.T, err error) *refusal {
	t.Helper()
	var e *refusalError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a refusal", err)
	}
	return &e.refusal
}
