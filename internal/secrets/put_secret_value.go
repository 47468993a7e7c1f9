package secrets

import (
	"context"
	"errors"
	"slices"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
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
		Name: "PutSecretValue", Class: throttle.SecretWrite, Writes: true,
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
			return s.putAgain(c, tx, sec, v, in)
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

// putAgain answers a version id that exists. Other data is a conflict; the same
// data is a repetition and succeeds: it moves the labels that were given to the
// version, as a known client relies on, and does nothing if none were.
func (s *Service) putAgain(c *rpc.Call, tx *store.Tx, sec *store.Secret, v *store.Version, in *putSecretValueInput) (*putSecretValueOutput, error) {
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
	lacks := func(label string) bool { return !slices.Contains(v.Stages, label) }
	if !slices.ContainsFunc(in.VersionStages, lacks) {
		return putAnswer(c, sec, v), nil
	}
	if err := label(sec, v.ID, in.VersionStages); err != nil {
		return nil, err
	}
	sec.UpdatedAt = c.Now
	store.Secrets.Put(tx, store.SecretKey(sec.Region, sec.Account, sec.Name), sec)
	return putAnswer(c, sec, sec.Version(v.ID)), nil
}

func putAnswer(c *rpc.Call, sec *store.Secret, v *store.Version) *putSecretValueOutput {
	c.Record.VersionID, c.Record.Stages = v.ID, v.Stages
	return &putSecretValueOutput{SecretName: sec.Name, VersionId: v.ID, VersionStages: versionStages{v.Stages}}
}

// addVersion adds the version with its labels to the secret and makes room if
// need be; it returns the id of the version that had to go.
func addVersion(sec *store.Secret, v store.Version, stages []string) (evicted string, err error) {
	sec.Versions = append(sec.Versions, v)
	if err := label(sec, v.ID, stages); err != nil {
		return "", err
	}
	if len(sec.Versions) <= maxVersions {
		return "", nil
	}
	i := slices.IndexFunc(sec.Versions, func(v store.Version) bool { return len(v.Stages) == 0 })
	if i < 0 {
		return "", apierr.LimitExceeded.Msg("exceed secret limits error: all %d versions of the secret have stage labels, none can be dropped", maxVersions)
	}
	evicted = sec.Versions[i].ID
	sec.Versions = slices.Delete(sec.Versions, i, i+1)
	return evicted, nil
}

// label puts the labels on the version id, taking each from its former holder,
// and lets ACSPrevious follow ACSCurrent.
func label(sec *store.Secret, id string, stages []string) error {
	v := sec.Version(id)
	if slices.Contains(stages, stageCurrent) && !slices.Contains(v.Stages, stageCurrent) {
		moveCurrent(sec)
		dropFrom(v, stagePrevious) // of an older version that becomes current again
	}
	for _, l := range stages {
		if !slices.Contains(v.Stages, l) {
			dropStage(sec, l)
			v.Stages = append(v.Stages, l)
		}
	}
	labels := 0
	for i := range sec.Versions {
		labels += len(sec.Versions[i].Stages)
	}
	if labels > maxStages {
		return apierr.LimitExceeded.Msg("exceed secret limits error: a secret has at most %d stage labels", maxStages)
	}
	return nil
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
		dropFrom(&sec.Versions[i], label)
	}
}

func dropFrom(v *store.Version, label string) {
	v.Stages = slices.DeleteFunc(v.Stages, func(s string) bool { return s == label })
}
