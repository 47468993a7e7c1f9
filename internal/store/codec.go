package store

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strconv"
)

// A stored value, in one drawing:
//
//	s1.<MAC key version, decimal>.<MAC, 43 characters of unpadded base64url>\n<body>
//
// The MAC covers the etcd key and the body. The body is the record's JSON, or
// for the outbox the bytes of the audit record.

// MACer signs and verifies records; keyring.Ring is one. It must be safe for
// concurrent use.
type MACer interface {
	// MAC returns the MAC over key and body under the newest key, and that
	// key's version.
	MAC(key string, body []byte) (version uint32, sum [32]byte, err error)
	// VerifyMAC returns an error unless sum is the MAC over key and body under
	// the key of that version. An unknown version is an error.
	VerifyMAC(version uint32, key string, body, sum []byte) error
}

const (
	magic  = "s1."
	macLen = 32
)

var (
	macEncoding = base64.RawURLEncoding.Strict()
	macChars    = macEncoding.EncodedLen(macLen)
)

var errValueFormat = errors.New("not a signed value")

// sign returns the stored value of body under the etcd key.
func sign(mac MACer, key string, body []byte) ([]byte, error) {
	version, sum, err := mac.MAC(key, body)
	if err != nil {
		return nil, err
	}
	return encodeValue(version, sum[:], body), nil
}

// verify returns the body of a stored value, which it shares, if its MAC holds.
func verify(mac MACer, key string, value []byte) ([]byte, error) {
	version, sum, body, err := decodeValue(value)
	if err != nil {
		return nil, err
	}
	if err := mac.VerifyMAC(version, key, body, sum); err != nil {
		return nil, err
	}
	return body, nil
}

func encodeValue(version uint32, sum, body []byte) []byte {
	out := make([]byte, 0, len(magic)+10+1+macChars+1+len(body))
	out = append(out, magic...)
	out = strconv.AppendUint(out, uint64(version), 10)
	out = append(out, '.')
	out = macEncoding.AppendEncode(out, sum)
	out = append(out, '\n')
	return append(out, body...)
}

// decodeValue takes a stored value apart without verifying it. It accepts
// exactly what encodeValue writes.
func decodeValue(value []byte) (version uint32, sum, body []byte, err error) {
	rest, ok := bytes.CutPrefix(value, []byte(magic))
	if !ok {
		return 0, nil, nil, errValueFormat
	}
	head, body, ok := bytes.Cut(rest, []byte("\n"))
	if !ok {
		return 0, nil, nil, errValueFormat
	}
	num, text, ok := bytes.Cut(head, []byte("."))
	if !ok || len(text) != macChars {
		return 0, nil, nil, errValueFormat
	}
	n, err := strconv.ParseUint(string(num), 10, 32)
	if err != nil || strconv.FormatUint(n, 10) != string(num) {
		return 0, nil, nil, errValueFormat
	}
	sum = make([]byte, macLen)
	if _, err := macEncoding.Decode(sum, text); err != nil {
		return 0, nil, nil, errValueFormat
	}
	return uint32(n), sum, body, nil
}
