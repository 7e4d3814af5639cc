package confine_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/signerd/signerd/internal/confine"
)

// What is tried holds for a whole process, so that this program starts itself again for it; the variable says as what.
const role = "CONFINE_TEST_ROLE"

// nobodyElse is a user that owns nothing, for processes that must not be root.
const nobodyElse = 54321

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "probe":
		probe(os.Args[1])
	case "hidden":
		ask(confine.HideMemory())
		fallthrough
	case "open":
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "thief":
		steal(os.Args[1])
	case "crash":
		ask(unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}))
		ask(confine.HideMemory())
		debug.SetTraceback("crash")
		panic("as the test wants it")
	}
}

func ask(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// again starts this program in a role, as another user than root.
func again(t *testing.T, as string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	program, err := os.ReadFile(self)
	must(t, err)
	dir, err := os.MkdirTemp("", "confine") // t.TempDir's parent is closed to other users
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "again"), program, 0o755))
	must(t, os.Chmod(filepath.Join(dir, "again"), 0o755))
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "again"), args...)
	cmd.Env = append(os.Environ(), role+"="+as)
	cmd.Dir = "/"
	if os.Geteuid() == 0 && as != "probe" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobodyElse, Gid: nobodyElse}}
	}
	return cmd
}

// probe confines itself below dir, tries everything, and prints what did not go as it should.
func probe(dir string) {
	in := func(name ...string) string { return filepath.Join(append([]string{dir}, name...)...) }
	open, err := os.Open(in("other", "open"))
	ask(err)
	_, err = confine.Restrict(confine.Files{
		Read: []string{in("read"), in("one"), in("absent"), "/proc/self"}, Write: []string{in("write")}, Sockets: []string{in("sockets")}, Devices: []string{"/dev/null"},
	})
	if errors.Is(err, confine.ErrNoLandlock) {
		fmt.Println("no Landlock")
		return
	}
	ask(err)
	_, err = open.Read(make([]byte, 1))
	want("reading what was open", err, nil)

	forbidden := error(fs.ErrPermission)
	for what, attempt := range map[string]struct {
		do   func() error
		want error
	}{
		"reading where it may":            {reads(in("read", "file")), nil},
		"reading a single file":           {reads(in("one")), nil},
		"reading elsewhere":               {reads(in("other", "open")), forbidden},
		"reading over a link":             {reads(in("read", "link")), forbidden},
		"reading over ..":                 {reads(in("read") + "/../other/open"), forbidden},
		"reading the host's users":        {reads("/etc/passwd"), forbidden},
		"reading its starter's variables": {reads(fmt.Sprintf("/proc/%d/environ", os.Getppid())), forbidden},
		"reading its starter's limits":    {reads(fmt.Sprintf("/proc/%d/limits", os.Getppid())), forbidden},
		"reading the host's processes":    {lists("/proc"), forbidden},
		"reading its own limits":          {reads("/proc/self/limits"), nil},
		"counting its own open files":     {lists("/proc/self/fd"), nil},
		"listing elsewhere":               {lists(in("other")), forbidden},
		"listing the root":                {lists("/"), forbidden},
		"writing where it may read":       {writes(in("read", "file")), forbidden},
		"making a file where it may read": {writes(in("read", "new")), forbidden},
		"making a file elsewhere":         {writes(in("other", "new")), forbidden},
		"cutting a file elsewhere":        {func() error { return os.Truncate(in("other", "cut"), 0) }, forbidden},
		"removing a file elsewhere":       {func() error { return os.Remove(in("other", "kept")) }, forbidden},
		"moving a file to elsewhere":      {func() error { return os.Rename(in("write", "stays"), in("other", "stays")) }, forbidden},
		"writing to nothing":              {writes("/dev/null"), nil},
		"replacing a file":                {replaces(in("write")), nil},
		"listening in a folder":           {listens("unix", in("sockets", "s")), nil},
		"listening elsewhere":             {listens("unix", in("other", "s")), forbidden},
		"listening on a port":             {listens("tcp", "127.0.0.1:0"), nil},
		"starting a program":              {func() error { return exec.Command("/bin/true").Run() }, forbidden},
	} {
		want(what, attempt.do(), attempt.want)
	}
	fmt.Println("tried")
}

func want(what string, got, want error) {
	if (want == nil) != (got == nil) || !errors.Is(got, want) {
		fmt.Printf("%s: got %v, want %v\n", what, got, want)
	}
}

func reads(path string) func() error {
	return func() error { _, err := os.ReadFile(path); return err }
}

func lists(path string) func() error {
	return func() error { _, err := os.ReadDir(path); return err }
}

func writes(path string) func() error {
	return func() error { return os.WriteFile(path, []byte("x"), 0o600) }
}

// replaces does all that keeping files takes: make, sync, link, rename, sync the folder, remove.
func replaces(dir string) func() error {
	return func() error {
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		folder, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer func() { _ = folder.Close() }()
		return errors.Join(os.WriteFile(a, []byte("a"), 0o600), os.Truncate(a, 0), os.Link(a, b), os.Rename(b, a), os.Remove(a), os.Chmod(dir, 0o700),
			folder.Sync())
	}
}

func listens(network, address string) func() error {
	return func() error {
		l, err := net.Listen(network, address)
		if err != nil {
			return err
		}
		return l.Close()
	}
}

func TestAConfinedProcessOpensNothingButItsFiles(t *testing.T) {
	dir := t.TempDir()
	for _, folder := range []string{"read", "write", "sockets", "other"} {
		must(t, os.Mkdir(filepath.Join(dir, folder), 0o700))
	}
	for _, file := range []string{"read/file", "one", "other/open", "other/cut", "other/kept", "write/stays"} {
		must(t, os.WriteFile(filepath.Join(dir, file), []byte("content"), 0o600))
	}
	must(t, os.Symlink("../other/open", filepath.Join(dir, "read", "link")))
	out, err := again(t, "probe", dir).CombinedOutput()
	// A kernel without Landlock leaves nothing to hold it to but that this is said.
	if said := string(out); err != nil || said != "tried\n" && said != "no Landlock\n" {
		t.Errorf("the probe ended with %v and says:\n%s", err, said)
	}
	if content, err := os.ReadFile(filepath.Join(dir, "other", "cut")); err != nil || len(content) == 0 {
		t.Errorf("a file elsewhere holds %q (%v)", content, err)
	}
}

// steal tries to get at the memory of a process of the same user.
func steal(pid string) {
	var number int
	_, err := fmt.Sscan(pid, &number)
	ask(err)
	if f, err := os.Open("/proc/" + pid + "/mem"); err == nil {
		_ = f.Close()
		fmt.Println("opened its memory")
	}
	if _, err := os.ReadFile("/proc/" + pid + "/environ"); err == nil {
		fmt.Println("read its variables")
	}
	if err := unix.PtraceSeize(number); err == nil {
		fmt.Println("attached to it")
	}
	fmt.Println("tried")
}

func TestTheMemoryOfAHiddenProcessIsClosedToOthersOfItsUser(t *testing.T) {
	for _, tt := range []struct{ victim, want string }{
		{"open", "opened its memory\nread its variables\nattached to it\ntried\n"},
		{"hidden", "tried\n"},
	} {
		t.Run(tt.victim, func(t *testing.T) {
			victim := again(t, tt.victim)
			stdin, err := victim.StdinPipe()
			must(t, err)
			stdout, err := victim.StdoutPipe()
			must(t, err)
			must(t, victim.Start())
			if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
				t.Fatalf("the victim says %q (%v)", line, err)
			}
			out, err := again(t, "thief", fmt.Sprint(victim.Process.Pid)).CombinedOutput()
			if said := string(out); err != nil || said != tt.want && !(tt.victim == "open" && guarded()) {
				t.Errorf("the thief ended with %v and says:\n%s", err, said)
			}
			must(t, stdin.Close())
			must(t, victim.Wait())
		})
	}
}

// guarded reports whether this host keeps users from their own processes anyway (Yama).
func guarded() bool {
	scope, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	return err == nil && strings.TrimSpace(string(scope)) != "0"
}

func TestAHiddenProcessLeavesNoCore(t *testing.T) {
	cmd := again(t, "crash")
	cmd.SysProcAttr = nil // root may lift the limit, and so shows that it is set
	cmd.Dir = t.TempDir()
	out, _ := cmd.CombinedOutput()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || !strings.Contains(string(out), "as the test wants it") {
		t.Fatalf("it ended with %v and says:\n%s", cmd.ProcessState, out)
	}
	files, err := os.ReadDir(cmd.Dir)
	must(t, err)
	if status.CoreDump() || len(files) > 0 {
		t.Errorf("it left a core: %v %v", status.CoreDump(), files)
	}
}

func TestTheFoldersOfALinkAreItsOwnAndItsTargets(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	for _, name := range []string{"live", "archive"} {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	must(t, os.WriteFile(filepath.Join(dir, "archive", "cert1.pem"), nil, 0o600))
	must(t, os.Symlink("../archive/cert1.pem", filepath.Join(dir, "live", "cert.pem")))
	for path, want := range map[string]string{
		"live/cert.pem": dir + "/live " + dir + "/archive", "archive/cert1.pem": dir + "/archive", "live/absent": dir + "/live",
	} {
		if got := strings.Join(confine.FolderOf(filepath.Join(dir, path)), " "); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
