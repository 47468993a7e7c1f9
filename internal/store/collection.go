package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

// How to add a kind of record
//
//  1. Declare its type in records.go: a plain struct with JSON tags, without
//     mask types (they marshal as stars; define panics). If something must be
//     compiled once per stored record, keep it in a field tagged `json:"-"` and
//     give the pointer type a method Loaded() error.
//  2. Declare its collection in collections.go:
//
//	var Users = define[User]("ram/*/users/*")
//
//     The shape is the etcd key below /sesame/v1/. A record's key within its
//     collection is what the stars match, joined by "/": here
//     "<account>/<user name>". Only the last star may match a "/".
//  3. Give it a key builder, which keeps a "/" in a part from moving the record
//     to another account:
//
//	func UserKey(account, name string) string { return join(account, name) }
//
// Then Users.Get(view, UserKey(a, n)), Users.Scan(view, AccountPrefix(a), fn),
// and inside Commit: Users.Read(tx, …), Users.Put(tx, …), Users.Delete(tx, …).

// Root is the etcd prefix of everything the server keeps. A key outside of it
// would raise etcd's revision without the replica seeing it, and so hold up
// every read.
const Root = "/sesame/"

// Prefix is the etcd prefix of the records.
const Prefix = Root + "v1/"

// Collection is a typed view of the records whose etcd keys have one shape.
// Its methods are safe for concurrent use. What Get and Scan hand out is shared
// by all readers: callers must not change it.
type Collection[T any] struct {
	index int
	shape shape
	// plain collections hold bytes as they are (T is rawRecord), without JSON.
	plain bool
	// unsigned collections carry no MAC because their records are sealed by an
	// AEAD whose keys this package does not know.
	unsigned bool
}

// loader is implemented by records that prepare themselves after decoding.
type loader interface{ Loaded() error }

// rawRecord is the record type of collections that hold bytes.
type rawRecord struct{ data []byte }

// collection is what the applier needs of a Collection[T].
type collection interface {
	name() string
	id() int
	// signed reports that the values bear a MAC.
	signed() bool
	newTree() tree
	etcdKey(key string) (string, error)
	// decode verifies and decodes a stored value. The item is to be put into the
	// collection's tree even if err says that it failed.
	decode(mac MACer, etcdKey, key string, value []byte, rev int64) (item any, err error)
}

var registry struct {
	sync.Mutex
	all  []collection
	root shapeNode
}

// define registers a collection. It panics on a wrong or double declaration,
// and is called only while package variables are initialised.
func define[T any](pattern string) *Collection[T] {
	c := &Collection[T]{shape: parseShape(pattern)}
	if path := maskedField(reflect.TypeFor[T](), nil); path != "" {
		panic("store: record " + pattern + " has a masked field and would be stored as stars: " + path)
	}
	_, c.plain = any(new(T)).(*rawRecord)
	registry.Lock()
	defer registry.Unlock()
	c.index = len(registry.all)
	registry.all = append(registry.all, c)
	registry.root.insert(c.shape, c)
	return c
}

// defineUnsigned registers a collection of sealed bytes.
func defineUnsigned(pattern string) *Collection[rawRecord] {
	c := define[rawRecord](pattern)
	c.unsigned = true
	return c
}

// maskedField returns the path of a field of a mask type in t, or "".
func maskedField(t reflect.Type, seen []reflect.Type) string {
	switch t {
	case reflect.TypeFor[mask.Text](), reflect.TypeFor[mask.Bytes]():
		return t.String()
	}
	for _, s := range seen {
		if s == t {
			return ""
		}
	}
	seen = append(seen, t)
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return maskedField(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() || f.Tag.Get("json") == "-" {
				continue
			}
			if path := maskedField(f.Type, seen); path != "" {
				return f.Name + ": " + path
			}
		}
	}
	return ""
}

// Get returns the record of that key in the view. It is shared: do not change
// it. Errors: ErrNotFound, ErrTampered.
func (c *Collection[T]) Get(v *View, key string) (*T, error) {
	e, ok := c.find(v, key)
	switch {
	case !ok:
		return nil, ErrNotFound
	case e.err != nil:
		return nil, e.err
	}
	return &e.rec, nil
}

// Scan calls fn for every sound record whose key starts with prefix, in the
// order of keys, until fn returns false. Records that fail their integrity check
// are passed over and reported after the others by an ErrTampered: whoever
// needs the set to be complete must look at the error. The records are shared:
// do not change them.
func (c *Collection[T]) Scan(v *View, prefix string, fn func(key string, rec *T) bool) error {
	var failed error
	c.ascend(v, prefix, prefix, func(key string, e *entry[T]) bool {
		if e.err != nil {
			if failed == nil {
				failed = e.err
			}
			return true
		}
		return fn(key, &e.rec)
	})
	return failed
}

// Read returns a copy of the record that the caller may change and Put: what
// the transaction staged itself, else what is in its view. The commit then
// fails with ErrConflict if the record in etcd is no longer the one in the
// view, absence included. Errors: ErrNotFound, ErrTampered.
func (c *Collection[T]) Read(tx *Tx, key string) (*T, error) {
	etcdKey, err := c.etcdKey(key)
	if err != nil {
		return nil, ErrNotFound // no record can have this key
	}
	e, ok := c.find(tx.view, key)
	tx.compare(etcdKey, revOf(e, ok))
	if st := tx.staged[etcdKey]; st != nil {
		if st.deleted {
			return nil, ErrNotFound
		}
		rec, err := c.unmarshal(st.body)
		if err != nil {
			return nil, fmt.Errorf("read staged %s: %w", c.shape.pattern, err)
		}
		return rec, nil
	}
	switch {
	case !ok:
		return nil, ErrNotFound
	case e.err != nil:
		return nil, e.err
	}
	body, err := c.marshal(&e.rec)
	if err != nil {
		return nil, fmt.Errorf("copy %s: %w", c.shape.pattern, err)
	}
	return c.unmarshal(body)
}

// Vacant makes the commit compare that there is no record of that key; if there
// is one, taken is returned.
func (c *Collection[T]) Vacant(tx *Tx, key string, taken error) error {
	_, err := c.Read(tx, key)
	switch {
	case err == nil:
		return taken
	case errors.Is(err, ErrNotFound):
		return nil
	}
	return err
}

// Put stages the record; it is encoded at once, later changes to rec have no
// effect. It compares nothing by itself: Read first, unless the record may be
// overwritten whatever it holds. A key that does not fit the collection's shape
// or a record that could not be read back fails the commit.
func (c *Collection[T]) Put(tx *Tx, key string, rec *T) {
	etcdKey, err := c.etcdKey(key)
	if err != nil {
		tx.fail(err)
		return
	}
	body, err := c.marshal(rec)
	if err == nil {
		_, err = c.unmarshal(body)
	}
	if err != nil {
		tx.fail(fmt.Errorf("encode %s: %w", c.shape.pattern, err))
		return
	}
	value := body
	if !c.unsigned {
		if value, err = sign(tx.s.cfg.MAC, etcdKey, body); err != nil {
			tx.fail(fmt.Errorf("sign %s: %w", c.shape.pattern, err))
			return
		}
	}
	tx.stage(etcdKey, &staged{body: body, value: value})
}

// Delete stages the removal of the record. It compares nothing by itself, and
// removing what does not exist is no error.
func (c *Collection[T]) Delete(tx *Tx, key string) {
	etcdKey, err := c.etcdKey(key)
	if err != nil {
		tx.fail(err)
		return
	}
	tx.stage(etcdKey, &staged{deleted: true})
}

// Len returns how many records the view holds, failed ones included.
func (c *Collection[T]) Len(v *View) int { return v.trees[c.index].length() }

func (c *Collection[T]) name() string { return c.shape.pattern }
func (c *Collection[T]) id() int      { return c.index }
func (c *Collection[T]) signed() bool { return !c.unsigned }

func (c *Collection[T]) etcdKey(key string) (string, error) {
	k, ok := c.shape.fill(key)
	if !ok {
		return "", fmt.Errorf("key %q does not fit %s", key, c.shape.pattern)
	}
	return Prefix + k, nil
}

func (c *Collection[T]) decode(mac MACer, etcdKey, key string, value []byte, rev int64) (any, error) {
	it := item[T]{key: key, e: &entry[T]{rev: rev}}
	body := value
	var err error
	if !c.unsigned {
		body, err = verify(mac, etcdKey, value)
	}
	if err == nil {
		err = c.unmarshalInto(body, &it.e.rec)
	}
	if err != nil {
		it.e = &entry[T]{rev: rev, err: fmt.Errorf("%w: %s: %w", ErrTampered, etcdKey, err)}
	}
	return it, err
}

func (c *Collection[T]) marshal(rec *T) ([]byte, error) {
	if c.plain {
		return bytes.Clone(any(rec).(*rawRecord).data), nil
	}
	return json.Marshal(rec)
}

func (c *Collection[T]) unmarshal(body []byte) (*T, error) {
	rec := new(T)
	if err := c.unmarshalInto(body, rec); err != nil {
		return nil, err
	}
	return rec, nil
}

func (c *Collection[T]) unmarshalInto(body []byte, rec *T) error {
	if c.plain {
		any(rec).(*rawRecord).data = bytes.Clone(body)
		return nil
	}
	if err := json.Unmarshal(body, rec); err != nil {
		// The text of a JSON error can quote the record.
		return errors.New("not the JSON of its record type")
	}
	if l, ok := any(rec).(loader); ok {
		return l.Loaded()
	}
	return nil
}

// invalidKey fits no shape: Get finds nothing under it, Put fails.
const invalidKey = ""

// join builds a key from its parts. Only the last may hold a "/": otherwise a
// part could reach into another account's records, and the result is a key
// that no record has.
func join(parts ...string) string {
	for i, p := range parts {
		if p == "" || i < len(parts)-1 && strings.Contains(p, "/") {
			return invalidKey
		}
	}
	return strings.Join(parts, "/")
}
