// Package app_test knocks at the front door: a real server, real requests.
package app_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// Most tests share one server and have accounts of their own on it. Tests that
// stop their server, set its clock or break its disk start another one.
var shared *door

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "opensesame-app-*")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	srv, err := sesametest.Open(sesametest.Options{Dir: dir})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, srv.Stop()) }()
	shared = newDoor(srv)
	return m.Run(), nil
}

// door is a server with a client that keeps its connections.
type door struct {
	*sesametest.Server
	client *http.Client

	mu       sync.Mutex
	services map[string]cred // by service name
}

func newDoor(srv *sesametest.Server) *door {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(srv.CAPEM)
	return &door{
		Server: srv, services: map[string]cred{},
		client: &http.Client{
			Timeout: time.Minute,
			Transport: &http.Transport{
				MaxIdleConnsPerHost: 16,
				TLSClientConfig:     &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
			},
		},
	}
}

// start starts a server for this test alone.
func start(t testing.TB, opt sesametest.Options) *door {
	t.Helper()
	d := newDoor(sesametest.Start(t, opt))
	t.Cleanup(d.client.CloseIdleConnections)
	return d
}

type (
	cred = sesametest.Credential
	p    = sesametest.Params
)

// service is the credential of the service that has the product code.
func (d *door) service(t testing.TB, code string) cred {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	name := sesametest.Services[code]
	if _, ok := d.services[name]; !ok {
		d.services[name] = d.Service(t, code)
	}
	return d.services[name]
}

// manage authorises the service of the code in the account and makes a
// managing session of it.
func (d *door) manage(t testing.TB, acct *sesametest.Account, code string) cred {
	t.Helper()
	return acct.Manage(t, d.service(t, code), code)
}

// adminSession makes a role with an administrator's rights, which any user of the
// account may take on, and a session of it.
func (d *door) adminSession(t testing.TB, acct *sesametest.Account) cred {
	t.Helper()
	user := acct.NewUser(t, "assumer", "")
	acct.Attach(t, "assumer", "System", "AliyunSTSAssumeRoleAccess")
	return d.Assume(t, user, acct.NewRole(t, "admin-role", "", "AdministratorAccess"))
}

// allow is an identity policy that allows the actions on the resource.
func allow(resource string, actions ...string) string {
	list, _ := json.Marshal(actions)
	return `{"Version":"1","Statement":[{"Effect":"Allow","Action":` + string(list) + `,"Resource":"` + resource + `"}]}`
}

// answer is what came back.
type answer struct {
	what   string
	status int
	header http.Header
	host   string
	body   []byte
	fields map[string]any
}

// call sends an operation of KMS in the usual way: POST, ACS3, a form body.
func (d *door) call(t testing.TB, c cred, operation string, params p) answer {
	t.Helper()
	return d.api(t, c, "kms", operation, params)
}

// api is call for any product.
func (d *door) api(t testing.TB, c cred, product, operation string, params p) answer {
	t.Helper()
	return d.send(t, wire{cred: c, product: product, action: operation, form: pairs(params)})
}

// send signs and sends.
func (d *door) send(t testing.TB, w wire) answer {
	t.Helper()
	return d.do(t, w.request(t, d), w.product+" "+w.action)
}

func (d *door) do(t testing.TB, r *http.Request, what string) answer {
	t.Helper()
	res, err := d.client.Do(r)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer func() { _ = res.Body.Close() }()
	a := answer{what: what, status: res.StatusCode, header: res.Header, host: r.Host}
	if a.host == "" {
		a.host = r.URL.Host
	}
	if a.body, err = io.ReadAll(res.Body); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if a.header.Get("Content-Type") == "application/octet-stream" {
		return a // a stream: nothing to decode, all of it to be looked at
	}
	dec := json.NewDecoder(bytes.NewReader(a.body))
	dec.UseNumber()
	if err := dec.Decode(&a.fields); err != nil {
		t.Fatalf("%s: HTTP %d, the body is no JSON object", what, a.status)
	}
	return a
}

var requestID = regexp.MustCompile(`^[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}$`)

// shape checks what all answers have in common.
func (a answer) shape(t testing.TB) {
	t.Helper()
	id, _ := a.fields["RequestId"].(string)
	if !requestID.MatchString(id) || a.header.Get("x-acs-request-id") != id {
		t.Errorf("%s: RequestId %q, header x-acs-request-id %q: want one upper-case UUID", a.what, id, a.header.Get("x-acs-request-id"))
	}
	if ct := a.header.Get("Content-Type"); ct != "application/json;charset=utf-8" {
		t.Errorf("%s: content type %q", a.what, ct)
	}
	if a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: an answer that may be kept by a cache", a.what)
	}
}

// ok checks that the operation succeeded and decodes the answer.
func (a answer) ok(t testing.TB, out ...any) answer {
	t.Helper()
	a.shape(t)
	if a.status != http.StatusOK {
		t.Fatalf("%s: HTTP %d %v: %v", a.what, a.status, a.fields["Code"], a.fields["Message"])
	}
	for _, name := range []string{"Code", "Message", "Success", "HttpStatus"} {
		if _, there := a.fields[name]; there {
			t.Errorf("%s: a success with the member %s, which clients take for an error", a.what, name)
		}
	}
	for _, o := range out {
		if err := json.Unmarshal(a.body, o); err != nil {
			t.Fatalf("%s: %v", a.what, err)
		}
	}
	return a
}

// refused checks status, code and that the message holds each of the texts. It
// returns the message.
func (a answer) refused(t testing.TB, status int, code string, texts ...string) string {
	t.Helper()
	a.shape(t)
	message, _ := a.fields["Message"].(string)
	if a.status != status || a.fields["Code"] != code {
		t.Fatalf("%s: got HTTP %d %v (%s), want %d %s", a.what, a.status, a.fields["Code"], message, status, code)
	}
	if a.fields["HttpStatus"] != json.Number(fmt.Sprint(status)) || a.fields["HostId"] != a.host || message == "" {
		t.Errorf("%s: HttpStatus %v, HostId %v, Message %q", a.what, a.fields["HttpStatus"], a.fields["HostId"], message)
	}
	for _, text := range texts {
		if !strings.Contains(message, text) {
			t.Errorf("%s: the message %q does not say %q", a.what, message, text)
		}
	}
	return message
}

// same is the body without what differs from request to request.
func (a answer) same() string {
	id, _ := a.fields["RequestId"].(string)
	return fmt.Sprint(a.status, " ", strings.ReplaceAll(string(a.body), id, "<id>"))
}

// text returns a member that must be a string.
func (a answer) text(name string) string {
	s, _ := a.fields[name].(string)
	return s
}

// state is everything that c can see of the secrets and of the account.
func (d *door) state(t testing.TB, c cred, names ...string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range names {
		b.WriteString(d.call(t, c, "DescribeSecret", p{"SecretName": name, "FetchTags": "true"}).same() + "\n")
		b.WriteString(d.call(t, c, "GetSecretValue", p{"SecretName": name}).same() + "\n")
		b.WriteString(d.call(t, c, "ListSecretVersionIds", p{"SecretName": name, "IncludeDeprecated": "true"}).same() + "\n")
	}
	b.WriteString(d.call(t, c, "ListSecrets", p{"PageSize": "100", "FetchTags": "true"}).same())
	return b.String()
}

// unchanged runs f and checks that it changed nothing that c can see.
func (d *door) unchanged(t testing.TB, c cred, names []string, f func()) {
	t.Helper()
	before := d.state(t, c, names...)
	f()
	if after := d.state(t, c, names...); after != before {
		t.Errorf("a refused operation changed the state from\n%s\nto\n%s", before, after)
	}
}

// create makes a secret with the value in version v1.
func (d *door) create(t testing.TB, c cred, name, value string) {
	t.Helper()
	d.call(t, c, "CreateSecret", p{"SecretName": name, "VersionId": "v1", "SecretData": value}).ok(t)
}

// value reads the value of the current version.
func (d *door) value(t testing.TB, c cred, name string) string {
	t.Helper()
	return d.call(t, c, "GetSecretValue", p{"SecretName": name}).ok(t).text("SecretData")
}
