package keystore_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/memory"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
)

func TestNoChangedBackupIsOpened(t *testing.T) {
	c := inMemory(t)
	k := initialize(t, c)
	importKey(t, k, "a", noah.Name, upstream.Prod)
	b := takeBackup(t, k)
	refused := func(what string, i int, b []byte) {
		if _, err := keystore.OpenBackup(t.Context(), c, bytes.NewReader(b)); err == nil {
			t.Errorf("%s at %d: opened", what, i)
		}
	}
	for i := range b {
		x := bytes.Clone(b)
		x[i] ^= 1 << (i % 8)
		refused("a bit", i, x)
		refused("cut", i, b[:i])
	}
	refused("twice", 0, append(bytes.Clone(b), b...))
}

func TestARestoredBackupGivesAChanceToTakeADestructionBack(t *testing.T) {
	for environment, least := range map[upstream.Environment]time.Duration{upstream.Prod: keystore.MinDestroyAfterProd, upstream.Sandbox: keystore.MinDestroyAfterSandbox} {
		c := inMemory(t)
		now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
		c.Now = func() time.Time { return now }
		k := initialize(t, c)
		for _, name := range []string{"a", "b"} {
			importKey(t, k, name, noah.Name, environment)
			must(t)(rotate(t.Context(), k, name))
		}
		must(t)(k.ScheduleDestruction(t.Context(), "a", 2, 0, keystore.Destruction{}))
		must(t)(k.ScheduleDestruction(t.Context(), "b", 2, 0, keystore.Destruction{After: keystore.MaxDestroyAfter}))
		later := k.Lookup("b").Versions()[1].DestroyTime
		b := takeBackup(t, k)
		// It was destroyed by mistake, a week later. The backup still has it.
		now = now.Add(8 * 24 * time.Hour)
		into := configure(memory.New(), &anchor{})
		into.RootKey, into.Now = c.RootKey, c.Now
		r, err := keystore.OpenBackup(t.Context(), into, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		made, err := r.Restore(t.Context(), into, false)
		if err != nil || made.Postponed != 1 {
			t.Fatalf("restoring it: %+v, %v", made, err)
		}
		second := open(t, into)
		if due := second.Due(); len(due) > 0 {
			t.Errorf("%s: the restored store destroys version %d of %s as soon as it is started", environment, due[0].Version, due[0].Key.Name)
		}
		if got := second.Lookup("a").Versions()[1].DestroyTime; !got.Equal(now.Add(least)) {
			t.Errorf("%s: it is to be destroyed at %s, want in %s", environment, got, least)
		}
		if got := second.Lookup("b").Versions()[1].DestroyTime; !got.Equal(later) {
			t.Errorf("%s: what is not due for long is to be destroyed at %s, want %s", environment, got, later)
		}
		must(t)(second.RestoreVersion(t.Context(), "a", 2, 0))
	}
}

func TestABackupIsRestoredFrozenWhereThatIsAskedForAndWhereItWasSo(t *testing.T) {
	first := initialize(t, inMemory(t))
	before := takeBackup(t, first)
	if _, _, err := first.Freeze(t.Context(), tester, "stolen"); err != nil {
		t.Fatal(err)
	}
	after := takeBackup(t, first)
	for name, tt := range map[string]struct {
		b             []byte
		frozen, wants bool
	}{
		"of before the freeze":         {before, false, false},
		"of before the freeze, frozen": {before, true, true},
		"of after the freeze":          {after, false, true},
		"of after the freeze, frozen":  {after, true, true},
	} {
		c := inMemory(t)
		r, err := keystore.OpenBackup(t.Context(), c, bytes.NewReader(tt.b))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Restore(t.Context(), c, tt.frozen); err != nil {
			t.Fatal(err)
		}
		second := open(t, c)
		if got := second.View().Freeze().Frozen; got != tt.wants {
			t.Errorf("a backup %s: frozen %t, want %t", name, got, tt.wants)
		}
		if _, _, _, err := second.Unfreeze(t.Context(), tester); err != nil {
			t.Errorf("a backup %s: ending it: %v", name, err)
		}
	}
}

func TestARestoreThatWasInterruptedIsNotCompletedAsAnotherOne(t *testing.T) {
	first := initialize(t, inMemory(t))
	b := takeBackup(t, first)
	kept, a := memory.New(), &anchor{fail: errors.New("disk")}
	c := configure(kept, a)
	restored := func(frozen bool) error {
		r, err := keystore.OpenBackup(t.Context(), c, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Restore(t.Context(), c, frozen)
		return err
	}
	if err := restored(false); !errors.Is(err, keystore.ErrUnavailable) {
		t.Fatal(err)
	}
	a.fail = nil
	if err := restored(true); !errors.Is(err, keystore.ErrInitialized) {
		t.Errorf("frozen, over one that is not: %v", err)
	}
	if err := restored(false); err != nil {
		t.Errorf("as before: %v", err)
	}
}

func TestABackupOpensWithTheRootKeyToComeWhereThatMadeIt(t *testing.T) {
	c := inMemory(t)
	k := initialize(t, c)
	next := newRootKey()
	if err := k.RotateRootKey(t.Context(), next, nil); err != nil {
		t.Fatal(err)
	}
	c.NextRootKey = next
	r, err := keystore.OpenBackup(t.Context(), c, bytes.NewReader(takeBackup(t, k)))
	if err != nil {
		t.Fatal(err)
	}
	if r.RootKey().ID() != next.ID() {
		t.Errorf("%s opened it, want %s", r.RootKey().ID(), next.ID())
	}
}
