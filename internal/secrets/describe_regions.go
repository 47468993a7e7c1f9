package secrets

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type describeRegionsInput struct{}

type region struct{ RegionId string }

type regionList struct{ Region []region }

type describeRegionsOutput struct{ Regions regionList }

// describeRegions names the one region that this server serves. It needs no
// permission and leaves no record, as on the real platform.
func (s *Service) describeRegions() rpc.Op[describeRegionsInput, describeRegionsOutput] {
	return rpc.Op[describeRegionsInput, describeRegionsOutput]{
		Name: "DescribeRegions", Class: throttle.SecretList, NoTrail: true,
		Targets: func(c *rpc.Call, _ *describeRegionsInput) ([]access.Target, error) {
			return []access.Target{{Action: c.Info.Action, Resources: []arn.ARN{policy.Everything}, Account: c.Account(), Free: true}}, nil
		},
		Func: func(_ context.Context, c *rpc.Call, _ *describeRegionsInput) (*describeRegionsOutput, error) {
			return &describeRegionsOutput{regionList{[]region{{c.Region}}}}, nil
		},
	}
}
