package app_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// cast is an account with everybody who may come near its secrets.
type cast struct {
	*sesametest.Account
	manager cred                // of Model Studio
	other   *sesametest.Account // whose identities are among the outsiders
	// insiders have all rights that policies of the account can give, and are
	// not the product; outsiders are of other services and accounts.
	insiders, outsiders map[string]cred
}

func newCast(t *testing.T) *cast {
	t.Helper()
	d := shared
	c := &cast{Account: d.NewAccount(t), insiders: map[string]cred{}, outsiders: map[string]cred{}}
	c.manager = d.manage(t, c.Account, "bailian")
	admin := c.NewUser(t, "admin", "")
	c.Attach(t, "admin", "System", "AdministratorAccess")
	c.insiders["root"], c.insiders["administrator"] = c.Root, admin
	c.insiders["user with kms:*"] = c.NewUser(t, "kms", allow("*", "kms:*"))
	c.insiders["administrator's role session"] = d.adminSession(t, c.Account)
	// "You can grant a cloud product permission to call the secret using a RAM
	// role": the product's own service, by an ordinary role.
	ordinary := c.NewRole(t, "for-model-studio", trust(sesametest.Services["bailian"]), "AdministratorAccess")
	c.insiders["the service in an ordinary role"] = d.Assume(t, d.service(t, "bailian"), ordinary)

	c.outsiders["alb"] = d.manage(t, c.Account, "alb")
	c.outsiders["the gateways, whose policy says *"] = d.manage(t, c.Account, "aigw")
	c.outsiders["the service's own credential"] = d.service(t, "bailian")
	c.outsiders["the operator"] = d.Operator
	other := d.NewAccount(t)
	c.other = other
	c.outsiders["another account's root"] = other.Root
	c.outsiders["another account's user"] = other.NewUser(t, "u", allow("*", "*"))
	c.outsiders["another account's role session"] = d.adminSession(t, other)
	c.outsiders["the product in another account"] = d.manage(t, other, "bailian")
	return c
}

// trust is a trust policy for a service.
func trust(service string) string {
	return `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":["` + service + `"]}}]}`
}

func (c *cast) arn(name string) string { return "acs:kms:cn-hangzhou:" + c.ID + ":secret/" + name }

// writes are the operations that change a secret, each with parameters that
// would do it.
var writes = map[string]func(name string) (operation string, params p){
	"put": func(name string) (string, p) {
		return "PutSecretValue", p{"SecretName": name, "VersionId": "theirs", "SecretData": "theirs"}
	},
	"put again": func(name string) (string, p) {
		return "PutSecretValue", p{"SecretName": name, "VersionId": "v1", "SecretData": "deposited"}
	},
	"put a label": func(name string) (string, p) {
		return "PutSecretValue", p{"SecretName": name, "VersionId": "theirs", "SecretData": "theirs", "VersionStages": `["x"]`}
	},
	"delete": func(name string) (string, p) { return "DeleteSecret", p{"SecretName": name} },
	"delete by force": func(name string) (string, p) {
		return "DeleteSecret", p{"SecretName": name, "ForceDeleteWithoutRecovery": "true"}
	},
	"restore": func(name string) (string, p) { return "RestoreSecret", p{"SecretName": name} },
}

var reads = []string{"GetSecretValue", "DescribeSecret", "ListSecretVersionIds"}

// TestOnlyTheProductManages: nobody else changes a default secret, by its name
// or its ARN, in the Normal state or pending deletion.
func TestOnlyTheProductManages(t *testing.T) {
	c := newCast(t)
	const name, pending = "bailian!s", "mcp!pending"
	shared.create(t, c.manager, name, "deposited")
	shared.create(t, c.manager, pending, "deposited")
	shared.call(t, c.manager, "DeleteSecret", p{"SecretName": pending}).ok(t)
	everybody := maps.Clone(c.insiders)
	maps.Copy(everybody, c.outsiders)
	shared.unchanged(t, c.Root, []string{name, pending}, func() {
		for who, caller := range everybody {
			t.Run(who, func(t *testing.T) {
				for what, make := range writes {
					for _, ref := range []string{c.arn(name), c.arn(pending)} {
						operation, params := make(ref)
						a := shared.call(t, caller, operation, params)
						a.what = what
						a.refused(t, 403, "Forbidden.NoPermission", ref, "Model Studio", "make the change there", "kms:"+operation)
					}
				}
			})
		}
		for who, caller := range c.insiders {
			t.Run(who+" by name", func(t *testing.T) {
				for _, make := range writes {
					operation, params := make(name)
					shared.call(t, caller, operation, params).refused(t, 403, "Forbidden.NoPermission", c.arn(name), "Model Studio")
				}
				shared.call(t, caller, "CreateSecret", p{"SecretName": name, "VersionId": "v1", "SecretData": "deposited"}).
					refused(t, 403, "Forbidden.NoPermission", c.arn(name), "Model Studio")
			})
		}
	})
	// And the product itself can do it all.
	for _, what := range []string{"put again", "put", "delete"} {
		operation, params := writes[what](name)
		shared.call(t, c.manager, operation, params).ok(t)
	}
	for _, ref := range []string{name, pending} {
		shared.call(t, c.manager, "RestoreSecret", p{"SecretName": c.arn(ref)}).ok(t)
		shared.call(t, c.manager, "DeleteSecret", p{"SecretName": ref, "ForceDeleteWithoutRecovery": "true"}).ok(t)
		shared.call(t, c.Root, "DescribeSecret", p{"SecretName": ref}).refused(t, 404, "Forbidden.ResourceNotFound")
	}
}

// TestWhoReads: the owner's identities by policy, the product its own, nobody
// else.
func TestWhoReads(t *testing.T) {
	c := newCast(t)
	const name, plain = "bailian!s", "plain"
	shared.create(t, c.manager, name, "deposited")
	shared.create(t, c.Root, plain, "ours")
	for who, caller := range c.insiders {
		t.Run(who, func(t *testing.T) {
			for _, ref := range []string{name, c.arn(name), plain} {
				for _, operation := range reads {
					shared.call(t, caller, operation, p{"SecretName": ref}).ok(t)
				}
			}
			if l := shared.list(t, caller, nil); l.TotalCount != 2 {
				t.Errorf("lists %s", l.names())
			}
		})
	}
	for who, caller := range c.outsiders {
		t.Run(who, func(t *testing.T) {
			for _, ref := range []string{c.arn(name), c.arn(plain), c.arn("bailian!missing"), c.arn("missing")} {
				for _, operation := range reads {
					shared.call(t, caller, operation, p{"SecretName": ref}).refused(t, 403, "Forbidden.NoPermission", ref)
				}
			}
			if a := shared.call(t, caller, "ListSecrets", nil); a.status == 200 {
				var l page
				if a.ok(t, &l); l.TotalCount != 0 || len(l.SecretList.Secret) != 0 {
					t.Errorf("lists %s", l.names())
				}
			} else {
				a.refused(t, 403, "Forbidden.NoPermission")
			}
		})
	}
	// A managing session is confined to its own names.
	for _, operation := range reads {
		shared.call(t, c.manager, operation, p{"SecretName": name}).ok(t)
		shared.call(t, c.manager, operation, p{"SecretName": plain}).refused(t, 403, "Forbidden.NoPermission", "own product codes")
		shared.call(t, c.manager, operation, p{"SecretName": "alb!x"}).refused(t, 403, "Forbidden.NoPermission", "own product codes")
		shared.call(t, c.manager, operation, p{"SecretName": "mcp!missing"}).refused(t, 404, "Forbidden.ResourceNotFound")
	}
	shared.create(t, c.outsiders["alb"], "alb!x", "x")
	if l := shared.list(t, c.manager, nil); l.names() != name || l.TotalCount != 1 {
		t.Errorf("the managing session lists %d, %s", l.TotalCount, l.names())
	}
	if l := shared.list(t, c.manager, p{"Filters": `[{"Key":"SecretName","Values":["alb!","plain"]}]`}); l.TotalCount != 0 {
		t.Errorf("the managing session lists %s", l.names())
	}
	// It changes nothing else either.
	shared.unchanged(t, c.Root, []string{plain, "alb!x"}, func() {
		for _, ref := range []string{plain, "alb!x", "aigw!x", "new"} {
			for _, make := range writes {
				operation, params := make(ref)
				shared.call(t, c.manager, operation, params).refused(t, 403, "Forbidden.NoPermission", c.arn(ref))
			}
			shared.call(t, c.manager, "CreateSecret", p{"SecretName": ref, "VersionId": "v", "SecretData": "x"}).refused(t, 403, "Forbidden.NoPermission", c.arn(ref))
		}
	})
}

// TestMissingLooksForbidden: to who may not see a secret, it makes no
// difference whether there is one. Whole answers are compared.
func TestMissingLooksForbidden(t *testing.T) {
	c := newCast(t)
	callers := maps.Clone(c.outsiders)
	callers["nobody"] = c.NewUser(t, "nobody", "")
	callers["a reader of another code"] = c.NewUser(t, "mcp", allow("acs:kms:${region}:${account}:secret/mcp!*", "kms:List*", "kms:Describe*", "kms:GetSecretValue"))
	callers["one who lists"] = c.NewUser(t, "lists", allow("*", "kms:DeleteSecret", "kms:PutSecretValue", "kms:CreateSecret"))
	const secret, plain = "bailian!s", "plain"
	requests := map[string]func(caller cred) answer{}
	for _, name := range []string{secret, plain} {
		for _, operation := range reads {
			requests[operation+" "+name] = func(caller cred) answer { return shared.call(t, caller, operation, p{"SecretName": c.arn(name)}) }
		}
	}
	for what, make := range writes {
		operation, params := make(c.arn(secret))
		requests[what] = func(caller cred) answer { return shared.call(t, caller, operation, params) }
	}
	look := func() map[string]string {
		seen := map[string]string{}
		for who, caller := range callers {
			for what, request := range requests {
				a := request(caller)
				a.refused(t, 403, "Forbidden.NoPermission")
				seen[who+": "+what] = a.same() + fmt.Sprint(a.header.Get("Content-Length"), len(a.header))
			}
		}
		return seen
	}
	missing := look()
	shared.call(t, c.manager, "CreateSecret", p{"SecretName": secret, "VersionId": "v1", "SecretData": "x", "ManageUrl": "https://studio.example/keys"}).ok(t)
	shared.create(t, c.Root, plain, "x")
	there := look()
	shared.call(t, c.manager, "DeleteSecret", p{"SecretName": secret}).ok(t)
	shared.call(t, c.Root, "DeleteSecret", p{"SecretName": plain}).ok(t)
	pending := look()
	for what := range missing {
		if missing[what] != there[what] || missing[what] != pending[what] {
			t.Errorf("%s: missing\n%s\nthere\n%s\npending\n%s", what, missing[what], there[what], pending[what])
		}
	}
}

// TestManageUrl is told to those who may describe the secret.
func TestManageUrl(t *testing.T) {
	c := newCast(t)
	const name, link = "bailian!s", "https://studio.example/keys?id=1"
	shared.call(t, c.manager, "CreateSecret", p{
		"SecretName": name, "VersionId": "v1", "SecretData": "x",
		"ManageUrl": link, "ProductResourceArn": "acs:bailian:cn-hangzhou:" + c.ID + ":key/1",
	}).ok(t)
	may := map[string]cred{"root": c.Root, "describer": c.NewUser(t, "d", allow("acs:kms:*:*:secret/bailian!*", "kms:DescribeSecret"))}
	mayNot := map[string]cred{
		"nobody": c.NewUser(t, "n", ""), "deleter": c.NewUser(t, "x", allow("*", "kms:DeleteSecret", "kms:GetSecretValue")),
		"alb": c.outsiders["alb"], "other": c.outsiders["another account's root"], "operator": shared.Operator,
	}
	for who, caller := range may {
		shared.call(t, caller, "DeleteSecret", p{"SecretName": name}).refused(t, 403, "Forbidden.NoPermission", link)
		a := shared.call(t, caller, "DescribeSecret", p{"SecretName": name}).ok(t)
		if a.text("ManageUrl") != link || a.text("OwingService") != "model-studio" || a.text("HostingMode") != "Free" || a.text("Creator") != sesametest.Services["bailian"] {
			t.Errorf("%s: DescribeSecret answered %s", who, a.body)
		}
		if want := "Arn AutomaticRotation CreateTime Creator Description HostingMode ManageUrl OwingService RequestId SecretName SecretType UpdateTime"; a.members() != want {
			t.Errorf("%s: DescribeSecret has %s", who, a.members())
		}
	}
	for who, caller := range mayNot {
		if m := shared.call(t, caller, "DeleteSecret", p{"SecretName": c.arn(name)}).refused(t, 403, "Forbidden.NoPermission"); strings.Contains(m, "studio.example") {
			t.Errorf("%s is told the address", who)
		}
	}
	if item := shared.list(t, c.Root, nil).SecretList.Secret[0]; item["ManageUrl"] != link || item["OwingService"] != "model-studio" || item["HostingMode"] != "Free" {
		t.Errorf("ListSecrets shows %v", item)
	}
	tests := map[string]refusal{
		"too long": {p{"ManageUrl": "https://e.example/" + strings.Repeat("x", 2048)}, 400, "InvalidParameter", `"ManageUrl"`},
		"arn long": {p{"ProductResourceArn": "acs:a:::" + strings.Repeat("x", 1024)}, 400, "InvalidParameter", `"ProductResourceArn"`},
		"no arn":   {p{"ProductResourceArn": "key/1"}, 400, "InvalidParameter", `"ProductResourceArn"`},
	}
	for _, u := range []string{"http://e.example/", "javascript:alert(1)", "https://", "https:///x", "https://u:p@e.example/", "e.example", "https://e.example/\x01"} {
		tests["url "+u] = refusal{p{"ManageUrl": u}, 400, "InvalidParameter", `"ManageUrl"`}
	}
	refuse(t, shared, c.manager, "CreateSecret", p{"SecretName": "bailian!new", "VersionId": "v", "SecretData": "x"}, []string{"bailian!new"}, tests)
}

// TestCreateUnderACode: only the product creates names under its codes, and
// nobody under codes that are not registered.
func TestCreateUnderACode(t *testing.T) {
	c := newCast(t)
	products := map[string]string{
		"aigw": "AI Gateway", "ai-gateway": "AI Gateway", "apigw": "API Gateway", "bailian": "Model Studio",
		"bailian-apikey": "Model Studio", "mcp": "Model Studio", "alb": "Application Load Balancer", "ga": "Global Accelerator",
	}
	if len(products) != len(sesametest.Services) {
		t.Fatalf("%d codes, the test kit knows %d", len(products), len(sesametest.Services))
	}
	shared.unchanged(t, c.Root, nil, func() {
		for who, caller := range c.insiders {
			t.Run(who, func(t *testing.T) {
				for code, product := range products {
					shared.call(t, caller, "CreateSecret", p{"SecretName": code + "!x", "VersionId": "v", "SecretData": "x"}).
						refused(t, 403, "Forbidden.NoPermission", c.arn(code+"!x"), product, "make the change there")
				}
				for _, code := range []string{"nosuch", "bailia", "bailian-", "bailian-apikeys", "a"} {
					shared.call(t, caller, "CreateSecret", p{"SecretName": code + "!x", "VersionId": "v", "SecretData": "x"}).
						refused(t, 400, "InvalidParameter", `"SecretName"`)
				}
			})
		}
		for who, caller := range map[string]cred{"alb": c.outsiders["alb"], "gateways": c.outsiders["the gateways, whose policy says *"], "operator": shared.Operator, "service": shared.service(t, "bailian")} {
			for _, code := range []string{"bailian", "mcp", "ga"} {
				a := shared.call(t, caller, "CreateSecret", p{"SecretName": code + "!x", "VersionId": "v", "SecretData": "x"})
				a.what = who
				a.refused(t, 403, "Forbidden.NoPermission", products[code])
			}
		}
	})
	for _, code := range []string{"bailian", "bailian-apikey", "mcp"} {
		shared.create(t, c.manager, code+"!x", "x")
	}
}

// TestHostingModes: a mode that a product lacks.
func TestHostingModes(t *testing.T) {
	c := newCast(t)
	gateway := c.outsiders["the gateways, whose policy says *"]
	free := p{"VersionId": "v", "SecretData": "x"}
	for code, product := range map[string]string{"aigw": "AI Gateway", "ai-gateway": "AI Gateway", "apigw": "API Gateway"} {
		base := maps.Clone(free)
		base["SecretName"] = code + "!x"
		refuse(t, shared, gateway, "CreateSecret", base, []string{code + "!x"}, map[string]refusal{
			code + " free":           {nil, 400, "UnsupportedOperation", product},
			code + " free, mode":     {nil, 400, "UnsupportedOperation", "Free"},
			code + " paid, no key":   {p{"DKMSInstanceId": "kst-1"}, 400, "MissingParameter", `"EncryptionKeyId"`},
			code + " paid, instance": {p{"DKMSInstanceId": "kst-1", "EncryptionKeyId": "key-1"}, 403, "Forbidden.DKMSInstanceNotFound", ""},
		})
	}
	base := maps.Clone(free)
	base["SecretName"] = "bailian!x"
	refuse(t, shared, c.manager, "CreateSecret", base, []string{"bailian!x"}, map[string]refusal{
		"paid":         {p{"DKMSInstanceId": "kst-1", "EncryptionKeyId": "key-1"}, 400, "UnsupportedOperation", "Model Studio"},
		"paid, mode":   {p{"DKMSInstanceId": "kst-1"}, 400, "UnsupportedOperation", "Paid"},
		"key":          {p{"EncryptionKeyId": "key-1"}, 400, "InvalidParameter", `"EncryptionKeyId"`},
		"policy":       {p{"Policy": `{}`}, 400, "Forbidden.KeyPolicyUnSupported", ""},
		"another type": {p{"SecretType": "Rds"}, 400, "UnsupportedOperation", "Rds"},
	})
}

// TestQuota: a hundred free secrets a product and account, never more, however
// many ask at once.
func TestQuota(t *testing.T) {
	acct := shared.NewAccount(t)
	manager := shared.manage(t, acct, "bailian")
	const quota, rush = 100, 20
	create := func(i int) string {
		name := fmt.Sprintf("%s!%03d", []string{"bailian", "mcp", "bailian-apikey"}[i%3], i)
		return shared.call(t, manager, "CreateSecret", p{"SecretName": name, "VersionId": "v", "SecretData": "x"}).text("Code")
	}
	for i := range quota - rush/2 {
		if code := create(i); code != "" {
			t.Fatalf("secret %d is refused with %s", i, code)
		}
	}
	codes := make([]string, rush) // for half as many places
	var wg sync.WaitGroup
	for i := range codes {
		wg.Go(func() { codes[i] = create(quota + i) })
	}
	wg.Wait()
	slices.Sort(codes)
	if codes[rush/2-1] != "" || codes[rush/2] != "Rejected.LimitExceeded" || codes[rush-1] != "Rejected.LimitExceeded" {
		t.Fatalf("answers to %d for %d places: %v", rush, rush/2, codes)
	}
	l := shared.list(t, manager, p{"PageSize": "100"})
	if l.TotalCount != quota || len(l.SecretList.Secret) != quota {
		t.Fatalf("%d secrets, the quota is %d", l.TotalCount, quota)
	}
	more := p{"SecretName": "mcp!more", "VersionId": "v", "SecretData": "x"}
	full := func() {
		t.Helper()
		shared.unchanged(t, acct.Root, []string{"mcp!more"}, func() {
			shared.call(t, manager, "CreateSecret", more).refused(t, 400, "Rejected.LimitExceeded", "100", "model-studio")
		})
	}
	full()
	there := strings.Fields(l.names())[0]
	shared.call(t, manager, "CreateSecret", p{"SecretName": there, "VersionId": "v", "SecretData": "x"}).refused(t, http.StatusConflict, "Rejected.ResourceExist")
	shared.put(t, manager, there, "v2", "x", "").ok(t) // versions are free
	shared.call(t, manager, "DeleteSecret", p{"SecretName": there}).ok(t)
	full() // pending deletion counts
	shared.call(t, manager, "DeleteSecret", p{"SecretName": there, "ForceDeleteWithoutRecovery": "true"}).ok(t)
	shared.call(t, manager, "CreateSecret", more).ok(t)
	shared.call(t, manager, "CreateSecret", p{"SecretName": "mcp!yet-more", "VersionId": "v", "SecretData": "x"}).refused(t, 400, "Rejected.LimitExceeded")
	// It is the product's and the account's: others and ordinary secrets are not concerned.
	shared.create(t, acct.Root, "plain", "x")
	shared.create(t, shared.manage(t, acct, "alb"), "alb!x", "x")
	shared.create(t, shared.manage(t, shared.NewAccount(t), "bailian"), "mcp!x", "x")
}
