package keystore_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signerd/signerd/keystore"
)

// leaving is a root key elsewhere: it may go away after it was asked a few times, or answer nothing until its caller gives up.
type leaving struct {
	keystore.RootKey
	answers atomic.Int64  // how many more; negative for any number
	hang    chan struct{} // closed once a Wrap hangs; nil for none that does
}

func newLeaving(root keystore.RootKey) *leaving {
	l := &leaving{RootKey: root}
	l.answers.Store(-1)
	return l
}

func (l *leaving) gone() bool {
	n := l.answers.Load()
	return n == 0 || n > 0 && l.answers.Add(-1) < 0
}

func (l *leaving) Wrap(ctx context.Context, b []byte) ([]byte, error) {
	if l.hang != nil {
		close(l.hang)
		<-ctx.Done()
	}
	if l.hang != nil || l.gone() {
		return nil, fault{unavailable: true}
	}
	return l.RootKey.Wrap(ctx, b)
}

func (l *leaving) Unwrap(ctx context.Context, b []byte) ([]byte, error) {
	if l.gone() {
		return nil, fault{unavailable: true}
	}
	return l.RootKey.Unwrap(ctx, b)
}

func TestAProviderThatGoesAwayDuringARotationStopsNothingThatIsLoaded(t *testing.T) {
	// It is asked to wrap, and to unwrap that.
	for answers := range int64(3) {
		synctest.Test(t, func(t *testing.T) {
			c := inMemory(t)
			root := newLeaving(c.RootKey)
			c.RootKey = root
			k := filled(t, c)
			ctx, cancel := context.WithCancel(t.Context())
			followed := make(chan error, 1)
			go func() { followed <- k.Follow(ctx) }()
			root.answers.Store(answers)
			err := k.RotateRootKey(t.Context(), nil, nil)
			if rotated := answers == 2; rotated != (err == nil) || !rotated && !errors.Is(err, keystore.ErrRootKeyUnavailable) {
				t.Errorf("away after %d answers, the rotation says %v", answers, err)
			}
			synctest.Wait()
			select {
			case err := <-followed:
				t.Errorf("away after %d answers, following ends: %v", answers, err)
			default:
			}
			if _, _, err := k.Freeze(t.Context(), tester, "a thief"); err != nil {
				t.Errorf("away after %d answers, signing cannot be stopped: %v", answers, err)
			}
			cancel()
			root.answers.Store(-1)
			wantSame(t, "with the provider back", open(t, c), k)
		})
	}
}

func TestAKeyringOfAnotherProcessIsTakenInOnceTheProviderIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inMemory(t)
		there := filled(t, c)
		root := newLeaving(c.RootKey)
		c.RootKey = root
		here := open(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		followed := make(chan error, 1)
		go func() { followed <- here.Follow(ctx) }()
		synctest.Wait()
		root.answers.Store(0)
		if err := there.RotateRootKey(t.Context(), nil, nil); err != nil {
			t.Fatal(err)
		}
		must(t)(there.SetEnabled(t.Context(), "noah", 0, false))
		synctest.Wait()
		if !here.Lookup("noah").Enabled {
			t.Error("it was read without a root key")
		}
		root.answers.Store(-1)
		for here.Lookup("noah").Enabled && len(followed) == 0 {
			time.Sleep(time.Second) // of the test's own clock
		}
		wantSame(t, "who follows", here, there)
		cancel()
		if err := <-followed; !errors.Is(err, context.Canceled) {
			t.Errorf("following ended with %v", err)
		}
	})
}

func TestAFreezeDoesNotWaitForAProviderThatHangs(t *testing.T) {
	c := inMemory(t)
	k := filled(t, c)
	hanging := newLeaving(newRootKey())
	hanging.hang = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	rotated := make(chan error, 1)
	go func() { rotated <- k.RotateRootKey(ctx, hanging, nil) }()
	<-hanging.hang
	if _, _, err := k.Freeze(t.Context(), tester, "a thief"); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-rotated; !errors.Is(err, keystore.ErrRootKeyUnavailable) {
		t.Errorf("the rotation says %v", err)
	}
	wantSame(t, "after it", open(t, c), k)
}

// unfaithful unwraps something else than it wrapped.
type unfaithful struct{ keystore.RootKey }

func (u unfaithful) Wrap(ctx context.Context, b []byte) ([]byte, error) {
	return u.RootKey.Wrap(ctx, append([]byte(nil), b[:len(b)-1]...))
}

func TestARootKeyThatDoesNotUnwrapWhatItWrappedIsNotTakenIntoUse(t *testing.T) {
	c := inMemory(t)
	k := filled(t, c)
	before := k.Stats()
	for name, root := range map[string]keystore.RootKey{"gives another": unfaithful{newRootKey()}, "gives none": troubled{newRootKey(), errors.New("no tag fits")}} {
		if err := k.RotateRootKey(t.Context(), root, nil); !errors.Is(err, keystore.ErrUnfitRootKey) || errors.Is(err, keystore.ErrDamaged) {
			t.Errorf("one that %s: %v", name, err)
		}
	}
	if k.Stats() != before {
		t.Errorf("the store was changed: %+v", k.Stats())
	}
	open(t, c)
}

// Two rotations at once: the one that comes second begins anew, from the keyring of the first.
func TestARotationThatWasOvertakenBeginsAnew(t *testing.T) {
	c := inMemory(t)
	k := filled(t, c)
	first, second := newRootKey(), newRootKey()
	overtaken := overtaking{second, func() {
		if err := k.RotateRootKey(t.Context(), first, nil); err != nil {
			t.Error(err)
		}
	}, new(atomic.Bool)}
	if err := k.RotateRootKey(t.Context(), overtaken, nil); err != nil {
		t.Fatal(err)
	}
	c.RootKey = second
	wantSame(t, "after both", open(t, c), k)
}

// overtaking does something else first, once, when it is asked to wrap.
type overtaking struct {
	keystore.RootKey
	first func()
	did   *atomic.Bool
}

func (o overtaking) Wrap(ctx context.Context, b []byte) ([]byte, error) {
	if !o.did.Swap(true) {
		o.first()
	}
	return o.RootKey.Wrap(ctx, b)
}

func TestAfterARotationTheOldProviderIsNotNeededToStart(t *testing.T) {
	c := inMemory(t)
	k := filled(t, c)
	next := newRootKey()
	if err := k.RotateRootKey(t.Context(), next, nil); err != nil {
		t.Fatal(err)
	}
	// The configuration is as before the rotation.
	old := newLeaving(c.RootKey)
	old.answers.Store(0)
	c.RootKey, c.NextRootKey = old, next
	wantSame(t, "opened with the next root key", open(t, c), k)
}
