package ram

import (
	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// Role is a role in answers.
type Role struct {
	RoleId                   string
	RoleName                 string
	Arn                      string
	Description              string
	AssumeRolePolicyDocument string
	MaxSessionDuration       int
	CreateDate               string
	UpdateDate               string `wire:"omitempty"` // not in the answer that makes the role
}

func showRole(r *store.Role) Role {
	return Role{
		RoleId: r.ID, RoleName: r.Name, Arn: r.ARN(), Description: r.Description,
		AssumeRolePolicyDocument: r.TrustPolicy, MaxSessionDuration: r.MaxSession, CreateDate: rpc.TimeText(r.CreatedAt),
	}
}

// anyRole is the target of operations that act on no role in particular.
func anyRole(c *rpc.Call) access.Target { return ownTarget(c, "role/*") }

// roleTarget is the role of that name in the caller's account. It also returns
// what is attached to it. Of a service-linked role it says who manages it, so
// that access refuses every change.
func roleTarget(c *rpc.Call, name string) (access.Target, []store.Attachment, error) {
	r, err := store.Roles.Get(c.View, store.RoleKey(c.Account(), name))
	if err != nil {
		c.Resource(typeRole, name)
		t := ownTarget(c, "role/"+name)
		err = t.Absent(err, apierr.RoleNotFound)
		return t, nil, err
	}
	// As the request has it: the spelling it was made with would tell those who
	// may not know it that there is such a role.
	c.Resource(typeRole, name)
	t := ownTarget(c, "role/"+name)
	t.Tags = r.Tags
	if r.Service != "" {
		t.Managed = &access.Managed{Kind: access.ServiceLinkedRole, Service: r.Service}
	}
	return t, r.Policies, nil
}

// ordinary tells the roles that count against the quota.
func ordinary(r *store.Role) bool { return r.Service == "" }
