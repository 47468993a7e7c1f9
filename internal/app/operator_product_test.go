package app_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/sesametest"
)

type rolePolicyAnswer struct {
	RolePolicy string
	Products   struct{ Product []string }
}

func (d *door) policyOf(t testing.TB, service string) string {
	t.Helper()
	var out rolePolicyAnswer
	d.op(t, "DescribeService", p{"ServiceName": service}).ok(t, &out)
	return out.RolePolicy
}

func TestServices(t *testing.T) {
	d := start(t, sesametest.Options{})
	name := "first.services.example.com"
	var made struct {
		Service struct{ RoleName, PolicyName, DisplayName string }
	}
	d.op(t, "CreateService", p{"ServiceName": name}).ok(t, &made)
	if s := made.Service; s.RoleName != "AliyunServiceRoleForFirstServicesExampleCom" || s.PolicyName != "AliyunServiceRolePolicyForFirstServicesExampleCom" {
		t.Errorf("service %+v", s)
	}
	d.op(t, "CreateService", p{"ServiceName": name}).refused(t, 409, "EntityAlreadyExists.Service", name)
	// A role's name belongs to one service, whatever its case.
	for _, role := range []string{"AliyunServiceRoleForFirstServicesExampleCom", "AliyunServiceRoleForFIRSTservicesexamplecom", "AliyunServiceRoleForAlbAccessKMS"} {
		d.op(t, "CreateService", p{"ServiceName": "second.services.example.com", "RoleName": role}).refused(t, 409, "EntityAlreadyExists.Service", "role name")
	}
	for _, bad := range []string{"Upper.example.com", "no-dot", "a..b", "-a.b", "a.b/c", `a".b`, "1234567890123456@a.b", strings.Repeat("a", 126) + ".bc"} {
		d.op(t, "CreateService", p{"ServiceName": bad}).refused(t, 400, "InvalidParameter", "ServiceName")
	}
	for _, bad := range []string{"admin", "AliyunServiceRoleFor", "AliyunServiceRoleForA-b"} {
		d.op(t, "CreateService", p{"ServiceName": "x.example.com", "RoleName": bad}).refused(t, 400, "InvalidParameter", "RoleName")
	}
	d.op(t, "UpdateService", p{"ServiceName": name, "DisplayName": "The First"}).ok(t, &made)
	if made.Service.DisplayName != "The First" {
		t.Errorf("service %+v", made.Service)
	}
	d.op(t, "UpdateService", p{"ServiceName": "none.example.com", "DisplayName": "x"}).refused(t, 404, "EntityNotExist.Service")
	var list struct {
		Services struct {
			Service []struct{ ServiceName string }
		}
	}
	d.op(t, "ListServices", nil).ok(t, &list)
	n := 0
	for _, s := range list.Services.Service {
		if s.ServiceName == name || s.ServiceName == "kms.alb.aliyuncs.com" {
			n++
		}
	}
	if n != 2 {
		t.Errorf("services %+v", list.Services)
	}
	// Without a product there is nothing for it to do, and the role can be made
	// and deleted.
	if policy := d.policyOf(t, name); strings.Contains(policy, "kms:") {
		t.Errorf("policy %s", policy)
	}
}

// TestCodes: a code belongs to one product, and passes on only when nothing of
// it is left anywhere; the role's policy follows.
func TestCodes(t *testing.T) {
	d := start(t, sesametest.Options{})
	one, two := d.platform(t, "codeone"), d.platform(t, "codetwo")
	acct := d.NewAccount(t)
	first, second := one.manage(t, acct), two.manage(t, acct)

	d.op(t, "UpdateProduct", p{"Product": one.product, "AddProductCodes.1": "codemore", "AddProductCodes.2": "codespare"}).ok(t)
	if policy := d.policyOf(t, one.service); !strings.Contains(policy, "secret/codemore!*") || !strings.Contains(policy, "secret/codeone!*") {
		t.Errorf("the role's policy does not follow: %s", policy)
	}
	d.create(t, first, "codemore!a", "deposited")
	take := p{"Product": two.product, "AddProductCodes.1": "codemore"}
	drop := p{"Product": one.product, "RemoveProductCodes.1": "codemore"}
	d.op(t, "UpdateProduct", take).refused(t, 409, "EntityAlreadyExists.ProductCode", "codemore", one.product)
	d.op(t, "UpdateProduct", drop).refused(t, 409, "DeleteConflict.ProductCode", "codemore", ": 1.")
	d.op(t, "RegisterProduct", p{"Product": "code-third", "ServiceName": two.service, "DisplayName": "x", "ProductCodes.1": "codethird", "ProductCodes.2": "codemore", "HostingModes.1": "Free"}).
		refused(t, 409, "EntityAlreadyExists.ProductCode")
	d.op(t, "DescribeProduct", p{"Product": "code-third"}).refused(t, 404, "EntityNotExist.Product")

	// Pending deletion counts as left.
	d.call(t, first, "DeleteSecret", p{"SecretName": "codemore!a"}).ok(t)
	d.op(t, "UpdateProduct", drop).refused(t, 409, "DeleteConflict.ProductCode")
	d.call(t, first, "DeleteSecret", p{"SecretName": "codemore!a", "ForceDeleteWithoutRecovery": "true"}).ok(t)
	d.op(t, "UpdateProduct", drop).ok(t)
	if policy := d.policyOf(t, one.service); strings.Contains(policy, "codemore") || !strings.Contains(policy, "codespare") {
		t.Errorf("the role's policy does not follow: %s", policy)
	}
	d.call(t, first, "CreateSecret", p{"SecretName": "codemore!b", "VersionId": "v1", "SecretData": "x"}).refused(t, 400, "InvalidParameter", "SecretName")

	d.op(t, "UpdateProduct", take).ok(t)
	d.call(t, first, "CreateSecret", p{"SecretName": "codemore!b", "VersionId": "v1", "SecretData": "x"}).refused(t, 403, "Forbidden.NoPermission")
	d.create(t, second, "codemore!b", "x")

	d.op(t, "UpdateProduct", p{"Product": two.product, "RemoveProductCodes.1": "codespare"}).refused(t, 400, "InvalidParameter", "RemoveProductCodes")
	for _, bad := range []string{"acs", "Upper", "1a", "a!b", "a_b", "-a", strings.Repeat("a", 33)} {
		d.op(t, "UpdateProduct", p{"Product": two.product, "AddProductCodes.1": bad}).refused(t, 400, "InvalidParameter", "AddProductCodes")
		d.op(t, "RegisterProduct", p{"Product": "code-bad", "ServiceName": two.service, "DisplayName": "x", "ProductCodes.1": bad, "HostingModes.1": "Free"}).
			refused(t, 400, "InvalidParameter", "ProductCodes")
	}
	// The policy of the gateways speaks of no code and stays.
	gateways := d.policyOf(t, sesametest.Services["aigw"])
	d.op(t, "UpdateProduct", p{"Product": "ai-gateway", "AddProductCodes.1": "codegw"}).ok(t)
	if after := d.policyOf(t, sesametest.Services["aigw"]); after != gateways {
		t.Errorf("the gateways' policy became %s", after)
	}
}

// TestRenamedProduct: owner records do not change with the registry, and an
// account can have a quota of its own.
func TestRenamedProduct(t *testing.T) {
	d := start(t, sesametest.Options{})
	pl := d.platform(t, "rename")
	acct := d.NewAccount(t)
	managing := pl.manage(t, acct)
	d.create(t, managing, "rename!a", "x")
	d.op(t, "UpdateProduct", p{"Product": pl.product, "DisplayName": "Renamed", "HostingModes.1": "Paid", "Quota": "0"}).ok(t)
	got := d.call(t, acct.Root, "DescribeSecret", p{"SecretName": "rename!a"}).ok(t)
	if got.text("OwingService") != pl.product || got.text("HostingMode") != "Free" {
		t.Errorf("owner %s, mode %s", got.text("OwingService"), got.text("HostingMode"))
	}
	d.call(t, acct.Root, "DeleteSecret", p{"SecretName": "rename!a"}).refused(t, 403, "Forbidden.NoPermission", "managed by Renamed")
	d.call(t, managing, "PutSecretValue", p{"SecretName": "rename!a", "VersionId": "v2", "SecretData": "y"}).ok(t)
	b := p{"SecretName": "rename!b", "VersionId": "v1", "SecretData": "x"}
	d.call(t, managing, "CreateSecret", b).refused(t, 400, "UnsupportedOperation", "Free")

	d.op(t, "UpdateProduct", p{"Product": pl.product, "HostingModes": `["Free","Paid"]`}).ok(t)
	d.call(t, managing, "CreateSecret", b).refused(t, 400, "Rejected.LimitExceeded")
	d.op(t, "UpdateProduct", p{"Product": pl.product, "AccountId": acct.ID, "AccountQuota": "2"}).ok(t)
	d.call(t, managing, "CreateSecret", b).ok(t)
	var out struct {
		SecretCount   int
		AccountQuotas struct {
			AccountQuota []struct {
				AccountId   string
				Quota, Used int
			}
		}
	}
	d.op(t, "DescribeProduct", p{"Product": pl.product}).ok(t, &out)
	if got := fmt.Sprint(out.SecretCount, out.AccountQuotas.AccountQuota); got != "2 [{"+acct.ID+" 2 2}]" {
		t.Errorf("product: %s", got)
	}
	d.op(t, "UpdateProduct", p{"Product": pl.product, "AccountId": acct.ID, "AccountQuota": "default"}).ok(t)
	d.call(t, managing, "CreateSecret", p{"SecretName": "rename!c", "VersionId": "v1", "SecretData": "x"}).refused(t, 400, "Rejected.LimitExceeded")
	if !slices.Contains(operations(d.Events(t, acct.ID)), "UpdateProduct") {
		t.Error("the account's trail does not tell of its quota")
	}

	for _, bad := range []p{
		{"AccountId": acct.ID}, {"AccountQuota": "1"}, {"AccountId": acct.ID, "AccountQuota": "-1"}, {"HostingModes.1": "Cheap"}, {"Quota": "1000001"}, {"DisplayName": "a\nb"},
	} {
		bad["Product"] = pl.product
		if got := d.op(t, "UpdateProduct", bad); got.status != 400 {
			t.Errorf("%v: HTTP %d", bad, got.status)
		}
	}
	d.op(t, "UpdateProduct", p{"Product": pl.product, "AccountId": "1999999999999999", "AccountQuota": "1"}).refused(t, 404, "EntityNotExist.Account")
	d.op(t, "RegisterProduct", p{"Product": pl.product, "ServiceName": pl.service, "DisplayName": "x", "ProductCodes.1": "renamed", "HostingModes.1": "Free"}).
		refused(t, 409, "EntityAlreadyExists.Product")
}

// TestRetiredProduct: it creates nothing more; all stays readable; the owner
// may delete, with a window, and restore, and nothing else.
func TestRetiredProduct(t *testing.T) {
	d := start(t, sesametest.Options{})
	pl := d.platform(t, "retired")
	acct := d.NewAccount(t)
	managing := pl.manage(t, acct)
	d.create(t, managing, "retired!a", "deposited")
	reader := acct.NewUser(t, "reader", allow("*", "kms:GetSecretValue", "kms:DescribeSecret"))
	owner := d.adminSession(t, acct)
	a := func(more ...string) p {
		out := p{"SecretName": "retired!a"}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	d.call(t, owner, "DeleteSecret", a()).refused(t, 403, "Forbidden.NoPermission")
	d.op(t, "RetireProduct", p{"Product": pl.product}).ok(t)
	d.op(t, "RetireProduct", p{"Product": pl.product}).ok(t)

	create := p{"SecretName": "retired!b", "VersionId": "v1", "SecretData": "x"}
	for _, c := range []cred{managing, owner, acct.Root} {
		d.call(t, c, "CreateSecret", create).refused(t, 403, "Forbidden.NoPermission", "retired")
	}
	if !strings.Contains(d.lastReasons(t, acct.ID, "CreateSecret"), "guard-product-retired") {
		t.Error("the record does not name the law")
	}
	if d.value(t, reader, "retired!a") != "deposited" {
		t.Error("another value than was deposited")
	}
	put := a("VersionId", "v2", "SecretData", "x")
	for who, c := range map[string]cred{"session": owner, "root": acct.Root} {
		d.unchanged(t, acct.Root, []string{"retired!a"}, func() {
			d.call(t, c, "PutSecretValue", put).refused(t, 403, "Forbidden.NoPermission", "retired")
			d.call(t, c, "DeleteSecret", a("ForceDeleteWithoutRecovery", "true")).refused(t, 403, "Forbidden.NoPermission", "recovery window")
			d.call(t, c, "DeleteSecret", a("RecoveryWindowInDays", "6")).refused(t, 400, "InvalidParameter")
		})
		d.call(t, reader, "DeleteSecret", a()).refused(t, 403, "Forbidden.NoPermission")
		d.call(t, c, "DeleteSecret", a("RecoveryWindowInDays", "7")).ok(t)
		d.call(t, reader, "GetSecretValue", a()).refused(t, 409, "Rejected.ResourceInDeleteWindow")
		d.call(t, c, "DeleteSecret", a("ForceDeleteWithoutRecovery", "true")).refused(t, 403, "Forbidden.NoPermission")
		d.call(t, c, "RestoreSecret", a()).ok(t)
		if d.value(t, reader, "retired!a") != "deposited" {
			t.Errorf("%s restored another value than was deposited", who)
		}
	}
	stranger := d.NewAccount(t)
	d.call(t, stranger.Root, "DeleteSecret", p{"SecretName": "acs:kms:" + d.Region + ":" + acct.ID + ":secret/retired!a"}).refused(t, 403, "Forbidden.NoPermission")

	// The code stays with the product until nothing is left, and then goes.
	drop := p{"Product": pl.product, "RemoveProductCodes.1": pl.code}
	d.op(t, "UpdateProduct", drop).refused(t, 409, "DeleteConflict.ProductCode")
	d.op(t, "UpdateProduct", p{"Product": pl.product, "AddProductCodes.1": "retiredmore"}).refused(t, 409, "Rejected.ProductRetired")
	d.call(t, managing, "DeleteSecret", a("ForceDeleteWithoutRecovery", "true")).ok(t)
	d.op(t, "UpdateProduct", drop).ok(t)
	var out struct {
		Product struct {
			Status       string
			ProductCodes []string
		}
	}
	d.op(t, "DescribeProduct", p{"Product": pl.product}).ok(t, &out)
	if out.Product.Status != "Retired" || len(out.Product.ProductCodes) != 0 {
		t.Errorf("product %+v", out.Product)
	}
}

// lastReasons are the reasons in the record of the account's last event of that
// name, as text.
func (d *door) lastReasons(t testing.TB, account, operation string) string {
	t.Helper()
	out := ""
	for _, e := range d.Events(t, account) {
		if e.EventName == operation {
			out = fmt.Sprint(e.AdditionalEventData)
		}
	}
	return out
}
