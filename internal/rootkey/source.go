package rootkey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/signerd/signerd/internal/durable"
	"github.com/signerd/signerd/internal/secret"
)

// maxLineBytes leaves room for the line end of the longest passphrase.
const maxLineBytes = MaxPassphraseBytes + 2

// ErrCredential says that systemd gave no such credential.
var ErrCredential = errors.New("wanted the name of a credential that systemd gave this process (LoadCredential=, LoadCredentialEncrypted=)")

// PassphraseFromCredential reads a passphrase that systemd put into the process's folder of credentials.
func PassphraseFromCredential(name string) (secret.Bytes, error) {
	dir := os.Getenv(CredentialsDirectory)
	if dir == "" || name == "" || name == ".." || name == "." || strings.ContainsRune(name, filepath.Separator) {
		return secret.Bytes{}, fmt.Errorf("credential %q: %w", name, ErrCredential)
	}
	line, err := durable.ReadLimited(filepath.Join(dir, name), maxLineBytes)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("credential %q: %w", name, err)
	}
	return passphraseOf(line)
}

// ErrNotPassed says that a process was started without such a file descriptor.
var ErrNotPassed = errors.New("nobody passed this file descriptor to this process")

// PassphraseFromFD reads a passphrase from a file descriptor that was passed to this process, to its end, and closes it. It waits for
// whoever writes there, and ends with ctx. Errors: ErrNotPassed, ErrPassphrase, durable.ErrTooLarge, ctx.Err.
func PassphraseFromFD(ctx context.Context, fd int) (secret.Bytes, error) {
	// What this process opened itself, Go's runtime for one, is close-on-exec; what is passed over exec never is.
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
		return secret.Bytes{}, fmt.Errorf("reading the passphrase from file descriptor %d: %w", fd, ErrNotPassed)
	}
	defer func() { _ = unix.Close(fd) }()
	ended, end, err := os.Pipe()
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading the passphrase: %w", err)
	}
	defer func() { _ = ended.Close() }()
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { _ = end.Close(); close(closed) })
	defer func() {
		if stop() {
			_ = end.Close()
			return
		}
		<-closed
	}()
	line, err := durable.ReadAllLimited(waitingReader{ctx, fd, ended}, fmt.Sprintf("file descriptor %d", fd), maxLineBytes)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading the passphrase: %w", err)
	}
	return passphraseOf(line)
}

// waitingReader reads a file descriptor, and ends with a context. The descriptor may be shared with other processes, which would see it
// if it did not block any more.
type waitingReader struct {
	ctx   context.Context
	fd    int
	ended *os.File // reaches its end when ctx does
}

// Read implements io.Reader.
func (r waitingReader) Read(b []byte) (int, error) {
	raw, err := r.ended.SyscallConn()
	if err != nil {
		return 0, err
	}
	for {
		var polled error
		if err := raw.Control(func(ended uintptr) {
			_, polled = unix.Poll([]unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}, {Fd: int32(ended), Events: unix.POLLIN}}, -1)
		}); err != nil {
			return 0, err
		}
		if r.ctx.Err() != nil {
			return 0, r.ctx.Err()
		}
		if polled != nil && !errors.Is(polled, unix.EINTR) {
			return 0, os.NewSyscallError("poll", polled)
		}
		if polled != nil {
			continue
		}
		switch n, err := unix.Read(r.fd, b); {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN): // somebody else made it not block, or was faster
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// passphraseOf takes ownership of a line, and drops its end.
func passphraseOf(line []byte) (secret.Bytes, error) {
	text := bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	if err := checkPassphrase(text); err != nil {
		clear(line)
		return secret.Bytes{}, err
	}
	return secret.New(text), nil
}

// ControllingTerminal is the terminal that the process was started from.
const ControllingTerminal = "/dev/tty"

// ErrDifferent says that a new passphrase was typed differently the second time.
var ErrDifferent = errors.New("the two passphrases are not the same")

// PassphraseFromTerminal asks for the passphrase of what at a terminal that does not show it, twice if it is a new one. It ends with ctx, and
// with a signal that would end the process: the terminal is put back first. What is typed before it asks, or beyond the line, nobody reads.
func PassphraseFromTerminal(ctx context.Context, terminal, what string, isNew bool) (secret.Bytes, error) {
	ctx, unnotify := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT)
	defer unnotify()
	tty, err := os.OpenFile(terminal, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("asking for the passphrase: %w", err)
	}
	defer func() { _ = tty.Close() }()
	restore, err := silence(tty)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("asking for the passphrase: %w", err)
	}
	defer restore()
	stop := context.AfterFunc(ctx, func() { _ = tty.SetReadDeadline(time.Unix(0, 1)) })
	defer stop()
	first, err := ask(ctx, tty, "signerd "+what+" passphrase: ")
	if err != nil || !isNew {
		return first, err
	}
	second, err := ask(ctx, tty, "the same again: ")
	if err != nil {
		first.Wipe()
		return secret.Bytes{}, err
	}
	defer second.Wipe()
	if !first.Equal(second) {
		first.Wipe()
		return secret.Bytes{}, ErrDifferent
	}
	return first, nil
}

// silence stops a terminal from showing what is typed, until restore is called. Both throw away what was typed and not read: a passphrase
// that was pasted twice is no command for the shell.
func silence(tty *os.File) (restore func(), err error) {
	raw, err := tty.SyscallConn()
	if err != nil {
		return nil, err
	}
	var before *unix.Termios
	set := func(t *unix.Termios) (err error) {
		return errors.Join(raw.Control(func(fd uintptr) { err = unix.IoctlSetTermios(int(fd), unix.TCSETSF, t) }), err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { before, failed = unix.IoctlGetTermios(int(fd), unix.TCGETS) }); err != nil || failed != nil {
		return nil, errors.Join(err, failed)
	}
	silent := *before
	silent.Lflag &^= unix.ECHO
	silent.Lflag |= unix.ICANON | unix.ISIG
	silent.Iflag |= unix.ICRNL
	if err := set(&silent); err != nil {
		return nil, err
	}
	return func() { _ = set(before) }, nil
}

// ask reads a line byte by byte: what is typed after it may be the answer to the next question.
func ask(ctx context.Context, tty *os.File, prompt string) (secret.Bytes, error) {
	if _, err := tty.WriteString(prompt); err != nil {
		return secret.Bytes{}, fmt.Errorf("asking for the passphrase: %w", err)
	}
	line := make([]byte, 0, maxLineBytes)
	for b := []byte{0}; len(line) < maxLineBytes; {
		n, err := tty.Read(b)
		if ctx.Err() != nil {
			clear(line)
			return secret.Bytes{}, ctx.Err()
		}
		if err != nil {
			clear(line)
			return secret.Bytes{}, fmt.Errorf("reading the passphrase: %w", err)
		}
		if n > 0 && b[0] == '\n' {
			break
		}
		line = append(line, b[:n]...)
	}
	_, _ = tty.WriteString("\n")
	return passphraseOf(line)
}
