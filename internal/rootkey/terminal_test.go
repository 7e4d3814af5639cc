package rootkey_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/internal/secret"
)

// duplicate gives a file descriptor that whoever reads it may close.
func duplicate(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := unix.Dup(int(f.Fd()))
	must(t, errors.Join(err, f.Close()))
	return fd
}

// terminal is a pseudo-terminal: what people see and type, and the path of what the program opens.
func terminal(t *testing.T) (person *os.File, path string) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { _ = person.Close() })
	raw, err := person.SyscallConn()
	must(t, err)
	var number uint32
	must(t, raw.Control(func(fd uintptr) {
		err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
		if err == nil {
			number, err = unix.IoctlGetUint32(int(fd), unix.TIOCGPTN)
		}
	}))
	must(t, err)
	path = "/dev/pts/" + strconv.Itoa(int(number))
	// Somebody else keeps it open, so that it has a state to be put back to.
	shell, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { _ = shell.Close() })
	return person, path
}

func TestAPassphraseIsTypedUnseenAndTwiceIfItIsNew(t *testing.T) {
	for _, tt := range []struct {
		name  string
		isNew bool
		typed []string
		want  error
	}{
		{"once", false, []string{phrase}, nil},
		{"a new one", true, []string{phrase, phrase}, nil},
		{"a new one, typed wrong the second time", true, []string{phrase, phrase + "x"}, rootkey.ErrDifferent},
		{"too short", false, []string{"horse"}, rootkey.ErrPassphrase},
	} {
		t.Run(tt.name, func(t *testing.T) {
			person, path := terminal(t)
			type result struct {
				p   secret.Bytes
				err error
			}
			done := make(chan result, 1)
			go func() {
				p, err := rootkey.PassphraseFromTerminal(t.Context(), path, "root key", tt.isNew)
				done <- result{p, err}
			}()
			seen := bufio.NewReader(person)
			var shown strings.Builder
			for _, typed := range tt.typed {
				prompt, err := seen.ReadString(' ')
				for err == nil && !strings.HasSuffix(prompt, ": ") {
					var more string
					more, err = seen.ReadString(' ')
					prompt += more
				}
				must(t, err)
				shown.WriteString(prompt)
				_, err = person.WriteString(typed + "\n")
				must(t, err)
			}
			got := <-done
			if !errors.Is(got.err, tt.want) || got.err == nil && string(got.p.Reveal()) != phrase {
				t.Errorf("it is read with %v, want %v", got.err, tt.want)
			}
			if strings.Contains(shown.String(), "horse") {
				t.Error("the terminal shows what is typed")
			}
			if state, err := unix.IoctlGetTermios(duplicate(t, person), unix.TCGETS); err != nil || state.Lflag&unix.ECHO == 0 {
				t.Errorf("the terminal is left silent (%v)", err)
			}
		})
	}
}

func TestAskingAtATerminalEndsWithItsContext(t *testing.T) {
	person, path := terminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := rootkey.PassphraseFromTerminal(ctx, path, "root key", false)
		done <- err
	}()
	if _, err := bufio.NewReader(person).ReadString(':'); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}

func TestAFileIsNoTerminal(t *testing.T) {
	path, _ := newKey(t)
	must(t, os.Chmod(path, 0o600))
	if _, err := rootkey.PassphraseFromTerminal(t.Context(), path, "root key", false); err == nil {
		t.Error("a passphrase is read from it")
	}
}

func TestWhatIsTypedBeyondAPassphraseIsNoCommandForTheShell(t *testing.T) {
	for name, typed := range map[string]string{
		"two more lines": phrase + "\n" + phrase + "\nrm -r keys\n", "a line that is too long": strings.Repeat("x", 2000) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			person, path := terminal(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = rootkey.PassphraseFromTerminal(t.Context(), path, "root key", false)
			}()
			if _, err := bufio.NewReader(person).ReadString(':'); err != nil {
				t.Fatal(err)
			}
			_, err := person.WriteString(typed)
			must(t, err)
			<-done
			shell, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
			must(t, err)
			defer func() { _ = shell.Close() }()
			if n, err := unix.IoctlGetInt(duplicate(t, shell), unix.TIOCINQ); err != nil || n != 0 {
				t.Errorf("%d bytes are left to be read (%v)", n, err)
			}
		})
	}
}

func TestASignalWhileAPassphraseIsTypedPutsTheTerminalBack(t *testing.T) {
	for _, signal := range []unix.Signal{unix.SIGQUIT, unix.SIGTERM, unix.SIGINT} {
		t.Run(unix.SignalName(signal), func(t *testing.T) {
			person, path := terminal(t)
			done := make(chan error, 1)
			go func() {
				_, err := rootkey.PassphraseFromTerminal(t.Context(), path, "root key", false)
				done <- err
			}()
			if _, err := bufio.NewReader(person).ReadString(':'); err != nil {
				t.Fatal(err)
			}
			must(t, unix.Kill(os.Getpid(), signal))
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("it ends with %v", err)
			}
			if state, err := unix.IoctlGetTermios(duplicate(t, person), unix.TCGETS); err != nil || state.Lflag&unix.ECHO == 0 {
				t.Errorf("the terminal is left silent (%v)", err)
			}
		})
	}
}
