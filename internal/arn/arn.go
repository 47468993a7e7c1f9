// Package arn parses and writes Alibaba Cloud resource names,
//
//	acs:<service>:<region>:<account>:<relative id>
//
// It is syntax only: whether the named thing exists, or whose it is, is not
// known here.
package arn

import (
	"errors"
	"strings"
)

// ARN is a parsed resource name. Region and Account may be empty (RAM has no
// region).
type ARN struct {
	Service, Region, Account, Resource string
}

// ErrMalformed is returned for a text that is no resource name.
var ErrMalformed = errors.New("malformed resource name: want acs:<service>:<region>:<account>:<resource>")

// Parse splits s at its first four colons. The relative id keeps all further
// colons and slashes.
func Parse(s string) (ARN, error) {
	p := strings.SplitN(s, ":", 5)
	if len(p) != 5 || p[0] != "acs" || p[1] == "" || p[4] == "" {
		return ARN{}, ErrMalformed
	}
	return ARN{Service: p[1], Region: p[2], Account: p[3], Resource: p[4]}, nil
}

// String writes the resource name; Parse(a.String()) gives a back.
func (a ARN) String() string {
	return "acs:" + a.Service + ":" + a.Region + ":" + a.Account + ":" + a.Resource
}

// IsARN reports whether s is meant as a resource name and not as a bare name:
// no bare name of a thing in this API can hold a colon.
func IsARN(s string) bool { return strings.HasPrefix(s, "acs:") }

// Type returns the part of the relative id before the first slash ("secret",
// "key", "user"), and Name the part after it; Name is empty for a container
// such as acs:kms:r:a:secret.
func (a ARN) Type() string { t, _, _ := strings.Cut(a.Resource, "/"); return t }

// Name returns the part of the relative id after its first slash.
func (a ARN) Name() string { _, n, _ := strings.Cut(a.Resource, "/"); return n }

// Secret names the secret of that name.
func Secret(region, account, name string) ARN {
	return ARN{"kms", region, account, "secret/" + name}
}

// SecretContainer names all secrets of an account: what CreateSecret and
// ListSecrets act on.
func SecretContainer(region, account string) ARN { return ARN{"kms", region, account, "secret"} }

// RAM names a RAM thing as policies and operations write it, for example
// acs:ram:*:<account>:user/alice. For principals use [User] and [Role].
func RAM(account, resource string) ARN { return ARN{"ram", "*", account, resource} }

// User names a RAM user as a principal: acs:ram::<account>:user/<name>.
func User(account, name string) ARN { return ARN{"ram", "", account, "user/" + name} }

// Role names a RAM role as a principal: acs:ram::<account>:role/<name>.
func Role(account, name string) ARN { return ARN{"ram", "", account, "role/" + name} }

// Root names the root user of an account as a principal: acs:ram::<account>:root.
func Root(account string) ARN { return ARN{"ram", "", account, "root"} }
