package policy

import (
	"errors"
	"math/big"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opensesame-kms/opensesame/internal/arn"
)

// principalARN is the one key whose values are compared as resource names and
// not as text: documents write acs:ram:*:…, principals are acs:ram::…, and
// role names have no case.
const principalARN = "acs:PrincipalARN"

// Strings.

type equalTest struct {
	values []string
	arns   bool
}

func equals(key string, values []string) (test, error) {
	t := equalTest{values: values, arns: key == principalARN}
	if t.arns {
		t.values = mapped(values, normalARN)
	}
	return t, nil
}

func (t equalTest) holds(v string) (fits, known bool) {
	if t.arns {
		v = normalARN(v)
	}
	return slices.Contains(t.values, v), true
}

type foldTest struct {
	values []string
	arns   bool
}

func equalsFold(key string, values []string) (test, error) {
	t := foldTest{values: values, arns: key == principalARN}
	if t.arns {
		t.values = mapped(values, normalARN)
	}
	return t, nil
}

func (t foldTest) holds(v string) (fits, known bool) {
	if t.arns {
		v = normalARN(v)
	}
	return slices.ContainsFunc(t.values, func(w string) bool { return strings.EqualFold(v, w) }), true
}

type likeTest struct{ patterns []pattern }

func like(key string, values []string) (test, error) {
	if key == principalARN {
		return arnLikeTest{mapped(values, newResourcePattern)}, nil
	}
	return likeTest{mapped(values, newPattern)}, nil
}

func (t likeTest) holds(v string) (fits, known bool) {
	return slices.ContainsFunc(t.patterns, func(p pattern) bool { return p.match(v) }), true
}

type arnLikeTest struct{ patterns []resourcePattern }

func (t arnLikeTest) holds(v string) (fits, known bool) {
	a, err := arn.Parse(v)
	if err != nil {
		return false, false
	}
	th := newThing(a)
	return slices.ContainsFunc(t.patterns, func(p resourcePattern) bool { return p.match(&th) }), true
}

// normalARN writes a resource name in the one form that equal names share;
// other text stays.
func normalARN(s string) string {
	a, err := arn.Parse(s)
	if err != nil {
		return s
	}
	t := newThing(a)
	return t.ARN.String()
}

func mapped[A, B any](in []A, f func(A) B) []B {
	out := make([]B, len(in))
	for i, v := range in {
		out[i] = f(v)
	}
	return out
}

// parsed compiles a policy's values by a parser that refuses what is not of
// the operator's type.
func parsed[T any](values []string, what string, parse func(string) (T, bool)) ([]T, error) {
	out := make([]T, len(values))
	for i, v := range values {
		var ok bool
		if out[i], ok = parse(v); !ok {
			return nil, errors.New("the condition value " + quote(v) + " is not " + what)
		}
	}
	return out, nil
}

// Numbers.

type numericTest struct {
	order  func(int) bool
	values []*big.Rat
}

func numeric(order func(int) bool) func(string, []string) (test, error) {
	return func(_ string, values []string) (test, error) {
		v, err := parsed(values, "a number", parseNumber)
		return numericTest{order, v}, err
	}
}

func (t numericTest) holds(v string) (fits, known bool) {
	n, ok := parseNumber(v)
	if !ok {
		return false, false
	}
	return slices.ContainsFunc(t.values, func(w *big.Rat) bool { return t.order(n.Cmp(w)) }), true
}

// Limits of numbers. They are compared exactly, as account ids have more digits
// than a float64 keeps; the limits bound the work that one number can cause.
const (
	maxNumberLength = 64
	maxExponent     = 99
)

// parseNumber reads a decimal number in the syntax of JSON, with leading
// zeros and a plus sign let through.
func parseNumber(s string) (*big.Rat, bool) {
	if len(s) > maxNumberLength {
		return nil, false
	}
	mantissa, exponent, hasExponent := strings.Cut(strings.ToLower(s), "e")
	if hasExponent {
		if e, err := strconv.Atoi(exponent); err != nil || e > maxExponent || e < -maxExponent {
			return nil, false
		}
	}
	digits := strings.TrimLeft(mantissa, "+-")
	whole, fraction, hasPoint := strings.Cut(digits, ".")
	if len(mantissa)-len(digits) > 1 || !isAccount(whole) || hasPoint && !isAccount(fraction) {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

// Dates.

type dateTest struct {
	order  func(int) bool
	values []time.Time
}

func date(order func(int) bool) func(string, []string) (test, error) {
	return func(_ string, values []string) (test, error) {
		v, err := parsed(values, "a date such as 2026-01-02T03:04:05Z or 2026-01-02T11:04:05+08:00", parseDate)
		return dateTest{order, v}, err
	}
}

func (t dateTest) holds(v string) (fits, known bool) {
	d, ok := parseDate(v)
	if !ok {
		return false, false
	}
	return slices.ContainsFunc(t.values, func(w time.Time) bool { return t.order(d.Compare(w)) }), true
}

// dateForms are the spellings of ISO 8601 that name an instant: with seconds
// (fractions of them are read too) or without, with Z or an offset.
var dateForms = []string{
	"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04Z07:00", "2006-01-02T15:04Z0700",
}

func parseDate(s string) (time.Time, bool) {
	for _, form := range dateForms {
		if t, err := time.Parse(form, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// Booleans.

type boolTest struct{ yes, no bool }

func boolean(_ string, values []string) (test, error) {
	v, err := parsed(values, `"true" or "false"`, parseBool)
	return boolTest{slices.Contains(v, true), slices.Contains(v, false)}, err
}

func (t boolTest) holds(v string) (fits, known bool) {
	b, ok := parseBool(v)
	return ok && (b && t.yes || !b && t.no), ok
}

func parseBool(s string) (value, ok bool) { return s == "true", s == "true" || s == "false" }

// Addresses.

type ipTest struct{ values []netip.Prefix }

func ipAddress(_ string, values []string) (test, error) {
	v, err := parsed(values, "an IP address or a CIDR block", parseBlock)
	return ipTest{v}, err
}

func (t ipTest) holds(v string) (fits, known bool) {
	a, err := netip.ParseAddr(v)
	if err != nil {
		return false, false
	}
	// An IPv4 caller on a dual-stack socket is still an IPv4 caller.
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(t.values, func(p netip.Prefix) bool { return p.Contains(a) }), true
}

// parseBlock reads an address, which is a block of one, or a CIDR block. Bits
// beyond the mask are dropped: 10.1.2.3/8 is 10.0.0.0/8.
func parseBlock(s string) (netip.Prefix, bool) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, false
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	if a := p.Addr(); a.Is4In6() {
		// ::ffff:0:0/96 and longer are IPv4 blocks; shorter ones hold other
		// addresses too and stay as they are.
		if p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
	}
	return p.Masked(), true
}
