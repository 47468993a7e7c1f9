package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/clock"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// burst takes until it is refused, and returns how many were let in.
func burst(l *throttle.Limiter, now time.Time, account string, class throttle.Class, own map[string]float64) int {
	for n := range 10_000 {
		if l.Allow(now, account, class, own) != nil {
			return n
		}
	}
	return -1 // not limited
}

// TestBucket: one second's worth at once, and then the rate.
func TestBucket(t *testing.T) {
	c := clock.NewManual(epoch)
	l := throttle.New(throttle.Config{Limits: throttle.Documented()})
	take := func(want int) {
		t.Helper()
		if got := burst(l, c.Now(), "1", throttle.SecretList, nil); got != want {
			t.Errorf("%v: %d requests were let in, want %d", c.Now().Sub(epoch), got, want)
		}
	}
	take(40)
	take(0)
	c.Advance(24 * time.Millisecond)
	take(0)
	c.Advance(time.Millisecond) // a fortieth of a second
	take(1)
	c.Advance(500 * time.Millisecond)
	take(20)
	c.Advance(time.Hour)
	take(40)
	c.Set(epoch) // the clock was set back by an hour
	take(40)
	c.Advance(100 * time.Millisecond)
	take(4)
}

// TestSteady: over a long time exactly the rate passes, however it is asked.
func TestSteady(t *testing.T) {
	for _, rate := range []float64{0.5, 1, 7, 450, 1000} {
		l := throttle.New(throttle.Config{Limits: throttle.Limits{throttle.RAM: rate}})
		const seconds = 20
		in := 0
		for ms := range seconds * 1000 {
			for range 3 {
				if l.Allow(epoch.Add(time.Duration(ms)*time.Millisecond), "1", throttle.RAM, nil) == nil {
					in++
				}
			}
		}
		low, high := int(rate*seconds), int(rate*(seconds+1))+1
		if in < low || in > high {
			t.Errorf("at %v a second %d passed in %d s, want %d to %d", rate, in, seconds, low, high)
		}
	}
}

// TestWhose: buckets are per account and class, an account's own limit stands
// before the server's, and 0 is none.
func TestWhose(t *testing.T) {
	l := throttle.New(throttle.Config{Limits: throttle.Documented()})
	own := map[string]float64{"secret-read": 3, "ram": 0}
	for _, tt := range []struct {
		account string
		class   throttle.Class
		own     map[string]float64
		want    int
	}{
		{"1", throttle.SecretRead, nil, 450},
		{"1", throttle.SecretRead, nil, 0},
		{"1", throttle.SecretLife, nil, 10},
		{"2", throttle.SecretRead, nil, 450},
		{"", throttle.SecretRead, nil, -1},
		{"3", throttle.SecretRead, own, 3},
		{"3", throttle.SecretWrite, own, 50},
		{"3", throttle.RAM, own, -1},
		{"1", throttle.Operator, nil, -1},
		// A limit that is changed holds at once.
		{"1", throttle.SecretRead, own, 3},
		{"1", throttle.SecretRead, nil, 450},
	} {
		if got := burst(l, epoch, tt.account, tt.class, tt.own); got != tt.want {
			t.Errorf("account %q, %s, own %v: %d let in, want %d", tt.account, tt.class, tt.own, got, tt.want)
		}
	}
	if got := burst(throttle.New(throttle.Config{}), epoch, "1", throttle.SecretRead, nil); got != -1 {
		t.Errorf("without limits %d were let in", got)
	}
	for _, class := range throttle.Classes() {
		if l.Limit(class, nil) <= 0 {
			t.Errorf("%s has no documented limit", class)
		}
	}
}

// TestRefusal: what a refused caller is told.
func TestRefusal(t *testing.T) {
	for _, tt := range []struct {
		rate    float64
		header  string
		retryMS int
	}{
		{450, "Limit:450,Remain:0,TimeLeft:3", 1000},
		{1, "Limit:1,Remain:0,TimeLeft:1000", 1000},
		{0.1, "Limit:1,Remain:0,TimeLeft:10000", 10_000},
	} {
		l := throttle.New(throttle.Config{Limits: throttle.Limits{throttle.STS: tt.rate}})
		burst(l, epoch, "1", throttle.STS, nil)
		err := l.Allow(epoch, "1", throttle.STS, nil)
		if !errors.Is(err, apierr.Throttled) {
			t.Fatalf("refused with %v", err)
		}
		e := apierr.As(err)
		if e.Status != 429 || e.RateLimit != tt.header || e.RetryAfterMS != tt.retryMS {
			t.Errorf("at %v: status %d, %q, retry after %d ms", tt.rate, e.Status, e.RateLimit, e.RetryAfterMS)
		}
		if !regexp.MustCompile(`^Limit:\d+,Remain:\d+,TimeLeft:\d+$`).MatchString(e.RateLimit) {
			t.Errorf("clients cannot read %q", e.RateLimit)
		}
		if err := l.Allow(epoch.Add(time.Duration(e.RetryAfterMS)*time.Millisecond), "1", throttle.STS, nil); err != nil {
			t.Errorf("at %v: refused after the time that was told", tt.rate)
		}
	}
	if apierr.Throttled.RateLimit != "" || apierr.Throttled.RetryAfterMS != 1000 {
		t.Error("a refusal changed the catalogue")
	}
}

// TestStrangers: only refused requests count, per address, per /64 in IPv6.
func TestStrangers(t *testing.T) {
	c := clock.NewManual(epoch)
	l := throttle.New(throttle.Config{Strangers: 5})
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for range 100 {
		if err := l.Stranger(c.Now(), a); err != nil {
			t.Fatal("requests that nobody refused are limited")
		}
	}
	for range 5 {
		if err := l.Stranger(c.Now(), a); err != nil {
			t.Fatal("refused too early")
		}
		l.Refused(c.Now(), a)
	}
	if !errors.Is(l.Stranger(c.Now(), a), apierr.Throttled) {
		t.Error("an address may send more than its limit")
	}
	if l.Stranger(c.Now(), netip.MustParseAddr("::ffff:192.0.2.1")) == nil {
		t.Error("the same address in its other form is another")
	}
	if l.Stranger(c.Now(), b) != nil || l.Stranger(c.Now(), netip.Addr{}) != nil {
		t.Error("another address is limited too")
	}
	c.Advance(200 * time.Millisecond)
	if l.Stranger(c.Now(), a) != nil {
		t.Error("refused a fifth of a second later")
	}
	for range 5 {
		l.Refused(c.Now(), netip.MustParseAddr("2001:db8::1"))
	}
	if l.Stranger(c.Now(), netip.MustParseAddr("2001:db8::ffff:2")) == nil {
		t.Error("a neighbour within the /64 is not limited")
	}
	if l.Stranger(c.Now(), netip.MustParseAddr("2001:db8:0:1::1")) != nil {
		t.Error("a neighbour outside the /64 is limited")
	}
}

// TestManyStrangers: the table of addresses is bounded, and the limit holds on
// within it.
func TestManyStrangers(t *testing.T) {
	l := throttle.New(throttle.Config{Strangers: 1})
	for i := range 1<<16 + 10 {
		l.Refused(epoch, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if l.Stranger(epoch, netip.AddrFrom4([4]byte{10, 0, 0, 1})) != nil {
		t.Error("the table was not forgotten when it was full")
	}
	if l.Stranger(epoch, netip.AddrFrom4([4]byte{10, 1, 0, 5})) == nil {
		t.Error("the last addresses are not limited")
	}
}

// TestRace: of many requests at once exactly one second's worth is let in.
func TestRace(t *testing.T) {
	l := throttle.New(throttle.Config{Limits: throttle.Documented()})
	l.Allow(epoch, "1", throttle.SecretRead, nil) //nolint:errcheck // makes the bucket
	var in atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if l.Allow(epoch, "1", throttle.SecretRead, nil) == nil {
					in.Add(1)
				}
				l.Refused(epoch, netip.AddrFrom4([4]byte{10, 0, 0, 1}))
			}
		})
	}
	wg.Wait()
	if in.Load() != 449 {
		t.Errorf("%d requests were let in after the first, want 449", in.Load())
	}
}

// TestCheckRate: what can be set as a limit.
func TestCheckRate(t *testing.T) {
	zero := 0.0
	for rate, ok := range map[float64]bool{0: true, 0.001: true, 1: true, 1e6: true, -1: false, 1e-9: false, 1e7: false, 1 / zero: false} {
		if err := throttle.CheckRate(rate); (err == nil) != ok {
			t.Errorf("%v: %v", rate, err)
		}
	}
	if throttle.CheckRate(zero/zero) == nil {
		t.Error("NaN is taken for a limit")
	}
}

func BenchmarkAllow(b *testing.B) {
	for _, accounts := range []int{1, 1000} {
		b.Run(fmt.Sprintf("accounts=%d", accounts), func(b *testing.B) {
			l := throttle.New(throttle.Config{Limits: throttle.Limits{throttle.SecretRead: throttle.MaxRate}})
			ids := make([]string, accounts)
			for i := range ids {
				ids[i] = fmt.Sprintf("%016d", i+1)
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					_ = l.Allow(time.Now(), ids[i%accounts], throttle.SecretRead, nil)
				}
			})
		})
	}
}

// TestHold: a refusal is held back, but not when its caller is gone, and not
// without bound.
func TestHold(t *testing.T) {
	l := throttle.New(throttle.Config{})
	began := time.Now()
	l.Hold(t.Context())
	if took := time.Since(began); took < 10*time.Millisecond {
		t.Errorf("held for %v only", took)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	l.Hold(gone)
	var wg sync.WaitGroup
	for range 10_000 {
		wg.Go(func() { l.Hold(t.Context()) })
	}
	wg.Wait()
}
