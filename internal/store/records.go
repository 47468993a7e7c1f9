package store

import (
	"slices"
	"strings"
	"time"

	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/policy"
)

// Format versions of the data folder. A release reads every format from
// LeastReader on and refuses a newer one.
const (
	// Format is what this release writes.
	Format = 1
	// LeastReader and LeastWriter are the oldest releases' formats that may
	// read and write data of this format.
	LeastReader = 1
	LeastWriter = 1
)

// Meta describes the data folder as a whole. It is readable without any key, so
// that a newer format can be refused before anything is opened.
type Meta struct {
	Format      int    `json:"format"`
	LeastReader int    `json:"leastReader"`
	LeastWriter int    `json:"leastWriter"`
	Region      string `json:"region"`
	// RestoreEpoch is raised by every restore from a backup.
	RestoreEpoch int64 `json:"restoreEpoch"`
	// NonceSeed keys the hashes of nonces, 16 random bytes.
	NonceSeed []byte    `json:"nonceSeed"`
	CreatedAt time.Time `json:"createdAt"`
	// Restored is set from a restore on until an operator confirms it: accounts
	// are read-only so long.
	Restored *Restored `json:"restored,omitempty"`
}

// Restored says which backup the data was restored from.
type Restored struct {
	At time.Time `json:"at"`
	// Backup is when the backup was made, Revision the one that it holds.
	Backup   time.Time `json:"backup"`
	Revision int64     `json:"revision"`
}

// Status of accounts and access keys.
const (
	Active    = "Active"
	Inactive  = "Inactive"
	Suspended = "Suspended"
)

// Account is a tenant. Its id has 16 digits.
type Account struct {
	ID        string    `json:"id"`
	Name      string    `json:"name,omitempty"`
	Status    string    `json:"status"`
	CreatedAt time.Time `json:"createdAt"`
	// RootKeys are the access key ids of the root user.
	RootKeys []string `json:"rootKeys,omitempty"`
	// ServiceKey is the id of the service-managed key that protects what the
	// account stores without a key of its own; empty until first needed.
	ServiceKey string `json:"serviceKey,omitempty"`
	// SessionsNotBefore ends the sessions of the account's roles, and those that
	// its users made elsewhere, that began earlier.
	SessionsNotBefore time.Time `json:"sessionsNotBefore,omitzero"`
	// Limits are the account's own, in requests per second by rate class; 0 for
	// none. A class that is absent has the server's.
	Limits map[string]float64 `json:"limits,omitempty"`
}

// OwnerKind says whom an access key belongs to.
type OwnerKind string

// The holders of access keys.
const (
	OwnerRoot     OwnerKind = "root"
	OwnerUser     OwnerKind = "user"
	OwnerService  OwnerKind = "service"
	OwnerOperator OwnerKind = "operator"
)

// AccessKey is a long-lived credential; the index of all of them is global,
// since a request names nothing but the key's id.
type AccessKey struct {
	ID   string    `json:"id"`
	Kind OwnerKind `json:"kind"`
	// Account is empty for services and operators.
	Account string `json:"account,omitempty"`
	// Owner is the RAM user's name, the service name or the operator's name;
	// empty for root.
	Owner string `json:"owner,omitempty"`
	// OwnerID is the RAM user's id: a key does not pass to a user made anew
	// under an old name.
	OwnerID   string    `json:"ownerId,omitempty"`
	Status    string    `json:"status"`
	Sealed    []byte    `json:"sealed"` // the secret, sealed under the keyring's access-key purpose
	CreatedAt time.Time `json:"createdAt"`
}

// Policy types.
const (
	PolicySystem = "System"
	PolicyCustom = "Custom"
)

// Attachment is a policy attached to a user or role.
type Attachment struct {
	Type string    `json:"type"`
	Name string    `json:"name"`
	At   time.Time `json:"at"`
}

// User is a RAM user.
type User struct {
	ID                string       `json:"id"`
	Account           string       `json:"account"`
	Name              string       `json:"name"`
	DisplayName       string       `json:"displayName,omitempty"`
	MobilePhone       string       `json:"mobilePhone,omitempty"`
	Email             string       `json:"email,omitempty"`
	Comments          string       `json:"comments,omitempty"`
	CreatedAt         time.Time    `json:"createdAt"`
	UpdatedAt         time.Time    `json:"updatedAt"`
	Policies          []Attachment `json:"policies,omitempty"`
	AccessKeys        []string     `json:"accessKeys,omitempty"`
	SessionsNotBefore time.Time    `json:"sessionsNotBefore,omitzero"`
}

// Tag is a key with a value, on secrets, roles and policies.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Role is a RAM role. Roles of one account differ in more than case.
type Role struct {
	ID          string `json:"id"`
	Account     string `json:"account"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	TrustPolicy string `json:"trustPolicy"`
	// MaxSession is the longest session, in seconds.
	MaxSession int          `json:"maxSession"`
	CreatedAt  time.Time    `json:"createdAt"`
	UpdatedAt  time.Time    `json:"updatedAt"`
	Policies   []Attachment `json:"policies,omitempty"`
	Tags       []Tag        `json:"tags,omitempty"`
	// Service is the service name of a service-linked role, else empty.
	Service           string    `json:"service,omitempty"`
	SessionsNotBefore time.Time `json:"sessionsNotBefore,omitzero"`

	// Trust is TrustPolicy, compiled.
	Trust *policy.Document `json:"-"`
}

// ARN names the role as answers do: in lower case for a service-linked role.
func (r *Role) ARN() string {
	name := r.Name
	if r.Service != "" {
		name = strings.ToLower(name)
	}
	return arn.Role(r.Account, name).String()
}

// Loaded compiles the trust policy.
func (r *Role) Loaded() (err error) {
	r.Trust, err = policy.Compile(policy.Trust, r.TrustPolicy, policy.Scope{Account: r.Account})
	return err
}

// PolicyVersion is one version of a custom policy.
type PolicyVersion struct {
	ID        string    `json:"id"`
	Document  string    `json:"document"`
	CreatedAt time.Time `json:"createdAt"`
}

// Policy is a custom identity policy of an account.
type Policy struct {
	Account     string          `json:"account"`
	Region      string          `json:"region"` // of the server, for ${region}
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Default     string          `json:"default"` // id of the version in force
	Versions    []PolicyVersion `json:"versions"`
	// NextVersion numbers the next version; ids are never used again.
	NextVersion int       `json:"nextVersion"`
	Tags        []Tag     `json:"tags,omitempty"`
	CreatedAt   time.Time `json:"createdAt"`
	UpdatedAt   time.Time `json:"updatedAt"`

	// Compiled is the default version's document.
	Compiled *policy.Document `json:"-"`
}

// DefaultVersion returns the version in force.
func (p *Policy) DefaultVersion() *PolicyVersion {
	for i := range p.Versions {
		if p.Versions[i].ID == p.Default {
			return &p.Versions[i]
		}
	}
	return &PolicyVersion{}
}

// Loaded compiles the default version.
func (p *Policy) Loaded() (err error) {
	p.Compiled, err = policy.Compile(policy.Identity, p.DefaultVersion().Document,
		policy.Scope{Region: p.Region, Account: p.Account})
	return err
}

// Service is a cloud service that may manage default secrets: it owns a
// credential, a service-linked role and that role's policy.
type Service struct {
	Name        string `json:"name"` // for example kms-access.sfm.aliyuncs.com
	DisplayName string `json:"displayName,omitempty"`
	RoleName    string `json:"roleName"`
	PolicyName  string `json:"policyName"`
	Policy      string `json:"policy"`
	// AccessKeys are the credentials that were not deleted, two at most.
	AccessKeys []string `json:"accessKeys,omitempty"`
	// Credentialed is set with the first credential and stays.
	Credentialed      bool      `json:"credentialed,omitempty"`
	CreatedAt         time.Time `json:"createdAt"`
	SessionsNotBefore time.Time `json:"sessionsNotBefore,omitzero"`

	// Compiled is Policy.
	Compiled *policy.Document `json:"-"`
}

// Loaded compiles the role policy. It names no account or region.
func (s *Service) Loaded() (err error) {
	s.Compiled, err = policy.Compile(policy.Identity, s.Policy, policy.Scope{})
	return err
}

// HostingMode says how a default secret is hosted.
type HostingMode string

// The hosting modes.
const (
	Free HostingMode = "Free"
	Paid HostingMode = "Paid"
)

// Product is a platform product, of one service, that deposits default secrets
// under its codes.
type Product struct {
	ID          string        `json:"id"` // for example model-studio
	DisplayName string        `json:"displayName"`
	Service     string        `json:"service"`
	Codes       []string      `json:"codes"`
	Modes       []HostingMode `json:"modes"`
	// Quota is how many free secrets the product may keep in one account,
	// unless the account has a ProductQuota.
	Quota     int       `json:"quota"`
	CreatedAt time.Time `json:"createdAt"`
	// RetiredAt is set, for good, when the product is retired: it creates
	// nothing more, and owners may delete what it left.
	RetiredAt time.Time `json:"retiredAt,omitzero"`
}

// Retired reports whether the product is retired.
func (p *Product) Retired() bool { return !p.RetiredAt.IsZero() }

// Offers reports whether the product supports the mode.
func (p *Product) Offers(m HostingMode) bool { return slices.Contains(p.Modes, m) }

// Code maps a product code to its product: one record a code, so that a code
// can belong to one product only.
type Code struct {
	Code    string `json:"code"`
	Product string `json:"product"`
	Service string `json:"service"`
}

// RoleName reserves the name of a service-linked role for one service.
type RoleName struct {
	Name    string `json:"name"`
	Service string `json:"service"`
}

// ProductQuota is an account's own quota of a product's free secrets.
type ProductQuota struct {
	Quota int `json:"quota"`
}

// Outcomes of a RoleDeletion.
const (
	DeletionSucceeded = "SUCCEEDED"
	DeletionFailed    = "FAILED"
)

// RoleDeletion is what became of a request to delete a service-linked role.
type RoleDeletion struct {
	ID        string    `json:"id"` // task/acs-service-role/<service>/<role name>/<uuid>
	Service   string    `json:"service"`
	Status    string    `json:"status"`
	CreatedAt time.Time `json:"createdAt"`
	// Message, Region and Resources say what stood in the way: of the things
	// left, the first ten.
	Message   string   `json:"message,omitempty"`
	Region    string   `json:"region,omitempty"`
	Resources []string `json:"resources,omitempty"`
}

// Operator is one who runs the server; operators belong to no account.
type Operator struct {
	Name       string    `json:"name"`
	AccessKeys []string  `json:"accessKeys"`
	CreatedAt  time.Time `json:"createdAt"`
}

// SecretOwner records which product manages a default secret. The product id
// never changes, whatever becomes of the product's name or codes.
type SecretOwner struct {
	Product     string      `json:"product"`
	Service     string      `json:"service"`
	Code        string      `json:"code"`
	Mode        HostingMode `json:"mode"`
	ResourceARN string      `json:"resourceArn,omitempty"`
	ManageURL   string      `json:"manageUrl,omitempty"`
}

// Version is a version of a secret; its value stands in a record of its own.
type Version struct {
	ID        string    `json:"id"`
	DataType  string    `json:"dataType"` // text or binary
	CreatedAt time.Time `json:"createdAt"`
	Stages    []string  `json:"stages,omitempty"`
}

// Secret is a secret's metadata, compared and written by every change of any
// part of the secret.
type Secret struct {
	SecretID    string    `json:"secretId"` // random, new with each creation
	Name        string    `json:"name"`
	Account     string    `json:"account"`
	Region      string    `json:"region"`
	Type        string    `json:"type"`
	Description string    `json:"description,omitempty"`
	Creator     string    `json:"creator"`
	Tags        []Tag     `json:"tags,omitempty"`
	CreatedAt   time.Time `json:"createdAt"`
	UpdatedAt   time.Time `json:"updatedAt"`
	// PlannedDeleteAt is when a secret scheduled for deletion is purged; zero
	// for one in the Normal state.
	PlannedDeleteAt time.Time `json:"plannedDeleteAt,omitzero"`
	// KeyID names the service-managed key (kms/<region>/<account>/service-keys/)
	// that wraps the data keys.
	KeyID    string       `json:"keyId"`
	Versions []Version    `json:"versions"` // oldest first
	Owner    *SecretOwner `json:"owner,omitempty"`
}

// Pending reports whether the secret is scheduled for deletion.
func (s *Secret) Pending() bool { return !s.PlannedDeleteAt.IsZero() }

// Version returns the version of that id, or nil.
func (s *Secret) Version(id string) *Version {
	for i := range s.Versions {
		if s.Versions[i].ID == id {
			return &s.Versions[i]
		}
	}
	return nil
}

// Staged returns the version that holds the stage label, or nil.
func (s *Secret) Staged(stage string) *Version {
	for i := range s.Versions {
		if slices.Contains(s.Versions[i].Stages, stage) {
			return &s.Versions[i]
		}
	}
	return nil
}

// SecretValue is the sealed value of one version.
type SecretValue struct {
	SecretID string `json:"secretId"`
	Version  string `json:"version"`
	KeyID    string `json:"keyId"`
	// KeyVersion is the key version that the data key is wrapped under.
	KeyVersion string `json:"keyVersion"`
	Sealed     []byte `json:"sealed"`
}

// ServiceKey is a service-managed key of an account: it protects values stored
// without a customer's key, and is seen and controlled by nobody.
type ServiceKey struct {
	ID       string              `json:"id"`
	Account  string              `json:"account"`
	Region   string              `json:"region"`
	Versions []ServiceKeyVersion `json:"versions"`
	Current  string              `json:"current"`
	Created  time.Time           `json:"created"`
}

// ServiceKeyVersion is one version of key material, sealed under the keyring.
type ServiceKeyVersion struct {
	ID     string `json:"id"`
	Sealed []byte `json:"sealed"`
}

// Material returns the sealed material of a key version, or nil.
func (k *ServiceKey) Material(version string) []byte {
	for i := range k.Versions {
		if k.Versions[i].ID == version {
			return k.Versions[i].Sealed
		}
	}
	return nil
}

// Counter counts what a quota limits.
type Counter struct {
	N int `json:"n"`
}

// Kinds of key rotation, their keys in KeyRotations.
const (
	RootKeyRotation = "root-key"
	KeyringRotation = "keyring"
)

// States of a key rotation.
const (
	RotationRunning  = "Running"
	RotationFinished = "Finished"
)

// KeyRotation is the task of replacing keys: the last one of its kind, running
// or over. A server that finds it running carries it on.
type KeyRotation struct {
	// ID is the id of the request that began it.
	ID    string `json:"id"`
	State string `json:"state"`
	// From is the id of the root key to replace; ForgetOld: no key is replaced,
	// the older ones go.
	From      string `json:"from,omitempty"`
	ForgetOld bool   `json:"forgetOld,omitempty"`
	// Versions are the new versions of the keyring's keys, by purpose.
	Versions map[string]uint32 `json:"versions,omitempty"`
	// Phase says what is being done, Done and Total how far it is.
	Phase string `json:"phase,omitempty"`
	Done  int    `json:"done,omitempty"`
	Total int    `json:"total,omitempty"`
	// Failed counts the records that could not be carried over, FailedKeys
	// names some of them by their etcd keys.
	Failed     int      `json:"failed,omitempty"`
	FailedKeys []string `json:"failedKeys,omitempty"`
	// Kept are the older keys that had to stay because of these records.
	Kept []string `json:"kept,omitempty"`
	// Note says for people how it ended or why it does not go on.
	Note       string    `json:"note,omitempty"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
}
