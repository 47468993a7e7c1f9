package identity

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// Session is what a security token carries. The token is self-contained: no
// record is kept of a session, so that assuming a role costs no write, and a
// session ends by its expiry, by its role's deletion, or by the role's,
// user's or service's sessionsNotBefore.
type Session struct {
	AccessKeyID string
	Secret      mask.Text
	Account     string
	RoleID      string
	RoleName    string
	Name        string
	// Policy is the session policy's text, empty for none.
	Policy         string
	SourceIdentity string
	// Via is the service that assumed the role, if a service did.
	Via string
	// UserAccount, User and UserID name the RAM user that assumed the role, if
	// one did.
	UserAccount, User, UserID string

	// Chained is set if a session assumed the role; the origin above is then
	// that session's, so that a chain ends with whoever began it.
	Chained         bool
	Created, Expiry time.Time
}

// Inherit makes s a session of the same origin as the session p.
func (s *Session) Inherit(p *Principal) {
	s.Chained, s.Via = true, p.Via
	s.UserAccount, s.User, s.UserID = p.origin.UserAccount, p.origin.User, p.origin.UserID
}

// wireSession is Session as it is sealed; the names are short because tokens
// travel in headers and must stay under 4 KiB.
type wireSession struct {
	Version  int    `json:"v"`
	KeyID    string `json:"k"`
	Secret   string `json:"s"`
	Account  string `json:"a"`
	RoleID   string `json:"r"`
	RoleName string `json:"n"`
	Name     string `json:"m"`
	Policy   string `json:"p,omitempty"`
	Source   string `json:"i,omitempty"`
	Via      string `json:"w,omitempty"`
	User     string `json:"u,omitempty"`
	UserID   string `json:"d,omitempty"`
	UserAcct string `json:"t,omitempty"`
	Chained  bool   `json:"h,omitempty"`
	Created  int64  `json:"c"`
	Expiry   int64  `json:"e"`
}

const (
	// tokenPrefix is what real tokens begin with; some tools look for it.
	tokenPrefix  = "CAIS"
	tokenVersion = 1
	// maxToken bounds what is decoded: larger texts are no tokens of ours.
	maxToken = 8 << 10
)

var tokenAAD = []byte("opensesame/sts-token/1")

// SealToken makes the security token of a session.
func SealToken(ring *keyring.Ring, s *Session) (mask.Text, error) {
	body, err := json.Marshal(wireSession{
		Version: tokenVersion, KeyID: s.AccessKeyID, Secret: s.Secret.Reveal(), Account: s.Account,
		RoleID: s.RoleID, RoleName: s.RoleName, Name: s.Name, Policy: s.Policy, Source: s.SourceIdentity,
		Via: s.Via, User: s.User, UserID: s.UserID, UserAcct: s.UserAccount, Chained: s.Chained, Created: s.Created.Unix(), Expiry: s.Expiry.Unix(),
	})
	if err != nil {
		return mask.Text{}, err
	}
	plain := mask.NewBytes(body)
	defer plain.Wipe()
	blob, err := ring.Seal(keyring.Token, tokenAAD, plain)
	if err != nil {
		return mask.Text{}, err
	}
	return mask.NewText(tokenPrefix + base64.StdEncoding.EncodeToString(blob)), nil
}

// OpenToken reads a security token. It says nothing about expiry or about
// whether the role still exists. Any text that SealToken did not make under a
// token key that is still kept gives InvalidSecurityToken.Malformed.
func OpenToken(ring *keyring.Ring, token string) (*Session, error) {
	enc, ok := strings.CutPrefix(token, tokenPrefix)
	if !ok || len(token) > maxToken {
		return nil, apierr.TokenMalformed
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(enc)
	if err != nil {
		return nil, apierr.TokenMalformed
	}
	plain, err := ring.Open(keyring.Token, tokenAAD, blob)
	if err != nil {
		return nil, apierr.TokenMalformed
	}
	defer plain.Wipe()
	var w wireSession
	if err := json.Unmarshal(plain.Reveal(), &w); err != nil || w.Version != tokenVersion {
		return nil, apierr.TokenMalformed
	}
	return &Session{
		AccessKeyID: w.KeyID, Secret: mask.NewText(w.Secret), Account: w.Account, RoleID: w.RoleID,
		RoleName: w.RoleName, Name: w.Name, Policy: w.Policy, SourceIdentity: w.Source, Via: w.Via,
		User: w.User, UserID: w.UserID, UserAccount: w.UserAcct, Chained: w.Chained, Created: time.Unix(w.Created, 0).UTC(), Expiry: time.Unix(w.Expiry, 0).UTC(),
	}, nil
}
