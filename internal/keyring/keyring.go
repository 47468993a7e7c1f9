// Package keyring is the server's hierarchy of keys, from the epoch key down:
//
//	root key            kept by a seal, outside this package
//	└ epoch key         kept outside etcd; new ones make deleted data unreadable
//	  └ ring keys       one line of versions per [Purpose], kept in etcd, sealed
//	    ├ mac           authenticates records
//	    ├ token         seals security tokens
//	    ├ access-key    seals the secrets of AccessKeys
//	    └ wrap          seals the key material of customer and managed keys
//	      └ material    one per key version, kept in etcd, sealed
//	        └ data key  one per secret version, kept beside the value it seals
//
// It is an engine: values in, values out, no store, no network, no clock; only
// randomness comes from the system. It trusts the epoch key it was given and
// nothing else. What comes from the store may be altered, swapped or old: each
// sealed thing is bound to what it is and where it belongs (see aad.go), and
// opens as nothing else. The algorithm is never chosen by stored bytes.
//
// Every failure to open is the one [ErrOpen], which does not say what was
// wrong. Keys of the ring stay in memory, ready for use; material and data keys
// are unwrapped for each read and wiped after it. Wiping covers the key bytes;
// the key schedules that crypto/aes makes from them are left to the garbage
// collector.
package keyring

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opensesame-kms/opensesame/internal/keyring/xaes"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// KeySize is the length in bytes of every symmetric key in the hierarchy.
const KeySize = xaes.KeySize

// Purpose says what the keys of one line of versions are for. A key serves one
// purpose and so one algorithm.
type Purpose string

// The purposes. The names are part of the stored format.
const (
	MAC       Purpose = "mac"        // HMAC-SHA256 over records
	Token     Purpose = "token"      // sealed security tokens
	AccessKey Purpose = "access-key" // secrets of AccessKeys
	Wrap      Purpose = "wrap"       // key material of customer and service-managed keys
)

func (p Purpose) known() bool {
	switch p {
	case MAC, Token, AccessKey, Wrap:
		return true
	}
	return false
}

var (
	// ErrOpen is returned for everything that does not open or verify:
	// altered, cut, moved to another place, or made under another key. Which
	// of these it was is not said, so that the error is no oracle.
	ErrOpen = errors.New("keyring: sealed data does not open")
	// ErrUnknownKey is returned when the ring does not hold the key that is
	// asked for: no version of the purpose yet, a version that was removed or
	// never loaded, another epoch, a purpose that does not seal.
	ErrUnknownKey = errors.New("keyring: no such key")
)

// Epoch is one epoch key. Its key is 32 bytes long.
type Epoch struct {
	ID  uint32
	Key mask.Bytes
}

// Ring holds the keys that are in use. It is safe for concurrent use: readers
// take no lock, [Ring.Load] and [Ring.Remove] replace what readers see as a
// whole.
type Ring struct {
	epoch uint32                // the epoch that Generate seals under; never changes
	kek   map[uint32]*xaes.AEAD // epoch keys by id; never changes

	keys atomic.Pointer[keySet] // replaced, never changed

	mu      sync.Mutex         // held by writers
	highest map[Purpose]uint32 // guarded by mu: highest version ever loaded here
}

// keySet is an immutable view of the loaded keys.
type keySet struct {
	byName  map[keyName]*ringKey
	current map[Purpose]*ringKey // the highest version of each purpose
}

type keyName struct {
	purpose Purpose
	version uint32
}

func (n keyName) String() string {
	return string(n.purpose) + "/" + strconv.FormatUint(uint64(n.version), 10)
}

// parseName reads "<purpose>/<version>" and accepts only what String writes.
func parseName(s string) (keyName, bool) {
	p, v, _ := strings.Cut(s, "/")
	n, err := strconv.ParseUint(v, 10, 32)
	name := keyName{Purpose(p), uint32(n)}
	return name, err == nil && n > 0 && name.purpose.known() && name.String() == s
}

// ringKey is one version, ready for use: mac for the purpose MAC, aead for the
// others.
type ringKey struct {
	name    keyName
	created time.Time
	key     mask.Bytes
	aead    *xaes.AEAD
	mac     *macPool
}

// New returns an empty ring under the given epoch key, which seals what
// Generate makes. Older epochs, if any, only open. It panics on a key that is
// not 32 bytes long or an epoch given twice: both come from a seal, which
// checks what it read.
func New(epoch Epoch, older ...Epoch) *Ring {
	r := &Ring{epoch: epoch.ID, kek: map[uint32]*xaes.AEAD{}, highest: map[Purpose]uint32{}}
	for _, e := range append([]Epoch{epoch}, older...) {
		a, err := xaes.New(e.Key.Reveal())
		if err != nil || r.kek[e.ID] != nil {
			panic(fmt.Sprintf("keyring: epoch %d: its key is given twice or is not %d bytes long", e.ID, KeySize))
		}
		r.kek[e.ID] = a
	}
	r.keys.Store(&keySet{byName: map[keyName]*ringKey{}, current: map[Purpose]*ringKey{}})
	return r
}

// Generate makes the next version of a purpose's key and returns its name,
// "<purpose>/<version>", with the key sealed under the epoch key. It does not
// use it: the caller stores it, if nobody stored that name before, and then
// every server loads what is stored. created is kept to the second.
//
// The next version follows the highest that this ring has ever loaded.
func (r *Ring) Generate(p Purpose, created time.Time) (name string, sealed []byte, err error) {
	if !p.known() {
		return "", nil, fmt.Errorf("%w: purpose %q", ErrUnknownKey, string(p))
	}
	r.mu.Lock()
	highest := r.highest[p]
	r.mu.Unlock()
	if highest == math.MaxUint32 {
		return "", nil, fmt.Errorf("keyring: the versions of %s keys are used up", p)
	}
	n := keyName{p, highest + 1}
	key := newKey()
	defer clear(key)
	sealed, err = r.sealRingKey(n, created, key)
	return n.String(), sealed, err
}

// Load opens a key that Generate made and puts it to use. The highest version
// of a purpose is its current one. Loading the same key again changes nothing,
// also if it has been sealed anew under another epoch; loading another key
// under the same name replaces it, because the store decides which one it is.
func (r *Ring) Load(name string, sealed []byte) error {
	n, ok := parseName(name)
	if !ok {
		return fmt.Errorf("%w: %q is no name of a key", ErrUnknownKey, name)
	}
	k, err := r.openRingKey(n, sealed)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.keys.Load()
	if had := old.byName[n]; had != nil && had.key.Equal(k.key) && had.created.Equal(k.created) {
		k.key.Wipe()
		return nil
	}
	byName := maps.Clone(old.byName)
	byName[n] = k
	r.highest[n.purpose] = max(r.highest[n.purpose], n.version)
	r.keys.Store(newKeySet(byName))
	return nil
}

// Remove takes a key out of use. What it sealed opens no more. Names that are
// not loaded are ignored.
func (r *Ring) Remove(name string) {
	n, ok := parseName(name)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	byName := maps.Clone(r.keys.Load().byName)
	// Its bytes are not wiped: a reader that took the key a moment ago may
	// still be using it.
	delete(byName, n)
	r.keys.Store(newKeySet(byName))
}

func newKeySet(byName map[keyName]*ringKey) *keySet {
	s := &keySet{byName: byName, current: map[Purpose]*ringKey{}}
	for n, k := range byName {
		if c := s.current[n.purpose]; c == nil || c.name.version < n.version {
			s.current[n.purpose] = k
		}
	}
	return s
}

// Current returns the version in use for a purpose and when it was made (UTC,
// whole seconds), or false if none is loaded.
func (r *Ring) Current(p Purpose) (version uint32, created time.Time, ok bool) {
	k := r.keys.Load().current[p]
	if k == nil {
		return 0, time.Time{}, false
	}
	return k.name.version, k.created, true
}

// Format writes stars, whatever the verb: a ring is all keys.
func (r *Ring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, mask.Stars) }

// newKey returns 32 random bytes. rand.Read never fails: it ends the program
// when the system has no randomness to give.
func newKey() []byte {
	b := make([]byte, KeySize)
	_, _ = rand.Read(b)
	return b
}
