package product

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type listServiceCredentialsOutput struct {
	ServiceName string
	AccessKeys  keyList
}

// listServiceCredentials lists a service's credentials, without their secrets.
func (s *Service) listServiceCredentials() rpc.Op[serviceInput, listServiceCredentialsOutput] {
	return rpc.Op[serviceInput, listServiceCredentialsOutput]{
		Name: "ListServiceCredentials", Class: throttle.Operator, Callers: access.Operators,
		Targets: func(c *rpc.Call, in *serviceInput) ([]access.Target, error) { return serviceTarget(c, in.ServiceName) },
		Func: func(_ context.Context, c *rpc.Call, in *serviceInput) (*listServiceCredentialsOutput, error) {
			svc, err := store.Services.Get(c.View, string(in.ServiceName))
			if err != nil {
				return nil, err
			}
			keys, err := showKeys(c.View, svc.AccessKeys)
			return &listServiceCredentialsOutput{svc.Name, keys}, err
		},
	}
}
