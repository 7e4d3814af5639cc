package keystore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// UnusedAfter is how long an ENABLED version may go without a use before it counts as unused.
const UnusedAfter = 90 * 24 * time.Hour

// maxUses bounds the record of last uses, which has some 110 bytes for each at most.
const maxUses = 100_000

// usage is the record of last uses. It is not in the head and does not raise the store's counter: it is written without anybody's
// asking. So an older one, put back, is not noticed; nothing is decided by it. The uses themselves are in the versions.
type usage struct {
	generation uint64 // 0 where there is none
	// since is from when on uses are known: what has no use was not used after it.
	since time.Time
	// sum is of what is stored; zero where there is nothing that opens.
	sum [sha256.Size]byte
	// fault says why what is stored was not taken in; nil where it was, or there is nothing.
	fault error
}

// usageRecord is the record of last uses as it is sealed. Times are in Unix seconds.
type usageRecord struct {
	Format   int           `json:"format"`
	Since    int64         `json:"since"`
	Versions []usedVersion `json:"versions"`
}

type usedVersion struct {
	Key     string `json:"key"`
	Version uint32 `json:"version"`
	Used    int64  `json:"used"`
}

// MarkUsed notes that what a version signed was handed out at a time, to the second. An earlier one than is noted changes nothing. It
// takes no lock, touches no disk and allocates nothing: KeepUsage stores it.
func (k *Key) MarkUsed(number uint32, at time.Time) {
	if used := k.used(number); used != nil {
		raise(used, at.Unix())
	}
}

// used is where the last use of a version is noted; nil for no such version.
func (k *Key) used(number uint32) *atomic.Int64 {
	for i := range k.versions {
		if v := &k.versions[i]; v.Number == number {
			return v.used
		}
	}
	return nil
}

// raise writes only what is later, so that those who sign within one second do not wait for each other's memory.
func raise(used *atomic.Int64, to int64) {
	for old := used.Load(); to > old; old = used.Load() {
		if used.CompareAndSwap(old, to) {
			return
		}
	}
}

// LastUsed is when something that the version signed was last handed out, to the second; zero if it never was, as far as is known
// (see UsesKnownSince). It is that of now, also of a key that was looked up earlier.
func (v Version) LastUsed() time.Time {
	if v.used == nil || v.used.Load() == 0 {
		return time.Time{}
	}
	return time.Unix(v.used.Load(), 0).UTC()
}

// unused reports whether an ENABLED version had no use for UnusedAfter. A version that is younger than that is not unused, and nor is
// any while it is not known for so long.
func (v Version) unused(known time.Time, now func() time.Time) bool {
	if v.State != Enabled {
		return false
	}
	last := v.LastUsed()
	if last.IsZero() {
		last = known
	}
	return now().Sub(last) >= UnusedAfter && now().Sub(v.CreateTime) >= UnusedAfter
}

// UsesKnownSince is from when on uses are known: a version that has none was not used after it. It is when the keystore was first
// opened, or later where the record of uses was lost, or had no room for all versions.
func (k *Keystore) UsesKnownSince() time.Time { return k.current.Load().usage.since }

// UsageFault says why the uses that the store holds were not taken in: their record is damaged. It stops nothing, and the next KeepUsage
// replaces it: UsesKnownSince begins anew. Nil if nothing is wrong.
func (k *Keystore) UsageFault() error {
	if fault := k.current.Load().usage.fault; fault != nil {
		return fmt.Errorf("%w; uses are known from now on alone", damaged(nameUsage, "%v", fault))
	}
	return nil
}

// KeepUsage stores the last use of every version, unless nothing was used since that was done last. It changes nothing else: no counter,
// no head, no anchor. Where processes share a store, the later use of each counts. Errors: ErrUnavailable, ErrConflict when others were
// faster time after time.
func (k *Keystore) KeepUsage(ctx context.Context) error {
	return k.changing(ctx, func(s *snapshot) error {
		record, stored, err := s.sealUsage(s.sealer)
		if err != nil || stored.sum == s.usage.sum {
			return err
		}
		revision, err := k.put(ctx, Change{Record: record, Expect: s.usage.generation})
		if err != nil {
			return err
		}
		n := *s
		n.revision, n.usage = s.after(revision), stored
		k.current.Store(&n)
		return nil
	})
}

// sealUsage makes the next record of last uses.
func (s *snapshot) sealUsage(by *sealer) (Record, usage, error) {
	var used []usedVersion
	for _, name := range s.names {
		for _, v := range s.keys[name].versions {
			if at := v.used.Load(); at > 0 {
				used = append(used, usedVersion{name, v.Number, at})
			}
		}
	}
	since := s.usage.since
	if len(used) > maxUses {
		slices.SortStableFunc(used, func(a, b usedVersion) int { return cmp.Compare(b.Used, a.Used) })
		if cut := time.Unix(used[maxUses].Used, 0).UTC(); cut.After(since) {
			since = cut
		}
		used = used[:maxUses]
	}
	plaintext, err := encode(usageRecord{recordFormat, since.Unix(), used})
	if err != nil {
		return Record{}, usage{}, err
	}
	next := usage{generation: s.usage.generation + 1, since: since, sum: sha256.Sum256(plaintext)}
	return Record{nameUsage, next.generation, by.seal(nameUsage, next.generation, plaintext)}, next, nil
}

// openUsage takes in the stored uses, where they are later than what is known. What does not open is a fault, and stops nothing: an
// account that signs must not stand still for a statistic.
func (k *Keystore) openUsage(s *snapshot, records map[string]Record) {
	s.usage = usage{since: k.began.Truncate(time.Second)}
	r, ok := records[nameUsage]
	if !ok {
		return
	}
	s.usage.generation = r.Generation
	plaintext, err := s.sealer.open(nameUsage, r.Generation, r.Sealed)
	if err != nil {
		s.usage.fault = err
		return
	}
	rec, err := decodeUsageRecord(plaintext)
	if err != nil {
		s.usage.fault = err
		return
	}
	s.usage.since, s.usage.sum = time.Unix(rec.Since, 0).UTC(), sha256.Sum256(plaintext)
	for _, u := range rec.Versions {
		if key := s.keys[u.Key]; key != nil {
			key.MarkUsed(u.Version, time.Unix(u.Used, 0))
		}
	}
}

func decodeUsageRecord(plaintext []byte) (usageRecord, error) {
	var r usageRecord
	if err := decode(plaintext, &r); err != nil {
		return usageRecord{}, err
	}
	if r.Format != recordFormat || len(r.Versions) > maxUses {
		return usageRecord{}, errors.New("it is malformed")
	}
	return r, nil
}

// use is where a version's last use is noted: the same for as long as the keystore is open, whatever becomes of the key.
func (k *Keystore) use(name string, number uint32) *atomic.Int64 {
	if s := k.current.Load(); s != nil {
		if key := s.keys[name]; key != nil {
			if used := key.used(number); used != nil {
				return used
			}
		}
	}
	return new(atomic.Int64)
}
