package app_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// refusal is a request that must be refused and change nothing.
type refusal struct {
	params p
	status int
	code   string
	text   string
}

// refuse sends each request with base's parameters beside its own (an empty
// text takes one away), and checks the refusals.
func refuse(t *testing.T, d *door, c cred, operation string, base p, names []string, tests map[string]refusal) {
	t.Helper()
	for what, r := range tests {
		t.Run(what, func(t *testing.T) {
			params := p{}
			maps.Copy(params, base)
			maps.Copy(params, r.params)
			d.unchanged(t, c, names, func() { d.call(t, c, operation, params).refused(t, r.status, r.code, r.text) })
		})
	}
}

// members are the names of an answer's members.
func (a answer) members() string { return strings.Join(slices.Sorted(maps.Keys(a.fields)), " ") }

func TestSecretNames(t *testing.T) {
	acct := shared.NewAccount(t)
	manager := shared.manage(t, acct, "bailian")
	rep := strings.Repeat
	for who, names := range map[*cred][]string{
		&acct.Root: {
			"a", rep("a", 192), rep("秘", 64), rep("秘", 64) + rep("b", 128), "AZaz09_/+=.@-", "ACS/x", "a/acs/x", "acs", "Case", "case",
			"secret/x", "-", "...", "a//b",
		},
		&manager: {"bailian!a", "bailian!" + rep("x", 150), "bailian!" + rep("秘", 64), "bailian!acs/x", "mcp!A/b+c=d.e@f-g_", "bailian-apikey!1"},
	} {
		for _, name := range names {
			a := shared.call(t, *who, "CreateSecret", p{"SecretName": name, "VersionId": "v", "SecretData": "of " + name}).ok(t)
			if want := "acs:kms:cn-hangzhou:" + acct.ID + ":secret/" + name; a.text("Arn") != want || a.text("SecretName") != name {
				t.Errorf("created %s, %s, want %s", a.text("SecretName"), a.text("Arn"), want)
			}
			for _, by := range []string{name, a.text("Arn")} {
				got := shared.call(t, *who, "GetSecretValue", p{"SecretName": by}).ok(t)
				if got.text("SecretData") != "of "+name || got.text("SecretName") != name {
					t.Errorf("reading %s gave another secret", by)
				}
			}
		}
	}
	const bad = "InvalidParameter"
	tests := map[string]refusal{"missing": {p{"SecretName": ""}, 400, "MissingParameter", `"SecretName"`}}
	for _, name := range []string{
		rep("a", 193), rep("秘", 65), rep("秘", 64) + rep("b", 129), "acs/", "acs/x", "a b", "a:b", "a*", "a?", "a#b", "a%21b", `a\b`, "é", "ａ", "😀",
		"a\x00", "a\n", "a\u202e", "あ", "a,b", "$Auto", "acs:kms:cn-hangzhou:" + acct.ID + ":secret/a",
		"nosuch!x", "Bailian!x", "!x", "bailian!", "bailian!a!b", "!", "!!", "a b!x", "1a!x", "bailian!a b", "bailian!" + rep("x", 151), "bailian!" + rep("秘", 65),
		rep("c", 33) + "!x", rep("c", 32) + "!x", "acs/bailian!x", "baili\u0430n!x",
	} {
		tests[name] = refusal{p{"SecretName": name}, 400, bad, `"SecretName"`}
	}
	refuse(t, shared, acct.Root, "CreateSecret", p{"VersionId": "v", "SecretData": "x"}, nil, tests)
	for _, r := range tests {
		shared.call(t, manager, "CreateSecret", p{"SecretName": r.params["SecretName"], "VersionId": "v", "SecretData": "x"}).refused(t, r.status, r.code, r.text)
	}
}

// TestNamesOfOthers: how the operations on a secret read its name.
func TestNamesOfOthers(t *testing.T) {
	acct := shared.NewAccount(t)
	shared.create(t, acct.Root, "a", "x")
	prefix := "acs:kms:cn-hangzhou:" + acct.ID
	for _, operation := range []string{"GetSecretValue", "DescribeSecret", "ListSecretVersionIds", "DeleteSecret", "RestoreSecret", "PutSecretValue"} {
		base := p{"VersionId": "v1", "SecretData": "x", "VersionStages": ""}
		tests := map[string]refusal{
			operation + " missing name":   {p{"SecretName": ""}, 400, "MissingParameter", `"SecretName"`},
			operation + " unknown":        {p{"SecretName": "b"}, 404, "Forbidden.ResourceNotFound", "not found"},
			operation + " in other case":  {p{"SecretName": "A"}, 404, "Forbidden.ResourceNotFound", ""},
			operation + " by unknown ARN": {p{"SecretName": prefix + ":secret/b"}, 404, "Forbidden.ResourceNotFound", ""},
			operation + " other region":   {p{"SecretName": "acs:kms:cn-beijing:" + acct.ID + ":secret/a"}, 404, "Forbidden.ResourceNotFound", ""},
		}
		for _, bad := range []string{
			"a b", strings.Repeat("a", 193), "acs/x", prefix + ":key/a", prefix + ":secret", prefix + ":secret/", prefix + ":secret/acs/x", "acs:kms", "acs:",
			"acs:ram::" + acct.ID + ":secret/a", "acs:kms::" + acct.ID + ":secret/a", "acs:kms:cn-hangzhou::secret/a", "acs:kms:*:" + acct.ID + ":secret/a",
			"acs:kms:cn-hangzhou/" + acct.ID + ":x:secret/a", prefix + ":secret/a:b", "a!", "!a", "a!b!c",
		} {
			tests[operation+" "+bad] = refusal{p{"SecretName": bad}, 400, "InvalidParameter", `"SecretName"`}
		}
		refuse(t, shared, acct.Root, operation, base, []string{"a"}, tests)
	}
}

func TestCreateSecret(t *testing.T) {
	acct := shared.NewAccount(t)
	rep := strings.Repeat
	for i, params := range []p{
		{"VersionId": "v", "SecretData": rep("x", 30720)},
		{"VersionId": "v", "SecretData": rep("秘", 10240)},
		{"VersionId": rep("v", 64), "SecretData": "x"},
		{"VersionId": rep("秘", 64), "SecretData": "x", "Description": rep("d", 8192), "SecretType": "Generic"},
		{"VersionId": "a!b c*", "SecretData": "bm8gYmFzZTY0", "SecretDataType": "binary"},
		{"VersionId": "v", "SecretData": " \t\n ", "SecretDataType": "text", "ExtendedConfig": `{"ignored":1}`, "EnableAutomaticRotation": "false", "RotationInterval": "7d"},
		{"VersionId": "v", "SecretData": "x", "Description": "", "EncryptionKeyId": "", "DKMSInstanceId": "", "Policy": "", "Tags": ""},
	} {
		name := fmt.Sprint("ok-", i)
		params["SecretName"] = name
		a := shared.call(t, acct.Root, "CreateSecret", params).ok(t)
		if a.members() != "Arn RequestId SecretName SecretType VersionId" || a.text("SecretType") != "Generic" || a.text("VersionId") != params["VersionId"] {
			t.Errorf("CreateSecret answered %s", a.members())
		}
		got := shared.call(t, acct.Root, "GetSecretValue", p{"SecretName": name}).ok(t)
		if got.text("SecretData") != params["SecretData"] || got.text("VersionId") != params["VersionId"] {
			t.Errorf("%s: read another value or version than was stored", name)
		}
		want := "text"
		if params["SecretDataType"] != "" {
			want = params["SecretDataType"]
		}
		if got.text("SecretDataType") != want {
			t.Errorf("%s: data type %s, want %s", name, got.text("SecretDataType"), want)
		}
	}
	const bad, unsupported = "InvalidParameter", "UnsupportedOperation"
	shared.create(t, acct.Root, "there", "x")
	tests := map[string]refusal{
		"no version":           {p{"VersionId": ""}, 400, "MissingParameter", `"VersionId"`},
		"no data":              {p{"SecretData": ""}, 400, "MissingParameter", `"SecretData"`},
		"data too long":        {p{"SecretData": rep("x", 30721)}, 400, bad, `"SecretData"`},
		"data of many bytes":   {p{"SecretData": rep("秘", 10240) + "x"}, 400, bad, `"SecretData"`},
		"version too long":     {p{"VersionId": rep("v", 65)}, 400, bad, `"VersionId"`},
		"version of 65 runes":  {p{"VersionId": rep("秘", 65)}, 400, bad, `"VersionId"`},
		"version with control": {p{"VersionId": "a\nb"}, 400, bad, `"VersionId"`},
		"data type":            {p{"SecretDataType": "Text"}, 400, bad, `"SecretDataType"`},
		"description":          {p{"Description": rep("d", 8193)}, 400, bad, `"Description"`},
		"config too long":      {p{"ExtendedConfig": `{"a":"` + rep("x", 1017) + `"}`}, 400, bad, `"ExtendedConfig"`},
		"config no object":     {p{"ExtendedConfig": `[1]`}, 400, bad, `"ExtendedConfig"`},
		"config null":          {p{"ExtendedConfig": `null`}, 400, bad, `"ExtendedConfig"`},
		"rotation":             {p{"EnableAutomaticRotation": "true"}, 400, bad, `"EnableAutomaticRotation"`},
		"rotation, no bool":    {p{"EnableAutomaticRotation": "maybe"}, 400, bad, `"EnableAutomaticRotation"`},
		"type":                 {p{"SecretType": "generic"}, 400, bad, `"SecretType"`},
		"key and no instance":  {p{"EncryptionKeyId": "key-1"}, 400, bad, `"EncryptionKeyId"`},
		"instance":             {p{"DKMSInstanceId": "kst-1"}, 403, "Forbidden.DKMSInstanceNotFound", ""},
		"instance and key":     {p{"DKMSInstanceId": "kst-1", "EncryptionKeyId": "key-1"}, 403, "Forbidden.DKMSInstanceNotFound", ""},
		"policy":               {p{"Policy": `{"Version":"1","Statement":[]}`}, 400, "Forbidden.KeyPolicyUnSupported", ""},
		"policy too long":      {p{"Policy": rep("x", 32769)}, 400, bad, `"Policy"`},
		"product's resource":   {p{"ProductResourceArn": "acs:x:::y"}, 400, bad, "ProductResourceArn"},
		"product's page":       {p{"ManageUrl": "https://example.com/"}, 400, bad, "ManageUrl"},
		"there":                {p{"SecretName": "there"}, 409, "Rejected.ResourceExist", ""},
		"there, other version": {p{"SecretName": "there", "VersionId": "v2", "SecretData": "y"}, 409, "Rejected.ResourceExist", ""},
	}
	for _, typ := range []string{"Rds", "Redis", "RAMCredentials", "ECS", "PolarDB"} {
		tests[typ] = refusal{p{"SecretType": typ}, 400, unsupported, typ}
	}
	for _, i := range []string{"5h", "8761h", "366d", "7", "d", "-7d", "7w", "7 d", "21599s", "99999999999999999999d", "日", "7日"} {
		tests["interval "+i] = refusal{p{"RotationInterval": i}, 400, bad, `"RotationInterval"`}
	}
	refuse(t, shared, acct.Root, "CreateSecret", p{"SecretName": "new", "VersionId": "v1", "SecretData": "x"}, []string{"new", "there"}, tests)
}

func TestTags(t *testing.T) {
	acct := shared.NewAccount(t)
	rep := strings.Repeat
	tags := func(n int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(`{"TagKey":"k%d","TagValue":"v"}`, i)
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	one := func(key, value string) string { return fmt.Sprintf(`[{"TagKey":%q,"TagValue":%q}]`, key, value) }
	for i, text := range []string{tags(20), one(rep("k", 128), rep("v", 128)), one("k", ""), `[{"TagKey":"only"}]`, one(`aA0/\_-.+=:@`, `aA0/\_-.+=:@`), "[]", one("Aliyun", "x"), one("xacs:", "x")} {
		name := fmt.Sprint("ok-", i)
		shared.call(t, acct.Root, "CreateSecret", p{"SecretName": name, "VersionId": "v", "SecretData": "x", "Tags": text}).ok(t)
		if a := shared.call(t, acct.Root, "DescribeSecret", p{"SecretName": name}).ok(t); strings.Contains(a.members(), "Tags") {
			t.Error("DescribeSecret shows tags unasked")
		}
		var out struct {
			Tags struct{ Tag []map[string]string }
		}
		shared.call(t, acct.Root, "DescribeSecret", p{"SecretName": name, "FetchTags": "true"}).ok(t, &out)
		if want := strings.Count(text, "TagKey"); len(out.Tags.Tag) != want || out.Tags.Tag == nil {
			t.Errorf("%s has the tags %v, want %d in a list", name, out.Tags.Tag, want)
		}
	}
	tests := map[string]refusal{
		"too many":       {p{"Tags": tags(21)}, 400, "Rejected.LimitExceeded", "20"},
		"double":         {p{"Tags": `[{"TagKey":"k","TagValue":"1"},{"TagKey":"k","TagValue":"2"}]`}, 400, "Duplicate.TagKey", ""},
		"value too long": {p{"Tags": one("k", rep("v", 129))}, 400, "InvalidParameter.TagValue", ""},
		"value":          {p{"Tags": one("k", "a b")}, 400, "InvalidParameter.TagValue", ""},
	}
	for _, key := range []string{"", rep("k", 129), "a b", "aliyun", "aliyunx", "acs:", "acs:x", "中", "k*"} {
		tests["key "+key] = refusal{p{"Tags": one(key, "v")}, 400, "InvalidParameter.TagKey", ""}
	}
	for _, text := range []string{"x", "{}", `{"TagKey":"k","TagValue":"v"}`, `["k"]`, `[{"TagKey":1}]`, "[", "[]x", "null", `"a"`, `k=v`} {
		tests["shape "+text] = refusal{p{"Tags": text}, 400, "InvalidParameter", `"Tags"`}
	}
	refuse(t, shared, acct.Root, "CreateSecret", p{"SecretName": "new", "VersionId": "v1", "SecretData": "x"}, []string{"new"}, tests)

	creator := acct.NewUser(t, "creator", allow("*", "kms:CreateSecret"))
	shared.call(t, creator, "CreateSecret", p{"SecretName": "new", "VersionId": "v1", "SecretData": "x", "Tags": tags(1)}).
		refused(t, 403, "Forbidden.NoPermission", "kms:TagResource", "secret/new")
	shared.call(t, creator, "CreateSecret", p{"SecretName": "new", "VersionId": "v1", "SecretData": "x"}).ok(t)
}

// TestCreatePermission: an Allow on the container or on the name permits to
// create, a Deny on either forbids.
func TestCreatePermission(t *testing.T) {
	acct := shared.NewAccount(t)
	arn := "acs:kms:cn-hangzhou:" + acct.ID + ":secret"
	deny := func(resource string) string {
		return `{"Version":"1","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"},{"Effect":"Deny","Action":"kms:CreateSecret","Resource":"` + resource + `"}]}`
	}
	for name, c := range map[string]struct {
		policy string
		ok     bool
	}{
		"on-container":   {allow(arn, "kms:CreateSecret"), true},
		"on-name":        {allow(arn+"/on-name", "kms:CreateSecret"), true},
		"other-name":     {allow(arn+"/another", "kms:CreateSecret"), false},
		"deny-container": {deny(arn), false},
		"deny-name":      {deny(arn + "/deny-*"), false},
		"nothing":        {"", false},
		"other-account":  {allow("acs:kms:cn-hangzhou:1234567890123456:*", "kms:*"), false},
	} {
		t.Run(name, func(t *testing.T) {
			user := acct.NewUser(t, name, c.policy)
			a := shared.call(t, user, "CreateSecret", p{"SecretName": name, "VersionId": "v", "SecretData": "x"})
			if c.ok {
				a.ok(t)
				return
			}
			a.refused(t, 403, "Forbidden.NoPermission", "kms:CreateSecret", arn+"/"+name)
			shared.call(t, acct.Root, "DescribeSecret", p{"SecretName": name}).refused(t, 404, "Forbidden.ResourceNotFound")
		})
	}
}

func TestDescribeRegions(t *testing.T) {
	d := start(t, sesametest.Options{Region: "eu-central-1"})
	acct := d.NewAccount(t)
	for _, c := range []cred{acct.Root, acct.NewUser(t, "nobody", ""), d.manage(t, acct, "alb")} {
		if a := d.call(t, c, "DescribeRegions", nil).ok(t); fmt.Sprint(a.fields["Regions"]) != "map[Region:[map[RegionId:eu-central-1]]]" {
			t.Errorf("DescribeRegions answered %s", a.body)
		}
	}
	for _, c := range []cred{d.Operator, d.service(t, "alb")} {
		d.call(t, c, "DescribeRegions", nil).refused(t, 403, "Forbidden.NoPermission")
	}
}

// TestDryRun: a read that is only asked about is judged, recorded and not
// answered; a change is refused rather than made.
func TestDryRun(t *testing.T) {
	acct := shared.NewAccount(t)
	shared.create(t, acct.Root, "dry", "hush")
	ask := p{"SecretName": "dry", "DryRun": "true"}
	shared.call(t, acct.Root, "GetSecretValue", ask).refused(t, 400, "DryRunOperationError")
	shared.call(t, acct.Root, "GetSecretValue", p{"SecretName": "dry", "DryRun": "false"}).ok(t)
	shared.call(t, acct.Root, "GetSecretValue", p{"DryRun": "true"}).refused(t, 400, "ValidationError")
	shared.call(t, acct.NewUser(t, "nobody", ""), "GetSecretValue", ask).refused(t, 403, "AccessDeniedError")
	shared.unchanged(t, acct.Root, []string{"dry"}, func() {
		shared.call(t, acct.Root, "DeleteSecret", ask).refused(t, 400, "UnsupportedOperation", "DryRun")
		shared.call(t, acct.Root, "PutSecretValue", p{"SecretName": "dry", "VersionId": "v2", "SecretData": "x", "DryRun": "True"}).refused(t, 400, "UnsupportedOperation", "DryRun")
	})
}
