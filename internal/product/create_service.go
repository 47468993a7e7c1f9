package product

import (
	"context"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type createServiceInput struct {
	ServiceName ServiceName `param:"ServiceName,required"`
	DisplayName DisplayName `param:"DisplayName"`
	// RoleName of the service-linked role is made out of the service's name if
	// it is not given.
	RoleName RoleName `param:"RoleName"`
}

// createService registers a service. It has no product and no credential yet;
// its role's policy is written by the server and follows its products' codes.
func (s *Service) createService() rpc.Op[createServiceInput, serviceOutput] {
	return rpc.Op[createServiceInput, serviceOutput]{
		Name: "CreateService", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: func(c *rpc.Call, in *createServiceInput) ([]access.Target, error) {
			c.Resource(typeService, string(in.ServiceName))
			return everything(c), nil
		},
		Func: s.doCreateService,
	}
}

func (s *Service) doCreateService(ctx context.Context, c *rpc.Call, in *createServiceInput) (*serviceOutput, error) {
	role := in.RoleName
	if role == "" {
		role = defaultRoleName(string(in.ServiceName))
	}
	svc := &store.Service{
		Name: string(in.ServiceName), DisplayName: string(in.DisplayName), RoleName: string(role),
		PolicyName: policyPrefix + strings.TrimPrefix(string(role), rolePrefix),
		Policy:     rolePolicy(string(in.ServiceName)), CreatedAt: c.Now,
	}
	return rpc.Update(ctx, c, func(tx *store.Tx) (*serviceOutput, error) {
		if err := store.Services.Vacant(tx, svc.Name, apierr.ServiceExists.Msg("The service %s already exists.", svc.Name)); err != nil {
			return nil, err
		}
		taken := apierr.ServiceExists.Msg("The role name %s belongs to another service; give another RoleName.", svc.RoleName)
		if err := store.RoleNames.Vacant(tx, store.RoleNameKey(svc.RoleName), taken); err != nil {
			return nil, err
		}
		store.Services.Put(tx, svc.Name, svc)
		store.RoleNames.Put(tx, store.RoleNameKey(svc.RoleName), &store.RoleName{Name: svc.RoleName, Service: svc.Name})
		return &serviceOutput{showService(svc)}, nil
	})
}
