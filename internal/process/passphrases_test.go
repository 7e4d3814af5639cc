package process

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/signerd/signerd/internal/scripttest"
)

const phrase = "correct horse battery staple"

// installPassphrase makes a signerd with a passphrase; source is then where it comes from.
func installPassphrase(t *testing.T, source string) *signerd {
	t.Helper()
	const fromInput = "fd: 0"
	s := install(t, "{passphrase: {parameters: root.params, "+fromInput+"}}", "audit: {dir: ../log}\n"+confinement(), func(s *signerd) { s.input = phrase + "\n" })
	text, err := os.ReadFile(s.path("etc/signerd.yaml"))
	must(t, err)
	must(t, os.WriteFile(s.path("etc/signerd.yaml"), bytes.Replace(text, []byte(fromInput), []byte(source), 1), 0o600))
	s.input = ""
	return s
}

func TestAConfinedSignerdReadsAPassphraseFromAFolderOfCredentials(t *testing.T) {
	s := installPassphrase(t, "credential: phrase")
	must(t, os.WriteFile(s.path("other/phrase"), []byte(phrase+"\n"), 0o400))
	s.env = append(s.env, "CREDENTIALS_DIRECTORY="+s.path("other"))
	s.launch(t)
	if rest := s.stop(t); strings.Contains(rest, phrase) || strings.Contains(rest, "permission denied") {
		t.Errorf("it logs\n%s", rest)
	}
}

func TestAConfinedSignerdAsksForAPassphraseAtItsTerminal(t *testing.T) {
	s := installPassphrase(t, "terminal: true")
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	defer func() { _ = person.Close() }()
	raw, err := person.SyscallConn()
	must(t, err)
	var number uint32
	must(t, raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetUint32(int(fd), unix.TIOCGPTN)
		}
	}))
	must(t, err)
	s.terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(int(number)), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	defer func() { _ = s.terminal.Close() }()
	s.begin(t)
	prompt, err := bufio.NewReader(person).ReadString(':')
	if err != nil || !strings.Contains(prompt, "passphrase") {
		t.Fatalf("it asks %q (%v)", prompt, err)
	}
	_, err = person.WriteString(phrase + "\n")
	must(t, err)
	must(t, scripttest.WaitServing(s.path("run/admin.sock")))
	s.stop(t)
}

func TestSignerdThatWaitsForAPassphraseEndsAtTheFirstSignal(t *testing.T) {
	s := installPassphrase(t, "fd: 3")
	r, w, err := os.Pipe()
	must(t, err)
	defer func() { _ = w.Close() }()
	cmd := exec.CommandContext(t.Context(), program, "--config", s.path("etc/signerd.yaml"))
	cmd.ExtraFiles = []*os.File{r}
	var log bytes.Buffer
	cmd.Stderr = &log
	must(t, cmd.Start())
	must(t, r.Close())
	fill(t, w)
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); err != nil || !strings.Contains(log.String(), "stopping before anything was served") {
		t.Errorf("it ends with %v and says\n%s", err, &log)
	}
}

// fill writes what is no passphrase yet, until somebody has read some of it.
func fill(t *testing.T, w *os.File) {
	t.Helper()
	raw, err := w.SyscallConn()
	must(t, err)
	_, err = w.WriteString("x")
	must(t, err)
	for unread := 1; unread > 0; {
		must(t, raw.Control(func(fd uintptr) { unread, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }))
		must(t, err)
	}
}

func TestTheMemoryIsHiddenOfEveryCommandThatOpensKeys(t *testing.T) {
	for _, args := range [][]string{{"init"}, {"check"}, {"restore", "backup"}, {}} {
		t.Run(strings.Join(append([]string{"signerd"}, args...), " "), func(t *testing.T) {
			s := installPassphrase(t, "fd: 3")
			if len(args) > 0 && args[0] == "init" {
				must(t, errors.Join(os.Remove(s.path("store/keys.db")), os.Remove(s.path("anchor/anchor")), os.RemoveAll(s.path("log"))))
			}
			r, w, err := os.Pipe()
			must(t, err)
			defer func() { _ = w.Close() }()
			cmd := exec.CommandContext(t.Context(), program, append(args, "--config", s.path("etc/signerd.yaml"))...)
			cmd.ExtraFiles = []*os.File{r}
			must(t, cmd.Start())
			must(t, r.Close())
			fill(t, w) // from now on it waits for the rest
			limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", cmd.Process.Pid))
			if must(t, err); !strings.Contains(string(limits), "Max core file size        0                    0 ") {
				t.Errorf("it may dump core:\n%s", limits)
			}
			// A process that is not dumpable has its files of /proc given to root.
			if info, err := os.Stat(fmt.Sprintf("/proc/%d/environ", cmd.Process.Pid)); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
				t.Errorf("its memory is open to others of its user (%v)", err)
			}
			must(t, cmd.Process.Kill())
			_ = cmd.Wait()
		})
	}
}
