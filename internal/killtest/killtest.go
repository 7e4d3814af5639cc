// Package killtest kills a process dead before any of its changes to the files of a folder: each write, sync, truncation, new file,
// rename and removal is a point, and all of them are numbered. The program needs no seam for it: it is stopped at its system calls.
//
// It is for tests that a store survives kill -9 wherever it strikes.
package killtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Victim says which process is to be killed.
type Victim struct {
	// Path, Args and Env are the program's; Env is added to that of the test.
	Path string
	Args []string
	Env  []string
	// Dir is the folder whose files are counted, those in folders below included. It is absolute, without symbolic links.
	Dir string
}

// Outcome is what became of a process.
type Outcome struct {
	// Points are the changes up to where it was killed, that one included, or to its end: what was done, and to which file of the folder.
	Points []string
	// Killed says that it was killed where it should be.
	Killed bool
	// Failed says that it ended by itself, with another status than 0.
	Failed bool
	// Output is what it wrote, to standard output and standard error.
	Output string
}

// Run starts the victim and kills it just before its change number at, counted from 1; 0 lets it end. The rest of a change that is
// under way in another thread is done. It uses ptrace, which a test may do with its own children.
func (v Victim) Run(t *testing.T, at int) Outcome {
	t.Helper()
	// A tracer is a thread, not a process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	output, err := os.CreateTemp(t.TempDir(), "output")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = output.Close() }()
	cmd := exec.Command(v.Path, v.Args...)
	cmd.Env = append(os.Environ(), v.Env...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Release() }()
	tr := tracer{pid: cmd.Process.Pid, dir: v.Dir + string(filepath.Separator), at: at}
	out, err := tr.follow()
	if err != nil {
		_ = syscall.Kill(tr.pid, syscall.SIGKILL)
		t.Fatalf("tracing a process: %v", err)
	}
	said, err := os.ReadFile(output.Name())
	if err != nil {
		t.Fatal(err)
	}
	out.Output = string(said)
	return out
}

// tracer follows one process with all its threads.
type tracer struct {
	pid    int
	dir    string
	at     int
	points []string
}

// What <linux/ptrace.h> has and package unix lacks.
const (
	getSyscallInfo = 0x420e
	syscallEntry   = 1
	syscallStop    = syscall.SIGTRAP | 0x80
)

// follow lets the process go on from one system call to the next, until it ends.
func (t *tracer) follow() (Outcome, error) {
	var status unix.WaitStatus
	if _, err := wait(t.pid, &status); err != nil {
		return Outcome{}, fmt.Errorf("waiting for its start: %w", err)
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(t.pid, options); err != nil {
		return Outcome{}, fmt.Errorf("setting options: %w", err)
	}
	thread, signal, killed := t.pid, 0, false
	for {
		// A thread that is killed meanwhile is gone.
		if err := unix.PtraceSyscall(thread, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return Outcome{}, fmt.Errorf("letting it go on: %w", err)
		}
		for {
			var err error
			if thread, err = wait(-1, &status); err != nil {
				return Outcome{}, fmt.Errorf("waiting for it: %w", err)
			}
			if thread == t.pid && (status.Exited() || status.Signaled()) {
				struck := status.Signaled() && status.Signal() == syscall.SIGKILL
				return Outcome{Points: t.points, Killed: killed && struck, Failed: !struck && status.ExitStatus() != 0}, nil
			}
			if status.Stopped() && !killed {
				break
			}
		}
		signal = 0
		switch stop := status.StopSignal(); stop {
		case syscallStop:
			if counted, err := t.count(thread); err != nil {
				return Outcome{}, err
			} else if counted && len(t.points) == t.at {
				killed = true
				if err := unix.Kill(t.pid, unix.SIGKILL); err != nil {
					return Outcome{}, fmt.Errorf("killing it: %w", err)
				}
			}
		case syscall.SIGTRAP, syscall.SIGSTOP: // a new thread
		default:
			signal = int(stop)
		}
	}
}

// wait is wait4 for what this thread traces.
func wait(pid int, status *unix.WaitStatus) (thread int, err error) {
	for {
		thread, err = unix.Wait4(pid, status, unix.WALL|unix.WNOTHREAD, nil)
		if !errors.Is(err, unix.EINTR) {
			return thread, err
		}
	}
}

// temporary ends the name of a temporary file, which is another one each time.
var temporary = regexp.MustCompile(`\.[0-9]+\.tmp$`)

// count notes a system call that begins and changes a file of the folder.
func (t *tracer) count(thread int) (counted bool, err error) {
	var info [88]byte
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(thread), uintptr(len(info)), uintptr(unsafe.Pointer(&info)), 0, 0); errno != 0 {
		return false, fmt.Errorf("asking for the system call: %w", errno)
	}
	if info[0] != syscallEntry {
		return false, nil
	}
	args := make([]uint64, 6)
	for i := range args {
		args[i] = binary.NativeEndian.Uint64(info[32+8*i:])
	}
	name, file := t.changes(binary.NativeEndian.Uint64(info[24:]), args)
	if !strings.HasPrefix(file, t.dir) {
		return false, nil
	}
	file = temporary.ReplaceAllString(strings.TrimSuffix(strings.TrimPrefix(file, t.dir), "/"), ".*.tmp")
	t.points = append(t.points, strings.TrimSpace(name+" "+file))
	return true, nil
}

// changes names a system call that changes a file, and the file; both are empty for others.
func (t *tracer) changes(number uint64, args []uint64) (name, file string) {
	switch number {
	case unix.SYS_WRITE:
		return "write", t.open(args[0])
	case unix.SYS_PWRITE64:
		return "pwrite", t.open(args[0])
	case unix.SYS_FTRUNCATE:
		return "truncate", t.open(args[0])
	case unix.SYS_FALLOCATE:
		return "allocate", t.open(args[0])
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		return "sync", t.open(args[0]) + string(filepath.Separator) // the folder's own too
	case unix.SYS_FCHMOD:
		return "chmod", t.open(args[0])
	case unix.SYS_OPENAT:
		if args[2]&unix.O_CREAT == 0 {
			return "", ""
		}
		return "create", t.text(args[1])
	case unix.SYS_MKDIRAT:
		return "mkdir", t.text(args[1])
	case unix.SYS_UNLINKAT:
		return "remove", t.text(args[1])
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		return "rename", t.text(args[1])
	}
	return "", ""
}

// open is the file of a descriptor.
func (t *tracer) open(fd uint64) string {
	file, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", t.pid, int32(fd)))
	return file
}

// text is a string in the process's memory.
func (t *tracer) text(address uint64) string {
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", t.pid))
	if err != nil {
		return ""
	}
	defer func() { _ = memory.Close() }()
	var path [unix.PathMax]byte
	n, _ := memory.ReadAt(path[:], int64(address)) // less, where the memory ends
	text, _, _ := bytes.Cut(path[:n], []byte{0})
	return string(text)
}
