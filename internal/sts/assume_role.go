package sts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// AssumeRoleInput holds the parameters of AssumeRole. Policy narrows the
// session's rights; DurationSeconds is 900 to the role's maximum.
type AssumeRoleInput struct {
	RoleArn         RoleARN        `param:"RoleArn,required"`
	RoleSessionName SessionName    `param:"RoleSessionName,required"`
	DurationSeconds Duration       `param:"DurationSeconds,default=3600"`
	Policy          string         `param:"Policy,bytes=2048,hash"`
	ExternalId      ExternalID     `param:"ExternalId"`
	SourceIdentity  SourceIdentity `param:"SourceIdentity"`
}

// AssumedRoleUser names a session.
type AssumedRoleUser struct {
	Arn           string
	AssumedRoleId string
}

// Credentials are a session's temporary credentials.
type Credentials struct {
	AccessKeyId     string
	AccessKeySecret mask.Text
	SecurityToken   mask.Text
	Expiration      string
}

// AssumeRoleOutput is the answer of AssumeRole.
type AssumeRoleOutput struct {
	AssumedRoleUser AssumedRoleUser
	Credentials     Credentials
	SourceIdentity  string `wire:"omitempty"`
}

func (s *Service) assumeRole() rpc.Op[AssumeRoleInput, AssumeRoleOutput] {
	return rpc.Op[AssumeRoleInput, AssumeRoleOutput]{
		Name: "AssumeRole", Class: throttle.STS,
		Callers: access.Accounts | access.Services,
		// It changes no record, but hands out a credential.
		EventWrite: true,
		Targets:    assumeRoleTargets,
		Func:       s.doAssumeRole,
	}
}

func assumeRoleTargets(c *rpc.Call, in *AssumeRoleInput) ([]access.Target, error) {
	role, err := findRole(c.View, in.RoleArn)
	if err != nil {
		return nil, err
	}
	t := access.Target{
		Action: c.Info.Action, Account: in.RoleArn.Account, RequireBoth: true,
		Keys: conditionKeys(in),
	}
	// As the request has it: the spelling it was made with would tell those who
	// may not know it that there is such a role.
	name := in.RoleArn.Name
	if role != nil {
		t.Policy = &policy.Attached{Document: role.Trust, Name: name, Type: "Trust", AttachedTo: "role/" + name}
		t.Tags = role.Tags
	} else if err := missingRole(c, in.RoleArn, &t); err != nil {
		return nil, err
	}
	t.Resources = []arn.ARN{arn.RAM(in.RoleArn.Account, "role/"+name)}
	c.Resource("ACS::RAM::Role", name)
	return []access.Target{t}, nil
}

// missingRole describes a role that does not exist. That it does not is told to
// those whose business it is: callers of its account whose own policies allow
// them to assume it, and a service that looks for its own service-linked role,
// which learns from this that the account has not authorised it. To all others
// there is no trust policy that could allow it, and no difference to a role
// that does not trust them.
func missingRole(c *rpc.Call, role RoleARN, t *access.Target) error {
	t.Missing = apierr.STSRoleNotFound
	switch kind := c.Principal.Kind; {
	case kind != identity.Root && c.Account() == role.Account:
		t.RequireBoth = false
	case kind == identity.Service:
		svc, err := store.Services.Get(c.View, c.Principal.Name)
		if err != nil {
			return err
		}
		t.Free = strings.EqualFold(svc.RoleName, role.Name)
	}
	return nil
}

// findRole returns the role, or nil if it does not exist or its account does
// not, or is suspended: sessions of such an account would be refused anyway.
func findRole(v *store.View, name RoleARN) (*store.Role, error) {
	account, err := store.Accounts.Get(v, store.AccountKey(name.Account))
	if errors.Is(err, store.ErrNotFound) || err == nil && account.Status != store.Active {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	role, err := store.Roles.Get(v, store.RoleKey(name.Account, name.Name))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return role, err
}

// conditionKeys are what trust policies can ask for beyond the usual.
func conditionKeys(in *AssumeRoleInput) policy.MapEnv {
	keys := policy.MapEnv{}
	if in.ExternalId != "" {
		keys["sts:ExternalId"] = []string{string(in.ExternalId)}
	}
	if in.SourceIdentity != "" {
		keys["sts:SourceIdentity"] = []string{string(in.SourceIdentity)}
	}
	return keys
}

func (s *Service) doAssumeRole(_ context.Context, c *rpc.Call, in *AssumeRoleInput) (*AssumeRoleOutput, error) {
	role, err := store.Roles.Get(c.View, store.RoleKey(in.RoleArn.Account, in.RoleArn.Name))
	if err != nil {
		return nil, err
	}
	c.Record.Resources = nil
	c.Resource("ACS::RAM::Role", role.Name) // as it was made: the caller may know
	if most := maxDuration(c.Principal, role); int(in.DurationSeconds) > most {
		return nil, badDuration(most)
	}
	if err := checkSessionPolicy(c, role, in.Policy); err != nil {
		return nil, err
	}
	session, err := newSession(c, role, in)
	if err != nil {
		return nil, err
	}
	token, err := identity.SealToken(s.Ring, session)
	if err != nil {
		return nil, fmt.Errorf("seal security token: %w", err)
	}
	if in.Policy != "" {
		// Characters that take long escapes can make a token longer than is
		// accepted back.
		if _, err := identity.OpenToken(s.Ring, token.Reveal()); err != nil {
			return nil, apierr.PolicySize.Because(err)
		}
	}
	return &AssumeRoleOutput{
		AssumedRoleUser: AssumedRoleUser{
			Arn:           role.ARN() + "/" + session.Name,
			AssumedRoleId: role.ID + ":" + session.Name,
		},
		Credentials: Credentials{
			AccessKeyId: session.AccessKeyID, AccessKeySecret: session.Secret,
			SecurityToken: token, Expiration: rpc.TimeText(session.Expiry),
		},
		SourceIdentity: session.SourceIdentity,
	}, nil
}

// maxDuration is the longest session that the caller can have of the role, in
// seconds. A session that assumes a role gets an hour at most, so that a chain
// of them cannot outlast the first link for long.
func maxDuration(p *identity.Principal, role *store.Role) int {
	if p.Kind == identity.RoleSession {
		return min(role.MaxSession, oneHour)
	}
	return role.MaxSession
}

// checkSessionPolicy refuses a session policy that is none. Its length was
// checked when it was bound.
func checkSessionPolicy(c *rpc.Call, role *store.Role, text string) error {
	if text == "" {
		return nil
	}
	_, err := policy.Compile(policy.Session, text, policy.Scope{Region: c.Region, Account: role.Account})
	if err != nil {
		return rpc.BadParam{Field: "Policy", Fault: rpc.Format, Why: err.Error()}
	}
	return nil
}

// newSession makes the session with its temporary key. It remembers who is
// behind it, so that it ends when they do.
func newSession(c *rpc.Call, role *store.Role, in *AssumeRoleInput) (*identity.Session, error) {
	id, secret := identity.NewSessionKey()
	s := &identity.Session{
		AccessKeyID: id, Secret: secret, Account: role.Account, RoleID: role.ID, RoleName: role.Name,
		Name: string(in.RoleSessionName), Policy: in.Policy, SourceIdentity: string(in.SourceIdentity),
		Expiry: c.Now.Add(time.Duration(in.DurationSeconds) * time.Second),
	}
	switch p := c.Principal; p.Kind {
	case identity.Service:
		s.Via = p.Name
	case identity.User:
		s.UserAccount, s.User, s.UserID = p.Account, p.Name, p.ID
	case identity.RoleSession:
		s.Inherit(p)
	}
	return s, s.Begin(c.View, role, c.Now)
}
