package secrets

import (
	"context"
	"errors"
	"slices"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

type putSecretValueInput struct {
	SecretName     Ref       `param:"SecretName,required"`
	VersionID      VersionID `param:"VersionId,required"`
	SecretData     Data      `param:"SecretData,required,bytes=30720"`
	SecretDataType DataType  `param:"SecretDataType,default=text"`
	VersionStages  Stages    `param:"VersionStages"`
}

type putSecretValueOutput struct {
	SecretName    string
	VersionId     string
	VersionStages versionStages
}

func (s *Service) putSecretValue() rpc.Op[putSecretValueInput, putSecretValueOutput] {
	return rpc.Op[putSecretValueInput, putSecretValueOutput]{
		Name: "PutSecretValue", Class: rpc.ClassSecretWrite, Writes: true,
		Targets: func(c *rpc.Call, in *putSecretValueInput) ([]access.Target, error) {
			return oneTarget(c, in.SecretName)
		},
		Func: s.doPutValue,
	}
}

func (s *Service) doPutValue(ctx context.Context, c *rpc.Call, in *putSecretValueInput) (*putSecretValueOutput, error) {
	recordKey, _ := locate(c, in.SecretName)
	return rpc.Update(ctx, c, func(tx *store.Tx) (*putSecretValueOutput, error) {
		sec, err := read(tx, recordKey, pendingWrite)
		if err != nil {
			return nil, err
		}
		if v := sec.Version(string(in.VersionID)); v != nil {
			return s.putAgain(c, sec, v, in)
		}
		stages := []string(in.VersionStages)
		if len(stages) == 0 {
			stages = []string{stageCurrent}
		}
		evicted, err := addVersion(sec, store.Version{
			ID: string(in.VersionID), DataType: string(in.SecretDataType), CreatedAt: c.Now,
		}, stages)
		if err != nil {
			return nil, err
		}
		key, err := s.serviceKey(tx, c)
		if err != nil {
			return nil, err
		}
		if evicted != "" {
			store.SecretValues.Delete(tx, store.SecretValueKey(sec.Region, sec.Account, sec.SecretID, evicted))
		}
		if err := s.putValue(tx, sec, key, string(in.VersionID), in.SecretData); err != nil {
			return nil, err
		}
		sec.UpdatedAt = c.Now
		store.Secrets.Put(tx, recordKey, sec)
		return putAnswer(c, sec, sec.Version(string(in.VersionID))), nil
	})
}

// putAgain answers a version id that exists: the same data is a repetition and
// succeeds without effect, other data is a conflict.
func (s *Service) putAgain(c *rpc.Call, sec *store.Secret, v *store.Version, in *putSecretValueInput) (*putSecretValueOutput, error) {
	value, err := s.openValue(c.View, sec, v.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, store.ErrConflict
	}
	if err != nil {
		return nil, err
	}
	if !value.Equal(in.SecretData) || v.DataType != string(in.SecretDataType) {
		return nil, apierr.ResourceExists.Msg("The version id exists with other data: a version is written once.")
	}
	return putAnswer(c, sec, v), nil
}

func putAnswer(c *rpc.Call, sec *store.Secret, v *store.Version) *putSecretValueOutput {
	c.Record.VersionID, c.Record.Stages = v.ID, v.Stages
	return &putSecretValueOutput{SecretName: sec.Name, VersionId: v.ID, VersionStages: versionStages{v.Stages}}
}

// addVersion adds the version with its labels to the secret, moves
// ACSCurrent and ACSPrevious, takes the labels from their former holders, and
// makes room if need be; it returns the id of the version that had to go.
func addVersion(sec *store.Secret, v store.Version, stages []string) (evicted string, err error) {
	if slices.Contains(stages, stageCurrent) {
		moveCurrent(sec)
	}
	for _, label := range stages {
		dropStage(sec, label)
	}
	v.Stages = stages
	if len(sec.Versions) >= maxVersions {
		i := slices.IndexFunc(sec.Versions, func(v store.Version) bool { return len(v.Stages) == 0 })
		if i < 0 {
			return "", apierr.LimitExceeded.Msg("exceed secret limits error: all %d versions of the secret have stage labels, none can be dropped", maxVersions)
		}
		evicted = sec.Versions[i].ID
		sec.Versions = slices.Delete(sec.Versions, i, i+1)
	}
	sec.Versions = append(sec.Versions, v)
	labels := 0
	for i := range sec.Versions {
		labels += len(sec.Versions[i].Stages)
	}
	if labels > maxStages {
		return "", apierr.LimitExceeded.Msg("exceed secret limits error: a secret has at most %d stage labels", maxStages)
	}
	return evicted, nil
}

// moveCurrent makes the current version the previous one.
func moveCurrent(sec *store.Secret) {
	current := sec.Staged(stageCurrent)
	if current == nil {
		return
	}
	id := current.ID
	dropStage(sec, stageCurrent)
	dropStage(sec, stagePrevious)
	v := sec.Version(id)
	v.Stages = append(v.Stages, stagePrevious)
}

// dropStage takes the label from whichever version holds it.
func dropStage(sec *store.Secret, label string) {
	for i := range sec.Versions {
		v := &sec.Versions[i]
		v.Stages = slices.DeleteFunc(v.Stages, func(s string) bool { return s == label })
	}
}
