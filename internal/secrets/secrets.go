// Package secrets holds the operations on secrets: ordinary ones, which the
// account manages, and default secrets, <ProductCode>!<SecretIdentifier>, which
// a platform product deposits and manages and whose owner decides who reads
// them.
//
// Who may do what is not decided here: each operation names its target
// truthfully, with the product that manages it, and the machine it runs on
// decides. What is here are the rules of names, versions, stage labels,
// quotas, deletion and encryption.
package secrets

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// Service holds what the operations need.
type Service struct {
	// Ring seals and opens values and key material.
	Ring *keyring.Ring
}

// Limits of a secret, as the API documents them.
const (
	maxVersions = 10 // of one secret; the eleventh displaces the oldest unlabelled one
	maxStages   = 8  // labels in one secret, ACSCurrent and ACSPrevious among them
	maxTags     = 20
)

// The labels that the service moves by itself.
const (
	stageCurrent  = "ACSCurrent"
	stagePrevious = "ACSPrevious"
)

// describe is the action that permits seeing where a default secret is managed.
const describe = "kms:DescribeSecret"

// resourceType is a secret's type in audit events.
const resourceType = "ACS::KMS::Secret"

// locate finds the secret that ref names for this caller: a bare name means
// the caller's own account.
func locate(c *rpc.Call, ref Ref) (key string, name arn.ARN) {
	region, account := c.Region, c.Account()
	if ref.Account != "" {
		region, account = ref.Region, ref.Account
	}
	return store.SecretKey(region, account, ref.Name), arn.Secret(region, account, ref.Name)
}

// target describes the secret that ref names, existing or not.
func target(c *rpc.Call, ref Ref) (access.Target, error) {
	key, name := locate(c, ref)
	t := access.Target{Action: c.Info.Action, Resources: []arn.ARN{name}, Account: name.Account}
	c.Resource(resourceType, ref.Name)
	sec, err := store.Secrets.Get(c.View, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		t.Missing = apierr.ResourceNotFound
		t.Managed, err = managedName(c.View, ref.Name)
		return t, err
	case err != nil:
		return t, err
	}
	note(c, sec)
	t.Tags = sec.Tags
	t.Managed, err = managed(c.View, sec.Owner)
	return t, err
}

// oneTarget is Targets for the operations on one secret.
func oneTarget(c *rpc.Call, ref Ref) ([]access.Target, error) {
	t, err := target(c, ref)
	return []access.Target{t}, err
}

// note writes into the audit record which secret the name stood for.
func note(c *rpc.Call, sec *store.Secret) {
	c.Record.SecretID = sec.SecretID
	if sec.Owner != nil {
		c.Record.HostingMode = string(sec.Owner.Mode)
	}
}

// managed describes the product that manages a secret with that owner record;
// nil for an ordinary secret.
func managed(v *store.View, owner *store.SecretOwner) (*access.Managed, error) {
	if owner == nil {
		return nil, nil
	}
	m, err := managedBy(v, owner.Product, owner.Service)
	if err == nil {
		m.ManageURL, m.Describe = owner.ManageURL, describe
	}
	return m, err
}

// managedName describes the product under whose code a name stands, whether a
// secret of that name exists or not, so that refusals do not tell one from the
// other; nil for ordinary names and unregistered codes.
func managedName(v *store.View, name string) (*access.Managed, error) {
	code, _, ok := strings.Cut(name, "!")
	if !ok {
		return nil, nil
	}
	rec, err := store.Codes.Get(v, code)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return managedBy(v, rec.Product, rec.Service)
}

func managedBy(v *store.View, product, service string) (*access.Managed, error) {
	m := &access.Managed{Kind: access.DefaultSecret, Service: service, Product: product, ProductName: product}
	rec, err := store.Products.Get(v, product)
	if err == nil {
		m.ProductName, m.Retired = rec.DisplayName, rec.Retired()
	} else if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return m, nil
}

// read returns the secret in the transaction, to be changed, or the error for
// one that is gone or pending deletion.
func read(tx *store.Tx, key string, pendingText string) (*store.Secret, error) {
	sec, err := store.Secrets.Read(tx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, apierr.ResourceNotFound
	}
	if err != nil {
		return nil, err
	}
	if pendingText != "" && sec.Pending() {
		return nil, apierr.InDeleteWindow.Msg("%s", pendingText)
	}
	return sec, nil
}

// get returns the secret in the call's view. The pipeline has seen that it
// exists.
func get(c *rpc.Call, ref Ref) (*store.Secret, error) {
	key, _ := locate(c, ref)
	sec, err := store.Secrets.Get(c.View, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, apierr.ResourceNotFound
	}
	return sec, err
}

// Texts of the service for writes on a secret that is pending deletion; the
// spelling is the service's.
const pendingWrite = "secret in delete peroid"

// valueRef is what a sealed value is bound to.
func valueRef(sec *store.Secret, version, keyVersion string) keyring.ValueRef {
	return keyring.ValueRef{
		KeyRef:   keyring.KeyRef{Region: sec.Region, Account: sec.Account, KeyID: sec.KeyID, KeyVersion: keyVersion},
		SecretID: sec.SecretID, SecretName: sec.Name, VersionID: version,
	}
}

// putValue seals the value of a version under the secret's service-managed key
// and stages its record.
func (s *Service) putValue(tx *store.Tx, sec *store.Secret, key *store.ServiceKey, version string, value mask.Text) error {
	sealed, err := s.Ring.SealValue(key.Material(key.Current), valueRef(sec, version, key.Current), value)
	if err != nil {
		return fmt.Errorf("seal value: %w", err)
	}
	store.SecretValues.Put(tx, store.SecretValueKey(sec.Region, sec.Account, sec.SecretID, version), &store.SecretValue{
		SecretID: sec.SecretID, Version: version, KeyID: key.ID, KeyVersion: key.Current, Sealed: sealed,
	})
	return nil
}

// openValue opens the value of a version in a view.
func (s *Service) openValue(v *store.View, sec *store.Secret, version string) (mask.Text, error) {
	rec, err := store.SecretValues.Get(v, store.SecretValueKey(sec.Region, sec.Account, sec.SecretID, version))
	if err != nil {
		return mask.Text{}, fmt.Errorf("value of secret %s: %w", sec.SecretID, err)
	}
	key, err := store.ServiceKeys.Get(v, store.ServiceKeyKey(sec.Region, sec.Account, rec.KeyID))
	if err != nil {
		return mask.Text{}, fmt.Errorf("key of secret %s: %w", sec.SecretID, err)
	}
	return s.Ring.OpenValue(key.Material(rec.KeyVersion), valueRef(sec, version, rec.KeyVersion), rec.Sealed)
}

// serviceKey returns the service-managed key of the account, making it if the
// account has none yet.
func (s *Service) serviceKey(tx *store.Tx, c *rpc.Call) (*store.ServiceKey, error) {
	account, err := store.Accounts.Read(tx, store.AccountKey(c.Account()))
	if err != nil {
		return nil, fmt.Errorf("account: %w", err)
	}
	if account.ServiceKey != "" {
		return store.ServiceKeys.Get(tx.View(), store.ServiceKeyKey(c.Region, account.ID, account.ServiceKey))
	}
	key := &store.ServiceKey{
		ID: "key-svc-" + randomID(), Account: account.ID, Region: c.Region, Current: "1", Created: c.Now,
	}
	sealed, err := s.Ring.NewMaterial(keyring.KeyRef{Region: key.Region, Account: key.Account, KeyID: key.ID, KeyVersion: "1"})
	if err != nil {
		return nil, fmt.Errorf("make service-managed key: %w", err)
	}
	key.Versions = []store.ServiceKeyVersion{{ID: "1", Sealed: sealed}}
	account.ServiceKey = key.ID
	store.ServiceKeys.Put(tx, store.ServiceKeyKey(c.Region, account.ID, key.ID), key)
	store.Accounts.Put(tx, store.AccountKey(account.ID), account)
	return key, nil
}

// randomID draws 96 random bits as text.
func randomID() string {
	b := make([]byte, 12)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// count counts n more (or fewer) default secrets of that owner, by service and,
// if they are free, by product. total is the number of the product's.
func count(tx *store.Tx, region, account string, owner *store.SecretOwner, n int) (total int, err error) {
	if _, err := addTo(tx, store.ServiceCounterKey(region, account, owner.Service), n); err != nil {
		return 0, err
	}
	if owner.Mode != store.Free {
		return 0, nil
	}
	return addTo(tx, store.ProductCounterKey(region, account, owner.Product), n)
}

func addTo(tx *store.Tx, key string, n int) (total int, err error) {
	counter, err := store.Counters.Read(tx, key)
	if errors.Is(err, store.ErrNotFound) {
		counter, err = &store.Counter{}, nil
	}
	if err != nil {
		return 0, err
	}
	counter.N += n
	store.Counters.Put(tx, key, counter)
	return counter.N, nil
}

// quotaOf is how many free secrets the product may keep in the account.
func quotaOf(tx *store.Tx, region, account string, product *store.Product) (int, error) {
	own, err := store.ProductQuotas.Read(tx, store.ProductQuotaKey(region, account, product.ID))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return product.Quota, nil
	case err != nil:
		return 0, err
	}
	return own.Quota, nil
}

// owningService is the value of the field OwingService (the API spells it so).
func owningService(sec *store.Secret) string {
	if sec.Owner == nil {
		return ""
	}
	return sec.Owner.Product
}

func hostingMode(sec *store.Secret) string {
	if sec.Owner == nil {
		return ""
	}
	return string(sec.Owner.Mode)
}

// visible is the target for one item of a list: allowed on the container or on
// the item itself, refused by a Deny on either.
func visible(c *rpc.Call, sec *store.Secret) (*access.Target, error) {
	m, err := managed(c.View, sec.Owner)
	return &access.Target{
		Action:    c.Info.Action,
		Resources: []arn.ARN{arn.Secret(sec.Region, sec.Account, sec.Name), arn.SecretContainer(sec.Region, sec.Account)},
		Account:   sec.Account, Managed: m, Tags: sec.Tags,
	}, err
}
