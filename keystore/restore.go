package keystore

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/signerd/signerd/internal/backup"
)

var (
	// ErrForgedBackup says that a backup is whole, but was not made by the store that it says it is of.
	ErrForgedBackup = errors.New("the backup was not made by the store that it is of")
	// ErrAnchored says that there is an anchor where a store is to be restored.
	ErrAnchored = errors.New("there is an anchor already, of another store")
)

// Restorable is a backup that was read, opened and checked whole. It is good for one Restore.
type Restorable struct {
	// Manifest is what the backup says of itself, and what was found to be so.
	Manifest backup.Manifest
	records  map[string]Record
	opened   *snapshot
}

// OpenBackup reads a backup to its end and opens every record, as Verify does with a store; it changes nothing. Of c it needs
// RecoveryKey or RootKey, Schemes and Compile. Errors: ErrWrongRootKey, ErrNoRecovery, ErrWrongRecoveryKey, ErrDamaged, ErrForgedBackup, backup.ErrDamaged, backup.ErrNotBackup, and those of in.
func OpenBackup(ctx context.Context, c Config, in io.Reader) (*Restorable, error) {
	var list []Record
	m, seal, err := backup.Read(in, func(r backup.Record) error {
		list = append(list, Record(r))
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("reading the backup: %w", err)
	}
	k := &Keystore{config: c}
	s, err := k.read(ctx, list, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the backup: %w", err)
	}
	root := s.head.root()
	switch {
	case !seal.By(s.signer):
		return nil, ErrForgedBackup
	case m.StoreID != hex.EncodeToString(s.sealer.store[:]) || m.Counter != s.head.counter || m.Root != hex.EncodeToString(root[:]):
		return nil, fmt.Errorf("%w: its manifest says another state than its records", ErrForgedBackup)
	}
	return &Restorable{Manifest: m, records: byName(list), opened: s}, nil
}

// Restore makes a store and its anchor of the backup, in c, whose store must be empty; c.RecoveryKey is not looked at. The keys and the policy are those of the backup, with
// their generations. The store is another one all the same: with an id, a data key, a key of the audit log and an empty log of its own,
// and a counter that is greater by one. So the store that the backup is of, its anchor and its log never pass for those of this one,
// or these for those. One transaction writes the store, and the anchor comes after: a Restore that was interrupted between them is
// completed by the next one of the same backup. Errors: ErrInitialized, ErrAnchored, ErrUnavailable.
func (r *Restorable) Restore(ctx context.Context, c Config) error {
	c.RecoveryKey = nil
	present, _, err := c.Store.Load(ctx)
	if err != nil {
		return fmt.Errorf("%w: reading it: %w", ErrUnavailable, err)
	}
	anchored, err := c.Anchor.Exists()
	switch {
	case err != nil:
		return fmt.Errorf("%w: reading the anchor: %w", ErrUnavailable, err)
	case len(present) > 0 && !anchored:
		return r.complete(ctx, c, present)
	case len(present) > 0:
		return ErrInitialized
	case anchored:
		return ErrAnchored
	}
	records, s, err := r.reseal(ctx, c)
	if err != nil {
		return fmt.Errorf("sealing what is restored: %w", err)
	}
	if err := commitInit(ctx, c, records); err != nil {
		return err
	}
	return writeAnchor(c.Anchor, s.signer, s.head)
}

// complete writes the anchor of a store that was restored from the same backup, and never changed.
func (r *Restorable) complete(ctx context.Context, c Config, present []Record) error {
	s, err := (&Keystore{config: c}).read(ctx, present, 0)
	if err != nil {
		return err
	}
	from := s.head.restored
	if from == nil || s.head.counter != from.Counter || s.audit.generation != firstCounter ||
		!bytes.Equal(from.FromStore, r.opened.sealer.store[:]) || from.FromCounter != r.opened.head.counter {
		return ErrInitialized
	}
	return writeAnchor(c.Anchor, s.signer, s.head)
}

// reseal seals the records of the backup for another store, and makes those that every store has of its own.
func (r *Restorable) reseal(ctx context.Context, c Config) ([]Record, *snapshot, error) {
	ring := newKeyring()
	s, err := newSealer(ring)
	if err != nil {
		return nil, nil, err
	}
	from := r.opened
	counter := from.head.counter + 1
	wrapped, err := ring.wrap(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	signer, auditKey, err := newAuditKey(s)
	if err != nil {
		return nil, nil, err
	}
	listed := []Record{{nameKeyring, counter, wrapped}, auditKey}
	for name, old := range r.records {
		if slices.Contains([]string{nameHead, nameKeyring, nameAuditKey, nameAudit, nameUsage}, name) {
			continue // each store has its own; of uses after the backup nothing is known
		}
		plaintext, err := from.sealer.open(name, old.Generation, old.Sealed)
		if err != nil {
			return nil, nil, damaged(name, "it does not open again")
		}
		listed = append(listed, Record{name, old.Generation, s.seal(name, old.Generation, plaintext)})
		clear(plaintext)
	}
	h := head{counter: from.head.counter}.with(listed)
	h.restored = &restoredContent{Counter: h.counter, FromStore: from.sealer.store[:], FromCounter: from.head.counter}
	sealed, err := sealHead(s, h)
	if err != nil {
		return nil, nil, err
	}
	return append(listed, sealed, sealAuditState(s, firstCounter, nil)), &snapshot{head: h, sealer: s, signer: signer}, nil
}
