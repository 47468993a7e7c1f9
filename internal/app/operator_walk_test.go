package app_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/app"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/sesametest"
)

// operatorOperations are the operations that are for operators alone.
func operatorOperations() []string {
	var out []string
	for _, op := range operationsFor(access.Operators) {
		if op.Rule.Callers == access.Operators {
			out = append(out, op.Name)
		}
	}
	return out
}

// operationsFor returns the operations that accept such callers, those that
// break things last.
func operationsFor(callers access.Callers) []*rpc.Info {
	var out []*rpc.Info
	for _, op := range app.Table(nil).Operations() {
		if op.Rule.Callers&callers != 0 {
			out = append(out, op)
		}
	}
	breaks := func(op *rpc.Info) int {
		for i, name := range []string{"Disable", "Delete", "Retire", "Suspend"} {
			if strings.HasPrefix(op.Name, name) {
				return i + 1
			}
		}
		return 0
	}
	slices.SortStableFunc(out, func(a, b *rpc.Info) int { return breaks(a) - breaks(b) })
	return out
}

// prize is what an operator must not get at: an account with a default secret
// and an ordinary one, and roles that could read them.
type prize struct {
	d      *door
	values []string
	names  []string // of the secrets, as ARNs
	roles  []string
	// pool holds what is known to put into parameters.
	pool map[string][]string
}

var prizes int

func newPrize(t testing.TB, d *door) *prize {
	t.Helper()
	prizes++
	code := fmt.Sprintf("prize%d", prizes)
	pl := d.platform(t, code)
	acct := d.NewAccount(t)
	late := "late." + pl.service
	z := &prize{d: d, values: []string{"value deposited " + code, "value kept " + code}, pool: map[string][]string{
		"AccountId": {acct.ID}, "ServiceName": {pl.service, late}, "Product": {pl.product, "new-" + code},
		"ProductCodes": {`["` + code + `"]`, `["x` + code + `"]`}, "AddProductCodes": {`["` + code + `"]`, `["y` + code + `"]`},
		"RemoveProductCodes": {`["` + code + `"]`}, "HostingModes": {`["Free"]`}, "DisplayName": {"Name"},
		"ServiceAccessKeyId": {pl.key.AccessKeyID, acct.Root.AccessKeyID}, "RoleName": {"", "AliyunServiceRoleForNew" + code},
		"VersionId": {"v1"}, "RoleSessionName": {"walk"}, "PolicyType": {"System"}, "PolicyName": {"AdministratorAccess"}, "UserName": {"walker"},
	}}
	managing := pl.manage(t, acct)
	d.create(t, managing, code+"!a", z.values[0])
	d.create(t, acct.Root, "mine-"+code, z.values[1])
	for _, name := range []string{code + "!a", "mine-" + code} {
		z.names = append(z.names, "acs:kms:"+d.Region+":"+acct.ID+":secret/"+name)
	}
	trust := `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":["` + late + `"]}}]}`
	z.roles = []string{
		acct.NewRole(t, "for-late", trust, "AdministratorAccess"), acct.NewRole(t, "own", "", "AdministratorAccess"),
		"acs:ram::" + acct.ID + ":role/AliyunServiceRoleForP" + pl.service[1:strings.Index(pl.service, ".")] + "ExampleCom",
	}
	z.pool["SecretName"], z.pool["RoleArn"] = z.names, z.roles
	return z
}

// find is what a walk came upon.
type find struct {
	creds []found
	leaks []string
	pool  map[string][]string
}

// found is a credential and the call that gave it.
type found struct {
	cred
	from string
}

// look searches an answer for the values, for credentials and for texts that
// fit into a parameter.
func (z *prize) look(path string, a answer, out *find) {
	for _, v := range z.values {
		if strings.Contains(string(a.body), v) {
			out.leaks = append(out.leaks, path)
		}
	}
	var walk func(name string, v any)
	walk = func(name string, v any) {
		switch v := v.(type) {
		case map[string]any:
			id, _ := v["AccessKeyId"].(string)
			secret, _ := v["AccessKeySecret"].(string)
			token, _ := v["SecurityToken"].(string)
			if id != "" && secret != "" {
				out.creds = append(out.creds, found{cred{AccessKeyID: id, AccessKeySecret: secret, SecurityToken: token}, path})
			}
			for n, e := range v {
				walk(n, e)
			}
		case []any:
			for _, e := range v {
				walk(name, e)
			}
		case string:
			if v != "" && name != "RequestId" && !slices.Contains(out.pool[name], v) && len(out.pool[name]) < 4 {
				out.pool[name] = append(out.pool[name], v)
				if name == "AccessKeyId" {
					out.pool["ServiceAccessKeyId"] = append(out.pool["ServiceAccessKeyId"], v)
				}
			}
		}
	}
	walk("", a.fields)
}

// try calls the operation as c, with each of the known parameters in turn.
func (z *prize) try(t testing.TB, path string, c cred, op *rpc.Info, learnt map[string][]string, out *find) {
	t.Helper()
	var sent []string
	for round := range 3 {
		params := p{}
		for _, name := range op.Params {
			list := append(slices.Clone(z.pool[name]), learnt[name]...)
			if len(list) > 0 {
				params[name] = list[round%len(list)]
			}
		}
		text, _ := json.Marshal(params)
		if slices.Contains(sent, string(text)) {
			continue
		}
		sent = append(sent, string(text))
		z.look(path+op.Name, z.d.api(t, c, op.Product.ID, op.Name, params), out)
	}
}

// use does with a credential what can be done to read: directly, and as each
// role.
func (z *prize) use(t testing.TB, path string, c cred, out *find) {
	t.Helper()
	callers := []cred{c}
	for _, role := range z.roles {
		got := &find{pool: map[string][]string{}}
		z.look(path, z.d.api(t, c, "sts", "AssumeRole", p{"RoleArn": role, "RoleSessionName": "walk"}), got)
		for _, c := range got.creds {
			callers = append(callers, c.cred)
		}
	}
	for _, c := range callers {
		for _, arn := range z.names {
			bare := arn[strings.Index(arn, "/")+1:]
			for _, name := range []string{arn, bare} {
				z.look(path+"GetSecretValue", z.d.call(t, c, "GetSecretValue", p{"SecretName": name}), out)
			}
		}
	}
}

// walk tries first as the operator, and then everything as the operator and
// with each credential that first gave; it returns the ways that led to a
// value. A credential is used at once: later operations may break it.
func (z *prize) walk(t testing.TB, first *rpc.Info) []string {
	t.Helper()
	one := &find{pool: map[string][]string{}}
	z.try(t, "operator ", z.d.Operator, first, nil, one)
	for _, c := range one.creds {
		z.use(t, c.from+", its credential ", c.cred, one)
	}
	two := &find{pool: map[string][]string{}}
	next := func(path string, c cred, callers access.Callers) {
		for _, op := range operationsFor(callers) {
			had := len(two.creds)
			z.try(t, path, c, op, one.pool, two)
			for _, c := range two.creds[had:] {
				z.use(t, c.from+", its credential ", c.cred, two)
			}
		}
	}
	for _, c := range one.creds {
		next(c.from+", its credential ", c.cred, access.Everybody)
	}
	next("operator "+first.Name+", operator ", z.d.Operator, access.Operators)
	return append(one.leaks, two.leaks...)
}

// TestOperatorReadsNothing: no operation of the operator's and no chain of two
// leads to a secret's value or to a credential that reads it.
func TestOperatorReadsNothing(t *testing.T) {
	d := start(t, sesametest.Options{})
	for _, first := range operationsFor(access.Operators) {
		z := newPrize(t, d)
		for _, leak := range z.walk(t, first) {
			t.Errorf("a value was read by: %s", leak)
		}
	}
	// What is for accounts is not for operators at all.
	z := newPrize(t, d)
	for _, op := range app.Table(nil).Operations() {
		if op.Rule.Callers&access.Operators != 0 {
			continue
		}
		for _, name := range z.names {
			params := p{}
			for _, param := range op.Params {
				if list := z.pool[param]; len(list) > 0 {
					params[param] = list[0]
				}
			}
			if _, ok := params["SecretName"]; ok {
				params["SecretName"] = name
			}
			if got := d.api(t, d.Operator, op.Product.ID, op.Name, params); got.status == 200 {
				t.Errorf("the operator calls %s", op.Name)
			}
		}
	}
}

// TestWalkFindsBreakGlass: the same walk finds the ways that break-glass opens,
// so it would find others.
func TestWalkFindsBreakGlass(t *testing.T) {
	d := start(t, sesametest.Options{BreakGlass: true})
	for _, first := range operationsFor(access.Operators) {
		if first.Name != "ResetRootKey" && first.Name != "CreateServiceCredential" && first.Name != "CreateService" {
			continue
		}
		if leaks := newPrize(t, d).walk(t, first); len(leaks) == 0 {
			t.Errorf("%s, with break-glass operations allowed, was not found to lead to a value", first.Name)
		}
	}
}
