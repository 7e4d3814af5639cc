// Package rootkey holds the providers of root keys: what wraps the keyring that seals the store.
//
// It is for cmd/signerd, which makes one from configuration and hands it to keystore as its RootKey. It never sees a
// record.
package rootkey

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/signerd/signerd/internal/durable"
	"github.com/signerd/signerd/internal/secret"
)

// A root key file is one line: this prefix, and 32 random bytes in base64.
const (
	filePrefix   = "signerd-root-key-v1:"
	keySize      = 32
	maxFileBytes = 256
)

// CredentialsDirectory is the environment variable in which systemd names the folder of a unit's credentials.
const CredentialsDirectory = "CREDENTIALS_DIRECTORY"

// Errors of opening a root key file.
var (
	// ErrPermissions says that others than the owner may read or write the file.
	ErrPermissions = errors.New("a root key file must have mode 0400 or 0600")
	// ErrOwner says that the file belongs to another user.
	ErrOwner = errors.New("a root key file must belong to the user signerd runs as, or to root")
	// ErrMalformed says that the file does not hold a root key.
	ErrMalformed = errors.New("the file does not hold a root key as `signerd init` writes it")
)

// File is a root key that was read from a file. It implements keystore.RootKey, and is safe for concurrent use.
type File struct{ local }

// CreateFile makes a new random root key in a new file with mode 0400. It fails with fs.ErrExist if there is one.
func CreateFile(path string) error {
	key := make([]byte, keySize)
	_, _ = rand.Read(key)
	defer clear(key)
	line := append(base64.StdEncoding.AppendEncode([]byte(filePrefix), key), '\n')
	defer clear(line)
	return durable.CreateFile(path, line, 0o400)
}

// OpenFile reads a root key file. Errors: fs.ErrNotExist, ErrPermissions, ErrOwner, ErrMalformed.
func OpenFile(path string) (*File, error) {
	// Without O_NONBLOCK, opening a pipe would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the root key: %w", err)
	}
	defer func() { _ = f.Close() }()
	// The open file is looked at, not the path: nothing can be swapped in between.
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening the root key: %w", err)
	}
	if err := checkFile(path, info); err != nil {
		return nil, fmt.Errorf("root key %s: %w", path, err)
	}
	line, err := durable.ReadAllLimited(f, path, maxFileBytes)
	if errors.Is(err, durable.ErrTooLarge) {
		return nil, fmt.Errorf("root key %s: %w", path, ErrMalformed)
	}
	if err != nil {
		return nil, err
	}
	defer clear(line)
	key, err := parse(line)
	if err != nil {
		return nil, fmt.Errorf("root key %s: %w", path, err)
	}
	return newFile(key)
}

func checkFile(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return ErrMalformed
	}
	if inCredentialsDirectory(path) {
		return nil
	}
	if perm := info.Mode().Perm(); perm != 0o400 && perm != 0o600 {
		return fmt.Errorf("%w; this one has %04o", ErrPermissions, perm)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return ErrOwner
	}
	return nil
}

// inCredentialsDirectory reports whether systemd put the file there: it guards that folder itself, with modes of its
// own.
func inCredentialsDirectory(path string) bool {
	dir := os.Getenv(CredentialsDirectory)
	if dir == "" {
		return false
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return false
	}
	return strings.HasPrefix(real, dir+string(filepath.Separator))
}

func parse(line []byte) (secret.Bytes, error) {
	text, ok := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte(filePrefix))
	// The decoder would skip line ends inside.
	if !ok || bytes.ContainsAny(text, "\r\n") {
		return secret.Bytes{}, ErrMalformed
	}
	key := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(key, text)
	if err != nil || n != keySize {
		clear(key)
		return secret.Bytes{}, ErrMalformed
	}
	return secret.New(key[:n]), nil
}

func newFile(key secret.Bytes) (*File, error) {
	defer key.Wipe()
	l, err := newLocal("file", key.Reveal())
	if err != nil {
		return nil, err
	}
	return &File{l}, nil
}
