package store

import (
	"strings"

	"github.com/google/btree"
)

// View is an immutable snapshot of all records at one etcd revision. It is safe
// for concurrent use and costs nothing to keep, except the memory of the
// records replaced since.
type View struct {
	rev     int64
	cluster uint64 // etcd's cluster id
	// gen counts the replica's loads; revisions of different loads are not
	// comparable, since the store may have been restored between them.
	gen uint64
	// live is false for the stand-in published while the replica is dropped.
	live    bool
	trees   []tree // by Collection.index, never changed
	backlog int    // outbox records of this node
	// next is closed when this view has been superseded.
	next chan struct{}
}

// Rev returns the etcd revision of the view.
func (v *View) Rev() int64 { return v.rev }

// Len returns how many records the view holds, of all kinds.
func (v *View) Len() int {
	n := 0
	for _, t := range v.trees {
		n += t.length()
	}
	return n
}

// Superseded returns a channel that is closed when the state has moved on.
func (v *View) Superseded() <-chan struct{} { return v.next }

// degree of the trees: a node holds up to 63 items, so 100,000 records are three
// levels deep, and a change copies three nodes of at most 1.5 KB.
const degree = 32

// entry is a record as the replica keeps it.
type entry[T any] struct {
	rev int64 // ModRevision
	err error // ErrTampered; rec is zero then
	rec T
}

// item is held by value, so that a look-up needs no allocation for its pivot.
type item[T any] struct {
	key string
	e   *entry[T]
}

func lessItem[T any](a, b item[T]) bool { return a.key < b.key }

// tree is what the applier needs of a records[T].
type tree interface {
	put(item any) (replaced bool)
	remove(key string) (existed bool)
	// clone returns a snapshot that later changes do not touch.
	clone() tree
	length() int
	// each calls fn with the keys in order.
	each(fn func(key string))
}

// records is a persistent ordered map: the applier owns the one it changes and
// publishes clones, which share nodes with it until it changes them.
type records[T any] struct{ b *btree.BTreeG[item[T]] }

func (c *Collection[T]) newTree() tree {
	return &records[T]{btree.NewG(degree, lessItem[T])}
}

func (r *records[T]) put(it any) bool {
	_, replaced := r.b.ReplaceOrInsert(it.(item[T]))
	return replaced
}

func (r *records[T]) remove(key string) bool {
	_, existed := r.b.Delete(item[T]{key: key})
	return existed
}

func (r *records[T]) clone() tree { return &records[T]{r.b.Clone()} }
func (r *records[T]) length() int { return r.b.Len() }
func (r *records[T]) each(fn func(key string)) {
	r.b.Ascend(func(it item[T]) bool { fn(it.key); return true })
}

func (c *Collection[T]) find(v *View, key string) (*entry[T], bool) {
	it, ok := v.trees[c.index].(*records[T]).b.Get(item[T]{key: key})
	return it.e, ok
}

// ascend calls fn for the entries whose keys have the prefix and are not less
// than from.
func (c *Collection[T]) ascend(v *View, prefix, from string, fn func(key string, e *entry[T]) bool) {
	v.trees[c.index].(*records[T]).b.AscendGreaterOrEqual(item[T]{key: from}, func(it item[T]) bool {
		return strings.HasPrefix(it.key, prefix) && fn(it.key, it.e)
	})
}

// revOf is the revision to compare an entry by; 0 stands for absence.
func revOf[T any](e *entry[T], ok bool) int64 {
	if !ok {
		return 0
	}
	return e.rev
}
