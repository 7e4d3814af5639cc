// Package disk is the few file operations that an audit log needs, and the seam at which its tests make disks fail.
//
// It is for audit and the packages below it. It knows nothing of what files hold.
package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoFile says that what has the name is a link, a folder or a pipe.
var ErrNoFile = errors.New("it is no regular file")

// FS is one folder. Names have no separators. All methods are safe for concurrent use.
type FS interface {
	// Open opens a file as os.OpenFile does; one that is made gets mode 0600.
	Open(name string, flag int) (File, error)
	// Stat tells of the file that has the name now: of a symbolic link, not of what it names.
	Stat(name string) (fs.FileInfo, error)
	// List gives the names in the folder, in no order.
	List() ([]string, error)
	Rename(from, to string) error
	Remove(name string) error
	// Sync makes the names in the folder durable.
	Sync() error
	// Writable reports why no file could be made in the folder; nil if one could. It writes nothing.
	Writable() error
}

// File is an open file. Its methods are those of os.File; Sync makes its content durable, not its name.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Truncate(size int64) error
	Stat() (fs.FileInfo, error)
}

// Dir is a folder of the operating system.
type Dir string

func (d Dir) path(name string) string { return string(d) + string(os.PathSeparator) + name }

// Open implements FS.
func (d Dir) Open(name string, flag int) (File, error) {
	// Not blocking: a pipe would wait for somebody at its other end.
	f, err := os.OpenFile(d.path(name), flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENXIO):
		return nil, &fs.PathError{Op: "open", Path: d.path(name), Err: ErrNoFile}
	case err != nil:
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: d.path(name), Err: ErrNoFile}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return file{f}, nil
}

// Stat implements FS.
func (d Dir) Stat(name string) (fs.FileInfo, error) { return os.Lstat(d.path(name)) }

// List implements FS.
func (d Dir) List() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// Rename implements FS.
func (d Dir) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

// Remove implements FS.
func (d Dir) Remove(name string) error { return os.Remove(d.path(name)) }

// Sync implements FS.
func (d Dir) Sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Writable implements FS.
func (d Dir) Writable() error {
	if err := unix.Access(string(d), unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "access", Path: string(d), Err: err}
	}
	return nil
}

type file struct{ *os.File }

// Sync is fdatasync: content and size are durable then, the times of the file may not be.
func (f file) Sync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// SameFile says whether both tell of the same file, whatever its name. What another FS than Dir tells has the same Sys then.
func SameFile(a, b fs.FileInfo) bool { return os.SameFile(a, b) || a.Sys() == b.Sys() }
