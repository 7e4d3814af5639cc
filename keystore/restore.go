package keystore

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

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
	// Frozen says that all signing was stopped when it was taken.
	Frozen  bool
	records map[string]Record
	opened  *snapshot
	root    RootKey
}

// OpenBackup reads a backup to its end and opens every record, as Verify does with a store; it changes nothing. It reads in twice: who made
// it is known before all of it is kept in memory. Of c it needs RecoveryKey or RootKey, Schemes and Compile. Errors: ErrWrongRootKey,
// ErrNoRecovery, ErrWrongRecoveryKey, ErrUnverified, ErrOtherVerifierKey, ErrDamaged, ErrForgedBackup, backup.ErrDamaged, backup.ErrNotBackup, and those of in.
func OpenBackup(ctx context.Context, c Config, in io.ReadSeeker) (*Restorable, error) {
	if err := c.vouching(); err != nil {
		return nil, fmt.Errorf("opening the backup: %w", err)
	}
	k := &Keystore{config: c}
	if err := k.checkMaker(ctx, in); err != nil {
		return nil, err
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading the backup: %w", err)
	}
	var list []Record
	m, seal, err := backup.Read(in, func(r backup.Record) error {
		list = append(list, Record(r))
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("reading the backup: %w", err)
	}
	s, err := k.read(ctx, list, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the backup: %w", err)
	}
	if err := c.vouch(s.signer); err != nil {
		return nil, fmt.Errorf("opening the backup: %w", err)
	}
	root := s.head.root()
	switch {
	case !seal.By(s.signer):
		return nil, ErrForgedBackup
	case m.StoreID != hex.EncodeToString(s.sealer.store[:]) || m.Counter != s.head.counter || m.Root != hex.EncodeToString(root[:]):
		return nil, fmt.Errorf("%w: its manifest says another state than its records", ErrForgedBackup)
	}
	return &Restorable{Manifest: m, Frozen: s.freeze.Frozen, records: byName(list), opened: s, root: s.root}, nil
}

// checkMaker reads a backup to its end, and checks that the store whose keyring is in it has signed it.
func (k *Keystore) checkMaker(ctx context.Context, in io.Reader) error {
	records := make(map[string]Record)
	_, seal, err := backup.ReadSome(in, func(name string) bool { return name == nameKeyring || name == nameAuditKey }, func(r backup.Record) error {
		records[r.Name] = Record(r)
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("reading the backup: %w", err)
	}
	ring, ok := records[nameKeyring]
	if !ok {
		return fmt.Errorf("opening the backup: %w", damaged(nameKeyring, "it is missing"))
	}
	keys, err := k.openKeyset(ctx, ring.Sealed)
	if err != nil {
		return fmt.Errorf("opening the backup: %w", err)
	}
	signer, err := openAuditKey(keys.sealer, records[nameAuditKey])
	if err != nil {
		return fmt.Errorf("opening the backup: %w", damaged(nameAuditKey, "%v", err))
	}
	if err := k.config.vouch(signer); err != nil {
		return fmt.Errorf("opening the backup: %w", err)
	}
	if !seal.By(signer) {
		return ErrForgedBackup
	}
	return nil
}

// RootKey is what opened the backup: RootKey or NextRootKey of OpenBackup's Config; nil where RecoveryKey did.
func (r *Restorable) RootKey() RootKey { return r.root }

// Restored says what is not as it was in the backup.
type Restored struct {
	// VerifierKey is that of the new store's AuditSigner.
	VerifierKey string
	// Postponed counts the versions whose destruction was due, or soon: it is now as far off as the least that can be asked for.
	Postponed int
}

// Restore makes a store and its anchor of the backup, in c, whose store must be empty; c.RecoveryKey is not looked at. The keys and the policy are those of the backup, with
// their generations. The store is another one all the same: with an id, a data key, a key of the audit log and an empty log of its own,
// and a counter that is greater by one. So the store that the backup is of, its anchor and its log never pass for those of this one,
// or these for those. One transaction writes the store, and the anchor comes after: a Restore that was interrupted between them is
// completed by the next one of the same backup. frozen has all signing stopped until Unfreeze. Errors: ErrInitialized, ErrAnchored, ErrUnavailable.
func (r *Restorable) Restore(ctx context.Context, c Config, frozen bool) (Restored, error) {
	c.RecoveryKey = nil
	present, _, err := c.Store.Load(ctx)
	if err != nil {
		return Restored{}, fmt.Errorf("%w: reading it: %w", ErrUnavailable, err)
	}
	anchored, err := c.Anchor.Exists()
	switch {
	case err != nil:
		return Restored{}, fmt.Errorf("%w: reading the anchor: %w", ErrUnavailable, err)
	case len(present) > 0 && !anchored:
		return r.complete(ctx, c, present, frozen)
	case len(present) > 0:
		return Restored{}, ErrInitialized
	case anchored:
		return Restored{}, ErrAnchored
	}
	records, s, postponed, err := r.reseal(ctx, c, frozen)
	if err != nil {
		return Restored{}, fmt.Errorf("sealing what is restored: %w", err)
	}
	if err := commitInit(ctx, c, records); err != nil {
		return Restored{}, err
	}
	return Restored{VerifierKey: s.signer.VerifierKey(), Postponed: postponed}, writeAnchor(c.Anchor, s.signer, s.head)
}

// complete writes the anchor of a store that was restored from the same backup, and never changed.
func (r *Restorable) complete(ctx context.Context, c Config, present []Record, frozen bool) (Restored, error) {
	s, err := (&Keystore{config: c}).read(ctx, present, 0)
	if err != nil {
		return Restored{}, err
	}
	from := s.head.restored
	if from == nil || s.head.counter != from.Counter || s.audit.generation != firstCounter ||
		!bytes.Equal(from.FromStore, r.opened.sealer.store[:]) || from.FromCounter != r.opened.head.counter {
		return Restored{}, ErrInitialized
	}
	if frozen && !s.freeze.Frozen {
		return Restored{}, fmt.Errorf("%w, by a restore that did not stop signing", ErrInitialized)
	}
	out := Restored{VerifierKey: s.signer.VerifierKey()}
	for name, key := range s.keys {
		if before := r.opened.keys[name]; before != nil {
			out.Postponed += postponed(before, key)
		}
	}
	return out, writeAnchor(c.Anchor, s.signer, s.head)
}

// postponed counts the versions that have another time of destruction.
func postponed(before, after *Key) (n int) {
	for i, v := range after.versions {
		if i < len(before.versions) && !v.DestroyTime.Equal(before.versions[i].DestroyTime) {
			n++
		}
	}
	return n
}

// reseal seals the records of the backup for another store, and makes those that every store has of its own.
func (r *Restorable) reseal(ctx context.Context, c Config, frozen bool) (_ []Record, _ *snapshot, postponed int, err error) {
	ring := newKeyring()
	s, err := newSealer(ring)
	if err != nil {
		return nil, nil, 0, err
	}
	from := r.opened
	counter := from.head.counter + 1
	wrapped, err := ring.wrap(ctx, c)
	if err != nil {
		return nil, nil, 0, err
	}
	signer, auditKey, err := newAuditKey(s)
	if err != nil {
		return nil, nil, 0, err
	}
	listed := []Record{{nameKeyring, counter, wrapped}, auditKey}
	own := []string{nameHead, nameKeyring, nameAuditKey, nameAudit, nameUsage}
	if frozen {
		freeze, err := encode(freezeRecord{recordFormat, true, "restored from a backup", c.now(), "signerd restore"})
		if err != nil {
			return nil, nil, 0, err
		}
		listed = append(listed, Record{nameFreeze, counter, s.seal(nameFreeze, counter, freeze)})
		own = append(own, nameFreeze)
	}
	for name, old := range r.records {
		if slices.Contains(own, name) {
			continue // each store has its own; of uses after the backup nothing is known
		}
		plaintext, err := from.sealer.open(name, old.Generation, old.Sealed)
		if err != nil {
			return nil, nil, 0, damaged(name, "it does not open again")
		}
		if strings.HasPrefix(name, prefixKey) {
			n := 0
			if plaintext, n, err = postpone(plaintext, c.now()); err != nil {
				return nil, nil, 0, damaged(name, "%v", err)
			}
			postponed += n
		}
		listed = append(listed, Record{name, old.Generation, s.seal(name, old.Generation, plaintext)})
		clear(plaintext)
	}
	h := head{counter: from.head.counter}.with(listed)
	h.restored = &restoredContent{Counter: h.counter, FromStore: from.sealer.store[:], FromCounter: from.head.counter}
	sealed, err := sealHead(s, h)
	if err != nil {
		return nil, nil, 0, err
	}
	return append(listed, sealed, sealAuditState(s, firstCounter, nil)), &snapshot{head: h, keyset: keyset{sealer: s}, signer: signer}, postponed, nil
}

// postpone gives a key whose destructions are no sooner than the least that can be asked for: what is restored was missed by somebody,
// who gets the time to take them back. It consumes plaintext.
func postpone(plaintext []byte, now time.Time) (_ []byte, postponed int, err error) {
	rec, err := decodeKeyRecord(plaintext)
	if err != nil {
		return nil, 0, err
	}
	defer rec.wipe()
	least := now.Add(leastDestroyAfter(rec.Environment))
	for i := range rec.Versions {
		if v := &rec.Versions[i]; v.State != Destroyed && !v.DestroyTime.IsZero() && v.DestroyTime.Before(least) {
			v.DestroyTime = least
			postponed++
		}
	}
	if postponed == 0 {
		return plaintext, 0, nil
	}
	clear(plaintext)
	plaintext, err = encode(rec)
	return plaintext, postponed, err
}
