package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what fits into the kernel's address of a Unix socket, with its final zero byte.
const maxSocketPath = 107

// listen makes a Unix socket with the given mode. A socket that a dead process left behind is replaced; one that
// somebody answers on is not.
func listen(path string, mode fs.FileMode) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket %s: the path has %d bytes; a Unix socket's has at most %d", path, len(path), maxSocketPath)
	}
	if err := removeStale(path); err != nil {
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

func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("something that is not a socket is in its place")
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		return errors.Join(errors.New("another process is listening there"), conn.Close())
	}
	return os.Remove(path)
}
