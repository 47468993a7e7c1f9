package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strconv"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/keyring/xaes"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// Passphrase gets the passphrase that root.key is sealed under. It is called at
// most once for an opened folder, and only if the root key is sealed so.
type Passphrase func() (mask.Bytes, error)

// Bounds of a passphrase. The least is counted in characters and holds for new
// ones only; the most, in bytes, keeps a wrong file from being taken for one.
const (
	MinPassphrase = 12
	MaxPassphrase = 1024
)

// kdf is how a key is made from a passphrase: argon2id, version 0x13, of RFC
// 9106. Memory is in KiB.
type kdf struct {
	memory, time uint32
	lanes        uint8
	salt         [saltSize]byte
}

// The parameters of new files are the second choice that RFC 9106, section 4,
// recommends: 64 MiB, three passes, four lanes. What a file may ask for is
// bounded on both sides: below, by the least that OWASP's cheat sheet on
// password storage advises (19 MiB, two passes), so that nobody can weaken a
// seal unnoticed; above, so that an absurd file cannot exhaust the machine.
const (
	defaultMemory, defaultTime, defaultLanes = 64 << 10, 3, 4

	minMemory, maxMemory = 19 << 10, 1 << 20
	minTime, maxTime     = 2, 16
	maxLanes             = 16

	saltSize = 16
)

func newKDF() kdf {
	d := kdf{memory: defaultMemory, time: defaultTime, lanes: defaultLanes}
	_, _ = rand.Read(d.salt[:]) // never fails, see newKey
	return d
}

func (d kdf) sane() bool {
	return d.memory >= minMemory && d.memory <= maxMemory && d.time >= minTime && d.time <= maxTime &&
		d.lanes >= 1 && d.lanes <= maxLanes
}

// key makes the AEAD that seals root keys under the passphrase.
func (d kdf) key(passphrase mask.Bytes) (*xaes.AEAD, error) {
	k := argon2.IDKey(passphrase.Reveal(), d.salt[:], d.time, d.memory, d.lanes, keyring.KeySize)
	defer clear(k)
	return xaes.New(k)
}

func (d kdf) line() string {
	return fmt.Sprintf("argon2id v=%d m=%d t=%d p=%d salt %s", argon2.Version, d.memory, d.time, d.lanes,
		base64.StdEncoding.EncodeToString(d.salt[:]))
}

// parseKDF accepts exactly what line writes, within the bounds.
func parseKDF(line []byte) (kdf, bool) {
	var d kdf
	f, ok := fields(line, "argon2id", 7)
	if !ok || string(f[4]) != "salt" {
		return d, false
	}
	number := func(i int, name string, bits int) uint64 {
		text, _ := bytes.CutPrefix(f[i], []byte(name+"="))
		n, err := strconv.ParseUint(string(text), 10, bits)
		if err != nil {
			return 0
		}
		return n
	}
	d.memory, d.time, d.lanes = uint32(number(1, "m", 32)), uint32(number(2, "t", 32)), uint8(number(3, "p", 8))
	salt, ok := decodeBase64(f[5])
	if !ok || copy(d.salt[:], salt) != len(salt) || !d.sane() {
		return d, false
	}
	return d, d.line() == string(line)
}

// rootFile is the content of root.key: root keys in clear text, or all of them
// sealed under one passphrase. The current one comes first.
type rootFile struct {
	plain []*fileSeal

	kdf    kdf
	sealed []wrap // the root keys' ids, and the keys sealed under kdf; nil if plain
}

func (f *rootFile) ids() []string {
	var ids []string
	for _, s := range f.plain {
		ids = append(ids, s.id)
	}
	for _, w := range f.sealed {
		ids = append(ids, w.sealID)
	}
	return ids
}

// marshal writes into one buffer; the caller wipes it.
func (f *rootFile) marshal() []byte {
	if f.sealed == nil {
		return marshalRoot(f.plain)
	}
	b := []byte(rootHeader + "\n" + f.kdf.line() + "\n")
	for _, w := range f.sealed {
		b = append(b, "sealed "+w.sealID+" "+base64.StdEncoding.EncodeToString(w.wrapped)+"\n"...)
	}
	return append(b, "sum "+checksum(b)+"\n"...)
}

// parseRootFile reads root.key in either form.
func parseRootFile(text []byte) (*rootFile, error) {
	ls, ok := lines(text, rootHeader)
	if !ok || len(ls) == 0 {
		return nil, errFormat
	}
	if !bytes.HasPrefix(ls[0], []byte("argon2id ")) {
		plain, err := parseRoot(text)
		return &rootFile{plain: plain}, err
	}
	f := &rootFile{}
	if f.kdf, ok = parseKDF(ls[0]); !ok || len(ls) < 3 || len(ls) > maxKeys+2 {
		return nil, errFormat
	}
	seen := map[string]bool{}
	for _, l := range ls[1 : len(ls)-1] {
		w, ok := fields(l, "sealed", 3)
		if !ok || len(w[0]) == 0 || len(w[0]) > maxIDLen || seen[string(w[0])] {
			return nil, errFormat
		}
		seen[string(w[0])] = true
		wrapped, ok := decodeBase64(w[1])
		if !ok {
			return nil, errFormat
		}
		f.sealed = append(f.sealed, wrap{string(w[0]), wrapped})
	}
	if !bytes.Equal(trim(f.marshal()), trim(text)) {
		return nil, errFormat
	}
	return f, nil
}

// sealedRootContext binds a sealed root key to its id.
func sealedRootContext(id string) []byte { return []byte("opensesame/v1/sealed-root-key\x00" + id) }

// sealRoots is the content of a root.key that is sealed under kek.
func sealRoots(d kdf, kek *xaes.AEAD, roots []*fileSeal) (*rootFile, error) {
	f := &rootFile{kdf: d}
	for _, r := range roots {
		w, err := kek.Seal(nil, r.key.Reveal(), sealedRootContext(r.id))
		if err != nil {
			return nil, err
		}
		f.sealed = append(f.sealed, wrap{r.id, w})
	}
	return f, nil
}

// open returns the root keys, opened by kek unless they are plain. errNotOpened
// if one does not open: the passphrase is another one.
func (f *rootFile) open(kek *xaes.AEAD) ([]*fileSeal, error) {
	if f.sealed == nil {
		return f.plain, nil
	}
	var roots []*fileSeal
	for _, w := range f.sealed {
		key, err := kek.Open(nil, w.wrapped, sealedRootContext(w.sealID))
		if err != nil || len(key) != keyring.KeySize {
			wipe(roots)
			return nil, errNotOpened
		}
		s, err := newFileSeal(mask.NewBytes(key))
		if err != nil || s.id != w.sealID {
			wipe(roots)
			return nil, errNotOpened
		}
		roots = append(roots, s)
	}
	return roots, nil
}

// NewPassphrase reports why a passphrase should not become the seal of a root
// key; nil if it may.
func NewPassphrase(p mask.Bytes) error {
	switch {
	case utf8.RuneCount(p.Reveal()) < MinPassphrase:
		return fmt.Errorf("the passphrase is too short: it needs %d characters at least, and better several words chosen by chance", MinPassphrase)
	case p.Len() > MaxPassphrase:
		return fmt.Errorf("the passphrase is longer than %d bytes", MaxPassphrase)
	}
	return nil
}

// PassphraseFile reads a passphrase from a file: a regular one that others than
// owner and group cannot read or write, or a pipe such as /dev/fd/3. One line
// end at its end is not part of it. The error never holds any of the content.
func PassphraseFile(path string) (mask.Bytes, error) {
	f, err := os.Open(path)
	if err != nil {
		return mask.Bytes{}, fmt.Errorf("read the passphrase: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return mask.Bytes{}, fmt.Errorf("read the passphrase: %w", err)
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o027 != 0 {
		return mask.Bytes{}, sentence(ErrPermissions, "%s holds the passphrase and is open to others (mode %04o): chmod 400 it, and consider who may have read it", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, MaxPassphrase+3))
	if err != nil {
		return mask.Bytes{}, fmt.Errorf("read the passphrase: %w", err)
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	switch {
	case len(text) == 0:
		return mask.Bytes{}, fmt.Errorf("%s holds no passphrase: it is empty", path)
	case len(text) > MaxPassphrase:
		clear(text)
		return mask.Bytes{}, fmt.Errorf("%s holds no passphrase: it is longer than %d bytes", path, MaxPassphrase)
	}
	return mask.NewBytes(text), nil
}
