package sesametest_test

import (
	"testing"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// TestMainJob is the idea of the program: a product deposits, the owner's user
// reads, nobody else changes.
func TestMainJob(t *testing.T) {
	srv := sesametest.Start(t)
	acct := srv.NewAccount(t)
	service := srv.Service(t, "bailian")
	product := acct.Manage(t, service, "bailian")
	reader := acct.NewUser(t, "reader", `{"Version":"1","Statement":[{"Effect":"Allow","Action":["kms:List*","kms:Describe*","kms:GetSecretValue"],"Resource":"acs:kms:${region}:${account}:secret/bailian!*"}]}`)

	name := sesametest.Params{"SecretName": "bailian!demo"}
	srv.MustCall(t, product, "kms", "CreateSecret", sesametest.Params{"SecretName": "bailian!demo", "VersionId": "v1", "SecretData": "deposited"}, nil)
	var out struct{ SecretData string }
	srv.MustCall(t, reader, "kms", "GetSecretValue", name, &out)
	if out.SecretData != "deposited" {
		t.Error("the reader read another value than the product deposited")
	}
	srv.MustFail(t, acct.Root, "kms", "DeleteSecret", name, "Forbidden.NoPermission")
	srv.MustFail(t, acct.Root, "kms", "PutSecretValue", sesametest.Params{"SecretName": "bailian!demo", "VersionId": "v2", "SecretData": "x"}, "Forbidden.NoPermission")
	srv.MustCall(t, product, "kms", "DeleteSecret", name, nil)
	srv.MustFail(t, reader, "kms", "GetSecretValue", name, "Rejected.ResourceInDeleteWindow")
}
