package app_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// hard is a value whose every character is a trap of some encoding.
const hard = `p@ss w=rd&*~+%2B/中"\'<>;` + "\t\n{é}"

// forms are the ways in which clients send an operation's parameters.
var forms = map[string]func(w *wire, params []pair){
	"V3 query": func(w *wire, ps []pair) { w.query = ps },
	"V3 form":  func(w *wire, ps []pair) { w.form = ps },
	"V3 GET":   func(w *wire, ps []pair) { w.method, w.query = http.MethodGet, ps },
	"V3 JSON":  func(w *wire, ps []pair) { w.body, w.contentType = jsonBody(ps), "application/json; charset=utf-8" },
	"V3 split": func(w *wire, ps []pair) { w.query, w.form = ps[:1], ps[1:] },
	"V3 query,JSON": func(w *wire, ps []pair) {
		w.query, w.body, w.contentType = ps[:1], jsonBody(ps[1:]), "application/json"
	},
	"V1 query": func(w *wire, ps []pair) { w.v1, w.query = true, ps },
	"V1 form":  func(w *wire, ps []pair) { w.v1, w.form = true, ps },
	"V1 GET":   func(w *wire, ps []pair) { w.v1, w.method, w.query = true, http.MethodGet, ps },
	"V1 split": func(w *wire, ps []pair) { w.v1, w.query, w.form = true, ps[:1], ps[1:] },
}

func jsonBody(ps []pair) string {
	m := map[string]string{}
	for _, p := range ps {
		m[p.name] = p.value
	}
	b, _ := json.Marshal(m)
	return string(b)
}

// TestForms sends the same operations in every form, as a long-lived key and
// as a session.
func TestForms(t *testing.T) {
	acct := shared.NewAccount(t)
	callers := map[string]cred{"key": acct.Root, "session": shared.adminSession(t, acct)}
	for form, put := range forms {
		for caller, c := range callers {
			t.Run(form+" "+caller, func(t *testing.T) {
				name := "wire/" + strings.NewReplacer(" ", "_", ",", "_").Replace(form) + "." + caller
				send := func(action string, params p) answer {
					w := wire{cred: c, product: "kms", action: action}
					put(&w, append(pairs(params), pair{"RegionId", "cn-hangzhou"}, pair{"ClientToken", ""}, pair{"SignatureType", ""}))
					return shared.send(t, w)
				}
				send("CreateSecret", p{"SecretName": name, "VersionId": "版本 1", "SecretData": hard, "Description": hard}).ok(t)
				got := send("GetSecretValue", p{"SecretName": name, "VersionStage": "", "FetchExtendedConfig": "TRUE"}).ok(t)
				if got.text("SecretData") != hard || got.text("VersionId") != "版本 1" {
					t.Error("the value or version came back changed")
				}
				if d := send("DescribeSecret", p{"SecretName": name}).ok(t).text("Description"); d != hard {
					t.Errorf("description %q, want %q", d, hard)
				}
			})
		}
	}
}

// TestLargest: the official clients put everything into the address, also the
// largest secret, of which each byte may take three there.
func TestLargest(t *testing.T) {
	acct := shared.NewAccount(t)
	value := strings.Repeat("秘", 10240)
	for form, put := range forms {
		w := wire{cred: acct.Root, product: "kms", action: "CreateSecret"}
		name := strings.NewReplacer(" ", "-", ",", "-").Replace(form)
		put(&w, pairs(p{"SecretName": name, "VersionId": "v", "SecretData": value}))
		shared.send(t, w).ok(t)
		if shared.value(t, acct.Root, name) != value {
			t.Errorf("%s: the value came back changed", form)
		}
	}
}

// TestJSONValues: scalars of a JSON body are read as text, lists and objects
// as JSON, null as not given.
func TestJSONValues(t *testing.T) {
	acct := shared.NewAccount(t)
	send := func(action, body string) answer {
		return shared.send(t, wire{cred: acct.Root, product: "kms", action: action, body: body, contentType: "application/json"})
	}
	send("CreateSecret", `{"SecretName":"j","VersionId":17,"SecretData":"1","Tags":[{"TagKey":"k", "TagValue":"v"}],"Policy":null,"ExtendedConfig":{"a": 1}}`).ok(t)
	var list struct {
		PageSize   int
		SecretList struct {
			Secret []struct {
				SecretName string
				Tags       struct {
					Tag []struct{ TagKey, TagValue string }
				}
			}
		}
	}
	send("ListSecrets", ` {"PageSize":7,"FetchTags":true,"Filters":[{"Key":"SecretName","Values":["j"]}]} `).ok(t, &list)
	if list.PageSize != 7 || len(list.SecretList.Secret) != 1 || len(list.SecretList.Secret[0].Tags.Tag) != 1 {
		t.Errorf("ListSecrets answered %+v", list)
	}
	if v := send("GetSecretValue", `{"SecretName":"j","VersionId":17}`).ok(t).text("SecretData"); v != "1" {
		t.Errorf("read %q", v)
	}
	// A lone surrogate would come back as another character than was sent.
	send("PutSecretValue", `{"SecretName":"j","VersionId":"18","SecretData":"a\ud800b"}`).refused(t, 400, "InvalidParameter")
	send("PutSecretValue", `{"SecretName":"j","VersionId":"19","SecretData":"\ud83d\ude00\ufffd"}`).ok(t)
	if v := send("GetSecretValue", `{"SecretName":"j"}`).ok(t).text("SecretData"); v != "\U0001F600\uFFFD" {
		t.Errorf("read %q", v)
	}
}

// TestWhereTheOperationIsNamed: by headers under V3, by parameters under V1,
// whatever stands in the other place.
func TestWhereTheOperationIsNamed(t *testing.T) {
	acct := shared.NewAccount(t)
	shared.create(t, acct.Root, "n", "kept")
	name := []pair{{"SecretName", "n"}}
	other := []pair{{"Action", "DeleteSecret"}, {"Version", "2016-01-20"}, {"SecretName", "n"}}
	shared.send(t, wire{cred: acct.Root, product: "kms", action: "GetSecretValue", query: other}).ok(t)
	shared.send(t, wire{cred: acct.Root, product: "kms", action: "GetSecretValue", form: other}).ok(t)
	shared.send(t, wire{cred: acct.Root, product: "kms", action: "GetSecretValue", v1: true, form: name, after: func(r *http.Request) {
		r.Header.Set("x-acs-action", "DeleteSecret")
		r.Header.Set("x-acs-version", "2016-01-20")
	}}).ok(t)
	// Common parameters of V1 may stand in the form too.
	shared.send(t, wire{cred: acct.Root, product: "kms", action: "GetSecretValue", v1: true, form: name, after: func(r *http.Request) {
		*r = *formOf(t, r)
	}}).ok(t)
	if shared.value(t, acct.Root, "n") != "kept" {
		t.Error("the value changed")
	}
}

// formOf moves the query of a signed V1 request into its form.
func formOf(t *testing.T, r *http.Request) *http.Request {
	t.Helper()
	body := r.URL.RawQuery + "&SecretName=n"
	q, err := http.NewRequestWithContext(t.Context(), r.Method, strings.TrimSuffix(r.URL.String(), "?"+r.URL.RawQuery), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	q.Header = r.Header
	return q
}

// TestRepeatedParameters: a parameter that is given twice is refused.
func TestRepeatedParameters(t *testing.T) {
	acct := shared.NewAccount(t)
	shared.create(t, acct.Root, "a", "x")
	twice := []pair{{"SecretName", "a"}, {"SecretName", "a"}}
	once := twice[:1]
	for what, w := range map[string]wire{
		"twice in the query":    {query: twice},
		"twice in the form":     {form: twice},
		"in query and form":     {query: once, form: once},
		"in query and JSON":     {query: once, body: `{"SecretName":"a"}`, contentType: "application/json"},
		"twice in JSON":         {body: `{"SecretName":"a","SecretName":"b"}`, contentType: "application/json"},
		"twice in the V1 query": {v1: true, query: twice},
		"in V1 query and form":  {v1: true, query: once, form: once},
		"twice in a V1 form":    {v1: true, form: twice},
	} {
		w.cred, w.product, w.action = acct.Root, "kms", "GetSecretValue"
		t.Run(what, func(t *testing.T) {
			shared.unchanged(t, acct.Root, []string{"a"}, func() {
				shared.send(t, w).refused(t, 400, "InvalidParameter", `"SecretName"`, "more than once")
			})
		})
	}
	for _, name := range []string{"Action", "AccessKeyId", "Timestamp", "SignatureNonce", "Version"} {
		t.Run("V1 "+name, func(t *testing.T) {
			shared.send(t, wire{cred: acct.Root, product: "kms", action: "GetSecretValue", v1: true, query: append([]pair{{name, "GetSecretValue"}}, once...)}).
				refused(t, 400, "InvalidParameter", `"`+name+`"`, "more than once")
		})
	}
	role := []pair{{"RoleArn", "a"}, {"RoleArn", "b"}}
	shared.send(t, wire{cred: acct.Root, product: "sts", action: "AssumeRole", query: role}).refused(t, 400, "InvalidParameter.RoleArn", "more than once")
	// What is no parameter of the operation names nothing in a code.
	odd := []pair{{"x", "1"}, {"x", "2"}}
	shared.send(t, wire{cred: acct.Root, product: "ram", action: "CreateUser", query: odd}).refused(t, 400, "InvalidParameter", "more than once")
}

// TestBodies: bodies that cannot be read.
func TestBodies(t *testing.T) {
	acct := shared.NewAccount(t)
	shared.create(t, acct.Root, "a", "x")
	const jsonType, valid = "application/json", `{"SecretName":"a"}`
	full := `{"SecretName":"a","Unknown":"` + strings.Repeat("x", 256<<10-31) + `"}`
	for what, c := range map[string]struct {
		w    wire
		text string
	}{
		"too long":                {wire{body: full + " ", contentType: jsonType}, "262144 bytes"},
		"far too long":            {wire{body: strings.Repeat("x", 300<<10), contentType: formType}, "262144 bytes"},
		"no JSON":                 {wire{body: `nonsense`, contentType: jsonType}, "JSON"},
		"a JSON list":             {wire{body: `["SecretName"]`, contentType: jsonType}, "JSON"},
		"JSON cut off":            {wire{body: valid[:10], contentType: jsonType}, "JSON"},
		"JSON without the brace":  {wire{body: valid[:len(valid)-1], contentType: jsonType}, "JSON"},
		"JSON and more":           {wire{body: valid + `x`, contentType: jsonType}, "JSON"},
		"two JSON objects":        {wire{body: valid + valid, contentType: jsonType}, "JSON"},
		"a member without a name": {wire{body: `{"":"x","SecretName":"a"}`, contentType: jsonType}, "name of a member"},
		"JSON that is no UTF-8":   {wire{body: "{\"SecretName\":\"a\xff\"}", contentType: jsonType}, "UTF-8"},
		"deep JSON":               {wire{body: `{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, contentType: jsonType}, "JSON"},
		"JSON under V1":           {wire{v1: true, body: valid, contentType: jsonType}, "ACS3"},
		"empty JSON under V1":     {wire{v1: true, body: `{}`, contentType: jsonType}, ""},
		"text":                    {wire{body: valid, contentType: "text/plain"}, "ContentType"},
		"text under V1":           {wire{v1: true, body: "SecretName=a", contentType: "text/plain"}, "ContentType"},
		"no content type":         {wire{body: valid}, "ContentType"},
		"another charset":         {wire{body: "SecretName=a", contentType: formType + "; charset=gbk"}, "ContentType"},
		"a broken content type":   {wire{body: "SecretName=a", contentType: formType + "; ="}, "ContentType"},
		"multipart":               {wire{body: "x", contentType: "multipart/form-data; boundary=x"}, "ContentType"},
		"a form, no UTF-8":        {wire{body: "SecretName=%ff", contentType: formType}, `"SecretName"`},
		"a form, broken escape":   {wire{body: "SecretName=%4", contentType: formType}, `"SecretName"`},
		"a form, name broken":     {wire{body: "Secret%zzName=a", contentType: formType}, "name of a parameter"},
		"a form, name missing":    {wire{body: "=a&SecretName=a", contentType: formType}, "name of a parameter"},
		"query, no UTF-8":         {wire{rawQuery: "SecretName=%c3%28"}, `"SecretName"`},
		"query, broken escape":    {wire{rawQuery: "SecretName=a%"}, `"SecretName"`},
		"query, bad name":         {wire{rawQuery: "%ff=a"}, "name of a parameter"},
		"V1 query, broken escape": {wire{v1: true, rawQuery: "SecretName=a%g1"}, `"SecretName"`},
		"too many parameters":     {wire{rawQuery: strings.Repeat("a=&", 1001)}, "1000 parameters"},
	} {
		c.w.cred, c.w.product, c.w.action = acct.Root, "kms", "DeleteSecret"
		t.Run(what, func(t *testing.T) {
			shared.unchanged(t, acct.Root, []string{"a"}, func() {
				shared.send(t, c.w).refused(t, 400, "InvalidParameter", c.text)
			})
		})
	}
	shared.send(t, wire{cred: acct.Root, product: "kms", action: "DescribeSecret", body: full, contentType: jsonType}).ok(t)
	shared.send(t, wire{cred: acct.Root, product: "kms", action: "DescribeSecret", body: "&&SecretName=a&", contentType: formType + ";charset=UTF-8"}).ok(t)
}

// TestUnknownOperations: methods, paths, versions and actions that are not
// there.
func TestUnknownOperations(t *testing.T) {
	acct := shared.NewAccount(t)
	for what, c := range map[string]struct {
		w      wire
		status int
		code   string
	}{
		"action":                     {wire{product: "kms", action: "NoSuchThing"}, 404, "InvalidAction.NotFound"},
		"action in other case":       {wire{product: "kms", action: "getsecretvalue"}, 404, "InvalidAction.NotFound"},
		"action of another product":  {wire{product: "kms", action: "AssumeRole"}, 404, "InvalidAction.NotFound"},
		"V1 action":                  {wire{v1: true, product: "ram", action: "NoSuchThing"}, 404, "InvalidAction.NotFound"},
		"version":                    {wire{version: "2016-01-21", action: "GetSecretValue"}, 400, "InvalidVersion"},
		"V1 version":                 {wire{v1: true, version: "1", action: "GetSecretValue"}, 400, "InvalidVersion"},
		"version, and action":        {wire{version: "2016-01-21", action: "NoSuchThing"}, 400, "InvalidVersion"},
		"PUT":                        {wire{product: "kms", action: "GetSecretValue", method: "PUT"}, 403, "UnsupportedHTTPMethod"},
		"DELETE":                     {wire{product: "kms", action: "GetSecretValue", method: "DELETE"}, 403, "UnsupportedHTTPMethod"},
		"PATCH":                      {wire{product: "kms", action: "GetSecretValue", method: "PATCH"}, 403, "UnsupportedHTTPMethod"},
		"path":                       {wire{product: "kms", action: "GetSecretValue", path: "/v1"}, 404, "InvalidAction.NotFound"},
		"path that ends in a slash":  {wire{product: "kms", action: "GetSecretValue", path: "//"}, 404, "InvalidAction.NotFound"},
		"an operator's path by POST": {wire{product: "kms", action: "GetSecretValue", path: "/metrics"}, 404, "InvalidAction.NotFound"},
	} {
		c.w.cred = acct.Root
		t.Run(what, func(t *testing.T) { shared.send(t, c.w).refused(t, c.status, c.code) })
	}
}

// TestOrderOfChecks starts with a request that is wrong in every way and mends
// it one fault at a time: each answer tells of the next fault, in the
// documented order.
func TestOrderOfChecks(t *testing.T) {
	acct := shared.NewAccount(t)
	nobody := acct.NewUser(t, "nobody", "")
	reader := acct.NewUser(t, "reader", allow("*", "kms:GetSecretValue"))
	shared.create(t, acct.Root, "there", "x")
	used := rand.Text()
	for _, c := range []cred{nobody, reader} {
		shared.send(t, wire{cred: c, product: "kms", action: "DescribeRegions", nonce: used}).ok(t)
	}

	w := wire{
		cred: cred{AccessKeyID: "LTAI5tNoSuchKey", AccessKeySecret: "x", SecurityToken: "CAISx"}, version: "2000-01-01", action: "NoSuchThing",
		drop: []string{"x-acs-signature-nonce"}, date: "2000-01-01T00:00:00Z", nonce: used,
		body: strings.Repeat(" ", 256<<10+1), contentType: "application/json",
	}
	steps := []struct {
		status int
		code   string
		text   string
		mend   func()
	}{
		{400, "InvalidParameter", "262144", func() { w.body, w.contentType = "", "" }},
		{400, "InvalidVersion", "", func() { w.version = versions["kms"] }},
		{404, "InvalidAction.NotFound", "", func() { w.action = "GetSecretValue" }},
		{400, "MissingParameter", "x-acs-signature-nonce", func() { w.drop = nil }},
		{400, "InvalidTimeStamp.Expired", "", func() { w.date = "" }},
		{404, "InvalidAccessKeyId.NotFound", "", func() { w.cred.AccessKeyID = nobody.AccessKeyID }},
		{400, "InvalidSecurityToken.MismatchWithAccessKey", "", func() { w.cred.SecurityToken = "" }},
		{400, "SignatureDoesNotMatch", "", func() { w.cred = nobody }},
		{400, "SignatureNonceUsed", "", func() { w.nonce = "" }},
		{400, "MissingParameter", `"SecretName"`, func() { w.query = []pair{{"SecretName", "missing"}} }},
		{403, "Forbidden.NoPermission", "", func() { w.cred = reader }},
		{404, "Forbidden.ResourceNotFound", "", func() { w.query = []pair{{"SecretName", "there"}} }},
	}
	for i, s := range steps {
		a := shared.send(t, w)
		a.what = fmt.Sprintf("step %d", i+1)
		a.refused(t, s.status, s.code, s.text)
		s.mend()
	}
	shared.send(t, w).ok(t)
}

// TestNonces: a nonce may be used once.
func TestNonces(t *testing.T) {
	acct := shared.NewAccount(t)
	shared.create(t, acct.Root, "a", "x")
	name := []pair{{"SecretName", "a"}}
	for _, v1 := range []bool{false, true} {
		w := wire{cred: acct.Root, product: "kms", action: "GetSecretValue", v1: v1, query: name, nonce: rand.Text()}
		shared.send(t, w).ok(t)
		shared.send(t, w).refused(t, 400, "SignatureNonceUsed")
		w.date = shared.Now().Add(-time.Minute).UTC().Format("2006-01-02T15:04:05Z")
		w.nonce = rand.Text()
		shared.send(t, w).ok(t)
		w.query = []pair{{"SecretName", "b"}} // another request with it is the same misuse
		shared.send(t, w).refused(t, 400, "SignatureNonceUsed")
		w.nonce = rand.Text()
		shared.send(t, w).refused(t, 404, "Forbidden.ResourceNotFound")
		shared.send(t, w).refused(t, 400, "SignatureNonceUsed") // a refusal uses it up
	}
	user := acct.NewUser(t, "u", allow("*", "kms:*"))
	w := wire{cred: acct.Root, product: "kms", action: "GetSecretValue", query: name, nonce: rand.Text()}
	shared.send(t, w).ok(t)
	w.cred = user // nonces are each key's own
	shared.send(t, w).ok(t)

	// A forged request cannot burn a nonce.
	w.nonce = rand.Text()
	w.cred.AccessKeySecret = acct.Root.AccessKeySecret
	shared.send(t, w).refused(t, 400, "SignatureDoesNotMatch")
	w.cred = user
	shared.send(t, w).ok(t)
}

// TestNonceRace: of many copies of one request exactly one succeeds.
func TestNonceRace(t *testing.T) {
	acct := shared.NewAccount(t)
	w := wire{
		cred: acct.Root, product: "kms", action: "CreateSecret", nonce: rand.Text(), date: shared.Now().UTC().Format("2006-01-02T15:04:05Z"),
		form: []pair{{"SecretName", "a"}, {"VersionId", "v"}, {"SecretData", "x"}},
	}
	codes := make([]string, 48)
	var wg sync.WaitGroup
	for i := range codes {
		wg.Go(func() { codes[i] = shared.send(t, w).text("Code") })
	}
	wg.Wait()
	slices.Sort(codes)
	if codes[0] != "" || codes[1] != "SignatureNonceUsed" || codes[len(codes)-1] != "SignatureNonceUsed" {
		t.Errorf("answers of %d copies: %v", len(codes), codes)
	}
}

// TestMissingNonce: only KMS, and only under V1, does without.
func TestMissingNonce(t *testing.T) {
	acct := shared.NewAccount(t)
	user := acct.NewUser(t, "u", "")
	shared.create(t, acct.Root, "a", "x")
	w := wire{cred: acct.Root, product: "kms", action: "GetSecretValue", v1: true, query: []pair{{"SecretName", "a"}}, drop: []string{"SignatureNonce"}}
	shared.send(t, w).ok(t)
	shared.send(t, w).ok(t)
	for product, action := range map[string]string{"sts": "GetCallerIdentity", "ram": "GetUser", "resourcemanager": "CreateServiceLinkedRole", "opensesame": "ListProducts"} {
		shared.send(t, wire{cred: user, product: product, action: action, v1: true, drop: []string{"SignatureNonce"}}).
			refused(t, 400, "MissingParameter", "SignatureNonce")
	}
	w.v1, w.drop = false, []string{"x-acs-signature-nonce"}
	shared.send(t, w).refused(t, 400, "MissingParameter", "x-acs-signature-nonce")
}

// TestTime: a request's time is at most 15 minutes off, and the refusal tells
// the server's.
func TestTime(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	d := start(t, sesametest.Options{Time: now})
	acct := d.NewAccount(t)
	const layout = "2006-01-02T15:04:05Z"
	for _, v1 := range []bool{false, true} {
		send := func(date string) answer {
			return d.send(t, wire{cred: acct.Root, product: "kms", action: "DescribeRegions", v1: v1, date: date})
		}
		for _, off := range []time.Duration{0, 15 * time.Minute, -15 * time.Minute} {
			send(now.Add(off).Format(layout)).ok(t)
		}
		for _, off := range []time.Duration{15*time.Minute + time.Second, -15*time.Minute - time.Second, 24 * time.Hour, -24 * 365 * time.Hour} {
			send(now.Add(off).Format(layout)).refused(t, 400, "InvalidTimeStamp.Expired", "The server's time is "+now.Format(layout))
		}
		for _, bad := range []string{"now", now.Format(time.RFC1123), now.Format("2006-01-02T15:04:05"), now.Format("2006-01-02T15:04:05+00:00"), now.Format("2006-01-02T15:04:05.000Z"), " " + now.Format(layout)[1:]} {
			send(bad).refused(t, 400, "IllegalTimestamp")
			d.send(t, wire{cred: acct.Root, product: "sts", action: "GetCallerIdentity", v1: v1, date: bad}).refused(t, 400, "InvalidTimeStamp.Format")
		}
	}
	d.send(t, wire{cred: acct.Root, product: "kms", action: "DescribeRegions", v1: true, drop: []string{"Timestamp"}}).refused(t, 400, "IllegalTimestamp", "not supplied")
	d.send(t, wire{cred: acct.Root, product: "kms", action: "DescribeRegions", drop: []string{"x-acs-date"}}).refused(t, 400, "MissingParameter", "x-acs-date")
}
