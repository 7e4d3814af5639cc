package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/signerd/signerd/keystore"
)

var closeTests = []contractTest{
	{"a closed store refuses everything", func(t *testing.T, s keystore.Store) {
		commit(t, s, put(record("a", 1), 0))
		closeStore(t, s)
		if _, _, err := s.Load(t.Context()); !errors.Is(err, keystore.ErrStoreClosed) {
			t.Errorf("Load: %v, want ErrStoreClosed", err)
		}
		if _, err := s.Commit(t.Context(), []keystore.Change{put(record("a", 2), 1)}); !errors.Is(err, keystore.ErrStoreClosed) {
			t.Errorf("Commit: %v, want ErrStoreClosed", err)
		}
		if err := s.Compact(t.Context()); !errors.Is(err, keystore.ErrStoreClosed) {
			t.Errorf("Compact: %v, want ErrStoreClosed", err)
		}
		for _, after := range []uint64{0, 1 << 40} {
			if err := s.Watch(t.Context(), after); !errors.Is(err, keystore.ErrStoreClosed) {
				t.Errorf("Watch after %d: %v, want ErrStoreClosed", after, err)
			}
		}
	}},
	{"closing again does nothing", func(t *testing.T, s keystore.Store) {
		for range 3 {
			closeStore(t, s)
		}
	}},
	{"many may close at once", func(t *testing.T, s keystore.Store) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { closeStore(t, s) })
		}
		wg.Wait()
	}},
	{"closing wakes the watchers", func(t *testing.T, s keystore.Store) {
		after := commit(t, s, put(record("a", 1), 0))
		ended := make(chan error)
		const watchers = 10
		for range watchers {
			go func() { ended <- watchUntilError(t.Context(), s, after) }()
		}
		giveWay()
		closeStore(t, s)
		for range watchers {
			if err := <-ended; !errors.Is(err, keystore.ErrStoreClosed) {
				t.Errorf("Watch: %v, want ErrStoreClosed", err)
			}
		}
	}},
	{"calls under way while it closes finish or say that it is closed", func(t *testing.T, s keystore.Store) {
		startBusy(t, s).wait()
	}},
}

var persistenceTests = []struct {
	name string
	run  func(t *testing.T, s keystore.Store, reopen func(*testing.T, keystore.Store) keystore.Store)
}{
	{"committed records survive reopening", func(t *testing.T, s keystore.Store, reopen func(*testing.T, keystore.Store) keystore.Store) {
		want := map[string]keystore.Record{
			"head":  record("head", 2),
			"key/a": {Name: "key/a", Generation: 1, Sealed: pattern(1 << 20)},
		}
		commit(t, s, put(record("head", 1), 0), put(want["key/a"], 0))
		last := commit(t, s, put(want["head"], 1))
		closeStore(t, s)
		s = reopen(t, s)
		defer closeStore(t, s)
		wantRecords(t, s, want)
		if now := commit(t, s, put(record("head", 3), 2)); now <= last {
			t.Errorf("after reopening a commit gives revision %d, before it gave %d", now, last)
		}
	}},
	{"an empty store can be reopened", func(t *testing.T, s keystore.Store, reopen func(*testing.T, keystore.Store) keystore.Store) {
		closeStore(t, s)
		s = reopen(t, s)
		defer closeStore(t, s)
		wantRecords(t, s, nil)
	}},
	{"what was acknowledged while the store was closing survives", func(t *testing.T, s keystore.Store, reopen func(*testing.T, keystore.Store) keystore.Store) {
		acknowledged := startBusy(t, s).wait()
		s = reopen(t, s)
		defer closeStore(t, s)
		got := load(t, s)
		for _, r := range acknowledged {
			if g, ok := got[r.Name]; !ok || !same(g, r) {
				t.Errorf("the record %q was acknowledged and is gone", r.Name)
			}
		}
	}},
}

// busy is a store in full use that is being closed.
type busy struct {
	calls        sync.WaitGroup
	mu           sync.Mutex
	acknowledged []keystore.Record
}

// wait gives what was acknowledged, once every call has ended.
func (b *busy) wait() []keystore.Record {
	b.calls.Wait()
	return b.acknowledged
}

// startBusy commits and loads from many goroutines until the store, which it closes meanwhile, says that it is closed.
func startBusy(t *testing.T, s keystore.Store) *busy {
	b := &busy{}
	var begun sync.WaitGroup
	for i := range 4 {
		begun.Add(2)
		b.calls.Go(func() {
			began := sync.OnceFunc(begun.Done)
			defer began()
			for j := range uint64(1 << 20) {
				r := record(fmt.Sprintf("key/%d-%d", i, j), j+1)
				_, err := s.Commit(t.Context(), []keystore.Change{put(r, 0)})
				if !goOn(t, "Commit", err) {
					return
				}
				b.mu.Lock()
				b.acknowledged = append(b.acknowledged, r)
				b.mu.Unlock()
				began()
			}
		})
		b.calls.Go(func() {
			began := sync.OnceFunc(begun.Done)
			defer began()
			for {
				_, _, err := s.Load(t.Context())
				if !goOn(t, "Load", err) {
					return
				}
				began()
			}
		})
	}
	begun.Wait()
	closeStore(t, s)
	return b
}

func goOn(t *testing.T, call string, err error) bool {
	if err != nil && !errors.Is(err, keystore.ErrStoreClosed) {
		t.Errorf("%s while the store closes: %v, want ErrStoreClosed", call, err)
	}
	return err == nil
}
