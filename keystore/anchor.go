package keystore

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Anchor keeps a few hundred bytes outside the store, so that an older copy of the whole store is noticed. Whoever
// rolls back store and anchor together is not noticed from inside.
type Anchor interface {
	// Read returns what was last written; nil when nothing ever was.
	Read() ([]byte, error)
	// Write replaces the content durably and atomically.
	Write([]byte) error
}

// The anchor is the counter in the clear and a record sealed under it, which holds the head's root.

func writeAnchor(a Anchor, s *sealer, h head) error {
	root := h.root()
	out := binary.BigEndian.AppendUint64(nil, h.counter)
	if err := a.Write(append(out, s.seal(nameAnchor, h.counter, root[:])...)); err != nil {
		return fmt.Errorf("%w: writing the anchor: %w", ErrUnavailable, err)
	}
	return nil
}

func readAnchor(a Anchor, s *sealer) (counter uint64, root []byte, err error) {
	b, err := a.Read()
	if err != nil {
		return 0, nil, fmt.Errorf("%w: reading the anchor: %w", ErrUnavailable, err)
	}
	if b == nil {
		return 0, nil, damaged(nameAnchor, "it is missing, so that an older copy of the store could not be noticed")
	}
	if len(b) < 8 {
		return 0, nil, damaged(nameAnchor, "it is damaged")
	}
	counter = binary.BigEndian.Uint64(b)
	root, err = s.open(nameAnchor, counter, b[8:])
	if err != nil {
		return 0, nil, damaged(nameAnchor, "it is damaged, or belongs to another store")
	}
	return counter, root, nil
}

// checkAnchor refuses a store that is behind its anchor. A store that is ahead was committed just before a crash: the
// anchor has to be raised.
func (k *Keystore) checkAnchor(s *snapshot) error {
	counter, root, err := readAnchor(k.config.Anchor, s.sealer)
	if err != nil {
		return err
	}
	current := s.head.root()
	switch {
	case s.head.counter < counter:
		return fmt.Errorf("%w (store at %d, anchor at %d)", ErrRolledBack, s.head.counter, counter)
	case s.head.counter == counter && !bytes.Equal(root, current[:]):
		return fmt.Errorf("%w (both at %d, with different contents)", ErrRolledBack, counter)
	}
	k.anchored = counter
	return nil
}

// raiseAnchor brings the anchor up to the current snapshot. The caller holds k.change, or is alone.
func (k *Keystore) raiseAnchor() error {
	s := k.current.Load()
	if k.anchored == s.head.counter {
		return nil
	}
	if err := writeAnchor(k.config.Anchor, s.sealer, s.head); err != nil {
		return err
	}
	k.anchored = s.head.counter
	return nil
}
