package ram

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// slrSession is the longest session of a service-linked role, in seconds; it
// cannot be changed.
const slrSession = 3600

// CreateServiceLinkedRoleInput holds the parameters of CreateServiceLinkedRole.
// No service offers roles with a suffix, and only such could be described, so
// the last two are refused with the API's own codes.
type CreateServiceLinkedRoleInput struct {
	ServiceName  string         `param:"ServiceName,required,max=255"`
	CustomSuffix CustomSuffix   `param:"CustomSuffix"`
	Description  SLRDescription `param:"Description"`
}

// ServiceLinkedRole is a service-linked role in the answer that makes it.
type ServiceLinkedRole struct {
	RoleName                 string
	RoleId                   string
	Arn                      string
	Description              string
	AssumeRolePolicyDocument string
	CreateDate               string
	IsServiceLinkedRole      bool
	RolePrincipalName        string
}

// CreateServiceLinkedRoleOutput is the answer of CreateServiceLinkedRole.
type CreateServiceLinkedRoleOutput struct{ Role ServiceLinkedRole }

func (s *Service) createServiceLinkedRole() rpc.Op[CreateServiceLinkedRoleInput, CreateServiceLinkedRoleOutput] {
	return rpc.Op[CreateServiceLinkedRoleInput, CreateServiceLinkedRoleOutput]{
		Name: "CreateServiceLinkedRole", Class: throttle.ResourceManager, Writes: true,
		Targets: func(c *rpc.Call, in *CreateServiceLinkedRoleInput) ([]access.Target, error) {
			t := ownTarget(c, "*")
			t.Keys = policy.MapEnv{"ram:ServiceName": {in.ServiceName}}
			svc, err := store.Services.Get(c.View, in.ServiceName)
			if err == nil {
				c.Resource(typeRole, svc.RoleName)
			}
			if err = t.Absent(err, apierr.ServiceNotFound); err != nil {
				return nil, err
			}
			return []access.Target{t}, nil
		},
		Func: s.doCreateServiceLinkedRole,
	}
}

func (s *Service) doCreateServiceLinkedRole(ctx context.Context, c *rpc.Call, in *CreateServiceLinkedRoleInput) (*CreateServiceLinkedRoleOutput, error) {
	switch {
	case in.CustomSuffix != "":
		return nil, apierr.SuffixNotAllowed
	case in.Description != "":
		return nil, apierr.DescriptionNotAllowed
	}
	return rpc.Update(ctx, c, func(tx *store.Tx) (*CreateServiceLinkedRoleOutput, error) {
		svc, err := store.Services.Read(tx, in.ServiceName)
		if err != nil {
			return nil, err
		}
		r := serviceLinkedRole(c, svc)
		key := store.RoleKey(r.Account, r.Name)
		if err := store.Roles.Vacant(tx, key, apierr.RoleExists); err != nil {
			return nil, err
		}
		store.Roles.Put(tx, key, r)
		tx.BumpEpoch(r.Account)
		return &CreateServiceLinkedRoleOutput{Role: ServiceLinkedRole{
			RoleName: r.Name, RoleId: r.ID, Arn: r.ARN(), Description: r.Description,
			AssumeRolePolicyDocument: r.TrustPolicy, CreateDate: rpc.TimeText(r.CreatedAt),
			IsServiceLinkedRole: true, RolePrincipalName: r.Name + "@role." + r.Account + ".onaliyunservice.com",
		}}, nil
	})
}

// serviceLinkedRole is the service's role in the caller's account. Its policies
// are attached nowhere: what it may do is read from the service's own record.
func serviceLinkedRole(c *rpc.Call, svc *store.Service) *store.Role {
	name := svc.DisplayName
	if name == "" {
		name = svc.Name
	}
	return &store.Role{
		ID: identity.NewID(idDigits), Account: c.Account(), Name: svc.RoleName, Service: svc.Name,
		Description: "Lets " + name + " act in this account as its service-linked role permits.",
		TrustPolicy: serviceTrust(svc.Name), MaxSession: slrSession, CreatedAt: c.Now, UpdatedAt: c.Now,
	}
}

// serviceTrust is the trust policy of a service-linked role, character for
// character as the platform writes it. Service names hold nothing that JSON
// would have to escape; a record with one that does could not be stored.
func serviceTrust(service string) string {
	return `{"Statement":[{"Action":"sts:AssumeRole","Effect":"Allow","Principal":{"Service":["` + service + `"]}}],"Version":"1"}`
}
