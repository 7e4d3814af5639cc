package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/signerd/signerd/keystore"
)

func TestAFreezeIsKeptSealedUntilItIsEnded(t *testing.T) {
	for name, backend := range backends {
		t.Run(name, func(t *testing.T) {
			c := backend(t)
			k := initialize(t, c)
			if f := k.View().Freeze(); f != (keystore.Freeze{}) {
				t.Errorf("before any freeze there is %+v", f)
			}
			before := k.View()
			first, changed, err := k.Freeze(t.Context(), "unix:uid=1", "a laptop is gone")
			succeed(t, err)
			if !changed || !first.Frozen || first.Reason != "a laptop is gone" || first.Author != "unix:uid=1" || first.Time.IsZero() || first.Generation == 0 {
				t.Errorf("the freeze is %+v, changed %t", first, changed)
			}
			if before.Freeze().Frozen {
				t.Error("a view changed under its reader")
			}
			again := open(t, c)
			if got := again.View().Freeze(); !got.Frozen || got.Reason != first.Reason || got.Author != first.Author || !got.Time.Equal(first.Time) || got.Generation != first.Generation {
				t.Errorf("after opening again: %+v", got)
			}
			records, _, err := c.Store.Load(t.Context())
			succeed(t, err)
			for _, r := range records {
				if bytes.Contains(r.Sealed, []byte("laptop")) {
					t.Errorf("record %s holds the reason in clear", r.Name)
				}
			}
			ended, after, changed, err := k.Unfreeze(t.Context(), "unix:uid=2")
			succeed(t, err)
			if !changed || ended != first || after.Frozen || after.Reason != "" || after.Author != "unix:uid=2" || after.Generation <= first.Generation {
				t.Errorf("ended %+v, after it %+v, changed %t", ended, after, changed)
			}
			if got := open(t, c).View().Freeze(); got.Frozen {
				t.Errorf("after its end, opened again: %+v", got)
			}
		})
	}
}

func TestFreezingWhatIsFrozenWritesNothing(t *testing.T) {
	c := inMemory(t)
	k := initialize(t, c)
	if _, _, changed, err := k.Unfreeze(t.Context(), tester); changed || err != nil {
		t.Errorf("ending what is not: changed %t, %v", changed, err)
	}
	first, _, err := k.Freeze(t.Context(), "unix:uid=1", "first")
	succeed(t, err)
	_, revision, err := c.Store.Load(t.Context())
	succeed(t, err)
	second, changed, err := k.Freeze(t.Context(), "unix:uid=2", "second")
	succeed(t, err)
	_, after, err := c.Store.Load(t.Context())
	succeed(t, err)
	if changed || second != first || after != revision {
		t.Errorf("changed %t, it is %+v, the store moved from %d to %d", changed, second, revision, after)
	}
}

func TestKeysAndPolicyCanBeChangedWhileFrozen(t *testing.T) {
	c := inMemory(t)
	k := initialize(t, c)
	_, _, err := k.Freeze(t.Context(), tester, "a reason")
	succeed(t, err)
	importKey(t, k, "a", "noba", "sandbox")
	_, err = k.SetPolicy(t.Context(), tester, 0, []byte("the policy"))
	succeed(t, err)
	for what, v := range map[string]keystore.View{"here": k.View(), "opened again": open(t, c).View()} {
		if !v.Freeze().Frozen || v.Lookup("a") == nil || v.Policy().Generation == 0 {
			t.Errorf("%s: %+v", what, v.Freeze())
		}
	}
}

// A freeze cannot be ended by whoever can write the store but has no root key.
func TestAFreezeThatIsTakenAwayOrPutBackIsNamed(t *testing.T) {
	c := inMemory(t)
	k := initialize(t, c)
	_, _, err := k.Freeze(t.Context(), tester, "first")
	succeed(t, err)
	frozen := recordNamed(t, c.Store, "freeze")
	_, _, _, err = k.Unfreeze(t.Context(), tester)
	succeed(t, err)
	ended := recordNamed(t, c.Store, "freeze")
	_, _, err = k.Freeze(t.Context(), tester, "second")
	succeed(t, err)
	for name, old := range map[string]keystore.Record{"an older freeze": frozen, "its end": ended} {
		now := recordNamed(t, c.Store, "freeze")
		_, err := c.Store.Commit(t.Context(), []keystore.Change{{Record: old, Expect: now.Generation}})
		succeed(t, err)
		_, err = keystore.Open(t.Context(), c)
		var damage keystore.Damage
		if !errors.As(err, &damage) || damage[0].Record != "freeze" {
			t.Errorf("%s in its place: %v", name, err)
		}
	}
}

func recordNamed(t *testing.T, s keystore.Store, name string) keystore.Record {
	t.Helper()
	records, _, err := s.Load(t.Context())
	succeed(t, err)
	for _, r := range records {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("there is no record %q", name)
	return keystore.Record{}
}

func TestAnotherProcessesFreezeIsTakenInAndTold(t *testing.T) {
	c := inMemory(t)
	here := initialize(t, c)
	there := open(t, c)
	told := make(chan bool)
	here.OnFreeze(func() { told <- here.View().Freeze().Frozen })
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() { _ = here.Follow(ctx) })
	defer following.Wait()
	defer cancel()
	_, _, err := there.Freeze(t.Context(), tester, "from there")
	succeed(t, err)
	if !<-told {
		t.Error("it was told of something else")
	}
	if got := here.View().Freeze(); got.Reason != "from there" {
		t.Errorf("here there is %+v", got)
	}
	_, _, _, err = there.Unfreeze(t.Context(), tester)
	succeed(t, err)
	if <-told {
		t.Error("the end was not taken in")
	}
}

func TestAFreezeWhoseReasonIsTooLongIsRefused(t *testing.T) {
	k := initialize(t, inMemory(t))
	if _, _, err := k.Freeze(t.Context(), tester, string(make([]byte, keystore.MaxFreezeReasonBytes+1))); err == nil {
		t.Error("it was taken")
	}
	if k.View().Freeze().Frozen {
		t.Error("it is in force")
	}
}
