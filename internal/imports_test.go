// Package internal_test keeps the one import rule of this module: leaves ←
// engines ← state ← machine ← services ← app, and arrows never turn.
package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/opensesame-kms/opensesame/"

// layers lists every package with code, lowest layer first, by its path below
// internal/; packages outside it carry a leading slash. A package's folders
// below it belong to it unless they are listed themselves.
var layers = []struct {
	name     string
	packages []string
}{
	{"leaves", []string{"arn", "apierr", "mask", "clock"}},
	{"engines", []string{"policy", "keyring", "audit/record"}},
	{"state", []string{"store", "etcdnode", "seal", "audit", "backup"}},
	{"machine", []string{"identity", "access", "throttle", "rpc", "gateway"}}, // in this order
	{"services", []string{"secrets", "keys", "instances", "ram", "sts", "trail", "product", "rotation"}},
	{"beside", []string{"schedule", "console", "client", "agent", "sample"}},
	{"top", []string{"config", "app"}},
	{"outside", []string{"/cmd", "/cmd/sesame-agent", "/sesametest", "/productkit", "/bench", "/examples"}},
}

// only names packages that may import, besides the leaves, nothing of ours but
// what is listed, and why.
var only = map[string]struct {
	allowed []string
	reason  string
}{
	"client":            {nil, "the client runs in programs that are not the server and must stay small"},
	"agent":             {[]string{"client"}, "the sidecar must not carry the server's dependencies"},
	"config":            {nil, "the configuration is plain data; app turns it into each package's own Config"},
	"sample":            {[]string{"client"}, "the sample is made through the front door and by no other way"},
	"/cmd":              {[]string{"app", "client", "config", "audit", "audit/record", "backup", "sample"}, "a command reads flags and calls; what it would wire belongs into app"},
	"/cmd/sesame-agent": {[]string{"agent", "client"}, "the sidecar must not carry the server's dependencies"},
	"/sesametest":       {[]string{"app", "client", "config", "audit", "audit/record"}, "the test kit starts the same app as the command, by the same door"},
	"/productkit":       {[]string{"client"}, "products link it into their own programs"},
	"/bench":            {[]string{"app", "client", "config", "audit", "audit/record", "/sesametest"}, "what is measured must be what runs"},
	"/examples":         {[]string{"/productkit", "/sesametest"}, "an example can use only what its reader can"},
}

// place returns the entry of layers that dir (a path as in layers) belongs to,
// its layer and its position in it.
func place(dir string) (unit string, layer, pos int) {
	layer = -1
	for l, group := range layers {
		for p, u := range group.packages {
			if (dir == u || strings.HasPrefix(dir, u+"/")) && len(u) > len(unit) {
				unit, layer, pos = u, l, p
			}
		}
	}
	return unit, layer, pos
}

// isTestKit tells a package such as store/storetest, which only tests import;
// like a test file it may import what it needs.
func isTestKit(dir string) bool {
	return !strings.HasPrefix(dir, "/") && path.Base(dir) == path.Base(path.Dir(dir))+"test"
}

// refusal says why the package from must not import imp, or returns "". from
// is a path as in layers, imp an import path.
func refusal(from, imp string) string {
	unit, layer, pos := place(from)
	if layer < 0 {
		return "it has no place yet: add it to a layer in internal/imports_test.go, and say in the commit why there"
	}
	name := layers[layer].name
	target, ours := strings.CutPrefix(imp, module)
	if !ours {
		return foreignRefusal(unit, name, imp)
	}
	if target = "/" + target; strings.HasPrefix(target, "/internal/") {
		target = strings.TrimPrefix(target, "/internal/")
	}
	if isTestKit(target) {
		return "a test kit is for tests only: it must not be linked into a program"
	}
	to, toLayer, toPos := place(target)
	rule, limited := only[unit]
	switch {
	case toLayer < 0:
		return "what it imports has no place yet: add that to a layer in internal/imports_test.go"
	case to == unit:
		return ""
	case name == "engines" && to == "clock":
		return "engines have no clock of their own: the time comes in as a value, so that a result can be repeated"
	case limited && toLayer > 0 && !slices.Contains(rule.allowed, to):
		return rule.reason + "; it may import the leaves and: " + strings.Join(rule.allowed, ", ")
	case limited:
		return ""
	case toLayer > layer:
		return "arrows never turn upward (" + name + " to " + layers[toLayer].name + "): declare the methods it needs where they are called, and let app hand the real thing over"
	case name == "services" && toLayer == layer:
		return "services never import one another: declare the methods it needs, and let app hand over the other service"
	case name == "beside" && layers[toLayer].name == "services":
		return "only app knows services: what runs beside the request path reaches them through the table of operations"
	case name == "machine" && toLayer == layer && toPos > pos:
		return "the machine has an order: " + strings.Join(layers[layer].packages, " before ") + "; a later step knows the earlier ones, never the other way round"
	case toLayer == layer && name != "machine" && name != "top":
		return "packages of the layer " + name + " stand alone, so that each can be read, tested and replaced by itself"
	}
	return ""
}

// foreignRefusal is refusal for packages that are not ours.
func foreignRefusal(unit, layer, imp string) string {
	under := func(prefix string) bool { return imp == prefix || strings.HasPrefix(imp, prefix+"/") }
	switch {
	case layer == "engines" && (imp == "net" || under("net/http") || under("os") || under("go.etcd.io")):
		return "engines take values and return values: no network, no files, no store"
	case under("go.etcd.io/etcd/server") && unit != "etcdnode":
		return "only etcdnode starts an etcd server: everything else must work the same against an external cluster"
	case under("go.etcd.io") && unit != "store" && unit != "etcdnode" && unit != "app":
		return "only store talks to etcd (etcdnode and app hand it the client): a write that goes round it has no record, no fence and no epoch"
	}
	return ""
}

// TestImports reads every Go file of the module, whatever its build tags.
// Test files are free: a test may start what it needs.
func TestImports(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == root {
				return nil
			}
			_, other := os.Stat(filepath.Join(name, "go.mod"))
			if other == nil || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		files++
		return checkFile(t, root, name)
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Fatal("no Go file was read: the rule was not checked")
	}
}

func checkFile(t *testing.T, root, name string) error {
	t.Helper()
	rel, err := filepath.Rel(root, name)
	if err != nil {
		return err
	}
	from := "/" + filepath.ToSlash(filepath.Dir(rel))
	if below, ok := strings.CutPrefix(from, "/internal/"); ok {
		from = below
	}
	if isTestKit(from) {
		return nil
	}
	if _, layer, _ := place(from); layer < 0 {
		t.Errorf("%s: %s", rel, refusal(from, ""))
		return nil
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
	if err != nil {
		return err
	}
	for _, spec := range file.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		if why := refusal(from, imp); why != "" {
			t.Errorf("%s must not import %s: %s", rel, imp, why)
		}
	}
	return nil
}

// TestRefusal tries the rule on made-up imports: a rule that refuses nothing
// would pass TestImports.
func TestRefusal(t *testing.T) {
	for _, tt := range []struct {
		from, imp string
		want      string // in the refusal; empty: allowed
	}{
		{"policy", module + "internal/store", "upward"},
		{"mask", module + "internal/arn", "stand alone"},
		{"arn", module + "internal/policy", "upward"},
		{"policy", module + "internal/clock", "no clock"},
		{"policy", "net", "no network"},
		{"policy", "net/http/httptest", "no network"},
		{"keyring", "os", "no network"},
		{"audit/record", "go.etcd.io/etcd/client/v3", "no store"},
		{"audit/record", module + "internal/audit", "upward"},
		{"store", module + "internal/etcdnode", "stand alone"},
		{"store", module + "internal/rpc", "upward"},
		{"store", "go.etcd.io/etcd/server/v3/embed", "only etcdnode"},
		{"audit/index", "go.etcd.io/etcd/client/v3", "only store"},
		{"secrets", "go.etcd.io/etcd/client/v3", "only store"},
		{"identity", module + "internal/access", "order"},
		{"rpc", module + "internal/gateway", "order"},
		{"access", module + "internal/product", "upward"},
		{"secrets", module + "internal/keys", "one another"},
		{"secrets", module + "internal/app", "upward"},
		{"secrets", module + "internal/schedule", "upward"},
		{"schedule", module + "internal/keys", "only app knows"},
		{"client", module + "internal/rpc", "must stay small"},
		{"agent", module + "internal/store", "sidecar"},
		{"config", module + "internal/secrets", "plain data"},
		{"config", module + "internal/app", "plain data"},
		{"/cmd/sesame", module + "internal/store", "wire"},
		{"/cmd/sesame-agent", module + "internal/app", "sidecar"},
		{"/sesametest", module + "internal/etcdnode", "same door"},
		{"/sesametest", "go.etcd.io/etcd/client/v3", "only store"},
		{"/productkit", module + "internal/app", "products"},
		{"app", module + "internal/store/storetest", "tests only"},
		{"app", module + "cmd/sesame", "upward"},
		{"newthing", "fmt", "no place yet"},
		{"app", module + "internal/newthing", "no place yet"},
		{"/newthing", "fmt", "no place yet"},

		{"policy", "net/netip", ""},
		{"policy", module + "internal/arn", ""},
		{"store", module + "internal/keyring", ""},
		{"store", "go.etcd.io/etcd/client/v3", ""},
		{"etcdnode", "go.etcd.io/etcd/server/v3/embed", ""},
		{"seal/pkcs11", module + "internal/seal", ""},
		{"gateway", module + "internal/rpc", ""},
		{"rpc", module + "internal/identity", ""},
		{"secrets", module + "internal/rpc", ""},
		{"agent", module + "internal/client", ""},
		{"app", module + "internal/secrets", ""},
		{"app", module + "internal/config", ""},
		{"/cmd/sesame", module + "internal/app", ""},
		{"/cmd/sesame", module + "internal/audit/record", ""},
		{"/cmd/sesame-agent", module + "internal/agent", ""},
		{"/sesametest", module + "internal/mask", ""},
	} {
		got := refusal(tt.from, tt.imp)
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("refusal(%q, %q) = %q, want it to say %q", tt.from, tt.imp, got, tt.want)
		}
	}
}
