package secrets

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
)

type describeRegionsInput struct{}

type region struct{ RegionId string }

type regionList struct{ Region []region }

type describeRegionsOutput struct{ Regions regionList }

// describeRegions names the one region that this server serves. It needs no
// permission and leaves no record, as on the real platform.
func (s *Service) describeRegions() rpc.Op[describeRegionsInput, describeRegionsOutput] {
	return rpc.Op[describeRegionsInput, describeRegionsOutput]{
		Name: "DescribeRegions", Class: rpc.ClassFree, NoTrail: true,
		Targets: func(*rpc.Call, *describeRegionsInput) ([]access.Target, error) { return nil, nil },
		Func: func(_ context.Context, c *rpc.Call, _ *describeRegionsInput) (*describeRegionsOutput, error) {
			return &describeRegionsOutput{regionList{[]region{{c.Region}}}}, nil
		},
	}
}
