package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/signerd/signerd/keystore"
)

var concurrencyTests = []contractTest{
	{"concurrent committers lose no update", func(t *testing.T, s keystore.Store) {
		const committers, increments = 8, 8
		commit(t, s, put(record("counter", 1), 0))
		var wg sync.WaitGroup
		for range committers {
			wg.Go(func() {
				for range increments {
					if err := increment(t, s); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		const total = 1 + committers*increments
		wantRecords(t, s, map[string]keystore.Record{"counter": record("counter", total)})
	}},
	{"of many that make the same record one succeeds", func(t *testing.T, s keystore.Store) {
		const rivals = 8
		var wg sync.WaitGroup
		var winners atomic.Int32
		var winner atomic.Uint64
		for i := range uint64(rivals) {
			wg.Go(func() {
				switch _, err := s.Commit(t.Context(), []keystore.Change{put(record("a", i+1), 0)}); {
				case err == nil:
					winners.Add(1)
					winner.Store(i + 1)
				case !errors.Is(err, keystore.ErrConflict):
					t.Errorf("Commit: %v, want ErrConflict", err)
				}
			})
		}
		wg.Wait()
		if winners.Load() != 1 {
			t.Fatalf("%d of %d commits succeeded, want 1", winners.Load(), rivals)
		}
		wantRecords(t, s, map[string]keystore.Record{"a": record("a", winner.Load())})
	}},
	{"concurrent commits of different records all succeed, at different revisions", func(t *testing.T, s keystore.Store) {
		const committers = 16
		var wg sync.WaitGroup
		var revisions sync.Map
		want := make(map[string]keystore.Record)
		for i := range uint64(committers) {
			r := record(fmt.Sprintf("key/%d", i), i+1)
			want[r.Name] = r
			wg.Go(func() {
				revision, err := s.Commit(t.Context(), []keystore.Change{put(r, 0)})
				if err != nil {
					t.Errorf("Commit: %v", err)
				}
				if other, taken := revisions.LoadOrStore(revision, r.Name); taken {
					t.Errorf("%s and %s were both given revision %d", other, r.Name, revision)
				}
			})
		}
		wg.Wait()
		wantRecords(t, s, want)
	}},
	{"a load sees each commit whole", func(t *testing.T, s keystore.Store) {
		const commits, readers = 40, 3
		// Large enough that a store which copies them piece by piece would be caught at it.
		twin := func(name string, generation uint64) keystore.Change {
			return put(keystore.Record{Name: name, Generation: generation, Sealed: pattern(int(generation) << 10)}, generation-1)
		}
		commit(t, s, twin("left", 1), twin("right", 1))
		done := make(chan struct{})
		var wg sync.WaitGroup
		for range readers {
			wg.Go(func() {
				var last uint64
				for {
					revision, ok := loadTwins(t, s)
					if !ok {
						return
					}
					if revision < last {
						t.Errorf("Load gives revision %d after %d", revision, last)
					}
					last = revision
					select {
					case <-done:
						return
					default:
					}
				}
			})
		}
		for generation := uint64(2); generation <= commits; generation++ {
			if _, err := s.Commit(t.Context(), []keystore.Change{twin("left", generation), twin("right", generation)}); err != nil {
				t.Errorf("Commit: %v", err)
				break
			}
		}
		close(done)
		wg.Wait()
	}},
}

// increment raises the record "counter" by one, however many others do the same.
func increment(t *testing.T, s keystore.Store) error {
	for {
		records, _, err := s.Load(t.Context())
		if err != nil {
			return fmt.Errorf("loading: %w", err)
		}
		if len(records) != 1 {
			return fmt.Errorf("loading gives %d records, want 1", len(records))
		}
		now := records[0].Generation
		_, err = s.Commit(t.Context(), []keystore.Change{put(record("counter", now+1), now)})
		if err == nil {
			return nil
		}
		if !errors.Is(err, keystore.ErrConflict) {
			return fmt.Errorf("committing: %w", err)
		}
	}
}

// loadTwins loads the records left and right, which every commit makes equal.
func loadTwins(t *testing.T, s keystore.Store) (revision uint64, ok bool) {
	records, revision, err := s.Load(t.Context())
	switch {
	case err != nil:
		t.Errorf("Load: %v", err)
	case len(records) != 2:
		t.Errorf("Load gives %d records, want 2", len(records))
	case records[0].Generation != records[1].Generation || len(records[0].Sealed) != len(records[1].Sealed):
		t.Errorf("Load saw half a commit: generations %d and %d, %d and %d bytes", records[0].Generation, records[1].Generation,
			len(records[0].Sealed), len(records[1].Sealed))
	default:
		return revision, true
	}
	return 0, false
}
