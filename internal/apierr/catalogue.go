package apierr

func row(status int, code, message string) *Error {
	return &Error{Status: status, Code: code, Message: message}
}

const contentType = `The ContentType request header must be either "application/json" or "application/x-www-form-urlencoded", in UTF-8.`

// throttled asks callers to wait a second, which every limit's bucket fills in.
func throttled() *Error {
	e := row(429, "Rejected.Throttling", "QPS Limit Exceeded")
	e.RetryAfterMS = 1000
	return e
}

// Codes of the gateway, the same for every product.
var (
	InvalidVersion       = row(400, "InvalidVersion", "Specified parameter Version is not valid.")
	ActionNotFound       = row(404, "InvalidAction.NotFound", "Specified api is not found, please check your url and method.")
	MissingParam         = row(400, "MissingParameter", "The parameter needed but no provided.")
	InvalidParam         = row(400, "InvalidParameter", "The specified parameter is not valid.")
	IllegalTimestamp     = row(400, "IllegalTimestamp", `The input parameter "Timestamp" that is mandatory for processing this request is not supplied.`)
	TimestampFormat      = row(400, "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted: want YYYY-MM-DDThh:mm:ssZ in UTC.")
	TimestampExpired     = row(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
	MissingAccessKeyID   = row(400, "MissingAccessKeyId", "AccessKeyId is mandatory for this action.")
	AccessKeyNotFound    = row(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
	AccessKeyInactive    = row(400, "InvalidAccessKeyId.Inactive", "Specified access key is disabled.")
	SignatureMismatch    = row(400, "SignatureDoesNotMatch", "Specified signature is not matched with our calculation.")
	IncompleteSignature  = row(400, "IncompleteSignature", "The request signature does not conform to Alibaba Cloud standards.")
	NonceUsed            = row(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
	MissingSecurityToken = row(400, "MissingSecurityToken", "SecurityToken is mandatory for this action.")
	TokenExpired         = row(400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")
	TokenMalformed       = row(400, "InvalidSecurityToken.Malformed", "Specified SecurityToken is malformed.")
	TokenMismatch        = row(400, "InvalidSecurityToken.MismatchWithAccessKey", "Specified SecurityToken mismatch with the AccessKey.")
	UnsupportedMethod    = row(403, "UnsupportedHTTPMethod", "This http method is not supported.")
	BodyTooLarge         = row(400, "InvalidParameter", "The request body is larger than 262144 bytes.")
	// ContentType is the refusal of a body that is neither form nor JSON;
	// GlobalContentType the same in STS, RAM and ResourceManager.
	ContentType       = row(400, "InvalidParameter", contentType)
	GlobalContentType = row(400, "InvalidParameter.ContentType", contentType)
	Throttled         = throttled()

	// The answers to DryRun=true.
	DryRun        = row(400, "DryRunOperationError", "Request would have succeeded, but DryRun flag is set.")
	DryRunInvalid = row(400, "ValidationError", "A parameter is not valid.")
	DryRunDenied  = row(403, "AccessDeniedError", "The request would be refused.")

	// InternalError is the fault of a server that is not KMS; InternalFailure
	// and Unavailable are KMS's, and the ones that secret clients retry.
	InternalError   = row(500, "InternalError", "The request processing has failed due to some unknown error.")
	InternalFailure = row(500, "InternalFailure", "Internal Failure")
	Unavailable     = row(503, "ServiceUnavailableTemporary", "Service Unavailable Temporary")
)

// Codes of KMS.
var (
	NoPermission         = row(403, "Forbidden.NoPermission", "This operation is forbidden by permission system.")
	ResourceNotFound     = row(404, "Forbidden.ResourceNotFound", "Resource not found.")
	KeyNotFound          = row(404, "Forbidden.KeyNotFound", "The specified Key is not found.")
	InstanceNotFound     = row(403, "Forbidden.DKMSInstanceNotFound", "The specified DKMS Instance is not found.")
	ResourceExists       = row(409, "Rejected.ResourceExist", "The resource already exists.")
	InDeleteWindow       = row(409, "Rejected.ResourceInDeleteWindow", "The secret is planned to be deleted.")
	ResourceInUse        = row(409, "Rejected.ResourceInUse", "restore normal secret")
	LimitExceeded        = row(400, "Rejected.LimitExceeded", "The request was rejected because user create resource limit was exceeded")
	UnsupportedOperation = row(400, "UnsupportedOperation", "This action is not supported.")
	RejectedUnsupported  = row(400, "Rejected.UnsupportedOperation", "Unsupported operation.")
	PolicyUnsupported    = row(400, "Forbidden.KeyPolicyUnSupported", "The specified key does not support key policy.")
	DuplicateTagKey      = row(400, "Duplicate.TagKey", "The specified tagKey is duplicate.")
	InvalidTagKey        = row(400, "InvalidParameter.TagKey", "The specified tagKey is not valid.")
	AccountNotFound      = row(404, "EntityNotExist.Account", "The account does not exist.")
	InvalidTagValue      = row(400, "InvalidParameter.TagValue", "The specified tagValue is not valid.")
)

// Codes of the API product OpenSesame, which Alibaba Cloud does not have.
var (
	ProductNotFound   = row(404, "EntityNotExist.Product", "The product does not exist.")
	CredentialUnknown = row(404, "EntityNotExist.ServiceCredential", "The service has no credential with this access key id.")
	ServiceExists     = row(409, "EntityAlreadyExists.Service", "The service already exists.")
	ProductExists     = row(409, "EntityAlreadyExists.Product", "The product already exists.")
	CodeExists        = row(409, "EntityAlreadyExists.ProductCode", "The product code belongs to another product.")
	CodeInUse         = row(409, "DeleteConflict.ProductCode", "Secrets are left under the product code.")
	ProductRetired    = row(409, "Rejected.ProductRetired", "The product is retired.")
)

// Codes of RAM, STS and ResourceManager.
var (
	RAMNoPermission       = row(403, "NoPermission", "You are not authorized to do this action. You should be authorized by RAM.")
	ServiceLinkedRole     = row(403, "NoPermission.ServiceLinkedRole", "This operation is not allowed on a service-linked role.")
	MalformedPolicy       = row(400, "MalformedPolicyDocument", "The policy document is malformed.")
	STSRoleNotFound       = row(404, "EntityNotExist.Role", "The specified Role not exists .")
	PolicyGrammar         = row(400, "InvalidParameter.PolicyGrammar", "The parameter Policy has not passed grammar check.")
	PolicySize            = row(400, "InvalidParameter.PolicySize", "The size of Policy must be smaller than 2048 bytes.")
	InvalidPolicyType     = row(400, "InvalidParameter.PolicyType", `The parameter - "PolicyType" is incorrect.`)
	UserNotFound          = row(404, "EntityNotExist.User", "The user does not exist.")
	UserKeyNotFound       = row(404, "EntityNotExist.User.AccessKey", "The user access key does not exist.")
	UserPolicyNotFound    = row(404, "EntityNotExist.User.Policy", "The indicate policy of the user does not exist.")
	PolicyNotFound        = row(404, "EntityNotExist.Policy", "The policy does not exist.")
	RoleNotFound          = row(404, "EntityNotExist.Role", "The role does not exist.")
	NotServiceLinked      = row(404, "EntityNotExist.ServiceLinkedRole", "This role exists but is not a Service Linked Role.")
	DeletionTaskNotFound  = row(404, "EntityNotExist.ServiceLinkedRole.DeletionTask", "The deletion task for the given ID does not exist.")
	RolePolicyNotFound    = row(404, "EntityNotExist.Role.Policy", "The indicate policy attached to the role does not exist.")
	ServiceNotFound       = row(404, "EntityNotExist.Service", "The service does not exist.")
	UserExists            = row(409, "EntityAlreadyExists.User", "The user does already EXIST.")
	PolicyExists          = row(409, "EntityAlreadyExists.Policy", "The policy does already EXIST.")
	RoleExists            = row(409, "EntityAlreadyExists.Role", "The role already exists.")
	UserPolicyExists      = row(409, "EntityAlreadyExists.User.Policy", "The user has already been attached this policy.")
	RolePolicyExists      = row(409, "EntityAlreadyExists.Role.Policy", "The role has already been attached this policy.")
	UserHasKeys           = row(409, "DeleteConflict.User.AccessKey", "The user CAN NOT has any access key while deleting the user.")
	UserHasPolicies       = row(409, "DeleteConflict.User.Policy", "The user CAN NOT has any attached policy while deleting the user.")
	RoleHasPolicies       = row(409, "DeleteConflict.Role.Policy", "The role CAN NOT has any attached policy while deleting the role.")
	PolicyOnUser          = row(409, "DeleteConflict.Policy.User", "The policy CAN NOT been attached to any user while deleting the policy.")
	PolicyVersionsLeft    = row(409, "DeleteConflict.Policy.Version", "The policy CAN NOT has any version except the default version.")
	UserLimit             = row(409, "LimitExceeded.User", "The count of users beyond the current limits.")
	UserKeyLimit          = row(409, "LimitExceeded.User.AccessKey", "The count of access keys of the user beyond the current limits.")
	UserPolicyLimit       = row(409, "LimitExceeded.User.Policy", "The count of policies attached to the user beyond the current limits.")
	PolicyLimit           = row(409, "LimitExceeded.Policy", "The count of policies beyond the current limits.")
	RoleLimit             = row(409, "LimitExceeded.Role", "The maximum number of roles is exceeded.")
	RolePolicyLimit       = row(409, "LimitExceeded.Role.Policy", "The count of policies attached to the role beyond the current limits.")
	SuffixNotAllowed      = row(400, "InvalidParameter.CustomSuffix.NotAllowed", "Custom suffix is not allowed for this Service Linked Role.")
	SuffixChars           = row(400, "InvalidParameter.CustomSuffix.InvalidChars", "The parameter CustomSuffix contains invalid characters.")
	SuffixLength          = row(400, "InvalidParameter.CustomSuffix.Length", "The maximum length of the parameter CustomSuffix is exceeded.")
	SessionDuration       = row(400, "InvalidParameter.DurationSeconds", "The Min/Max value of DurationSeconds is 15min/1hr.")
	DescriptionNotAllowed = row(400, "InvalidParameter.Description.NotAllowed", "Custom description is not allowed for default service linked role.")
	DescriptionLength     = row(400, "InvalidParameter.Description.Length", "The maximum length of the description is exceeded. It must not exceed 1024 characters.")
)
