// Package rotation replaces keys while the server runs: the root key, and the
// keys of the keyring. An operation notes the wish as a task record; a [Worker]
// carries it out, step by step, and after an interruption carries it on.
//
// What a step does is safe to do twice, and leaves a state in which everything
// opens. A record that cannot be carried over is reported, does not keep the
// others from it, and keeps the old key alive that it may need.
//
// It trusts the operator, and no record: each is verified before it is signed or
// sealed anew.
package rotation

import (
	"context"
	"errors"
	"slices"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/seal"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// Service holds what the operations need.
type Service struct {
	// Ring makes new keys of the keyring.
	Ring *keyring.Ring
	// Keys are the root keys.
	Keys *seal.Keys
}

// Register declares the operations: the table of contents of this package.
func (s *Service) Register(t *rpc.Table) {
	rpc.Add(t, rpc.OpenSesame, s.describeKeyRotation())
	rpc.Add(t, rpc.OpenSesame, s.rotateKeyring())
	rpc.Add(t, rpc.OpenSesame, s.rotateRootKey())
}

// everything is the target of the operator's operations that act on no
// particular account.
func everything(c *rpc.Call) []access.Target {
	return []access.Target{{Action: c.Info.Action, Resources: []arn.ARN{policy.Everything}, Account: c.Account()}}
}

// rotationItem is a task as answers show it.
type rotationItem struct {
	Kind       string
	RotationId string
	State      string
	Phase      string
	Done       int
	Total      int
	Failed     int
	// FailedRecords names some of the records that failed, KeptKeys the older
	// keys that stay because of them.
	FailedRecords []string
	KeptKeys      []string
	Note          string
	StartDate     string
	FinishDate    string
}

func item(kind string, r *store.KeyRotation) rotationItem {
	return rotationItem{
		Kind: kind, RotationId: r.ID, State: r.State, Phase: r.Phase, Done: r.Done, Total: r.Total, Failed: r.Failed,
		FailedRecords: r.FailedKeys, KeptKeys: r.Kept, Note: r.Note, StartDate: rpc.TimeText(r.StartedAt), FinishDate: rpc.TimeText(r.FinishedAt),
	}
}

type startOutput struct{ Rotation rotationItem }

// begin stages a new task unless one of the kind is running, which is returned
// instead: to ask again is to ask for the same.
func begin(tx *store.Tx, c *rpc.Call, kind string, fresh func() (*store.KeyRotation, error)) (*store.KeyRotation, error) {
	old, err := store.KeyRotations.Read(tx, kind)
	switch {
	case err == nil && old.State == store.RotationRunning:
		return old, nil
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	r, err := fresh()
	if err != nil {
		return nil, err
	}
	r.ID, r.State, r.StartedAt = c.RequestID, store.RotationRunning, c.Now
	store.KeyRotations.Put(tx, kind, r)
	c.Resource("ACS::OpenSesame::KeyRotation", kind)
	return r, nil
}

type rotateRootKeyInput struct {
	// ForgetOld makes no new root key but drops the older ones.
	ForgetOld bool `param:"ForgetOld"`
}

func (s *Service) rotateRootKey() rpc.Op[rotateRootKeyInput, startOutput] {
	return rpc.Op[rotateRootKeyInput, startOutput]{
		Name: "RotateRootKey", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: func(c *rpc.Call, _ *rotateRootKeyInput) ([]access.Target, error) { return everything(c), nil },
		Func:    s.doRotateRootKey,
	}
}

func (s *Service) doRotateRootKey(ctx context.Context, c *rpc.Call, in *rotateRootKeyInput) (*startOutput, error) {
	st, err := s.Keys.Root()
	if err != nil {
		return nil, err
	}
	return rpc.Update(ctx, c, func(tx *store.Tx) (*startOutput, error) {
		r, err := begin(tx, c, store.RootKeyRotation, func() (*store.KeyRotation, error) {
			switch {
			case in.ForgetOld && len(st.Older) == 0 && !st.Pending:
				return nil, apierr.RejectedUnsupported.Msg("There is no older root key to forget.")
			case !in.ForgetOld && len(st.Older) >= seal.MaxRootKeys-1:
				return nil, apierr.LimitExceeded.Msg("%d older root keys are kept, as many as may be: forget them first.", len(st.Older))
			}
			return &store.KeyRotation{From: st.Current, ForgetOld: in.ForgetOld}, nil
		})
		if err != nil {
			return nil, err
		}
		if r.ForgetOld != in.ForgetOld {
			return nil, apierr.ResourceInUse.Msg("Another change of the root key is running: wait for its end.")
		}
		return &startOutput{item(store.RootKeyRotation, r)}, nil
	})
}

type rotateKeyringInput struct{}

func (s *Service) rotateKeyring() rpc.Op[rotateKeyringInput, startOutput] {
	return rpc.Op[rotateKeyringInput, startOutput]{
		Name: "RotateKeyring", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: func(c *rpc.Call, _ *rotateKeyringInput) ([]access.Target, error) { return everything(c), nil },
		Func:    s.doRotateKeyring,
	}
}

// doRotateKeyring stores a new key for each purpose. From its commit on all that
// is written is signed and sealed under these; the task does the rest.
func (s *Service) doRotateKeyring(ctx context.Context, c *rpc.Call, _ *rotateKeyringInput) (*startOutput, error) {
	return rpc.Update(ctx, c, func(tx *store.Tx) (*startOutput, error) {
		r, err := begin(tx, c, store.KeyringRotation, func() (*store.KeyRotation, error) {
			r := &store.KeyRotation{Versions: map[string]uint32{}}
			for _, p := range keyring.Purposes() {
				name, sealed, err := s.Ring.Generate(p, c.Now)
				if err != nil {
					return nil, err
				}
				tx.PutKeyring(name, sealed)
				_, r.Versions[string(p)], _ = keyring.ParseName(name)
			}
			tx.FenceKeyring()
			return r, nil
		})
		if err != nil {
			return nil, err
		}
		return &startOutput{item(store.KeyringRotation, r)}, nil
	})
}

type describeInput struct{}

type rootKeyInfo struct {
	KeyId string
	// OlderKeyIds are kept for backups made before a rotation.
	OlderKeyIds []string //nolint:revive // the wire's spelling
	// Seal is file or passphrase.
	Seal string
}

type ringKeyInfo struct {
	Purpose       string
	Version       int
	CreateDate    string
	OlderVersions []string
}

type describeOutput struct {
	RootKey   rootKeyInfo
	Keyring   struct{ Key []ringKeyInfo }
	Rotations struct{ Rotation []rotationItem }
}

func (s *Service) describeKeyRotation() rpc.Op[describeInput, describeOutput] {
	return rpc.Op[describeInput, describeOutput]{
		Name: "DescribeKeyRotation", Class: throttle.Operator, Callers: access.Operators,
		Targets: func(c *rpc.Call, _ *describeInput) ([]access.Target, error) { return everything(c), nil },
		Func:    s.doDescribe,
	}
}

func (s *Service) doDescribe(_ context.Context, c *rpc.Call, _ *describeInput) (*describeOutput, error) {
	st, err := s.Keys.Root()
	if err != nil {
		return nil, err
	}
	out := &describeOutput{RootKey: rootKeyInfo{KeyId: st.Current, OlderKeyIds: st.Older, Seal: "file"}}
	if st.Passphrase {
		out.RootKey.Seal = "passphrase"
	}
	names := keyNames(c.View)
	for _, p := range keyring.Purposes() {
		version, created, _ := s.Ring.Current(p)
		k := ringKeyInfo{Purpose: string(p), Version: int(version), CreateDate: rpc.TimeText(created)}
		k.OlderVersions = keyring.Before(names, p, version)
		out.Keyring.Key = append(out.Keyring.Key, k)
	}
	for _, kind := range kinds {
		r, err := store.KeyRotations.Get(c.View, kind)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out.Rotations.Rotation = append(out.Rotations.Rotation, item(kind, r))
	}
	return out, nil
}

// kinds are all kinds of rotation, in the order in which they are carried on.
var kinds = []string{store.RootKeyRotation, store.KeyringRotation}

// keyNames lists the stored keys of the keyring.
func keyNames(v *store.View) []string {
	var names []string
	store.ScanKeyring(v, func(name string, _ []byte) bool {
		names = append(names, name)
		return true
	})
	return slices.Clip(names)
}
