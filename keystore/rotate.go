package keystore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/signerd/signerd/internal/secret"
)

// RotateRootKey seals every record anew, under a new data key that root wraps: after it neither the old root key nor the old
// keyring opens anything in the store. A nil root is the one in use: then only the data key is new. Signing goes on
// meanwhile; other changes wait. It is one transaction, so that a process that is killed leaves the store as it was or rotated.
// Generations of keys stay. progress is told how many of all records are sealed; nil for nobody. Errors: ErrUnavailable, after which the store may
// be rotated or not, ErrConflict, ErrDamaged for a record that does not open, or root's.
//
// At last the store is compacted; where that fails, or a process was killed before it, the next Purge or Open does it. Copies of the store that were made before still open with their old root key.
func (k *Keystore) RotateRootKey(ctx context.Context, root RootKey, progress func(done, total int)) error {
	if progress == nil {
		progress = func(int, int) {}
	}
	if err := k.rotate(ctx, root, progress); err != nil {
		return err
	}
	if err := k.compact(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("the root key is rotated, but unused parts of the store may hold what the old one opens until it is compacted, which is tried again by itself: %w", err)
	}
	return nil
}

// rotate is RotateRootKey without the compaction.
func (k *Keystore) rotate(ctx context.Context, root RootKey, progress func(done, total int)) error {
	return k.changing(ctx, func(s *snapshot) error {
		root := root
		if root == nil {
			root = k.config.RootKey
		}
		changes, err := k.resealAll(ctx, s, root, progress)
		if err != nil {
			return err
		}
		// Until the outcome is known, the store may be opened by either.
		before := k.config.RootKey
		k.config.RootKey, k.otherRootKey = root, before
		if _, err := k.put(ctx, changes...); err != nil {
			if !k.uncertain {
				k.config.RootKey, k.otherRootKey = before, nil
			}
			return err
		}
		// What was written is read again: a store that does not open must not be found out at the next start. Until it is, nothing
		// may be sealed by what is no more.
		k.uncertain = true
		return k.reload(context.WithoutCancel(ctx))
	})
}

// resealAll makes every record anew, for one commit.
func (k *Keystore) resealAll(ctx context.Context, s *snapshot, root RootKey, progress func(done, total int)) ([]Change, error) {
	list, _, err := k.config.Store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: reading it: %w", ErrUnavailable, err)
	}
	slices.SortFunc(list, func(a, b Record) int { return strings.Compare(a.Name, b.Name) })
	ring := s.sealer.successor()
	next, err := newSealer(ring)
	if err != nil {
		return nil, err
	}
	c := k.config
	c.RootKey = root
	wrapped, err := ring.wrap(ctx, c)
	if err != nil {
		return nil, err
	}
	h := s.head
	h.counter, h.entries = s.head.counter+1, maps.Clone(s.head.entries)
	h.uncompacted = h.counter
	keyring := Record{nameKeyring, h.counter, wrapped}
	changes := make([]Change, 0, len(list))
	for i, r := range list {
		progress(i, len(list))
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		change := Change{Expect: r.Generation}
		switch {
		case r.Name == nameHead:
			continue
		case r.Generation != s.generationOf(r.Name):
			return nil, errRace
		case r.Name == nameKeyring:
			change.Record = keyring
		case r.Name == nameUsage:
			// Of what is known and not of the record, which may be damaged.
			if change.Record, _, err = s.sealUsage(next); err != nil {
				return nil, err
			}
		default:
			if change.Record, err = reseal(s.sealer, next, r); err != nil {
				return nil, err
			}
		}
		if !unlisted(r.Name) {
			h.entries[r.Name] = entry{change.Generation, sha256.Sum256(change.Sealed)}
		}
		changes = append(changes, change)
	}
	sealed, err := sealHead(next, h)
	if err != nil {
		return nil, err
	}
	progress(len(list), len(list))
	return append(changes, Change{Record: sealed, Expect: s.generation[nameHead]}), nil
}

// generationOf is what the snapshot has of a record; 0 for none.
func (s *snapshot) generationOf(name string) uint64 {
	switch name {
	case nameAudit:
		return s.audit.generation
	case nameUsage:
		return s.usage.generation
	}
	return s.generation[name]
}

// reseal gives a record that says the same at the same generation, sealed by another.
func reseal(from, to *sealer, r Record) (Record, error) {
	plaintext, err := from.open(r.Name, r.Generation, r.Sealed)
	if err != nil {
		return Record{}, damaged(r.Name, "%v", err)
	}
	defer clear(plaintext)
	generation := r.Generation
	if r.Name == nameAudit {
		generation++ // it is in no head: one of the same generation must not say another thing
	}
	return Record{r.Name, generation, to.seal(r.Name, generation, plaintext)}, nil
}

// successor is a keyring of the same store with a new data key, and no other.
func (s *sealer) successor() keyring {
	ring := keyring{store: s.store, active: s.active + 1, keys: make(map[uint32]secret.Bytes)}
	key := make([]byte, dataKeySize)
	_, _ = rand.Read(key)
	ring.keys[ring.active] = secret.New(key)
	return ring
}

// unwrap opens the keyring with the root key in use, or else with one that a rotation may have taken into use. The one in use may
// be away or tell that the keyring is damaged, where it is not its own any more. One that is away may be the right one.
func (k *Keystore) unwrap(ctx context.Context, stored []byte) (keyring, error) {
	c := k.config
	ring, err := unwrapKeyring(ctx, c, stored)
	for _, other := range []RootKey{k.otherRootKey, k.config.NextRootKey} {
		if err == nil || other == nil {
			continue
		}
		c.RootKey = other
		opened, refused := unwrapKeyring(ctx, c, stored)
		switch {
		case refused == nil:
			k.config.RootKey, ring, err = other, opened, nil
		case errors.Is(refused, ErrRootKeyUnavailable):
			err = refused
		}
	}
	return ring, err
}
