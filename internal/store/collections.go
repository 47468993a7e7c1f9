package store

import "strings"

// The collections and the builders of their keys, by place in etcd.
var (
	// Metas holds the one record that describes the data as a whole.
	Metas = define[Meta]("meta")

	// Accounts by AccountKey.
	Accounts = define[Account]("ram/*/account")
	// Users by UserKey.
	Users = define[User]("ram/*/users/*")
	// Roles by RoleKey.
	Roles = define[Role]("ram/*/roles/*")
	// RoleDeletions by RoleDeletionKey.
	RoleDeletions = define[RoleDeletion]("ram/*/role-deletions/*")
	// Policies by PolicyKey: the custom policies.
	Policies = define[Policy]("ram/*/policies/*")
	// AccessKeys by access key id.
	AccessKeys = define[AccessKey]("access-keys/*")

	// Secrets by SecretKey.
	Secrets = define[Secret]("kms/*/*/secrets/*")
	// SecretValues by SecretValueKey.
	SecretValues = define[SecretValue]("kms/*/*/values/*/*")
	// ServiceKeys by ServiceKeyKey.
	ServiceKeys = define[ServiceKey]("kms/*/*/service-keys/*")
	// Counters by CounterKey.
	Counters = define[Counter]("kms/*/*/counters/*")
	// ProductQuotas by ProductQuotaKey: where an account's quota differs from
	// the product's.
	ProductQuotas = define[ProductQuota]("kms/*/*/product-quotas/*")

	// Services by service name.
	Services = define[Service]("registry/services/*")
	// Products by product id.
	Products = define[Product]("registry/products/*")
	// Codes by product code.
	Codes = define[Code]("registry/codes/*")
	// RoleNames by RoleNameKey.
	RoleNames = define[RoleName]("registry/role-names/*")
	// Operators by name.
	Operators = define[Operator]("operators/*")

	// KeyRotations are the tasks that replace keys, by kind: RootKeyRotation,
	// KeyringRotation.
	KeyRotations = define[KeyRotation]("tasks/key-rotation/*")

	epochs  = define[epoch]("ram/*/epoch")
	outbox  = define[rawRecord]("outbox/*/*/*")
	keyring = defineUnsigned("keyring/*/*")
	// fences holds one record, which every transaction compares: see
	// Tx.FenceKeyring.
	fences = define[epoch]("keyring-fence")
)

// MetaKey is the key of the one record in Metas.
const MetaKey = ""

// AccountKey returns the key in Accounts.
func AccountKey(account string) string { return account }

// UserKey returns the key in Users. User names are case-sensitive.
func UserKey(account, name string) string { return join(account, name) }

// RoleKey returns the key in Roles. Roles of one account differ in more than
// case.
func RoleKey(account, name string) string { return join(account, strings.ToLower(name)) }

// PolicyKey returns the key in Policies.
func PolicyKey(account, name string) string { return join(account, name) }

// SecretKey returns the key in Secrets. The name may hold a "/".
func SecretKey(region, account, name string) string { return join(region, account, name) }

// SecretValueKey returns the key in SecretValues.
func SecretValueKey(region, account, secretID, version string) string {
	return join(region, account, secretID, version)
}

// ServiceKeyKey returns the key in ServiceKeys.
func ServiceKeyKey(region, account, id string) string { return join(region, account, id) }

// CounterKey returns the key in Counters.
func CounterKey(region, account, name string) string { return join(region, account, name) }

// ProductCounterKey is the key in Counters of what a product's quota limits: its
// free secrets in the account, those pending deletion included.
func ProductCounterKey(region, account, product string) string {
	return CounterKey(region, account, "free/"+product)
}

// ServiceCounterKey is the key in Counters of all default secrets of a service
// in the account, those pending deletion included: every creation and every
// purge of one writes it, so that a transaction which compares it knows that
// their number has not changed.
func ServiceCounterKey(region, account, service string) string {
	return CounterKey(region, account, "service/"+service)
}

// ProductQuotaKey returns the key in ProductQuotas.
func ProductQuotaKey(region, account, product string) string { return join(region, account, product) }

// RoleDeletionKey returns the key in RoleDeletions; id is the last part of the
// task's id.
func RoleDeletionKey(account, id string) string { return join(account, id) }

// RoleNameKey returns the key in RoleNames. Role names differ in more than case.
func RoleNameKey(name string) string { return strings.ToLower(name) }

// AccountPrefix is the prefix, for Scan, of an account's records in Users,
// Roles, RoleDeletions and Policies.
func AccountPrefix(account string) string { return prefix(account) }

// KMSPrefix is the prefix, for Scan, of an account's records in Secrets,
// SecretValues, ServiceKeys and Counters.
func KMSPrefix(region, account string) string { return prefix(region, account) }

// prefix is join for all but the last part. Of parts that cannot occur it makes
// a prefix that no key has.
func prefix(parts ...string) string {
	key := join(append(parts, "x")...)
	if key == invalidKey {
		return "/"
	}
	return strings.TrimSuffix(key, "x")
}
