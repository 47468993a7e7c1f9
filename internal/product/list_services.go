package product

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type listServicesInput struct{}

type serviceList struct{ Service []serviceInfo }

type listServicesOutput struct{ Services serviceList }

func (s *Service) listServices() rpc.Op[listServicesInput, listServicesOutput] {
	return rpc.Op[listServicesInput, listServicesOutput]{
		Name: "ListServices", Class: throttle.Operator, Callers: access.Operators,
		Targets: func(c *rpc.Call, _ *listServicesInput) ([]access.Target, error) { return everything(c), nil },
		Func: func(_ context.Context, c *rpc.Call, _ *listServicesInput) (*listServicesOutput, error) {
			out := &listServicesOutput{}
			err := store.Services.Scan(c.View, "", func(_ string, svc *store.Service) bool {
				out.Services.Service = append(out.Services.Service, showService(svc))
				return true
			})
			return out, err
		},
	}
}
