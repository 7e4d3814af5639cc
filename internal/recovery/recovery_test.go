package recovery_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/signerd/signerd/internal/recovery"
)

func pair(t testing.TB) (private, public string) {
	t.Helper()
	dir := t.TempDir()
	private, public = filepath.Join(dir, "private"), filepath.Join(dir, "public")
	if err := recovery.Create(private, public); err != nil {
		t.Fatal(err)
	}
	return private, public
}

func open(t testing.TB, private, public string) (*recovery.Private, *recovery.Public) {
	t.Helper()
	key, err := recovery.OpenPrivate(private)
	if err != nil {
		t.Fatal(err)
	}
	half, err := recovery.OpenPublic(public)
	if err != nil {
		t.Fatal(err)
	}
	return key, half
}

func newPair(t testing.TB) (*recovery.Private, *recovery.Public) {
	t.Helper()
	private, public := pair(t)
	return open(t, private, public)
}

func TestWhatIsWrappedToThePublicHalfThePrivateOneOpens(t *testing.T) {
	key, half := newPair(t)
	if key.ID() != half.ID() || !strings.HasPrefix(key.ID(), "recovery:") {
		t.Errorf("the halves are %s and %s", key.ID(), half.ID())
	}
	for _, plaintext := range [][]byte{{}, []byte("keyring"), make([]byte, 64<<10)} {
		wrapped, err := half.Wrap(t.Context(), plaintext)
		if err != nil {
			t.Fatal(err)
		}
		got, err := key.Unwrap(t.Context(), wrapped)
		if err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("%d bytes: %v", len(plaintext), err)
		}
	}
}

func TestAnotherKeyOpensNothingNorDoesAChangedWrapping(t *testing.T) {
	key, half := newPair(t)
	other, _ := newPair(t)
	wrapped, err := half.Wrap(t.Context(), []byte("keyring"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Unwrap(t.Context(), wrapped); err == nil {
		t.Error("another key opens it")
	}
	for i := range wrapped {
		changed := bytes.Clone(wrapped)
		changed[i] ^= 1
		if _, err := key.Unwrap(t.Context(), changed); err == nil {
			t.Fatalf("with byte %d changed it opens", i)
		}
		if _, err := key.Unwrap(t.Context(), wrapped[:i]); err == nil {
			t.Fatalf("cut to %d bytes it opens", i)
		}
	}
}

func TestThePrivateHalfIsForItsOwnerAloneAndDoesNotPrint(t *testing.T) {
	private, public := pair(t)
	for path, want := range map[string]fs.FileMode{private: 0o400, public: 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v (%v)", filepath.Base(path), info.Mode(), err)
		}
	}
	line, err := os.ReadFile(private)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
	key, _ := open(t, private, public)
	if shown := fmt.Sprintf("%v %+v %#v", key, key, key); strings.Contains(shown, text) {
		t.Error("the private half prints")
	}
}

func TestAPrivateHalfThatOthersMayReadOrWriteIsRefused(t *testing.T) {
	private, _ := pair(t)
	for mode, want := range map[fs.FileMode]error{
		0o400: nil, 0o600: nil,
		0o440: recovery.ErrPermissions, 0o404: recovery.ErrPermissions, 0o640: recovery.ErrPermissions, 0o644: recovery.ErrPermissions,
		0o620: recovery.ErrPermissions, 0o602: recovery.ErrPermissions, 0o700: recovery.ErrPermissions, 0o777: recovery.ErrPermissions,
	} {
		if err := os.Chmod(private, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := recovery.OpenPrivate(private); !errors.Is(err, want) {
			t.Errorf("mode %04o: %v, want %v", mode, err, want)
		}
	}
}

func TestAPrivateHalfThatIsNoFileIsRefusedAndNotWaitedFor(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, filepath.Dir(pipe)} {
		if _, err := recovery.OpenPrivate(path); !errors.Is(err, recovery.ErrMalformed) {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
	}
}

func TestNoFileIsReplaced(t *testing.T) {
	private, public := pair(t)
	if err := recovery.Create(private, public+"2"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a private half: %v", err)
	}
	if err := recovery.Create(private+"2", public); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a public half: %v", err)
	}
}

func TestARecoveryKeyIsMadeWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	private, taken := filepath.Join(dir, "private"), filepath.Join(dir, "taken")
	if err := os.WriteFile(taken, []byte("the public half of another pair\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, public := range map[string]string{"over another file": taken, "in no folder": filepath.Join(dir, "none", "public"), "in one file": private} {
		if err := recovery.Create(private, public); err == nil {
			t.Errorf("%s: it was made", name)
		}
		if _, err := os.Stat(private); err == nil {
			t.Errorf("%s: a private half stays, and opens nothing that anything is wrapped to", name)
		}
	}
}

func TestAPublicHalfThatOthersCanWriteIsRefused(t *testing.T) {
	_, public := pair(t)
	chmod := func(path string, mode fs.FileMode) {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, mode := range []fs.FileMode{0o666, 0o664, 0o646, 0o622} {
		chmod(public, mode)
		if _, err := recovery.OpenPublic(public); !errors.Is(err, recovery.ErrExchangeable) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	for _, mode := range []fs.FileMode{0o644, 0o600, 0o444, 0o440} {
		chmod(public, mode)
		if _, err := recovery.OpenPublic(public); err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	const nobody = 65534
	if os.Geteuid() == 0 { // only root can give files away
		if err := os.Chown(public, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		if _, err := recovery.OpenPublic(public); !errors.Is(err, recovery.ErrExchangeable) {
			t.Errorf("of another user: %v", err)
		}
	}
}

func TestAFileThatIsNoRecoveryKeyIsRefused(t *testing.T) {
	private, public := pair(t)
	for name, content := range map[string]string{
		"empty":                       "",
		"a word":                      "recovery\n",
		"no base64":                   "signerd-recovery-private-key-v1:%%%%\n",
		"too short":                   "signerd-recovery-private-key-v1:AAAA\n",
		"two lines":                   "signerd-recovery-public-key-v1:AA\nAA\n",
		"a point that is on no curve": "signerd-recovery-public-key-v1:" + strings.Repeat("A", 130) + "==\n",
		"endless":                     strings.Repeat("a", 1<<20),
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := recovery.OpenPrivate(path); !errors.Is(err, recovery.ErrMalformed) {
			t.Errorf("%s as a private half: %v", name, err)
		}
		if _, err := recovery.OpenPublic(path); !errors.Is(err, recovery.ErrMalformed) {
			t.Errorf("%s as a public half: %v", name, err)
		}
	}
	if err := os.Chmod(public, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := recovery.OpenPrivate(public); !errors.Is(err, recovery.ErrMalformed) {
		t.Errorf("the public half as the private one: %v", err)
	}
	if _, err := recovery.OpenPublic(private); !errors.Is(err, recovery.ErrMalformed) {
		t.Errorf("the private half as the public one: %v", err)
	}
	if _, err := recovery.OpenPublic(private + "-none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
