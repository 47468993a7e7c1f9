// Package config is what can be set about a server: one struct, whose field
// comments are the manual, and the one YAML file that fills it. The zero value
// of every field is a good default, so that a server starts without a file.
//
// It is plain data: it opens nothing but the file, and what it checks it can
// check without a server.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"time"
)

// Config configures a server.
type Config struct {
	// APIVersion says what the file is. Required there: opensesame/v1.
	APIVersion string `yaml:"apiVersion"`
	// DataDir is the folder that holds everything the server keeps: its keys,
	// its certificate authority, the database and the audit log. It is made with
	// mode 0700 if it does not exist. Default of the command sesame server:
	// /var/lib/opensesame.
	DataDir string `yaml:"dataDir"`
	// Seal says how the root key is kept in DataDir: "file" in clear text, mode
	// 0600; "passphrase" encrypted under a passphrase. A root key that is kept
	// otherwise is refused. Default: as it is, and a new one as a file.
	Seal string `yaml:"seal"`
	// PassphraseFile is the file that holds the passphrase of the root key, one
	// line end at its end not counted. Others than its owner and group must not
	// be able to read it. A pipe will do, such as /dev/fd/3. Default: the
	// passphrase is asked for on the terminal, if there is one.
	PassphraseFile string `yaml:"passphraseFile"`
	// Region is the region that the server serves, part of every ARN. It is
	// fixed when the data is made. Default: cn-hangzhou, or the data's.
	Region string `yaml:"region"`
	// Listen is the address of the HTTPS listener. Port 0 takes a free port.
	// Default: 127.0.0.1:8443.
	Listen string `yaml:"listen"`
	// HTTP is the address of a plain-HTTP listener, for clients that speak
	// nothing else; on loopback only. Default: none.
	HTTP string `yaml:"http"`
	// Node names this server in records. Default: node-1.
	Node string `yaml:"node"`
	// LogLevel is the least level that is logged: debug, info, warn or error.
	// Default: info.
	LogLevel string `yaml:"logLevel"`
	// AllowBreakGlass permits the operator's operations that hand out a
	// credential which could read secrets: ResetRootKey, and
	// CreateServiceCredential beyond a service's first. Each use is recorded in
	// the trail of every account concerned. Off unless an emergency needs it.
	// Default: false.
	AllowBreakGlass bool `yaml:"allowBreakGlass"`
	// TLS is the certificate of the HTTPS listener.
	TLS TLS `yaml:"tls"`
	// Limits are the requests per second that are served.
	Limits Limits `yaml:"limits"`
	// Timeouts of requests.
	Timeouts Timeouts `yaml:"timeouts"`
	// Audit is the audit log.
	Audit Audit `yaml:"audit"`

	// ForceSharedCheck makes every view ask etcd for its revision, as in a
	// cluster, although a single server need not. For tests.
	ForceSharedCheck bool `yaml:"-"`
	// FastElection shortens etcd's election for servers that live for a test.
	FastElection bool `yaml:"-"`
}

// TLS says which certificate the HTTPS listener shows.
type TLS struct {
	// CertFile is a file with the server's certificate and those between it and
	// its authority, in PEM. It is read again on SIGHUP, and within a minute
	// after it changed; a pair that cannot be used is logged, and the one
	// before stays. Default: the server's own authority, whose certificate is
	// in ca.pem in the data folder, issues one and renews it.
	CertFile string `yaml:"certFile"`
	// KeyFile is the file with the certificate's private key, in PEM. Default:
	// none; it goes with certFile.
	KeyFile string `yaml:"keyFile"`
	// Names are further host names or addresses that the certificate of the
	// server's own authority is valid for. Default: none beside localhost, the
	// address of the listener and the names that the official clients use for
	// the region.
	Names []string `yaml:"names"`
}

// Limits of what callers may ask for.
type Limits struct {
	// Strangers is how many requests a second one address (of IPv6: one /64)
	// may send that are refused before their caller is known, for example for a
	// wrong signature; beyond it no request of the address is looked at until
	// the second is over. Set it to 0 (none) behind a proxy that hides its
	// callers' addresses. Default: 100.
	Strangers Rate `yaml:"strangers"`
	// Shared are the limits of the shared gateway, for one account; an operator
	// can set others for an account.
	Shared SharedLimits `yaml:"shared"`

	// None takes away the limits that are not set: for servers that live for a
	// test.
	None bool `yaml:"-"`
}

// SharedLimits are requests per second that one account may make. 0: none.
type SharedLimits struct {
	// SecretRead limits GetSecretValue and DescribeSecret. Default: 450.
	SecretRead Rate `yaml:"secret-read"`
	// SecretList limits listings and other metadata. Default: 40.
	SecretList Rate `yaml:"secret-list"`
	// SecretWrite limits the changes of a secret. Default: 50.
	SecretWrite Rate `yaml:"secret-write"`
	// SecretCreateDelete limits creating and deleting secrets. Default: 10.
	SecretCreateDelete Rate `yaml:"secret-create-delete"`
	// RAM limits the operations of RAM. Default: 100.
	RAM Rate `yaml:"ram"`
	// STS limits the operations of STS. Default: 100.
	STS Rate `yaml:"sts"`
	// ResourceManager limits the operations of ResourceManager. Default: 100.
	ResourceManager Rate `yaml:"resourcemanager"`
}

// Timeouts of requests.
type Timeouts struct {
	// Read is how long a request waits for a current view of the state before it
	// is refused. Default: 2.5s, longer than an election.
	Read time.Duration `yaml:"read"`
	// Write is how long a change may take. Default: 2s.
	Write time.Duration `yaml:"write"`
}

// Audit configures the audit log.
type Audit struct {
	// LateAfter is how long a record may take to become durable before requests
	// are refused. Default: 500ms.
	LateAfter time.Duration `yaml:"lateAfter"`
	// Segment is the size of the log's files, two of which are on disk from the
	// start. Default: 64MiB.
	Segment Size `yaml:"segment"`
}

// Defaults.
const (
	APIVersion       = "opensesame/v1"
	DefaultDataDir   = "/var/lib/opensesame"
	DefaultRegion    = "cn-hangzhou"
	DefaultListen    = "127.0.0.1:8443"
	DefaultNode      = "node-1"
	DefaultLogLevel  = "info"
	DefaultStrangers = 100
)

// What Config.Seal can be.
const (
	SealFile       = "file"
	SealPassphrase = "passphrase"
)

var (
	regionName = regexp.MustCompile(`^[a-z]{2}-[a-z0-9-]{1,60}$`)
	nodeName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$`)
	tlsName    = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)
)

// Complete checks the config and fills in the defaults of what is text; Region
// stays empty if it was, because the data may know it.
func (c *Config) Complete() error {
	if c.DataDir == "" {
		return errors.New("no data folder is given")
	}
	c.defaults()
	var errs []error
	for _, p := range c.check() {
		errs = append(errs, p.err)
	}
	return errors.Join(errs...)
}

func (c *Config) defaults() {
	for _, d := range []struct {
		field *string
		value string
	}{{&c.Listen, DefaultListen}, {&c.Node, DefaultNode}, {&c.LogLevel, DefaultLogLevel}} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
}

// problem is what is wrong with the value of a key.
type problem struct {
	key string // as a path: limits.strangers
	err error
}

// check returns what is wrong with the values, all of it.
func (c *Config) check() []problem {
	var out []problem
	bad := func(key, format string, args ...any) {
		out = append(out, problem{key, fmt.Errorf(format, args...)})
	}
	if c.Region != "" && !regionName.MatchString(c.Region) {
		bad("region", "the region %q is no region name such as cn-hangzhou", c.Region)
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("listen", "the listen address %q is no host:port", c.Listen)
	}
	if c.HTTP != "" && !isLoopback(c.HTTP) {
		bad("http", "the plain-HTTP address %q is not on loopback: secrets would travel in the clear", c.HTTP)
	}
	if !nodeName.MatchString(c.Node) {
		bad("node", "the node name %q is not of 1 to 63 letters, digits, dots and hyphens", c.Node)
	}
	if c.Seal != "" && c.Seal != SealFile && c.Seal != SealPassphrase {
		bad("seal", "the seal %q is neither %s nor %s", c.Seal, SealFile, SealPassphrase)
	}
	switch c.LogLevel {
	case "debug", "info", "warn", "error":
	default:
		bad("logLevel", "the log level %q is none of debug, info, warn and error", c.LogLevel)
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		bad("tls", "a certificate needs both certFile and keyFile")
	}
	if c.TLS.CertFile != "" && len(c.TLS.Names) > 0 {
		bad("tls.names", "names are for the certificate of the server's own authority, and certFile is another")
	}
	for _, n := range c.TLS.Names {
		if _, err := netip.ParseAddr(n); err != nil && !tlsName.MatchString(n) {
			bad("tls.names", "%q is no host name or address", n)
		}
	}
	for _, d := range []struct {
		key         string
		value       time.Duration
		least, most time.Duration
	}{
		{"timeouts.read", c.Timeouts.Read, 100 * time.Millisecond, time.Minute},
		{"timeouts.write", c.Timeouts.Write, 100 * time.Millisecond, time.Minute},
		{"audit.lateAfter", c.Audit.LateAfter, 10 * time.Millisecond, time.Minute},
	} {
		if d.value != 0 && (d.value < d.least || d.value > d.most) {
			bad(d.key, "%v is not between %v and %v", d.value, d.least, d.most)
		}
	}
	if s := c.Audit.Segment; s != 0 && (s < 1<<20 || s > 4<<30) {
		bad("audit.segment", "%d bytes are not between 1MiB and 4GiB", int64(s))
	}
	return out
}

func isLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
