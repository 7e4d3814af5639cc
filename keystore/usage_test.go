package keystore_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noba"
)

// wantUsed fails unless version 2 was last used then, and version 1 never.
func wantUsed(t *testing.T, what string, k *keystore.Keystore, then time.Time) {
	t.Helper()
	for _, v := range k.Lookup(name).Versions() {
		want := time.Time{}
		if v.Number == 2 {
			want = then
		}
		if got := v.LastUsed(); !got.Equal(want) {
			t.Errorf("%s: version %d was last used at %v, want %v", what, v.Number, got, want)
		}
	}
}

func keepUsage(t *testing.T, k *keystore.Keystore) {
	t.Helper()
	if err := k.KeepUsage(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestALastUseSurvivesChangesOfItsKeyAndWhatWasKeptARestart(t *testing.T) {
	for backend, configured := range backends {
		t.Run(backend, func(t *testing.T) {
			k, c, clock := aging(t, configured(t))
			began := clock.now()
			wantUsed(t, "a new key", k, time.Time{})
			old := k.Lookup(name)
			clock.wait(90 * time.Second)
			used := clock.now()
			old.MarkUsed(2, used.Add(time.Second-1))
			old.MarkUsed(2, began) // it was later
			old.MarkUsed(3, used)  // there is none
			wantUsed(t, "used", k, used)
			must(t)(k.SetLabels(t.Context(), name, 0, map[string]string{"a": "b"}))
			wantUsed(t, "changed", k, used)
			wantUsed(t, "reopened before it was kept", open(t, c), time.Time{})
			keepUsage(t, k)
			clock.wait(time.Hour)
			// A key that was looked up before the change is still used.
			old.MarkUsed(2, clock.now())
			wantUsed(t, "used through the key from before", k, clock.now())
			again := open(t, c)
			wantUsed(t, "reopened", again, used)
			if since := again.UsesKnownSince(); !since.Equal(began) || !k.UsesKnownSince().Equal(began) {
				t.Errorf("uses are known since %v, and %v before the restart, want %v", since, k.UsesKnownSince(), began)
			}
			if err := errors.Join(k.UsageFault(), again.UsageFault(), keystore.Verify(t.Context(), c)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUsesAreWrittenOnlyWhenThereAreNewOnesAndNothingElseIs(t *testing.T) {
	store := &flaky{log: new([]string)}
	c := inMemory(t)
	store.Store, c.Store = c.Store, store
	k, _, clock := aging(t, c)
	before, state := sealedBytes(t, store), k.StoreState()
	for _, step := range []struct {
		what  string
		used  uint32
		wrote int
	}{{"the first time", 0, 1}, {"without a use", 0, 0}, {"after a use", 2, 1}, {"after the same use", 2, 0}, {"after one of another version", 1, 1}} {
		if step.used > 0 {
			k.Lookup(name).MarkUsed(step.used, clock.now())
		}
		*store.log = nil
		keepUsage(t, k)
		if wrote := strings.Count(strings.Join(*store.log, " "), "commit"); wrote != step.wrote {
			t.Errorf("%s it was written %d times, want %d", step.what, wrote, step.wrote)
		}
	}
	if k.StoreState() != state {
		t.Error("the store's counter or root moved")
	}
	for record, sealed := range sealedBytes(t, store) {
		if record != "usage" && !bytes.Equal(sealed, before[record]) {
			t.Errorf("record %q was written", record)
		}
	}
}

func TestARecordOfUsesThatDoesNotOpenIsSaidAndStopsNothing(t *testing.T) {
	for what, edit := range map[string]func(r *keystore.Record, key []byte){
		"changed":             func(r *keystore.Record, _ []byte) { r.Sealed[len(r.Sealed)-1] ^= 1 },
		"cut":                 func(r *keystore.Record, _ []byte) { r.Sealed = r.Sealed[:3] },
		"empty":               func(r *keystore.Record, _ []byte) { r.Sealed = nil },
		"a copy of a key":     func(r *keystore.Record, key []byte) { r.Sealed = key },
		"of a generation off": func(r *keystore.Record, _ []byte) { r.Generation += 1000 },
	} {
		t.Run(what, func(t *testing.T) {
			k, c, clock := aging(t, inMemory(t))
			k.Lookup(name).MarkUsed(2, clock.now())
			keepUsage(t, k)
			now := contentsNow(t, c.Store)
			damaged := now.altered("usage", func(r *keystore.Record) { edit(r, now["key/"+name].Sealed) })
			if _, err := c.Store.Commit(t.Context(), []keystore.Change{{Record: damaged, Expect: now["usage"].Generation}}); err != nil {
				t.Fatal(err)
			}
			clock.wait(time.Hour)
			k = open(t, c)
			if err := k.UsageFault(); !errors.Is(err, keystore.ErrDamaged) || !strings.Contains(err.Error(), `"usage"`) {
				t.Errorf("what is wrong is %v, want that it is the record", err)
			}
			wantUsed(t, "opened", k, time.Time{})
			if since := k.UsesKnownSince(); !since.Equal(clock.now()) {
				t.Errorf("uses are known since %v, want now", since)
			}
			// A rotation has no need of it.
			if err := k.RotateRootKey(t.Context(), nil, nil); err != nil {
				t.Fatal(err)
			}
			k.Lookup(name).MarkUsed(2, clock.now())
			keepUsage(t, k)
			for _, k := range []*keystore.Keystore{k, open(t, c)} {
				wantUsed(t, "begun anew", k, clock.now())
				if err := k.UsageFault(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestAnUnwantedRecordOfUsesIsReplacedWithoutARotation(t *testing.T) {
	k, c, clock := aging(t, inMemory(t))
	keepUsage(t, k)
	err := keystore.ReplaceUsage(t.Context(), c, func(plaintext []byte) []byte { return append(plaintext, "{}"...) })
	if err != nil {
		t.Fatal(err)
	}
	k = open(t, c)
	if k.UsageFault() == nil {
		t.Error("nothing is said of a record that cannot be read")
	}
	keepUsage(t, k)
	if err := k.UsageFault(); err != nil {
		t.Errorf("kept again: %v", err)
	}
	k.Lookup(name).MarkUsed(2, clock.now())
	keepUsage(t, k)
	wantUsed(t, "kept", open(t, c), clock.now())
}

func TestAnOlderRecordOfUsesOrNoneIsNotNoticed(t *testing.T) {
	k, c, clock := aging(t, inMemory(t))
	none := contentsNow(t, c.Store)
	first := clock.now()
	k.Lookup(name).MarkUsed(2, first)
	keepUsage(t, k)
	older := contentsNow(t, c.Store)
	clock.wait(time.Hour)
	k.Lookup(name).MarkUsed(2, clock.now())
	keepUsage(t, k)
	c.Store = older
	wantUsed(t, "an older record", open(t, c), first)
	c.Store = none
	k = open(t, c)
	wantUsed(t, "no record", k, time.Time{})
	if since := k.UsesKnownSince(); !since.Equal(clock.now()) || k.UsageFault() != nil {
		t.Errorf("without a record uses are known since %v (%v), want now", since, k.UsageFault())
	}
}

func TestLastUsesSurviveARotationOfTheRootKey(t *testing.T) {
	for backend, configured := range backends {
		t.Run(backend, func(t *testing.T) {
			k, c, clock := aging(t, configured(t))
			k.Lookup(name).MarkUsed(2, clock.now())
			keepUsage(t, k)
			before := sealedBytes(t, c.Store)["usage"]
			c.RootKey = newRootKey()
			if err := k.RotateRootKey(t.Context(), c.RootKey, nil); err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(sealedBytes(t, c.Store)["usage"], before) {
				t.Error("the record is sealed as it was")
			}
			wantUsed(t, "rotated", k, clock.now())
			wantUsed(t, "rotated and reopened", open(t, c), clock.now())
			clock.wait(time.Minute)
			k.Lookup(name).MarkUsed(2, clock.now())
			keepUsage(t, k)
			wantUsed(t, "used after it", open(t, c), clock.now())
		})
	}
}

func TestARestoredStoreKnowsNoUsesFromBefore(t *testing.T) {
	k, _, clock := aging(t, inMemory(t))
	k.Lookup(name).MarkUsed(2, clock.now())
	keepUsage(t, k)
	b := takeBackup(t, k)
	clock.wait(time.Hour)
	c := inMemory(t)
	c.Now = clock.now
	if err := restoreInto(t.Context(), c, b); err != nil {
		t.Fatal(err)
	}
	again := open(t, c)
	wantUsed(t, "restored", again, time.Time{})
	if since := again.UsesKnownSince(); !since.Equal(clock.now()) {
		t.Errorf("uses are known since %v, want since the restored store was opened", since)
	}
}

func TestOfTwoProcessesTheLaterUseCounts(t *testing.T) {
	a, b := newCluster(t)
	importKey(t, a.k, name, noba.Name, upstream.Prod)
	must(t)(rotate(t.Context(), a.k, name))
	b.wait(t)
	at := time.Unix(1_800_000_000, 0)
	a.k.Lookup(name).MarkUsed(2, at.Add(time.Minute))
	b.k.Lookup(name).MarkUsed(2, at)
	keepUsage(t, a.k)
	keepUsage(t, b.k)
	wantUsed(t, "the one that was used earlier", b.k, at.Add(time.Minute))
	b.k.Lookup(name).MarkUsed(2, at.Add(time.Hour))
	keepUsage(t, b.k)
	a.wait(t)
	wantUsed(t, "the other", a.k, at.Add(time.Hour))
	wantUsed(t, "reopened", open(t, a.c), at.Add(time.Hour))
	if !a.k.UsesKnownSince().Equal(b.k.UsesKnownSince()) {
		t.Error("they do not agree from when on uses are known")
	}
}

func TestUsesAreKeptAfterAWriteThatFailed(t *testing.T) {
	for what, commit := range map[string]func(func() (uint64, error)) (uint64, error){"nothing was written": failBefore, "it was written": failAfter} {
		t.Run(what, func(t *testing.T) {
			p := newPatient(t)
			must(t)(rotate(t.Context(), p.k, name))
			at := time.Unix(1_800_000_000, 0)
			p.k.Lookup(name).MarkUsed(2, at)
			p.store.commit = commit
			wantUnavailable(t, p.k.KeepUsage(t.Context()), errDisk)
			p.store.commit = nil
			wantUsed(t, "after the failure", p.k, at)
			keepUsage(t, p.k)
			wantUsed(t, "reopened", open(t, p.c), at)
		})
	}
}

func TestEnabledVersionsAreUnusedAfterNinetyDays(t *testing.T) {
	k, c, clock := aging(t, inMemory(t))
	const ninetyDays = 90 * 24 * time.Hour
	want := func(unused int) {
		t.Helper()
		keepUsage(t, k)
		for what, k := range map[string]*keystore.Keystore{"": k, "reopened, ": open(t, c)} {
			if s, counts := k.Stats(), k.Counts(); s.Unused != unused || len(counts) != 1 || counts[0].Unused != unused {
				t.Errorf("%s%d versions are unused, or %+v, want %d", what, s.Unused, counts, unused)
			}
		}
	}
	want(0)
	clock.wait(ninetyDays - time.Second)
	want(0)
	must(t)(rotate(t.Context(), k, name)) // version 3 is new
	k.Lookup(name).MarkUsed(2, clock.now())
	clock.wait(time.Second)
	want(1)
	clock.wait(ninetyDays)
	want(3)
	must(t)(k.DisableVersion(t.Context(), name, 1, 0))
	want(2)
	k.Lookup(name).MarkUsed(2, clock.now())
	want(1)
}

func TestUsesAreMarkedWhileKeysChange(t *testing.T) {
	k, c, clock := aging(t, inMemory(t))
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 500 {
				k.Lookup(name).MarkUsed(2, clock.now().Add(time.Duration(i*j)*time.Second))
			}
		})
	}
	all.Go(func() {
		for i := range 20 {
			if _, err := k.SetEnabled(t.Context(), name, 0, i%2 > 0); err != nil {
				t.Error(err)
			}
			if err := k.KeepUsage(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	keepUsage(t, k)
	last := clock.now().Add(3 * 499 * time.Second)
	wantUsed(t, "at last", k, last)
	wantUsed(t, "reopened", open(t, c), last)
}
