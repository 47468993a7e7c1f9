// Package config is what can be set about a server: one struct, whose field
// comments are the manual. The zero value of every field is a good default.
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
	// DataDir is the folder that holds everything the server keeps: its keys,
	// its certificate authority, the database and the audit log. Required; made
	// with mode 0700 if it does not exist.
	DataDir string
	// Seal says how the root key is kept in DataDir: "file" in clear text, mode
	// 0600; "passphrase" encrypted under a passphrase. A root key that is kept
	// otherwise is refused. Empty: as it is, and a new one as a file.
	Seal string
	// PassphraseFile is the file that holds the passphrase of the root key, one
	// line end at its end not counted. Others than its owner and group must not
	// be able to read it. A pipe will do, such as /dev/fd/3. Empty: the
	// passphrase is asked for on the terminal, if there is one.
	PassphraseFile string
	// Region is the region that the server serves, part of every ARN. It is
	// fixed when the data is made. Empty: cn-hangzhou, or the data's.
	Region string
	// Listen is the address of the HTTPS listener. Empty: 127.0.0.1:8443. Port
	// 0 takes a free port.
	Listen string
	// HTTP is the address of a plain-HTTP listener, for clients that speak
	// nothing else; loopback only. Empty: none.
	HTTP string
	// TLSNames are further host names or addresses that the server's
	// certificate is valid for.
	TLSNames []string
	// AllowBreakGlass permits the operator's operations that hand out a
	// credential which could read secrets: ResetRootKey, and
	// CreateServiceCredential beyond a service's first. Each use is recorded in
	// the trail of every account concerned. Off unless an emergency needs it.
	AllowBreakGlass bool
	// Node names this server in records. Empty: node-1.
	Node string

	// ReadTimeout is how long a request waits for a current view of the state
	// before it is refused. Zero: 2.5 s, longer than an election.
	ReadTimeout time.Duration
	// WriteTimeout is how long a change may take. Zero: 2 s.
	WriteTimeout time.Duration
	// AuditLateAfter is how long a record may take to become durable before
	// requests are refused. Zero: 500 ms.
	AuditLateAfter time.Duration
	// AuditSegment is the size in bytes of the audit log's files, two of which
	// are on disk from the start. Zero: 64 MiB.
	AuditSegment int64
	// ForceSharedCheck makes every view ask etcd for its revision, as in a
	// cluster, although a single server need not.
	ForceSharedCheck bool
	// FastElection shortens etcd's election for servers that live for a test.
	FastElection bool
}

// Defaults.
const (
	DefaultRegion = "cn-hangzhou"
	DefaultListen = "127.0.0.1:8443"
	DefaultNode   = "node-1"
)

// What Config.Seal can be.
const (
	SealFile       = "file"
	SealPassphrase = "passphrase"
)

var regionName = regexp.MustCompile(`^[a-z]{2}-[a-z0-9-]{1,60}$`)

// Complete checks the config and fills in the defaults; Region stays empty if
// it was, because the data may know it.
func (c *Config) Complete() error {
	if c.DataDir == "" {
		return errors.New("no data folder is given")
	}
	if c.Seal != "" && c.Seal != SealFile && c.Seal != SealPassphrase {
		return fmt.Errorf("the seal %q is neither %s nor %s", c.Seal, SealFile, SealPassphrase)
	}
	if c.Region != "" && !regionName.MatchString(c.Region) {
		return fmt.Errorf("the region %q is no region name such as cn-hangzhou", c.Region)
	}
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if c.Node == "" {
		c.Node = DefaultNode
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("the listen address %q is no host:port", c.Listen)
	}
	if c.HTTP != "" && !isLoopback(c.HTTP) {
		return fmt.Errorf("the plain-HTTP address %q is not on loopback: secrets would travel in the clear", c.HTTP)
	}
	return nil
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
