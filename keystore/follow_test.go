package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/memory"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noba"
)

// process is a keystore that follows a store which others change too, as a process of a cluster does.
type process struct {
	c keystore.Config
	k *keystore.Keystore

	mu   sync.Mutex
	seen uint64
	more chan struct{} // closed and replaced whenever seen grows
}

// watched is a process's view of the store. A keystore watches from the revision that it has taken in.
type watched struct {
	keystore.Store
	p *process
}

func (w watched) Watch(ctx context.Context, after uint64) error {
	w.p.mu.Lock()
	if after > w.p.seen {
		w.p.seen = after
		close(w.p.more)
		w.p.more = make(chan struct{})
	}
	w.p.mu.Unlock()
	return w.Store.Watch(ctx, after)
}

// wait returns once the process has taken in all that is in the store.
func (p *process) wait(t *testing.T) {
	t.Helper()
	_, revision, err := p.c.Store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.waitFor(revision)
}

func (p *process) waitFor(revision uint64) {
	for {
		p.mu.Lock()
		seen, more := p.seen, p.more
		p.mu.Unlock()
		if seen >= revision {
			return
		}
		<-more
	}
}

// newCluster is an initialized store with two processes that follow it until the test's end, each with its own anchor.
func newCluster(t *testing.T) (a, b *process) {
	t.Helper()
	store, first := memory.New(), &anchor{}
	if err := keystore.Init(t.Context(), configure(store, first)); err != nil {
		t.Fatal(err)
	}
	var processes [2]*process
	for i := range processes {
		p := &process{more: make(chan struct{})}
		p.c = configure(watched{store, p}, &anchor{content: first.content})
		p.k = open(t, p.c)
		processes[i] = p
		ctx, stop := context.WithCancel(context.Background())
		stopped := make(chan error, 1)
		go func() { stopped <- p.k.Follow(ctx) }()
		t.Cleanup(func() {
			stop()
			if err := <-stopped; !errors.Is(err, context.Canceled) {
				t.Errorf("Follow: %v, want context.Canceled", err)
			}
		})
	}
	return processes[0], processes[1]
}

func TestAChangeInOneProcessIsSeenByTheOther(t *testing.T) {
	a, b := newCluster(t)
	m := newMaterial(noba.Name, upstream.Prod)
	must(t)(importMaterial(t.Context(), a.k, name, noba.Name, upstream.Prod, m))
	b.wait(t)
	wantSignature(t, b.k.Lookup(name), 1, m)
	must(t)(b.k.SetEnabled(t.Context(), name, keystore.Precondition(b.k.Lookup(name).Generation), false))
	a.wait(t)
	if a.k.Lookup(name).Enabled {
		t.Error("the first process still serves a key that the second disabled")
	}
	must(t)(rotate(t.Context(), a.k, name))
	b.wait(t)
	wantSame(t, "the second process", b.k, a.k)
	// Each raised its own anchor: none lets a copy pass that is older than what it saw.
	for _, p := range []*process{a, b} {
		if state, err := p.c.Anchor.Read(p.k.AuditSigner()); err != nil || state.Counter != a.k.Stats().Counter {
			t.Errorf("an anchor is at %d (%v), and the store at %d", state.Counter, err, a.k.Stats().Counter)
		}
		wantSame(t, "the reopened store", open(t, p.c), a.k)
	}
}

func TestAProcessThatDoesNotFollowDecidesOnTheNewStateAllTheSame(t *testing.T) {
	store, first := memory.New(), &anchor{}
	a := initialize(t, configure(store, first))
	b := open(t, configure(store, &anchor{content: first.content}))
	importKey(t, a, name, noba.Name, upstream.Prod)
	if b.Lookup(name) != nil {
		t.Fatal("the second process saw the key without following")
	}
	if _, err := importMaterial(t.Context(), b, name, noba.Name, upstream.Prod, newMaterial(noba.Name, upstream.Prod)); !errors.Is(err, keystore.ErrKeyExists) {
		t.Errorf("importing what the other imported: %v, want ErrKeyExists", err)
	}
	must(t)(rotate(t.Context(), b, name))
	seen := keystore.Precondition(a.Lookup(name).Generation)
	if _, err := a.SetEnabled(t.Context(), name, seen, false); !errors.Is(err, keystore.ErrConflict) {
		t.Errorf("a change decided before the other's: %v, want ErrConflict", err)
	}
	if got := describe(must(t)(rotate(t.Context(), a, name))); got != "on: 1 ENABLED active, 2 ENABLED, 3 ENABLED" {
		t.Errorf("the key is %q, want both rotations", got)
	}
}

func TestTwoProcessesThatChangeOneKeyLoseNothing(t *testing.T) {
	a, b := newCluster(t)
	importKey(t, a.k, name, noba.Name, upstream.Prod)
	b.wait(t)
	const rotations, workers = 10, 2
	made := make(chan uint32, 2*workers*rotations)
	var wg sync.WaitGroup
	for _, p := range []*process{a, b} {
		for range workers {
			wg.Go(func() {
				for range rotations {
					made <- rotateWhateverOthersDo(t, p.k)
				}
			})
		}
	}
	wg.Wait()
	close(made)
	a.wait(t)
	b.wait(t)
	numbers := make(map[uint32]bool)
	for number := range made {
		if numbers[number] {
			t.Errorf("version %d was given twice", number)
		}
		numbers[number] = true
	}
	versions := a.k.Lookup(name).Versions()
	if len(versions) != 1+len(numbers) || len(numbers) != 2*workers*rotations {
		t.Errorf("there are %d versions and %d were acknowledged, want %d rotations and the import", len(versions), len(numbers), 2*workers*rotations)
	}
	wantSame(t, "the second process", b.k, a.k)
	wantSame(t, "the reopened store", open(t, a.c), a.k)
}

// rotateWhateverOthersDo tries again when others were faster time after time.
func rotateWhateverOthersDo(t *testing.T, k *keystore.Keystore) (version uint32) {
	for {
		_, version, _, err := k.ImportVersion(t.Context(), tester, name, 0, newMaterial(noba.Name, upstream.Prod), time.Time{})
		if err == nil {
			return version
		}
		if !errors.Is(err, keystore.ErrConflict) {
			t.Errorf("rotating: %v", err)
			return 0
		}
	}
}

func TestTwoProcessesThatDecideOnOneGenerationDoNotBothWin(t *testing.T) {
	a, b := newCluster(t)
	importKey(t, a.k, name, noba.Name, upstream.Prod)
	for i := range 20 {
		a.wait(t)
		b.wait(t)
		seen := keystore.Precondition(a.k.Lookup(name).Generation)
		results := make(chan error)
		for j, p := range []*process{a, b} {
			go func() {
				_, err := p.k.SetLabels(context.Background(), name, seen, map[string]string{"winner": fmt.Sprint(i, j)})
				results <- err
			}()
		}
		won := 0
		for range 2 {
			switch err := <-results; {
			case err == nil:
				won++
			case !errors.Is(err, keystore.ErrConflict):
				t.Errorf("error %v, want ErrConflict", err)
			}
		}
		if won != 1 {
			t.Fatalf("%d changes of one generation were made, want 1", won)
		}
	}
}

func TestLookupsGoOnWhileTheStoreChanges(t *testing.T) {
	a, b := newCluster(t)
	importKey(t, a.k, name, noba.Name, upstream.Prod)
	b.wait(t)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				key := b.k.Lookup(name)
				if _, _, err := key.Credential(permit(t, name)); err != nil {
					t.Errorf("a key that is always able to sign: %v", err)
				}
				if keys := b.k.List("", 10); len(keys) != 1 || b.k.Stats().Keys != 1 {
					t.Errorf("the list has %d keys, want 1", len(keys))
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range uint32(15) {
		must(t)(rotate(t.Context(), a.k, name))
		if _, _, err := a.k.Activate(t.Context(), name, i+2, 0, nil, time.Time{}); err != nil {
			t.Error(err)
		}
	}
	b.wait(t)
	close(done)
	wg.Wait()
}

func TestFollowEndsWhenWhatItFollowsCannotBeVouchedFor(t *testing.T) {
	for _, test := range []struct {
		name   string
		tamper func(then, now contentsOf) contentsOf
		want   error
	}{
		{"an older copy of the store", func(then, _ contentsOf) contentsOf { return then }, keystore.ErrRolledBack},
		{"an older copy of a key", func(then, now contentsOf) contentsOf { return now.with(then["key/"+name]) }, keystore.ErrDamaged},
		{"a key removed", func(_, now contentsOf) contentsOf { return now.without("key/" + name) }, keystore.ErrDamaged},
		{"everything removed", func(_, _ contentsOf) contentsOf { return contentsOf{} }, keystore.ErrNotInitialized},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := &swapped{Store: memory.New()}
			c := configure(store, &anchor{})
			k := initialize(t, c)
			importKey(t, k, name, noba.Name, upstream.Prod)
			then := contentsNow(t, store)
			served := must(t)(rotate(t.Context(), k, name))
			store.content = test.tamper(then, contentsNow(t, store))
			if err := k.Follow(t.Context()); !errors.Is(err, test.want) {
				t.Errorf("Follow: %v, want %v", err, test.want)
			}
			if k.Lookup(name) != served {
				t.Error("a store that was refused is served")
			}
		})
	}
}

// swapped is a store whose content an attacker may replace, once.
type swapped struct {
	keystore.Store
	content contentsOf
	told    bool
}

func (s *swapped) Load(ctx context.Context) ([]keystore.Record, uint64, error) {
	if s.content != nil {
		return s.content.Load(ctx)
	}
	return s.Store.Load(ctx)
}

func (s *swapped) Watch(ctx context.Context, after uint64) error {
	switch {
	case s.content == nil:
		return s.Store.Watch(ctx, after)
	case s.told:
		return errors.New("it was told already")
	}
	s.told = true
	return nil
}
