// Package storetest is the contract of keystore.Store, as tests that every implementation runs and passes.
//
// It is for the tests of stores. It knows a store from outside only, and never what its records mean.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/signerd/signerd/keystore"
)

// Run holds a store against the contract. open gives a new, empty store to each test, which closes it. reopen is given a
// store that has been closed, and opens again what that one had persisted; it is nil for a store that persists nothing.
func Run(t *testing.T, open func(t *testing.T) keystore.Store, reopen func(t *testing.T, s keystore.Store) keystore.Store) {
	t.Helper()
	tests := slices.Concat(recordTests, concurrencyTests, watchTests, compactTests, closeTests)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { closeStore(t, s) })
			test.run(t, s)
		})
	}
	if reopen == nil {
		return
	}
	for _, test := range persistenceTests {
		t.Run(test.name, func(t *testing.T) {
			test.run(t, open(t), reopen)
		})
	}
}

type contractTest struct {
	name string
	run  func(t *testing.T, s keystore.Store)
}

var recordTests = []contractTest{
	{"an empty store loads as no records", func(t *testing.T, s keystore.Store) {
		wantRecords(t, s, nil)
	}},
	{"what is committed is loaded", func(t *testing.T, s keystore.Store) {
		want := map[string]keystore.Record{}
		for _, r := range []keystore.Record{
			{Name: "head", Generation: 1, Sealed: []byte("sealed")},
			{Name: "key/a", Generation: 1 << 60, Sealed: pattern(1 << 20)},
			// Names that begin with one another, and the longest there is.
			{Name: "key/a-b", Generation: 2, Sealed: pattern(1<<20 + 1)},
			{Name: "key", Generation: 3, Sealed: []byte{0}},
			{Name: strings.Repeat("0/-z", 32), Generation: 1<<64 - 1, Sealed: pattern(1 << 20)},
			{Name: "empty", Generation: 4},
		} {
			want[r.Name] = r
			commit(t, s, put(r, 0))
		}
		wantRecords(t, s, want)
	}},
	{"one commit writes many records", func(t *testing.T, s keystore.Store) {
		want := map[string]keystore.Record{}
		var changes []keystore.Change
		for _, name := range []string{"head", "keyring", "key/a", "key/b"} {
			want[name] = keystore.Record{Name: name, Generation: 7, Sealed: pattern(1 << 20)}
			changes = append(changes, put(want[name], 0))
		}
		commit(t, s, changes...)
		wantRecords(t, s, want)
	}},
	{"a commit replaces a record that is at the expected generation", func(t *testing.T, s keystore.Store) {
		commit(t, s, put(record("a", 1), 0))
		long := keystore.Record{Name: "a", Generation: 9, Sealed: pattern(1 << 20)}
		commit(t, s, put(long, 1))
		commit(t, s, put(record("a", 12), 9))
		wantRecords(t, s, map[string]keystore.Record{"a": record("a", 12)})
	}},
	{"a commit with one wrong expectation writes nothing", func(t *testing.T, s keystore.Store) {
		commit(t, s, put(record("a", 3), 0), put(record("b", 3), 0))
		before := map[string]keystore.Record{"a": record("a", 3), "b": record("b", 3)}
		wrong := map[string]keystore.Change{
			"absent, but it exists":        put(record("a", 4), 0),
			"an older generation":          put(record("a", 4), 2),
			"a newer generation":           put(record("a", 4), 4),
			"a generation, but it is none": put(record("new", 4), 3),
		}
		for what, change := range wrong {
			fine := []keystore.Change{put(record("b", 4), 3), put(record("c", 4), 0)}
			for at := range len(fine) + 1 {
				_, err := s.Commit(t.Context(), slices.Insert(slices.Clone(fine), at, change))
				if !errors.Is(err, keystore.ErrConflict) {
					t.Errorf("expecting %s, as change %d of 3: %v, want ErrConflict", what, at+1, err)
				}
			}
		}
		wantRecords(t, s, before)
		commit(t, s, put(record("b", 4), 3), put(record("c", 4), 0), put(record("a", 4), 3))
	}},
	{"revisions grow with every commit", func(t *testing.T, s keystore.Store) {
		_, last, err := s.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(20) {
			now := commit(t, s, put(record("a", i+1), i))
			if now <= last {
				t.Fatalf("commit %d: revision %d after %d", i, now, last)
			}
			_, loaded, err := s.Load(t.Context())
			if err != nil || loaded < now {
				t.Fatalf("Load gives revision %d after a commit gave %d (%v)", loaded, now, err)
			}
			last = loaded
		}
	}},
	{"what was given to a commit may be changed afterwards", func(t *testing.T, s keystore.Store) {
		changes := []keystore.Change{put(record("a", 1), 0)}
		commit(t, s, changes...)
		clear(changes[0].Sealed)
		changes[0] = put(record("b", 2), 0)
		wantRecords(t, s, map[string]keystore.Record{"a": record("a", 1)})
	}},
	{"what was loaded may be changed", func(t *testing.T, s keystore.Store) {
		// Small and large: a database may keep them in different ways.
		want := map[string]keystore.Record{"small": record("small", 1), "large": {Name: "large", Generation: 1, Sealed: pattern(1 << 16)}}
		commit(t, s, put(want["small"], 0), put(want["large"], 0))
		records, _, err := s.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range records {
			clear(records[i].Sealed)
			_ = append(records[i].Sealed, "more"...)
			records[i].Generation++
		}
		wantRecords(t, s, want)
	}},
	{"what was loaded stays as it was while the store changes", func(t *testing.T, s keystore.Store) {
		first := keystore.Record{Name: "a", Generation: 1, Sealed: pattern(1 << 16)}
		commit(t, s, put(first, 0))
		records, _, err := s.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(20) {
			commit(t, s, put(keystore.Record{Name: "a", Generation: i + 2, Sealed: make([]byte, 1<<16)}, i+1))
		}
		if len(records) != 1 || !same(records[0], first) {
			t.Error("the loaded record changed with the store")
		}
	}},
}

// record is a small record whose content tells its name and generation.
func record(name string, generation uint64) keystore.Record {
	return keystore.Record{Name: name, Generation: generation, Sealed: []byte(name + string(pattern(int(generation))))}
}

// pattern is n bytes that are not all the same.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

func put(r keystore.Record, expect uint64) keystore.Change {
	r.Sealed = bytes.Clone(r.Sealed)
	return keystore.Change{Record: r, Expect: expect}
}

func commit(t *testing.T, s keystore.Store, changes ...keystore.Change) uint64 {
	t.Helper()
	revision, err := s.Commit(t.Context(), changes)
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	return revision
}

func same(a, b keystore.Record) bool {
	return a.Name == b.Name && a.Generation == b.Generation && bytes.Equal(a.Sealed, b.Sealed)
}

// load gives the records by name, each of which must be there once.
func load(t *testing.T, s keystore.Store) map[string]keystore.Record {
	t.Helper()
	list, _, err := s.Load(t.Context())
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	records := make(map[string]keystore.Record, len(list))
	for _, r := range list {
		if _, twice := records[r.Name]; twice {
			t.Errorf("Load gives the record %q twice", r.Name)
		}
		records[r.Name] = r
	}
	return records
}

func wantRecords(t *testing.T, s keystore.Store, want map[string]keystore.Record) {
	t.Helper()
	got := load(t, s)
	for name, w := range want {
		switch g, ok := got[name]; {
		case !ok:
			t.Errorf("the record %q is missing", name)
		case g.Generation != w.Generation:
			t.Errorf("the record %q is at generation %d, want %d", name, g.Generation, w.Generation)
		case !bytes.Equal(g.Sealed, w.Sealed):
			t.Errorf("the record %q holds other bytes (%d) than were committed (%d)", name, len(g.Sealed), len(w.Sealed))
		}
	}
	for name := range maps.Keys(got) {
		if _, ok := want[name]; !ok {
			t.Errorf("the record %q was never committed", name)
		}
	}
}

// giveWay lets other goroutines get as far as they can: into a call that blocks, for instance. Nothing depends on it but
// what a faulty store is caught at.
func giveWay() {
	for range 2000 {
		runtime.Gosched()
	}
}

func closeStore(t *testing.T, s keystore.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// cancelled is a context that has ended.
func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
