package compat

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
	"time"

	newkms "github.com/alibabacloud-go/kms-20160120/v3/client"
	newsts "github.com/alibabacloud-go/sts-20150401/v2/client"
	"github.com/alibabacloud-go/tea/tea"
	"github.com/aliyun/credentials-go/credentials"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// TestCallerIdentity asks who each kind of caller is.
func TestCallerIdentity(t *testing.T) {
	srv := start(t)
	service := srv.Service(t, "bailian")
	forEachCaller(t, srv, func(t *testing.T, how caller, acct *sesametest.Account) {
		root := at{t, srv, how, acct.Root}
		is := func(who at, want answer) {
			t.Helper()
			who.ok("sts", "GetCallerIdentity", nil, want)
		}
		is(root, answer{
			"IdentityType": "Account", "AccountId": acct.ID, "PrincipalId": acct.ID, "UserId": acct.ID, "Arn": "acs:ram::" + acct.ID + ":root",
		})

		user := root.as(acct.NewUser(t, "alice", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}`))
		userID := field(root.ok("ram", "GetUser", params{"UserName": "alice"}, nil), "User", "UserId")
		is(user, answer{
			"IdentityType": "RAMUser", "AccountId": acct.ID, "PrincipalId": userID, "UserId": "ENTITY", "Arn": "acs:ram::" + acct.ID + ":user/alice",
		})

		arn := acct.NewRole(t, "Readers", "", "")
		roleID := field(root.ok("ram", "GetRole", params{"RoleName": "Readers"}, nil), "Role", "RoleId")
		chained := user.as(session(user.ok("sts", "AssumeRole", params{"RoleArn": arn, "RoleSessionName": "s.1@x"}, nil)))
		is(chained, answer{
			"IdentityType": "AssumedRoleUser", "AccountId": acct.ID, "PrincipalId": roleID + ":s.1@x", "RoleId": "ENTITY",
			"Arn": "acs:ram::" + acct.ID + ":assumed-role/Readers/s.1@x",
		})

		is(root.as(service), answer{
			"IdentityType": "Service", "AccountId": "system", "PrincipalId": sesametest.Services["bailian"],
			"Arn": "acs:ram::system:service/" + sesametest.Services["bailian"],
		})
		is(root.as(deposit(t, root.as(service), acct, "bailian")), answer{
			"IdentityType": "AssumedRoleUser", "AccountId": acct.ID, "RoleId": "ENTITY",
			"PrincipalId": field(root.ok("ram", "GetRole", params{"RoleName": "AliyunServiceRoleForSFMAccessKMS"}, nil), "Role", "RoleId") + ":deposit",
			"Arn":         "acs:ram::" + acct.ID + ":assumed-role/AliyunServiceRoleForSFMAccessKMS/deposit",
		})
		operator, err := how.call(srv, srv.Operator, "sts", "GetCallerIdentity", nil)
		if err != nil || operator["IdentityType"] != "Operator" || operator["AccountId"] != "system" || !strings.HasPrefix(field(operator, "Arn"), "acs:ram::system:operator/") {
			t.Errorf("the operator is %v, %v", operator, err)
		}
	})
}

// TestAssumeRole assumes a role with all parameters and uses the session.
func TestAssumeRole(t *testing.T) {
	srv := start(t)
	forEachCaller(t, srv, func(t *testing.T, how caller, acct *sesametest.Account) {
		root := at{t, srv, how, acct.Root}
		for _, name := range []string{"one", "two"} {
			root.kms("CreateSecret", params{"SecretName": name, "VersionId": "v1", "SecretData": "value of " + name}, nil)
		}
		user := root.as(acct.NewUser(t, "app", ""))
		arn := acct.NewRole(t, "readers", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::`+acct.ID+`:root"]},"Condition":{"StringEquals":{"sts:ExternalId":"ticket/1"}}}]}`, "AliyunKMSSecretUserAccess")
		assume := params{"RoleArn": arn, "RoleSessionName": "job-1", "DurationSeconds": "900", "ExternalId": "ticket/1",
			"Policy": `{"Version":"1","Statement":[{"Effect":"Allow","Action":"kms:GetSecretValue","Resource":"acs:kms:*:*:secret/one"}]}`}

		user.refused("sts", "AssumeRole", assume, 403, "NoPermission")
		acct.Attach(t, "app", "System", "AliyunSTSAssumeRoleAccess")
		roleID := field(root.ok("ram", "GetRole", params{"RoleName": "readers"}, nil), "Role", "RoleId")
		before := time.Now().Truncate(time.Second)
		got := user.ok("sts", "AssumeRole", assume, answer{
			"AssumedRoleUser": answer{"Arn": arn + "/job-1", "AssumedRoleId": roleID + ":job-1"},
			"Credentials":     answer{"AccessKeyId": "KEY", "AccessKeySecret": "SECRET", "SecurityToken": "TOKEN", "Expiration": "TIME"},
		})
		expires, err := time.Parse(time.RFC3339, field(got, "Credentials", "Expiration"))
		if err != nil || expires.Before(before.Add(15*time.Minute)) || expires.After(time.Now().Add(15*time.Minute)) {
			t.Errorf("the session expires at %v, want 15 minutes after %v", expires, before)
		}
		narrowed := user.as(session(got))
		narrowed.kms("GetSecretValue", params{"SecretName": "one"}, nil)
		narrowed.kmsRefused("GetSecretValue", params{"SecretName": "two"}, 403, "Forbidden.NoPermission")
		delete(assume, "Policy")
		whole := user.as(session(user.ok("sts", "AssumeRole", assume, nil)))
		whole.kms("GetSecretValue", params{"SecretName": "two"}, nil)

		assume["ExternalId"] = "ticket/2"
		user.refused("sts", "AssumeRole", assume, 403, "NoPermission")
		root.refused("sts", "AssumeRole", assume, 403, "NoPermission").mention(t, "Roles may not be assumed by root accounts.")
	})
}

// TestSourceIdentity: only the current SDK knows it.
func TestSourceIdentity(t *testing.T) {
	srv := start(t)
	acct := srv.NewAccount(t)
	app := acct.NewUser(t, "app", "")
	acct.Attach(t, "app", "System", "AliyunSTSAssumeRoleAccess")
	client, err := newsts.NewClient((&newSDK{}).config(srv, app))
	if err != nil {
		t.Fatal(err)
	}
	out, err := client.AssumeRole(&newsts.AssumeRoleRequest{
		RoleArn: tea.String(acct.NewRole(t, "r", "", "")), RoleSessionName: tea.String("s1"), SourceIdentity: tea.String("Alice"),
	})
	if err != nil || tea.StringValue(out.Body.SourceIdentity) != "Alice" {
		t.Errorf("got %v, %v; want the source identity Alice", out, err)
	}
}

// TestCredentialsProvider lets the SDK's credentials library assume a role at
// the server's STS by itself, and the KMS client use what it got. The library
// takes its certificate authorities from net/http's default transport.
func TestCredentialsProvider(t *testing.T) {
	srv := start(t)
	acct := srv.NewAccount(t)
	srv.MustCall(t, acct.Root, "kms", "CreateSecret", sesametest.Params{"SecretName": "one", "VersionId": "v1", "SecretData": "value"}, nil)
	app := acct.NewUser(t, "app", "")
	acct.Attach(t, "app", "System", "AliyunSTSAssumeRoleAccess")

	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(srv.CAPEM)
	transport := http.DefaultTransport.(*http.Transport)
	old := transport.TLSClientConfig
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	t.Cleanup(func() { transport.TLSClientConfig = old })

	provider := func(role string) credentials.Credential {
		t.Helper()
		c, err := credentials.NewCredential(&credentials.Config{
			Type: tea.String("ram_role_arn"), AccessKeyId: tea.String(app.AccessKeyID), AccessKeySecret: tea.String(app.AccessKeySecret),
			RoleArn: tea.String(role), RoleSessionName: tea.String("provider"), RoleSessionExpiration: tea.Int(900), STSEndpoint: tea.String(srv.Host),
			Policy: tea.String(`{"Version":"1","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}`),
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	cfg := (&newSDK{}).config(srv, sesametest.Credential{})
	cfg.Credential = provider(acct.NewRole(t, "readers", "", "AliyunKMSSecretUserAccess"))
	client, err := newkms.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	out, err := client.GetSecretValue(&newkms.GetSecretValueRequest{SecretName: tea.String("one")})
	if err != nil || tea.StringValue(out.Body.SecretData) != "value" {
		t.Errorf("read with the provider's session: %v", err)
	}
	// The library shows its user the server's answer as it came.
	if _, err := provider("acs:ram::" + acct.ID + ":role/nobody").GetCredential(); err == nil || !strings.Contains(err.Error(), `"Code":"EntityNotExist.Role"`) {
		t.Errorf("a role that does not exist: got %v", err)
	}
}
