package keystore

import (
	"context"
	"errors"
	"fmt"

	"github.com/signerd/signerd/internal/checkpoint"
)

// RecoveryPublic wraps the keyring to a recovery key, whose private half is offline. Safe for concurrent use.
type RecoveryPublic interface {
	// ID names the recovery key: at most 255 bytes.
	ID() string
	// Wrap encrypts up to 64 KiB.
	Wrap(ctx context.Context, plaintext []byte) ([]byte, error)
}

// RecoveryKey is the private half.
type RecoveryKey interface {
	// ID is that of the public half.
	ID() string
	// Unwrap reverses Wrap of the public half; the plaintext is the caller's to wipe.
	Unwrap(ctx context.Context, wrapped []byte) ([]byte, error)
}

var (
	// ErrNoRecovery says that the keyring is wrapped to no recovery key.
	ErrNoRecovery = errors.New("the keyring is not wrapped to a recovery key")
	// ErrWrongRecoveryKey says that the keyring is wrapped to another recovery key.
	ErrWrongRecoveryKey = errors.New("this recovery key does not open the keyring: it is wrapped to another one")
	// ErrUnverified says that a recovery key alone shows not that a store or a backup is the one it passes for.
	ErrUnverified = errors.New("whoever has the public half of the recovery key could have made it: it has to be held against a verifier key")
	// ErrOtherVerifierKey says that a store, or a backup, is another one than the verifier key is of.
	ErrOtherVerifierKey = errors.New("it is not of the store whose verifier key this is")
)

// vouching fails where nothing would show which store it is that the recovery key opens.
func (c Config) vouching() error {
	if c.RecoveryKey != nil && c.VerifierKey == "" && !c.Unverified {
		return ErrUnverified
	}
	return nil
}

// vouch holds the store's own key against the verifier key. Only whoever had the store open has that key, which is sealed in it.
func (c Config) vouch(signer *checkpoint.Signer) error {
	if c.VerifierKey != "" && signer.VerifierKey() != c.VerifierKey {
		return ErrOtherVerifierKey
	}
	return nil
}

// verified loads a store that is to be recovered or looked at, and checks all of it.
func verified(ctx context.Context, c Config) (*Keystore, *snapshot, error) {
	if err := c.vouching(); err != nil {
		return nil, nil, err
	}
	k := &Keystore{config: c}
	s, err := k.load(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := c.vouch(s.signer); err != nil {
		return nil, nil, err
	}
	return k, s, k.checkAnchor(s)
}

// recover opens the keyring with the recovery key.
func (r keyringRecord) recover(ctx context.Context, key RecoveryKey) (keyring, error) {
	if len(r.Recovery) == 0 {
		return keyring{}, ErrNoRecovery
	}
	plaintext, err := key.Unwrap(ctx, r.Recovery)
	defer clear(plaintext)
	switch {
	case err != nil && r.RecoveryKeyID != key.ID():
		return keyring{}, fmt.Errorf("%w (record %q wants %q, this is %q)", ErrWrongRecoveryKey, nameKeyring, r.RecoveryKeyID, key.ID())
	case err != nil:
		return keyring{}, damaged(nameKeyring, "recovery key %s does not open it", key.ID())
	}
	return readKeyring(plaintext)
}

// Recover opens a store with c.RecoveryKey instead of its root key, checks all that Open does, and wraps the keyring with c.RootKey and
// to c.Recovery, in one transaction with the head. Then it seals every record anew, so that the root key that was lost opens nothing
// in the store, should it have been stolen. It refuses to leave the keyring wrapped to no recovery key (ErrNoRecovery). Errors as Open
// and RotateRootKey, and ErrNoRecovery, ErrWrongRecoveryKey, ErrUnverified, ErrOtherVerifierKey. It can be run again after any of them.
func Recover(ctx context.Context, c Config) error {
	if c.Recovery == nil {
		return fmt.Errorf("recovering would leave the store without one: %w", ErrNoRecovery)
	}
	k, s, err := verified(ctx, c)
	if err != nil {
		return err
	}
	k.current.Store(s)
	if err := k.changing(ctx, func(s *snapshot) error { return k.rewrap(ctx, s) }); err != nil {
		return err
	}
	k.config.RecoveryKey = nil // what is written from here on opens with the root key
	if err := k.rotate(ctx, nil, func(int, int) {}); err != nil {
		return err
	}
	// Where it fails, the next Open does it.
	_ = k.compactReplaced(ctx)
	return nil
}

// recoveryKeyID is what a stored keyring is wrapped to; empty for nothing, and for what cannot be read.
func recoveryKeyID(stored []byte) string {
	var rec keyringRecord
	if err := decode(stored, &rec); err != nil {
		return ""
	}
	return rec.RecoveryKeyID
}

// refreshRecovery wraps the keyring to the recovery key that is configured, or to none, unless it is so already. The data key that a
// recovery key before could open goes out of use, and out of the file once that is compacted.
func (k *Keystore) refreshRecovery(ctx context.Context) error {
	want := ""
	if k.config.Recovery != nil {
		want = k.config.Recovery.ID()
	}
	before := recoveryKeyID(k.current.Load().wrapped)
	if before == want {
		return nil
	}
	k.recoveryBefore, k.recoveryReplaced = before, true
	if before != "" {
		return k.rotate(ctx, nil, func(int, int) {})
	}
	return k.changing(ctx, func(s *snapshot) error { return k.rewrap(ctx, s) })
}

// RecoveryReplaced tells that Open found the keyring wrapped to another recovery key than the configured one, and wrapped it to that;
// before is the id of the other, empty for none.
func (k *Keystore) RecoveryReplaced() (before string, replaced bool) {
	return k.recoveryBefore, k.recoveryReplaced
}

// rewrap commits the same keyring, wrapped anew. The old wrapping opens it as well: the store is to be compacted.
func (k *Keystore) rewrap(ctx context.Context, s *snapshot) error {
	c := k.config
	c.RootKey = s.root
	ring, err := unwrapKeyring(ctx, c, s.wrapped)
	if err != nil {
		return err
	}
	wrapped, err := ring.wrap(ctx, c)
	if err != nil {
		return err
	}
	record := Record{nameKeyring, s.head.counter + 1, wrapped}
	h := k.nextHead(s, record)
	h.uncompacted = h.counter
	return k.commitRecord(ctx, s, record, h, func(n *snapshot) { n.wrapped = wrapped })
}
