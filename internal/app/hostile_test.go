package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/internal/audit/record"
	"github.com/opensesame-kms/opensesame/sesametest"
)

// attachMany gives the user n policies with the document.
func attachMany(t *testing.T, acct *sesametest.Account, user string, n int, document string) {
	t.Helper()
	for i := range n {
		name := fmt.Sprint(user, "-", i)
		shared.api(t, acct.Root, "ram", "CreatePolicy", p{"PolicyName": name, "PolicyDocument": document}).ok(t)
		acct.Attach(t, user, "Custom", name)
	}
}

// TestHostilePatterns: patterns that match almost everywhere in text that is
// made for them, as long as each may be, do not keep the server busy. The work
// of matching is the product of both lengths and of the number of policies: a
// server that did it for text that no name can hold would need minutes for what
// is asked here.
func TestHostilePatterns(t *testing.T) {
	t.Parallel()
	acct := shared.NewAccount(t)
	// Almost all of the 6144 characters of a policy, and nothing ever matches.
	pattern := "*" + strings.Repeat("a", 5700) + "?b*"
	acct.NewUser(t, "by-name", "")
	acct.NewUser(t, "by-tag", "")
	attachMany(t, acct, "by-name", 10, allow(pattern, "*"))
	attachMany(t, acct, "by-tag", 10, `{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringLike":{"acs:RequestTag/x":"`+pattern+`"}}}]}`)
	user := func(name string) cred {
		var out struct {
			AccessKey struct{ AccessKeyId, AccessKeySecret string }
		}
		shared.api(t, acct.Root, "ram", "CreateAccessKey", p{"UserName": name}).ok(t, &out)
		return cred{AccessKeyID: out.AccessKey.AccessKeyId, AccessKeySecret: out.AccessKey.AccessKeySecret}
	}
	byName, byTag := user("by-name"), user("by-tag")
	text := strings.Repeat("a", 250_000)
	requests := []wire{
		{cred: byName, product: "kms", action: "GetSecretValue", form: pairs(p{"SecretName": "acs:kms:" + text + ":1:secret/x"})},
		{cred: byName, product: "kms", action: "GetSecretValue", form: pairs(p{"SecretName": "acs:kms:cn-hangzhou:" + text + ":secret/x"})},
		{cred: byName, product: "kms", action: "GetSecretValue", form: pairs(p{"SecretName": "acs:kms:cn-hangzhou:1:secret/" + text})},
		{cred: byName, product: "kms", action: "GetSecretValue", form: pairs(p{"SecretName": text})},
		{cred: byName, product: "kms", action: "CreateSecret", form: pairs(p{"SecretName": text, "VersionId": "v", "SecretData": "x"})},
		{cred: byName, product: "sts", action: "AssumeRole", form: pairs(p{"RoleArn": "acs:ram::" + text + ":role/x", "RoleSessionName": "test"})},
		{cred: byName, product: "sts", action: "AssumeRole", form: pairs(p{"RoleArn": "acs:ram::1:role/" + text, "RoleSessionName": "test"})},
		{cred: byName, product: "ram", action: "GetUser", form: pairs(p{"UserName": text})},
		{cred: byTag, product: "ram", action: "CreatePolicy", form: pairs(p{"PolicyName": "z", "PolicyDocument": "x", "Tag.1.Key": "x", "Tag.1.Value": text})},
		{cred: byTag, product: "kms", action: "CreateSecret", form: pairs(p{"SecretName": "z", "VersionId": "v", "SecretData": "x", "Tags": `[{"TagKey":"x","TagValue":"` + text + `"}]`})},
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 3 {
		for _, w := range requests {
			a := shared.do(t, w.request(t, shared).WithContext(ctx), w.action)
			if a.shape(t); a.status < 400 || a.status >= 500 {
				t.Errorf("%s: HTTP %d %s, want a refusal", w.action, a.status, a.text("Code"))
			}
		}
	}
}

// TestHostileRefusalsOnRecord: nobody escapes the log by being refused in a way
// that is too long to be recorded. Such a record is cut, and the answer is the
// refusal, not a fault.
func TestHostileRefusalsOnRecord(t *testing.T) {
	t.Parallel()
	acct := shared.NewAccount(t)
	user := acct.NewUser(t, "u", "")
	manyParams := p{"PolicyName": "p", "PolicyDocument": "x"}
	for i := range 900 {
		manyParams[fmt.Sprint("Tag.", i, strings.Repeat("z", 200))] = "v"
	}
	answers := map[string]answer{
		"an account of 200,000 digits": shared.call(t, user, "GetSecretValue", p{"SecretName": "acs:kms:cn-hangzhou:" + strings.Repeat("7", 200_000) + ":secret/x"}),
		"a name of 200,000 characters": shared.call(t, user, "DeleteSecret", p{"SecretName": strings.Repeat("x", 200_000)}),
		"a version of 200,000":         shared.call(t, user, "GetSecretValue", p{"SecretName": "x", "VersionId": strings.Repeat("x", 200_000)}),
		"900 long parameter names":     shared.api(t, user, "ram", "CreatePolicy", manyParams),
	}
	// A denial names the statements that decided it, and here are many.
	deny := strings.Repeat(`{"Effect":"Deny","Action":"*","Resource":"*"},`, 120)
	attachMany(t, acct, "u", 10, `{"Version":"1","Statement":[`+strings.TrimSuffix(deny, ",")+`]}`)
	answers["1200 statements that deny"] = shared.call(t, user, "GetSecretValue", p{"SecretName": "x"})
	events := shared.eventsOf(t, acct.ID)
	for what, a := range answers {
		if a.shape(t); a.status < 400 || a.status >= 500 {
			t.Errorf("%s: HTTP %d %s, want a refusal", what, a.status, a.text("Code"))
		}
		list := events[a.text("RequestId")]
		if len(list) != 1 || list[0].ErrorCode != a.text("Code") || list[0].UserIdentity.UserName != "u" {
			t.Errorf("%s: %d events, want one with the code %s and the caller's name", what, len(list), a.text("Code"))
			continue
		}
		b, err := json.Marshal(list[0])
		if err != nil || len(b) > 2*record.MaxSize {
			t.Errorf("%s: an event of %d bytes, %v", what, len(b), err)
		}
	}
}

// TestRacesLeaveCountsAndRecords: however many create and delete at once, the
// quota is neither exceeded nor worn down by deletions, one of many deletions of
// a secret takes place, and every request is on record exactly once.
func TestRacesLeaveCountsAndRecords(t *testing.T) {
	t.Parallel()
	acct := shared.NewAccount(t)
	manager := shared.manage(t, acct, "bailian")
	const quota = 100
	codes := map[string]string{} // by request
	// rush runs f n times, eight at a time, and returns how many succeeded.
	rush := func(n int, f func(i int) answer) (succeeded int) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		next := make(chan int)
		for range 8 {
			wg.Go(func() {
				for i := range next {
					a := f(i)
					mu.Lock()
					if codes[a.text("RequestId")] = a.text("Code"); a.status == 200 {
						succeeded++
					} else if a.status >= 500 {
						t.Errorf("%s: HTTP %d %s", a.what, a.status, a.text("Code"))
					}
					mu.Unlock()
				}
			})
		}
		for i := range n {
			next <- i
		}
		close(next)
		wg.Wait()
		return succeeded
	}
	create := func(prefix string) func(i int) answer {
		return func(i int) answer {
			return shared.call(t, manager, "CreateSecret", p{"SecretName": fmt.Sprint("bailian!", prefix, i), "VersionId": "v0", "SecretData": "hush"})
		}
	}
	if n := rush(quota+8, create("a")); n != quota {
		t.Fatalf("%d secrets were created, the quota is %d", n, quota)
	}
	names := strings.Fields(strings.ReplaceAll(shared.list(t, manager, p{"PageSize": "100"}).names(), ",", " "))
	if len(names) != quota {
		t.Fatalf("%d secrets are listed, the quota is %d", len(names), quota)
	}
	// Three are deleted, each by many.
	if n := rush(24, func(i int) answer {
		return shared.call(t, manager, "DeleteSecret", p{"SecretName": names[i%3], "ForceDeleteWithoutRecovery": "true"})
	}); n != 3 {
		t.Errorf("3 secrets were deleted %d times", n)
	}
	if n := rush(16, create("b")); n != 3 {
		t.Errorf("%d secrets were created in 3 places", n)
	}
	// One name is created and deleted by many at once: it is there or not, and
	// counts as it is.
	one := names[3]
	net := 1
	rush(24, func(i int) answer {
		if i%2 == 0 {
			return shared.call(t, manager, "DeleteSecret", p{"SecretName": one, "ForceDeleteWithoutRecovery": "true"})
		}
		return shared.call(t, manager, "CreateSecret", p{"SecretName": one, "VersionId": "v0", "SecretData": "hush"})
	})
	if a := shared.call(t, manager, "DescribeSecret", p{"SecretName": one}); a.status == 404 {
		net = 0
	}
	if n := rush(8, create("c")); n != 1-net {
		t.Errorf("%d secrets were created in %d places", n, 1-net)
	}
	// Versions that many write at once are all kept.
	kept := names[4]
	if n := rush(8, func(i int) answer { return shared.put(t, manager, kept, fmt.Sprint("w", i), "hush", "") }); n != 8 {
		t.Errorf("%d of 8 versions were written", n)
	}
	if got := shared.versions(t, manager, kept); strings.Count(got, "[") != 9 {
		t.Errorf("of 9 versions there are %s", got)
	}

	recorded := map[string]string{}
	for id, list := range shared.eventsOf(t, acct.ID) {
		if len(list) != 1 {
			t.Errorf("%d events of one %s", len(list), list[0].EventName)
		}
		if _, ours := codes[id]; ours {
			recorded[id] = list[0].ErrorCode
		}
	}
	if !maps.Equal(recorded, codes) {
		t.Errorf("%d answers and their codes are not what the %d events say", len(codes), len(recorded))
	}
}
