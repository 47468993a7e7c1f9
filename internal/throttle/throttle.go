// Package throttle limits how often requests are served: per account and class
// of operation for callers that are known, per address for those that are not.
// It keeps one account's storm from slowing another's, and a stranger from
// making the server compute signatures all day.
//
// It trusts its caller to know the account: it is asked after the signature
// was verified. It has no clock of its own.
package throttle

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opensesame-kms/opensesame/internal/apierr"
)

// Class is the rate class that an operation is charged to.
type Class string

// The rate classes of the shared gateway.
const (
	// SecretRead is reading a secret's value and asking about one.
	SecretRead Class = "secret-read"
	// SecretList is listings and metadata of secrets, seldom needed.
	SecretList Class = "secret-list"
	// SecretWrite is changes of a secret other than making and deleting it.
	SecretWrite Class = "secret-write"
	// SecretLife is making and deleting secrets.
	SecretLife Class = "secret-create-delete"
	// RAM, STS and ResourceManager are all operations of these products.
	RAM             Class = "ram"
	STS             Class = "sts"
	ResourceManager Class = "resourcemanager"
	// Operator is the operator's operations, which are not limited.
	Operator Class = "operator"
)

// Limits are requests per second, by class. A class that is absent or 0 is not
// limited.
type Limits map[Class]float64

// Documented are the limits of the shared gateway as Alibaba Cloud documents
// them for one account in one region; those of changes to secrets, of RAM, STS
// and ResourceManager are not documented and chosen here.
func Documented() Limits {
	return Limits{
		SecretRead: 450, SecretList: 40, SecretWrite: 50, SecretLife: 10,
		RAM: 100, STS: 100, ResourceManager: 100,
	}
}

// Classes returns the classes that can be limited, in a fixed order.
func Classes() []Class {
	return []Class{SecretRead, SecretList, SecretWrite, SecretLife, RAM, STS, ResourceManager}
}

// MaxRate is the highest limit that can be set, in requests per second: more
// than any server answers.
const MaxRate = 1_000_000

// CheckRate returns an error that says what a limit looks like.
func CheckRate(perSecond float64) error {
	if math.IsNaN(perSecond) || perSecond < 0 || perSecond > MaxRate || perSecond > 0 && perSecond < MinRate {
		return fmt.Errorf("a limit is a number of requests per second from %g to %d, or 0 for none", MinRate, MaxRate)
	}
	return nil
}

// MinRate is the lowest limit that is not 0: one request in about 17 minutes.
const MinRate = 0.001

// Config of a Limiter. The zero value limits nothing.
type Config struct {
	// Limits hold for every account that has none of its own.
	Limits Limits
	// Strangers is how many requests a second one address may send that are
	// refused before their caller is known; beyond it no request of the address
	// is looked at. 0: not limited.
	Strangers float64
}

// Limiter limits. Make it with New. All methods are safe for concurrent use,
// and no lock is held on the way of a known account: the buckets of the
// accounts that were seen stay, which is some hundred bytes each.
type Limiter struct {
	cfg     Config
	buckets sync.Map // bucketKey -> *bucket
	held    atomic.Int64

	mu        sync.Mutex // of the strangers, who can slow nobody but each other
	strangers map[netip.Prefix]*bucket
}

type bucketKey struct {
	account string
	class   Class
}

// New returns a limiter.
func New(cfg Config) *Limiter {
	return &Limiter{cfg: cfg, strangers: map[netip.Prefix]*bucket{}}
}

// Limit is what holds for an account in a class, in requests per second; 0 for
// none. own are the account's own limits by the name of the class, nil for
// none; there, too, 0 means that the account is not limited.
func (l *Limiter) Limit(class Class, own map[string]float64) float64 {
	if perSecond, ok := own[string(class)]; ok {
		return perSecond
	}
	return l.cfg.Limits[class]
}

// Allow charges a request of the account to the class; own as for Limit. It
// returns nil or Rejected.Throttling, which costs nothing. An empty account is
// not limited.
func (l *Limiter) Allow(now time.Time, account string, class Class, own map[string]float64) error {
	perSecond := l.Limit(class, own)
	if perSecond <= 0 || account == "" {
		return nil
	}
	wait := l.bucket(bucketKey{account, class}, perSecond).take(now)
	if wait == 0 {
		return nil
	}
	e := *apierr.Throttled
	e.RateLimit = fmt.Sprintf("Limit:%d,Remain:0,TimeLeft:%d", int64(math.Ceil(perSecond)), (wait+time.Millisecond-1)/time.Millisecond)
	e.RetryAfterMS = max(e.RetryAfterMS, int(wait/time.Millisecond)) // longer only where a limit is below one a second
	return &e
}

// bucket returns the bucket of the key. One whose limit was changed begins
// full; of two requests that find the change at once the later one's bucket
// stays, which costs a second's worth at the most.
func (l *Limiter) bucket(key bucketKey, perSecond float64) *bucket {
	if b, ok := l.buckets.Load(key); ok && b.(*bucket).perSecond == perSecond {
		return b.(*bucket)
	}
	b := newBucket(perSecond)
	l.buckets.Store(key, b)
	return b
}

// How long a refusal is held back, and how many may be held at once.
const (
	holdFor = 20 * time.Millisecond
	maxHeld = 4096
)

// Hold holds the answer to a refused request back for a moment, or until ctx
// ends. A client that sends the next request when it has the answer to the last
// would otherwise take as much of the processor with refusals as with answers,
// and slow everybody else; one that backs off does not notice. When very many
// are held already, it returns at once.
func (l *Limiter) Hold(ctx context.Context) {
	if l.held.Add(1) <= maxHeld {
		t := time.NewTimer(holdFor)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	l.held.Add(-1)
}

// maxStrangers bounds the table of addresses. A full table is forgotten whole:
// that gives each address one more second's worth.
const maxStrangers = 1 << 16

// Stranger tells whether a request from the address may be looked at: nil or
// Rejected.Throttling. An invalid address is not limited.
func (l *Limiter) Stranger(now time.Time, addr netip.Addr) error {
	if l.cfg.Strangers <= 0 || !addr.IsValid() {
		return nil
	}
	l.mu.Lock()
	b := l.strangers[network(addr)]
	l.mu.Unlock()
	if b != nil && b.wait(now) > 0 {
		return apierr.Throttled
	}
	return nil
}

// Refused charges a request that was refused before its caller was known to
// the address that it came from.
func (l *Limiter) Refused(now time.Time, addr netip.Addr) {
	if l.cfg.Strangers <= 0 || !addr.IsValid() {
		return
	}
	l.stranger(network(addr)).take(now)
}

func (l *Limiter) stranger(key netip.Prefix) *bucket {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.strangers[key]
	if b == nil {
		if len(l.strangers) >= maxStrangers {
			clear(l.strangers)
		}
		b = newBucket(l.cfg.Strangers)
		l.strangers[key] = b
	}
	return b
}

// network is what one stranger holds: an IPv4 address, or an IPv6 /64, within
// which addresses cost nothing.
func network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // the bits fit the address
	return p
}

// bucket is a token bucket that holds one second's worth, and one token at
// least. It is kept as the one time at which it will be full again (the generic
// cell rate algorithm), so that taking a token is one compare-and-swap.
type bucket struct {
	perSecond float64
	cost      int64        // of a token, in nanoseconds
	size      int64        // what it holds, in nanoseconds
	full      atomic.Int64 // when it is full again, Unix nanoseconds
}

func newBucket(perSecond float64) *bucket {
	cost := int64(float64(time.Second) / perSecond)
	return &bucket{perSecond: perSecond, cost: cost, size: max(int64(time.Second), cost)}
}

// take takes a token and returns 0, or how long it is until there is one.
func (b *bucket) take(now time.Time) time.Duration {
	t := now.UnixNano()
	for {
		full := b.full.Load()
		after := b.start(full, t) + b.cost
		if wait := after - t - b.size; wait > 0 {
			return time.Duration(wait)
		}
		if b.full.CompareAndSwap(full, after) {
			return 0
		}
	}
}

// wait is how long it is until there is a token; 0 if there is one.
func (b *bucket) wait(now time.Time) time.Duration {
	t := now.UnixNano()
	return time.Duration(max(0, b.start(b.full.Load(), t)+b.cost-t-b.size))
}

// start is full, or t if the bucket is full at t. A bucket never lacks more
// than its size: if it seems to, the clock was set back, and it begins anew.
func (b *bucket) start(full, t int64) int64 {
	if full < t || full-t > b.size {
		return t
	}
	return full
}
