package app_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// TestPendingDeletion: what a secret in its recovery window still answers.
func TestPendingDeletion(t *testing.T) {
	acct := shared.NewAccount(t)
	root := acct.Root
	shared.create(t, root, "s", "kept")
	name := p{"SecretName": "s"}
	shared.call(t, root, "DeleteSecret", name).ok(t)
	const window = "Rejected.ResourceInDeleteWindow"
	shared.unchanged(t, root, []string{"s"}, func() {
		shared.call(t, root, "GetSecretValue", name).refused(t, 409, window)
		shared.call(t, root, "GetSecretValue", p{"SecretName": "s", "VersionId": "v1"}).refused(t, 409, window)
		shared.call(t, root, "DeleteSecret", name).refused(t, 409, window)
		shared.call(t, root, "DeleteSecret", p{"SecretName": "s", "RecoveryWindowInDays": "7"}).refused(t, 409, window)
		shared.put(t, root, "s", "v2", "2", "").refused(t, 409, window)
		shared.put(t, root, "s", "v1", "kept", "").refused(t, 409, window)
		shared.call(t, root, "CreateSecret", p{"SecretName": "s", "VersionId": "v1", "SecretData": "new"}).refused(t, 409, window)
	})
	if a := shared.call(t, root, "DescribeSecret", name).ok(t); a.text("PlannedDeleteTime") == "" {
		t.Error("DescribeSecret does not tell the planned time")
	}
	if got := shared.versions(t, root, "s"); got != "v1[ACSCurrent]" {
		t.Errorf("versions: %s", got)
	}
	if l := shared.list(t, root, nil); len(l.SecretList.Secret) != 1 || l.SecretList.Secret[0]["PlannedDeleteTime"] == nil {
		t.Errorf("ListSecrets: %v", l)
	}
	shared.call(t, root, "RestoreSecret", name).ok(t)
	if shared.value(t, root, "s") != "kept" {
		t.Error("the restored secret has another value")
	}
	shared.unchanged(t, root, []string{"s"}, func() {
		shared.call(t, root, "RestoreSecret", name).refused(t, 409, "Rejected.ResourceInUse", "restore normal secret")
	})
	// A forced deletion ends the window, and the name is free.
	shared.call(t, root, "DeleteSecret", name).ok(t)
	shared.call(t, root, "DeleteSecret", p{"SecretName": "s", "ForceDeleteWithoutRecovery": "true"}).ok(t)
	for _, op := range []string{"GetSecretValue", "DescribeSecret", "ListSecretVersionIds", "DeleteSecret", "RestoreSecret"} {
		shared.call(t, root, op, name).refused(t, 404, "Forbidden.ResourceNotFound")
	}
}

// TestForcedDeletion: gone at once, whatever window is given beside it, and
// nothing of it comes back with a secret of the same name.
func TestForcedDeletion(t *testing.T) {
	acct := shared.NewAccount(t)
	root := acct.Root
	id := func() any {
		events := shared.Events(t, acct.ID)
		return events[len(events)-1].AdditionalEventData["SecretId"]
	}
	var ids []any
	for i, window := range []string{"", "7", "30", "0", "-1", "365"} {
		value := fmt.Sprint("value ", i)
		shared.create(t, root, "s", value)
		if shared.put(t, root, "s", "old", "x", `["blue"]`).ok(t); shared.value(t, root, "s") != value {
			t.Error("read another value")
		}
		ids = append(ids, id())
		shared.call(t, root, "DeleteSecret", p{"SecretName": "s", "ForceDeleteWithoutRecovery": "true", "RecoveryWindowInDays": window}).ok(t)
		shared.call(t, root, "GetSecretValue", p{"SecretName": "s"}).refused(t, 404, "Forbidden.ResourceNotFound")
		if l := shared.list(t, root, nil); l.TotalCount != 0 || l.SecretList.Secret == nil {
			t.Errorf("ListSecrets: %v", l)
		}
	}
	for i := range ids {
		for j := range i {
			if ids[i] == nil || ids[i] == ids[j] {
				t.Errorf("SecretIds %v and %v of secrets made one after the other under one name", ids[i], ids[j])
			}
		}
	}
	shared.create(t, root, "s", "last")
	if got := shared.versions(t, root, "s"); got != "v1[ACSCurrent]" {
		t.Errorf("a new secret has the versions %s", got)
	}
	tests := map[string]refusal{}
	for _, w := range []string{"6", "31", "0", "-7", "x", "7.5", "9999999999999999999"} {
		tests["window "+w] = refusal{p{"RecoveryWindowInDays": w}, 400, "InvalidParameter", `"RecoveryWindowInDays"`}
		tests["not forced, window "+w] = refusal{p{"RecoveryWindowInDays": w, "ForceDeleteWithoutRecovery": "false"}, 400, "InvalidParameter", `"RecoveryWindowInDays"`}
	}
	tests["force"] = refusal{p{"ForceDeleteWithoutRecovery": "yes"}, 400, "InvalidParameter", `"ForceDeleteWithoutRecovery"`}
	refuse(t, shared, root, "DeleteSecret", p{"SecretName": "s"}, []string{"s"}, tests)
	// What is wrong with the request is told before who may send it.
	nobody := acct.NewUser(t, "nobody", "")
	shared.call(t, nobody, "DeleteSecret", p{"SecretName": "s", "RecoveryWindowInDays": "6"}).refused(t, 400, "InvalidParameter", `"RecoveryWindowInDays"`)
	shared.call(t, nobody, "CreateSecret", p{"SecretName": "x", "VersionId": "v", "SecretData": "x", "SecretType": "x"}).refused(t, 400, "InvalidParameter", `"SecretType"`)
}

// page is an answer of ListSecrets.
type page struct {
	PageNumber, PageSize, TotalCount int
	SecretList                       struct{ Secret []map[string]any }
}

func (l page) names() string {
	var out []string
	for _, s := range l.SecretList.Secret {
		out = append(out, fmt.Sprint(s["SecretName"]))
	}
	return strings.Join(out, " ")
}

func (d *door) list(t testing.TB, c cred, params p) (l page) {
	t.Helper()
	a := d.call(t, c, "ListSecrets", params).ok(t, &l)
	if a.members() != "PageNumber PageSize RequestId SecretList TotalCount" || l.SecretList.Secret == nil {
		t.Errorf("ListSecrets answered %s", a.body)
	}
	return l
}

// TestListSecrets: order, pages, filters.
func TestListSecrets(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	d := start(t, sesametest.Options{Time: now})
	acct := d.NewAccount(t)
	if l := d.list(t, acct.Root, nil); l.TotalCount != 0 || l.PageNumber != 1 || l.PageSize != 10 {
		t.Errorf("of no secrets: %+v", l)
	}
	manager := d.manage(t, acct, "bailian")
	for i, s := range []struct {
		c                       cred
		name, description, tags string
	}{
		{acct.Root, "a/1", "first one", `[{"TagKey":"env","TagValue":"dev"}]`},
		{acct.Root, "a/2", "second one", `[{"TagKey":"env","TagValue":"prod"},{"TagKey":"dev"}]`},
		{acct.Root, "b", "", ""},
		{manager, "bailian!x", "", ""},
		{manager, "mcp!x", "One", ""},
	} {
		d.SetTime(now.Add(time.Duration(i/2) * time.Minute)) // two and two of one second
		d.call(t, s.c, "CreateSecret", p{"SecretName": s.name, "VersionId": "v", "SecretData": "x", "Description": s.description, "Tags": s.tags}).ok(t)
	}
	for _, c := range []struct {
		params p
		all    int
		want   string
	}{
		{nil, 5, "mcp!x b bailian!x a/1 a/2"}, // newest first, then by name
		{p{"PageSize": "2"}, 5, "mcp!x b"},
		{p{"PageSize": "2", "PageNumber": "3"}, 5, "a/2"},
		{p{"PageSize": "2", "PageNumber": "4"}, 5, ""},
		{p{"PageSize": "100", "PageNumber": "9223372036854775807"}, 5, ""},
		{p{"Filters": ""}, 5, "mcp!x b bailian!x a/1 a/2"},
		{p{"Filters": "[]"}, 5, "mcp!x b bailian!x a/1 a/2"},
		{p{"Filters": `[{"Key":"SecretName","Values":[]}]`}, 5, "mcp!x b bailian!x a/1 a/2"},
		{p{"Filters": `[{"Key":"SecretName","Values":["b"]}]`}, 2, "b bailian!x"},
		{p{"Filters": `[{"Key":"SecretName","Values":["bailian!"]}]`, "PageSize": "1"}, 1, "bailian!x"},
		{p{"Filters": `[{"Key":"SecretName","Values":["a","mcp!"]}]`, "PageSize": "2", "PageNumber": "2"}, 3, "a/2"},
		{p{"Filters": `[{"Key":"SecretName","Values":["A"]}]`}, 0, ""},
		{p{"Filters": `[{"Key":"SecretName","Values":["a"]},{"Key":"SecretName","Values":["b","a/2"]}]`}, 1, "a/2"},
		{p{"Filters": `[{"Key":"Description","Values":["one"]}]`}, 2, "a/1 a/2"},
		{p{"Filters": `[{"Key":"TagKey","Values":["env"]},{"Key":"TagValue","Values":["dev"]}]`}, 1, "a/1"},
		{p{"Filters": `[{"Key":"TagKey","Values":["en"]}]`}, 0, ""},
		{p{"Filters": `[{"Key":"SecretType","Values":["generic"]}]`, "PageSize": "1"}, 5, "mcp!x"},
		{p{"Filters": `[{"Key":"SecretType","Values":["Rds"]}]`}, 0, ""},
		{p{"Filters": `[{"Key":"DKMSInstanceId","Values":["kst-1"]}]`}, 0, ""},
		{p{"Filters": `[{"Key":"Creator","Values":["` + acct.ID + `"]}]`}, 3, "b a/1 a/2"},
		{p{"Filters": `[{"Key":"OwingService","Values":["model-studio"]}]`}, 2, "mcp!x bailian!x"},
		{p{"Filters": `[{"Key":"HostingMode","Values":["Free"]}]`}, 2, "mcp!x bailian!x"},
	} {
		if l := d.list(t, acct.Root, c.params); l.names() != c.want || l.TotalCount != c.all {
			t.Errorf("%v: %d of them, %s; want %d, %s", c.params, l.TotalCount, l.names(), c.all, c.want)
		}
	}
	members := func(m map[string]any) string { return answer{fields: m}.members() }
	l := d.list(t, acct.Root, p{"FetchTags": "true"})
	if got := members(l.SecretList.Secret[0]); got != "CreateTime HostingMode OwingService SecretName SecretType Tags UpdateTime" {
		t.Errorf("an item has %s", got)
	}
	if got := fmt.Sprint(l.SecretList.Secret[0]["Tags"], l.SecretList.Secret[3]["Tags"]); got != "map[Tag:[]] map[Tag:[map[TagKey:env TagValue:dev]]]" {
		t.Errorf("tags of items: %s", got)
	}
	if got := members(d.list(t, acct.Root, nil).SecretList.Secret[1]); got != "CreateTime SecretName SecretType UpdateTime" {
		t.Errorf("an item has %s", got)
	}
}

func TestListRefusals(t *testing.T) {
	acct := shared.NewAccount(t)
	paging(t, acct.Root, "ListSecrets", nil)
	tests := map[string]refusal{"FetchTags": {p{"FetchTags": "1"}, 400, "InvalidParameter", `"FetchTags"`}}
	eleven := strings.TrimSuffix(strings.Repeat(`{"Key":"SecretName","Values":["a"]},`, 11), ",")
	for _, f := range []string{
		"x", "{}", `[1]`, `["a"]`, "null", `[{"Key":"SecretName","Values":"a"}]`, `[{"Key":"SecretName","Values":[1]}]`, `[{"Key":"Nope","Values":["a"]}]`,
		`[{"Values":["a"]}]`, `[{"Key":"secretname"}]`, "[" + eleven + "]", `[{"Key":"SecretName","Values":["` + strings.Repeat(`a","`, 10) + `"]}]`, "[]x", "[",
	} {
		tests["filters "+f] = refusal{p{"Filters": f}, 400, "InvalidParameter", `"Filters"`}
	}
	refuse(t, shared, acct.Root, "ListSecrets", p{}, nil, tests)
}

// TestListPermission: who is allowed by name sees those, a Deny hides.
func TestListPermission(t *testing.T) {
	acct := shared.NewAccount(t)
	manager := shared.manage(t, acct, "bailian")
	shared.create(t, acct.Root, "plain", "x")
	shared.create(t, manager, "mcp!1", "x")
	shared.create(t, manager, "bailian!1", "x")
	arn := "acs:kms:cn-hangzhou:" + acct.ID + ":secret"
	statement := func(effect, resource string) string {
		return `{"Effect":"` + effect + `","Action":["kms:List*"],"Resource":"` + resource + `"}`
	}
	doc := func(s ...string) string { return `{"Version":"1","Statement":[` + strings.Join(s, ",") + `]}` }
	for name, c := range map[string]struct{ policy, want string }{
		"all":            {doc(statement("Allow", "*")), "bailian!1 mcp!1 plain"},
		"container":      {doc(statement("Allow", arn)), "bailian!1 mcp!1 plain"},
		"sample":         {doc(statement("Allow", "acs:kms:${region}:${account}:secret/mcp!*")), "mcp!1"},
		"one":            {doc(statement("Allow", arn+"/plain")), "plain"},
		"none-of-these":  {doc(statement("Allow", arn+"/other")), ""},
		"deny-an-item":   {doc(statement("Allow", "*"), statement("Deny", arn+"/mcp!*")), "bailian!1 plain"},
		"deny-container": {doc(statement("Allow", "*"), statement("Deny", arn)), "refused"},
		"keys-only":      {doc(statement("Allow", "acs:kms:*:*:key/*")), "refused"},
		"others-secrets": {doc(statement("Allow", "acs:kms:*:1234567890123456:secret/*")), "refused"},
		"no-policy":      {"", "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			user := acct.NewUser(t, name, c.policy)
			if c.want == "refused" {
				shared.call(t, user, "ListSecrets", nil).refused(t, 403, "Forbidden.NoPermission", "kms:ListSecrets")
				return
			}
			l := shared.list(t, user, nil)
			got := map[string]bool{}
			for _, s := range strings.Fields(l.names()) {
				got[s] = true
			}
			want := map[string]bool{}
			for _, s := range strings.Fields(c.want) {
				want[s] = true
			}
			if !maps.Equal(got, want) || l.TotalCount != len(want) {
				t.Errorf("sees %d, %s; want %s", l.TotalCount, l.names(), c.want)
			}
		})
	}
}
