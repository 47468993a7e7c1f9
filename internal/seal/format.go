package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strconv"

	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// Both files are short texts that survive a mail or a password manager. Each
// is read strictly: a line more or less, another spelling, another order is
// damage. Only white space at the end may be lost or added.
//
// root.key, the current root key first, older ones after it:
//
//	opensesame-root-key/v1
//	key <id> <key in Base64>
//
// or, sealed under a passphrase (memory in KiB, passes, lanes):
//
//	opensesame-root-key/v1
//	argon2id v=19 m=65536 t=3 p=4 salt <16 bytes in Base64>
//	sealed <id> <key, encrypted under the passphrase's, in Base64>
//	sum <first 16 bytes of SHA-256 of all lines before, in hexadecimal>
//
// epoch-<n>.key, one line for each root key that it is wrapped under:
//
//	opensesame-epoch-key/v1
//	epoch <n>
//	wrapped <id of the root key> <wrapped key in Base64>
//	sum <first 16 bytes of SHA-256 of all lines before, in hexadecimal>
//
// The id of a root key is made from the key, so it checks the line it is in.
// The sum of an epoch file is against accidents: it tells a damaged id from the
// id of another root key. What an attacker changes, the wrap itself gives away.
const (
	rootHeader  = "opensesame-root-key/v1"
	epochHeader = "opensesame-epoch-key/v1"

	// maxFile bounds what is read, and maxKeys the lines of keys: a rotation a
	// month for five years.
	maxFile = 64 << 10
	maxKeys = MaxRootKeys

	maxIDLen = 128
)

// MaxRootKeys is how many root keys a folder can hold, the current one
// included.
const MaxRootKeys = 64

var errFormat = errors.New("not in the format of a key file")

// epochFile is the content of epoch-<n>.key.
type epochFile struct {
	epoch uint32
	wraps []wrap
}

type wrap struct {
	sealID  string
	wrapped []byte
}

// lines cuts a file at its line ends, without white space at its end, and
// returns false if the first line is not the header. No part is copied to a
// string: root.key is wiped after it was read.
func lines(text []byte, header string) ([][]byte, bool) {
	if len(text) > maxFile {
		return nil, false
	}
	l := bytes.Split(trim(text), []byte("\n"))
	return l[1:], string(l[0]) == header
}

// trim takes away what copying by hand adds or loses.
func trim(text []byte) []byte { return bytes.TrimRight(text, " \t\r\n") }

// fields cuts a line at single spaces into exactly n words, the first of which
// is the keyword, and returns the others.
func fields(line []byte, keyword string, n int) ([][]byte, bool) {
	f := bytes.Split(line, []byte(" "))
	if len(f) != n || string(f[0]) != keyword {
		return nil, false
	}
	return f[1:], true
}

// marshalRoot writes into one buffer of the right size, which the caller wipes.
func marshalRoot(seals []*fileSeal) []byte {
	b := make([]byte, 0, len(rootHeader)+1+len(seals)*(maxIDLen+64))
	b = append(b, rootHeader+"\n"...)
	for _, s := range seals {
		b = append(b, "key "+s.id+" "...)
		b = base64.StdEncoding.AppendEncode(b, s.key.Reveal())
		b = append(b, '\n')
	}
	return b
}

// parseRoot reads root.key. Its error says nothing of the content.
func parseRoot(text []byte) ([]*fileSeal, error) {
	ls, ok := lines(text, rootHeader)
	if !ok || len(ls) == 0 || len(ls) > maxKeys {
		return nil, errFormat
	}
	var seals []*fileSeal
	seen := map[string]bool{}
	for _, l := range ls {
		f, ok := fields(l, "key", 3)
		if !ok {
			return nil, errFormat
		}
		key, ok := decodeBase64(f[1])
		if !ok || len(key) != keyring.KeySize {
			return nil, errFormat
		}
		s, err := newFileSeal(mask.NewBytes(key))
		if err != nil || s.id != string(f[0]) || seen[s.id] {
			return nil, errFormat
		}
		seen[s.id] = true
		seals = append(seals, s)
	}
	return seals, nil
}

func (f epochFile) marshal() []byte {
	b := append([]byte(nil), epochHeader+"\nepoch "+strconv.FormatUint(uint64(f.epoch), 10)+"\n"...)
	for _, w := range f.wraps {
		b = append(b, "wrapped "+w.sealID+" "...)
		b = base64.StdEncoding.AppendEncode(b, w.wrapped)
		b = append(b, '\n')
	}
	return append(b, "sum "+checksum(b)+"\n"...)
}

func checksum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:16])
}

func parseEpoch(text []byte) (epochFile, error) {
	var f epochFile
	ls, ok := lines(text, epochHeader)
	if !ok || len(ls) < 3 || len(ls) > maxKeys+2 {
		return f, errFormat
	}
	n, ok := fields(ls[0], "epoch", 2)
	if !ok {
		return f, errFormat
	}
	id, err := strconv.ParseUint(string(n[0]), 10, 32)
	if err != nil || id == 0 {
		return f, errFormat
	}
	f.epoch = uint32(id)
	for _, l := range ls[1 : len(ls)-1] {
		w, ok := fields(l, "wrapped", 3)
		if !ok || len(w[0]) == 0 || len(w[0]) > maxIDLen {
			return f, errFormat
		}
		wrapped, ok := decodeBase64(w[1])
		if !ok {
			return f, errFormat
		}
		f.wraps = append(f.wraps, wrap{string(w[0]), wrapped})
	}
	// Whatever else is odd (another sum, a number with leading zeros) shows in
	// that the same content is written otherwise.
	if !bytes.Equal(trim(f.marshal()), trim(text)) {
		return f, errFormat
	}
	return f, nil
}

// decodeBase64 accepts only what the encoder writes: the standard decoder skips
// line ends, and takes bits that are not used unless told to be strict.
func decodeBase64(text []byte) ([]byte, bool) {
	if bytes.ContainsAny(text, "\r\n") {
		return nil, false
	}
	b := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(b, text)
	return b[:n], err == nil
}
