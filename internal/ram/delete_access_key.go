package ram

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// DeleteAccessKeyInput holds the parameters of DeleteAccessKey. Without a
// UserName the key is one of the caller's own.
type DeleteAccessKeyInput struct {
	UserName        UserName `param:"UserName"`
	UserAccessKeyId string   `param:"UserAccessKeyId,required,max=128"`
}

// DeleteAccessKeyOutput is the answer of DeleteAccessKey.
type DeleteAccessKeyOutput struct{}

func (s *Service) deleteAccessKey() rpc.Op[DeleteAccessKeyInput, DeleteAccessKeyOutput] {
	return rpc.Op[DeleteAccessKeyInput, DeleteAccessKeyOutput]{
		Name: "DeleteAccessKey", Class: throttle.RAM, Writes: true,
		Targets: func(c *rpc.Call, in *DeleteAccessKeyInput) ([]access.Target, error) {
			c.Resource(typeAccessKey, in.UserAccessKeyId)
			return keyTargets(c, in.UserName)
		},
		Func: s.doDeleteAccessKey,
	}
}

// doDeleteAccessKey ends the key at once. Role sessions that were made with it
// last until they expire, as everywhere in this API: keys are replaced in
// routine, and that must not cut off what runs.
func (s *Service) doDeleteAccessKey(ctx context.Context, c *rpc.Call, in *DeleteAccessKeyInput) (*DeleteAccessKeyOutput, error) {
	h, _ := keyHolder(c, in.UserName)
	return rpc.Update(ctx, c, func(tx *store.Tx) (*DeleteAccessKeyOutput, error) {
		_, err := h.change(tx, func(ids []string) ([]string, error) {
			rest, ok := without(ids, in.UserAccessKeyId)
			if !ok {
				return nil, apierr.UserKeyNotFound
			}
			return rest, nil
		})
		if err != nil {
			return nil, err
		}
		store.AccessKeys.Delete(tx, in.UserAccessKeyId)
		return &DeleteAccessKeyOutput{}, nil
	})
}
