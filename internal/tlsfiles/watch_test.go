package tlsfiles_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/certtest"
	"github.com/signerd/signerd/internal/tlsfiles"
)

// looks says what a look at the files is to find.
func looks(t *testing.T, s *tlsfiles.Source, changed bool, want string) {
	t.Helper()
	got, err := s.ReloadIfChanged()
	if got != changed || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("got %v and %v, want %v and %q", got, err, changed, want)
	}
}

// withoutDescriptors runs f while no file can be opened, whoever the test runs as.
func withoutDescriptors(t *testing.T, f func()) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 0, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}()
	f()
}

func TestWhatFailedIsTriedAgainAtEachLook(t *testing.T) {
	f := newFixture(t)
	s := f.load(t)
	next := certtest.NewAuthority(t, "next", noon)
	f.write(t, "ca.pem", next.PEM())
	withoutDescriptors(t, func() {
		looks(t, s, true, "too many open files")
		looks(t, s, false, "")
	})
	// The file is the same as when it failed.
	looks(t, s, true, "")
	wants(t, s, client(next.Client(t)), nil)
	looks(t, s, false, "")

	// Another trouble is told of, the same one in another file's content is not.
	f.write(t, "ca.pem", nil)
	looks(t, s, true, "holds no certificate")
	f.write(t, "ca.pem", []byte("nothing"))
	looks(t, s, false, "")
	withoutDescriptors(t, func() { looks(t, s, true, "too many open files") })
	looks(t, s, true, "holds no certificate")
	f.write(t, "ca.pem", next.PEM())
	looks(t, s, true, "")
	looks(t, s, false, "")

	// What failed on demand was told to whoever asked.
	f.write(t, "ca.pem", nil)
	if err := s.Reload(); err == nil {
		t.Error("a bad file was taken")
	}
	looks(t, s, false, "")
	f.write(t, "ca.pem", next.PEM())
	looks(t, s, true, "")
}

func TestAFileThatMayNotBeReadIsTriedAgainOnceItMay(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t) // root may read every file
		return
	}
	f := newFixture(t)
	s := f.load(t)
	f.write(t, "key.pem", f.server.KeyPEM)
	if err := os.Chmod(f.files.Key, 0); err != nil {
		t.Fatal(err)
	}
	looks(t, s, true, "permission denied")
	if err := os.Chmod(f.files.Key, 0o600); err != nil {
		t.Fatal(err)
	}
	looks(t, s, true, "")
}

// asNobody runs the test again in a process that root's rights do not help.
func asNobody(t *testing.T) {
	t.Helper()
	const nobody = 65534
	dir, err := os.MkdirTemp("", "signerd-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	// By this name, because the folders above the program may be closed to others.
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

func TestAFileThatIsRewrittenInPlaceIsNoticed(t *testing.T) {
	f := newFixture(t)
	bad := f.ca.Client(t)
	before, after := f.ca.PEM(), certtest.NewAuthority(t, "next", noon).PEM()
	size := max(len(before), len(after))
	pad := func(b []byte) []byte { return append(b, bytes.Repeat([]byte("\n"), size-len(b))...) }
	f.write(t, "ca.pem", pad(before))
	s := f.load(t)
	wants(t, s, client(bad), nil)
	old, err := os.Stat(f.files.ClientCA)
	if err != nil {
		t.Fatal(err)
	}
	// The same file of the same size at the same time; only the time of its inode's change cannot be set. The clock that it is
	// taken from may tick less often than files are written here.
	for {
		if err := os.WriteFile(f.files.ClientCA, pad(after), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(f.files.ClientCA, time.Time{}, old.ModTime()); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(f.files.ClientCA)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() != old.Size() || !info.ModTime().Equal(old.ModTime()) || !os.SameFile(info, old) {
			t.Fatal("the file shows that it was written")
		}
		if info.Sys().(*syscall.Stat_t).Ctim != old.Sys().(*syscall.Stat_t).Ctim {
			break
		}
	}
	looks(t, s, true, "")
	wants(t, s, client(bad), tlsfiles.ErrUntrusted)
}
