package keystore

import (
	"context"
	"errors"
	"fmt"
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
)

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
// to c.Recovery, in one transaction with the head. The data keys stay: where the root key was not lost but stolen, they have to be
// changed too. Errors as Open, and ErrNoRecovery, ErrWrongRecoveryKey.
func Recover(ctx context.Context, c Config) error {
	k := &Keystore{config: c}
	s, err := k.load(ctx)
	if err != nil {
		return err
	}
	if err := k.checkAnchor(s); err != nil {
		return err
	}
	k.current.Store(s)
	if err := k.changing(ctx, func(s *snapshot) error { return k.rewrap(ctx, s) }); err != nil {
		return err
	}
	// Where it fails, the next Open does it.
	_ = k.compactReplaced(ctx)
	return nil
}

// refreshRecovery wraps the keyring to the recovery key that is configured, or to none, unless it is so already.
func (k *Keystore) refreshRecovery(ctx context.Context) error {
	return k.changing(ctx, func(s *snapshot) error {
		var rec keyringRecord
		if err := decode(s.wrapped, &rec); err != nil {
			return damaged(nameKeyring, "it cannot be read")
		}
		want := ""
		if k.config.Recovery != nil {
			want = k.config.Recovery.ID()
		}
		if rec.RecoveryKeyID == want {
			return nil
		}
		return k.rewrap(ctx, s)
	})
}

// rewrap commits the same keyring, wrapped anew. The old wrapping opens it as well: the store is to be compacted.
func (k *Keystore) rewrap(ctx context.Context, s *snapshot) error {
	ring, err := unwrapKeyring(ctx, k.config, s.wrapped)
	if err != nil {
		return err
	}
	wrapped, err := ring.wrap(ctx, k.config)
	if err != nil {
		return err
	}
	record := Record{nameKeyring, s.head.counter + 1, wrapped}
	h := k.nextHead(s, record)
	h.uncompacted = h.counter
	return k.commitRecord(ctx, s, record, h, func(n *snapshot) { n.wrapped = wrapped })
}
