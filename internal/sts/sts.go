// Package sts hands out temporary credentials (product Sts, version
// 2015-04-01): AssumeRole turns a caller whom a role trusts into a session of
// that role, GetCallerIdentity tells a caller who it is.
//
// It trusts the pipeline to have established the caller and to have asked both
// sides of AssumeRole, the caller's policies and the role's trust policy. No
// record is kept of a session: what it is stands, sealed, in its security
// token.
package sts

import (
	"github.com/opensesame-kms/opensesame/internal/keyring"
)

// Service has the operations of the package. It is stateless and safe for
// concurrent use.
type Service struct {
	// Ring seals security tokens.
	Ring *keyring.Ring
}
