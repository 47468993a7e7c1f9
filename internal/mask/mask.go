// Package mask holds values that must never be shown: secret values, access
// key secrets, key material, security tokens. They print as six stars in every
// textual form that Go knows (fmt, JSON, text, slog), so that a log line, an
// error, an audit record or a failing test cannot leak one by accident.
//
// It trusts nobody: the only way out is [Text.Reveal] or [Bytes.Reveal], two
// names that a reviewer can search for. They belong in the wire encoder, in
// the ciphers, and in tests that compare what was stored with what was read.
package mask

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Stars is what a masked value prints as. Its length says nothing about the
// length of the value.
const Stars = "******"

// Text is a confidential string. The zero value is the empty string. The value
// sits behind a pointer because fmt cannot call the methods of an unexported
// struct field and would print a plain string there; of a pointer it prints
// the address. Compare with Equal, never with ==.
type Text struct{ p *string }

// NewText wraps s.
func NewText(s string) Text { return Text{&s} }

// Reveal returns the value itself.
func (t Text) Reveal() string {
	if t.p == nil {
		return ""
	}
	return *t.p
}

// Len returns the length of the value in bytes.
func (t Text) Len() int { return len(t.Reveal()) }

// Equal compares two values in time independent of their content.
func (t Text) Equal(u Text) bool {
	return subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(u.Reveal())) == 1
}

// String returns stars.
func (t Text) String() string { return Stars }

// Format writes stars, whatever the verb.
func (t Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Stars) }

// MarshalText returns stars; encoding/json uses it.
func (t Text) MarshalText() ([]byte, error) { return []byte(Stars), nil }

// LogValue returns stars for log/slog.
func (t Text) LogValue() slog.Value { return slog.StringValue(Stars) }

// Bytes is a confidential byte string. It sits behind a function for the same
// reason as the string of [Text]: a pointer to a slice would be followed by
// some of fmt's verbs. The zero value is empty.
type Bytes struct{ get func() []byte }

// NewBytes wraps b without copying it: the caller gives it away.
func NewBytes(b []byte) Bytes { return Bytes{func() []byte { return b }} }

// Reveal returns the value itself, not a copy.
func (b Bytes) Reveal() []byte {
	if b.get == nil {
		return nil
	}
	return b.get()
}

// Len returns the length of the value in bytes.
func (b Bytes) Len() int { return len(b.Reveal()) }

// Equal compares two values in time independent of their content.
func (b Bytes) Equal(c Bytes) bool { return subtle.ConstantTimeCompare(b.Reveal(), c.Reveal()) == 1 }

// Wipe overwrites the value with zeros. Copies that the runtime made remain.
func (b Bytes) Wipe() { clear(b.Reveal()) }

// String returns stars.
func (b Bytes) String() string { return Stars }

// Format writes stars, whatever the verb.
func (b Bytes) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Stars) }

// MarshalText returns stars; encoding/json uses it.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(Stars), nil }

// LogValue returns stars for log/slog.
func (b Bytes) LogValue() slog.Value { return slog.StringValue(Stars) }
