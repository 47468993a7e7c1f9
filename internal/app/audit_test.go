package app_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/internal/audit"
	"github.com/opensesame-kms/opensesame/internal/audit/record"
	"github.com/opensesame-kms/opensesame/sesametest"
)

// eventsOf returns the events that the account may see, by the id of the
// request.
func (d *door) eventsOf(t *testing.T, account string) map[string][]*sesametest.Event {
	t.Helper()
	out := map[string][]*sesametest.Event{}
	for _, e := range d.Events(t, account) {
		out[e.RequestID] = append(out[e.RequestID], e)
	}
	return out
}

// TestOneEventEach: every request whose signature was verified leaves exactly
// one event, refused or not, read or write.
func TestOneEventEach(t *testing.T) {
	c := newCast(t)
	const name = "bailian!s"
	shared.create(t, c.manager, name, "x")
	answers := map[string]answer{}
	for who, caller := range c.insiders {
		for _, operation := range reads {
			answers[who+" "+operation] = shared.call(t, caller, operation, p{"SecretName": name})
			answers[who+" "+operation+" missing"] = shared.call(t, caller, operation, p{"SecretName": "missing"})
			answers[who+" "+operation+" malformed"] = shared.call(t, caller, operation, p{"SecretName": "!"})
			answers[who+" "+operation+" nothing"] = shared.call(t, caller, operation, nil)
		}
		for what, make := range writes {
			operation, params := make(name)
			answers[who+" "+what] = shared.call(t, caller, operation, params)
		}
		plain := strings.NewReplacer(" ", "-", "'", "", ",", "", ":", "", "*", "").Replace(who)
		for _, operation := range []string{"CreateSecret", "CreateSecret", "PutSecretValue", "DeleteSecret", "DeleteSecret", "RestoreSecret", "RestoreSecret"} {
			answers[fmt.Sprint(who, operation, len(answers))] = shared.call(t, caller, operation, p{"SecretName": plain, "VersionId": "v", "SecretData": "x"})
		}
		answers[who+" list"] = shared.call(t, caller, "ListSecrets", nil)
		answers[who+" identity"] = shared.api(t, caller, "sts", "GetCallerIdentity", nil)
		answers[who+" user"] = shared.api(t, caller, "ram", "GetUser", p{"UserName": "admin"})
		answers[who+" no user"] = shared.api(t, caller, "ram", "GetUser", p{"UserName": "nosuch"})
	}
	strangers := map[string]bool{}
	for who, caller := range c.outsiders {
		for _, operation := range []string{"GetSecretValue", "DeleteSecret"} {
			what := who + " " + operation
			answers[what] = shared.call(t, caller, operation, p{"SecretName": c.arn(name)})
			strangers[what] = strings.Contains(who, "another account")
		}
	}
	silent := shared.call(t, c.Root, "DescribeRegions", nil).ok(t)
	events, elsewhere := shared.eventsOf(t, c.ID), shared.eventsOf(t, c.other.ID)
	for what, a := range answers {
		list, others := events[a.text("RequestId")], elsewhere[a.text("RequestId")]
		if strangers[what] { // a stranger cannot write into the owner's trail
			list, others = others, list
		}
		if len(list) != 1 || len(others) != 0 {
			t.Errorf("%s (HTTP %d): %d events in the account, want one; %d where it does not belong", what, a.status, len(list), len(others))
			continue
		}
		e := list[0]
		code, message := a.text("Code"), a.text("Message")
		if e.ErrorCode != code || e.ErrorMessage != message || (e.ResponseElements == nil) != (a.status != 200) {
			t.Errorf("%s: HTTP %d %s, its event says %q, %q, answer %v", what, a.status, code, e.ErrorCode, e.ErrorMessage, e.ResponseElements)
		}
		if e.AdditionalEventData["HttpStatus"] != a.status {
			t.Errorf("%s: HTTP %d, its event says %v", what, a.status, e.AdditionalEventData["HttpStatus"])
		}
		decision := e.AdditionalEventData["Decision"]
		switch {
		case a.status == 200 && decision != "Allow", a.status == 403 && decision != "Deny", decision == "Deny" && a.status != 403:
			t.Errorf("%s: HTTP %d, decision %v", what, a.status, decision)
		case decision == "Deny" && e.AdditionalEventData["Reasons"] == nil:
			t.Errorf("%s: a denial without reasons", what)
		}
	}
	if len(events[silent.text("RequestId")]) != 0 {
		t.Error("DescribeRegions left an event")
	}
}

// TestEventFields compares whole events.
func TestEventFields(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	d := start(t, sesametest.Options{Time: now})
	acct := d.NewAccount(t)
	service := d.service(t, "bailian")
	slr := acct.Authorise(t, "bailian")
	assumed := d.send(t, wire{cred: service, product: "sts", action: "AssumeRole", query: pairs(p{"RoleArn": slr, "RoleSessionName": "sfm", "DurationSeconds": "900"})})
	var session struct {
		Credentials     struct{ AccessKeyId, AccessKeySecret, SecurityToken, Expiration string }
		AssumedRoleUser struct{ AssumedRoleId, Arn string }
	}
	assumed.ok(t, &session)
	manager := cred{AccessKeyID: session.Credentials.AccessKeyId, AccessKeySecret: session.Credentials.AccessKeySecret, SecurityToken: session.Credentials.SecurityToken}
	created := d.call(t, manager, "CreateSecret", p{"SecretName": "bailian!s", "VersionId": "v1", "SecretData": "hush", "Unknown": "hush", "Policy": ""}).ok(t)
	user := acct.NewUser(t, "alice", allow("*", "kms:GetSecretValue"))
	read := d.call(t, user, "GetSecretValue", p{"SecretName": "bailian!s", "FetchExtendedConfig": "true"}).ok(t)
	refused := d.call(t, acct.Root, "DeleteSecret", p{"SecretName": "bailian!s"})

	got := map[string]map[string]any{}
	for _, e := range d.Events(t, acct.ID) {
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		got[e.RequestID] = m
	}
	common := func(a answer, name, rw, product, version string, global bool) map[string]any {
		id := a.text("RequestId")
		return map[string]any{
			"eventId": id, "requestId": id, "eventVersion": "1", "eventCategory": "Management", "eventType": "ApiCall",
			"eventName": name, "eventRW": rw, "eventSource": d.Host, "eventTime": now.Format("2006-01-02T15:04:05Z"), "acsRegion": "cn-hangzhou",
			"apiVersion": version, "serviceName": product, "isGlobal": global, "recipientAccountId": acct.ID, "userAgent": "app-test", "sourceIpAddress": "127.0.0.1",
		}
	}
	gateway := func(a answer, product string) map[string]any {
		return map[string]any{
			"RequestId": a.text("RequestId"), "HostId": d.Host, "AcsHost": d.Host, "AcsProduct": product,
			"ServiceCode": strings.ToLower(product), "Region": "cn-hangzhou",
		}
	}
	with := func(m map[string]any, more map[string]any) map[string]any { maps.Copy(m, more); return m }
	const star = "******"
	for _, c := range []struct {
		a    answer
		want map[string]any
		data map[string]any // of additionalEventData
		not  []string       // names that must not be there
	}{
		{assumed, with(common(assumed, "AssumeRole", "Write", "Sts", "2015-04-01", true), map[string]any{
			"userIdentity":      map[string]any{"type": "system", "principalId": sesametest.Services["bailian"], "accountId": "system", "userName": sesametest.Services["bailian"], "accessKeyId": service.AccessKeyID},
			"requestParameters": with(gateway(assumed, "Sts"), map[string]any{"RoleArn": slr, "RoleSessionName": "sfm", "DurationSeconds": "900"}),
			"responseElements": map[string]any{
				"RequestId": assumed.text("RequestId"), "AssumedRoleUser": map[string]any{"Arn": session.AssumedRoleUser.Arn, "AssumedRoleId": session.AssumedRoleUser.AssumedRoleId},
				"Credentials": map[string]any{"AccessKeyId": manager.AccessKeyID, "AccessKeySecret": star, "SecurityToken": star, "Expiration": session.Credentials.Expiration},
			},
			"referencedResources": map[string]any{"ACS::RAM::Role": []any{"AliyunServiceRoleForSFMAccessKMS"}}, "resourceType": "ACS::RAM::Role", "resourceName": "AliyunServiceRoleForSFMAccessKMS",
		}), map[string]any{"Decision": "Allow", "Scheme": "https", "Gateway": "shared", "HttpStatus": 200.0, "Reasons": []any{"trust-allow"}}, nil},
		{created, with(common(created, "CreateSecret", "Write", "Kms", "2016-01-20", false), map[string]any{
			"userIdentity": map[string]any{
				"type": "assumed-role", "principalId": session.AssumedRoleUser.AssumedRoleId, "accountId": acct.ID, "userName": "AliyunServiceRoleForSFMAccessKMS:sfm", "accessKeyId": manager.AccessKeyID,
				"sessionContext": map[string]any{"attributes": map[string]any{"mfaAuthenticated": "false", "creationDate": now.Format("2006-01-02T15:04:05Z")}},
			},
			"requestParameters": with(gateway(created, "Kms"), map[string]any{
				"SecretName": "bailian!s", "VersionId": "v1", "SecretData": star,
				"stsTokenPrincipalName": "AliyunServiceRoleForSFMAccessKMS/sfm", "stsTokenPlayerUid": strings.TrimSuffix(session.AssumedRoleUser.AssumedRoleId, ":sfm"),
			}),
			"responseElements":    map[string]any{"RequestId": created.text("RequestId"), "Arn": created.text("Arn"), "SecretName": "bailian!s", "VersionId": "v1", "SecretType": "Generic"},
			"referencedResources": map[string]any{"ACS::KMS::Secret": []any{"bailian!s"}}, "resourceType": "ACS::KMS::Secret", "resourceName": "bailian!s",
		}), map[string]any{"Decision": "Allow", "VersionId": "v1", "VersionStages": []any{"ACSCurrent"}, "HostingMode": "Free", "OwningProduct": "model-studio", "HttpStatus": 200.0}, []string{"KeyId", "KeyVersionId"}},
		{read, with(common(read, "GetSecretValue", "Read", "Kms", "2016-01-20", false), map[string]any{
			"requestParameters": with(gateway(read, "Kms"), map[string]any{"SecretName": "bailian!s", "FetchExtendedConfig": "true"}),
			"responseElements": map[string]any{
				"RequestId": read.text("RequestId"), "SecretName": "bailian!s", "VersionId": "v1", "SecretData": star, "SecretDataType": "text",
				"SecretType": "Generic", "CreateTime": now.Format("2006-01-02T15:04:05Z"), "VersionStages": map[string]any{"VersionStage": []any{"ACSCurrent"}},
			},
			"referencedResources": map[string]any{"ACS::KMS::Secret": []any{"bailian!s"}}, "resourceType": "ACS::KMS::Secret", "resourceName": "bailian!s",
		}), map[string]any{"Decision": "Allow", "VersionId": "v1", "VersionStages": []any{"ACSCurrent"}, "HostingMode": "Free", "OwningProduct": "model-studio", "Reasons": []any{"identity-allow"}, "MatchedPolicies": []any{"Allow Custom of-alice#0"}}, []string{"KeyId", "KeyVersionId"}},
		{refused, with(common(refused, "DeleteSecret", "Write", "Kms", "2016-01-20", false), map[string]any{
			"userIdentity":      map[string]any{"type": "root-account", "principalId": acct.ID, "accountId": acct.ID, "userName": "root", "accessKeyId": acct.Root.AccessKeyID},
			"requestParameters": with(gateway(refused, "Kms"), map[string]any{"SecretName": "bailian!s"}), "responseElements": nil,
			"errorCode": "Forbidden.NoPermission", "errorMessage": refused.text("Message"),
			"referencedResources": map[string]any{"ACS::KMS::Secret": []any{"bailian!s"}}, "resourceType": "ACS::KMS::Secret", "resourceName": "bailian!s",
		}), map[string]any{"Decision": "Deny", "HostingMode": "Free", "OwningProduct": "model-studio", "HttpStatus": 403.0, "Reasons": []any{"guard-owned-by-product"}}, []string{"VersionId"}},
	} {
		e := got[c.a.text("RequestId")]
		for name, want := range c.want {
			if fmt.Sprint(e[name]) != fmt.Sprint(want) {
				t.Errorf("%s: %s is\n%v, want\n%v", c.a.what, name, e[name], want)
			}
		}
		data, _ := e["additionalEventData"].(map[string]any)
		for name, want := range c.data {
			if fmt.Sprint(data[name]) != fmt.Sprint(want) {
				t.Errorf("%s: additionalEventData.%s is %v, want %v", c.a.what, name, data[name], want)
			}
		}
		for _, name := range c.not {
			if data[name] != nil {
				t.Errorf("%s: additionalEventData.%s is %v, want none", c.a.what, name, data[name])
			}
		}
	}
	createdID := got[created.text("RequestId")]["additionalEventData"].(map[string]any)["SecretId"]
	readID := got[read.text("RequestId")]["additionalEventData"].(map[string]any)["SecretId"]
	if createdID == nil || createdID != readID {
		t.Errorf("SecretId %v of the creation, %v of the reading", createdID, readID)
	}
}

// TestUnverifiedAreCounted: requests of unknown callers leave no event each;
// they are counted by source, account and code.
func TestUnverifiedAreCounted(t *testing.T) {
	d := start(t, sesametest.Options{})
	acct := d.NewAccount(t)
	d.create(t, acct.Root, "s", "x")
	before := len(d.Events(t, acct.ID))
	bad := wire{cred: cred{AccessKeyID: acct.Root.AccessKeyID, AccessKeySecret: "wrongwrongwrongwrong"}, product: "kms", action: "GetSecretValue", query: []pair{{"SecretName", "s"}}}
	used := wire{cred: acct.Root, product: "kms", action: "GetSecretValue", query: []pair{{"SecretName", "s"}}, nonce: "once"}
	d.send(t, used).ok(t)
	for range 7 {
		d.send(t, bad).refused(t, 400, "SignatureDoesNotMatch")
	}
	for range 3 {
		d.send(t, used).refused(t, 400, "SignatureNonceUsed")
		d.send(t, wire{cred: cred{AccessKeyID: "LTAI5tNoSuchKey", AccessKeySecret: "x"}, product: "kms", action: "GetSecretValue"}).refused(t, 404, "InvalidAccessKeyId.NotFound")
	}
	if err := d.Stop(); err != nil { // the last second's counts are written then
		t.Fatal(err)
	}
	got, own, seen := map[string]int{}, 0, 0
	for _, r := range readAudit(t, d.Dir) {
		for _, c := range r.Counts {
			got[fmt.Sprint(c.Code, " ", c.Account, " ", c.Source)] += int(c.Count)
		}
		if r.Kind != record.KindRefusals {
			if r.VisibleTo(acct.ID) {
				own++
			}
			continue
		}
		refusals, _ := r.Event(acct.ID).AdditionalEventData["Refusals"].([]map[string]any)
		for _, c := range refusals {
			if seen++; c["Account"] != acct.ID {
				t.Errorf("the account is shown the refusals %v", c)
			}
		}
	}
	want := map[string]int{
		"SignatureDoesNotMatch " + acct.ID + " 127.0.0.1": 7, "SignatureNonceUsed " + acct.ID + " 127.0.0.1": 3, "InvalidAccessKeyId.NotFound  127.0.0.1": 3,
	}
	if !maps.Equal(got, want) || seen < 2 {
		t.Errorf("counted %v, want %v; the account sees %d rows", got, want, seen)
	}
	if own != before+1 {
		t.Errorf("%d events of the account after one more read, %d before", own, before)
	}
}

// readAudit reads the audit log of a server that has stopped.
func readAudit(t *testing.T, dir string) []*record.Record {
	t.Helper()
	var out []*record.Record
	err := audit.Read(filepath.Join(dir, "audit"), 0, func(_ uint64, payload []byte) error {
		r, err := record.Unmarshal(payload)
		out = append(out, r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestCrossAccountEvents: a refused reach into another account stands in the
// caller's trail, and there it tells no more than the answer did: not whether
// the thing exists.
func TestCrossAccountEvents(t *testing.T) {
	acct, other := shared.NewAccount(t), shared.NewAccount(t)
	manager := shared.manage(t, acct, "bailian")
	const name = "bailian!s"
	reach := func() map[string]any {
		a := shared.call(t, other.Root, "GetSecretValue", p{"SecretName": "acs:kms:cn-hangzhou:" + acct.ID + ":secret/" + name})
		a.refused(t, 403, "Forbidden.NoPermission")
		list := shared.eventsOf(t, other.ID)[a.text("RequestId")]
		if len(list) != 1 || list[0].RecipientAccountID != other.ID || list[0].UserIdentity.AccountID != other.ID {
			t.Fatalf("%d events of it in the caller's account", len(list))
		}
		for _, e := range shared.Events(t, acct.ID) {
			if e.RequestID == a.text("RequestId") {
				t.Error("a stranger wrote into the owner's trail")
			}
		}
		delete(list[0].AdditionalEventData, "Sequence")
		return list[0].AdditionalEventData
	}
	missing := fmt.Sprint(reach())
	shared.create(t, manager, name, "x")
	if there := fmt.Sprint(reach()); there != missing {
		t.Errorf("the record of a refusal says\n%s, of a secret that exists\n%s", missing, there)
	}
	own := shared.call(t, other.Root, "ListSecrets", nil).ok(t)
	if len(shared.eventsOf(t, acct.ID)[own.text("RequestId")]) != 0 {
		t.Error("an account sees what another one does at home")
	}
}

// TestMaskedParameters: what may hold a secret stands in the record as stars
// or as a hash, and so does what was refused by its type: it may be a secret
// that was put in the wrong place.
func TestMaskedParameters(t *testing.T) {
	acct := shared.NewAccount(t)
	document := allow("*", "kms:GetSecretValue")
	for _, c := range []struct {
		product, operation string
		params             p
		want               p
	}{
		{"kms", "CreateSecret", p{"SecretName": "s", "VersionId": "v", "SecretData": "hush", "ExtendedConfig": `{"a":1}`, "SecretDatum": "hush"},
			p{"SecretName": "s", "VersionId": "v", "SecretData": "******", "ExtendedConfig": "sha256:015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"}},
		{"kms", "PutSecretValue", p{"SecretName": "s", "VersionId": "v2", "SecretData": "hush", "SecretDataType": "hush", "VersionStages": "hush hush"},
			p{"SecretName": "s", "VersionId": "v2", "SecretData": "******", "SecretDataType": "******", "VersionStages": "******"}},
		{"kms", "ListSecrets", p{"PageNumber": "hush", "Filters": "hush", "FetchTags": "hush"}, p{"PageNumber": "******", "Filters": "******", "FetchTags": "******"}},
		{"kms", "GetSecretValue", p{"SecretName": "hush hush", "VersionStage": "hush hush"}, p{"SecretName": "******", "VersionStage": "******"}},
		{"kms", "CreateSecret", p{"SecretName": "s", "VersionId": "v", "SecretData": "x", "SecretType": "hush", "Tags": "hush"}, p{"SecretName": "s", "VersionId": "v", "SecretType": "******", "Tags": "******"}},
		{"ram", "CreatePolicy", p{"PolicyName": "p", "PolicyDocument": document}, p{"PolicyName": "p", "PolicyDocument": ""}},
	} {
		a := shared.api(t, acct.Root, c.product, c.operation, c.params)
		e := shared.eventsOf(t, acct.ID)[a.text("RequestId")][0]
		for name, want := range c.want {
			got := e.RequestParameters[name]
			if want == "" && strings.HasPrefix(got, "sha256:") {
				continue
			}
			if got != want {
				t.Errorf("%s: %s is recorded as %q, want %q", c.operation, name, got, want)
			}
		}
		b, _ := json.Marshal(e)
		if strings.Contains(string(b), "hush") {
			t.Errorf("%s: the event holds what was to be masked: %s", c.operation, b)
		}
	}
}
