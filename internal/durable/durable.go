// Package durable writes small files so that they survive the loss of power, whole: the new content or the old.
//
// It is for the anchor, for signerd init, and for whoever reads small files. It never appends, and never reads more than it was told to.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// WriteFile replaces path by data with the given mode: it writes a temporary file beside it, syncs, renames, and syncs
// the folder. After an error the old content is still there, unless it was the last step that failed.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	unfinished, err := writeBeside(path, data, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(unfinished, path); err != nil {
		return errors.Join(err, os.Remove(unfinished))
	}
	return SyncDir(filepath.Dir(path))
}

// CreateFile is WriteFile for a path that must not exist: otherwise fs.ErrExist, and nothing is replaced.
func CreateFile(path string, data []byte, mode fs.FileMode) error {
	unfinished, err := writeBeside(path, data, mode)
	if err != nil {
		return err
	}
	if err := MoveNew(unfinished, path); err != nil {
		return errors.Join(err, os.Remove(unfinished))
	}
	return nil
}

// MoveNew renames a file durably to a path that must not exist: otherwise fs.ErrExist, and nothing is replaced. At no
// moment has the file two names.
func MoveNew(from, to string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return SyncDir(filepath.Dir(to))
}

// writeBeside writes data durably to a temporary file in path's folder.
func writeBeside(path string, data []byte, mode fs.FileMode) (name string, err error) {
	removeLeftovers(path)
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// leftoverAge is far longer than any write of a small file takes.
const leftoverAge = time.Minute

// removeLeftovers removes the temporary files of processes that were killed while they wrote path. What cannot be
// removed stays: it harms nobody.
func removeLeftovers(path string) {
	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp"))
	if err != nil {
		return
	}
	for _, name := range names {
		if info, err := os.Lstat(name); err == nil && time.Since(info.ModTime()) > leftoverAge {
			_ = os.Remove(name)
		}
	}
}

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// File is a small file that is read and replaced as a whole. It is not safe for concurrent writing.
type File struct {
	Path string
	// Max is the largest content Read accepts, in bytes.
	Max int64
	// Mode is what Write gives the file.
	Mode fs.FileMode
}

// ErrTooLarge says that a file is larger than its reader accepts.
var ErrTooLarge = errors.New("the file is larger than it may be")

// Read gives the content; nil when there is no file.
func (f File) Read() ([]byte, error) {
	b, err := ReadLimited(f.Path, f.Max)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Write replaces the content, as WriteFile does.
func (f File) Write(b []byte) error { return WriteFile(f.Path, b, f.Mode) }

// ErrNotRegular says that a path is a folder, a pipe or a device.
var ErrNotRegular = errors.New("it is not a regular file")

// ReadLimited reads a regular file of at most limit bytes; a larger one is ErrTooLarge, another kind ErrNotRegular.
func ReadLimited(path string, limit int64) ([]byte, error) {
	// Without O_NONBLOCK, opening a pipe would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", path, ErrNotRegular), err)
	}
	return ReadAllLimited(f, path, limit)
}

// ReadAllLimited reads r to its end, at most limit bytes; name is for the error. More is ErrTooLarge.
func ReadAllLimited(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: %w (%d bytes)", name, ErrTooLarge, limit)
	}
	return b, nil
}
