package keystore

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/signerd/signerd/internal/secret"
)

// errOtherRing says that another rotation came between.
var errOtherRing = errors.New("the keyring moved on")

// RotateRootKey seals every record anew, under a new data key that root wraps: after it neither the old root key nor the old
// keyring opens anything in the store. A nil root is the one in use: then only the data key is new. Signing goes on meanwhile. Other
// changes wait for the sealing and writing, but never for root, which is asked before. It is one transaction, so that a process that
// is killed leaves the store as it was or rotated. Generations of keys stay. progress is told how many of all records are sealed; nil
// for nobody. Errors: ErrUnavailable, after which the store may be rotated or not, ErrConflict, ErrDamaged, ErrUnfitRootKey, or root's;
// after the last three nothing was changed.
//
// At last the store is compacted. Where that fails the store is rotated all the same: CompactErr tells why, and the next Purge or Open
// does it. Copies of the store that were made before still open with their old root key.
func (k *Keystore) RotateRootKey(ctx context.Context, root RootKey, progress func(done, total int)) error {
	if progress == nil {
		progress = func(int, int) {}
	}
	if err := k.rotate(ctx, root, progress); err != nil {
		return err
	}
	// Where it fails it is tried again by Purge, and the store is rotated: that must not look like a rotation that failed.
	_ = k.compact(context.WithoutCancel(ctx))
	return nil
}

// rotate is RotateRootKey without the compaction.
func (k *Keystore) rotate(ctx context.Context, root RootKey, progress func(done, total int)) error {
	for attempt := 1; ; attempt++ {
		err := k.tryRotate(ctx, root, progress)
		if !errors.Is(err, errOtherRing) {
			return err
		}
		if attempt == maxAttempts {
			return fmt.Errorf("%w: others kept rotating it", ErrConflict)
		}
	}
}

// tryRotate is one attempt. errOtherRing when the keyring of the store is no longer the one that it began with.
func (k *Keystore) tryRotate(ctx context.Context, root RootKey, progress func(done, total int)) error {
	before := k.current.Load().keyset
	if root == nil {
		root = before.root
	}
	// Without the lock: whoever has the root key may take its time, and a freeze must not wait for it.
	made, err := k.succeed(ctx, before, root)
	if err != nil {
		return err
	}
	return k.changing(ctx, func(s *snapshot) error {
		if !bytes.Equal(s.wrapped, before.wrapped) {
			return errOtherRing
		}
		changes, err := k.resealAll(ctx, s, made, progress)
		if errors.Is(err, ErrDamaged) {
			k.uncertain = true // whoever changes something next finds it, too
			k.tellFault(err)
		}
		if err != nil {
			return err
		}
		k.rotating = &made
		if _, err := k.put(ctx, changes...); err != nil {
			if !k.uncertain {
				k.rotating = nil
			}
			return err
		}
		// What was written is read again: a store that does not open must not be found out at the next start. Until it is, nothing
		// may be sealed by what is no more.
		k.uncertain = true
		return k.reload(context.WithoutCancel(ctx))
	})
}

// succeed makes the keyring that comes after another, and proves that root opens what it wrapped.
func (k *Keystore) succeed(ctx context.Context, before keyset, root RootKey) (keyset, error) {
	ring := before.sealer.successor()
	s, err := newSealer(ring)
	if err != nil {
		return keyset{}, err
	}
	c := k.config
	c.RootKey, c.RecoveryKey = root, nil
	wrapped, err := ring.wrap(ctx, c)
	if err != nil {
		return keyset{}, err
	}
	opened, err := unwrapKeyring(ctx, c, wrapped)
	switch {
	case errors.Is(err, ErrRootKeyUnavailable):
		return keyset{}, fmt.Errorf("unwrapping what root key %s has just wrapped: %w", root.ID(), err)
	case err != nil:
		// Nothing is wrong with the store, whatever it says.
		return keyset{}, fmt.Errorf("%w: %s: %v", ErrUnfitRootKey, root.ID(), err)
	case !opened.same(ring):
		return keyset{}, fmt.Errorf("%w: %s gives something else", ErrUnfitRootKey, root.ID())
	}
	return keyset{s, root, wrapped}, nil
}

// resealAll makes every record anew, for one commit. What the store holds must be what its head lists: a record that was put in
// another's place must not be taken in.
func (k *Keystore) resealAll(ctx context.Context, s *snapshot, made keyset, progress func(done, total int)) ([]Change, error) {
	list, _, err := k.config.Store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: reading it: %w", ErrUnavailable, err)
	}
	records := byName(list)
	// Where others were faster, what they wrote is read first, and held against their head.
	if records[nameHead].Generation != s.head.counter {
		return nil, errRace
	}
	if err := s.head.compare(s.sealer, records); err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b Record) int { return strings.Compare(a.Name, b.Name) })
	h := s.head
	h.counter, h.entries = s.head.counter+1, maps.Clone(s.head.entries)
	h.uncompacted = h.counter
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
			change.Record = Record{nameKeyring, h.counter, made.wrapped}
		case r.Name == nameUsage:
			// Of what is known and not of the record, which may be damaged.
			if change.Record, _, err = s.sealUsage(made.sealer); err != nil {
				return nil, err
			}
		default:
			if change.Record, err = reseal(s.sealer, made.sealer, r); err != nil {
				return nil, err
			}
		}
		if !unlisted(r.Name) {
			h.entries[r.Name] = entry{change.Generation, sha256.Sum256(change.Sealed)}
		}
		changes = append(changes, change)
	}
	sealed, err := sealHead(made.sealer, h)
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

// same reports whether two keyrings hold the same.
func (r keyring) same(other keyring) bool {
	return r.store == other.store && r.active == other.active && maps.EqualFunc(r.keys, other.keys, func(a, b secret.Bytes) bool {
		return subtle.ConstantTimeCompare(a.Reveal(), b.Reveal()) == 1
	})
}

// unwrap opens the keyring with the root key in use, or else with one that a rotation may have taken into use, and says which it was.
// The one in use may be away or tell that the keyring is damaged, where it is not its own any more. One that is away may be the right
// one.
func (k *Keystore) unwrap(ctx context.Context, stored []byte) (keyring, RootKey, error) {
	c := k.config
	candidates := []RootKey{c.NextRootKey}
	if s := k.current.Load(); s != nil {
		// It may be neither of those that were configured at the start.
		if s.rootKeyID() != c.RootKey.ID() {
			candidates = append(candidates, c.RootKey)
		}
		c.RootKey = s.root
	}
	if k.rotating != nil {
		candidates = append(candidates, k.rotating.root)
	}
	ring, err := unwrapKeyring(ctx, c, stored)
	if err == nil {
		return ring, c.RootKey, nil
	}
	for _, other := range candidates {
		if other == nil {
			continue
		}
		with := c
		with.RootKey = other
		opened, refused := unwrapKeyring(ctx, with, stored)
		switch {
		case refused == nil:
			return opened, other, nil
		case errors.Is(refused, ErrRootKeyUnavailable):
			err = refused
		}
	}
	return keyring{}, nil, err
}
