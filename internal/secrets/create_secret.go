package secrets

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type createSecretInput struct {
	SecretName              Name      `param:"SecretName,required"`
	VersionID               VersionID `param:"VersionId,required"`
	SecretData              Data      `param:"SecretData,required,bytes=30720"`
	SecretDataType          DataType  `param:"SecretDataType,default=text"`
	SecretType              Type      `param:"SecretType,default=Generic"`
	EncryptionKeyID         string    `param:"EncryptionKeyId"`
	DKMSInstanceID          string    `param:"DKMSInstanceId"`
	Description             string    `param:"Description,max=8192"`
	Tags                    Tags      `param:"Tags"`
	ExtendedConfig          JSONText  `param:"ExtendedConfig,hash"`
	EnableAutomaticRotation bool      `param:"EnableAutomaticRotation"`
	RotationInterval        Interval  `param:"RotationInterval"`
	Policy                  string    `param:"Policy,hash,bytes=32768"`

	// Of managing sessions only: the product's own resource that the secret
	// belongs to, and where it is managed.
	ProductResourceARN ResourceARN `param:"ProductResourceArn"`
	ManageURL          ManageURL   `param:"ManageUrl"`
}

type createSecretOutput struct {
	Arn        string
	SecretName string
	VersionId  string
	SecretType string
}

func (s *Service) createSecret() rpc.Op[createSecretInput, createSecretOutput] {
	return rpc.Op[createSecretInput, createSecretOutput]{
		Name: "CreateSecret", Class: throttle.SecretLife, Writes: true, Creates: true,
		Targets: createTargets, Func: s.doCreate,
	}
}

// createTargets: an Allow on the container or on the name itself permits to
// create, since policies of both forms are in use; tags need a permission of
// their own.
func createTargets(c *rpc.Call, in *createSecretInput) ([]access.Target, error) {
	name := string(in.SecretName)
	c.Resource(resourceType, name)
	m, err := managedName(c.View, name)
	if err != nil {
		return nil, err
	}
	if m == nil && strings.Contains(name, "!") {
		return nil, rpc.BadParam{Field: "SecretName", Fault: rpc.Value, Why: "no product has the code before the !, and only a product creates such a name"}
	}
	t := access.Target{
		Action: c.Info.Action, Account: c.Account(), Managed: m, RequestTags: in.Tags,
		Resources: []arn.ARN{arn.Secret(c.Region, c.Account(), name), arn.SecretContainer(c.Region, c.Account())},
	}
	if m != nil {
		m.Describe = describe
	}
	targets := []access.Target{t}
	if len(in.Tags) > 0 {
		t.Action = "kms:TagResource"
		targets = append(targets, t)
	}
	return targets, nil
}

func (s *Service) doCreate(ctx context.Context, c *rpc.Call, in *createSecretInput) (*createSecretOutput, error) {
	if strings.Contains(string(in.SecretName), "!") {
		return rpc.Update(ctx, c, func(tx *store.Tx) (*createSecretOutput, error) {
			owner, quota, err := newOwner(c, tx, in)
			if err != nil {
				return nil, err
			}
			return s.create(c, tx, in, owner, quota)
		})
	}
	if in.ProductResourceARN != "" || in.ManageURL != "" {
		return nil, rpc.BadParam{Field: "ProductResourceArn, ManageUrl", Fault: rpc.Value, Why: "only a product gives them, with a default secret"}
	}
	if err := ordinaryHosting(in); err != nil {
		return nil, err
	}
	return rpc.Update(ctx, c, func(tx *store.Tx) (*createSecretOutput, error) {
		return s.create(c, tx, in, nil, 0)
	})
}

// Check refuses the types of secrets that need a cloud to rotate them, and what
// only they may have.
func (in *createSecretInput) Check() error {
	if in.SecretType != generic {
		return apierr.UnsupportedOperation.Msg("SecretType %s needs a cloud platform that rotates the secret; this server keeps Generic secrets.", in.SecretType)
	}
	if in.EnableAutomaticRotation {
		return rpc.BadParam{Field: "EnableAutomaticRotation", Fault: rpc.Value, Why: "a Generic secret is not rotated automatically"}
	}
	return nil
}

// ordinaryHosting refuses what only a secret in a KMS instance may have.
func ordinaryHosting(in *createSecretInput) error {
	switch {
	case in.DKMSInstanceID != "":
		return apierr.InstanceNotFound
	case in.EncryptionKeyID != "":
		return rpc.BadParam{Field: "EncryptionKeyId", Fault: rpc.Value, Why: "a key is given together with the DKMSInstanceId of its KMS instance"}
	case in.Policy != "":
		return apierr.PolicyUnsupported.Msg("Policy is supported for secrets in a KMS instance only.")
	}
	return nil
}

// newOwner makes the owner record of a default secret. The law of ownership
// has let only the managing session come this far. It also returns how many
// free secrets the product may have in the account.
func newOwner(c *rpc.Call, tx *store.Tx, in *createSecretInput) (owner *store.SecretOwner, quota int, err error) {
	code, _, _ := strings.Cut(string(in.SecretName), "!")
	rec, err := store.Codes.Read(tx, code)
	if err != nil {
		return nil, 0, fmt.Errorf("product code: %w", err)
	}
	product, err := store.Products.Read(tx, rec.Product)
	if err != nil {
		return nil, 0, fmt.Errorf("product: %w", err)
	}
	mode := store.Free
	if in.DKMSInstanceID != "" {
		mode = store.Paid
	}
	if !product.Offers(mode) {
		return nil, 0, apierr.UnsupportedOperation.Msg("The product %s (%s) does not support default secrets of the hosting mode %s.", product.DisplayName, product.ID, mode)
	}
	if mode == store.Paid {
		if in.EncryptionKeyID == "" {
			return nil, 0, rpc.BadParam{Field: "EncryptionKeyId", Fault: rpc.Missing, Why: "it is required"}
		}
		return nil, 0, apierr.InstanceNotFound
	}
	if err := ordinaryHosting(in); err != nil {
		return nil, 0, err
	}
	if quota, err = quotaOf(tx, c.Region, c.Account(), product); err != nil {
		return nil, 0, err
	}
	return &store.SecretOwner{
		Product: product.ID, Service: rec.Service, Code: code, Mode: mode,
		ResourceARN: string(in.ProductResourceARN), ManageURL: string(in.ManageURL),
	}, quota, nil
}

// charge counts one more secret of the owner's service and product, and refuses
// it past the product's quota.
func charge(tx *store.Tx, c *rpc.Call, owner *store.SecretOwner, quota int) error {
	total, err := count(tx, c.Region, c.Account(), owner, 1)
	if err == nil && total > quota {
		err = apierr.LimitExceeded.Msg("The account has %d default secrets of the product %s, and its quota allows %d.", total-1, owner.Product, quota)
	}
	return err
}

// create stages the secret and its first version; quota limits a default one.
func (s *Service) create(c *rpc.Call, tx *store.Tx, in *createSecretInput, owner *store.SecretOwner, quota int) (*createSecretOutput, error) {
	name := string(in.SecretName)
	recordKey := store.SecretKey(c.Region, c.Account(), name)
	old, err := store.Secrets.Read(tx, recordKey)
	switch {
	case err == nil && old.Pending():
		return nil, apierr.InDeleteWindow
	case err == nil:
		return nil, apierr.ResourceExists
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	// Only now, so that a product that deposits a secret again learns that it is
	// there, and not that the quota is used up.
	if owner != nil {
		if err := charge(tx, c, owner, quota); err != nil {
			return nil, err
		}
	}
	key, err := s.serviceKey(tx, c)
	if err != nil {
		return nil, err
	}
	sec := &store.Secret{
		SecretID: "sec-" + randomID(), Name: name, Account: c.Account(), Region: c.Region, Type: string(in.SecretType),
		Description: in.Description, Creator: creator(c), Tags: in.Tags, CreatedAt: c.Now, UpdatedAt: c.Now,
		KeyID: key.ID, Owner: owner,
		Versions: []store.Version{{
			ID: string(in.VersionID), DataType: string(in.SecretDataType), CreatedAt: c.Now, Stages: []string{stageCurrent},
		}},
	}
	if err := s.putValue(tx, sec, key, string(in.VersionID), in.SecretData); err != nil {
		return nil, err
	}
	store.Secrets.Put(tx, recordKey, sec)
	note(c, sec)
	c.Record.VersionID, c.Record.Stages = string(in.VersionID), []string{stageCurrent}
	return &createSecretOutput{
		Arn: arn.Secret(c.Region, c.Account(), name).String(), SecretName: name, VersionId: string(in.VersionID), SecretType: sec.Type,
	}, nil
}

// creator is who made a secret, as the API shows it: the service for a default
// secret, else the account.
func creator(c *rpc.Call) string {
	if c.Principal.Manages != "" {
		return c.Principal.Manages
	}
	return c.Account()
}
