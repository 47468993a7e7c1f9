package identity

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opensesame-kms/opensesame/internal/apierr"
)

// NonceConfig sets the size of a [Nonces].
type NonceConfig struct {
	// Capacity is how many nonces are kept at most, over all accounts; 0 means
	// DefaultNonceCapacity. A nonce lives 15 to 31 minutes and costs 11 to 21
	// bytes, so a million of them is about a thousand requests a second.
	Capacity int
	// AccountShare is how many of them one account may hold; 0 means half of
	// Capacity.
	AccountShare int
	// Seed keys the hashes; nil means random. Whoever knows it can make two
	// nonces that are taken for one.
	Seed *[16]byte
}

// DefaultNonceCapacity suffices for 17,000 requests a second, lasting, at
// 180 to 360 MB if it is ever filled.
const DefaultNonceCapacity = 1 << 24

// nonceShards spreads locks. Two requests meet on a lock once in 64 times, for
// well under a microsecond.
const nonceShards = 64

const windowMinutes = int64(Window / time.Minute)

// Nonces remembers which nonces were used, each until a request with its time
// can no longer be valid, so that no request is accepted twice. It keeps 64-bit
// keyed hashes in tables without pointers, one per shard and minute of request
// time; a table is dropped as a whole, which needs no work per nonce and gives
// the garbage collector nothing to follow.
//
// Nothing is evicted early: when an account's share or the whole is full, new
// requests are refused, because a forgotten nonce is a request that can be
// repeated. Two nonces of one hash (one in 2^64 per pair) are taken for one,
// and the later request is refused.
//
// A Nonces is safe for concurrent use and has no goroutine of its own: each
// call drops what has expired.
type Nonces struct {
	capacity, share int64
	k0, k1          uint64 // the seed

	live   atomic.Int64 // entries in all shards, reserved ones included
	oldest atomic.Int64 // the last sweep went up to this minute, exclusive

	shards   [nonceShards]nonceShard
	accounts [nonceShards]accountShard
}

// nonceShard holds the nonces whose hash falls to it.
type nonceShard struct {
	mu     sync.Mutex
	tables []nonceTable // one per minute of request time, in no order
	// droppedTo is the latest minute of which nonces were dropped. Should such
	// a minute be valid again, because the clock was set back or the caller
	// looked at it seconds ago, its requests are refused: nobody knows any
	// more which of them were used.
	droppedTo int64
	_         [64]byte // keeps neighbours off this lock's cache line
}

// nonceTable is a set of hashes by open addressing; 0 marks a free slot. The
// length of slots is a power of two and at most three quarters of it are full.
type nonceTable struct {
	minute int64
	slots  []uint64
	used   int
}

// accountShard counts the entries of the accounts that fall to it.
type accountShard struct {
	mu     sync.Mutex
	counts map[string]*accountCount
	oldest int64
	_      [64]byte
}

// accountCount is how many nonces an account holds, by minute and in all.
type accountCount struct {
	total   int64
	minutes []minuteCount
}

type minuteCount struct{ minute, n int64 }

// NewNonces returns an empty set.
func NewNonces(cfg NonceConfig) *Nonces {
	if cfg.Capacity <= 0 {
		cfg.Capacity = DefaultNonceCapacity
	}
	if cfg.AccountShare <= 0 {
		cfg.AccountShare = max(1, cfg.Capacity/2)
	}
	if cfg.Seed == nil {
		cfg.Seed = new([16]byte)
		_, _ = rand.Read(cfg.Seed[:]) // never fails, see crypto/rand
	}
	n := &Nonces{
		capacity: int64(cfg.Capacity), share: int64(cfg.AccountShare),
		k0: binary.LittleEndian.Uint64(cfg.Seed[:8]), k1: binary.LittleEndian.Uint64(cfg.Seed[8:]),
	}
	for i := range n.accounts {
		n.accounts[i].counts = map[string]*accountCount{}
	}
	return n
}

// NonceClaim is a nonce marked as used. It stays used unless released.
type NonceClaim struct {
	n       *Nonces
	hash    uint64
	minute  int64
	account string
	done    atomic.Bool
}

// Claim marks the nonce of a verified request as used. Of any number of
// concurrent claims of one nonce exactly one succeeds. reqTime is the
// request's own time, which CheckTime has accepted at now; account is whose
// share is charged.
//
// Errors are rows of the catalogue: SignatureNonceUsed if it was claimed
// before, Rejected.Throttling when the account's share or the whole set is
// full, InvalidTimeStamp.Expired for a time outside the window or one whose
// nonces are no longer known because the clock was set back, MissingParameter
// for an empty nonce (a request that may lack one must not be claimed at all).
func (n *Nonces) Claim(now, reqTime time.Time, account, accessKeyID, nonce string) (*NonceClaim, error) {
	if nonce == "" {
		return nil, missing("SignatureNonce")
	}
	if d := now.Sub(reqTime); d > Window || d < -Window {
		return nil, apierr.TimestampExpired
	}
	oldest := minuteOf(now) - windowMinutes
	n.sweep(oldest)

	c := &NonceClaim{n: n, hash: n.hash(accessKeyID, nonce), minute: minuteOf(reqTime), account: account}
	if !n.reserve(c, oldest) {
		return nil, apierr.Throttled
	}
	if err := n.shard(c.hash).claim(n, c.hash, c.minute, oldest); err != nil {
		n.unreserve(c)
		return nil, err
	}
	return c, nil
}

// Release makes the nonce usable again. It is for a request that ended with
// 429 or 5xx and changed nothing: some clients repeat such a request as it
// stands. A second call, and a call on nil, do nothing.
func (c *NonceClaim) Release() {
	if c == nil || c.done.Swap(true) {
		return
	}
	if c.n.shard(c.hash).remove(c.hash, c.minute) {
		c.n.unreserve(c)
	}
}

// Hash is the keyed hash by which the nonce is remembered; with the same seed
// another process can be given it by Restore.
func (c *NonceClaim) Hash() uint64 {
	if c == nil {
		return 0
	}
	return c.hash
}

// Restore marks a nonce as used that an earlier process claimed: hash and
// reqTime are that claim's. One whose request can no longer be valid at now is
// left out. Beyond the account's share it is remembered all the same: it was
// used.
func (n *Nonces) Restore(now, reqTime time.Time, account string, hash uint64) {
	oldest := minuteOf(now) - windowMinutes
	c := &NonceClaim{n: n, hash: hash, minute: minuteOf(reqTime), account: account}
	if hash == 0 || c.minute < oldest || now.Sub(reqTime) < -2*Window {
		return
	}
	reserved := n.reserve(c, oldest)
	if err := n.shard(hash).claim(n, hash, c.minute, oldest); err != nil && reserved {
		n.unreserve(c)
	}
}

// Len returns how many nonces are remembered, for metrics.
func (n *Nonces) Len() int { return int(n.live.Load()) }

// minuteOf numbers the minutes since 1970; earlier times do not occur.
func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

// due reports whether expiry up to oldest is work to be done, seen being the
// last that was. Callers whose clocks straddle a minute must not undo each
// other's mark; a clock that was really set back must.
func due(oldest, seen int64) bool { return oldest > seen || oldest < seen-1 }

func (n *Nonces) shard(hash uint64) *nonceShard { return &n.shards[hash>>(64-6)] }

// sweep drops everything that is older than the minute oldest, in all shards.
// Of the calls of one minute one does the work, some microseconds of it; the
// others need not wait, since each shard expires its own tables before use.
func (n *Nonces) sweep(oldest int64) {
	seen := n.oldest.Load()
	if !due(oldest, seen) || !n.oldest.CompareAndSwap(seen, oldest) {
		return
	}
	for i := range n.shards {
		s := &n.shards[i]
		s.mu.Lock()
		s.expire(n, oldest)
		s.mu.Unlock()
		a := &n.accounts[i]
		a.mu.Lock()
		a.expire(oldest)
		a.mu.Unlock()
	}
}

// reserve charges the account's share and the total, or reports that one of
// them is full.
func (n *Nonces) reserve(c *NonceClaim, oldest int64) bool {
	if n.live.Add(1) > n.capacity {
		n.live.Add(-1)
		return false
	}
	a := n.accountShard(c.account)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire(oldest)
	if a.add(c.account, c.minute, n.share) {
		return true
	}
	n.live.Add(-1)
	return false
}

// unreserve undoes reserve.
func (n *Nonces) unreserve(c *NonceClaim) {
	n.live.Add(-1)
	a := n.accountShard(c.account)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sub(c.account, c.minute)
}

func (n *Nonces) accountShard(account string) *accountShard {
	return &n.accounts[sipHash(n.k0, n.k1, []byte(account))>>(64-6)]
}

// hash is never 0, which marks a free slot. The length in front keeps
// ("ab", "c") and ("a", "bc") apart.
func (n *Nonces) hash(accessKeyID, nonce string) uint64 {
	var buf [256]byte
	b := binary.AppendUvarint(buf[:0], uint64(len(accessKeyID)))
	b = append(b, accessKeyID...)
	b = append(b, nonce...)
	return max(1, sipHash(n.k0, n.k1, b))
}

// claim adds the hash to its minute's table unless any table has it: a nonce
// stays used even if the request is signed again with another time.
func (s *nonceShard) claim(n *Nonces, hash uint64, minute, oldest int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(n, oldest)
	if minute <= s.droppedTo {
		return apierr.TimestampExpired.Msg(
			"%s The nonces of that time are no longer known; sign again with the current time.",
			apierr.TimestampExpired.Message)
	}
	home := -1
	for i := range s.tables {
		if s.tables[i].has(hash) {
			return apierr.NonceUsed
		}
		if s.tables[i].minute == minute {
			home = i
		}
	}
	if home < 0 {
		home = len(s.tables)
		s.tables = append(s.tables, nonceTable{minute: minute})
	}
	s.tables[home].add(hash)
	return nil
}

// remove takes the hash out of its minute's table and reports whether it was
// still there.
func (s *nonceShard) remove(hash uint64, minute int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.tables {
		if s.tables[i].minute == minute {
			return s.tables[i].remove(hash)
		}
	}
	return false
}

// expire drops the tables of the minutes before oldest. s.mu is held.
func (s *nonceShard) expire(n *Nonces, oldest int64) {
	for i := 0; i < len(s.tables); {
		t := &s.tables[i]
		if t.minute >= oldest {
			i++
			continue
		}
		if t.used > 0 {
			s.droppedTo = max(s.droppedTo, t.minute)
			n.live.Add(-int64(t.used))
		}
		last := len(s.tables) - 1
		s.tables[i] = s.tables[last]
		s.tables[last] = nonceTable{} // lets the slots go
		s.tables = s.tables[:last]
	}
}

// has reports whether the table holds hash.
func (t *nonceTable) has(hash uint64) bool {
	return t.used > 0 && t.slots[t.find(hash)] == hash
}

// find returns the slot of hash, or the free one where it would go.
func (t *nonceTable) find(hash uint64) int {
	mask := len(t.slots) - 1
	i := int(hash) & mask
	for t.slots[i] != 0 && t.slots[i] != hash {
		i = (i + 1) & mask
	}
	return i
}

// add puts in a hash that the table does not hold.
func (t *nonceTable) add(hash uint64) {
	if 4*(t.used+1) > 3*len(t.slots) {
		old := t.slots
		t.slots = make([]uint64, max(8, 2*len(old)))
		for _, h := range old {
			if h != 0 {
				t.slots[t.find(h)] = h
			}
		}
	}
	t.slots[t.find(hash)] = hash
	t.used++
}

// remove takes hash out and moves up what was displaced by it, so that no
// search stops too early at the freed slot. It reports whether hash was there.
func (t *nonceTable) remove(hash uint64) bool {
	if !t.has(hash) {
		return false
	}
	mask := len(t.slots) - 1
	free := t.find(hash)
	for i := (free + 1) & mask; t.slots[i] != 0; i = (i + 1) & mask {
		home := int(t.slots[i]) & mask
		// It may move to the free slot if that lies between its home and
		// where it stands.
		if (i-home)&mask >= (i-free)&mask {
			t.slots[free] = t.slots[i]
			free = i
		}
	}
	t.slots[free] = 0
	t.used--
	return true
}

// add counts one entry for the account unless that exceeds its share.
func (a *accountShard) add(account string, minute, share int64) bool {
	c := a.counts[account]
	if c == nil {
		c = &accountCount{}
		a.counts[account] = c
	}
	if c.total >= share {
		return false
	}
	c.total++
	for i := range c.minutes {
		if c.minutes[i].minute == minute {
			c.minutes[i].n++
			return true
		}
	}
	c.minutes = append(c.minutes, minuteCount{minute, 1})
	return true
}

// sub takes back one add; nothing is left to take back if the minute expired.
func (a *accountShard) sub(account string, minute int64) {
	c := a.counts[account]
	if c == nil {
		return
	}
	for i := range c.minutes {
		if c.minutes[i].minute == minute && c.minutes[i].n > 0 {
			c.minutes[i].n--
			c.total--
			return
		}
	}
}

// expire forgets the minutes before oldest, and accounts without entries.
// a.mu is held.
func (a *accountShard) expire(oldest int64) {
	if !due(oldest, a.oldest) {
		return
	}
	a.oldest = oldest
	for name, c := range a.counts {
		kept := c.minutes[:0]
		for _, m := range c.minutes {
			if m.minute >= oldest {
				kept = append(kept, m)
			} else {
				c.total -= m.n
			}
		}
		c.minutes = kept
		if c.total == 0 {
			delete(a.counts, name)
		}
	}
}

// sipHash is SipHash-2-4 (Aumasson and Bernstein, 2012), a keyed hash for
// tables: without the key nobody can choose nonces that collide. The standard
// library's hash/maphash cannot be used, because its seed does not outlive the
// process.
func sipHash(k0, k1 uint64, p []byte) uint64 {
	v0, v1 := k0^0x736f6d6570736575, k1^0x646f72616e646f6d
	v2, v3 := k0^0x6c7967656e657261, k1^0x7465646279746573
	round := func() {
		v0 += v1
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v3
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 += v3
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 += v1
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v2 = bits.RotateLeft64(v2, 32)
	}
	last := uint64(len(p)) << 56 // with the bytes that do not fill a word
	for len(p) >= 8 {
		m := binary.LittleEndian.Uint64(p)
		p = p[8:]
		v3 ^= m
		round()
		round()
		v0 ^= m
	}
	for i, c := range p {
		last |= uint64(c) << (8 * i)
	}
	v3 ^= last
	round()
	round()
	v0 ^= last
	v2 ^= 0xff
	for range 4 {
		round()
	}
	return v0 ^ v1 ^ v2 ^ v3
}
