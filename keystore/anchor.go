package keystore

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/mod/sumdb/note"

	"github.com/signerd/signerd/internal/checkpoint"
)

// Anchor keeps outside the store in which state the store was last known to be, so that an older copy of the whole store is
// noticed. The state is part of a signed checkpoint of the audit log. Whoever rolls back store and anchor together is not
// noticed from inside. The keystore calls one method at a time.
type Anchor interface {
	// Exists reports whether anything ever was written, whoever signed it.
	Exists() (bool, error)
	// Read returns the state that was last written and that key signed: fs.ErrNotExist when nothing ever was written,
	// checkpoint.ErrInvalid for what key did not sign. Any other error means that it could not be read.
	Read(key note.Verifier) (checkpoint.Store, error)
	// Write signs the state and replaces the last one by it, durably and atomically. It must not change the keystore, whose
	// changes wait for it.
	Write(key *checkpoint.Signer, state checkpoint.Store) error
}

// errNoAnchor is what is wrong without an anchor.
var errNoAnchor = damaged(nameAnchor, "it is missing, so that an older copy of the store could not be noticed")

// state is what the anchor says of a store with this head.
func (h head) state() checkpoint.Store { return checkpoint.Store{Counter: h.counter, Root: h.root()} }

func writeAnchor(a Anchor, key *checkpoint.Signer, h head) error {
	if err := a.Write(key, h.state()); err != nil {
		return fmt.Errorf("%w: writing the anchor: %w", ErrUnavailable, err)
	}
	return nil
}

func readAnchor(a Anchor, key *checkpoint.Signer) (checkpoint.Store, error) {
	state, err := a.Read(key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return state, errNoAnchor
	case errors.Is(err, checkpoint.ErrInvalid):
		return state, damaged(nameAnchor, "it is damaged, or belongs to another store")
	case err != nil:
		return state, fmt.Errorf("%w: reading the anchor: %w", ErrUnavailable, err)
	}
	return state, nil
}

// checkAnchor refuses a store that is behind its anchor. A store that is ahead was committed just before a crash: the
// anchor has to be raised.
func (k *Keystore) checkAnchor(s *snapshot) error {
	anchored, err := readAnchor(k.config.Anchor, s.signer)
	if err != nil {
		return err
	}
	switch {
	case s.head.counter < anchored.Counter:
		return fmt.Errorf("%w (store at %d, anchor at %d)", ErrRolledBack, s.head.counter, anchored.Counter)
	case s.head.counter == anchored.Counter && s.head.root() != anchored.Root:
		return fmt.Errorf("%w (both at %d, with different contents)", ErrRolledBack, anchored.Counter)
	}
	k.anchored = anchored.Counter
	return nil
}

// raiseAnchor brings the anchor up to the current snapshot. The caller holds k.change, or is alone.
func (k *Keystore) raiseAnchor() error {
	if k.anchored == k.current.Load().head.counter {
		return nil
	}
	return k.rewriteAnchor()
}

// rewriteAnchor is raiseAnchor even where the store's counter did not change.
func (k *Keystore) rewriteAnchor() error {
	s := k.current.Load()
	if err := writeAnchor(k.config.Anchor, s.signer, s.head); err != nil {
		return err
	}
	k.anchored = s.head.counter
	return nil
}
