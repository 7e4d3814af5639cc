// Package confine keeps others out of the process, and the process out of others' files: no core dumps, no debugger, no
// reader of its memory, and by Landlock no files but those it was given.
//
// It is for cmd/signerd. What it does holds for the whole process and for ever, so nothing but a main calls it,
// and tests do so in a process of their own. It leaves the network alone: Landlock's rules for TCP ports do not see the MPTCP
// listeners that Go opens.
package confine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// ErrNoLandlock says that the kernel has no Landlock, or that it is not among its active security modules.
var ErrNoLandlock = errors.New("the kernel does not offer Landlock")

// HideMemory keeps the process' memory out of core dumps, and away from debuggers and readers of /proc that do not have
// CAP_SYS_PTRACE. Programs that the process starts are not concerned.
func HideMemory() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("switching core dumps off: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("making the process not dumpable: %w", err)
	}
	return nil
}

// Files are what a confined process may still open; what it has open stays open. A folder stands for all that is in it, also for
// what is put there later. Paths that do not exist when Restrict is called stay forbidden.
type Files struct {
	// Read are files and folders that may be read.
	Read []string
	// Write are folders in which files may be read, written, made, renamed, linked and removed.
	Write []string
	// Sockets are folders in which Unix sockets may be made, removed and connected to, and nothing else.
	Sockets []string
	// Connect are sockets, and folders of them, that may be connected to. Kernels before Landlock's ABI 9 do not ask.
	Connect []string
	// Devices are files that may be read and written.
	Devices []string
}

const (
	read    = landlock.AccessFSSet(ll.AccessFSReadFile | ll.AccessFSReadDir)
	write   = read | landlock.AccessFSSet(ll.AccessFSWriteFile|ll.AccessFSTruncate|ll.AccessFSMakeReg|ll.AccessFSRemoveFile)
	sockets = landlock.AccessFSSet(ll.AccessFSReadDir | ll.AccessFSMakeSock | ll.AccessFSRemoveFile | ll.AccessFSResolveUnix)
	connect = landlock.AccessFSSet(ll.AccessFSResolveUnix)
	device  = landlock.AccessFSSet(ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate)

	// handled is everything that Landlock can forbid of files.
	handled = write | sockets | landlock.AccessFSSet(ll.AccessFSExecute|ll.AccessFSRemoveDir|ll.AccessFSMakeChar|ll.AccessFSMakeDir|
		ll.AccessFSMakeFifo|ll.AccessFSMakeBlock|ll.AccessFSMakeSym|ll.AccessFSRefer|ll.AccessFSIoctlDev)
)

// Restrict confines all threads of the process, for ever: they open only these files, start no program, and connect to no
// abstract Unix socket. It takes what the kernel has of that, and returns the version of the kernel's Landlock (its ABI). Errors:
// ErrNoLandlock, with which nothing is restricted.
func Restrict(f Files) (abi int, err error) {
	abi, err = ll.LandlockGetABIVersion()
	if err != nil || abi < 1 {
		return 0, fmt.Errorf("%w: %w", ErrNoLandlock, err)
	}
	holdSelf()
	config, err := landlock.NewConfig(handled, landlock.ScopedSet(ll.ScopeAbstractUnixSocket))
	if err != nil {
		return 0, fmt.Errorf("confining the process: %w", err)
	}
	var rules []landlock.Rule
	allow := func(access landlock.AccessFSSet, paths []string) {
		for _, path := range paths {
			if rule, ok := ruleFor(access, path); ok {
				rules = append(rules, rule)
			}
		}
	}
	allow(read, f.Read)
	allow(write, f.Write)
	allow(sockets, f.Sockets)
	allow(connect, f.Connect)
	allow(device, f.Devices)
	if err := config.BestEffort().Restrict(rules...); err != nil {
		return 0, fmt.Errorf("confining the process: %w", err)
	}
	return abi, nil
}

// ownProc is never closed.
var ownProc = -1

// holdSelf keeps the process' own folder of /proc: Landlock knows folders by their inodes, and the kernel makes this one anew when it forgot
// it and nobody holds it.
func holdSelf() {
	if fd, err := unix.Open("/proc/self", unix.O_PATH|unix.O_CLOEXEC, 0); err == nil && ownProc < 0 {
		ownProc = fd
	}
}

// ruleFor leaves out of access what a path that is no folder cannot have: the kernel would refuse the rule.
func ruleFor(access landlock.AccessFSSet, path string) (landlock.Rule, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, false
	}
	if !info.IsDir() {
		access &= device | connect
	}
	return landlock.PathAccess(access, path).IgnoreIfMissing(), true
}

// FolderOf gives the folder of a file, and the folder of what it is a link to, so that a file that is replaced there can still be
// opened.
func FolderOf(path string) []string {
	folders := []string{filepath.Dir(path)}
	if target, err := filepath.EvalSymlinks(path); err == nil && filepath.Dir(target) != folders[0] {
		folders = append(folders, filepath.Dir(target))
	}
	return folders
}
