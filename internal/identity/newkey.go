package identity

import (
	"crypto/rand"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

const (
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	digits       = "0123456789"
)

// NewAccessKey makes an access key of the form that users and root have: an id
// of 24 characters that begins with LTAI5t, a secret of 30 (178 bits).
func NewAccessKey() (id string, secret mask.Text) {
	return "LTAI5t" + random(alphanumeric, 18), mask.NewText(random(alphanumeric, 30))
}

// NewSessionKey makes the temporary access key of a role session.
func NewSessionKey() (id string, secret mask.Text) {
	return "STS.N" + random(alphanumeric, 24), mask.NewText(random(alphanumeric, 44))
}

// NewID makes the id of a user, role or account of n digits; the first is not
// zero.
func NewID(n int) string { return random(digits[1:], 1) + random(digits, n-1) }

// random draws n characters of the alphabet without bias.
func random(alphabet string, n int) string {
	out := make([]byte, 0, n)
	limit := byte(256 - 256%len(alphabet))
	buf := make([]byte, 2*n)
	for {
		_, _ = rand.Read(buf) // never fails: the runtime aborts instead
		for _, b := range buf {
			if limit != 0 && b >= limit {
				continue
			}
			if out = append(out, alphabet[int(b)%len(alphabet)]); len(out) == n {
				return string(out)
			}
		}
	}
}
