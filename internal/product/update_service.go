package product

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type updateServiceInput struct {
	ServiceName ServiceName `param:"ServiceName,required"`
	DisplayName DisplayName `param:"DisplayName,required"`
}

// updateService changes a service's display name. All else is fixed: roles in
// accounts were made by its name and its role's.
func (s *Service) updateService() rpc.Op[updateServiceInput, serviceOutput] {
	return rpc.Op[updateServiceInput, serviceOutput]{
		Name: "UpdateService", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: func(c *rpc.Call, in *updateServiceInput) ([]access.Target, error) {
			return serviceTarget(c, in.ServiceName)
		},
		Func: func(ctx context.Context, c *rpc.Call, in *updateServiceInput) (*serviceOutput, error) {
			return rpc.Update(ctx, c, func(tx *store.Tx) (*serviceOutput, error) {
				svc, err := readService(tx, in.ServiceName)
				if err != nil {
					return nil, err
				}
				svc.DisplayName = string(in.DisplayName)
				store.Services.Put(tx, svc.Name, svc)
				return &serviceOutput{showService(svc)}, nil
			})
		},
	}
}
