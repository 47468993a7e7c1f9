package ram

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

const (
	letters      = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits       = "0123456789"
	alphanumeric = letters + digits
)

// UserName names a RAM user: 1 to 64 letters, digits and characters of "._-".
// Case matters.
type UserName string

// BindParam implements rpc.Binder.
func (n *UserName) BindParam(text string) error { return bindName(n, text, 64, "._-") }

// RoleName names a role: 1 to 64 letters, digits and characters of ".-". Roles
// of one account differ in more than case.
type RoleName string

// BindParam implements rpc.Binder.
func (n *RoleName) BindParam(text string) error { return bindName(n, text, 64, ".-") }

// PolicyName names a policy: 1 to 128 letters, digits and hyphens.
type PolicyName string

// BindParam implements rpc.Binder.
func (n *PolicyName) BindParam(text string) error { return bindName(n, text, 128, "-") }

func bindName[T ~string](dst *T, text string, most int, more string) error {
	if utf8.RuneCountInString(text) > most {
		return rpc.BadParam{Fault: rpc.Length, Why: fmt.Sprintf("it is longer than %d characters", most)}
	}
	if !only(text, more) {
		return rpc.BadParam{Fault: rpc.Chars, Why: fmt.Sprintf("letters, digits and the characters %s are allowed", more)}
	}
	*dst = T(text)
	return nil
}

// only reports whether text is made of letters and digits of ASCII and the
// characters of more.
func only(text, more string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return !strings.ContainsRune(alphanumeric, r) && !strings.ContainsRune(more, r)
	})
}

// PolicyType is System or Custom.
type PolicyType string

// BindParam implements rpc.Binder.
func (p *PolicyType) BindParam(text string) error {
	if text != store.PolicySystem && text != store.PolicyCustom {
		return rpc.BadParam{Fault: rpc.Value, Why: "it must be System or Custom"}
	}
	*p = PolicyType(text)
	return nil
}

// DisplayName is a user's name for people: at most 128 characters, in any
// script, on one line.
type DisplayName string

// BindParam implements rpc.Binder.
func (n *DisplayName) BindParam(text string) error {
	if utf8.RuneCountInString(text) > 128 {
		return rpc.BadParam{Fault: rpc.Length, Why: "it is longer than 128 characters"}
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return rpc.BadParam{Fault: rpc.Chars, Why: "control characters are not allowed"}
	}
	*n = DisplayName(text)
	return nil
}

// MobilePhone is a number with its country code, for example 86-18600008888.
type MobilePhone string

// BindParam implements rpc.Binder.
func (p *MobilePhone) BindParam(text string) error {
	country, number, ok := strings.Cut(text, "-")
	if !ok || !isNumber(country, 1, 4) || !isNumber(number, 4, 20) {
		return rpc.BadParam{Fault: rpc.Format, Why: "want <country code>-<number>, digits only"}
	}
	*p = MobilePhone(text)
	return nil
}

func isNumber(s string, least, most int) bool {
	return len(s) >= least && len(s) <= most && strings.Trim(s, digits) == ""
}

// Email is an address of the form local@domain, at most 254 bytes: what a mail
// server accepts at all. More cannot be known without sending a mail.
type Email string

// BindParam implements rpc.Binder.
func (e *Email) BindParam(text string) error {
	local, domain, _ := strings.Cut(text, "@")
	odd := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '@' }
	if local == "" || domain == "" || len(text) > 254 || strings.ContainsFunc(local+domain, odd) {
		return rpc.BadParam{Fault: rpc.Format, Why: "want an address of the form local@domain"}
	}
	*e = Email(text)
	return nil
}

// Tag is a tag given at the making of a role or policy.
type Tag struct{ Key, Value string }

// newTags checks the tags of a new thing (at most 20, by the binder): keys of 1 to 128
// characters that differ, values of up to 128, neither with a URL in it, and no
// key that begins with the platform's own prefixes.
func newTags(list []Tag) ([]store.Tag, error) {
	out := make([]store.Tag, 0, len(list))
	for _, t := range list {
		switch {
		case !isTagKey(t.Key):
			return nil, apierr.InvalidTagKey
		case !isTagText(t.Value):
			return nil, apierr.InvalidTagValue
		case slices.ContainsFunc(out, func(o store.Tag) bool { return o.Key == t.Key }):
			return nil, apierr.DuplicateTagKey
		}
		out = append(out, store.Tag{Key: t.Key, Value: t.Value})
	}
	return out, nil
}

// requestTags are the tags of a request as conditions see them, before they are
// checked.
func requestTags(list []Tag) []store.Tag {
	out := make([]store.Tag, len(list))
	for i, t := range list {
		out[i] = store.Tag(t)
	}
	return out
}

func isTagKey(s string) bool {
	lower := strings.ToLower(s)
	return s != "" && isTagText(s) && !strings.HasPrefix(lower, "aliyun") && !strings.HasPrefix(lower, "acs:")
}

func isTagText(s string) bool {
	return utf8.RuneCountInString(s) <= 128 && !strings.ContainsFunc(s, unicode.IsControl) &&
		!strings.Contains(s, "http://") && !strings.Contains(s, "https://")
}

// CustomSuffix is the ending that some service-linked roles may have: at most
// 64 letters, digits and characters of ".-".
type CustomSuffix string

// BindParam implements rpc.Binder.
func (s *CustomSuffix) BindParam(text string) error {
	switch {
	case len(text) > 64:
		return apierr.SuffixLength
	case !only(text, ".-"):
		return apierr.SuffixChars
	}
	*s = CustomSuffix(text)
	return nil
}

// SLRDescription is the description of a service-linked role.
type SLRDescription string

// BindParam implements rpc.Binder.
func (d *SLRDescription) BindParam(text string) error {
	if utf8.RuneCountInString(text) > 1024 {
		return apierr.DescriptionLength
	}
	*d = SLRDescription(text)
	return nil
}
