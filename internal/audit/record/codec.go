package record

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxSize is the longest stored form of a record, in bytes. It bounds what one
// request can cost in disk space.
const MaxSize = 8 << 10

// The stored form is
//
//	version u8 (1)
//	field*  tag u8, length uvarint, value
//
// Tags ascend; a tag repeats only for the elements of a list. Values are
//
//	text      UTF-8, not empty (an element of a list may be)
//	number    uvarint, not zero
//	flag      nothing; the field stands for true
//	time      nanoseconds since 1970 UTC, i64 big-endian
//	pair      length uvarint, name, text; ascending by name
//	resource  length uvarint, type, name
//	refusal   count uvarint, then source and account each with length, code
//
// Each record has exactly one stored form: whatever decodes encodes to the same
// bytes again. A new field takes a new tag and a new version.
const formatVersion = 1

// ErrMalformed is wrapped by every error of [Unmarshal].
var ErrMalformed = errors.New("malformed audit record")

// fieldVisitor is called for each field of a record in the order of tags. One
// list of fields (visit) so serves the encoder, the decoder and the cutter.
// long marks text that callers of the service choose freely: it is cut first.
type fieldVisitor interface {
	text(tag byte, s *string, long bool)
	raw(tag byte, s *json.RawMessage)
	list(tag byte, l *[]string)
	number(tag byte, n *uint64)
	integer(tag byte, n *int64)
	status(tag byte, n *int)
	flag(tag byte, b *bool)
	time(tag byte, t *time.Time)
	pairs(tag byte, m *map[string]string)
	resources(tag byte, l *[]Resource)
	refusals(tag byte, l *[]Refusal)
}

const (
	key  = false
	long = true
)

// visit calls v for each field. Tags are part of the format.
func (r *Record) visit(v fieldVisitor) {
	v.text(1, (*string)(&r.Kind), key)
	v.text(2, &r.RequestID, key)
	v.text(3, &r.EventID, key)
	v.number(4, &r.Part)
	v.time(5, &r.Time)
	v.text(6, &r.Operation, key)
	v.text(7, &r.RW, key)
	v.text(8, &r.Product, key)
	v.text(9, &r.APIVersion, key)
	v.text(10, &r.Region, key)
	v.text(11, &r.Host, key)
	v.text(12, &r.Source, key)
	v.text(13, &r.UserAgent, long)
	v.flag(14, &r.TLS)
	v.flag(15, &r.Global)
	v.text(16, &r.Identity.Type, key)
	v.text(17, &r.Identity.PrincipalID, key)
	v.text(18, &r.Identity.AccountID, key)
	v.text(19, &r.Identity.UserName, key)
	v.text(20, &r.Identity.AccessKeyID, key)
	v.text(21, &r.Identity.InvokedBy, key)
	v.time(22, &r.Identity.SessionCreated)
	v.flag(23, &r.Identity.MFA)
	v.pairs(24, &r.Params)
	v.raw(25, &r.Response)
	v.resources(26, &r.Resources)
	v.text(27, &r.ErrorCode, key)
	v.text(28, &r.ErrorMessage, long)
	v.status(29, &r.HTTPStatus)
	v.text(30, &r.VersionID, key)
	v.text(31, &r.SecretID, key)
	v.list(32, &r.Stages)
	v.text(33, &r.KeyID, key)
	v.text(34, &r.KeyVersionID, key)
	v.text(35, &r.HostingMode, key)
	v.text(36, &r.OwningProduct, key)
	v.text(37, &r.Gateway, key)
	v.text(38, &r.Network, key)
	v.text(39, &r.Decision, key)
	v.list(40, &r.Reasons)
	v.list(41, &r.MatchedPolicies)
	v.text(42, &r.Node, key)
	v.number(43, &r.Sequence)
	v.integer(44, &r.Revision)
	v.list(45, &r.Accounts)
	v.refusals(46, &r.Counts)
	v.text(47, &r.Concerns, key)
	v.text(48, &r.Note, long)
	v.flag(49, &r.Truncated)
	v.number(50, &r.NonceHash)
	v.time(51, &r.NonceTime)
}

// Marshal returns the stored form, at most [MaxSize] bytes. A record that is
// too long is stored with its longest texts and lists cut and Truncated set;
// one with invalid UTF-8 has it replaced. r itself is not changed. The only
// error is a time outside the years 1678 to 2262.
func (r *Record) Marshal() ([]byte, error) {
	b, err := r.encode()
	if err != nil || len(b) <= MaxSize {
		return b, err
	}
	for _, limits := range cuts {
		c := *r
		c.Truncated = true
		c.visit(cutter(limits))
		if b, err = c.encode(); err != nil || len(b) <= MaxSize {
			return b, err
		}
	}
	return nil, fmt.Errorf("audit record of %d bytes cannot be cut to %d", len(b), MaxSize)
}

// encode returns the stored form, however long.
func (r *Record) encode() ([]byte, error) {
	e := encoder{b: make([]byte, 1, 1024)}
	e.b[0] = formatVersion
	r.visit(&e)
	return e.b, e.err
}

type encoder struct {
	b   []byte
	err error
}

// field writes one field. Text of any origin is made valid UTF-8 here, in the
// one place that all of it passes.
func (e *encoder) field(tag byte, s string) {
	s = strings.ToValidUTF8(s, "\uFFFD")
	e.b = append(e.b, tag)
	e.b = binary.AppendUvarint(e.b, uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) text(tag byte, s *string, _ bool) {
	if *s != "" {
		e.field(tag, *s)
	}
}

func (e *encoder) raw(tag byte, s *json.RawMessage) {
	if len(*s) > 0 {
		e.field(tag, string(*s))
	}
}

func (e *encoder) list(tag byte, l *[]string) {
	for _, s := range *l {
		e.field(tag, s)
	}
}

func (e *encoder) number(tag byte, n *uint64) {
	if *n == 0 {
		return
	}
	var v [binary.MaxVarintLen64]byte
	size := binary.PutUvarint(v[:], *n)
	e.b = append(e.b, tag, byte(size))
	e.b = append(e.b, v[:size]...)
}

// integer and status are never negative; a caller's mistake is stored as absent.
func (e *encoder) integer(tag byte, n *int64) { u := uint64(max(0, *n)); e.number(tag, &u) }
func (e *encoder) status(tag byte, n *int)    { u := uint64(max(0, *n)); e.number(tag, &u) }

func (e *encoder) flag(tag byte, b *bool) {
	if *b {
		e.b = append(e.b, tag, 0)
	}
}

func (e *encoder) time(tag byte, t *time.Time) {
	if t.IsZero() {
		return
	}
	n := t.UnixNano()
	if !time.Unix(0, n).Equal(*t) {
		e.err = fmt.Errorf("audit record's time %s cannot be stored", t.UTC().Format(time.RFC3339))
		return
	}
	e.b = append(e.b, tag, 8)
	e.b = binary.BigEndian.AppendUint64(e.b, uint64(n))
}

func (e *encoder) pairs(tag byte, m *map[string]string) {
	if len(*m) == 0 {
		return
	}
	// Names are made valid before they are sorted: the stored order is that of
	// the stored names, and two that become equal are told apart by the value
	// of the first alone.
	names := make([]string, 0, len(*m))
	valid := true
	for k := range *m {
		valid = valid && utf8.ValidString(k)
		names = append(names, k)
	}
	if !valid {
		clean := make(map[string]string, len(*m))
		slices.Sort(names)
		for _, k := range slices.Backward(names) {
			clean[strings.ToValidUTF8(k, "\uFFFD")] = (*m)[k]
		}
		e.pairs(tag, &clean)
		return
	}
	slices.Sort(names)
	for _, k := range names {
		v := strings.ToValidUTF8((*m)[k], "\uFFFD")
		e.b = append(e.b, tag)
		e.b = binary.AppendUvarint(e.b, uint64(uvarintLen(uint64(len(k)))+len(k)+len(v)))
		e.sized(k)
		e.b = append(e.b, v...)
	}
}

func (e *encoder) sized(s string) {
	e.b = binary.AppendUvarint(e.b, uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) resources(tag byte, l *[]Resource) {
	for _, r := range *l {
		typ, name := strings.ToValidUTF8(r.Type, "\uFFFD"), strings.ToValidUTF8(r.Name, "\uFFFD")
		e.b = append(e.b, tag)
		e.b = binary.AppendUvarint(e.b, uint64(uvarintLen(uint64(len(typ)))+len(typ)+len(name)))
		e.sized(typ)
		e.b = append(e.b, name...)
	}
}

func (e *encoder) refusals(tag byte, l *[]Refusal) {
	for _, r := range *l {
		v := encoder{}
		v.b = binary.AppendUvarint(v.b, r.Count)
		v.sized(strings.ToValidUTF8(r.Source, "\uFFFD"))
		v.sized(strings.ToValidUTF8(r.Account, "\uFFFD"))
		v.b = append(v.b, strings.ToValidUTF8(r.Code, "\uFFFD")...)
		e.b = append(e.b, tag)
		e.b = binary.AppendUvarint(e.b, uint64(len(v.b)))
		e.b = append(e.b, v.b...)
	}
}

func uvarintLen(n uint64) int {
	var v [binary.MaxVarintLen64]byte
	return binary.PutUvarint(v[:], n)
}

// Unmarshal reads a stored form. It accepts only what [Record.Marshal] writes:
// encoding the result again gives the same bytes. The result keeps nothing of b.
func Unmarshal(b []byte) (*Record, error) {
	if len(b) == 0 || len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	if b[0] != formatVersion {
		return nil, fmt.Errorf("%w: version %d, this program reads %d", ErrMalformed, b[0], formatVersion)
	}
	r := &Record{}
	d := decoder{rest: string(b[1:])}
	r.visit(&d)
	if d.bad || d.rest != "" {
		return nil, fmt.Errorf("%w: at byte %d", ErrMalformed, len(b)-len(d.rest))
	}
	return r, nil
}

// decoder takes fields off the front of rest. It works on a string so that
// texts are parts of one allocation.
type decoder struct {
	rest string
	bad  bool
}

// field returns the value of the next field if it has that tag.
func (d *decoder) field(tag byte) (string, bool) {
	if d.bad || d.rest == "" || d.rest[0] != tag {
		return "", false
	}
	rest := d.rest[1:]
	v, rest, ok := cutSized(rest)
	if !ok {
		d.bad = true
		return "", false
	}
	d.rest = rest
	return v, true
}

// check remembers that something was wrong.
func (d *decoder) check(ok bool) bool {
	d.bad = d.bad || !ok
	return ok
}

func (d *decoder) text(tag byte, s *string, _ bool) {
	if v, ok := d.field(tag); ok && d.check(v != "" && utf8.ValidString(v)) {
		*s = v
	}
}

func (d *decoder) raw(tag byte, s *json.RawMessage) {
	var t string
	if d.text(tag, &t, long); t != "" {
		*s = json.RawMessage(t)
	}
}

func (d *decoder) list(tag byte, l *[]string) {
	for v, ok := d.field(tag); ok && d.check(utf8.ValidString(v)); v, ok = d.field(tag) {
		*l = append(*l, v)
	}
}

func (d *decoder) number(tag byte, n *uint64) {
	v, ok := d.field(tag)
	if !ok {
		return
	}
	u, rest, ok := cutUvarint(v)
	if d.check(ok && rest == "" && u != 0) {
		*n = u
	}
}

func (d *decoder) integer(tag byte, n *int64) {
	var u uint64
	if d.number(tag, &u); d.check(u <= math.MaxInt64) {
		*n = int64(u)
	}
}

func (d *decoder) status(tag byte, n *int) {
	var u uint64
	if d.number(tag, &u); d.check(u <= math.MaxInt32) {
		*n = int(u)
	}
}

func (d *decoder) flag(tag byte, b *bool) {
	if v, ok := d.field(tag); ok && d.check(v == "") {
		*b = true
	}
}

func (d *decoder) time(tag byte, t *time.Time) {
	if v, ok := d.field(tag); ok && d.check(len(v) == 8) {
		*t = time.Unix(0, int64(binary.BigEndian.Uint64([]byte(v)))).UTC()
	}
}

func (d *decoder) pairs(tag byte, m *map[string]string) {
	last := ""
	for v, ok := d.field(tag); ok; v, ok = d.field(tag) {
		name, value, ok := cutSized(v)
		if !d.check(ok && utf8.ValidString(name) && utf8.ValidString(value) && (*m == nil || name > last)) {
			return
		}
		if *m == nil {
			*m = make(map[string]string)
		}
		(*m)[name] = value
		last = name
	}
}

func (d *decoder) resources(tag byte, l *[]Resource) {
	for v, ok := d.field(tag); ok; v, ok = d.field(tag) {
		typ, name, ok := cutSized(v)
		if !d.check(ok && utf8.ValidString(typ) && utf8.ValidString(name)) {
			return
		}
		*l = append(*l, Resource{typ, name})
	}
}

func (d *decoder) refusals(tag byte, l *[]Refusal) {
	for v, ok := d.field(tag); ok; v, ok = d.field(tag) {
		count, v, ok1 := cutUvarint(v)
		source, v, ok2 := cutSized(v)
		account, code, ok3 := cutSized(v)
		valid := utf8.ValidString(source) && utf8.ValidString(account) && utf8.ValidString(code)
		if !d.check(ok1 && ok2 && ok3 && valid) {
			return
		}
		*l = append(*l, Refusal{Source: source, Account: account, Code: code, Count: count})
	}
}

// cutSized splits off a text that is preceded by its length.
func cutSized(s string) (text, rest string, ok bool) {
	n, s, ok := cutUvarint(s)
	if !ok || n > uint64(len(s)) {
		return "", "", false
	}
	return s[:n], s[n:], true
}

// cutUvarint splits off a number in its shortest form; a longer one would give
// the same record a second stored form.
func cutUvarint(s string) (n uint64, rest string, ok bool) {
	var v [binary.MaxVarintLen64]byte
	n, size := binary.Uvarint(v[:copy(v[:], s)])
	if size <= 0 || size != uvarintLen(n) {
		return 0, "", false
	}
	return n, s[size:], true
}
