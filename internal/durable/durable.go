// Package durable writes small files so that they survive the loss of power, whole: the new content or the old.
//
// It is for the keystore's anchor and for signerd init. It never appends, and never reads more than it was told to.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
	// A link, unlike a rename, replaces nothing.
	err = os.Link(unfinished, path)
	return errors.Join(err, os.Remove(unfinished), SyncDir(filepath.Dir(path)))
}

// writeBeside writes data durably to a temporary file in path's folder.
func writeBeside(path string, data []byte, mode fs.FileMode) (name string, err error) {
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

// ReadLimited reads a file of at most limit bytes; a larger one is ErrTooLarge.
func ReadLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
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
