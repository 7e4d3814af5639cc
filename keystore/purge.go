package keystore

import (
	"context"
	"fmt"
)

// Purge has the store compacted if its unused parts may hold material of destroyed versions, or what a root key opens that is no
// longer in use. What is left to do is kept in the store: after a crash the next Purge does it. It is for a timer, and for who changed
// something. Errors: ErrUnavailable.
func (k *Keystore) Purge(ctx context.Context) error {
	return k.compactReplaced(ctx)
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
