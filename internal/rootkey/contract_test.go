package rootkey_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/keystore"
)

var (
	_ keystore.RootKey = (*rootkey.File)(nil)
	_ keystore.RootKey = (*rootkey.Passphrase)(nil)
	_ keystore.RootKey = (*rootkey.KMS)(nil)
	_ keystore.RootKey = (*rootkey.Transit)(nil)
)

// subject is a provider under test.
type subject struct {
	// key and again are the same root key, opened twice; other is another of the same kind.
	key, again, other keystore.RootKey
	// secrets are what nothing may print.
	secrets []string
}

func TestEveryProviderKeepsTheContract(t *testing.T) {
	for name, open := range map[string]func(*testing.T) subject{"file": openFiles, "passphrase": openPassphrases, "kms": openPlugins, "transit": openTransits} {
		t.Run(name, func(t *testing.T) { contract(t, open(t)) })
	}
}

func openFiles(t *testing.T) subject {
	path, key := newKey(t)
	again, err := rootkey.OpenFile(path)
	must(t, err)
	_, other := newKey(t)
	return subject{key: key, again: again, other: other}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const keyring = "a keyring that nobody else may see"

func contract(t *testing.T, s subject) {
	wrapped, err := s.key.Wrap(t.Context(), []byte(keyring))
	must(t, err)
	t.Run("what was wrapped unwraps", func(t *testing.T) {
		for _, size := range []int{0, 1, 300, 64 << 10} {
			plaintext := bytes.Repeat([]byte("p"), size)
			wrapped, err := s.key.Wrap(t.Context(), plaintext)
			must(t, err)
			if size > 16 && bytes.Contains(wrapped, plaintext[:16]) {
				t.Error("the wrapped keyring holds the plaintext")
			}
			if got, err := s.again.Unwrap(t.Context(), wrapped); err != nil || !bytes.Equal(got, plaintext) {
				t.Errorf("%d bytes unwrap as %d bytes (%v)", size, len(got), err)
			}
		}
	})
	t.Run("wrapping twice gives different bytes", func(t *testing.T) {
		if twice, err := s.key.Wrap(t.Context(), []byte(keyring)); err != nil || bytes.Equal(twice, wrapped) {
			t.Errorf("it gives the same (%v)", err)
		}
	})
	t.Run("another key does not unwrap it", func(t *testing.T) {
		got, err := s.other.Unwrap(t.Context(), wrapped)
		if err == nil || got != nil {
			t.Errorf("it unwraps %d bytes (%v)", len(got), err)
		}
		if isUnavailable(err) {
			t.Errorf("it is said to be unavailable: %v", err)
		}
		wantNoSecret(t, s, err)
	})
	t.Run("what was changed does not unwrap", func(t *testing.T) {
		for i := range wrapped {
			changed := bytes.Clone(wrapped)
			changed[i] ^= 1 << (i % 8)
			wantRefused(t, s, changed, fmt.Sprintf("byte %d was changed", i))
		}
		for _, n := range []int{0, 1, len(wrapped) / 2, len(wrapped) - 1} {
			wantRefused(t, s, wrapped[:n], fmt.Sprintf("it was cut to %d bytes", n))
		}
		wantRefused(t, s, append(bytes.Clone(wrapped), 0), "a byte was added")
		wantRefused(t, s, append(bytes.Clone(wrapped), ' '), "a space was added")
	})
	t.Run("a cancelled context ends it", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.key.Wrap(ctx, []byte(keyring)); !errors.Is(err, context.Canceled) {
			t.Errorf("Wrap: %v", err)
		}
		if _, err := s.key.Unwrap(ctx, wrapped); !errors.Is(err, context.Canceled) {
			t.Errorf("Unwrap: %v", err)
		}
	})
	t.Run("many may use it at once", func(t *testing.T) {
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				plaintext := fmt.Appendf(nil, "keyring %d", i)
				wrapped, err := s.key.Wrap(t.Context(), plaintext)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := s.key.Unwrap(t.Context(), wrapped); err != nil || !bytes.Equal(got, plaintext) {
					t.Errorf("%q unwraps as %q (%v)", plaintext, got, err)
				}
			})
		}
		all.Wait()
	})
	t.Run("its name stays", func(t *testing.T) {
		if id := s.key.ID(); id == "" || len(id) > 255 || s.again.ID() != id || s.key.ID() != id {
			t.Errorf("it is %q, and %q", s.key.ID(), s.again.ID())
		}
	})
	t.Run("nothing prints a secret", func(t *testing.T) {
		text := s.key.ID() + string(wrapped)
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			text += fmt.Sprintf(format, s.key)
		}
		if j, err := json.Marshal(s.key); err == nil {
			text += string(j)
		}
		for _, secret := range append(s.secrets, keyring) {
			if strings.Contains(text, secret) {
				t.Errorf("a secret is in %s", text)
			}
		}
	})
}

func isUnavailable(err error) bool {
	var fault interface{ Unavailable() bool }
	return errors.As(err, &fault) && fault.Unavailable()
}

func isWrongKey(err error) bool {
	var fault interface{ WrongKey() bool }
	return errors.As(err, &fault) && fault.WrongKey()
}

func wantRefused(t *testing.T, s subject, wrapped []byte, what string) {
	t.Helper()
	got, err := s.key.Unwrap(t.Context(), wrapped)
	if err == nil || got != nil || isUnavailable(err) {
		t.Errorf("%s: it unwraps %d bytes (%v)", what, len(got), err)
	}
	wantNoSecret(t, s, err)
}

func wantNoSecret(t *testing.T, s subject, err error) {
	t.Helper()
	for _, secret := range append(s.secrets, keyring) {
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Error("the error holds a secret")
		}
	}
}
