package policy

import (
	"embed"
	"slices"
	"strings"
)

// systemPolicy is what is known of a system policy beside its document, which
// stands in system/<name>.json.
type systemPolicy struct{ name, version, description string }

// systemPolicies are the policies that every account has and none can change,
// sorted by name. Names, versions and documents are those that Alibaba Cloud
// publishes, with these exceptions: the documents of AliyunKMSSecretAdminAccess
// and of the ActionTrail, Log and RAM policies are written after their
// descriptions. The policies of service-linked roles are not among them; they
// come with their services.
var systemPolicies = []systemPolicy{
	{"AdministratorAccess", "v1", "Full access to all services and resources of the account."},
	{"AliyunActionTrailFullAccess", "v1", "Full access to ActionTrail."},
	{"AliyunActionTrailReadOnlyAccess", "v1", "Read-only access to ActionTrail."},
	{"AliyunKMSCryptoAdminAccess", "v2", "Management of keys and aliases in KMS."},
	{"AliyunKMSCryptoUserAccess", "v2", "Cryptographic operations with keys in KMS."},
	{"AliyunKMSFullAccess", "v3", "Full access to KMS."},
	{"AliyunKMSReadOnlyAccess", "v3", "Read-only access to KMS, without the values of secrets."},
	{"AliyunKMSSecretAdminAccess", "v1", "Management of secrets in KMS."},
	{"AliyunKMSSecretUserAccess", "v1", "Reading of secrets and their values in KMS."},
	{"AliyunLogFullAccess", "v1", "Full access to Simple Log Service."},
	{"AliyunLogReadOnlyAccess", "v1", "Read-only access to Simple Log Service."},
	{"AliyunRAMFullAccess", "v1", "Full access to RAM: users, groups, roles and policies."},
	{"AliyunRAMReadOnlyAccess", "v1", "Read-only access to RAM."},
	{"AliyunSTSAssumeRoleAccess", "v1", "Taking on roles by AssumeRole."},
}

//go:embed system/*.json
var systemDocuments embed.FS

// System returns the document, version and description of a system policy. Names
// are case-sensitive.
func System(name string) (text, version, description string, ok bool) {
	i, ok := slices.BinarySearchFunc(systemPolicies, name, func(p systemPolicy, name string) int {
		return strings.Compare(p.name, name)
	})
	if !ok {
		return "", "", "", false
	}
	p := systemPolicies[i]
	doc, err := systemDocuments.ReadFile("system/" + name + ".json")
	if err != nil {
		return "", "", "", false // a test makes sure that each has its file
	}
	return string(doc), p.version, p.description, true
}

// SystemNames returns the names of all system policies in alphabetical order.
func SystemNames() []string {
	return mapped(systemPolicies, func(p systemPolicy) string { return p.name })
}
