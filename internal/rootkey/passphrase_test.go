package rootkey_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/internal/secret"
)

const phrase = "correct horse battery staple"

func openPassphrases(t *testing.T) subject {
	path := filepath.Join(t.TempDir(), "root.params")
	must(t, rootkey.CreateParameters(path))
	return subject{key: openPassphrase(t, path, phrase), again: openPassphrase(t, path, phrase), other: openPassphrase(t, path, phrase+"!"), secrets: []string{phrase}}
}

func openPassphrase(t *testing.T, parameters, phrase string) *rootkey.Passphrase {
	t.Helper()
	key, err := rootkey.OpenPassphrase(parameters, secret.New([]byte(phrase)))
	must(t, err)
	return key
}

func TestAPassphraseMakesAnotherKeyWithOtherParameters(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	must(t, rootkey.CreateParameters(first))
	must(t, rootkey.CreateParameters(second))
	if err := rootkey.CreateParameters(first); !errors.Is(err, fs.ErrExist) {
		t.Errorf("CreateParameters over parameters: %v, want fs.ErrExist", err)
	}
	if info, err := os.Stat(first); err != nil || info.Mode() != 0o400 {
		t.Errorf("the file's mode is %v (%v), want 0400", info.Mode(), err)
	}
	a, b := openPassphrase(t, first, phrase), openPassphrase(t, second, phrase)
	if a.ID() == b.ID() {
		t.Error("one passphrase with two salts makes one key")
	}
	if a.ID() == openPassphrase(t, first, phrase+".").ID() {
		t.Error("two passphrases have one name, so that a wrong one is not told from damage")
	}
}

// TestTheKeyIsWhatPBKDF2Makes compares with what Python's hashlib makes of the same passphrase and parameters.
func TestTheKeyIsWhatPBKDF2Makes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.params")
	write(t, path, "signerd-passphrase-v1:pbkdf2-hmac-sha256:600000:"+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))+"\n", 0o400)
	if id := openPassphrase(t, path, phrase).ID(); id != "passphrase:f40d9aeaed5e8b18" {
		t.Errorf("its name is %s", id)
	}
}

func TestParametersThatSignerdDidNotWriteAreRefused(t *testing.T) {
	const start = "signerd-passphrase-v1:pbkdf2-hmac-sha256:"
	salt := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	for name, text := range map[string]string{
		"an empty file":    "",
		"the prefix alone": start,
		"few rounds":       start + "599999:" + salt + "\n",
		"no rounds":        start + ":" + salt + "\n",
		"negative rounds":  start + "-600000:" + salt + "\n",
		"endless rounds":   start + "100000001:" + salt + "\n",
		"a leading zero":   start + "0600000:" + salt + "\n",
		"a plus":           start + "+600000:" + salt + "\n",
		"no salt":          start + "600000:\n",
		"a short salt":     start + "600000:" + base64.StdEncoding.EncodeToString(make([]byte, 16)) + "\n",
		"another hash":     "signerd-passphrase-v1:pbkdf2-hmac-sha1:600000:" + salt + "\n",
		"a line more":      start + "600000:" + salt + "\nmore\n",
		"a line inside":    start + "600000:" + salt[:8] + "\n" + salt[8:] + "\n",
		"a large file":     start + "600000:" + salt + strings.Repeat("\n", 300),
	} {
		path := filepath.Join(t.TempDir(), "root.params")
		write(t, path, text, 0o400)
		if key, err := rootkey.OpenPassphrase(path, secret.New([]byte(phrase))); !errors.Is(err, rootkey.ErrParameters) || key != nil {
			t.Errorf("%s: %v, want ErrParameters", name, err)
		}
	}
	if _, err := rootkey.OpenPassphrase(filepath.Join(t.TempDir(), "missing"), secret.New([]byte(phrase))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing parameters: %v, want fs.ErrNotExist", err)
	}
	if _, err := rootkey.OpenPassphrase(t.TempDir(), secret.New([]byte(phrase))); !errors.Is(err, rootkey.ErrParameters) {
		t.Errorf("a folder: %v, want ErrParameters", err)
	}
}

func TestAPassphraseIsReadFromACredentialOrAFileDescriptorAsOneLine(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(rootkey.CredentialsDirectory, dir)
	for _, tt := range []struct {
		name, text string
		want       error
	}{
		{"a line", phrase + "\n", nil},
		{"a line without its end", phrase, nil},
		{"a line as Windows ends it", phrase + "\r\n", nil},
		{"the shortest", strings.Repeat("s", 15), nil},
		{"the longest", strings.Repeat("l", 1024) + "\r\n", nil},
		{"too short a line", strings.Repeat("s", 14) + "\n", rootkey.ErrPassphrase},
		{"too long a line", strings.Repeat("l", 1025), rootkey.ErrPassphrase},
		{"an empty file", "", rootkey.ErrPassphrase},
		{"two lines", phrase + "\n" + phrase + "\n", rootkey.ErrPassphrase},
		{"a zero byte", phrase + "\x00", rootkey.ErrPassphrase},
	} {
		path := filepath.Join(dir, "root")
		write(t, path, tt.text, 0o440)
		check := func(from string, p secret.Bytes, err error) {
			t.Helper()
			if !errors.Is(err, tt.want) {
				t.Errorf("%s from %s: %v, want %v", tt.name, from, err, tt.want)
			}
			if err == nil && string(p.Reveal()) != strings.TrimRight(tt.text, "\r\n") {
				t.Errorf("%s from %s is read as something else", tt.name, from)
			}
			if err != nil && (strings.Contains(err.Error(), phrase) || p.Len() > 0) {
				t.Errorf("%s from %s is told in an error", tt.name, from)
			}
		}
		p, err := rootkey.PassphraseFromCredential("root")
		check("a credential", p, err)
		r, w, err := os.Pipe()
		must(t, err)
		_, err = w.WriteString(tt.text)
		must(t, errors.Join(err, w.Close()))
		fd := duplicate(t, r)
		p, err = rootkey.PassphraseFromFD(t.Context(), fd)
		check("a file descriptor", p, err)
	}
}

func TestOnlyACredentialOfThisProcessIsRead(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "outside"), phrase, 0o400)
	inside := filepath.Join(dir, "credentials")
	must(t, os.Mkdir(inside, 0o700))
	for _, tt := range []struct{ dir, name string }{
		{"", "outside"}, {inside, "../outside"}, {inside, ""}, {inside, ".."}, {inside, filepath.Join(dir, "outside")},
	} {
		t.Setenv(rootkey.CredentialsDirectory, tt.dir)
		if _, err := rootkey.PassphraseFromCredential(tt.name); !errors.Is(err, rootkey.ErrCredential) {
			t.Errorf("%q in %q: %v, want ErrCredential", tt.name, tt.dir, err)
		}
	}
	t.Setenv(rootkey.CredentialsDirectory, inside)
	if _, err := rootkey.PassphraseFromCredential("missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing one: %v, want fs.ErrNotExist", err)
	}
}

func TestWaitingForAPassphraseFromAPipeEndsWithItsContext(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	defer func() { _ = w.Close() }()
	fd := duplicate(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := rootkey.PassphraseFromFD(ctx, fd)
		done <- err
	}()
	_, err = w.WriteString(phrase) // and no end
	must(t, err)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}

// Go's runtime has files open before main, /sys/fs/cgroup/cpu.max for one: a descriptor that nobody passed may be one of these.
func TestAPassphraseComesFromNoFileOfThisProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "own")
	write(t, path, "1000000 1000000\n", 0o600)
	own, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer func() { _ = unix.Close(own) }()
	const nothing = 1023
	for _, fd := range []int{own, nothing} {
		if _, err := rootkey.PassphraseFromFD(t.Context(), fd); !errors.Is(err, rootkey.ErrNotPassed) {
			t.Errorf("file descriptor %d: %v, want ErrNotPassed", fd, err)
		}
	}
}
