package keystore

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

func TestMarkingAUseAllocatesNothing(t *testing.T) {
	key := filled(t, 1).Lookup(keyName(0))
	at := time.Unix(1_800_000_000, 0)
	if n := testing.AllocsPerRun(100, func() { at = at.Add(time.Second); key.MarkUsed(1, at) }); n != 0 {
		t.Errorf("it allocates %v times, want 0", n)
	}
}

// many is a snapshot of n versions, each used a second after the one before.
func many(tb testing.TB, n int) (*snapshot, time.Time) {
	tb.Helper()
	first := time.Unix(1_800_000_000, 0).UTC()
	s := &snapshot{keyset: keyset{sealer: exampleSealer(tb)}, keys: make(map[string]*Key), usage: usage{since: first.Add(-time.Hour)}}
	for i := range n {
		name := keyName(i / maxVersions)
		key := s.keys[name]
		if key == nil {
			key = &Key{Name: name}
			s.keys[name], s.names = key, append(s.names, name)
		}
		v := Version{Number: uint32(i%maxVersions + 1), used: new(atomic.Int64)}
		v.used.Store(first.Unix() + int64(i))
		key.versions = append(key.versions, v)
	}
	return s, first
}

func TestOfMoreUsesThanFitTheLatestAreKeptAndWhatIsUnknownIsSaid(t *testing.T) {
	for more, unknown := range map[int]time.Duration{0: -time.Hour, 3: 2 * time.Second} {
		s, first := many(t, maxUses+more)
		r, stored, err := s.sealUsage(s.sealer)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Sealed) > 16<<20 {
			t.Errorf("the record has %d bytes, more than a store takes", len(r.Sealed))
		}
		plaintext, err := s.sealer.open(r.Name, r.Generation, r.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		rec, err := decodeUsageRecord(plaintext)
		if err != nil || len(rec.Versions) != maxUses {
			t.Fatalf("%d uses are kept (%v), want %d", len(rec.Versions), err, maxUses)
		}
		for _, u := range rec.Versions {
			if u.Used < first.Unix()+int64(more) {
				t.Fatalf("version %d of %s is kept, which was among the %d used first", u.Version, u.Key, more)
			}
		}
		if want := first.Add(unknown); !stored.since.Equal(want) || rec.Since != want.Unix() {
			t.Errorf("with %d too many, uses are known since %v, want %v", more, stored.since, want)
		}
	}
}

func BenchmarkMarkUsed(b *testing.B) {
	key := filled(b, 1).Lookup(keyName(0))
	start := time.Unix(1_800_000_000, 0)
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			key.MarkUsed(1, start)
		}
	})
	b.Run("in parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(loop *testing.PB) {
			for loop.Next() {
				key.MarkUsed(1, start)
			}
		})
	})
}

func BenchmarkSealUsage(b *testing.B) {
	for _, n := range []int{10_000, maxUses} {
		b.Run(fmt.Sprintf("%d versions", n), func(b *testing.B) {
			s, _ := many(b, n)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := s.sealUsage(s.sealer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
