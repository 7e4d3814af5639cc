package keystore

import (
	"context"
	"fmt"
)

// Purge has the store compacted if its unused parts may hold material of destroyed versions, or what a root key opens that is no
// longer in use. What is left to do is kept in the store: after a crash the next Purge does it. It is for a timer, and for who changed
// something. Errors: ErrUnavailable, ErrConflict.
func (k *Keystore) Purge(ctx context.Context) error {
	remaining := k.remaining()
	if len(remaining) == 0 {
		return k.compactReplaced(ctx)
	}
	if err := k.compact(ctx); err != nil {
		return err
	}
	for _, d := range remaining {
		_, err := k.changeVersion(ctx, d.Key.Name, d.Version, 0, func(_ *keyRecord, v *versionRecord) error {
			v.Remains = false
			return nil
		})
		if err != nil {
			return fmt.Errorf("noting that the store is compacted: %w", err)
		}
	}
	return nil
}

// CompactErr says why the last compaction failed, so that old sealed content may be in unused parts of the store; nil when it did not.
// Purge tries again.
func (k *Keystore) CompactErr() error {
	if failed := k.compacting.Load(); failed != nil {
		return *failed
	}
	return nil
}

// compactReplaced compacts the store if the head says that it has to be.
func (k *Keystore) compactReplaced(ctx context.Context) error {
	if k.current.Load().head.uncompacted <= k.compacted.Load() {
		return nil
	}
	return k.compact(ctx)
}

// compact has the store compacted, and remembers what came of it. The next commit says it in the head; until then a new process
// compacts once more, which costs little.
func (k *Keystore) compact(ctx context.Context) error {
	upTo := k.current.Load().head.counter
	if err := k.config.Store.Compact(ctx); err != nil {
		err = fmt.Errorf("%w: compacting it: %w", ErrUnavailable, err)
		k.compacting.Store(&err)
		return err
	}
	for {
		before := k.compacted.Load()
		if before >= upTo || k.compacted.CompareAndSwap(before, upTo) {
			break
		}
	}
	k.compacting.Store(nil)
	return nil
}

// remaining lists the destroyed versions whose old records may still be in the store's file.
func (k *Keystore) remaining() []Doomed {
	var out []Doomed
	s := k.current.Load()
	for _, name := range s.names {
		for _, v := range s.keys[name].versions {
			if v.remains {
				out = append(out, Doomed{s.keys[name], v.Number})
			}
		}
	}
	return out
}
