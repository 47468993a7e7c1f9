package ram

import (
	"context"
	"fmt"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// ListAccessKeysInput holds the parameters of ListAccessKeys. Without a UserName
// the caller's own keys are listed.
type ListAccessKeysInput struct {
	UserName UserName `param:"UserName"`
}

// AccessKey is an access key in a list.
type AccessKey struct {
	AccessKeyId string
	Status      string
	CreateDate  string
}

// AccessKeys is the wire's wrapper of a list.
type AccessKeys struct{ AccessKey []AccessKey }

// ListAccessKeysOutput is the answer of ListAccessKeys, oldest key first.
type ListAccessKeysOutput struct{ AccessKeys AccessKeys }

func (s *Service) listAccessKeys() rpc.Op[ListAccessKeysInput, ListAccessKeysOutput] {
	return rpc.Op[ListAccessKeysInput, ListAccessKeysOutput]{
		Name: "ListAccessKeys", Class: throttle.RAM,
		Targets: func(c *rpc.Call, in *ListAccessKeysInput) ([]access.Target, error) {
			return keyTargets(c, in.UserName)
		},
		Func: s.doListAccessKeys,
	}
}

func (s *Service) doListAccessKeys(_ context.Context, c *rpc.Call, in *ListAccessKeysInput) (*ListAccessKeysOutput, error) {
	h, _ := keyHolder(c, in.UserName)
	ids, err := h.ids(c.View)
	if err != nil {
		return nil, err
	}
	out := &ListAccessKeysOutput{}
	for _, id := range ids {
		key, err := store.AccessKeys.Get(c.View, id)
		if err != nil {
			return nil, fmt.Errorf("access key %s: %w", id, err)
		}
		out.AccessKeys.AccessKey = append(out.AccessKeys.AccessKey, AccessKey{
			AccessKeyId: key.ID, Status: key.Status, CreateDate: rpc.TimeText(key.CreatedAt),
		})
	}
	return out, nil
}
