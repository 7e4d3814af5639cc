package keystore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// maxAttempts bounds how often a change is decided anew because another process changed a shared store meanwhile.
const maxAttempts = 5

// errRace says that the store moved on since the snapshot was taken.
var errRace = errors.New("the store moved on")

// changing is the one way anything in the store changes: try decides and commits on the newest snapshot. When another
// process was faster, it decides anew.
func (k *Keystore) changing(ctx context.Context, try func(*snapshot) error) error {
	k.change.Lock()
	defer k.change.Unlock()
	for attempt := 1; ; attempt++ {
		if err := k.settle(ctx); err != nil {
			return err
		}
		err := try(k.current.Load())
		if !errors.Is(err, errRace) {
			return err
		}
		if attempt == maxAttempts {
			return fmt.Errorf("%w: others kept changing it", ErrConflict)
		}
		k.uncertain = true
	}
}

// settle finds out what became of a commit with an unknown outcome, and brings the anchor up to date, before anything
// else is decided. So the anchor is never more than one commit behind.
func (k *Keystore) settle(ctx context.Context) error {
	if k.uncertain {
		if err := k.reload(ctx); err != nil {
			k.tellFault(err)
			return err
		}
	}
	return k.raiseAnchor()
}

// OnFault has told called when a change finds that the store can no longer be vouched for, as Follow's caller is told by its end:
// nothing may be served from it any more. It is called with the keystore's lock held, and must change nothing. There is one at a time.
func (k *Keystore) OnFault(told func(error)) { k.faultTold.Store(&told) }

// tellFault tells of an error that is not one of a store, or a root key, that may be back in a moment.
func (k *Keystore) tellFault(err error) {
	told := k.faultTold.Load()
	if told == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRootKeyUnavailable) {
		return
	}
	(*told)(err)
}

// commit seals one record and the next head, writes both, moves the anchor, and makes the next snapshot current. build
// makes of the sealed record what will be served, before anything is written: what cannot be loaded must not be stored.
func (k *Keystore) commit(ctx context.Context, s *snapshot, name string, plaintext []byte, build func(Record) (put func(*snapshot), err error)) error {
	generation := s.head.counter + 1
	record := Record{name, generation, s.sealer.seal(name, generation, plaintext)}
	put, err := build(record)
	if err != nil {
		return err
	}
	return k.commitRecord(ctx, s, record, k.nextHead(s, record), put)
}

// nextHead is the head with one more record, of the next counter. It knows what was compacted since the last.
func (k *Keystore) nextHead(s *snapshot, record Record) head {
	h := s.head.with([]Record{record})
	if h.uncompacted <= k.compacted.Load() {
		h.uncompacted = 0
	}
	return h
}

// commitRecord writes a record that has the next counter for its generation, and the head h that lists it, as commit does.
func (k *Keystore) commitRecord(ctx context.Context, s *snapshot, record Record, h head, put func(*snapshot)) error {
	headRecord, err := sealHead(s.sealer, h)
	if err != nil {
		return err
	}
	revision, err := k.put(ctx, Change{Record: record, Expect: s.generation[record.Name]}, Change{Record: headRecord, Expect: s.generation[nameHead]})
	if err != nil {
		return err
	}
	n := s.next(revision, h, record.Name)
	put(n)
	k.publish(n)
	// A change that is made but not anchored is not acknowledged.
	return k.raiseAnchor()
}

// put writes changes in one transaction. errRace when the store moved on since they were decided.
func (k *Keystore) put(ctx context.Context, changes ...Change) (revision uint64, err error) {
	// A change that the caller no longer waits for is still made whole: its outcome must be known.
	revision, err = k.config.Store.Commit(context.WithoutCancel(ctx), changes)
	switch {
	case errors.Is(err, ErrConflict):
		return 0, errRace
	case errors.Is(err, ErrStoreClosed):
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case err != nil:
		k.uncertain = true
		return 0, fmt.Errorf("%w: writing it: %w", ErrUnavailable, err)
	}
	return revision, nil
}

// after is the revision of the snapshot that a commit makes of s. The expectations of a commit do not cover every record: where
// the store's revision says that another commit may have come between, the next snapshot stays at the revision of s, so that
// Follow reads the store again.
func (s *snapshot) after(committed uint64) uint64 {
	if committed == s.revision+1 {
		return committed
	}
	return s.revision
}

// next is the snapshot after a record was written, for put to complete. It is not shared yet.
func (s *snapshot) next(revision uint64, h head, name string) *snapshot {
	n := *s
	n.revision, n.head, n.generation = s.after(revision), h, maps.Clone(s.generation)
	n.generation[name], n.generation[nameHead] = h.counter, h.counter
	return &n
}

// replace puts a changed key into a snapshot that is not shared yet.
func (s *snapshot) replace(key *Key) {
	if _, existed := s.keys[key.Name]; !existed {
		i, _ := slices.BinarySearch(s.names, key.Name)
		s.names = slices.Insert(slices.Clone(s.names), i, key.Name)
	}
	s.keys, s.serves = maps.Clone(s.keys), maps.Clone(s.serves)
	s.add(key)
}
