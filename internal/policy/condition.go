package policy

import (
	"strings"
)

// Env knows the condition keys of one request ("acs:SourceIp",
// "acs:RequestTag/team"). Keys are case-sensitive.
type Env interface {
	// Values returns what the request has for key; ok is false if it has
	// nothing. Several values are as one that fits if any of them does.
	Values(key string) (values []string, ok bool)
}

// MapEnv is an Env held in a map.
type MapEnv map[string][]string

// Values implements Env.
func (m MapEnv) Values(key string) ([]string, bool) {
	v, ok := m[key]
	return v, ok
}

// condition is one key under one operator of a Condition element.
type condition struct {
	operator string
	key      string
	negated  bool
	test     test
}

// test compares one value of a request with the values of a policy.
type test interface {
	// holds reports whether v fits any of the policy's values. known is
	// false if v is not of the operator's type.
	holds(v string) (fits, known bool)
}

// met reports whether the condition holds in env for a statement of the given
// effect. Several values of a policy are alternatives; under a negated
// operator none of them may fit. A key that the request lacks, or has with a
// value that is not of the operator's type, never meets a positive operator; a
// negated one it meets in a Deny only. So it counts against access both times,
// and "deny unless from this network" also denies who comes from nobody knows
// where.
func (c *condition) met(env Env, deny bool) bool {
	fits, known := false, false
	if env != nil {
		values, ok := env.Values(c.key)
		known = ok && len(values) > 0
		for _, v := range values {
			f, k := c.test.holds(v)
			fits = fits || f
			known = known && k
		}
	}
	switch {
	case !c.negated:
		return fits
	case !known:
		return deny
	}
	return !fits
}

// perItem reports whether the key's value belongs to the thing asked about
// and not to the request.
func (c *condition) perItem() bool {
	return strings.HasPrefix(c.key, "acs:ResourceTag/") || strings.HasPrefix(c.key, "kms:tag/")
}

// operator makes the test of one operator for a key and a policy's values. The
// error is the end of a sentence that begins with the offending value.
type operator struct {
	negated bool
	compile func(key string, values []string) (test, error)
}

// operators is the whole list. IfExists forms, Null, ForAnyValue and
// ForAllValues are not part of the language and are refused when a document is
// stored: an operator that is accepted and not understood would be a hole.
var operators = map[string]operator{
	"StringEquals":              {false, equals},
	"StringNotEquals":           {true, equals},
	"StringEqualsIgnoreCase":    {false, equalsFold},
	"StringNotEqualsIgnoreCase": {true, equalsFold},
	"StringLike":                {false, like},
	"StringNotLike":             {true, like},

	"NumericEquals":            {false, numeric(func(c int) bool { return c == 0 })},
	"NumericNotEquals":         {true, numeric(func(c int) bool { return c == 0 })},
	"NumericLessThan":          {false, numeric(func(c int) bool { return c < 0 })},
	"NumericLessThanEquals":    {false, numeric(func(c int) bool { return c <= 0 })},
	"NumericGreaterThan":       {false, numeric(func(c int) bool { return c > 0 })},
	"NumericGreaterThanEquals": {false, numeric(func(c int) bool { return c >= 0 })},

	"DateEquals":            {false, date(func(c int) bool { return c == 0 })},
	"DateNotEquals":         {true, date(func(c int) bool { return c == 0 })},
	"DateLessThan":          {false, date(func(c int) bool { return c < 0 })},
	"DateLessThanEquals":    {false, date(func(c int) bool { return c <= 0 })},
	"DateGreaterThan":       {false, date(func(c int) bool { return c > 0 })},
	"DateGreaterThanEquals": {false, date(func(c int) bool { return c >= 0 })},

	"Bool":         {false, boolean},
	"IpAddress":    {false, ipAddress},
	"NotIpAddress": {true, ipAddress},
}
