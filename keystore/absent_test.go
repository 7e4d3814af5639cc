package keystore_test

import (
	"context"
	"errors"
	"testing"

	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noba"
)

// remote is a root key elsewhere, which fails as a test wants.
type remote struct {
	*rootkey.File
	fault error
}

func (r *remote) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	if r.fault != nil {
		return nil, r.fault
	}
	return r.File.Unwrap(ctx, wrapped)
}

func (r *remote) Wrap(ctx context.Context, plaintext []byte) ([]byte, error) {
	if r.fault != nil {
		return nil, r.fault
	}
	return r.File.Wrap(ctx, plaintext)
}

// said is an error as providers give it.
type said struct{ unavailable, wrong bool }

func (said) Error() string       { return "what the provider says" }
func (s said) Unavailable() bool { return s.unavailable }
func (s said) WrongKey() bool    { return s.wrong }

func TestWhatARootKeyElsewhereSaysIsToldApart(t *testing.T) {
	c := inMemory(t)
	root := &remote{File: newRootKey()}
	c.RootKey = root
	initialize(t, c)
	for _, tt := range []struct {
		name        string
		fault, want error
	}{
		{"away", said{unavailable: true}, keystore.ErrRootKeyUnavailable},
		{"another key", said{wrong: true}, keystore.ErrWrongRootKey},
		{"neither", said{}, keystore.ErrDamaged},
		{"something else", errors.New("it does not open"), keystore.ErrDamaged},
	} {
		root.fault = tt.fault
		_, err := keystore.Open(t.Context(), c)
		for _, known := range []error{keystore.ErrRootKeyUnavailable, keystore.ErrWrongRootKey, keystore.ErrDamaged} {
			if errors.Is(err, known) != (known == tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			}
		}
	}
	root.fault = nil
	open(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := keystore.Open(ctx, c); err == nil || errors.Is(err, keystore.ErrDamaged) {
		t.Errorf("Open that is given up: %v", err)
	}
}

func TestARootKeyThatIsAwayInitializesNothing(t *testing.T) {
	c := inMemory(t)
	root := &remote{newRootKey(), said{unavailable: true}}
	c.RootKey = root
	if err := keystore.Init(t.Context(), c); !errors.Is(err, keystore.ErrRootKeyUnavailable) {
		t.Errorf("Init: %v, want ErrRootKeyUnavailable", err)
	}
	root.fault = nil
	initialize(t, c)
}

func TestARootKeyThatGoesAwayStopsNothingThatIsLoaded(t *testing.T) {
	c := inMemory(t)
	root := &remote{File: newRootKey()}
	c.RootKey = root
	k := initialize(t, c)
	other := open(t, c)
	root.fault = said{unavailable: true}
	importKey(t, other, "a", noba.Name, upstream.Sandbox)
	// This one reads the store anew, since it changed.
	importKey(t, k, "b", noba.Name, upstream.Sandbox)
	if k.Lookup("a") == nil || k.Lookup("b") == nil {
		t.Error("a change is missing")
	}
}
