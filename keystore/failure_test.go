package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/signerd/signerd/internal/checkpoint"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/memory"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noba"
)

// flaky is a store on a bad day: load decides whether Load fails, and commit what becomes of a Commit, which write does.
// It notes what is asked of it.
type flaky struct {
	keystore.Store
	load   func() error
	commit func(write func() (uint64, error)) (uint64, error)
	log    *[]string
}

func (f *flaky) note(what string) {
	if f.log != nil {
		*f.log = append(*f.log, what)
	}
}

func (f *flaky) Load(ctx context.Context) ([]keystore.Record, uint64, error) {
	f.note("load")
	if f.load != nil {
		if err := f.load(); err != nil {
			return nil, 0, err
		}
	}
	return f.Store.Load(ctx)
}

func (f *flaky) Commit(ctx context.Context, changes []keystore.Change) (uint64, error) {
	f.note("commit")
	write := func() (uint64, error) { return f.Store.Commit(ctx, changes) }
	if f.commit == nil {
		return write()
	}
	return f.commit(write)
}

// The ways in which a commit fails without telling what became of it.
func failBefore(func() (uint64, error)) (uint64, error) { return 0, errDisk }

func failAfter(write func() (uint64, error)) (uint64, error) {
	if _, err := write(); err != nil {
		return 0, err
	}
	return 0, errDisk
}

// patient is an open keystore with one key over a store and an anchor that can be made to fail.
type patient struct {
	c      keystore.Config
	k      *keystore.Keystore
	store  *flaky
	anchor *noted
	log    []string
}

// noted is an anchor that notes the counters written to it, and those that could not be written.
type noted struct {
	anchor
	log *[]string
}

func (n *noted) Write(key *checkpoint.Signer, state checkpoint.Store) error {
	err := n.anchor.Write(key, state)
	what := fmt.Sprint("anchor ", state.Counter)
	if err != nil {
		what += " failed"
	}
	*n.log = append(*n.log, what)
	return err
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	p := &patient{}
	p.store, p.anchor = &flaky{Store: memory.New(), log: &p.log}, &noted{log: &p.log}
	p.c = configure(p.store, p.anchor)
	p.k = initialize(t, p.c)
	importKey(t, p.k, name, noba.Name, upstream.Prod) // the store's counter is 2
	p.log = nil
	return p
}

func (p *patient) wantLog(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(p.log, want) {
		t.Errorf("the keystore did %q, want %q", p.log, want)
	}
	p.log = nil
}

func wantUnavailable(t *testing.T, err, cause error) {
	t.Helper()
	if !errors.Is(err, keystore.ErrUnavailable) || !errors.Is(err, cause) {
		t.Errorf("error %v, want ErrUnavailable because %v", err, cause)
	}
}

func TestAfterACommitWithAnUnknownOutcomeTheStoreIsReadAgainFirst(t *testing.T) {
	for _, test := range []struct {
		name    string
		commit  func(func() (uint64, error)) (uint64, error)
		log     []string // of the next change
		want    string   // the key after it
		counter uint64
	}{
		{"and nothing was written", failBefore, []string{"load", "commit", "anchor 3"}, "on: 1 ENABLED active, 2 ENABLED", 3},
		{"and it was written", failAfter, []string{"load", "anchor 3", "commit", "anchor 4"}, "on: 1 ENABLED active, 2 ENABLED, 3 ENABLED", 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPatient(t)
			before := p.k.Lookup(name)
			p.store.commit = test.commit
			_, err := rotate(t.Context(), p.k, name)
			wantUnavailable(t, err, errDisk)
			p.wantLog(t, "commit")
			if p.k.Lookup(name) != before {
				t.Error("a change of unknown outcome is served")
			}
			// As long as the store cannot be read, nothing is decided.
			p.store.load = func() error { return errDisk }
			for range 2 {
				_, err := p.k.SetEnabled(t.Context(), name, 0, false)
				wantUnavailable(t, err, errDisk)
				p.wantLog(t, "load")
			}
			p.store.commit, p.store.load = nil, nil
			if got := describe(must(t)(rotate(t.Context(), p.k, name))); got != test.want {
				t.Errorf("after the next rotation the key is %q, want %q", got, test.want)
			}
			p.wantLog(t, test.log...)
			if got := p.k.Stats().Counter; got != test.counter {
				t.Errorf("the counter is %d, want %d", got, test.counter)
			}
			// Now all is known again, and the store is not read for every change.
			must(t)(rotate(t.Context(), p.k, name))
			p.wantLog(t, "commit", fmt.Sprint("anchor ", test.counter+1))
			wantSame(t, "the reopened store", open(t, p.c), p.k)
		})
	}
}

func TestAnImportWhoseOutcomeWasUnknownIsFoundToExist(t *testing.T) {
	p := newPatient(t)
	p.store.commit = failAfter
	m := newMaterial(noba.Name, upstream.Prod)
	_, err := importMaterial(t.Context(), p.k, "new", noba.Name, upstream.Prod, m)
	wantUnavailable(t, err, errDisk)
	p.store.commit = nil
	if _, err = importMaterial(t.Context(), p.k, "new", noba.Name, upstream.Prod, m); !errors.Is(err, keystore.ErrKeyExists) {
		t.Errorf("importing again: %v, want ErrKeyExists", err)
	}
	wantSignature(t, p.k.Lookup("new"), 1, m)
	// Its secret is fenced as well.
	_, err = importMaterial(t.Context(), p.k, "other", noba.Name, upstream.Sandbox, m)
	wantField(t, err, "material")
}

func TestAStaleDecisionIsNoticedAfterAnUnknownOutcome(t *testing.T) {
	p := newPatient(t)
	seen := keystore.Precondition(p.k.Lookup(name).Generation)
	p.store.commit = failAfter
	_, err := p.k.SetEnabled(t.Context(), name, seen, false)
	wantUnavailable(t, err, errDisk)
	p.store.commit = nil
	if _, err = p.k.SetEnabled(t.Context(), name, seen, false); !errors.Is(err, keystore.ErrConflict) {
		t.Errorf("the same change at the same generation: %v, want ErrConflict: the first was made", err)
	}
}

func TestAChangeWhoseAnchorFailsIsNotAcknowledgedAndAnchoredFirst(t *testing.T) {
	p := newPatient(t)
	p.anchor.fail = errDisk
	_, err := rotate(t.Context(), p.k, name)
	wantUnavailable(t, err, errDisk)
	p.wantLog(t, "commit", "anchor 3 failed")
	// Until it is anchored nothing more is committed: the store is at most one commit ahead.
	for range 3 {
		_, err := rotate(t.Context(), p.k, name)
		wantUnavailable(t, err, errDisk)
		p.wantLog(t, "anchor 3 failed")
	}
	p.anchor.fail = nil
	if got := describe(must(t)(rotate(t.Context(), p.k, name))); got != "on: 1 ENABLED active, 2 ENABLED, 3 ENABLED" {
		t.Errorf("the key is %q, want the rotation that was not anchored and the next", got)
	}
	p.wantLog(t, "anchor 3", "commit", "anchor 4")
	wantSame(t, "the reopened store", open(t, p.c), p.k)
}

func TestAChangeOfNothingRaisesAnAnchorThatFailed(t *testing.T) {
	p := newPatient(t)
	p.anchor.fail = errDisk
	_, err := p.k.SetEnabled(t.Context(), name, 0, false)
	wantUnavailable(t, err, errDisk)
	p.anchor.fail, p.log = nil, nil
	must(t)(p.k.SetEnabled(t.Context(), name, 0, false))
	p.wantLog(t, "anchor 3")
}

func TestACrashBetweenCommitAndAnchorLosesNothing(t *testing.T) {
	p := newPatient(t)
	p.anchor.fail = errDisk
	_, err := rotate(t.Context(), p.k, name)
	wantUnavailable(t, err, errDisk)
	if _, err := keystore.Open(t.Context(), p.c); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("Open while the anchor cannot be raised: %v, want ErrUnavailable", err)
	}
	p.anchor.fail, p.log = nil, nil
	k := open(t, p.c)
	p.wantLog(t, "load", "anchor 3")
	wantSame(t, "the reopened store", k, p.k)
}

func TestAClosedStoreIsUnavailable(t *testing.T) {
	p := newPatient(t)
	if err := p.store.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := rotate(t.Context(), p.k, name)
	wantUnavailable(t, err, keystore.ErrStoreClosed)
	if p.k.Lookup(name) == nil {
		t.Error("the keys are gone with the store")
	}
	wantUnavailable(t, p.k.Follow(t.Context()), keystore.ErrStoreClosed)
}

func TestAChangeThatOthersKeepOvertakingIsAConflict(t *testing.T) {
	p := newPatient(t)
	attempts := 0
	p.store.commit = func(func() (uint64, error)) (uint64, error) { attempts++; return 0, keystore.ErrConflict }
	if _, err := rotate(t.Context(), p.k, name); !errors.Is(err, keystore.ErrConflict) {
		t.Errorf("error %v, want ErrConflict", err)
	}
	if attempts < 2 || attempts > 100 {
		t.Errorf("it was tried %d times, want a few", attempts)
	}
	p.store.commit = nil
	must(t)(rotate(t.Context(), p.k, name))
}

func TestAChangeIsMadeWholeWhenItsCallerGivesUp(t *testing.T) {
	p := newPatient(t)
	ctx, giveUp := context.WithCancel(t.Context())
	p.store.commit = func(write func() (uint64, error)) (uint64, error) { giveUp(); return write() }
	if got := describe(must(t)(rotate(ctx, p.k, name))); got != "on: 1 ENABLED active, 2 ENABLED" {
		t.Errorf("the key is %q, want the rotation", got)
	}
}

// failures are what may happen at each change, by name.
var failures = map[string]func(p *patient){
	"none":           func(p *patient) { p.store.commit, p.store.load, p.anchor.fail = nil, nil, nil },
	"not written":    func(p *patient) { p.store.commit = failBefore },
	"written":        func(p *patient) { p.store.commit = failAfter },
	"not anchored":   func(p *patient) { p.anchor.fail = errDisk },
	"both":           func(p *patient) { p.store.commit, p.anchor.fail = failAfter, errDisk },
	"not read":       func(p *patient) { p.store.load = func() error { return errDisk } },
	"nothing at all": func(p *patient) { p.store.commit, p.store.load = failBefore, func() error { return errDisk } },
}

func TestWhateverFailsWhatWasAcknowledgedStaysAndTheStoreOpens(t *testing.T) {
	names := make([]string, 0, len(failures))
	for what := range failures {
		names = append(names, what)
	}
	slices.Sort(names)
	rapid.Check(t, func(rt *rapid.T) {
		p := newPatient(t)
		acknowledged := map[uint32][32]byte{1: fingerprint(p.k, 1)}
		for _, what := range rapid.SliceOfN(rapid.SampledFrom(names), 1, 12).Draw(rt, "failures") {
			failures["none"](p)
			failures[what](p)
			key, version, _, err := p.k.ImportVersion(context.Background(), tester, name, 0, newMaterial(noba.Name, upstream.Prod), time.Time{})
			if err == nil {
				v, _ := key.Version(version)
				acknowledged[version] = v.Fingerprint
			} else if !errors.Is(err, keystore.ErrUnavailable) {
				rt.Fatalf("error %v, want ErrUnavailable", err)
			}
			at, anchored := contentsNow(t, p.store.Store)["head"].Generation, counter(rt, p.anchor.content)
			if at < anchored || at > anchored+1 {
				rt.Fatalf("the store is at %d and its anchor at %d", at, anchored)
			}
			crashed := p.c
			crashed.Store, crashed.Anchor = p.store.Store, &anchor{content: p.anchor.content}
			k := open(t, crashed)
			for version, want := range acknowledged {
				if fingerprint(p.k, version) != want || fingerprint(k, version) != want {
					rt.Fatalf("version %d was acknowledged and is gone", version)
				}
			}
		}
	})
}

// fingerprint is that of one version, zero when there is no such version.
func fingerprint(k *keystore.Keystore, version uint32) [32]byte {
	v, _ := k.Lookup(name).Version(version)
	return v.Fingerprint
}
