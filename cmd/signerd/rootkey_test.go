package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/keystore"
)

var errAway = fmt.Errorf("asking a plugin: %w", keystore.ErrRootKeyUnavailable)

func TestARootKeyThatIsAwayIsAskedForLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked, pauses []time.Duration
		began := time.Now()
		err := patiently(t.Context(), func() error {
			if asked = append(asked, time.Since(began)/time.Second); len(asked) < 9 {
				return errAway
			}
			return nil
		}, func(err error, pause time.Duration) {
			if !errors.Is(err, errAway) {
				t.Errorf("the cause is told as %v", err)
			}
			pauses = append(pauses, pause/time.Second)
		})
		if err != nil || !slices.Equal(asked, []time.Duration{0, 1, 3, 7, 15, 31, 61, 91, 121}) || !slices.Equal(pauses, []time.Duration{1, 2, 4, 8, 16, 30, 30, 30}) {
			t.Errorf("it is asked after %v seconds, with pauses of %v (%v)", asked, pauses, err)
		}
	})
}

func TestWaitingForARootKeyEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		if err := patiently(ctx, func() error { return errAway }, func(error, time.Duration) {}); !errors.Is(err, errAway) || time.Since(began) != 2*time.Second {
			t.Errorf("it ends after %v with %v", time.Since(began), err)
		}
	})
}

func TestNothingButAnAbsentRootKeyIsWaitedFor(t *testing.T) {
	for _, want := range []error{keystore.ErrWrongRootKey, keystore.ErrDamaged, keystore.ErrUnavailable} {
		calls := 0
		err := patiently(t.Context(), func() error { calls++; return want }, func(error, time.Duration) { t.Errorf("%v is waited for", want) })
		if !errors.Is(err, want) || calls != 1 {
			t.Errorf("%v: %v after %d calls", want, err, calls)
		}
	}
}

func TestAPassphraseThatIsAskedForAtStartIsNotAskedForLater(t *testing.T) {
	root, err := rootKey(t.Context(), config.RootKey{KMS: config.KMS{Socket: "kms.sock"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	atStart := config.NextRootKey{Passphrase: config.Passphrase{Parameters: "params", FD: 3}}
	opened := coming{atStart, root}
	other, terminal := atStart, config.NextRootKey{Passphrase: config.Passphrase{Parameters: "params", FD: config.NoFD, Terminal: true}}
	other.Passphrase.FD = 4
	for _, tt := range []struct {
		name    string
		section config.NextRootKey
		want    keystore.RootKey
		err     error
	}{
		{"the one of the start", atStart, root, nil},
		{"another file descriptor, which by now is another file", other, nil, errAskedAtStart},
		{"a terminal", terminal, nil, errAskedAtStart},
		{"none any more", config.NextRootKey{}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := opened.now(t.Context(), tt.section); got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("it gives %v (%v)", got, err)
			}
		})
	}
}
