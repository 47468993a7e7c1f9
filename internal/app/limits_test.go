package app_test

import (
	"crypto/rand"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// limited starts a server with the documented limits whose clock stands still,
// so that no bucket fills unless the test moves it.
func limited(t *testing.T) *door {
	t.Helper()
	return start(t, sesametest.Options{Limits: true, Time: time.Now().UTC().Truncate(time.Second)})
}

func (d *door) pass(by time.Duration) { d.SetTime(d.Now().Add(by)) }

// setLimits sets limits of an account as the operator; changes is the JSON of
// SetAccountLimits.
func (d *door) setLimits(t testing.TB, account, changes string) answer {
	t.Helper()
	return d.api(t, d.Operator, "opensesame", "SetAccountLimits", p{"AccountId": account, "Limits": changes})
}

// limitsOf maps the classes to what holds for the account.
func (d *door) limitsOf(t testing.TB, account string) map[string]string {
	t.Helper()
	var out struct {
		AccountId string
		Limits    struct {
			Limit []struct {
				Class, PerSecond string
				Own              bool
			}
		}
	}
	d.api(t, d.Operator, "opensesame", "DescribeAccountLimits", p{"AccountId": account}).ok(t, &out)
	m := map[string]string{}
	for _, l := range out.Limits.Limit {
		m[l.Class] = l.PerSecond
		if l.Own {
			m[l.Class] += " own"
		}
	}
	return m
}

// TestThrottled: a caller over its limit is told so in the way that clients
// understand, and may send the very same bytes again.
func TestThrottled(t *testing.T) {
	d := limited(t)
	acct, other := d.NewAccount(t), d.NewAccount(t)
	for _, a := range []*sesametest.Account{acct, other} {
		d.create(t, a.Root, "a", "x")
		d.setLimits(t, a.ID, `{"secret-read":3}`).ok(t)
	}
	date := d.Now().UTC().Format("2006-01-02T15:04:05Z")
	for _, v1 := range []bool{false, true} {
		d.pass(time.Second)
		read := func(c cred) answer {
			return d.send(t, wire{cred: c, product: "kms", action: "GetSecretValue", v1: v1, query: []pair{{"SecretName", "a"}}})
		}
		for range 3 {
			read(acct.Root).ok(t)
		}
		w := wire{cred: acct.Root, product: "kms", action: "GetSecretValue", v1: v1, query: []pair{{"SecretName", "a"}}, nonce: rand.Text(), date: date}
		for range 3 {
			a := d.send(t, w)
			a.refused(t, 429, "Rejected.Throttling", "QPS Limit Exceeded")
			for header, want := range map[string]string{
				"Retry-After": `^1$`, "x-acs-retry-after": `^1000$`,
				"x-ratelimit-user-api": `^Limit:3,Remain:0,TimeLeft:334$`, "x-ratelimit-user": `^Limit:3,Remain:0,TimeLeft:334$`,
			} {
				if got := a.header.Get(header); !regexp.MustCompile(want).MatchString(got) {
					t.Errorf("%s: %q, want %s", header, got, want)
				}
			}
		}
		// Other classes of the account, and other accounts, are not concerned.
		d.call(t, acct.Root, "ListSecrets", nil).ok(t)
		read(other.Root).ok(t)
		d.pass(time.Second)
		d.send(t, w).ok(t)
		d.send(t, w).refused(t, 400, "SignatureNonceUsed")
	}
	for _, e := range d.Events(t, acct.ID) {
		if e.ErrorCode == "Rejected.Throttling" {
			t.Error("a throttled request has a record of its own: a storm would fill the disk")
		}
	}
}

// TestForgedRequestsCostNothing: only who has the key can use up its account's
// rate.
func TestForgedRequestsCostNothing(t *testing.T) {
	d := limited(t)
	acct := d.NewAccount(t)
	d.create(t, acct.Root, "a", "x")
	d.setLimits(t, acct.ID, `{"secret-read":1}`).ok(t)
	forged := acct.Root
	forged.AccessKeySecret += "x"
	for range 20 {
		d.call(t, forged, "GetSecretValue", p{"SecretName": "a"}).refused(t, 400, "SignatureDoesNotMatch")
	}
	d.call(t, acct.Root, "GetSecretValue", p{"SecretName": "a"}).ok(t)
}

// TestDocumentedLimits: what is on where limits are on.
func TestDocumentedLimits(t *testing.T) {
	d := limited(t)
	acct := d.NewAccount(t)
	want := map[string]string{
		"secret-read": "450", "secret-list": "40", "secret-write": "50", "secret-create-delete": "10",
		"ram": "100", "sts": "100", "resourcemanager": "100",
	}
	if got := d.limitsOf(t, acct.ID); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the limits are %v, want %v", got, want)
	}
	for i := range 10 {
		d.create(t, acct.Root, fmt.Sprint("s", i), "x")
	}
	d.call(t, acct.Root, "CreateSecret", p{"SecretName": "s10", "VersionId": "v", "SecretData": "x"}).refused(t, 429, "Rejected.Throttling")
	for range 40 {
		d.call(t, acct.Root, "ListSecrets", nil).ok(t)
	}
	d.call(t, acct.Root, "ListSecretVersionIds", p{"SecretName": "s1"}).refused(t, 429, "Rejected.Throttling")
	for range 100 {
		d.api(t, acct.Root, "sts", "GetCallerIdentity", nil).ok(t)
	}
	d.api(t, acct.Root, "sts", "GetCallerIdentity", nil).refused(t, 429, "Rejected.Throttling")
	// The operator is not limited, nor are servers of tests unless they ask.
	for range 120 {
		d.limitsOf(t, acct.ID)
	}
	for class, limit := range shared.limitsOf(t, shared.NewAccount(t).ID) {
		if limit != "0" {
			t.Errorf("a server without limits limits %s to %s", class, limit)
		}
	}
}

// TestAccountLimits: an operator sets limits of one account; they count at once
// and outlive a restart, 0 is none, and null the server's again.
func TestAccountLimits(t *testing.T) {
	dir := t.TempDir()
	now := time.Now().UTC().Truncate(time.Second)
	d := start(t, sesametest.Options{Dir: dir, Limits: true, Time: now})
	acct := d.NewAccount(t)
	d.setLimits(t, acct.ID, `{"secret-list":2,"sts":0,"ram":0.5}`).ok(t)
	d.setLimits(t, acct.ID, `{"secret-read":9000.5,"ram":null}`).ok(t)
	d.setLimits(t, acct.ID, `{}`).ok(t)
	check := func() {
		t.Helper()
		got := d.limitsOf(t, acct.ID)
		for class, want := range map[string]string{"secret-list": "2 own", "sts": "0 own", "ram": "100", "secret-read": "9000.5 own"} {
			if got[class] != want {
				t.Errorf("%s: %s, want %s", class, got[class], want)
			}
		}
	}
	check()
	d.call(t, acct.Root, "ListSecrets", nil).ok(t)
	d.call(t, acct.Root, "ListSecrets", nil).ok(t)
	d.call(t, acct.Root, "ListSecrets", nil).refused(t, 429, "Rejected.Throttling")
	d.setLimits(t, acct.ID, `{"secret-list":0}`).ok(t)
	for range 60 {
		d.call(t, acct.Root, "ListSecrets", nil).ok(t)
	}
	d.setLimits(t, acct.ID, `{"secret-list":2}`).ok(t)
	for range 101 {
		d.api(t, acct.Root, "sts", "GetCallerIdentity", nil).ok(t)
	}
	names := []string{}
	for _, e := range d.Events(t, acct.ID) {
		names = append(names, e.EventName)
	}
	if !slices.Contains(names, "SetAccountLimits") {
		t.Errorf("the account's trail does not tell of its limits: %v", names)
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	d = start(t, sesametest.Options{Dir: dir, Limits: true, Time: now})
	check()
}

// TestAccountLimitsRefused: what SetAccountLimits does not take.
func TestAccountLimitsRefused(t *testing.T) {
	acct := shared.NewAccount(t)
	for _, changes := range []string{
		`[]`, `1`, `{`, `{"secret-read":1} x`, `{"secret-read":"1"}`, `{"secret-read":{}}`, `{"secret-read":-1}`, `{"secret-read":1e9}`,
		`{"secret-read":1e-9}`, `{"operator":1}`, `{"Secret-Read":1}`, `{"secret-read":1,"secret-read":2}`, `{"secret-read":NaN}`,
	} {
		shared.setLimits(t, acct.ID, changes).refused(t, 400, "InvalidParameter", `"Limits"`)
	}
	shared.setLimits(t, acct.ID, "").refused(t, 400, "MissingParameter")
	shared.setLimits(t, "1000000000000001", `{"sts":1}`).refused(t, 404, "EntityNotExist.Account")
	shared.api(t, shared.Operator, "opensesame", "DescribeAccountLimits", p{"AccountId": "1000000000000001"}).refused(t, 404, "EntityNotExist.Account")
	shared.api(t, shared.Operator, "opensesame", "DescribeAccountLimits", p{"AccountId": "1"}).refused(t, 400, "InvalidParameter")
	for _, c := range []cred{acct.Root, shared.service(t, "bailian"), shared.adminSession(t, acct)} {
		for operation, params := range map[string]p{
			"DescribeAccountLimits": {"AccountId": acct.ID}, "SetAccountLimits": {"AccountId": acct.ID, "Limits": `{"secret-read":0}`},
		} {
			shared.api(t, c, "opensesame", operation, params).refused(t, 403, "Forbidden.NoPermission")
		}
	}
}

// TestOwnerIsCharged: a request that acts on another account's thing is
// charged to that account too, but only once it is allowed: nobody can use up
// the rate of an account that does not let him in.
func TestOwnerIsCharged(t *testing.T) {
	d := limited(t)
	owner, guest, stranger := d.NewAccount(t), d.NewAccount(t), d.NewAccount(t)
	role := owner.NewRole(t, "r", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::`+guest.ID+`:root"]}}]}`, "")
	user := func(a *sesametest.Account) cred {
		u := a.NewUser(t, "u", "")
		a.Attach(t, "u", "System", "AliyunSTSAssumeRoleAccess")
		return u
	}
	in, out := user(guest), user(stranger)
	d.setLimits(t, owner.ID, `{"sts":2}`).ok(t)
	params := []pair{{"RoleArn", role}, {"RoleSessionName", "guest"}}
	for range 10 {
		d.send(t, wire{cred: out, product: "sts", action: "AssumeRole", form: params}).refused(t, 403, "NoPermission")
	}
	for range 2 {
		d.send(t, wire{cred: in, product: "sts", action: "AssumeRole", form: params}).ok(t)
	}
	w := wire{cred: in, product: "sts", action: "AssumeRole", form: params, nonce: rand.Text(), date: d.Now().Format("2006-01-02T15:04:05Z")}
	a := d.send(t, w)
	a.refused(t, 429, "Rejected.Throttling")
	if a.header.Get("Retry-After") != "1" || a.header.Get("x-ratelimit-user") != "" {
		t.Errorf("the guest is told of the owner's limit: %v", a.header)
	}
	d.api(t, owner.Root, "sts", "GetCallerIdentity", nil).refused(t, 429, "Rejected.Throttling")
	d.api(t, in, "sts", "GetCallerIdentity", nil).ok(t)
	d.pass(time.Second)
	d.send(t, w).ok(t) // its nonce was given back
}

// TestStrangers: an address whose requests are refused before their caller is
// known is not looked at for a while; who is known is not counted.
func TestStrangers(t *testing.T) {
	d := limited(t)
	acct := d.NewAccount(t)
	for range 150 { // refused, but of a known caller
		d.call(t, acct.Root, "GetSecretValue", p{"SecretName": "none"}).refused(t, 404, "Forbidden.ResourceNotFound")
	}
	bad := []func() answer{
		func() answer {
			c := acct.Root
			c.AccessKeySecret += "x"
			return d.call(t, c, "DescribeRegions", nil)
		},
		func() answer {
			return d.call(t, cred{AccessKeyID: "LTAI000000000000", AccessKeySecret: "x"}, "DescribeRegions", nil)
		},
		func() answer { return d.call(t, acct.Root, "NoSuchOperation", nil) },
		func() answer {
			return d.send(t, wire{cred: acct.Root, product: "kms", action: "DescribeRegions", date: "2020-01-01T00:00:00Z"})
		},
	}
	for i := range 100 {
		if a := bad[i%len(bad)](); a.status == 429 || a.status == 200 {
			t.Fatalf("bad request %d: HTTP %d", i, a.status)
		}
	}
	for _, f := range bad {
		a := f()
		a.refused(t, 429, "Rejected.Throttling")
		if a.header.Get("Retry-After") != "1" {
			t.Error("it is not said when to come back")
		}
	}
	d.call(t, acct.Root, "DescribeRegions", nil).refused(t, 429, "Rejected.Throttling")
	d.pass(time.Second)
	d.call(t, acct.Root, "DescribeRegions", nil).ok(t)
}

// TestStorm: while one account sends as much as it can, another gets every
// answer.
func TestStorm(t *testing.T) {
	d := start(t, sesametest.Options{Limits: true})
	quiet, loud := d.NewAccount(t), d.NewAccount(t)
	d.create(t, quiet.Root, "a", "x")
	d.create(t, loud.Root, "a", "x")
	d.setLimits(t, loud.ID, `{"secret-read":5}`).ok(t)
	stop, refused := d.storm(t, loud.Root, 4)
	for range 100 {
		d.call(t, quiet.Root, "GetSecretValue", p{"SecretName": "a"}).ok(t)
	}
	stop()
	if refused.Load() == 0 {
		t.Error("the storm was not refused")
	}
}

// storm sends reads on n connections until stop is called. It returns once the
// first of them is refused.
func (d *door) storm(t *testing.T, c cred, n int) (stop func(), refused *atomic.Int64) {
	refused = new(atomic.Int64)
	var ended atomic.Bool
	var wg sync.WaitGroup
	began := make(chan struct{})
	for range n {
		wg.Go(func() {
			for !ended.Load() {
				switch a := d.call(t, c, "GetSecretValue", p{"SecretName": "a"}); a.status {
				case 200:
				case 429:
					if refused.Add(1) == 1 {
						close(began)
					}
				default:
					t.Errorf("HTTP %d", a.status)
					return
				}
			}
		})
	}
	<-began
	return func() { ended.Store(true); wg.Wait() }, refused
}

var measureStorm = flag.Bool("storm", false, "measure what one account's storm does to another's latency")

// TestStormLatency measures, on request only: the other account's 99th
// percentile stays within twice its quiet value.
func TestStormLatency(t *testing.T) {
	if !*measureStorm {
		t.Skip("measures latency: give -storm to run it")
	}
	d := start(t, sesametest.Options{Limits: true})
	quiet, loud := d.NewAccount(t), d.NewAccount(t)
	d.create(t, quiet.Root, "a", "x")
	d.create(t, loud.Root, "a", "x")
	p99 := func() time.Duration {
		const every = 5 * time.Millisecond
		var took []time.Duration
		tick := time.NewTicker(every)
		defer tick.Stop()
		for range 2000 {
			<-tick.C
			began := time.Now()
			d.call(t, quiet.Root, "GetSecretValue", p{"SecretName": "a"}).ok(t)
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	alone := p99()
	stop, refused := d.storm(t, loud.Root, 4)
	flooded := p99()
	stop()
	ratio := float64(flooded) / float64(alone)
	t.Logf("p99 of 200 reads/s: %v alone, %v beside a storm (%d of its requests refused): ratio %.2f", alone, flooded, refused.Load(), ratio)
	if ratio > 2 {
		t.Error("the other account's p99 is more than twice its quiet value")
	}
}
