package identity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/clock"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)

// claim claims a nonce of account and access key "a" for a request signed at
// reqTime.
func claim(n *Nonces, now, reqTime time.Time, nonce string) error {
	_, err := n.Claim(now, reqTime, "a", "a", nonce)
	return err
}

func mustClaim(t *testing.T, n *Nonces, now, reqTime time.Time, nonce string) {
	t.Helper()
	if err := claim(n, now, reqTime, nonce); err != nil {
		t.Fatalf("claim %s at %v: %v", nonce, now, err)
	}
}

func mustRefuse(t *testing.T, err error, want *apierr.Error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error = %v, want %s", err, want.Code)
	}
}

func TestNonceClaimedOnce(t *testing.T) {
	n := NewNonces(NonceConfig{})
	mustClaim(t, n, epoch, epoch, "x")
	mustRefuse(t, claim(n, epoch, epoch, "x"), apierr.NonceUsed)
	// The same nonce signed again with another time is as used.
	for _, d := range []time.Duration{-Window, -time.Minute, time.Minute, Window} {
		mustRefuse(t, claim(n, epoch, epoch.Add(d), "x"), apierr.NonceUsed)
	}
	mustClaim(t, n, epoch, epoch, "y")
	for _, ak := range []string{"b", "ax", ""} { // another key's nonce is another nonce
		if _, err := n.Claim(epoch, epoch, "a", ak, "x"); err != nil {
			t.Errorf("key %q: %v", ak, err)
		}
	}
	mustClaim(t, n, epoch, epoch, "xx") // ("a", "xx") is not ("ax", "x")
	mustRefuse(t, claim(n, epoch, epoch, ""), apierr.MissingParam)
	if n.Len() != 6 {
		t.Errorf("Len() = %d, want 6", n.Len())
	}
}

// TestNonceOutlivesRequest replays a request second by second, for every
// position in the minute and in the window: it must be refused for as long as
// its time is valid, and be forgotten within a minute thereafter.
func TestNonceOutlivesRequest(t *testing.T) {
	for _, second := range []time.Duration{0, 1, 30, 59} {
		for _, skew := range []time.Duration{-Window, -time.Minute, -1, 0, 1, time.Minute, Window} {
			n := NewNonces(NonceConfig{})
			reqTime := epoch.Add(second * time.Second)
			c := clock.NewManual(reqTime.Add(skew))
			mustClaim(t, n, c.Now(), reqTime, "x")
			end := reqTime.Add(Window)
			for !c.Now().After(end) {
				mustRefuse(t, claim(n, c.Now(), reqTime, "x"), apierr.NonceUsed)
				c.Advance(min(time.Second, max(1, end.Sub(c.Now()))))
			}
			mustRefuse(t, claim(n, c.Now(), reqTime, "x"), apierr.TimestampExpired)
			c.Advance(time.Minute)
			mustClaim(t, n, c.Now(), c.Now(), "other")
			if n.Len() != 1 {
				t.Fatalf("second %d, skew %v: %d nonces a minute after the end, want the new one", second, skew, n.Len())
			}
		}
	}
}

func TestNonceTimeOutsideWindow(t *testing.T) {
	n := NewNonces(NonceConfig{})
	for _, d := range []time.Duration{Window + 1, -Window - 1} {
		mustRefuse(t, claim(n, epoch, epoch.Add(d), "x"), apierr.TimestampExpired)
	}
	if n.Len() != 0 {
		t.Errorf("Len() = %d after refusals", n.Len())
	}
}

// TestNonceClockSetBack: what was forgotten must not become valid again, and
// the server must come back by itself.
func TestNonceClockSetBack(t *testing.T) {
	n := NewNonces(NonceConfig{AccountShare: 4})
	mustClaim(t, n, epoch, epoch, "x")
	jump := epoch.Add(1000 * time.Hour)
	mustClaim(t, n, jump, jump, "y")
	mustRefuse(t, claim(n, epoch, epoch, "x"), apierr.TimestampExpired)
	for i := range 50 { // shares are given back although the clock was far ahead once
		now := epoch.Add(time.Duration(i+8) * 6 * time.Minute)
		mustClaim(t, n, now, now, "z"+strconv.Itoa(i))
	}
}

func TestNonceRelease(t *testing.T) {
	n := NewNonces(NonceConfig{AccountShare: 2})
	first, err := n.Claim(epoch, epoch, "a", "a", "x")
	if err != nil {
		t.Fatal(err)
	}
	first.Release()
	if n.Len() != 0 {
		t.Fatalf("Len() = %d after Release", n.Len())
	}
	mustClaim(t, n, epoch, epoch, "x")
	first.Release() // must not release the second claim
	mustRefuse(t, claim(n, epoch, epoch, "x"), apierr.NonceUsed)
	mustClaim(t, n, epoch, epoch, "y")
	mustRefuse(t, claim(n, epoch, epoch, "z"), apierr.Throttled)

	late, err := n.Claim(epoch, epoch, "b", "b", "x")
	if err != nil {
		t.Fatal(err)
	}
	now := epoch.Add(time.Hour)
	mustClaim(t, n, now, now, "x")
	late.Release() // long expired
	if n.Len() != 1 {
		t.Errorf("Len() = %d, want 1", n.Len())
	}
	var none *NonceClaim
	none.Release()
}

func TestNonceShares(t *testing.T) {
	const share, capacity = 100, 250
	n := NewNonces(NonceConfig{Capacity: capacity, AccountShare: share})
	fill := func(account string, now time.Time) (claimed int) {
		for i := range 2 * capacity {
			switch _, err := n.Claim(now, now, account, account, strconv.Itoa(i)); {
			case err == nil:
				claimed++
			case !errors.Is(err, apierr.Throttled) && !errors.Is(err, apierr.NonceUsed):
				t.Fatal(err)
			}
		}
		return claimed
	}
	for i, want := range []int{share, share, capacity - 2*share, 0} {
		if got := fill("account"+strconv.Itoa(i), epoch); got != want {
			t.Errorf("account %d: %d claims, want %d", i, got, want)
		}
	}
	if n.Len() != capacity {
		t.Errorf("Len() = %d, want %d", n.Len(), capacity)
	}
	// Nothing was evicted to make room.
	for i := range share {
		_, err := n.Claim(epoch, epoch, "account0", "account0", strconv.Itoa(i))
		if err == nil {
			t.Fatal("a used nonce was accepted in a full set")
		}
	}
	// A used nonce does not use up the share.
	small := NewNonces(NonceConfig{AccountShare: 2})
	mustClaim(t, small, epoch, epoch, "x")
	for range 10 {
		mustRefuse(t, claim(small, epoch, epoch, "x"), apierr.NonceUsed)
	}
	mustClaim(t, small, epoch, epoch, "y")
	mustRefuse(t, claim(small, epoch, epoch, "z"), apierr.Throttled)

	later := epoch.Add(Window + time.Minute)
	if got := fill("account0", later); got != share {
		t.Errorf("after expiry: %d claims, want %d", got, share)
	}
	if n.Len() != share {
		t.Errorf("after expiry: Len() = %d, want %d", n.Len(), share)
	}
}

// TestNonceMemory counts slots and records after a lively hour.
func TestNonceMemory(t *testing.T) {
	const perMinute, accounts = 3000, 50
	n := NewNonces(NonceConfig{})
	for m := range 60 {
		now := epoch.Add(time.Duration(m) * time.Minute)
		for i := range perMinute {
			account := fmt.Sprintf("%d/%d", m, i%accounts)
			if _, err := n.Claim(now, now, account, "ak", fmt.Sprintf("%d/%d", m, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if want := 16 * perMinute; n.Len() != want {
		t.Errorf("Len() = %d, want %d: 16 minutes of requests", n.Len(), want)
	}
	slots, names := 0, 0
	for i := range n.shards {
		for _, tab := range n.shards[i].tables {
			slots += len(tab.slots)
		}
		names += len(n.accounts[i].counts)
	}
	if most := n.Len() * 8 / 3; slots > most {
		t.Errorf("%d slots for %d nonces, want at most %d", slots, n.Len(), most)
	}
	if want := 16 * accounts; names != want {
		t.Errorf("%d accounts are counted, want %d", names, want)
	}
}

// TestNonceRace lets goroutines fight for the same nonces while others release
// and the clock crosses minutes; it is worth most under the race detector.
func TestNonceRace(t *testing.T) {
	const workers, nonces = 8, 2000
	n := NewNonces(NonceConfig{})
	var wins [nonces]int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for _, i := range rand.Perm(nonces) {
				now := epoch.Add(time.Duration(i*workers+w) * 50 * time.Millisecond) // workers' clocks differ
				if c, err := n.Claim(now, epoch, "other", "ak", fmt.Sprintf("%d-%d", w, i)); err != nil {
					t.Error(err)
				} else {
					c.Release()
				}
				switch err := claim(n, now, epoch, strconv.Itoa(i)); {
				case err == nil:
					mu.Lock()
					wins[i]++
					mu.Unlock()
				case !errors.Is(err, apierr.NonceUsed):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i, w := range wins {
		if w != 1 {
			t.Fatalf("nonce %d was claimed %d times", i, w)
		}
	}
	if n.Len() != nonces {
		t.Errorf("Len() = %d, want %d", n.Len(), nonces)
	}
}

// TestNonceTable compares the table with a map, crowded so that removals shift.
func TestNonceTable(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var table nonceTable
		model := map[uint64]bool{}
		for range 2000 {
			// Few different low bits make long runs that wrap around.
			h := 1 + rng.Uint64N(40) + rng.Uint64N(3)<<40
			if rng.IntN(2) == 0 {
				if !table.has(h) {
					table.add(h)
				}
				model[h] = true
			} else if table.remove(h) != model[h] {
				t.Fatalf("seed %d: remove(%x) disagrees with the model", seed, h)
			} else {
				delete(model, h)
			}
			if table.used != len(model) {
				t.Fatalf("seed %d: %d used, want %d", seed, table.used, len(model))
			}
		}
		for h := range uint64(4 << 6) {
			h = 1 + h%64 + h/64<<40
			if table.has(h) != model[h] {
				t.Fatalf("seed %d: has(%x) = %v", seed, h, !model[h])
			}
		}
	}
}

// TestSipHash checks the first vectors of the authors' reference: key
// 00 01 .. 0f, messages of 0, 1, 2 .. bytes 00 01 02 ..
func TestSipHash(t *testing.T) {
	key := make([]byte, 16)
	message := make([]byte, 16)
	for i := range key {
		key[i], message[i] = byte(i), byte(i)
	}
	k0, k1 := binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[8:])
	for n, want := range map[int]uint64{
		0: 0x726fdb47dd0e0e31, 1: 0x74f839c593dc67fd, 7: 0xab0200f58b01d137,
		8: 0x93f5f5799a932462, 15: 0xa129ca6149be45e5,
	} {
		if got := sipHash(k0, k1, message[:n]); got != want {
			t.Errorf("sipHash of %d bytes = %016x, want %016x", n, got, want)
		}
	}
}

// TestNonceSeed checks that the hashes depend on the seed and on it alone.
func TestNonceSeed(t *testing.T) {
	a, b := NewNonces(NonceConfig{Seed: &[16]byte{1}}), NewNonces(NonceConfig{Seed: &[16]byte{1}})
	random := NewNonces(NonceConfig{})
	if a.hash("ak", "x") != b.hash("ak", "x") {
		t.Error("equal seeds, different hashes")
	}
	if a.hash("ak", "x") == random.hash("ak", "x") {
		t.Error("different seeds, equal hashes")
	}
}

func BenchmarkNonceClaim(b *testing.B) {
	n := NewNonces(NonceConfig{Capacity: 1 << 30})
	now := epoch.Add(15 * time.Minute)
	for i := range 4 << 20 { // a busy quarter of an hour
		at := epoch.Add(time.Duration(i%16) * time.Minute)
		if _, err := n.Claim(now, at, "a", vectorAK, strconv.Itoa(i)); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		id := strconv.FormatUint(rand.Uint64(), 16)
		for i := 0; pb.Next(); i++ {
			if _, err := n.Claim(now, now, "a", vectorAK, id+strconv.Itoa(i)); err != nil {
				b.Error(err)
			}
		}
	})
}
