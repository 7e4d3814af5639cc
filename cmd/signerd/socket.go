package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what fits into the kernel's address of a Unix socket, with its final zero byte.
const maxSocketPath = 107

// listen makes a Unix socket with the given mode. A socket that a dead process left behind is replaced; one that
// somebody answers on is not.
func listen(path string, mode fs.FileMode) (net.Listener, error) {
	exists, err := checkSocket(path)
	if err == nil && exists {
		err = removeStale(path)
	}
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	// The mode is right from the first moment on: a chmod afterwards would leave a gap. Nothing else makes files now.
	old := unix.Umask(int(^mode & fs.ModePerm))
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	return l, nil
}

// checkSocket says whether a socket could be made at path, and whether there is one already.
func checkSocket(path string) (exists bool, err error) {
	if len(path) > maxSocketPath {
		return false, fmt.Errorf("the path has %d bytes; a Unix socket's has at most %d", len(path), maxSocketPath)
	}
	if folder, err := os.Stat(filepath.Dir(path)); err != nil {
		return false, err
	} else if !folder.IsDir() {
		return false, fmt.Errorf("%s is not a folder", filepath.Dir(path))
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case info.Mode().Type() != fs.ModeSocket:
		return false, errors.New("something that is not a socket is in its place")
	}
	return true, nil
}

// removeStale removes a socket that provably nobody listens on: any answer but a refusal may be a busy listener.
func removeStale(path string) error {
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		return errors.Join(errors.New("another process is listening there"), conn.Close())
	case !errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("another process may be listening there: %w", err)
	}
	return os.Remove(path)
}
