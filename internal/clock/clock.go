// Package clock is the source of wall time. Everything that decides by time
// takes a Clock, so that tests can set it; nothing but this package asks the
// operating system.
package clock

import (
	"sync/atomic"
	"time"
)

// Clock tells the time. Implementations are safe for concurrent use.
type Clock interface {
	// Now returns the current time. The real clock's value carries a
	// monotonic reading.
	Now() time.Time
}

// Real is the operating system's clock.
type Real struct{}

// Now returns time.Now().
func (Real) Now() time.Time { return time.Now() }

// Manual is a clock that stands still until it is moved. Tests use it to put
// the server at the date of a test vector or past a deadline.
type Manual struct{ ns atomic.Int64 }

// NewManual returns a clock that stands at t.
func NewManual(t time.Time) *Manual {
	m := &Manual{}
	m.Set(t)
	return m
}

// Now returns the time that was set last, in UTC.
func (m *Manual) Now() time.Time { return time.Unix(0, m.ns.Load()).UTC() }

// Set moves the clock to t, forwards or backwards.
func (m *Manual) Set(t time.Time) { m.ns.Store(t.UnixNano()) }

// Advance moves the clock forward by d.
func (m *Manual) Advance(d time.Duration) { m.ns.Add(int64(d)) }
