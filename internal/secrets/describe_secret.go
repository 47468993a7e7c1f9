package secrets

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type describeSecretInput struct {
	SecretName Ref  `param:"SecretName,required"`
	FetchTags  bool `param:"FetchTags"`
}

type wireTag struct{ TagKey, TagValue string }

type wireTags struct{ Tag []wireTag }

func toWire(tags []store.Tag) *wireTags {
	out := &wireTags{}
	for _, t := range tags {
		out.Tag = append(out.Tag, wireTag{t.Key, t.Value})
	}
	return out
}

type describeSecretOutput struct {
	Arn               string
	SecretName        string
	SecretType        string
	Description       string
	CreateTime        string
	UpdateTime        string
	PlannedDeleteTime string `wire:"omitempty"`
	// AutomaticRotation is Disabled for every Generic secret: some clients
	// compare it with what they asked for.
	AutomaticRotation string
	OwingService      string `wire:"omitempty"`
	HostingMode       string `wire:"omitempty"`
	ManageUrl         string `wire:"omitempty"`
	Creator           string
	Tags              *wireTags `wire:"omitempty"`
}

func (s *Service) describeSecret() rpc.Op[describeSecretInput, describeSecretOutput] {
	return rpc.Op[describeSecretInput, describeSecretOutput]{
		Name: "DescribeSecret", Class: throttle.SecretRead,
		Targets: func(c *rpc.Call, in *describeSecretInput) ([]access.Target, error) {
			return oneTarget(c, in.SecretName)
		},
		Func: func(_ context.Context, c *rpc.Call, in *describeSecretInput) (*describeSecretOutput, error) {
			sec, err := get(c, in.SecretName)
			if err != nil {
				return nil, err
			}
			return describeAnswer(sec, in.FetchTags), nil
		},
	}
}

func describeAnswer(sec *store.Secret, tags bool) *describeSecretOutput {
	out := &describeSecretOutput{
		Arn:        arn.Secret(sec.Region, sec.Account, sec.Name).String(),
		SecretName: sec.Name, SecretType: sec.Type, Description: sec.Description,
		CreateTime: rpc.TimeText(sec.CreatedAt), UpdateTime: rpc.TimeText(sec.UpdatedAt),
		PlannedDeleteTime: rpc.TimeText(sec.PlannedDeleteAt), AutomaticRotation: "Disabled",
		OwingService: owningService(sec), HostingMode: hostingMode(sec), Creator: sec.Creator,
	}
	if sec.Owner != nil {
		out.ManageUrl = sec.Owner.ManageURL
	}
	if tags {
		out.Tags = toWire(sec.Tags)
	}
	return out
}
