package product

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// AccountID is an account's id: 16 digits.
type AccountID string

var accountID = regexp.MustCompile(`^[1-9][0-9]{15}$`)

// BindParam checks the id.
func (a *AccountID) BindParam(text string) error {
	*a = AccountID(text)
	if !accountID.MatchString(text) {
		return rpc.BadParam{Fault: rpc.Format, Why: "an account id has 16 digits, the first not 0"}
	}
	return nil
}

// ServiceName names a service: a host name in lower case, at most 128
// characters, for example kms.alb.aliyuncs.com.
type ServiceName string

var serviceName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$`)

// BindParam checks the name.
func (n *ServiceName) BindParam(text string) error {
	*n = ServiceName(text)
	if len(text) > 128 || !serviceName.MatchString(text) {
		return rpc.BadParam{Fault: rpc.Format, Why: "a service is named like a host, in lower case and at most 128 characters, for example keys.example.com"}
	}
	return nil
}

// ID is a product's name id: a lower-case letter and up to 63 more, digits or
// hyphens.
type ID string

var productID = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)

// BindParam checks the id.
func (i *ID) BindParam(text string) error {
	*i = ID(text)
	if !productID.MatchString(text) {
		return rpc.BadParam{Fault: rpc.Format, Why: "a product's id begins with a lower-case letter and consists of up to 64 such letters, digits and hyphens"}
	}
	return nil
}

// DisplayName is a name for people: at most 128 characters on one line. It
// stands in messages to callers and in policies' descriptions.
type DisplayName string

// BindParam checks the name.
func (n *DisplayName) BindParam(text string) error {
	*n = DisplayName(text)
	if utf8.RuneCountInString(text) > 128 {
		return rpc.BadParam{Fault: rpc.Length, Why: "it is longer than 128 characters"}
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return rpc.BadParam{Fault: rpc.Chars, Why: "it consists of printable characters"}
	}
	return nil
}

// rolePrefix begins the names of all service-linked roles.
const (
	rolePrefix   = "AliyunServiceRoleFor"
	policyPrefix = "AliyunServiceRolePolicyFor"
)

// RoleName names a service-linked role: AliyunServiceRoleFor and up to 38
// letters and digits, so that role and policy names keep to RAM's 64.
type RoleName string

var roleName = regexp.MustCompile(`^` + rolePrefix + `[A-Za-z0-9]{1,38}$`)

// BindParam checks the name.
func (n *RoleName) BindParam(text string) error {
	*n = RoleName(text)
	if !roleName.MatchString(text) {
		return rpc.BadParam{Fault: rpc.Format, Why: "a service-linked role is named " + rolePrefix + "<1 to 38 letters and digits>"}
	}
	return nil
}

// defaultRoleName makes the role's name out of the service's:
// AliyunServiceRoleForKeysExampleCom for keys.example.com.
func defaultRoleName(service string) RoleName {
	out := rolePrefix
	for word := range strings.FieldsFuncSeq(service, func(r rune) bool { return r == '.' || r == '-' }) {
		out += strings.ToUpper(word[:1]) + word[1:]
	}
	return RoleName(out[:min(len(out), len(rolePrefix)+38)])
}

// productCode is the part of a default secret's name before the "!".
var productCode = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// maxCodes bounds the codes of one product.
const maxCodes = 32

// checkCodes checks the form of new codes. They can stand for no name that
// exists: an ordinary secret's name holds no "!".
func checkCodes(field string, codes []string) error {
	for i, code := range codes {
		switch {
		case !productCode.MatchString(code):
			return rpc.BadParam{Field: field, Fault: rpc.Format, Why: "a product code begins with a lower-case letter and consists of up to 32 such letters, digits and hyphens"}
		case code == "acs":
			return rpc.BadParam{Field: field, Fault: rpc.Value, Why: "the code acs is reserved"}
		case slices.Contains(codes[:i], code):
			return rpc.BadParam{Field: field, Fault: rpc.Value, Why: "a code is given twice"}
		}
	}
	return nil
}

// hostingModes checks a list of modes.
func hostingModes(list []string) ([]store.HostingMode, error) {
	var out []store.HostingMode
	for _, text := range list {
		m := store.HostingMode(text)
		if m != store.Free && m != store.Paid {
			return nil, rpc.BadParam{Field: "HostingModes", Fault: rpc.Value, Why: "the hosting modes are Free and Paid"}
		}
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out, nil
}

// maxQuota bounds quotas.
const maxQuota = 1_000_000

// Quota is an account's own quota of a product, or Default to go by the
// product's again.
type Quota struct {
	Default bool
	N       int
}

// BindParam reads a number from 0 to 1,000,000 or the word default.
func (q *Quota) BindParam(text string) error {
	if text == "default" {
		*q = Quota{Default: true}
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxQuota {
		return rpc.BadParam{Fault: rpc.Value, Why: "want a number from 0 to 1000000, or default"}
	}
	*q = Quota{N: n}
	return nil
}
