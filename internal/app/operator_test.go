package app_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// op calls an operation of the operator's.
func (d *door) op(t testing.TB, operation string, params p) answer {
	t.Helper()
	return d.api(t, d.Operator, "opensesame", operation, params)
}

// platform is a service with one product, registered for a test.
type platform struct {
	service, product, code string
	key                    cred
	d                      *door
}

type keyAnswer struct {
	AccessKey struct{ AccessKeyId, AccessKeySecret, Status string }
}

func (k keyAnswer) cred() cred {
	return cred{AccessKeyID: k.AccessKey.AccessKeyId, AccessKeySecret: k.AccessKey.AccessKeySecret}
}

// platform registers a service, its first credential and a product with the
// code, all named after it.
func (d *door) platform(t testing.TB, code string) *platform {
	t.Helper()
	pl := &platform{service: code + ".example.com", product: code + "-product", code: code, d: d}
	d.op(t, "CreateService", p{"ServiceName": pl.service, "DisplayName": "Service " + code}).ok(t)
	var key keyAnswer
	d.op(t, "CreateServiceCredential", p{"ServiceName": pl.service}).ok(t, &key)
	pl.key = key.cred()
	d.op(t, "RegisterProduct", p{
		"Product": pl.product, "ServiceName": pl.service, "DisplayName": "Product " + code, "ProductCodes.1": code, "HostingModes.1": "Free",
	}).ok(t)
	return pl
}

// authorise makes the service's role in the account and returns its ARN.
func (pl *platform) authorise(t testing.TB, acct *sesametest.Account) string {
	t.Helper()
	var out struct{ Role struct{ Arn string } }
	pl.d.api(t, acct.Root, "resourcemanager", "CreateServiceLinkedRole", p{"ServiceName": pl.service}).ok(t, &out)
	return out.Role.Arn
}

// manage authorises the service and makes a managing session.
func (pl *platform) manage(t testing.TB, acct *sesametest.Account) cred {
	t.Helper()
	return pl.d.Assume(t, pl.key, pl.authorise(t, acct))
}

func (d *door) identity(t testing.TB, c cred) answer {
	t.Helper()
	return d.api(t, c, "sts", "GetCallerIdentity", nil)
}

// TestSuspendedAccount: keys and sessions of a suspended account are refused
// from the moment that it is confirmed; its secrets stay; sessions stay ended.
func TestSuspendedAccount(t *testing.T) {
	d := start(t, sesametest.Options{})
	pl := d.platform(t, "suspend")
	acct, other := d.NewAccount(t), d.NewAccount(t)
	managing := pl.manage(t, acct)
	d.create(t, managing, "suspend!a", "deposited")
	user := acct.NewUser(t, "user", allow("*", "kms:GetSecretValue", "sts:AssumeRole"))
	session := d.Assume(t, user, acct.NewRole(t, "role", "", "AdministratorAccess"))
	abroad := d.Assume(t, user, other.NewRole(t, "foreign",
		`{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::`+acct.ID+`:root"]}}]}`, "AdministratorAccess"))
	account := p{"AccountId": acct.ID}
	all := map[string]cred{"root": acct.Root, "user": user, "session": session, "session abroad": abroad, "managing session": managing}
	for who, c := range all {
		if got := d.identity(t, c); got.status != 200 {
			t.Fatalf("%s, before: HTTP %d %v", who, got.status, got.fields["Code"])
		}
	}

	if got := d.op(t, "SuspendAccount", account).ok(t).fields["Account"].(map[string]any)["Status"]; got != "Suspended" {
		t.Errorf("status %v", got)
	}
	for who, c := range all {
		if got := d.identity(t, c); got.status != 400 || got.fields["Code"] != "InvalidAccessKeyId.Inactive" {
			t.Errorf("%s, suspended: HTTP %d %v", who, got.status, got.fields["Code"])
		}
	}
	d.identity(t, other.Root).ok(t)
	d.op(t, "SuspendAccount", account).ok(t) // once more changes nothing
	d.op(t, "DescribeAccount", account).ok(t)

	d.op(t, "ResumeAccount", account).ok(t)
	for who, c := range all {
		got := d.identity(t, c)
		if c.SecurityToken == "" && got.status != 200 {
			t.Errorf("%s, resumed: HTTP %d %v", who, got.status, got.fields["Code"])
		}
		if c.SecurityToken != "" && got.fields["Code"] != "InvalidSecurityToken.Expired" {
			t.Errorf("%s, resumed: HTTP %d %v", who, got.status, got.fields["Code"])
		}
	}
	if got := d.value(t, user, "suspend!a"); got != "deposited" {
		t.Error("the secret did not stay as it was")
	}
	// A session made in the same second is a good one.
	d.identity(t, d.Assume(t, user, "acs:ram::"+acct.ID+":role/role")).ok(t)

	d.op(t, "SuspendAccount", p{"AccountId": "1999999999999999"}).refused(t, 404, "EntityNotExist.Account")
	d.op(t, "SuspendAccount", p{"AccountId": "1"}).refused(t, 400, "InvalidParameter", "AccountId")
	if ops := operations(d.Events(t, acct.ID)); !slices.Contains(ops, "SuspendAccount") || !slices.Contains(ops, "ResumeAccount") {
		t.Errorf("the account's trail has %v", ops)
	}
}

func operations(events []*sesametest.Event) []string {
	var out []string
	for _, e := range events {
		out = append(out, e.EventName)
	}
	return out
}

func TestListAccounts(t *testing.T) {
	d := start(t, sesametest.Options{})
	a := d.NewAccount(t)
	pl := d.platform(t, "listed")
	d.create(t, pl.manage(t, a), "listed!a", "x")
	d.op(t, "UpdateProduct", p{"Product": pl.product, "AccountId": a.ID, "AccountQuota": "7"}).ok(t)
	found, seen := 0, 0
	for page := 1; ; page++ {
		var out struct {
			TotalCount int
			Accounts   struct {
				Account []struct{ AccountId, Status string }
			}
		}
		d.op(t, "ListAccounts", p{"PageSize": "1", "PageNumber": fmt.Sprint(page)}).ok(t, &out)
		for _, item := range out.Accounts.Account {
			seen++
			if item.AccountId == a.ID && item.Status == "Active" {
				found++
			}
		}
		if len(out.Accounts.Account) == 0 {
			if seen < out.TotalCount {
				t.Errorf("%d accounts on the pages, TotalCount %d", seen, out.TotalCount)
			}
			break
		}
	}
	if found != 1 {
		t.Errorf("the account is listed %d times", found)
	}
	var out struct {
		RootAccessKeys struct {
			AccessKey []struct{ AccessKeyId string }
		}
		AuthorisedServices struct{ ServiceName []string }
		Products           struct {
			Product []struct {
				Product     string
				Quota, Used int
				OwnQuota    bool
			}
		}
	}
	d.op(t, "DescribeAccount", p{"AccountId": a.ID}).ok(t, &out)
	if len(out.RootAccessKeys.AccessKey) != 1 || out.RootAccessKeys.AccessKey[0].AccessKeyId != a.Root.AccessKeyID {
		t.Errorf("root keys %+v", out.RootAccessKeys)
	}
	if got := fmt.Sprint(out.AuthorisedServices.ServiceName, out.Products.Product); got != "["+pl.service+"] [{"+pl.product+" 7 1 true}]" {
		t.Errorf("account: %s", got)
	}
}

// TestServiceCredentials: two at most, of which the second is for emergencies;
// a disabled or deleted one is refused at once and ends the service's sessions.
func TestServiceCredentials(t *testing.T) {
	d := start(t, sesametest.Options{BreakGlass: true})
	pl := d.platform(t, "rotate")
	a, b := d.NewAccount(t), d.NewAccount(t)
	arn := pl.authorise(t, a)
	plain := b.NewRole(t, "plain", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":["`+pl.service+`"]}}]}`, "AdministratorAccess")
	service := p{"ServiceName": pl.service}
	var second keyAnswer
	d.op(t, "CreateServiceCredential", service).ok(t, &second)
	d.op(t, "CreateServiceCredential", service).refused(t, 400, "Rejected.LimitExceeded")
	for _, acct := range []string{a.ID, b.ID} {
		if ops := operations(d.Events(t, acct)); !slices.Contains(ops, "CreateServiceCredential") {
			t.Errorf("the trail of an account that the credential concerns has %v", ops)
		}
	}
	bystander := d.NewAccount(t)
	if ops := operations(d.Events(t, bystander.ID)); slices.Contains(ops, "CreateServiceCredential") {
		t.Error("the trail of another account tells of it too")
	}

	first, old := pl.key, d.Assume(t, pl.key, arn)
	oldPlain := d.Assume(t, pl.key, plain)
	d.create(t, old, "rotate!a", "x")
	one := p{"ServiceName": pl.service, "ServiceAccessKeyId": first.AccessKeyID}
	d.op(t, "DisableServiceCredential", one).ok(t)
	d.identity(t, first).refused(t, 400, "InvalidAccessKeyId.Inactive")
	for _, c := range []cred{old, oldPlain} {
		d.identity(t, c).refused(t, 400, "InvalidSecurityToken.Expired")
	}
	fresh := d.Assume(t, second.cred(), arn) // within the same second
	d.create(t, fresh, "rotate!b", "x")

	d.op(t, "EnableServiceCredential", one).ok(t)
	d.identity(t, first).ok(t)
	d.identity(t, old).refused(t, 400, "InvalidSecurityToken.Expired")
	d.identity(t, fresh).ok(t)

	d.op(t, "DeleteServiceCredential", p{"ServiceName": pl.service, "ServiceAccessKeyId": second.AccessKey.AccessKeyId}).ok(t)
	d.identity(t, second.cred()).refused(t, 404, "InvalidAccessKeyId.NotFound")
	d.identity(t, fresh).refused(t, 400, "InvalidSecurityToken.Expired")
	var list struct {
		AccessKeys struct {
			AccessKey []struct{ AccessKeyId, Status string }
		}
	}
	d.op(t, "ListServiceCredentials", service).ok(t, &list)
	if len(list.AccessKeys.AccessKey) != 1 || list.AccessKeys.AccessKey[0].AccessKeyId != first.AccessKeyID || list.AccessKeys.AccessKey[0].Status != "Active" {
		t.Errorf("credentials %+v", list.AccessKeys)
	}

	// The keys of others are no service credentials.
	for _, id := range []string{a.Root.AccessKeyID, d.Operator.AccessKeyID, second.AccessKey.AccessKeyId, "LTAI5tnothing"} {
		for _, operation := range []string{"DisableServiceCredential", "EnableServiceCredential", "DeleteServiceCredential"} {
			d.op(t, operation, p{"ServiceName": pl.service, "ServiceAccessKeyId": id}).refused(t, 404, "EntityNotExist.ServiceCredential")
		}
	}
	d.op(t, "DisableServiceCredential", p{"ServiceName": "none.example.com", "ServiceAccessKeyId": "x"}).refused(t, 404, "EntityNotExist.Service")
}

func TestResetRootKey(t *testing.T) {
	d := start(t, sesametest.Options{BreakGlass: true})
	acct := d.NewAccount(t)
	var second keyAnswer
	d.api(t, acct.Root, "ram", "CreateAccessKey", nil).ok(t, &second)
	var reset keyAnswer
	d.op(t, "ResetRootKey", p{"AccountId": acct.ID}).ok(t, &reset)
	for _, c := range []cred{acct.Root, second.cred()} {
		d.identity(t, c).refused(t, 404, "InvalidAccessKeyId.NotFound")
	}
	if got := d.identity(t, reset.cred()).ok(t).text("IdentityType"); got != "Account" {
		t.Errorf("the new key is one of a %s", got)
	}
	events := d.Events(t, acct.ID)
	i := slices.Index(operations(events), "ResetRootKey")
	if i < 0 {
		t.Fatalf("the account's trail has %v", operations(events))
	}
	if text, _ := json.Marshal(events[i]); strings.Contains(string(text), reset.AccessKey.AccessKeySecret) {
		t.Error("the record holds the secret")
	}
}

// TestBreakGlassOff: what hands out a credential that could read is refused,
// and the refusals say how to allow it.
func TestBreakGlassOff(t *testing.T) {
	d := start(t, sesametest.Options{})
	acct := d.NewAccount(t)
	d.op(t, "ResetRootKey", p{"AccountId": acct.ID}).refused(t, 403, "Forbidden.NoPermission", "break-glass")
	if ops := operations(d.Events(t, acct.ID)); !slices.Contains(ops, "ResetRootKey") {
		t.Errorf("the refused attempt is not in the account's trail: %v", ops)
	}
	pl := d.platform(t, "sealed")
	d.op(t, "CreateServiceCredential", p{"ServiceName": pl.service}).refused(t, 403, "Forbidden.NoPermission", "break-glass", "first credential")
	d.op(t, "DeleteServiceCredential", p{"ServiceName": pl.service, "ServiceAccessKeyId": pl.key.AccessKeyID}).ok(t)
	d.op(t, "CreateServiceCredential", p{"ServiceName": pl.service}).refused(t, 403, "Forbidden.NoPermission", "break-glass")

	// A service of which an account's role awaits a visit gets none either.
	acct.NewRole(t, "awaits", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":["late.example.com"]}}]}`, "AdministratorAccess")
	d.op(t, "CreateService", p{"ServiceName": "late.example.com"}).ok(t)
	d.op(t, "CreateServiceCredential", p{"ServiceName": "late.example.com"}).refused(t, 403, "Forbidden.NoPermission", "break-glass", "trust")
	d.op(t, "CreateServiceCredential", p{"ServiceName": "none.example.com"}).refused(t, 404, "EntityNotExist.Service")
}

// TestOnlyOperators: nobody else calls the operator's operations.
func TestOnlyOperators(t *testing.T) {
	d := start(t, sesametest.Options{})
	acct := d.NewAccount(t)
	pl := d.platform(t, "others")
	for who, c := range map[string]cred{"root": acct.Root, "session": d.adminSession(t, acct), "managing session": pl.manage(t, acct), "service": pl.key} {
		for _, operation := range operatorOperations() {
			got := d.api(t, c, "opensesame", operation, p{
				"AccountId": acct.ID, "AccountQuota": "1", "ServiceName": pl.service, "Product": pl.product, "ServiceAccessKeyId": pl.key.AccessKeyID,
				"DisplayName": "x", "ProductCodes.1": "x", "HostingModes.1": "Free",
				"Limits": `{"secret-read":1}`,
			})
			if got.status != 403 || got.fields["Code"] != "Forbidden.NoPermission" {
				t.Errorf("%s as %s: HTTP %d %v", operation, who, got.status, got.fields["Code"])
			}
		}
	}
}
