package ram

import (
	"context"
	"fmt"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// CreateAccessKeyInput holds the parameters of CreateAccessKey. Without a
// UserName the key is for the caller itself.
type CreateAccessKeyInput struct {
	UserName UserName `param:"UserName"`
}

// NewAccessKey is an access key in the only answer that ever shows its secret.
type NewAccessKey struct {
	AccessKeyId     string
	AccessKeySecret mask.Text
	Status          string
	CreateDate      string
}

// CreateAccessKeyOutput is the answer of CreateAccessKey.
type CreateAccessKeyOutput struct{ AccessKey NewAccessKey }

func (s *Service) createAccessKey() rpc.Op[CreateAccessKeyInput, CreateAccessKeyOutput] {
	return rpc.Op[CreateAccessKeyInput, CreateAccessKeyOutput]{
		Name: "CreateAccessKey", Class: throttle.RAM, Writes: true,
		Targets: func(c *rpc.Call, in *CreateAccessKeyInput) ([]access.Target, error) {
			return keyTargets(c, in.UserName)
		},
		Func: s.doCreateAccessKey,
	}
}

func (s *Service) doCreateAccessKey(ctx context.Context, c *rpc.Call, in *CreateAccessKeyInput) (*CreateAccessKeyOutput, error) {
	id, secret := identity.NewAccessKey()
	sealed, err := identity.SealSecret(s.Ring, id, secret)
	if err != nil {
		return nil, fmt.Errorf("seal access key secret: %w", err)
	}
	h, _ := keyHolder(c, in.UserName)
	return rpc.Update(ctx, c, func(tx *store.Tx) (*CreateAccessKeyOutput, error) {
		taken := fmt.Errorf("the new access key id %s is taken", id)
		if err := store.AccessKeys.Vacant(tx, id, taken); err != nil {
			return nil, err
		}
		user, err := h.change(tx, func(ids []string) ([]string, error) {
			if len(ids) >= maxKeys {
				return nil, apierr.UserKeyLimit
			}
			return append(ids, id), nil
		})
		if err != nil {
			return nil, err
		}
		key := &store.AccessKey{
			ID: id, Kind: store.OwnerRoot, Account: h.account,
			Status: store.Active, Sealed: sealed, CreatedAt: c.Now,
		}
		if user != nil {
			key.Kind, key.Owner, key.OwnerID = store.OwnerUser, user.Name, user.ID
		}
		store.AccessKeys.Put(tx, id, key)
		c.Resource(typeAccessKey, id)
		return &CreateAccessKeyOutput{AccessKey: NewAccessKey{
			AccessKeyId: id, AccessKeySecret: secret, Status: key.Status, CreateDate: rpc.TimeText(key.CreatedAt),
		}}, nil
	})
}
