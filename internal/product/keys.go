package product

import (
	"errors"
	"time"

	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// accessKey is a new access key in the one answer that shows its secret.
type accessKey struct {
	AccessKeyId     string
	AccessKeySecret mask.Text
	Status          string
	CreateDate      string
}

// keyItem is an access key in other answers.
type keyItem struct {
	AccessKeyId string
	Status      string
	CreateDate  string
}

type keyList struct{ AccessKey []keyItem }

// showKeys describes the keys, oldest first.
func showKeys(v *store.View, ids []string) (keyList, error) {
	var out keyList
	for _, id := range ids {
		k, err := store.AccessKeys.Get(v, id)
		if err != nil {
			return out, err
		}
		out.AccessKey = append(out.AccessKey, keyItem{k.ID, k.Status, rpc.TimeText(k.CreatedAt)})
	}
	return out, nil
}

// newKey stages a new access key for the holder that k names.
func newKey(tx *store.Tx, ring *keyring.Ring, k store.AccessKey, now time.Time) (*store.AccessKey, mask.Text, error) {
	id, secret := identity.NewAccessKey()
	k.ID, k.Status, k.CreatedAt = id, store.Active, now
	var err error
	if k.Sealed, err = identity.SealSecret(ring, id, secret); err != nil {
		return nil, mask.Text{}, err
	}
	if _, err = store.AccessKeys.Read(tx, id); !errors.Is(err, store.ErrNotFound) {
		return nil, mask.Text{}, errors.Join(errors.New("a new access key id is taken"), err)
	}
	store.AccessKeys.Put(tx, id, &k)
	return &k, secret, nil
}

// NewOperator stages an operator with its access key. It is for the first
// start, in the transaction that makes the data; there is no operation for it.
func NewOperator(tx *store.Tx, ring *keyring.Ring, name, keyID string, secret mask.Text, now time.Time) error {
	sealed, err := identity.SealSecret(ring, keyID, secret)
	if err != nil {
		return err
	}
	store.AccessKeys.Put(tx, keyID, &store.AccessKey{
		ID: keyID, Kind: store.OwnerOperator, Owner: name, Status: store.Active, Sealed: sealed, CreatedAt: now,
	})
	store.Operators.Put(tx, name, &store.Operator{Name: name, AccessKeys: []string{keyID}, CreatedAt: now})
	return nil
}
