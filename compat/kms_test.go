package compat

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// hard is a value that every layer between an SDK and the store could spoil.
const hard = "pä ss+w=rd&*~!'()%2B\\ \"quoted\" <b>\n\ttab 中文 \u2028 end "

// TestSecretOperations runs the operations on secrets, with all their
// parameters and answers.
func TestSecretOperations(t *testing.T) {
	srv := start(t)
	forEachCaller(t, srv, func(t *testing.T, how caller, acct *sesametest.Account) {
		root := at{t, srv, how, acct.Root}
		for _, part := range []struct {
			name string
			test func(*testing.T, at, *sesametest.Account)
		}{
			{"create and read", createAndRead}, {"versions", versionsAndStages}, {"list versions", listVersions},
			{"list secrets", listSecrets}, {"delete and restore", deleteAndRestore}, {"sizes", sizes},
		} {
			root := root
			t.Run(part.name, func(t *testing.T) { root.t = t; part.test(t, root, acct) })
		}
		root.kms("DescribeRegions", nil, answer{"Regions": answer{"Region": list(answer{"RegionId": "cn-hangzhou"})}})
	})
}

func createAndRead(t *testing.T, root at, acct *sesametest.Account) {
	const name = "app/db_1+x=y.z@w-中"
	arn := "acs:kms:cn-hangzhou:" + acct.ID + ":secret/" + name
	root.kms("CreateSecret", params{
		"SecretName": name, "VersionId": "v 1/α", "SecretData": hard, "SecretDataType": "text", "SecretType": "Generic", "Description": hard,
		"Tags":           `[{"TagKey":"team","TagValue":"search"},{"TagKey":"empty","TagValue":""}]`,
		"ExtendedConfig": `{"CustomData":{"a":"b"}}`, "EnableAutomaticRotation": "false",
	}, answer{"Arn": arn, "SecretName": name, "VersionId": "v 1/α", "SecretType": "Generic"})
	value := answer{
		"SecretName": name, "VersionId": "v 1/α", "SecretData": hard, "SecretDataType": "text", "SecretType": "Generic",
		"CreateTime": "TIME", "VersionStages": answer{"VersionStage": list("ACSCurrent")},
	}
	for _, p := range []params{
		{"SecretName": name},
		{"SecretName": arn},
		{"SecretName": name, "VersionId": "v 1/α"},
		{"SecretName": name, "VersionStage": "ACSCurrent", "FetchExtendedConfig": "true"},
		{"SecretName": name, "VersionId": "v 1/α", "VersionStage": "ACSCurrent"},
	} {
		root.kms("GetSecretValue", p, value)
	}
	described := answer{
		"Arn": arn, "SecretName": name, "SecretType": "Generic", "Description": hard, "AutomaticRotation": "Disabled",
		"CreateTime": "TIME", "UpdateTime": "TIME",
	}
	root.kms("DescribeSecret", params{"SecretName": name}, described)
	described["Tags"] = answer{"Tag": list(answer{"TagKey": "team", "TagValue": "search"}, answer{"TagKey": "empty"})}
	root.kms("DescribeSecret", params{"SecretName": arn, "FetchTags": "true"}, described)

	root.kms("CreateSecret", params{"SecretName": "binary", "VersionId": "v1", "SecretData": "AP8=", "SecretDataType": "binary"},
		answer{"Arn": "acs:kms:cn-hangzhou:" + acct.ID + ":secret/binary", "SecretName": "binary", "VersionId": "v1", "SecretType": "Generic"})
	root.kms("GetSecretValue", params{"SecretName": "binary"}, answer{
		"SecretName": "binary", "VersionId": "v1", "SecretData": "AP8=", "SecretDataType": "binary", "SecretType": "Generic",
		"CreateTime": "TIME", "VersionStages": answer{"VersionStage": list("ACSCurrent")},
	})
}

func versionsAndStages(_ *testing.T, root at, _ *sesametest.Account) {
	root.kms("CreateSecret", params{"SecretName": "staged", "VersionId": "v1", "SecretData": "1"}, nil)
	put := func(version, data, stages string, want ...string) {
		root.t.Helper()
		p := params{"SecretName": "staged", "VersionId": version, "SecretData": data}
		if stages != "" {
			p["VersionStages"] = stages
		}
		root.kms("PutSecretValue", p, answer{"SecretName": "staged", "VersionId": version, "VersionStages": answer{"VersionStage": list(want...)}})
	}
	holds := func(stage, version string) {
		root.t.Helper()
		got := root.kms("GetSecretValue", params{"SecretName": "staged", "VersionStage": stage}, nil)
		if got["VersionId"] != version {
			root.t.Errorf("the stage %s is on %v, want %s", stage, got["VersionId"], version)
		}
	}
	put("v1", "1", `["ACSCurrent"]`, "ACSCurrent") // as Terraform does after each creation
	put("v2", "2", "", "ACSCurrent")
	put("v2", "2", "", "ACSCurrent")
	holds("ACSCurrent", "v2")
	holds("ACSPrevious", "v1")
	put("v3", "3", `["ACSNext","blue"]`, "ACSNext", "blue")
	holds("ACSCurrent", "v2")
	holds("blue", "v3")
	put("v4", "4", `["ACSCurrent","ACSNext"]`, "ACSCurrent", "ACSNext")
	holds("ACSNext", "v4")
	holds("ACSPrevious", "v2")
	put("v2", "2", "", "ACSPrevious") // a repetition moves nothing
	holds("ACSCurrent", "v4")
	root.kms("GetSecretValue", params{"SecretName": "staged", "VersionId": "v3"}, answer{
		"SecretName": "staged", "VersionId": "v3", "SecretData": "3", "SecretDataType": "text", "SecretType": "Generic",
		"CreateTime": "TIME", "VersionStages": answer{"VersionStage": list("blue")},
	})
	root.kms("GetSecretValue", params{"SecretName": "staged", "VersionId": "v1"}, answer{
		"SecretName": "staged", "VersionId": "v1", "SecretData": "1", "SecretDataType": "text", "SecretType": "Generic", "CreateTime": "TIME",
	})

	// The same value again, with labels: they move, as Terraform relies on.
	put("v2", "2", `["blue"]`, "ACSPrevious", "blue")
	holds("blue", "v2")

	root.kmsRefused("PutSecretValue", params{"SecretName": "staged", "VersionId": "v2", "SecretData": "other"}, 409, "Rejected.ResourceExist")
	root.kmsRefused("GetSecretValue", params{"SecretName": "staged", "VersionId": "v3", "VersionStage": "ACSCurrent"}, 404, "Forbidden.ResourceNotFound")
	root.kmsRefused("GetSecretValue", params{"SecretName": "staged", "VersionId": "v9"}, 404, "Forbidden.ResourceNotFound")
	root.kmsRefused("GetSecretValue", params{"SecretName": "staged", "VersionStage": "green"}, 404, "Forbidden.ResourceNotFound")
	root.kmsRefused("PutSecretValue", params{"SecretName": "staged", "VersionId": "v5", "SecretData": "5",
		"VersionStages": `["a","b","c","d","e","f"]`}, 400, "Rejected.LimitExceeded")
}

func listVersions(_ *testing.T, root at, _ *sesametest.Account) {
	root.kms("CreateSecret", params{"SecretName": "many", "VersionId": "v1", "SecretData": "1"}, nil)
	for i := 2; i <= 4; i++ {
		root.kms("PutSecretValue", params{"SecretName": "many", "VersionId": fmt.Sprint("v", i), "SecretData": "x"}, nil)
	}
	version := func(id string, stages ...string) answer {
		return answer{"VersionId": id, "CreateTime": "TIME", "VersionStages": answer{"VersionStage": list(stages...)}}
	}
	deprecated := func(id string) answer { return answer{"VersionId": id, "CreateTime": "TIME"} }
	v4, v3 := version("v4", "ACSCurrent"), version("v3", "ACSPrevious")
	root.kms("ListSecretVersionIds", params{"SecretName": "many"}, answer{
		"SecretName": "many", "PageNumber": 1, "PageSize": 20, "TotalCount": 2, "VersionIds": answer{"VersionId": list(v4, v3)},
	})
	root.kms("ListSecretVersionIds", params{"SecretName": "many", "IncludeDeprecated": "true"}, answer{
		"SecretName": "many", "PageNumber": 1, "PageSize": 20, "TotalCount": 4,
		"VersionIds": answer{"VersionId": list(v4, v3, deprecated("v2"), deprecated("v1"))},
	})
	root.kms("ListSecretVersionIds", params{"SecretName": "many", "IncludeDeprecated": "true", "PageNumber": "2", "PageSize": "3"}, answer{
		"SecretName": "many", "PageNumber": 2, "PageSize": 3, "TotalCount": 4, "VersionIds": answer{"VersionId": list(deprecated("v1"))},
	})
	root.kms("ListSecretVersionIds", params{"SecretName": "many", "PageNumber": "9"}, answer{
		"SecretName": "many", "PageNumber": 9, "PageSize": 20, "TotalCount": 2,
	})
}

func listSecrets(t *testing.T, root at, _ *sesametest.Account) {
	for i := range 12 {
		root.kms("CreateSecret", params{"SecretName": fmt.Sprintf("list-%02d", i), "VersionId": "v1", "SecretData": "x", "Tags": `[{"TagKey":"n","TagValue":"1"}]`}, nil)
	}
	const filter = `[{"Key":"SecretName","Values":["list-0","list-11"]}]`
	names := func(p params, total, number, size, count int) []any {
		t.Helper()
		got := root.kms("ListSecrets", p, nil)
		for field, want := range map[string]int{"TotalCount": total, "PageNumber": number, "PageSize": size} {
			if got[field] != float64(want) {
				t.Errorf("ListSecrets %v: %s is %v, want %d", p, field, got[field], want)
			}
		}
		page, _ := got["SecretList"].(map[string]any)
		items, _ := page["Secret"].([]any)
		if len(items) != count {
			t.Errorf("ListSecrets %v: %d items, want %d", p, len(items), count)
		}
		return items
	}
	names(params{"Filters": filter}, 11, 1, 10, 10)
	names(params{"Filters": filter, "PageNumber": "2"}, 11, 2, 10, 1)
	names(params{"Filters": filter, "PageNumber": "3"}, 11, 3, 10, 0)
	names(params{"Filters": filter, "PageSize": "100"}, 11, 1, 100, 11)
	names(params{"Filters": `[{"Key":"SecretName","Values":[]}]`, "PageSize": "5"}, 16, 1, 5, 5)

	seen := map[any]bool{}
	for page := 1; page <= 4; page++ {
		for _, item := range names(params{"Filters": filter, "PageNumber": fmt.Sprint(page), "PageSize": "3"}, 11, page, 3, min(3, 11-3*(page-1))) {
			seen[item.(map[string]any)["SecretName"]] = true
		}
	}
	if len(seen) != 11 {
		t.Errorf("the pages hold %d names, want 11", len(seen))
	}
	root.kms("ListSecrets", params{"Filters": `[{"Key":"SecretName","Values":["list-03"]}]`, "FetchTags": "true"}, answer{
		"PageNumber": 1, "PageSize": 10, "TotalCount": 1, "SecretList": answer{"Secret": list(answer{
			"SecretName": "list-03", "SecretType": "Generic", "CreateTime": "TIME", "UpdateTime": "TIME",
			"Tags": answer{"Tag": list(answer{"TagKey": "n", "TagValue": "1"})},
		})},
	})
}

func deleteAndRestore(t *testing.T, root at, _ *sesametest.Account) {
	name := params{"SecretName": "short-lived"}
	root.kms("CreateSecret", params{"SecretName": "short-lived", "VersionId": "v1", "SecretData": "x"}, nil)
	root.kmsRefused("RestoreSecret", name, 409, "Rejected.ResourceInUse")

	before := time.Now().Truncate(time.Second)
	got := root.kms("DeleteSecret", params{"SecretName": "short-lived", "RecoveryWindowInDays": "7"}, answer{"SecretName": "short-lived", "PlannedDeleteTime": "TIME"})
	planned, err := time.Parse(time.RFC3339, got["PlannedDeleteTime"].(string))
	if week := 7 * 24 * time.Hour; err != nil || planned.Before(before.Add(week)) || planned.After(time.Now().Add(week)) {
		t.Errorf("PlannedDeleteTime is %v, want 7 days after %v", got["PlannedDeleteTime"], before)
	}
	root.kms("DescribeSecret", name, answer{
		"Arn": root.kms("DescribeSecret", name, nil)["Arn"], "SecretName": "short-lived", "SecretType": "Generic", "AutomaticRotation": "Disabled",
		"CreateTime": "TIME", "UpdateTime": "TIME", "PlannedDeleteTime": "TIME",
	})
	root.kms("ListSecrets", params{"Filters": `[{"Key":"SecretName","Values":["short"]}]`}, answer{
		"PageNumber": 1, "PageSize": 10, "TotalCount": 1, "SecretList": answer{"Secret": list(answer{
			"SecretName": "short-lived", "SecretType": "Generic", "CreateTime": "TIME", "UpdateTime": "TIME", "PlannedDeleteTime": "TIME",
		})},
	})
	for operation, p := range map[string]params{
		"GetSecretValue": name, "DeleteSecret": name,
		"PutSecretValue": {"SecretName": "short-lived", "VersionId": "v2", "SecretData": "x"},
		"CreateSecret":   {"SecretName": "short-lived", "VersionId": "v1", "SecretData": "x"},
	} {
		root.kmsRefused(operation, p, 409, "Rejected.ResourceInDeleteWindow")
	}
	root.kms("RestoreSecret", name, answer{"SecretName": "short-lived"})
	root.kms("GetSecretValue", name, nil)

	// Terraform sends both; the force counts.
	root.kms("DeleteSecret", params{"SecretName": "short-lived", "ForceDeleteWithoutRecovery": "true", "RecoveryWindowInDays": "30"},
		answer{"SecretName": "short-lived", "PlannedDeleteTime": "TIME"})
	for _, operation := range []string{"GetSecretValue", "DescribeSecret", "ListSecretVersionIds", "DeleteSecret", "RestoreSecret"} {
		root.kmsRefused(operation, name, 404, "Forbidden.ResourceNotFound")
	}
	root.kms("CreateSecret", params{"SecretName": "short-lived", "VersionId": "v1", "SecretData": "new"}, nil)
}

// sizes: the SDKs send values in the address, where each byte can take three.
func sizes(_ *testing.T, root at, _ *sesametest.Account) {
	largest := strings.Repeat("%", 30720)
	root.kms("CreateSecret", params{"SecretName": "large", "VersionId": "v1", "SecretData": largest}, nil)
	if got := root.kms("GetSecretValue", params{"SecretName": "large"}, nil); got["SecretData"] != largest {
		root.t.Error("the largest value comes back changed")
	}
	root.kmsRefused("PutSecretValue", params{"SecretName": "large", "VersionId": "v2", "SecretData": largest + "x"}, 400, "InvalidParameter").
		mention(root.t, "SecretData")
}

// TestDryRun: a trial always fails, and its code tells how the request would
// have ended.
func TestDryRun(t *testing.T) {
	srv := start(t)
	forEachCaller(t, srv, func(t *testing.T, how caller, acct *sesametest.Account) {
		root := at{t, srv, how, acct.Root}
		root.kms("CreateSecret", params{"SecretName": "there", "VersionId": "v1", "SecretData": "very-secret"}, nil)
		reader := root.as(acct.NewUser(t, "reader", readerPolicy("bailian")))
		try := params{"SecretName": "there", "DryRun": "true"}
		root.kmsRefused("GetSecretValue", try, 400, "DryRunOperationError")
		root.kmsRefused("GetSecretValue", params{"DryRun": "true"}, 400, "ValidationError").mention(t, "SecretName")
		reader.kmsRefused("GetSecretValue", try, 403, "AccessDeniedError").mention(t, ":secret/there")
		root.kms("GetSecretValue", params{"SecretName": "there", "DryRun": "false"}, nil)
	})
}
