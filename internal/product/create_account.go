package product

import (
	"context"
	"errors"
	"regexp"
	"time"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// AccountID is an account's id: 16 digits.
type AccountID string

var accountID = regexp.MustCompile(`^[1-9][0-9]{15}$`)

// CheckAccountID returns an error that says what an account id looks like.
func CheckAccountID(text string) error {
	if !accountID.MatchString(text) {
		return rpc.BadParam{Field: "AccountId", Fault: rpc.Format, Why: "an account id has 16 digits, the first not 0"}
	}
	return nil
}

// BindParam checks the id.
func (a *AccountID) BindParam(text string) error {
	*a = AccountID(text)
	return CheckAccountID(text)
}

type createAccountInput struct {
	// AccountID is chosen by the server if absent.
	AccountID AccountID `param:"AccountId"`
	Name      string    `param:"Name,max=128"`
}

type accountInfo struct {
	AccountId  string
	Name       string
	Status     string
	CreateDate string
}

type accessKey struct {
	AccessKeyId     string
	AccessKeySecret mask.Text
	Status          string
	CreateDate      string
}

type createAccountOutput struct {
	Account accountInfo
	// AccessKey is the root user's first key; its secret is shown only here.
	AccessKey accessKey
}

func (s *Service) createAccount() rpc.Op[createAccountInput, createAccountOutput] {
	return rpc.Op[createAccountInput, createAccountOutput]{
		Name: "CreateAccount", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: func(c *rpc.Call, _ *createAccountInput) ([]access.Target, error) { return everything(c), nil },
		Func:    s.doCreateAccount,
	}
}

func (s *Service) doCreateAccount(ctx context.Context, c *rpc.Call, in *createAccountInput) (*createAccountOutput, error) {
	id := string(in.AccountID)
	if id == "" {
		id = identity.NewID(16)
	}
	return rpc.Update(ctx, c, func(tx *store.Tx) (*createAccountOutput, error) {
		_, err := store.Accounts.Read(tx, store.AccountKey(id))
		if err == nil {
			return nil, apierr.ResourceExists.Msg("The account %s already exists.", id)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		key, secret, err := newKey(tx, s.Ring, store.AccessKey{Kind: store.OwnerRoot, Account: id}, c.Now)
		if err != nil {
			return nil, err
		}
		a := &store.Account{ID: id, Name: in.Name, Status: store.Active, CreatedAt: c.Now, RootKeys: []string{key.ID}}
		store.Accounts.Put(tx, store.AccountKey(id), a)
		tx.BumpEpoch(id)
		c.Record.Accounts = append(c.Record.Accounts, id)
		c.Resource("ACS::OpenSesame::Account", id)
		return &createAccountOutput{
			Account:   accountInfo{AccountId: id, Name: a.Name, Status: a.Status, CreateDate: dateText(c.Now)},
			AccessKey: accessKey{key.ID, secret, key.Status, dateText(c.Now)},
		}, nil
	})
}

func dateText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

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
