package keystore

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/signerd/signerd/internal/checkpoint"
	"github.com/signerd/signerd/internal/secret"
)

// MaxAuditStateBytes bounds what the audit log keeps in the store.
const MaxAuditStateBytes = 1 << 20

// originPrefix begins the audit log's name in its checkpoints; the store's id ends it.
const originPrefix = "signerd/"

// auditState is the record of the audit log's own state. It is not in the head and does not raise the store's counter: it is
// written up to once a second, and the head grows with the keys. So an older one, put back, is not noticed here. What it can
// be held against is in the log and in the anchor.
type auditState struct {
	generation uint64
	state      []byte
}

// AuditSigner signs the audit log's checkpoints, the anchor among them. Its name, the log's origin, is "signerd/" and the
// store's id in hexadecimal. It is the same for as long as the store lives, and never nil.
func (k *Keystore) AuditSigner() *checkpoint.Signer { return k.current.Load().signer }

// StoreState is what the audit log's checkpoints say of the store: its change counter, and a hash over all its records.
func (k *Keystore) StoreState() checkpoint.Store { return k.current.Load().head.state() }

// AuditState is a copy of what SetAuditState stored last; empty in a new store. In a shared store it may be behind until the
// next change or Follow.
func (k *Keystore) AuditState() []byte { return bytes.Clone(k.current.Load().audit.state) }

// SetAuditState replaces the audit log's state, and then writes the anchor, whether the store's counter moved or not. It
// changes nothing else: no counter, no head. Where processes share a store, the last to write wins: what another one stored
// meanwhile is replaced, not an error. Errors: ErrConflict when others were faster time after time, ErrUnavailable, and
// another for a state of more than MaxAuditStateBytes. After ErrUnavailable the state may have been stored or not.
func (k *Keystore) SetAuditState(ctx context.Context, state []byte) error {
	if len(state) > MaxAuditStateBytes {
		return fmt.Errorf("a state of the audit log of %d bytes: at most %d can be stored", len(state), MaxAuditStateBytes)
	}
	state = bytes.Clone(state)
	return k.changing(ctx, func(s *snapshot) error { return k.commitAuditState(ctx, s, state) })
}

func (k *Keystore) commitAuditState(ctx context.Context, s *snapshot, state []byte) error {
	record := sealAuditState(s.sealer, s.audit.generation+1, state)
	revision, err := k.put(ctx, Change{Record: record, Expect: s.audit.generation})
	if err != nil {
		return err
	}
	n := *s
	n.revision, n.audit = s.after(revision), auditState{record.Generation, state}
	k.current.Store(&n)
	return k.rewriteAnchor()
}

func sealAuditState(s *sealer, generation uint64, state []byte) Record {
	return Record{nameAudit, generation, s.seal(nameAudit, generation, state)}
}

var errMissing = errors.New("it is missing")

func openAuditState(s *sealer, records map[string]Record) (auditState, error) {
	r, ok := records[nameAudit]
	if !ok {
		return auditState{}, errMissing
	}
	state, err := s.open(nameAudit, r.Generation, r.Sealed)
	if err != nil {
		return auditState{}, errors.New("it is damaged, or was moved here from another name or store")
	}
	return auditState{r.Generation, state}, nil
}

// follows reports whether a state may have come after old: an older one, or another of the same generation, never does.
func (a auditState) follows(old auditState) bool {
	return a.generation > old.generation || a.generation == old.generation && bytes.Equal(a.state, old.state)
}

// newAuditKey makes the audit log's key, and the record of it.
func newAuditKey(s *sealer) (*checkpoint.Signer, Record, error) {
	b := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(b)
	seed := secret.New(b)
	defer seed.Wipe()
	signer, err := newAuditSigner(s.store, seed)
	if err != nil {
		return nil, Record{}, err
	}
	plaintext, err := encode(auditKeyRecord{recordFormat, seed.Reveal()})
	if err != nil {
		return nil, Record{}, err
	}
	defer clear(plaintext)
	return signer, Record{nameAuditKey, firstCounter, s.seal(nameAuditKey, firstCounter, plaintext)}, nil
}

func openAuditKey(s *sealer, r Record) (*checkpoint.Signer, error) {
	plaintext, err := s.open(nameAuditKey, r.Generation, r.Sealed)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	seed, err := decodeAuditKeyRecord(plaintext)
	if err != nil {
		return nil, err
	}
	defer seed.Wipe()
	return newAuditSigner(s.store, seed)
}

func newAuditSigner(store storeID, seed secret.Bytes) (*checkpoint.Signer, error) {
	signer, err := checkpoint.NewSigner(originPrefix+hex.EncodeToString(store[:]), ed25519.NewKeyFromSeed(seed.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("making the signer of checkpoints: %w", err)
	}
	return signer, nil
}
