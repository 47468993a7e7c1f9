package sts

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/rpc"
)

const (
	digits       = "0123456789"
	alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" + digits
)

// RoleARN names a role: acs:ram::<account>:role/<role name>. The case of the
// role name does not matter.
type RoleARN struct{ Account, Name string }

// BindParam implements rpc.Binder.
func (r *RoleARN) BindParam(text string) error {
	bad := rpc.BadParam{Fault: rpc.Format, Why: "want acs:ram::<account>:role/<role name>"}
	a, err := arn.Parse(text)
	if err != nil || a.Service != "ram" || a.Region != "" || a.Type() != "role" {
		return bad
	}
	if a.Account == "" || len(a.Account) > 20 || !only(a.Account, digits) {
		return bad
	}
	if name := a.Name(); name == "" || len(name) > 64 || !only(name, alphanumeric+".-") {
		return bad
	}
	*r = RoleARN{Account: a.Account, Name: a.Name()}
	return nil
}

// SessionName names a role session: 2 to 64 letters, digits and characters of
// ".@-_". Names need not be unique.
type SessionName string

// BindParam implements rpc.Binder.
func (n *SessionName) BindParam(text string) error { return bindText(n, text, 2, 64, ".@-_") }

// ExternalID is what a third party gives to prove on whose behalf it asks: 2 to
// 1,224 letters, digits and characters of "_+=,.@:/-".
type ExternalID string

// BindParam implements rpc.Binder.
func (id *ExternalID) BindParam(text string) error { return bindText(id, text, 2, 1224, "_+=,.@:/-") }

// SourceIdentity says who is behind a session: 2 to 64 letters, digits and
// characters of "=,.@-_+".
type SourceIdentity string

// BindParam implements rpc.Binder.
func (i *SourceIdentity) BindParam(text string) error { return bindText(i, text, 2, 64, "=,.@-_+") }

// bindText binds a text of least to most letters, digits and characters of more.
func bindText[T ~string](dst *T, text string, least, most int, more string) error {
	if n := utf8.RuneCountInString(text); n < least || n > most {
		return rpc.BadParam{Fault: rpc.Length, Why: fmt.Sprintf("it must have %d to %d characters", least, most)}
	}
	if !only(text, alphanumeric+more) {
		return rpc.BadParam{Fault: rpc.Chars, Why: "letters, digits and the characters " + more + " are allowed"}
	}
	*dst = T(text)
	return nil
}

// only reports whether text is made of the given characters.
func only(text, chars string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune(chars, r) })
}

// Bounds of a session's duration in seconds. The upper one is the least that a
// role can be set to, the limit of role chaining, and the default.
const (
	minDuration = 900
	oneHour     = 3600
)

// Duration is how long a session shall last, in seconds: at least 900. What is
// the most depends on the role.
type Duration int

// BindParam implements rpc.Binder.
func (d *Duration) BindParam(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < minDuration {
		return badDuration(oneHour)
	}
	*d = Duration(n)
	return nil
}

// badDuration is the refusal of a duration, with the bounds in force.
func badDuration(most int) error {
	limit := strconv.Itoa(most/oneHour) + "hr"
	if most%oneHour != 0 {
		limit = (time.Duration(most) * time.Second).String()
	}
	return apierr.SessionDuration.Msg("The Min/Max value of DurationSeconds is 15min/%s.", limit)
}
