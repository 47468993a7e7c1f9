package keyring

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"
)

// macPool keeps HMAC-SHA256 states of one key, keyed and ready: a server that
// starts verifies every record it holds.
type macPool struct{ pool sync.Pool }

type macState struct {
	h    hash.Hash
	head []byte // label, record key, length of the body
	sum  [sha256.Size]byte
}

func newMACPool(key []byte) *macPool {
	return &macPool{sync.Pool{New: func() any {
		return &macState{h: hmac.New(sha256.New, key)}
	}}}
}

// sum returns HMAC-SHA256 over (label, record key, body), each with its length
// before it, so that no byte can pass from the record's key to its body.
func (p *macPool) sum(recordKey string, body []byte) [sha256.Size]byte {
	s := p.pool.Get().(*macState)
	defer p.pool.Put(s)
	s.h.Reset()
	s.head = appendField(s.head[:0], labelMAC)
	s.head = appendField(s.head, recordKey)
	s.head = binary.BigEndian.AppendUint32(s.head, uint32(len(body)))
	s.h.Write(s.head) // a hash never fails to take bytes
	s.h.Write(body)
	s.h.Sum(s.sum[:0])
	return s.sum
}

// MAC authenticates a record: its body and the key it is stored under. It
// returns the key version to keep beside the sum; ErrUnknownKey if no MAC key
// is loaded.
func (r *Ring) MAC(recordKey string, body []byte) (version uint32, sum [32]byte, err error) {
	k := r.keys.Load().current[MAC]
	if k == nil {
		return 0, sum, fmt.Errorf("%w: no MAC key is loaded", ErrUnknownKey)
	}
	return k.name.version, k.mac.sum(recordKey, body), nil
}

// VerifyMAC checks a sum that MAC made: ErrOpen if the record or its place was
// changed, ErrUnknownKey if that version is not loaded. It takes the same time
// wherever the sums differ.
func (r *Ring) VerifyMAC(version uint32, recordKey string, body []byte, sum []byte) error {
	n := keyName{MAC, version}
	k := r.keys.Load().byName[n]
	if k == nil {
		return fmt.Errorf("%w: %s", ErrUnknownKey, n)
	}
	want := k.mac.sum(recordKey, body)
	if !hmac.Equal(want[:], sum) {
		return ErrOpen
	}
	return nil
}
