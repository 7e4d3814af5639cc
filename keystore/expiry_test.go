package keystore_test

import (
	"errors"
	"testing"
	"time"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noba"
)

func TestAVersionIsWarnedOfFromThirtyDaysBeforeItExpiresAndSignsAllTheSame(t *testing.T) {
	k, c, clock := aging(t, inMemory(t))
	ends := clock.now().Add(30*24*time.Hour + time.Second)
	key := must(t)(k.SetExpiry(t.Context(), name, 2, 0, ends))
	if v, _ := key.Version(2); !v.ExpireTime.Equal(ends) {
		t.Errorf("it expires at %v, want %v", v.ExpireTime, ends)
	}
	want := func(expiring, expired int) {
		t.Helper()
		for what, k := range map[string]*keystore.Keystore{"": k, "reopened, ": open(t, c)} {
			s, counts := k.Stats(), k.Counts()
			if s.Expiring != expiring || s.Expired != expired || len(counts) != 1 || counts[0].Expiring != expiring || counts[0].Expired != expired {
				t.Errorf("%s%d versions expire and %d have, or %+v; want %d and %d", what, s.Expiring, s.Expired, counts, expiring, expired)
			}
		}
	}
	want(0, 0)
	clock.wait(time.Second)
	want(1, 0)
	clock.wait(30*24*time.Hour - 1)
	want(1, 0)
	clock.wait(1)
	want(0, 1)
	if v, err := k.Lookup(name).Signing(); err != nil || v.Number != 2 {
		t.Errorf("version %d signs (%v), want the expired 2", v.Number, err)
	}
	must(t)(k.SetExpiry(t.Context(), name, 2, 0, time.Time{}))
	want(0, 0)
	must(t)(k.SetExpiry(t.Context(), name, 1, 0, clock.now()))
	want(0, 1)
	at := must(t)(schedule(t, k, 1, keystore.Destruction{}))
	if s, v := k.Stats(), at.Versions()[0]; s.Scheduled != 1 || !s.NextDestroy.Equal(v.DestroyTime) {
		t.Errorf("the next of %d is destroyed at %v, want 1 at %v", s.Scheduled, s.NextDestroy, v.DestroyTime)
	}
	clock.wait(168 * time.Hour)
	if err := destroyDue(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	want(0, 0)
	if s := k.Stats(); s.Scheduled != 0 || !s.NextDestroy.IsZero() {
		t.Errorf("%d are still to be destroyed", s.Scheduled)
	}
	if _, err := k.SetExpiry(t.Context(), name, 1, 0, clock.now()); !errors.Is(err, keystore.ErrVersionDestroyed) {
		t.Errorf("SetExpiry of a destroyed version: %v, want ErrVersionDestroyed", err)
	}
}

func TestAnExpiryDateComesWithTheMaterial(t *testing.T) {
	c := inMemory(t)
	k := initialize(t, c)
	first, second := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC), time.Date(2028, 1, 31, 0, 0, 0, 0, time.FixedZone("", 3600))
	want := func(what string, number uint32, ends time.Time) {
		t.Helper()
		for _, key := range []*keystore.Key{k.Lookup("a"), open(t, c).Lookup("a")} {
			if v, _ := key.Version(number); !v.ExpireTime.Equal(ends) {
				t.Errorf("%s: version %d expires at %v, want %v", what, number, v.ExpireTime, ends)
			}
		}
	}
	n := keystore.NewKey{Name: "a", Scheme: noba.Name, Environment: upstream.Prod, ExpireTime: first}
	if _, _, err := k.Import(t.Context(), tester, n, newMaterial(noba.Name, upstream.Prod)); err != nil {
		t.Fatal(err)
	}
	want("imported", 1, first)
	if _, _, _, err := k.ImportVersion(t.Context(), tester, "a", 0, newMaterial(noba.Name, upstream.Prod), second); err != nil {
		t.Fatal(err)
	}
	want("with a new version", 1, first)
	want("imported as a version", 2, second)
	for _, at := range []time.Time{{}, first} {
		if _, _, err := k.Activate(t.Context(), "a", 2, 0, nil, at); err != nil {
			t.Fatal(err)
		}
		if at.IsZero() {
			at = second
		}
		want("activated", 2, at)
	}
}
