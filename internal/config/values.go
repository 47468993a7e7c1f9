package config

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// Size is a number of bytes, written with a unit: 64MiB, or plain.
type Size int64

var units = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}

// parse reads a size from text.
func (s *Size) parse(text string) error {
	number, factor := text, int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(text, u.name); ok {
			number, factor = strings.TrimSpace(n), u.bytes
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return fmt.Errorf("%q is no size such as 64MiB", text)
	}
	*s = Size(n * factor)
	return nil
}

// maxRate and minRate bound a rate that is not 0.
const (
	minRate = 0.001
	maxRate = 1_000_000
)

// Rate is a limit in requests per second that may be left out. 0 is no limit,
// which is not the same as left out.
type Rate struct {
	set       bool
	perSecond float64
}

// NewRate returns a rate that is set.
func NewRate(perSecond float64) Rate { return Rate{true, perSecond} }

// Or returns the rate in requests per second, or the default if it is not set.
func (r Rate) Or(perSecond float64) float64 {
	if r.set {
		return r.perSecond
	}
	return perSecond
}

// parse reads a rate from text.
func (r *Rate) parse(text string) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n == 0 || n >= minRate && n <= maxRate) {
		return fmt.Errorf("%q is no number of requests per second from %g to %d, or 0 for no limit", text, minRate, maxRate)
	}
	*r = NewRate(n)
	return nil
}

// Each calls fn with every limit and its key, which is the name of the rate
// class.
func (l SharedLimits) Each(fn func(class string, r Rate)) {
	v := reflect.ValueOf(l)
	for i := range v.NumField() {
		fn(v.Type().Field(i).Tag.Get("yaml"), v.Field(i).Interface().(Rate))
	}
}
