package secrets

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type listVersionsInput struct {
	SecretName        Ref  `param:"SecretName,required"`
	IncludeDeprecated bool `param:"IncludeDeprecated"`
	PageNumber        int  `param:"PageNumber,default=1,min=1"`
	PageSize          int  `param:"PageSize,default=20,min=1,max=100"`
}

type versionItem struct {
	VersionId     string
	CreateTime    string
	VersionStages versionStages
}

type versionList struct{ VersionId []versionItem }

type listVersionsOutput struct {
	SecretName                       string
	PageNumber, PageSize, TotalCount int
	VersionIds                       versionList //nolint:revive // the wire's spelling
}

func (s *Service) listSecretVersionIDs() rpc.Op[listVersionsInput, listVersionsOutput] {
	return rpc.Op[listVersionsInput, listVersionsOutput]{
		Name: "ListSecretVersionIds", Class: throttle.SecretList,
		Targets: func(c *rpc.Call, in *listVersionsInput) ([]access.Target, error) { return oneTarget(c, in.SecretName) },
		Func: func(_ context.Context, c *rpc.Call, in *listVersionsInput) (*listVersionsOutput, error) {
			sec, err := get(c, in.SecretName)
			if err != nil {
				return nil, err
			}
			return listVersions(sec, in), nil
		},
	}
}

// listVersions lists the versions newest first; those without a label, called
// deprecated, only if asked for.
func listVersions(sec *store.Secret, in *listVersionsInput) *listVersionsOutput {
	var found []*store.Version
	for i := len(sec.Versions) - 1; i >= 0; i-- {
		if v := &sec.Versions[i]; in.IncludeDeprecated || len(v.Stages) > 0 {
			found = append(found, v)
		}
	}
	out := &listVersionsOutput{SecretName: sec.Name, PageNumber: in.PageNumber, PageSize: in.PageSize, TotalCount: len(found)}
	for _, v := range page(found, in.PageNumber, in.PageSize) {
		out.VersionIds.VersionId = append(out.VersionIds.VersionId, versionItem{v.ID, rpc.TimeText(v.CreatedAt), versionStages{v.Stages}})
	}
	return out
}
