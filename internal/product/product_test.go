package product

import (
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// TestCatalogue: the built-in services, products and codes, as they are
// publicly known.
func TestCatalogue(t *testing.T) {
	type row struct{ product, name, service, role, modes string }
	want := map[string]row{}
	for _, r := range []struct {
		row
		codes string
	}{
		{row{"ai-gateway", "AI Gateway", "invokekms.nativeapigw.aliyuncs.com", "AliyunServiceRoleForNativeApiGwInvokeKMS", "Paid"}, "aigw ai-gateway"},
		{row{"api-gateway", "API Gateway", "invokekms.nativeapigw.aliyuncs.com", "AliyunServiceRoleForNativeApiGwInvokeKMS", "Paid"}, "apigw"},
		{row{"model-studio", "Model Studio", "kms-access.sfm.aliyuncs.com", "AliyunServiceRoleForSFMAccessKMS", "Free"}, "bailian bailian-apikey mcp"},
		{row{"alb", "Application Load Balancer", "kms.alb.aliyuncs.com", "AliyunServiceRoleForAlbAccessKMS", "Free"}, "alb"},
		{row{"ga", "Global Accelerator", "kms.ga.aliyuncs.com", "AliyunServiceRoleForGaKms", "Free"}, "ga"},
	} {
		for _, code := range strings.Fields(r.codes) {
			want[code] = r.row
		}
	}
	got := map[string]row{}
	for _, b := range catalogue() {
		if err := b.service.Loaded(); err != nil {
			t.Errorf("the policy of %s: %v", b.service.Name, err)
		}
		for _, p := range b.products {
			for _, code := range p.Codes {
				if _, twice := got[code]; twice {
					t.Errorf("two products have the code %s", code)
				}
				modes := ""
				for _, m := range p.Modes {
					modes += string(m)
				}
				got[code] = row{p.ID, p.DisplayName, b.service.Name, b.service.RoleName, modes}
			}
		}
	}
	for code, w := range want {
		if got[code] != w {
			t.Errorf("code %s: %+v, want %+v", code, got[code], w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d codes, want %d", len(got), len(want))
	}
}

// TestRolePolicies: what the service-linked roles' policies allow by
// themselves. The server's laws stand above them.
func TestRolePolicies(t *testing.T) {
	const account = "1000000000000001"
	secret := func(name string) arn.ARN { return arn.Secret("cn-hangzhou", account, name) }
	for _, b := range catalogue() {
		if err := b.service.Loaded(); err != nil {
			t.Fatal(err)
		}
		allows := func(action string, a arn.ARN, env policy.Env) bool {
			return policy.Decide(&policy.Query{
				Action: action, Resources: []arn.ARN{a}, Owner: account, Env: env,
				Principal: policy.Principal{Kind: policy.RoleSession, Account: account, Name: b.service.RoleName},
				Identity:  []policy.Attached{{Document: b.service.Compiled, Type: store.PolicySystem}},
			}).Allowed
		}
		for _, action := range []string{"CreateSecret", "DeleteSecret", "RestoreSecret", "DescribeSecret", "PutSecretValue", "UpdateSecret", "UpdateSecretVersionStage", "ListSecretVersionIds", "GetSecretValue", "TagResource", "UntagResource"} {
			for _, p := range b.products {
				for _, code := range p.Codes {
					if !allows("kms:"+action, secret(code+"!x"), nil) {
						t.Errorf("%s may not %s its %s!x", b.service.Name, action, code)
					}
				}
			}
		}
		for _, action := range []string{"kms:ListSecrets", "kms:ListManagedQuotas", "kms:GenerateDataKey", "kms:Decrypt"} {
			if !allows(action, arn.SecretContainer("cn-hangzhou", account), nil) {
				t.Errorf("%s may not %s", b.service.Name, action)
			}
		}
		for _, action := range []string{"kms:SetSecretPolicy", "kms:RotateSecret", "ram:CreateUser", "sts:AssumeRole", "sesame:CreateAccount", "kms:ScheduleKeyDeletion"} {
			if allows(action, secret(b.products[0].Codes[0]+"!x"), nil) {
				t.Errorf("%s may %s", b.service.Name, action)
			}
		}
		own := policy.MapEnv{"ram:ServiceName": {b.service.Name}}
		others := policy.MapEnv{"ram:ServiceName": {"other.aliyuncs.com"}}
		if !allows("ram:DeleteServiceLinkedRole", policy.Everything, own) || allows("ram:DeleteServiceLinkedRole", policy.Everything, others) || allows("ram:DeleteServiceLinkedRole", policy.Everything, nil) {
			t.Errorf("%s: deleting its own role and no other", b.service.Name)
		}
	}
}

func TestAccountID(t *testing.T) {
	for text, ok := range map[string]bool{
		"1000000000000001": true, "9999999999999999": true,
		"0000000000000001": false, "100000000000000": false, "10000000000000001": false, "": false, "100000000000000a": false, "１000000000000001": false, "1000000000000001\n": false,
	} {
		if err := new(AccountID).BindParam(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
