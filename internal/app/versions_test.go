package app_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// put stores a version; stages empty is the default.
func (d *door) put(t testing.TB, c cred, name, version, value, stages string) answer {
	t.Helper()
	return d.call(t, c, "PutSecretValue", p{"SecretName": name, "VersionId": version, "SecretData": value, "VersionStages": stages})
}

type versionPage struct {
	SecretName                       string
	PageNumber, PageSize, TotalCount int
	VersionIds                       struct { //nolint:revive // the wire's spelling
		VersionId []struct {
			VersionId, CreateTime string
			VersionStages         struct{ VersionStage []string }
		}
	}
}

// versions writes the versions of a secret, newest first, with their labels:
// "v2[ACSCurrent] v1[ACSPrevious]".
func (d *door) versions(t testing.TB, c cred, name string) string {
	t.Helper()
	var page versionPage
	d.call(t, c, "ListSecretVersionIds", p{"SecretName": name, "IncludeDeprecated": "true"}).ok(t, &page)
	var out []string
	for _, v := range page.VersionIds.VersionId {
		slices.Sort(v.VersionStages.VersionStage)
		out = append(out, v.VersionId+"["+strings.Join(v.VersionStages.VersionStage, ",")+"]")
	}
	return strings.Join(out, " ")
}

func TestStages(t *testing.T) {
	acct := shared.NewAccount(t)
	shared.create(t, acct.Root, "s", "1")
	step := func(version, stages, want, all string) {
		t.Helper()
		var out struct {
			SecretName, VersionId string
			VersionStages         struct{ VersionStage []string }
		}
		a := shared.put(t, acct.Root, "s", version, "value of "+version, stages).ok(t, &out)
		slices.Sort(out.VersionStages.VersionStage)
		if got := strings.Join(out.VersionStages.VersionStage, ","); got != want || out.SecretName != "s" || out.VersionId != version || a.members() != "RequestId SecretName VersionId VersionStages" {
			t.Errorf("PutSecretValue %s answered %s, want the labels %s", version, a.body, want)
		}
		if got := shared.versions(t, acct.Root, "s"); got != all {
			t.Errorf("after %s with %s the secret has\n%s, want\n%s", version, stages, got, all)
		}
	}
	step("v2", "", "ACSCurrent", "v2[ACSCurrent] v1[ACSPrevious]")
	step("v3", `["ACSCurrent"]`, "ACSCurrent", "v3[ACSCurrent] v2[ACSPrevious] v1[]")
	step("v4", `["blue"]`, "blue", "v4[blue] v3[ACSCurrent] v2[ACSPrevious] v1[]")
	step("v5", `["green","blue"]`, "blue,green", "v5[blue,green] v4[] v3[ACSCurrent] v2[ACSPrevious] v1[]")
	step("v6", `{"VersionStage":["green","ACSCurrent"]}`, "ACSCurrent,green", "v6[ACSCurrent,green] v5[blue] v4[] v3[ACSPrevious] v2[] v1[]")
	step("v7", "blue, aA0_/+=.@-", "aA0_/+=.@-,blue", "v7[aA0_/+=.@-,blue] v6[ACSCurrent,green] v5[] v4[] v3[ACSPrevious] v2[] v1[]")

	for _, c := range []struct{ version, stage, want string }{
		{"", "", "v6"}, {"", "ACSCurrent", "v6"}, {"", "ACSPrevious", "v3"}, {"", "blue", "v7"}, {"", "green", "v6"},
		{"v1", "", "v1"}, {"v7", "blue", "v7"}, {"v6", "ACSCurrent", "v6"}, {"v6", "blue", ""}, {"v1", "ACSCurrent", ""}, {"v8", "", ""}, {"", "red", ""}, {"V6", "", ""}, {"", "acscurrent", ""},
	} {
		a := shared.call(t, acct.Root, "GetSecretValue", p{"SecretName": "s", "VersionId": c.version, "VersionStage": c.stage})
		if c.want == "" {
			a.refused(t, 404, "Forbidden.ResourceNotFound")
			continue
		}
		value := "value of " + c.want
		if c.want == "v1" {
			value = "1"
		}
		if a.ok(t); a.text("VersionId") != c.want || a.text("SecretData") != value {
			t.Errorf("version %q, stage %q: read %s, want %s", c.version, c.stage, a.text("VersionId"), c.want)
		}
		if a.members() != "CreateTime RequestId SecretData SecretDataType SecretName SecretType VersionId VersionStages" {
			t.Errorf("GetSecretValue answered %s", a.members())
		}
	}
	if a := shared.call(t, acct.Root, "GetSecretValue", p{"SecretName": "s", "VersionId": "v1"}).ok(t); fmt.Sprint(a.fields["VersionStages"]) != "map[VersionStage:[]]" {
		t.Errorf("a version without labels has VersionStages %v", a.fields["VersionStages"])
	}
}

func TestPutSecretValue(t *testing.T) {
	acct := shared.NewAccount(t)
	shared.create(t, acct.Root, "s", "1")
	rep := strings.Repeat
	const bad = "InvalidParameter"
	tests := map[string]refusal{
		"no version":        {p{"VersionId": ""}, 400, "MissingParameter", `"VersionId"`},
		"no data":           {p{"SecretData": ""}, 400, "MissingParameter", `"SecretData"`},
		"data too long":     {p{"SecretData": rep("x", 30721)}, 400, bad, `"SecretData"`},
		"version too long":  {p{"VersionId": rep("v", 65)}, 400, bad, `"VersionId"`},
		"data type":         {p{"SecretDataType": "json"}, 400, bad, `"SecretDataType"`},
		"other data":        {p{"VersionId": "v1", "SecretData": "2"}, 409, "Rejected.ResourceExist", ""},
		"other type":        {p{"VersionId": "v1", "SecretData": "1", "SecretDataType": "binary"}, 409, "Rejected.ResourceExist", ""},
		"other data, label": {p{"VersionId": "v1", "SecretData": "2", "VersionStages": `["x"]`}, 409, "Rejected.ResourceExist", ""},
	}
	for _, stages := range []string{
		"[]", `[""]`, `["a b"]`, `["` + rep("x", 65) + `"]`, `["ACSPrevious"]`, `["a","a"]`, "{}", `[1]`, `["a"`, `{"VersionStage":[]}`, "a,,b", "a,a", " ", `["中"]`, `["a"] x`,
		`["1","2","3","4","5","6","7","8","9"]`,
	} {
		r := refusal{p{"VersionStages": stages}, 400, bad, `"VersionStages"`}
		if strings.HasPrefix(stages, `["1"`) {
			r.code, r.text = "Rejected.LimitExceeded", "8"
		}
		tests["stages "+stages] = r
	}
	refuse(t, shared, acct.Root, "PutSecretValue", p{"SecretName": "s", "VersionId": "v9", "SecretData": "9"}, []string{"s"}, tests)

	// The same again is no change.
	shared.unchanged(t, acct.Root, []string{"s"}, func() {
		a := shared.put(t, acct.Root, "s", "v1", "1", "").ok(t)
		if fmt.Sprint(a.fields["VersionStages"]) != "map[VersionStage:[ACSCurrent]]" {
			t.Errorf("repeated PutSecretValue answered %s", a.body)
		}
		shared.put(t, acct.Root, "s", "v1", "1", `["ACSCurrent"]`).ok(t)
	})
	// Labels that it lacks move to the version; it keeps those that it has.
	a := shared.put(t, acct.Root, "s", "v1", "1", `["ACSCurrent","other"]`).ok(t)
	if fmt.Sprint(a.fields["VersionStages"]) != "map[VersionStage:[ACSCurrent other]]" {
		t.Errorf("repeated PutSecretValue with a further label answered %s", a.body)
	}
	shared.call(t, acct.Root, "PutSecretValue", p{"SecretName": "s", "VersionId": "v2", "SecretData": "bin", "SecretDataType": "binary"}).ok(t)
	if a := shared.call(t, acct.Root, "GetSecretValue", p{"SecretName": "s"}).ok(t); a.text("SecretDataType") != "binary" || a.text("SecretData") != "bin" {
		t.Error("the binary version came back changed")
	}
}

// TestLimits: at most eight labels and ten versions; the eleventh displaces
// the oldest without a label.
func TestLimits(t *testing.T) {
	acct := shared.NewAccount(t)
	shared.create(t, acct.Root, "s", "1")
	// Seven of our own and ACSCurrent.
	shared.put(t, acct.Root, "s", "v2", "2", `["1","2","3","4","5","6","7"]`).ok(t)
	shared.unchanged(t, acct.Root, []string{"s"}, func() {
		shared.put(t, acct.Root, "s", "v3", "3", `["8"]`).refused(t, 400, "Rejected.LimitExceeded", "8")
		shared.put(t, acct.Root, "s", "v3", "3", "").refused(t, 400, "Rejected.LimitExceeded", "8") // ACSPrevious would be the ninth
	})
	shared.put(t, acct.Root, "s", "v3", "3", `["1","2","3"]`).ok(t) // moves are free

	shared.create(t, acct.Root, "many", "1")
	want := "v1[]"
	for i := 2; i <= 10; i++ {
		shared.put(t, acct.Root, "many", fmt.Sprint("v", i), fmt.Sprint(i), "").ok(t)
		want = fmt.Sprintf("v%d[] ", i) + want
	}
	want = strings.Replace(strings.Replace(want, "v10[]", "v10[ACSCurrent]", 1), "v9[]", "v9[ACSPrevious]", 1)
	if got := shared.versions(t, acct.Root, "many"); got != want {
		t.Errorf("ten versions: %s, want %s", got, want)
	}
	shared.put(t, acct.Root, "many", "v11", "11", `["x"]`).ok(t)
	if got := shared.versions(t, acct.Root, "many"); strings.Contains(got, " v1[") || !strings.HasPrefix(got, "v11[x] v10[") || strings.Count(got, "[") != 10 {
		t.Errorf("after the eleventh: %s", got)
	}
	shared.call(t, acct.Root, "GetSecretValue", p{"SecretName": "many", "VersionId": "v1"}).refused(t, 404, "Forbidden.ResourceNotFound")
	shared.put(t, acct.Root, "many", "v1", "another", "").ok(t) // the id is free again
	if got := shared.value(t, acct.Root, "many"); got != "another" {
		t.Errorf("the id that became free reads %q", got)
	}
	if got := shared.versions(t, acct.Root, "many"); strings.Contains(got, "v2[") || strings.Count(got, "[") != 10 {
		t.Errorf("after the twelfth: %s", got)
	}
}

// TestVersionPages: deprecated versions are listed only if asked for.
func TestVersionPages(t *testing.T) {
	acct := shared.NewAccount(t)
	shared.create(t, acct.Root, "s", "1")
	for i := 2; i <= 5; i++ {
		shared.put(t, acct.Root, "s", fmt.Sprint("v", i), "x", "").ok(t)
	}
	for _, c := range []struct {
		params          p
		page, size, all int
		want            string
	}{
		{nil, 1, 20, 2, "v5 v4"},
		{p{"IncludeDeprecated": "false"}, 1, 20, 2, "v5 v4"},
		{p{"IncludeDeprecated": "true"}, 1, 20, 5, "v5 v4 v3 v2 v1"},
		{p{"IncludeDeprecated": "True", "PageSize": "2", "PageNumber": "3"}, 3, 2, 5, "v1"},
		{p{"PageSize": "1", "PageNumber": "2"}, 2, 1, 2, "v4"},
		{p{"PageNumber": "2"}, 2, 20, 2, ""},
		{p{"PageNumber": "9223372036854775807", "PageSize": "100"}, 9223372036854775807, 100, 2, ""},
	} {
		params := p{"SecretName": "s"}
		for k, v := range c.params {
			params[k] = v
		}
		var page versionPage
		a := shared.call(t, acct.Root, "ListSecretVersionIds", params).ok(t, &page)
		var got []string
		for _, v := range page.VersionIds.VersionId {
			got = append(got, v.VersionId)
			if _, err := time.Parse("2006-01-02T15:04:05Z", v.CreateTime); err != nil {
				t.Errorf("CreateTime %q", v.CreateTime)
			}
		}
		if strings.Join(got, " ") != c.want || page.PageNumber != c.page || page.PageSize != c.size || page.TotalCount != c.all || page.SecretName != "s" || page.VersionIds.VersionId == nil {
			t.Errorf("%v: %s", c.params, a.body)
		}
	}
	paging(t, acct.Root, "ListSecretVersionIds", p{"SecretName": "s"})
	shared.call(t, acct.Root, "ListSecretVersionIds", p{"SecretName": "s", "IncludeDeprecated": "yes"}).refused(t, 400, "InvalidParameter", `"IncludeDeprecated"`)
}

// paging checks the refusals of a paged operation.
func paging(t *testing.T, c cred, operation string, base p) {
	t.Helper()
	tests := map[string]refusal{}
	for _, n := range []string{"0", "-1", "x", "1.5", "9223372036854775808", " 1"} {
		tests[operation+" page "+n] = refusal{p{"PageNumber": n}, 400, "InvalidParameter", `"PageNumber"`}
		tests[operation+" size "+n] = refusal{p{"PageSize": n}, 400, "InvalidParameter", `"PageSize"`}
	}
	tests[operation+" size 101"] = refusal{p{"PageSize": "101"}, 400, "InvalidParameter", `"PageSize"`}
	refuse(t, shared, c, operation, base, nil, tests)
}

// TestPutRace: many writers of one secret do not lose each other's versions.
func TestPutRace(t *testing.T) {
	acct := shared.NewAccount(t)
	shared.create(t, acct.Root, "s", "1")
	var wg sync.WaitGroup
	for i := 2; i <= 10; i++ {
		for range 2 { // each of them twice: a repetition is no conflict
			wg.Go(func() {
				shared.put(t, acct.Root, "s", fmt.Sprint("v", i), fmt.Sprint("value ", i), "").ok(t)
			})
		}
	}
	wg.Wait()
	got := shared.versions(t, acct.Root, "s")
	if strings.Count(got, "[") != 10 || strings.Count(got, "ACSCurrent") != 1 || strings.Count(got, "ACSPrevious") != 1 {
		t.Errorf("the secret has %s", got)
	}
	for i := 2; i <= 10; i++ {
		a := shared.call(t, acct.Root, "GetSecretValue", p{"SecretName": "s", "VersionId": fmt.Sprint("v", i)}).ok(t)
		if a.text("SecretData") != fmt.Sprint("value ", i) {
			t.Errorf("version %d reads %q", i, a.text("SecretData"))
		}
	}
}

// TestTimes: what the answers say of time, on a clock that stands still.
func TestTimes(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	d := start(t, sesametest.Options{Time: now})
	text := func(after time.Duration) string { return now.Add(after).Format("2006-01-02T15:04:05Z") }
	acct := d.NewAccount(t)
	d.create(t, acct.Root, "s", "1")
	d.SetTime(now.Add(time.Minute))
	d.put(t, acct.Root, "s", "v2", "2", "").ok(t)
	want := func(name, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	a := d.call(t, acct.Root, "DescribeSecret", p{"SecretName": "s"}).ok(t)
	want("members", a.members(), "Arn AutomaticRotation CreateTime Creator Description RequestId SecretName SecretType UpdateTime")
	want("CreateTime", a.text("CreateTime"), text(0))
	want("UpdateTime", a.text("UpdateTime"), text(time.Minute))
	want("AutomaticRotation", a.text("AutomaticRotation"), "Disabled")
	want("Creator", a.text("Creator"), acct.ID)
	want("version's CreateTime", d.call(t, acct.Root, "GetSecretValue", p{"SecretName": "s"}).text("CreateTime"), text(time.Minute))
	want("first version's CreateTime", d.call(t, acct.Root, "GetSecretValue", p{"SecretName": "s", "VersionId": "v1"}).text("CreateTime"), text(0))

	const day = 24 * time.Hour
	for window, days := range map[string]time.Duration{"": 30, "7": 7, "30": 30} {
		d.SetTime(now.Add(2 * time.Minute))
		planned := text(2*time.Minute + days*day)
		a := d.call(t, acct.Root, "DeleteSecret", p{"SecretName": "s", "RecoveryWindowInDays": window}).ok(t)
		want("DeleteSecret", a.members(), "PlannedDeleteTime RequestId SecretName")
		want("PlannedDeleteTime", a.text("PlannedDeleteTime"), planned)
		a = d.call(t, acct.Root, "DescribeSecret", p{"SecretName": "s"}).ok(t)
		want("PlannedDeleteTime", a.text("PlannedDeleteTime"), planned)
		want("UpdateTime", a.text("UpdateTime"), text(2*time.Minute))
		d.SetTime(now.Add(3 * time.Minute))
		want("RestoreSecret", d.call(t, acct.Root, "RestoreSecret", p{"SecretName": "s"}).ok(t).members(), "RequestId SecretName")
		a = d.call(t, acct.Root, "DescribeSecret", p{"SecretName": "s"}).ok(t)
		want("PlannedDeleteTime", a.text("PlannedDeleteTime"), "")
		want("UpdateTime", a.text("UpdateTime"), text(3*time.Minute))
	}
	a = d.call(t, acct.Root, "DeleteSecret", p{"SecretName": "s", "ForceDeleteWithoutRecovery": "true"}).ok(t)
	want("PlannedDeleteTime", a.text("PlannedDeleteTime"), text(3*time.Minute))
}
