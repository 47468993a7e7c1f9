package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
)

const pageSize = 512 // what a disk writes whole or not at all

// fakeFS keeps files in memory, with two contents each: what a process reads
// (the page cache) and what is on the disk. Only a sync moves the former to the
// latter; crash forgets the rest, or all but some pages of it. Hooks make calls
// fail or wait.
type fakeFS struct {
	// before is called before each operation: "write", "sync", "datasync",
	// "create", "syncdir". Its error is the operation's. It may block.
	before func(op, name string) error
	// lazy leaves out what syncs are for, to see the tests notice.
	lazy bool

	mu      sync.Mutex
	names   map[string]*fakeNode // as a process sees them
	durable map[string]*fakeNode // as on the disk
}

type fakeNode struct {
	cache, disk []byte
	dirty       map[int]bool // pages that the kernel knows it must still write
}

func newFakeFS() *fakeFS {
	return &fakeFS{names: map[string]*fakeNode{}, durable: map[string]*fakeNode{}}
}

func (f *fakeFS) call(op, name string) error {
	if f.before == nil {
		return nil
	}
	return f.before(op, filepath.Base(name))
}

// crash returns the file system as found after the machine went down: what was
// synced, and of the rest the pages that keep chooses.
func (f *fakeFS) crash(keep func() bool) *fakeFS {
	f.mu.Lock()
	defer f.mu.Unlock()
	after := newFakeFS()
	for name, n := range f.durable {
		for p := range n.dirty {
			if keep() {
				n.writeBack(p)
			}
		}
		m := &fakeNode{cache: append([]byte(nil), n.disk...), disk: append([]byte(nil), n.disk...), dirty: map[int]bool{}}
		after.names[name], after.durable[name] = m, m
	}
	return after
}

func (n *fakeNode) writeBack(page int) {
	from, to := page*pageSize, min((page+1)*pageSize, len(n.cache))
	if grow := to - len(n.disk); grow > 0 {
		n.disk = append(n.disk, make([]byte, grow)...)
	}
	copy(n.disk[from:to], n.cache[from:to])
}

// files returns the names of all files.
func (f *fakeFS) files() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.names))
}

func (f *fakeFS) MkdirAll(string) error { return nil }

func (f *fakeFS) List(dir string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for name := range f.names {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	return names, nil
}

func (f *fakeFS) Create(name string) (File, error) {
	if err := f.call("create", name); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names[name] != nil {
		return nil, fmt.Errorf("create %s: %w", name, fs.ErrExist)
	}
	n := &fakeNode{dirty: map[int]bool{}}
	f.names[name] = n
	return &fakeFile{f, n, name}, nil
}

func (f *fakeFS) Open(name string) (File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.names[name]
	if n == nil {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	return &fakeFile{f, n, name}, nil
}

func (f *fakeFS) OpenRead(name string) (File, error) { return f.Open(name) }

func (f *fakeFS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.names, name)
	return nil
}

func (f *fakeFS) SyncDir(dir string) error {
	if err := f.call("syncdir", dir); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lazy {
		return nil
	}
	f.durable = map[string]*fakeNode{}
	for name, n := range f.names {
		f.durable[name] = n
	}
	return nil
}

type fakeFile struct {
	fs   *fakeFS
	n    *fakeNode
	name string
}

func (f *fakeFile) ReadAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off >= int64(len(f.n.cache)) {
		return 0, io.EOF
	}
	n := copy(b, f.n.cache[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *fakeFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.fs.call("write", f.name); err != nil {
		if errors.Is(err, errHalfWritten) {
			_ = f.write(b[:len(b)/2], off)
		}
		return 0, err
	}
	return len(b), f.write(b, off)
}

func (f *fakeFile) write(b []byte, off int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if grow := int(off) + len(b) - len(f.n.cache); grow > 0 {
		f.n.cache = append(f.n.cache, make([]byte, grow)...)
	}
	copy(f.n.cache[off:], b)
	for p := int(off) / pageSize; p*pageSize < int(off)+len(b); p++ {
		f.n.dirty[p] = true
	}
	return nil
}

// Sync, when it fails, leaves the pages unwritten and yet clean, as Linux does:
// no later sync will write them.
func (f *fakeFile) Sync() error     { return f.sync("sync") }
func (f *fakeFile) Datasync() error { return f.sync("datasync") }

func (f *fakeFile) sync(op string) error {
	err := f.fs.call(op, f.name)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.lazy && op == "datasync" {
		return err
	}
	if err == nil {
		for p := range f.n.dirty {
			f.n.writeBack(p)
		}
	}
	clear(f.n.dirty)
	return err
}

func (f *fakeFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.n.cache)), nil
}

func (f *fakeFile) Close() error { return nil }

// errHalfWritten makes a write fail after half of it.
var errHalfWritten = errors.New("injected: half written")

func keepNone() bool { return false }

func keepSome(r *rand.Rand) func() bool { return func() bool { return r.IntN(2) == 0 } }
