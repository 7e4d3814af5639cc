package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/signerd/signerd/keystore"
)

var watchTests = []contractTest{
	{"a watch returns at once when the store is ahead", func(t *testing.T, s keystore.Store) {
		first := commit(t, s, put(record("a", 1), 0))
		second := commit(t, s, put(record("a", 2), 1))
		for _, after := range []uint64{0, first, second - 1} {
			if err := s.Watch(t.Context(), after); err != nil {
				t.Errorf("Watch after %d, with the store at %d: %v", after, second, err)
			}
		}
	}},
	{"a watch wakes at a commit", func(t *testing.T, s keystore.Store) {
		after := commit(t, s, put(record("a", 1), 0))
		for i := range uint64(20) {
			woken := watch(t, s, after)
			giveWay()
			after = commit(t, s, put(record("a", i+2), i+1))
			if err := <-woken; err != nil {
				t.Fatal(err)
			}
		}
	}},
	{"a watch on an empty store wakes at the first commit", func(t *testing.T, s keystore.Store) {
		_, after, err := s.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		woken := watch(t, s, after)
		giveWay()
		commit(t, s, put(record("a", 1), 0))
		if err := <-woken; err != nil {
			t.Error(err)
		}
	}},
	{"one commit wakes many watchers", func(t *testing.T, s keystore.Store) {
		after := commit(t, s, put(record("a", 1), 0))
		var watchers []<-chan error
		for range 50 {
			watchers = append(watchers, watch(t, s, after))
		}
		giveWay()
		commit(t, s, put(record("a", 2), 1))
		for _, woken := range watchers {
			if err := <-woken; err != nil {
				t.Error(err)
			}
		}
	}},
	{"a watcher that goes from revision to revision misses none", func(t *testing.T, s keystore.Store) {
		const commits = 30
		_, start, err := s.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				var seen uint64
				for after := start; seen < commits; {
					if err := s.Watch(t.Context(), after); err != nil {
						t.Errorf("Watch: %v", err)
						return
					}
					records, revision, err := s.Load(t.Context())
					if err != nil || revision < after {
						t.Errorf("Load: revision %d after %d (%v)", revision, after, err)
						return
					}
					if len(records) == 1 {
						seen = records[0].Generation
					}
					after = revision
				}
			})
		}
		for i := range uint64(commits) {
			commit(t, s, put(record("a", i+1), i))
		}
		wg.Wait()
	}},
	{"a watch ends with its context", func(t *testing.T, s keystore.Store) {
		after := commit(t, s, put(record("a", 1), 0))
		wantEnded(t, watchUntilError(cancelled(t), s, after))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- watchUntilError(ctx, s, after) }()
		giveWay()
		cancel()
		wantEnded(t, <-ended)
	}},
	{"a refused commit does not count as one", func(t *testing.T, s keystore.Store) {
		after := commit(t, s, put(record("a", 1), 0))
		if _, err := s.Commit(t.Context(), []keystore.Change{put(record("a", 2), 0)}); !errors.Is(err, keystore.ErrConflict) {
			t.Fatalf("Commit: %v, want ErrConflict", err)
		}
		wantEnded(t, watchUntilError(cancelled(t), s, after))
	}},
}

// maxIdle is how often a watch may return without a change, as the contract lets it, before that counts as a fault.
const maxIdle = 1000

// watch waits in the background until the store's revision is greater than after.
func watch(t *testing.T, s keystore.Store, after uint64) <-chan error {
	woken := make(chan error, 1)
	ctx := t.Context()
	go func() {
		for range maxIdle {
			if err := s.Watch(ctx, after); err != nil {
				woken <- fmt.Errorf("watching: %w", err)
				return
			}
			switch _, now, err := s.Load(ctx); {
			case err != nil:
				woken <- fmt.Errorf("loading: %w", err)
				return
			case now > after:
				woken <- nil
				return
			}
		}
		woken <- errors.New("watching keeps returning without a change")
	}()
	return woken
}

// watchUntilError watches a store that nobody changes.
func watchUntilError(ctx context.Context, s keystore.Store, after uint64) error {
	for range maxIdle {
		if err := s.Watch(ctx, after); err != nil {
			return err
		}
	}
	return nil
}

func wantEnded(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Watch with a context that ended: %v, want context.Canceled", err)
	}
}
