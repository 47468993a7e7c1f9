package product

import (
	"context"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// credentialInput names a credential of a service.
type credentialInput struct {
	ServiceName ServiceName `param:"ServiceName,required"`
	// The name AccessKeyId is taken: it says who signs.
	AccessKeyID string `param:"ServiceAccessKeyId,required,max=64"`
}

type credentialOutput struct {
	ServiceName string
	AccessKey   keyItem
}

func credentialTargets(c *rpc.Call, in *credentialInput) ([]access.Target, error) {
	t, err := serviceTarget(c, in.ServiceName)
	c.Resource(typeCredential, in.AccessKeyID)
	if err != nil || t[0].Missing != nil {
		return t, err
	}
	key, err := store.AccessKeys.Get(c.View, in.AccessKeyID)
	if err == nil && !isCredential(key, in.ServiceName) {
		err = store.ErrNotFound
	}
	return t, t[0].Absent(err, apierr.CredentialUnknown)
}

// isCredential reports whether the key is one of the service's. The keys of
// others do not exist for the operator.
func isCredential(key *store.AccessKey, service ServiceName) bool {
	return key.Kind == store.OwnerService && key.Owner == string(service)
}

// changeCredential lets edit stage a change of a service and one of its
// credentials, which the targets have seen to be its own.
func changeCredential(ctx context.Context, c *rpc.Call, in *credentialInput, edit func(tx *store.Tx, svc *store.Service, key *store.AccessKey)) (*credentialOutput, error) {
	return rpc.Update(ctx, c, func(tx *store.Tx) (*credentialOutput, error) {
		svc, err := readService(tx, in.ServiceName)
		if err != nil {
			return nil, err
		}
		key, err := store.AccessKeys.Read(tx, in.AccessKeyID)
		if err != nil {
			return nil, err
		}
		edit(tx, svc, key)
		return &credentialOutput{svc.Name, keyItem{key.ID, key.Status, rpc.TimeText(key.CreatedAt)}}, nil
	})
}
