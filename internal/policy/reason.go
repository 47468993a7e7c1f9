package policy

// ReasonCode names one reason for a decision. Messages, audit records and
// explanations use the same codes; they stay once published
// (testdata/reasons.golden holds the list).
type ReasonCode string

// What allowed.
const (
	// RootOfOwner: the root user of the account that owns the thing.
	RootOfOwner ReasonCode = "root-of-owner"
	// SystemWork: the server's own background work.
	SystemWork ReasonCode = "system"
	// IdentityAllow: a statement of a policy of the user or role.
	IdentityAllow ReasonCode = "identity-allow"
	// SessionAllow: a statement of the session policy (it only lets through
	// what something else allows).
	SessionAllow ReasonCode = "session-allow"
	// ResourceAllow: a statement of the policy of the secret or key.
	ResourceAllow ReasonCode = "resource-allow"
	// TrustAllow: a statement of the role's trust policy.
	TrustAllow ReasonCode = "trust-allow"
)

// What denied explicitly.
const (
	SessionExplicitDeny  ReasonCode = "session-explicit-deny"
	IdentityExplicitDeny ReasonCode = "identity-explicit-deny"
	ResourceExplicitDeny ReasonCode = "resource-explicit-deny"
	TrustExplicitDeny    ReasonCode = "trust-explicit-deny"
	// PolicyUnreadable: a policy applies but could not be compiled; what it
	// may deny is unknown.
	PolicyUnreadable ReasonCode = "policy-unreadable"
)

// What was missing.
const (
	// RootCannotAssume: root users can't take on roles.
	RootCannotAssume ReasonCode = "root-cannot-assume-role"
	// UnknownPrincipal: the caller is of no known kind.
	UnknownPrincipal ReasonCode = "unknown-principal"
	SessionNoAllow   ReasonCode = "session-no-allow"
	// IdentityNoAllow: no policy of the user or role allows it (nor, where
	// there is one, the policy of the secret or key).
	IdentityNoAllow ReasonCode = "identity-no-allow"
	TrustNoAllow    ReasonCode = "trust-no-allow"
	// CrossAccountIdentityNoAllow: the caller is of another account, and no
	// policy there allows it.
	CrossAccountIdentityNoAllow ReasonCode = "cross-account-identity-no-allow"
	// CrossAccountResourceNoAllow: the caller is of another account, and the
	// policy of the secret or key does not allow it.
	CrossAccountResourceNoAllow ReasonCode = "cross-account-resource-no-allow"
)

// What nearly allowed; always after one of the missing allows.
const (
	// ConditionNotMet: an Allow statement fits but for its conditions.
	ConditionNotMet ReasonCode = "condition-not-met"
	// ResourceDelegates: the policy of the secret or key allows it to the
	// owner account as such, which is no grant to its users and roles.
	ResourceDelegates ReasonCode = "resource-delegates"
	// ActionNotGrantable: the policy of the secret or key allows it, but this
	// action can't be granted there, or not to another account.
	ActionNotGrantable ReasonCode = "action-not-grantable"
)

// Guards: laws of the server that no policy can lift. The caller of [Decide]
// finds them; their codes stand here so that there is one list.
const (
	// GuardOwnedByProduct: only the product that manages a default secret
	// may change it.
	GuardOwnedByProduct ReasonCode = "guard-owned-by-product"
	// GuardRegisteredCode: a name under a registered product code may be
	// created by that product only.
	GuardRegisteredCode ReasonCode = "guard-registered-code"
	// GuardForeignCode: a managing session reaches only names under its own
	// service's codes.
	GuardForeignCode ReasonCode = "guard-foreign-code"
	// GuardOwnerKey: a managing session uses customer keys only by way of its
	// own secrets.
	GuardOwnerKey ReasonCode = "guard-owner-key"
	// GuardOwnerOnly: an operation that belongs to the owner and not to the
	// managing product.
	GuardOwnerOnly ReasonCode = "guard-owner-only"
	// GuardProductRetired: a retired product creates nothing more.
	GuardProductRetired ReasonCode = "guard-product-retired"
	// GuardReadSuspended: the owner has suspended reading.
	GuardReadSuspended ReasonCode = "guard-read-suspended"
	// GuardGateway: the thing is not served by this gateway.
	GuardGateway ReasonCode = "guard-gateway"
	// GuardNetwork: the caller's network is not bound to the instance.
	GuardNetwork ReasonCode = "guard-network"
	// GuardCrossAccountWrite: callers of other accounts only read.
	GuardCrossAccountWrite ReasonCode = "guard-cross-account-write"
	// GuardServiceCredential: a service's own credential only assumes roles.
	GuardServiceCredential ReasonCode = "guard-service-credential"
	// GuardServiceLinkedRole: the role is the platform's.
	GuardServiceLinkedRole ReasonCode = "guard-service-linked-role"
	// GuardOperatorOnly: only an operator may do this.
	GuardOperatorOnly ReasonCode = "guard-operator-only"
	// GuardOperatorData: an operator never reads a secret's value.
	GuardOperatorData ReasonCode = "guard-operator-data"
	// GuardInUse: default secrets depend on the thing.
	GuardInUse ReasonCode = "guard-in-use"
	// GuardAccountSuspended: the account is suspended or read-only.
	GuardAccountSuspended ReasonCode = "guard-account-suspended"
	// GuardBreakGlass: the operation would hand out a credential that could read
	// secrets, and the config does not allow that.
	GuardBreakGlass ReasonCode = "guard-break-glass"
)

// ReasonCodes returns all codes in the order of their list.
func ReasonCodes() []ReasonCode {
	return []ReasonCode{
		RootOfOwner, SystemWork, IdentityAllow, SessionAllow, ResourceAllow, TrustAllow,
		SessionExplicitDeny, IdentityExplicitDeny, ResourceExplicitDeny, TrustExplicitDeny, PolicyUnreadable,
		RootCannotAssume, UnknownPrincipal, SessionNoAllow, IdentityNoAllow, TrustNoAllow,
		CrossAccountIdentityNoAllow, CrossAccountResourceNoAllow,
		ConditionNotMet, ResourceDelegates, ActionNotGrantable,
		GuardOwnedByProduct, GuardRegisteredCode, GuardForeignCode, GuardOwnerKey, GuardOwnerOnly,
		GuardProductRetired, GuardReadSuspended, GuardGateway, GuardNetwork, GuardCrossAccountWrite,
		GuardServiceCredential, GuardServiceLinkedRole, GuardOperatorOnly, GuardOperatorData, GuardInUse,
		GuardAccountSuspended, GuardBreakGlass,
	}
}

// Values of [Decision.NoPermissionType].
const (
	ImplicitDeny = "ImplicitDeny"
	ExplicitDeny = "ExplicitDeny"
)

// Values of [Decision.PolicyType], as the wire names them in
// AccessDeniedDetail. The last one is ours.
const (
	IdentityPolicyType = "AccountLevelIdentityBasedPolicy"
	SessionPolicyType  = "SessionPolicy"
	TrustPolicyType    = "AssumeRolePolicy"
	ResourcePolicyType = "ResourceBasedPolicy"
	// GuardPolicyType is given when a guard refused: no policy did, and none
	// can change it.
	GuardPolicyType = "OwnershipGuard"
)
