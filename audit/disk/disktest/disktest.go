// Package disktest is a disk in memory that fails, hangs and loses power as a test says. It is for the tests of audit.
package disktest

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/signerd/signerd/audit/disk"
)

// Op is one operation that could fail.
type Op struct {
	// What is "open", "create", "stat", "list", "rename", "remove", "syncdir", "writable", "write", "sync", "truncate", "read".
	What string
	Name string
}

// Mem is a disk.FS in memory. What was not synced is lost, in part or as a whole, by Crash.
type Mem struct {
	mu      sync.Mutex
	ask     func(Op) error
	names   map[string]*inode
	durable map[string]*inode
	pending []func(map[string]*inode)
}

// ErrShort fails a write after half of it.
var ErrShort = fmt.Errorf("short write: %w", io.ErrShortWrite)

type inode struct {
	data, synced []byte
	writes       []change
}

type change struct {
	data []byte // nil for a truncation
	at   int64
}

func (c change) apply(data []byte) []byte {
	if c.data == nil {
		return resize(data, c.at)
	}
	if end := c.at + int64(len(c.data)); int64(len(data)) < end {
		data = resize(data, end)
	}
	copy(data[c.at:], c.data)
	return data
}

func resize(data []byte, size int64) []byte {
	if size <= int64(len(data)) {
		return data[:size]
	}
	return append(data, make([]byte, size-int64(len(data)))...)
}

// New is an empty disk.
func New() *Mem { return &Mem{names: map[string]*inode{}, durable: map[string]*inode{}} }

func (m *Mem) fault(what, name string) error {
	m.mu.Lock()
	ask := m.ask
	m.mu.Unlock()
	if ask == nil {
		return nil
	}
	err := ask(Op{what, name})
	if err != nil && err != ErrShort {
		err = &fs.PathError{Op: what, Path: name, Err: err}
	}
	return err
}

// Fault has ask be asked before each operation from now on: an error fails it; of a write, ErrShort writes half. It may block. Nil ends it.
func (m *Mem) Fault(ask func(Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ask = ask
}

// Crash gives the disk as it may be after a loss of power: all that was synced, and of the rest what random leaves; nothing for nil.
func (m *Mem) Crash(random *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := New()
	names := maps.Clone(m.durable)
	for _, change := range m.pending {
		if random != nil && random.IntN(2) == 0 {
			change(names)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		node := names[name]
		data := slices.Clone(node.synced)
		for _, c := range node.writes {
			switch {
			case random == nil || random.IntN(3) == 0:
				continue
			case c.data != nil && random.IntN(2) == 0:
				c.data = c.data[:random.IntN(len(c.data)+1)]
			}
			if c.data == nil || len(c.data) > 0 {
				data = c.apply(data)
			}
		}
		kept := &inode{data: data, synced: slices.Clone(data)}
		after.names[name], after.durable[name] = kept, kept
	}
	return after
}

// Clone is a copy of the disk, as a backup is.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := New()
	for name, node := range m.names {
		kept := &inode{data: slices.Clone(node.data), synced: slices.Clone(node.data)}
		out.names[name], out.durable[name] = kept, kept
	}
	return out
}

// Read gives the content of a file; nil where there is none.
func (m *Mem) Read(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if node := m.names[name]; node != nil {
		return slices.Clone(node.data)
	}
	return nil
}

// Put makes a file of that content, another file than the one that had the name.
func (m *Mem) Put(name string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := &inode{data: slices.Clone(data), synced: slices.Clone(data)}
	m.names[name], m.durable[name] = node, node
}

// Cut shortens a file behind its writer's back.
func (m *Mem) Cut(name string, size int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.names[name]
	node.data, node.synced, node.writes = node.data[:size], slices.Clone(node.data[:size]), nil
}

// Names are the names in the folder, sorted.
func (m *Mem) Names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.names))
}

// Open implements disk.FS.
func (m *Mem) Open(name string, flag int) (disk.File, error) {
	what := "open"
	if flag&os.O_CREATE != 0 {
		what = "create"
	}
	if err := m.fault(what, name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.names[name]
	switch {
	case node == nil && flag&os.O_CREATE == 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	case node != nil && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EEXIST}
	case node == nil:
		node = &inode{}
		m.link(func(names map[string]*inode) { names[name] = node })
	}
	return &file{m, name, node}, nil
}

// link changes names, durably only at the next sync. The caller holds m.mu.
func (m *Mem) link(change func(map[string]*inode)) {
	change(m.names)
	m.pending = append(m.pending, change)
}

// Stat implements disk.FS.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	if err := m.fault("stat", name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.names[name]
	if node == nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: syscall.ENOENT}
	}
	return info{name, int64(len(node.data)), node}, nil
}

// List implements disk.FS.
func (m *Mem) List() ([]string, error) {
	if err := m.fault("list", ""); err != nil {
		return nil, err
	}
	return m.Names(), nil
}

// Rename implements disk.FS.
func (m *Mem) Rename(from, to string) error {
	if err := m.fault("rename", from); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.names[from]
	if node == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: syscall.ENOENT}
	}
	m.link(func(names map[string]*inode) {
		delete(names, from)
		names[to] = node
	})
	return nil
}

// Remove implements disk.FS.
func (m *Mem) Remove(name string) error {
	if err := m.fault("remove", name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOENT}
	}
	m.link(func(names map[string]*inode) { delete(names, name) })
	return nil
}

// Sync implements disk.FS.
func (m *Mem) Sync() error {
	if err := m.fault("syncdir", ""); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.durable, m.pending = maps.Clone(m.names), nil
	return nil
}

// Writable implements disk.FS.
func (m *Mem) Writable() error { return m.fault("writable", "") }

type file struct {
	m    *Mem
	name string
	node *inode
}

func (f *file) ReadAt(p []byte, at int64) (int, error) {
	if err := f.m.fault("read", f.name); err != nil {
		return 0, err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if at >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, at int64) (int, error) {
	err := f.m.fault("write", f.name)
	if err == ErrShort {
		p = p[:len(p)/2]
	} else if err != nil {
		return 0, err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	c := change{append(make([]byte, 0, len(p)+1), p...), at}
	if len(p) > 0 {
		f.node.data = c.apply(f.node.data)
		f.node.writes = append(f.node.writes, c)
	}
	return len(p), err
}

func (f *file) Sync() error {
	if err := f.m.fault("sync", f.name); err != nil {
		// What was not written is forgotten, as kernels do: a later sync says nothing of it.
		f.m.mu.Lock()
		defer f.m.mu.Unlock()
		f.node.writes = nil
		return err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	for _, c := range f.node.writes {
		f.node.synced = c.apply(f.node.synced)
	}
	f.node.writes = nil
	return nil
}

func (f *file) Truncate(size int64) error {
	if err := f.m.fault("truncate", f.name); err != nil {
		return err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	c := change{nil, size}
	f.node.data = c.apply(f.node.data)
	f.node.writes = append(f.node.writes, c)
	return nil
}

func (f *file) Stat() (fs.FileInfo, error) {
	if err := f.m.fault("stat", f.name); err != nil {
		return nil, err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return info{f.name, int64(len(f.node.data)), f.node}, nil
}

func (f *file) Close() error { return nil }

type info struct {
	name string
	size int64
	node *inode
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return 0o600 }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return false }
func (i info) Sys() any           { return i.node }
