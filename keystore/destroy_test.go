package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/memory"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// later is a clock that a test moves.
type later struct{ passed atomic.Int64 }

func (l *later) wait(d time.Duration) { l.passed.Add(int64(d)) }

func (l *later) now() time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(l.passed.Load()))
}

// aging is a keystore with a prod key of two versions, the second of which signs, and a clock to move.
func aging(t *testing.T, c keystore.Config) (*keystore.Keystore, keystore.Config, *later) {
	t.Helper()
	clock := &later{}
	c.Now = clock.now
	k := initialize(t, c)
	importKey(t, k, name, noba.Name, upstream.Prod)
	must(t)(rotate(t.Context(), k, name))
	makeActive(t, k, 2)
	return k, c, clock
}

func makeActive(t *testing.T, k *keystore.Keystore, version uint32) {
	t.Helper()
	if _, _, err := k.Activate(t.Context(), name, version, 0, nil, time.Time{}); err != nil {
		t.Fatal(err)
	}
}

func schedule(t *testing.T, k *keystore.Keystore, version uint32, d keystore.Destruction) (*keystore.Key, error) {
	return k.ScheduleDestruction(t.Context(), name, version, 0, d)
}

// destroyDue does what signerd does by itself when a time has come.
func destroyDue(ctx context.Context, k *keystore.Keystore) error {
	for _, due := range k.Due() {
		if _, _, err := k.DestroyVersion(ctx, due.Key.Name, due.Version); err != nil {
			return err
		}
	}
	return k.Purge(ctx)
}

func wantDescribed(t *testing.T, k *keystore.Keystore, want string) {
	t.Helper()
	if got := describe(k.Lookup(name)); got != want {
		t.Errorf("the key is %q, want %q", got, want)
	}
}

func TestAScheduledVersionCanBeRestoredUntilItsTimeAndIsDestroyedThen(t *testing.T) {
	for backend, configured := range backends {
		t.Run(backend, func(t *testing.T) {
			k, c, clock := aging(t, configured(t))
			was, _ := k.Lookup(name).Version(1)
			key := must(t)(schedule(t, k, 1, keystore.Destruction{}))
			wantDescribed(t, k, "on: 1 DISABLED, 2 ENABLED active")
			if v, _ := key.Version(1); !v.DestroyTime.Equal(clock.now().Add(168 * time.Hour)) {
				t.Errorf("it is to be destroyed at %v, want in 7 days", v.DestroyTime)
			}
			clock.wait(168*time.Hour - 1)
			if due := k.Due(); len(due) > 0 {
				t.Errorf("%v are due before their time", due)
			}
			key = must(t)(k.RestoreVersion(t.Context(), name, 1, 0))
			if v, _ := key.Version(1); !v.DestroyTime.IsZero() {
				t.Errorf("restored, it is to be destroyed at %v", v.DestroyTime)
			}
			wantDescribed(t, k, "on: 1 DISABLED, 2 ENABLED active")
			clock.wait(time.Hour)
			if due := k.Due(); len(due) > 0 {
				t.Errorf("%v are due though restored", due)
			}
			must(t)(k.EnableVersion(t.Context(), name, 1, 0))
			must(t)(schedule(t, k, 1, keystore.Destruction{After: 24 * time.Hour}))
			clock.wait(24 * time.Hour)
			if err := destroyDue(t.Context(), k); err != nil {
				t.Fatal(err)
			}
			wantDescribed(t, k, "on: 1 DESTROYED, 2 ENABLED active")
			v, _ := k.Lookup(name).Version(1)
			if v.Fingerprint != was.Fingerprint || v.CreateTime != was.CreateTime || v.Creator != was.Creator || !v.DestroyTime.Equal(clock.now()) || v.PublicKey() != nil {
				t.Errorf("the destroyed version is %+v, was %+v", v, was)
			}
			wantSame(t, "the reopened store", open(t, c), k)
			// Its number is not used again.
			if key := must(t)(rotate(t.Context(), k, name)); len(key.Versions()) != 3 || key.Versions()[2].Number != 3 {
				t.Errorf("after a rotation the key is %q", describe(key))
			}
		})
	}
}

func TestNothingLeadsBackFromDestruction(t *testing.T) {
	k, _, clock := aging(t, inMemory(t))
	must(t)(schedule(t, k, 1, keystore.Destruction{}))
	changes := map[string]func() error{
		"activate": func() error { _, _, err := k.Activate(t.Context(), name, 1, 0, nil, time.Time{}); return err },
		"enable":   func() error { _, err := k.EnableVersion(t.Context(), name, 1, 0); return err },
		"disable":  func() error { _, err := k.DisableVersion(t.Context(), name, 1, 0); return err },
		"destroy":  func() error { _, err := schedule(t, k, 1, keystore.Destruction{}); return err },
	}
	for what, change := range changes {
		err := change()
		wantField(t, err, "version")
		if err != nil && !strings.Contains(err.Error(), "2026-03-08T12:00:00Z") {
			t.Errorf("%s of a scheduled version: %v, which does not say when", what, err)
		}
	}
	clock.wait(168 * time.Hour)
	if err := destroyDue(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	changes["restore"] = func() error { _, err := k.RestoreVersion(t.Context(), name, 1, 0); return err }
	for what, change := range changes {
		if err := change(); !errors.Is(err, keystore.ErrVersionDestroyed) {
			t.Errorf("%s of a destroyed version: %v, want ErrVersionDestroyed", what, err)
		}
	}
	wantDescribed(t, k, "on: 1 DESTROYED, 2 ENABLED active")
}

func TestTheActiveVersionIsOnlyDestroyedWithTheConfirmationOfThatRequest(t *testing.T) {
	k, _, clock := aging(t, inMemory(t))
	generation := k.Lookup(name).Generation
	right := fmt.Sprintf("%s/2/%d/168h0m0s", name, generation)
	_, err := schedule(t, k, 2, keystore.Destruction{})
	wantField(t, err, "confirm")
	if err == nil || !strings.Contains(err.Error(), right) {
		t.Errorf("%v does not say %s", err, right)
	}
	for what, confirm := range map[string]string{
		"another key": fmt.Sprintf("other/2/%d/168h0m0s", generation), "another version": fmt.Sprintf("%s/1/%d/168h0m0s", name, generation),
		"an older generation": fmt.Sprintf("%s/2/%d/168h0m0s", name, generation-1), "another time": fmt.Sprintf("%s/2/%d/24h0m0s", name, generation),
		"yes": "yes", "a space more": right + " ",
	} {
		if _, err := schedule(t, k, 2, keystore.Destruction{Confirm: confirm}); err == nil {
			t.Errorf("the confirmation of %s is taken", what)
		}
	}
	_, err = schedule(t, k, 1, keystore.Destruction{Confirm: right})
	wantField(t, err, "confirm")
	wantDescribed(t, k, "on: 1 ENABLED, 2 ENABLED active")
	must(t)(schedule(t, k, 2, keystore.Destruction{Confirm: right}))
	if _, err := k.Lookup(name).Signing(); !errors.Is(err, keystore.ErrKeyDisabled) {
		t.Errorf("signing with a scheduled version: %v, want ErrKeyDisabled", err)
	}
	clock.wait(168 * time.Hour)
	if err := destroyDue(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Lookup(name).Signing(); !errors.Is(err, keystore.ErrVersionDestroyed) {
		t.Errorf("signing with a destroyed version: %v, want ErrVersionDestroyed", err)
	}
	makeActive(t, k, 1)
	if v, err := k.Lookup(name).Signing(); err != nil || v.Number != 1 {
		t.Errorf("after another is activated version %d signs (%v), want 1", v.Number, err)
	}
}

func TestTheWayBackStaysOpenForItsLeastTime(t *testing.T) {
	k, _, _ := aging(t, inMemory(t))
	importKey(t, k, "sandbox", noba.Name, upstream.Sandbox)
	must(t)(rotate(t.Context(), k, "sandbox"))
	for _, test := range []struct {
		key   string
		after time.Duration
		fine  bool
	}{
		{name, 24*time.Hour - 1, false}, {name, -time.Hour, false}, {name, 366*24*time.Hour + 1, false}, {name, 24 * time.Hour, true},
		{"sandbox", time.Minute - 1, false}, {"sandbox", 366*24*time.Hour + 1, false}, {"sandbox", time.Minute, true},
	} {
		version := uint32(1)
		if test.key == "sandbox" {
			version = 2
		}
		_, err := k.ScheduleDestruction(t.Context(), test.key, version, 0, keystore.Destruction{After: test.after})
		if test.fine && err != nil {
			t.Errorf("%s after %v: %v", test.key, test.after, err)
		}
		if !test.fine {
			wantField(t, err, "after")
		}
	}
}

func TestAPendingVersionIsPendingAgainWhenItIsRestored(t *testing.T) {
	c := inMemory(t)
	clock := &later{}
	c.Now = clock.now
	k := initialize(t, c)
	must(t)(k.Create(t.Context(), tester, keystore.NewKey{Name: name, Scheme: noah.Name, Environment: upstream.Sandbox}, ""))
	must(t)(schedule(t, k, 1, keystore.Destruction{After: time.Minute}))
	_, _, err := k.Activate(t.Context(), name, 1, 0, material(map[string]string{upstream.PartAPIKey: noahAPIKey(upstream.Sandbox)}), time.Time{})
	wantField(t, err, "version")
	must(t)(k.RestoreVersion(t.Context(), name, 1, 0))
	wantDescribed(t, k, "on: 1 PENDING")
	_, err = k.RestoreVersion(t.Context(), name, 1, 0)
	wantField(t, err, "version")
	must(t)(schedule(t, k, 1, keystore.Destruction{After: time.Minute}))
	clock.wait(time.Minute)
	if err := destroyDue(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	wantDescribed(t, k, "on: 1 DESTROYED")
	open(t, c)
}

func TestADestroyedKeyStillMayNotServeTheOtherEnvironment(t *testing.T) {
	k, c, clock := aging(t, inMemory(t))
	m := newMaterial(noba.Name, upstream.Prod)
	again := func() upstream.Material {
		copied := upstream.Material{}
		for part, s := range m {
			copied[part] = secret.Copy(s.Reveal())
		}
		return copied
	}
	if _, _, _, err := k.ImportVersion(t.Context(), tester, name, 0, again(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	must(t)(schedule(t, k, 3, keystore.Destruction{}))
	clock.wait(168 * time.Hour)
	if err := destroyDue(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	for what, k := range map[string]*keystore.Keystore{"now": k, "reopened": open(t, c)} {
		if _, err := importMaterial(t.Context(), k, "other", noba.Name, upstream.Sandbox, again()); err == nil {
			t.Errorf("%s the destroyed secret is taken for the sandbox", what)
		}
	}
}

func TestTheFileHoldsNothingOfADestroyedVersion(t *testing.T) {
	dir := t.TempDir()
	k, c, clock := aging(t, onDiskIn(t, dir))
	path := filepath.Join(dir, "store.db")
	var before [][]byte // every record that had the material, sealed
	remember := func() { before = append(before, contentsNow(t, c.Store)["key/"+name].Sealed) }
	remember()
	must(t)(schedule(t, k, 1, keystore.Destruction{}))
	remember()
	inFile := func() (n int) {
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, sealed := range before {
			for at := 0; at+32 <= len(sealed); at += 16 {
				if bytes.Contains(file, sealed[at:at+32]) {
					n++
				}
			}
		}
		return n
	}
	clock.wait(168 * time.Hour)
	if inFile() == 0 {
		t.Fatal("the file does not hold the records: this test proves nothing")
	}
	if err := destroyDue(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if n := inFile(); n > 0 {
		t.Errorf("the file holds %d pieces of records with the destroyed material", n)
	}
	wantSame(t, "the reopened keystore", open(t, c), k)
}

// faulty is a store that a process is killed at: from the step on that is numbered, everything fails, done or not.
type faulty struct {
	keystore.Store
	step, kill int
	done       bool // whether the step that it was killed at was done
}

var errKilled = errors.New("killed")

func (f *faulty) at(do func() error) error {
	f.step++
	switch {
	case f.step < f.kill:
		return do()
	case f.step == f.kill && f.done:
		if err := do(); err != nil {
			return err
		}
	}
	return errKilled
}

func (f *faulty) Commit(ctx context.Context, changes []keystore.Change) (revision uint64, err error) {
	err = f.at(func() (err error) { revision, err = f.Store.Commit(ctx, changes); return err })
	return revision, err
}

func (f *faulty) Compact(ctx context.Context) error {
	return f.at(func() error { return f.Store.Compact(ctx) })
}

func TestKilledAtAnyStepOfDestructionNothingIsHalfDone(t *testing.T) {
	whole := []string{"on: 1 ENABLED, 2 ENABLED active", "on: 1 DISABLED, 2 ENABLED active", "on: 1 DESTROYED, 2 ENABLED active"}
	const steps = 3 // scheduled, destroyed, compacted
	for kill := 1; kill <= steps+1; kill++ {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("step %d, done %v", kill, done), func(t *testing.T) {
				s := &faulty{Store: memory.New(), kill: 1 << 20}
				k, c, clock := aging(t, configure(s, &anchor{}))
				s.step, s.kill, s.done = 0, kill, done
				_, err := schedule(t, k, 1, keystore.Destruction{})
				clock.wait(168 * time.Hour)
				if err == nil {
					err = destroyDue(t.Context(), k)
				}
				if kill <= steps != errors.Is(err, errKilled) {
					t.Fatalf("error %v at step %d of %d", err, s.step, steps)
				}
				// The next process.
				c.Store, s.kill = s.Store, 1<<20
				k = open(t, c)
				if got := describe(k.Lookup(name)); !slices.Contains(whole, got) {
					t.Errorf("the key is %q", got)
				}
				if kill > 1 || done {
					counted := &faulty{Store: c.Store, kill: 1 << 20}
					c.Store = counted
					k = open(t, c)
					if err := destroyDue(t.Context(), k); err != nil {
						t.Fatal(err)
					}
					wantDescribed(t, k, whole[2])
					// And nothing is left to do.
					counted.step = 0
					if err := destroyDue(t.Context(), k); err != nil || counted.step > 0 {
						t.Errorf("once all is done it still takes %d steps (%v)", counted.step, err)
					}
				}
			})
		}
	}
}

// todaysRecord is a key's record as it was written before versions could be destroyed.
const todaysRecord = `{"format":1,"name":"a","scheme":"noba","environment":"prod","enabled":true,"active":1,"next_version":2,` +
	`"create_time":"2026-01-02T03:04:05Z","update_time":"2026-01-02T03:04:05Z","versions":[{"number":1,"state":"ENABLED",` +
	`"algorithm":"HMAC-SHA256","fingerprint":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","create_time":"2026-01-02T03:04:05Z",` +
	`"creator":"unix:uid=1000","material":{"api_key":"YQ==","secret":"Yg=="}}]}`

func TestARecordFromBeforeDestructionStillOpensAndIsWrittenAsItWas(t *testing.T) {
	again, err := keystore.RewriteKeyRecord([]byte(todaysRecord))
	if err != nil || string(again) != todaysRecord {
		t.Errorf("it is written as %s (%v), want it as it was", again, err)
	}
	for what, change := range map[string][2]string{
		"ENABLED and scheduled":   {`"api_key":"YQ==","secret":"Yg=="}`, `"api_key":"YQ=="},"destroy_time":"2026-01-02T03:04:05Z"`},
		"DESTROYED with material": {`"ENABLED"`, `"DESTROYED"`},
	} {
		broken := strings.Replace(todaysRecord, change[0], change[1], 1)
		if _, err := keystore.RewriteKeyRecord([]byte(broken)); err == nil {
			t.Errorf("a record with a version that is %s is taken", what)
		}
	}
}
