package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/signerd/signerd/keystore"
)

var compactTests = []contractTest{
	{"compacting changes neither records nor revision", func(t *testing.T, s keystore.Store) {
		want := map[string]keystore.Record{"a": record("a", 9), "b": {Name: "b", Generation: 2, Sealed: pattern(1 << 20)}}
		commit(t, s, put(record("a", 1), 0))
		commit(t, s, put(want["a"], 1), put(want["b"], 0))
		before := revision(t, s)
		for range 3 {
			compact(t, s)
			wantRecords(t, s, want)
			if now := revision(t, s); now != before {
				t.Errorf("the revision is %d after compacting, and was %d", now, before)
			}
		}
		if next := commit(t, s, put(record("a", 10), 9)); next <= before {
			t.Errorf("the next commit's revision is %d, after %d", next, before)
		}
	}},
	{"an empty store can be compacted", func(t *testing.T, s keystore.Store) {
		compact(t, s)
		wantRecords(t, s, nil)
		commit(t, s, put(record("a", 1), 0))
		wantRecords(t, s, map[string]keystore.Record{"a": record("a", 1)})
	}},
	{"a watch survives compacting", func(t *testing.T, s keystore.Store) {
		after := commit(t, s, put(record("a", 1), 0))
		ended := watch(t, s, after)
		giveWay()
		compact(t, s)
		commit(t, s, put(record("a", 2), 1))
		if err := <-ended; err != nil {
			t.Errorf("Watch: %v", err)
		}
	}},
	{"others load and commit while it is compacted", func(t *testing.T, s keystore.Store) {
		const committers, each = 4, 8
		var wg sync.WaitGroup
		for i := range committers {
			wg.Go(func() {
				for j := range uint64(each) {
					if _, err := s.Commit(t.Context(), []keystore.Change{put(record(fmt.Sprint("a", i), j+1), j)}); err != nil {
						t.Errorf("Commit: %v", err)
						return
					}
					if _, _, err := s.Load(t.Context()); err != nil {
						t.Errorf("Load: %v", err)
						return
					}
				}
			})
		}
		for range 4 {
			wg.Go(func() {
				if err := s.Compact(t.Context()); err != nil {
					t.Errorf("Compact: %v", err)
				}
			})
		}
		wg.Wait()
		want := map[string]keystore.Record{}
		for i := range committers {
			name := fmt.Sprint("a", i)
			want[name] = record(name, each)
		}
		wantRecords(t, s, want)
	}},
	{"whoever gave up compacts nothing", func(t *testing.T, s keystore.Store) {
		if err := s.Compact(cancelled(t)); !errors.Is(err, context.Canceled) {
			t.Errorf("Compact: %v, want the context's error", err)
		}
	}},
}

func compact(t *testing.T, s keystore.Store) {
	t.Helper()
	if err := s.Compact(t.Context()); err != nil {
		t.Fatalf("Compact: %v", err)
	}
}

func revision(t *testing.T, s keystore.Store) uint64 {
	t.Helper()
	_, n, err := s.Load(t.Context())
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return n
}
