package app_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// finder looks for markers in any form that a program could write them in: as
// they are, in base64 at any alignment, in hexadecimal, percent-encoded.
type finder struct {
	// needles by their first eight bytes, which few places of a file share.
	needles map[uint64][]needle
}

type needle struct{ text, what string }

func (f *finder) add(what, marker string) {
	if f.needles == nil {
		f.needles = map[uint64][]needle{}
	}
	percent := func(format string) string {
		var b strings.Builder
		for i := range len(marker) {
			fmt.Fprintf(&b, format, marker[i])
		}
		return b.String()
	}
	hexed := hex.EncodeToString([]byte(marker))
	forms := map[string]string{
		"as it is": marker, "in hex": hexed, "in upper-case hex": strings.ToUpper(hexed), "percent-encoded": percent("%%%02X"), "percent-encoded in lower case": percent("%%%02x"),
		"twice percent-encoded": percent("%%25%02X"), "as JSON escapes": percent(`\u%04x`), "as a Go slice": strings.TrimSuffix(percent("%d "), " "),
	}
	for shift := range 3 {
		for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := enc.EncodeToString([]byte(strings.Repeat("x", shift) + marker))
			// What does not depend on the neighbours.
			forms[fmt.Sprint(name, " shifted by ", shift)] = text[(shift*8+5)/6 : len(text)-1]
		}
	}
	for form, text := range forms {
		key := binary.LittleEndian.Uint64([]byte(text))
		f.needles[key] = append(f.needles[key], needle{text, what + " " + form})
	}
}

// find names what it found in data.
func (f *finder) find(data []byte) []string {
	found := map[string]bool{}
	for i := 0; i+8 <= len(data); i++ {
		if data[i] == 0 {
			continue // logs are zeroed ahead
		}
		for _, n := range f.needles[binary.LittleEndian.Uint64(data[i:])] {
			if strings.HasPrefix(string(data[i:min(len(data), i+len(n.text))]), n.text) {
				found[n.what] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// tree looks through all files of a folder.
func (f *finder) tree(t *testing.T, dir string) (found []string, bytes int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		bytes += len(data)
		for _, what := range append(f.find(data), f.find([]byte(path))...) {
			found = append(found, what+" in "+strings.TrimPrefix(path, dir))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, bytes
}

// TestFinder: the finder finds, or the next test proves nothing.
func TestFinder(t *testing.T) {
	marker := rand.Text()
	var f finder
	f.add("the marker", marker)
	dir := t.TempDir()
	write := func(text string) (found []string) {
		if err := os.WriteFile(filepath.Join(dir, "scratch"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		found, _ = f.tree(t, dir)
		return found
	}
	for what, text := range map[string]string{
		"raw": marker, "within": "\x00\x00x" + marker + "y", "at the end": strings.Repeat("ab", 5000) + marker, "hex": fmt.Sprintf("%x", "a"+marker+"b"), "HEX": fmt.Sprintf("%X", marker),
		"base64": base64.StdEncoding.EncodeToString([]byte(marker)), "base64, shifted": base64.StdEncoding.EncodeToString([]byte(`{"v":"` + marker + `"}`)),
		"base64url, shifted": base64.URLEncoding.EncodeToString([]byte("xx" + marker + "yy")),
		"percent":            strings.ReplaceAll(" "+fmt.Sprintf("% X", marker), " ", "%"),
		"Go slice":           fmt.Sprint([]byte("a" + marker + "b")),
	} {
		if len(write(text)) == 0 {
			t.Errorf("a marker written as %s is not found", what)
		}
	}
	for _, text := range []string{"", marker[:len(marker)-1], marker[1:], rand.Text(), strings.ToLower(marker)} {
		if found := write(text); len(found) != 0 {
			t.Errorf("found %v where there is none", found)
		}
	}
}

// spy is a server that is searched, with the markers that were given to it.
type spy struct {
	*door
	t      *testing.T
	f      finder
	errors []byte // all refusals
	n      int
}

// marker makes a new marker that must never be found.
func (s *spy) marker(what string) string {
	m := rand.Text()
	s.f.add(what, m)
	return m
}

// credential marks a credential.
func (s *spy) credential(what string, c cred) cred {
	s.f.add("the secret of "+what, c.AccessKeySecret)
	if c.SecurityToken != "" {
		s.f.add("the token of "+what, c.SecurityToken[len(c.SecurityToken)/2:][:60])
	}
	return c
}

// try sends a request, whatever becomes of it.
func (s *spy) try(w wire) answer {
	if w.product == "" {
		w.product = "kms"
	}
	a := s.send(s.t, w)
	s.note(a)
	return a
}

func (s *spy) note(a answer) {
	if s.n++; a.status != 200 {
		s.errors = append(s.errors, a.body...)
		for name, values := range a.header {
			s.errors = append(s.errors, fmt.Sprintln(name, values)...)
		}
	}
}

// use runs the operations on secrets in every form, with marked values.
func (s *spy) use(who string, c cred, name string) {
	for form, put := range forms {
		send := func(action string, params p) {
			w := wire{cred: c, action: action}
			put(&w, pairs(params))
			s.try(w)
		}
		what := "a value by " + who + " " + form
		send("CreateSecret", p{"SecretName": name, "VersionId": "v1", "SecretData": s.marker(what), "SecretDatum": s.marker(what)})
		send("PutSecretValue", p{"SecretName": name, "VersionId": fmt.Sprint("v", s.n), "SecretData": s.marker(what), "SecretDataType": "binary"})
		send("PutSecretValue", p{"SecretName": name, "VersionId": "v1", "SecretData": s.marker(what)})
		send("GetSecretValue", p{"SecretName": name})
		send("GetSecretValue", p{"SecretName": name, "SecretData": s.marker(what)})
	}
}

// err sends what is wrong, with a marker at the wrong place.
func (s *spy) err(c cred) {
	long := func(m string) string { return strings.Repeat("x", 30720) + m }
	for action, list := range map[string][]string{
		"CreateSecret":         {"SecretName", "SecretDataType", "SecretType", "VersionId", "EnableAutomaticRotation", "RotationInterval", "Tags", "ExtendedConfig", "ManageUrl", "ProductResourceArn"},
		"PutSecretValue":       {"SecretName", "VersionId", "VersionStages", "SecretDataType", "SecretData"},
		"GetSecretValue":       {"SecretName", "VersionStage", "VersionId", "FetchExtendedConfig", "DryRun", "Unknown"},
		"ListSecrets":          {"PageNumber", "PageSize", "Filters", "FetchTags", "Unknown"},
		"DeleteSecret":         {"SecretName", "ForceDeleteWithoutRecovery", "RecoveryWindowInDays"},
		"ListSecretVersionIds": {"SecretName", "IncludeDeprecated", "PageSize"},
	} {
		for _, field := range list {
			for _, wrap := range []func(string) string{
				long, func(m string) string { return "! " + m }, func(m string) string { return `{"a":"` + m + `"` }, func(m string) string { return `["` + m + ` ",` },
			} {
				params := p{"SecretName": "wrong", "VersionId": "v1", "SecretData": "x"}
				params[field] = wrap(s.marker(field + " of " + action))
				if action != "CreateSecret" && action != "PutSecretValue" {
					delete(params, "SecretData")
				}
				if (field == "VersionId" || field == "VersionStages") && len(params[field]) < 100 {
					continue // a valid id, or label
				}
				s.try(wire{cred: c, action: action, form: pairs(params)})
			}
		}
	}
}

// broken sends requests that cannot be read or verified.
func (s *spy) broken(c cred) {
	name := pair{"SecretName", "wrong"}
	value := func(what string) pair { return pair{"SecretData", s.marker(what)} }
	put := func(w wire) { w.cred, w.action = c, "PutSecretValue"; s.try(w) }
	for _, v1 := range []bool{false, true} {
		put(wire{v1: v1, query: []pair{name, value("repeated"), value("repeated")}})
		put(wire{v1: v1, query: []pair{name, value("repeated")}, form: []pair{value("repeated")}})
		put(wire{v1: v1, rawQuery: "SecretData=" + s.marker("broken escape") + "%"})
		put(wire{v1: v1, rawQuery: s.marker("broken name") + "%=x"})
		put(wire{v1: v1, body: "SecretData=" + s.marker("no UTF-8") + "%ff", contentType: formType})
		put(wire{v1: v1, body: s.marker("a text"), contentType: "text/plain"})
		put(wire{v1: v1, body: "=" + s.marker("no name"), contentType: formType})
		put(wire{v1: v1, form: []pair{name, value("wrong date")}, date: "2000-01-01T00:00:00Z"})
		put(wire{v1: v1, form: []pair{name, value("bad date")}, date: s.marker("date")})
		put(wire{v1: v1, form: []pair{name, value("changed")}, after: func(r *http.Request) { r.URL.RawQuery += "&x=1" }})
		put(wire{v1: v1, form: []pair{name, value("wrong path")}, path: "/x"})
		put(wire{v1: v1, form: []pair{name, value("wrong method")}, method: "PUT"})
		put(wire{v1: v1, form: []pair{name, value("wrong version")}, version: s.marker("version")})
		s.try(wire{v1: v1, cred: c, action: s.marker("action"), form: []pair{name, value("wrong action")}})
		for _, wrong := range []cred{
			{AccessKeyID: c.AccessKeyID, AccessKeySecret: s.marker("wrong secret")}, {AccessKeyID: s.marker("key id"), AccessKeySecret: "x"},
			{AccessKeyID: "STS.x", AccessKeySecret: "x", SecurityToken: "CAIS" + s.marker("bad token")}, {AccessKeyID: c.AccessKeyID, AccessKeySecret: c.AccessKeySecret, SecurityToken: s.marker("token too many")},
		} {
			s.try(wire{v1: v1, cred: wrong, action: "PutSecretValue", form: []pair{name, value("unverified")}})
		}
	}
	for _, body := range []string{`{"SecretData":"%s"`, `{"SecretData":"%s"}x`, `["%s"]`, `%s`, `{"%s":{"a":1}, "SecretData": nope}`, "{\"SecretData\":\"%s\xff\"}", `{"SecretData":"\ud800%s"}`, `{"SecretData":"%[1]s","SecretData":"%[1]s"}`} {
		put(wire{body: fmt.Sprintf(body, s.marker("JSON")), contentType: "application/json"})
	}
	put(wire{form: []pair{name, value("header")}, after: func(r *http.Request) {
		r.Header.Set("Authorization", "ACS3-HMAC-SHA256 Credential="+s.marker("authorization"))
	}})
	put(wire{form: []pair{name, value("large")}, after: func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+s.marker("bearer")) }})
	put(wire{body: s.marker("large") + strings.Repeat("x", 300<<10), contentType: formType})
}

// TestNoLeak gives a server marked secrets in all sorts of requests, good and
// bad, stops it, and looks for them in everything that it wrote: the files of
// the database, the audit log, the log, the metrics, and its refusals.
func TestNoLeak(t *testing.T) {
	s := &spy{door: start(t, sesametest.Options{}), t: t}
	acct := s.NewAccount(t)
	s.credential("root", acct.Root)
	user := s.credential("a user", acct.NewUser(t, "u", allow("*", "kms:*")))
	nobody := s.credential("nobody", acct.NewUser(t, "nobody", ""))
	s.credential("a service", s.service(t, "bailian"))
	manager := s.credential("a managing session", s.manage(t, acct, "bailian"))
	session := s.credential("a session", s.adminSession(t, acct))
	const known = "a-name-that-is-no-secret"
	for who, c := range map[string]cred{"root": acct.Root, "a user": user, "a session": session} {
		s.use(who, c, strings.ReplaceAll(known+who, " ", "-"))
	}
	s.use("the product", manager, "bailian!x")
	s.use("the owner", acct.Root, "bailian!x")
	s.use("nobody", nobody, known+"root")
	s.use("an operator", s.Operator, "x")
	for _, c := range []cred{user, nobody, manager} {
		s.err(c)
		s.broken(c)
	}
	for _, operation := range []string{"CreatePolicy", "CreateUser", "CreateRole", "CreateAccessKey", "GetUser"} {
		for _, field := range []string{"PolicyDocument", "AssumeRolePolicyDocument", "PolicyName", "UserName", "RoleName", "MaxSessionDuration"} {
			params := p{"PolicyName": "p", "UserName": "nosuch", "RoleName": "r", "PolicyDocument": "{}", "AssumeRolePolicyDocument": "{}"}
			params[field] = `{"` + s.marker(field+" of "+operation)
			s.note(s.api(t, acct.Root, "ram", operation, params))
		}
	}
	for _, field := range []string{"Policy", "RoleArn", "RoleSessionName", "DurationSeconds", "ExternalId", "SourceIdentity"} {
		params := p{"RoleArn": "acs:ram::" + acct.ID + ":role/admin-role", "RoleSessionName": "test"}
		params[field] = `{"` + s.marker(field)
		s.note(s.api(t, user, "sts", "AssumeRole", params))
	}
	res, err := s.client.Get(s.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := io.ReadAll(res.Body)
	if err = firstError(err, res.Body.Close(), s.Stop()); err != nil {
		t.Fatal(err)
	}

	found, size := s.f.tree(t, s.Dir)
	for where, data := range map[string][]byte{"the log": []byte(s.Log()), "the metrics": metrics, "a refusal": s.errors} {
		if len(data) == 0 {
			t.Errorf("%s is empty", where)
		}
		for _, what := range s.f.find(data) {
			found = append(found, what+" in "+where)
		}
	}
	for _, f := range found {
		t.Errorf("found %s", f)
	}
	t.Logf("%d requests, %d bytes of files, %d of refusals, %d of log", s.n, size, len(s.errors), len(s.Log()))

	// That the files were really looked through: what is no secret is there.
	var control finder
	control.add("a name", known)
	if there, _ := control.tree(t, s.Dir); len(there) < 2 {
		t.Errorf("the name of a secret is found in %v only, want database and audit log", there)
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
