package process

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This program starts itself again to become a signerd to which the kernel answers some calls otherwise; the variable says which.
const (
	role            = "PROCESS_TEST_ROLE"
	withoutLandlock = "without Landlock" // the kernel says that it has none
	dumpable        = "dumpable"         // what signerd does against core dumps has no effect, as if root had undone it
)

// underKernel has a signerd started under another kernel, as a role says.
func (s *signerd) underKernel(t *testing.T, as string) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	s.wrap = []string{self}
	s.env = append(s.env, role+"="+as)
}

// answer is what the kernel says, 0 for that it was done, instead of doing a call whose argument has a value.
type answer struct {
	call, argument, value uint32
	errno                 unix.Errno
}

var kernels = map[string][]answer{
	withoutLandlock: {{call: unix.SYS_LANDLOCK_CREATE_RULESET, errno: unix.ENOSYS, argument: 2, value: unix.LANDLOCK_CREATE_RULESET_VERSION}},
	dumpable: {
		{call: unix.SYS_PRLIMIT64, argument: 1, value: unix.RLIMIT_CORE},
		{call: unix.SYS_PRCTL, argument: 0, value: unix.PR_SET_DUMPABLE},
	},
}

// become is another program under another kernel; it returns only if it fails.
func become(as string, args []string) error {
	answers, ok := kernels[as]
	if !ok || len(args) == 0 {
		return fmt.Errorf("there is no kernel %q, or no program", as)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil {
		return fmt.Errorf("reading the limit of cores: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: limit.Max, Max: limit.Max}); err != nil {
		return fmt.Errorf("lifting the limit of cores: %w", err)
	}
	runtime.LockOSThread() // the filter is this thread's, and so its program's
	var filter []unix.SockFilter
	for _, a := range answers {
		filter = append(filter, // offsets as of struct seccomp_data; of an argument the lower half
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: a.call, Jf: 3},
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16 + 8*a.argument},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: a.value, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(a.errno)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up new rights: %w", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return fmt.Errorf("filtering system calls: %w", err)
	}
	return syscall.Exec(args[0], args, os.Environ())
}
