package rootkey_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/keystore"
)

var _ keystore.RootKey = (*rootkey.File)(nil)

const prefix = "signerd-root-key-v1:"

func newKey(t *testing.T) (path string, key *rootkey.File) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "root.key")
	if err := rootkey.CreateFile(path); err != nil {
		t.Fatal(err)
	}
	key, err := rootkey.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, key
}

// line is what a root key file of n random bytes holds.
func line(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return prefix + base64.StdEncoding.EncodeToString(b) + "\n"
}

func write(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// keyText finds what may be a key in a file: no word of an error's text is that long.
var keyText = regexp.MustCompile(`[A-Za-z0-9+/]{16,}`)

// wantNoKey fails when an error's text holds a part of a key that is in the file.
func wantNoKey(t *testing.T, err error, content string) {
	t.Helper()
	if err == nil {
		return
	}
	for _, key := range keyText.FindAllString(content, -1) {
		for at := 0; at+8 <= len(key); at++ {
			if strings.Contains(err.Error(), key[at:at+8]) {
				t.Errorf("the error %q holds a part of the key", err)
				return
			}
		}
	}
}

func TestCreateFileMakesADifferentKeyEachTimeThatOnlyItsOwnerReads(t *testing.T) {
	path, first := newKey(t)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o400 {
		t.Errorf("the file's mode is %v (%v), want 0400", info.Mode(), err)
	}
	content, err := os.ReadFile(path)
	if err != nil || !bytes.HasPrefix(content, []byte(prefix)) || bytes.Count(content, []byte("\n")) != 1 {
		t.Errorf("the file is not one line with its prefix (%v)", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v (%v), want the key alone", entries, err)
	}
	if _, second := newKey(t); first.ID() == second.ID() {
		t.Error("two keys have one name")
	}
}

func TestCreateFileReplacesNoKey(t *testing.T) {
	path, key := newKey(t)
	if err := rootkey.CreateFile(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("CreateFile over a key: %v, want fs.ErrExist", err)
	}
	if again, err := rootkey.OpenFile(path); err != nil || again.ID() != key.ID() {
		t.Errorf("the key was replaced (%v)", err)
	}
}

func TestOpenFileRefusesAKeyThatOthersMayRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	content := line(32)
	for mode, want := range map[fs.FileMode]error{
		0o400: nil, 0o600: nil,
		0o440: rootkey.ErrPermissions, 0o640: rootkey.ErrPermissions, 0o644: rootkey.ErrPermissions, 0o604: rootkey.ErrPermissions,
		0o700: rootkey.ErrPermissions, 0o500: rootkey.ErrPermissions, 0o404: rootkey.ErrPermissions, 0o620: rootkey.ErrPermissions,
		0o602: rootkey.ErrPermissions, 0o777: rootkey.ErrPermissions, 0o666: rootkey.ErrPermissions,
	} {
		write(t, path, content, mode)
		_, err := rootkey.OpenFile(path)
		if !errors.Is(err, want) {
			t.Errorf("mode %04o: %v, want %v", mode, err, want)
		}
		wantNoKey(t, err, content)
	}
}

func TestSystemdsCredentialsMayHaveOtherModes(t *testing.T) {
	credentials, outside := t.TempDir(), t.TempDir()
	t.Setenv(rootkey.CredentialsDirectory, credentials)
	content := line(32)
	inside, elsewhere := filepath.Join(credentials, "root.key"), filepath.Join(outside, "root.key")
	write(t, inside, content, 0o440)
	write(t, elsewhere, content, 0o440)
	link := func(to, from string) string {
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
		return from
	}
	// A folder whose name only begins like the credentials' folder.
	neighbour := credentials + "-neighbour"
	if err := os.Mkdir(neighbour, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(neighbour, "root.key"), content, 0o440)
	for _, test := range []struct {
		name, path string
		want       error
	}{
		{"a key in the folder", inside, nil},
		{"a link into the folder", link(inside, filepath.Join(outside, "into")), nil},
		{"a key outside", elsewhere, rootkey.ErrPermissions},
		{"a link out of the folder", link(elsewhere, filepath.Join(credentials, "out")), rootkey.ErrPermissions},
		{"a path out of the folder", credentials + "/../" + filepath.Base(outside) + "/root.key", rootkey.ErrPermissions},
		{"a folder of a similar name", filepath.Join(neighbour, "root.key"), rootkey.ErrPermissions},
	} {
		if _, err := rootkey.OpenFile(test.path); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	// systemd's folder may itself be reached through a link.
	t.Setenv(rootkey.CredentialsDirectory, link(credentials, filepath.Join(outside, "credentials")))
	if _, err := rootkey.OpenFile(inside); err != nil {
		t.Errorf("a key in the folder, named through a link: %v", err)
	}
	for _, gone := range []string{"", filepath.Join(outside, "missing")} {
		t.Setenv(rootkey.CredentialsDirectory, gone)
		if _, err := rootkey.OpenFile(inside); !errors.Is(err, rootkey.ErrPermissions) {
			t.Errorf("with the folder %q: %v, want ErrPermissions", gone, err)
		}
	}
}

func TestOpenFileRefusesWhatIsNoRootKeyAndQuotesNothing(t *testing.T) {
	good := line(32)
	raw := strings.TrimSuffix(strings.TrimPrefix(good, prefix), "\n")
	for name, content := range map[string]string{
		"an empty file":              "",
		"a line end":                 "\n",
		"the prefix alone":           prefix,
		"no prefix":                  raw + "\n",
		"another version":            "signerd-root-key-v2:" + raw + "\n",
		"upper case":                 strings.ToUpper(good),
		"a space before":             " " + good,
		"a space inside":             prefix + " " + raw + "\n",
		"a space after":              prefix + raw + " \n",
		"a line before":              "\n" + good,
		"another line after":         good + "more\n",
		"two keys":                   good + line(32),
		"a line end inside":          prefix + raw[:20] + "\n" + raw[20:] + "\n",
		"no padding":                 prefix + strings.TrimRight(raw, "=") + "\n",
		"the alphabet of URLs":       prefix + "-_" + raw[2:] + "\n",
		"bits beyond the last byte":  prefix + raw[:len(raw)-2] + "B=\n",
		"a byte that is not base64":  prefix + raw[:10] + "!" + raw[11:] + "\n",
		"a PEM block":                string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bytes.Repeat([]byte{7}, 32)})),
		"no key bytes":               line(0),
		"31 bytes":                   line(31),
		"33 bytes":                   line(33),
		"16 bytes":                   line(16),
		"64 bytes":                   line(64),
		"more than a key file holds": good + strings.Repeat("\n", 256),
		"much more":                  line(1 << 16),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "root.key")
			write(t, path, content, 0o600)
			key, err := rootkey.OpenFile(path)
			if !errors.Is(err, rootkey.ErrMalformed) || key != nil {
				t.Errorf("%v and %v, want ErrMalformed alone", key, err)
			}
			wantNoKey(t, err, content)
		})
	}
}

func TestOpenFileAcceptsAnEditorsLineEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	good := line(32)
	write(t, path, good, 0o600)
	want, err := rootkey.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{strings.TrimSpace(good), strings.TrimSpace(good) + "\r\n"} {
		write(t, path, content, 0o600)
		if got, err := rootkey.OpenFile(path); err != nil || got.ID() != want.ID() {
			t.Errorf("with the line end %q: %v, want the same key", content[len(content)-2:], err)
		}
	}
}

func TestOpenFileRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := rootkey.OpenFile(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v, want fs.ErrNotExist", err)
	}
	if _, err := rootkey.OpenFile(dir); !errors.Is(err, rootkey.ErrMalformed) {
		t.Errorf("a folder: %v, want ErrMalformed", err)
	}
	// Nobody writes into this pipe: opening it must not wait for somebody who does.
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := rootkey.OpenFile(pipe); !errors.Is(err, rootkey.ErrMalformed) {
		t.Errorf("a pipe: %v, want ErrMalformed", err)
	}
}

func TestWhatWasWrappedUnwrapsWithTheSameKeyOnly(t *testing.T) {
	path, key := newKey(t)
	again, err := rootkey.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, other := newKey(t)
	if again.ID() != key.ID() || other.ID() == key.ID() || len(key.ID()) > 255 {
		t.Errorf("names %q, again %q, other %q", key.ID(), again.ID(), other.ID())
	}
	for _, size := range []int{0, 1, 300, 64 << 10} {
		plaintext := bytes.Repeat([]byte("p"), size)
		wrapped, err := key.Wrap(t.Context(), plaintext)
		if err != nil {
			t.Fatal(err)
		}
		if size > 16 && bytes.Contains(wrapped, plaintext[:16]) {
			t.Error("the wrapped keyring holds the plaintext")
		}
		if got, err := again.Unwrap(t.Context(), wrapped); err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("%d bytes unwrap as %d bytes (%v)", size, len(got), err)
		}
		if got, err := other.Unwrap(t.Context(), wrapped); err == nil || got != nil {
			t.Errorf("another key unwraps %d bytes", len(got))
		}
		twice, err := key.Wrap(t.Context(), plaintext)
		if err != nil || bytes.Equal(twice, wrapped) {
			t.Errorf("wrapping twice gives the same bytes (%v)", err)
		}
	}
}

func TestAChangedWrappingDoesNotUnwrap(t *testing.T) {
	_, key := newKey(t)
	wrapped, err := key.Wrap(t.Context(), []byte("a keyring"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range wrapped {
		for bit := range 8 {
			changed := bytes.Clone(wrapped)
			changed[i] ^= 1 << bit
			if _, err := key.Unwrap(t.Context(), changed); err == nil {
				t.Errorf("it unwraps with bit %d of byte %d changed", bit, i)
			}
		}
		if _, err := key.Unwrap(t.Context(), wrapped[:i]); err == nil {
			t.Errorf("it unwraps when cut to %d bytes", i)
		}
	}
	if _, err := key.Unwrap(t.Context(), append(bytes.Clone(wrapped), 0)); err == nil {
		t.Error("it unwraps with a byte more")
	}
}
