package ram

import (
	"context"
	"errors"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// CreateRoleInput holds the parameters of CreateRole. MaxSessionDuration is in
// seconds.
type CreateRoleInput struct {
	RoleName                 RoleName `param:"RoleName,required"`
	Description              string   `param:"Description,max=1024"`
	AssumeRolePolicyDocument string   `param:"AssumeRolePolicyDocument,required,hash"`
	MaxSessionDuration       int      `param:"MaxSessionDuration,min=3600,max=43200,default=3600"`
	Tag                      []Tag    `param:"Tag,max=20"`
}

// CreateRoleOutput is the answer of CreateRole.
type CreateRoleOutput struct{ Role Role }

func (s *Service) createRole() rpc.Op[CreateRoleInput, CreateRoleOutput] {
	return rpc.Op[CreateRoleInput, CreateRoleOutput]{
		Name: "CreateRole", Class: throttle.RAM, Writes: true,
		Targets: func(c *rpc.Call, in *CreateRoleInput) ([]access.Target, error) {
			c.Resource(typeRole, string(in.RoleName))
			t := anyRole(c)
			t.RequestTags = requestTags(in.Tag)
			return []access.Target{t}, nil
		},
		Func: s.doCreateRole,
	}
}

// serviceRolePrefix begins the names of service-linked roles. No other role
// can have one: it would keep the account from authorising the service.
const serviceRolePrefix = "AliyunServiceRoleFor"

// reserved reports whether only a service-linked role can have the name,
// whatever its case.
func reserved(name RoleName) bool {
	return len(name) >= len(serviceRolePrefix) && strings.EqualFold(string(name[:len(serviceRolePrefix)]), serviceRolePrefix)
}

func (s *Service) doCreateRole(ctx context.Context, c *rpc.Call, in *CreateRoleInput) (*CreateRoleOutput, error) {
	if reserved(in.RoleName) {
		return nil, rpc.BadParam{Field: "RoleName", Fault: rpc.Value, Why: "names that begin with " + serviceRolePrefix + " are those of service-linked roles"}
	}
	if err := checkTrust(c, in.AssumeRolePolicyDocument); err != nil {
		return nil, err
	}
	tags, err := newTags(in.Tag)
	if err != nil {
		return nil, err
	}
	r := &store.Role{
		ID: identity.NewID(idDigits), Account: c.Account(), Name: string(in.RoleName), Description: in.Description,
		TrustPolicy: in.AssumeRolePolicyDocument, MaxSession: in.MaxSessionDuration,
		CreatedAt: c.Now, UpdatedAt: c.Now, Tags: tags,
	}
	return rpc.Update(ctx, c, func(tx *store.Tx) (*CreateRoleOutput, error) {
		key := store.RoleKey(r.Account, r.Name)
		if err := store.Roles.Vacant(tx, key, apierr.RoleExists); err != nil {
			return nil, err
		}
		if err := room(c, store.Roles, maxRoles, apierr.RoleLimit, ordinary); err != nil {
			return nil, err
		}
		store.Roles.Put(tx, key, r)
		tx.BumpEpoch(r.Account)
		return &CreateRoleOutput{Role: showRole(r)}, nil
	})
}

// checkTrust compiles a trust policy and refuses one that names a user or role
// which the account does not have. Those of other accounts are not looked up:
// the answer would tell a stranger which names exist there.
func checkTrust(c *rpc.Call, text string) error {
	doc, err := policy.Compile(policy.Trust, text, policy.Scope{Account: c.Account()})
	if err := malformed("AssumeRolePolicyDocument", err); err != nil {
		return err
	}
	for _, p := range doc.Principals() {
		if p.Account != c.Account() {
			continue
		}
		switch p.Kind {
		case policy.User:
			_, err = store.Users.Get(c.View, store.UserKey(p.Account, p.Name))
		case policy.RoleSession:
			_, err = store.Roles.Get(c.View, store.RoleKey(p.Account, p.Name))
		default:
			continue
		}
		if errors.Is(err, store.ErrNotFound) {
			return apierr.MalformedPolicy.Msg("The trust policy names %s, which does not exist.", p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
