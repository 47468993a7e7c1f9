package secrets

import (
	"context"
	"slices"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type getSecretValueInput struct {
	SecretName   Ref       `param:"SecretName,required"`
	VersionStage Stage     `param:"VersionStage"`
	VersionID    VersionID `param:"VersionId"`
	// FetchExtendedConfig has no effect on Generic secrets, the only ones there
	// are; clients send it with every read.
	FetchExtendedConfig bool `param:"FetchExtendedConfig"`
	// DryRun is carried out by the pipeline; here it is checked and recorded.
	DryRun bool `param:"DryRun"`
}

type versionStages struct{ VersionStage []string }

type getSecretValueOutput struct {
	SecretName     string
	VersionId      string
	SecretData     Data
	SecretDataType string
	SecretType     string
	CreateTime     string
	VersionStages  versionStages
}

func (s *Service) getSecretValue() rpc.Op[getSecretValueInput, getSecretValueOutput] {
	return rpc.Op[getSecretValueInput, getSecretValueOutput]{
		Name: "GetSecretValue", Class: throttle.SecretRead, DryRun: true,
		Targets: func(c *rpc.Call, in *getSecretValueInput) ([]access.Target, error) {
			return oneTarget(c, in.SecretName)
		},
		Func: s.doGetValue,
	}
}

func (s *Service) doGetValue(_ context.Context, c *rpc.Call, in *getSecretValueInput) (*getSecretValueOutput, error) {
	sec, err := get(c, in.SecretName)
	if err != nil {
		return nil, err
	}
	if sec.Pending() {
		return nil, apierr.InDeleteWindow
	}
	v := selectVersion(sec, string(in.VersionID), string(in.VersionStage))
	if v == nil {
		return nil, apierr.ResourceNotFound
	}
	value, err := s.openValue(c.View, sec, v.ID)
	if err != nil {
		return nil, err
	}
	c.Record.VersionID, c.Record.Stages = v.ID, v.Stages
	return &getSecretValueOutput{
		SecretName: sec.Name, VersionId: v.ID, SecretData: value, SecretDataType: v.DataType, SecretType: sec.Type,
		CreateTime: rpc.TimeText(v.CreatedAt), VersionStages: versionStages{v.Stages},
	}, nil
}

// selectVersion picks a version: by id, by stage label, by both if they agree,
// else the current one.
func selectVersion(sec *store.Secret, id, stage string) *store.Version {
	if id == "" {
		if stage == "" {
			stage = stageCurrent
		}
		return sec.Staged(stage)
	}
	v := sec.Version(id)
	if v == nil || stage != "" && !slices.Contains(v.Stages, stage) {
		return nil
	}
	return v
}
