// Package identity finds out who sent a request: it parses and verifies the
// two request signatures of the API (V1, HMAC-SHA1, and V3,
// ACS3-HMAC-SHA256), opens the security tokens of role sessions, and refuses a
// nonce that was used before.
//
// It trusts the store's snapshot and the keyring, and nothing that the request
// says before its signature was verified.
package identity

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// sessionKeyPrefix begins the access key id of every role session.
const sessionKeyPrefix = "STS."

// Resolver turns credentials into principals. It is safe for concurrent use.
type Resolver struct {
	// Ring opens access key secrets and security tokens.
	Ring *keyring.Ring
	// Region of the server, for ${region} in session policies.
	Region string
}

// Resolve finds the principal that the credentials name, and the secret that
// its signature must have been made with, in the snapshot v. The signature
// itself is not checked here. Called again with the same credentials on a
// newer snapshot it tells whether they still hold.
func (r *Resolver) Resolve(v *store.View, c *Credentials, now time.Time) (*Principal, mask.Text, error) {
	if strings.HasPrefix(c.AccessKeyID, sessionKeyPrefix) {
		return r.resolveSession(v, c, now)
	}
	key, err := store.AccessKeys.Get(v, c.AccessKeyID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, mask.Text{}, apierr.AccessKeyNotFound
	}
	if err != nil {
		return nil, mask.Text{}, err
	}
	p, err := keyHolder(v, key)
	if err != nil {
		return nil, mask.Text{}, err
	}
	if key.Status != store.Active {
		return nil, mask.Text{}, apierr.AccessKeyInactive
	}
	if c.SecurityToken != "" {
		return nil, mask.Text{}, apierr.TokenMismatch
	}
	secret, err := OpenSecret(r.Ring, key)
	if err != nil {
		return nil, mask.Text{}, fmt.Errorf("open access key secret: %w", err)
	}
	return p, secret, nil
}

// keyHolder finds whose key it is. A key whose holder is gone is unknown.
func keyHolder(v *store.View, key *store.AccessKey) (*Principal, error) {
	p := &Principal{Account: key.Account, Name: key.Owner, ID: key.OwnerID, AccessKeyID: key.ID}
	switch key.Kind {
	case store.OwnerRoot:
		p.Kind, p.Name, p.ID = Root, "root", key.Account
		return p, activeAccount(v, key.Account)
	case store.OwnerUser:
		u, err := store.Users.Get(v, store.UserKey(key.Account, key.Owner))
		if errors.Is(err, store.ErrNotFound) || err == nil && u.ID != key.OwnerID {
			return nil, apierr.AccessKeyNotFound
		}
		if err != nil {
			return nil, err
		}
		p.Kind, p.user = User, u
		return p, activeAccount(v, key.Account)
	case store.OwnerService:
		p.Kind, p.ID = Service, key.Owner
		_, err := store.Services.Get(v, key.Owner)
		return p, absentKey(err)
	case store.OwnerOperator:
		p.Kind, p.ID = Operator, key.Owner
		_, err := store.Operators.Get(v, key.Owner)
		return p, absentKey(err)
	}
	return nil, fmt.Errorf("access key %s has the unknown kind %q", key.ID, key.Kind)
}

func absentKey(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return apierr.AccessKeyNotFound
	}
	return err
}

// activeAccount refuses the keys of an account that is gone or suspended.
func activeAccount(v *store.View, account string) error {
	_, err := accountSessions(v, account)
	return err
}

// accountSessions is activeAccount, and returns when the account's sessions
// must have begun at the earliest.
func accountSessions(v *store.View, account string) (time.Time, error) {
	a, err := store.Accounts.Get(v, store.AccountKey(account))
	if err != nil {
		return time.Time{}, absentKey(err)
	}
	if a.Status != store.Active {
		return time.Time{}, apierr.AccessKeyInactive
	}
	return a.SessionsNotBefore, nil
}

func (r *Resolver) resolveSession(v *store.View, c *Credentials, now time.Time) (*Principal, mask.Text, error) {
	if c.SecurityToken == "" {
		return nil, mask.Text{}, apierr.MissingSecurityToken
	}
	s, err := OpenToken(r.Ring, c.SecurityToken)
	if err != nil {
		return nil, mask.Text{}, err
	}
	if s.AccessKeyID != c.AccessKeyID {
		return nil, mask.Text{}, apierr.TokenMismatch
	}
	if !now.Before(s.Expiry) {
		return nil, mask.Text{}, apierr.TokenExpired
	}
	role, err := sessionRole(v, s)
	if err != nil {
		return nil, mask.Text{}, err
	}
	p := &Principal{
		Kind: RoleSession, Account: s.Account, Name: role.Name, ID: role.ID, AccessKeyID: s.AccessKeyID,
		Session: s.Name, SessionCreated: s.Created, SourceIdentity: s.SourceIdentity, Via: s.Via, role: role, origin: s,
	}
	if role.Service != "" && role.Service == s.Via && !s.Chained {
		p.Manages = role.Service
	}
	if s.Policy != "" {
		p.SessionPolicy, err = policy.Compile(policy.Session, s.Policy, policy.Scope{Region: r.Region, Account: s.Account})
		if err != nil {
			return nil, mask.Text{}, fmt.Errorf("session policy of a sealed token: %w", err)
		}
	}
	return p, s.Secret, nil
}

// sessionRole checks that what the session was made from still stands: its
// account, the very role, and who made it, their sessions not ended.
func sessionRole(v *store.View, s *Session) (*store.Role, error) {
	if err := activeAccount(v, s.Account); err != nil {
		return nil, err
	}
	role, err := store.Roles.Get(v, store.RoleKey(s.Account, s.RoleName))
	if errors.Is(err, store.ErrNotFound) || err == nil && role.ID != s.RoleID {
		return nil, apierr.TokenExpired
	}
	if err != nil {
		return nil, err
	}
	earliest, err := notBefore(v, s, role)
	if err != nil {
		return nil, err
	}
	if s.Created.Before(earliest) {
		return nil, apierr.TokenExpired
	}
	return role, nil
}

// notBefore is when a session must have begun at the earliest, so as not to be
// among those that were ended: by its account, its role, or the service, the
// user or the user's account that made it. It is an error if one of them is
// gone, or the account suspended.
func notBefore(v *store.View, s *Session, role *store.Role) (time.Time, error) {
	earliest, err := accountSessions(v, s.Account)
	if err != nil {
		return time.Time{}, err
	}
	earliest = later(earliest, role.SessionsNotBefore)
	if s.Via != "" {
		svc, err := store.Services.Get(v, s.Via)
		if errors.Is(err, store.ErrNotFound) {
			return time.Time{}, apierr.TokenExpired
		}
		if err != nil {
			return time.Time{}, err
		}
		earliest = later(earliest, svc.SessionsNotBefore)
	}
	if s.UserAccount != "" && s.UserAccount != s.Account {
		theirs, err := accountSessions(v, s.UserAccount)
		if err != nil {
			return time.Time{}, err
		}
		earliest = later(earliest, theirs)
	}
	if s.User != "" {
		u, err := store.Users.Get(v, store.UserKey(s.UserAccount, s.User))
		if errors.Is(err, store.ErrNotFound) || err == nil && u.ID != s.UserID {
			return time.Time{}, apierr.TokenExpired
		}
		if err != nil {
			return time.Time{}, err
		}
		earliest = later(earliest, u.SessionsNotBefore)
	}
	return earliest, nil
}

// maxAhead is how far ahead a session may be dated. Sessions are ended as of a
// second ahead of the clock, and of one more for each time again in that second.
const maxAhead = time.Minute

// Begin dates a new session, at now (in whole seconds) or just late enough not to be
// among those that were ended in this very second, before it was made.
func (s *Session) Begin(v *store.View, role *store.Role, now time.Time) error {
	earliest, err := notBefore(v, s, role)
	s.Created = now
	if earliest.After(now) && earliest.Sub(now) <= maxAhead {
		s.Created = earliest
	}
	return err
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// secretAAD binds a sealed access key secret to its key's id.
func secretAAD(keyID string) []byte { return []byte("opensesame/access-key/1\x00" + keyID) }

// SealSecret seals the secret of the access key keyID for its record.
func SealSecret(ring *keyring.Ring, keyID string, secret mask.Text) ([]byte, error) {
	return ring.Seal(keyring.AccessKey, secretAAD(keyID), mask.NewBytes([]byte(secret.Reveal())))
}

// ResealSecret seals the secret of an access key under the newest key of the
// keyring, and reports whether it was not yet. Errors as those of OpenSecret.
func ResealSecret(ring *keyring.Ring, key *store.AccessKey) (changed bool, err error) {
	sealed, changed, err := ring.Reseal(keyring.AccessKey, secretAAD(key.ID), key.Sealed)
	if changed {
		key.Sealed = sealed
	}
	return changed, err
}

// OpenSecret opens what SealSecret sealed.
func OpenSecret(ring *keyring.Ring, key *store.AccessKey) (mask.Text, error) {
	b, err := ring.Open(keyring.AccessKey, secretAAD(key.ID), key.Sealed)
	if err != nil {
		return mask.Text{}, err
	}
	return mask.NewText(string(b.Reveal())), nil
}
