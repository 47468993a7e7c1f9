package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/config"
)

var opts = cmp.AllowUnexported(config.Rate{})

const head = "apiVersion: opensesame/v1\n"

// TestParse reads a file that sets everything.
func TestParse(t *testing.T) {
	got, errs := config.Parse([]byte(head + `
dataDir: /srv/sesame
region: cn-beijing
listen: "[::]:443"
http: 127.0.0.1:8080
node: a.b-1
logLevel: warn
tls: {names: [kms.example.com, 192.0.2.1]}
limits:
  strangers: 0
  shared:
    secret-read: 9000
    sts: 0.5
timeouts: {read: 5s, write: 1500ms}
audit:
  lateAfter: 2s
  segment: 128 MiB
`))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	want := config.Config{
		APIVersion: "opensesame/v1", DataDir: "/srv/sesame", Region: "cn-beijing", Listen: "[::]:443", HTTP: "127.0.0.1:8080",
		Node: "a.b-1", LogLevel: "warn", TLS: config.TLS{Names: []string{"kms.example.com", "192.0.2.1"}},
		Limits: config.Limits{
			Strangers: config.NewRate(0),
			Shared:    config.SharedLimits{SecretRead: config.NewRate(9000), STS: config.NewRate(0.5)},
		},
		Timeouts: config.Timeouts{Read: 5 * time.Second, Write: 1500 * time.Millisecond},
		Audit:    config.Audit{LateAfter: 2 * time.Second, Segment: 128 << 20},
	}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestMinimal: the version alone is a whole file, and headings may be empty.
func TestMinimal(t *testing.T) {
	var results []config.Config
	for _, text := range []string{head, head + "tls:\nlimits:\n  shared:\naudit:\n"} {
		c, errs := config.Parse([]byte(text))
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		results = append(results, c)
	}
	if diff := cmp.Diff(results[0], results[1], opts); diff != "" {
		t.Error(diff)
	}
	if c := results[0]; c.Listen != config.DefaultListen || c.Limits.Strangers.Or(7) != 7 {
		t.Errorf("not the defaults: %+v", c)
	}
}

// TestErrors: each mistake is told with its line and key, and all at once.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", []string{"the file is empty: it begins with apiVersion: opensesame/v1"}},
		{"# nothing\n", []string{"the file is empty: it begins with apiVersion: opensesame/v1"}},
		{"region: cn-beijing\n", []string{"apiVersion is missing: write apiVersion: opensesame/v1"}},
		{"apiVersion: opensesame/v2\n", []string{`line 1: apiVersion: "opensesame/v2" is not known: this release reads opensesame/v1`}},
		{head + "lisen: x\nregion: cn-x\nRegion: y\n", []string{"line 2: lisen: there is no such key", "line 4: Region: there is no such key"}},
		{head + "forceSharedCheck: true\n", []string{"line 2: forceSharedCheck: there is no such key"}},
		{head + "listen: a:1\nlisten: b:1\n", []string{"line 3: listen: it is given a second time; the first is in line 2"}},
		{head + "limits:\n  shared:\n    secret-read: fast\n    secret-raed: 1\n", []string{
			`line 4: limits.shared.secret-read: "fast" is no number of requests per second from 0.001 to 1000000, or 0 for no limit`,
			"line 5: limits.shared.secret-raed: there is no such key"}},
		{head + "limits:\n  strangers: -1\n  shared: {ram: 1e-9, sts: .nan}\n", []string{
			`line 3: limits.strangers: "-1" is no number of requests per second from 0.001 to 1000000, or 0 for no limit`,
			`line 4: limits.shared.ram: "1e-9" is no number of requests per second from 0.001 to 1000000, or 0 for no limit`,
			`line 4: limits.shared.sts: ".nan" is no number of requests per second from 0.001 to 1000000, or 0 for no limit`}},
		{head + "timeouts: {read: 5, write: soon}\n", []string{
			`line 2: timeouts.read: "5" is no duration such as 500ms or 2s`, `line 2: timeouts.write: "soon" is no duration such as 500ms or 2s`}},
		{head + "timeouts:\n  read: 5h\n", []string{"line 3: timeouts.read: 5h0m0s is not between 100ms and 1m0s"}},
		{head + "audit: {segment: 64 MB}\n", []string{`line 2: audit.segment: "64 MB" is no size such as 64MiB`}},
		{head + "audit: {segment: 1KiB}\n", []string{`line 2: audit.segment: 1024 bytes are not between 1MiB and 4GiB`}},
		{head + "audit: {segment: 99999999999GiB}\n", []string{`line 2: audit.segment: "99999999999GiB" is no size such as 64MiB`}},
		{head + "region: 7\n", []string{`line 2: region: "7" is no text; put it into quotes if it is meant`}},
		{head + "region: [a]\n", []string{"line 2: region: here one value is expected"}},
		{head + "region:\n", []string{"line 2: region: it has no value; leave the key out for its default"}},
		{head + "tls: yes please\n", []string{"line 2: tls: here keys with values are expected"}},
		{head + "tls: {names: kms.example.com}\n", []string{"line 2: tls.names: here a list is expected"}},
		{head + "tls: {names: [1, a b]}\n", []string{`line 2: tls.names: "1" is no text; put it into quotes if it is meant`}},
		{head + "tls:\n  names: [a b]\n", []string{`line 3: tls.names: "a b" is no host name or address`}},
		{head + "tls:\n  certFile: /x\n", []string{"line 2: tls: a certificate needs both certFile and keyFile"}},
		{head + "http: 192.0.2.1:80\nlisten: nowhere\nlogLevel: loud\nnode: '-'\nregion: x\n", []string{
			`line 6: region: the region "x" is no region name such as cn-hangzhou`,
			`line 3: listen: the listen address "nowhere" is no host:port`,
			`line 2: http: the plain-HTTP address "192.0.2.1:80" is not on loopback: secrets would travel in the clear`,
			`line 5: node: the node name "-" is not of 1 to 63 letters, digits, dots and hyphens`,
			`line 4: logLevel: the log level "loud" is none of debug, info, warn and error`}},
		{head + "---\na: b\n", []string{"the file holds more than one document"}},
		{"- a\n", []string{"line 1: here keys with values are expected", "apiVersion is missing: write apiVersion: opensesame/v1"}},
		{head + "region: &x cn-y\nnode: *x\n", []string{"line 2: region: here one value is expected", "line 3: node: here one value is expected"}},
		{head + "tls: &t {names: []}\n<<: *t\n", []string{"line 2: tls: here keys with values are expected", "line 3: <<: there is no such key"}},
		{head + "a: [\n", []string{"line 2: did not find expected node content"}},
		{"a: \x01", []string{"control characters are not allowed"}},
	} {
		_, errs := config.Parse([]byte(tt.text))
		var got []string
		for _, err := range errs {
			got = append(got, err.Error())
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.text, diff)
		}
	}
}

// TestLoad reads files, and names them in errors.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.yaml")
	if _, err := config.Load(path); err == nil || !strings.HasPrefix(err.Error(), "the config file: open "+path) {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := os.WriteFile(path, []byte("a: b\nc: d\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(path)
	want := path + ": line 1: a: there is no such key\n" + path + ": line 2: c: there is no such key\n" +
		path + ": apiVersion is missing: write apiVersion: opensesame/v1"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := os.WriteFile(path, []byte(head+strings.Repeat("#\n", 1<<19)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a huge file: %v", err)
	}
}

// TestExample: the example file loads, and so it does with every line that is
// commented out there: these are all keys with their defaults.
func TestExample(t *testing.T) {
	example := filepath.Join("..", "..", "deploy", "sesame.yaml")
	if _, err := config.Load(example); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`(?m)^( *)#(\w)`).ReplaceAllString(string(text), "$1$2")
	all = strings.Replace(all, "  names:\n    - kms.example.com\n", "", 1) // not beside certFile
	got, errs := config.Parse([]byte(all))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if got.Limits.Strangers != config.NewRate(config.DefaultStrangers) || got.Node != config.DefaultNode ||
		got.LogLevel != config.DefaultLogLevel || got.Region != config.DefaultRegion {
		t.Errorf("the example's defaults are others: %+v", got)
	}
	for _, key := range keys(t) {
		if key.name == "http" || key.name == "tls.names" {
			continue
		}
		last := key.name[strings.LastIndexByte(key.name, '.')+1:]
		if !regexp.MustCompile(`(?m)^ *#?` + regexp.QuoteMeta(last) + `:`).Match(text) {
			t.Errorf("the example lacks %s", key.name)
		}
	}
}

func FuzzParse(f *testing.F) {
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "sesame.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, seed := range []string{"", "#", "a: *b", "? [a]\n: b", "apiVersion: opensesame/v1\nlimits: {shared: {ram: 1}}", "--- !x\n...\n", "\xff", "[[[[", "a: &a [*a]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, errs := config.Parse(text)
		if len(errs) > 0 {
			return
		}
		c.DataDir = "x"
		if err := c.Complete(); err != nil {
			t.Errorf("a file that was accepted is no config: %v", err)
		}
	})
}
