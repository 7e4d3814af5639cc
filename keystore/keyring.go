package keystore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/signerd/signerd/internal/secret"
)

// RootKey wraps the keyring. Providers are in internal/rootkey; a cloud KMS or an HSM fits as well. Safe for
// concurrent use.
type RootKey interface {
	// ID names the key without telling anything about it: at most 255 bytes. It never changes.
	ID() string
	// Wrap encrypts and authenticates up to 64 KiB.
	Wrap(ctx context.Context, plaintext []byte) ([]byte, error)
	// Unwrap reverses Wrap; the plaintext is the caller's to wipe. An error may have the methods of rootKeyFault; any other says
	// that what was wrapped is damaged. Errors hold no secret.
	Unwrap(ctx context.Context, wrapped []byte) ([]byte, error)
}

// ErrWrongRootKey says that the store was made with another root key.
var ErrWrongRootKey = errors.New("this root key does not open the store: it was made with another one")

// ErrRootKeyUnavailable says that whoever has the root key cannot be asked, or does not answer: the same may work later.
var ErrRootKeyUnavailable = errors.New("the root key is not available")

// ErrUnfitRootKey says that a root key that is to be taken into use does not unwrap what it wrapped.
var ErrUnfitRootKey = errors.New("the root key does not unwrap what it wrapped")

// rootKeyFault is an error of a RootKey that knows more than that something does not unwrap.
type rootKeyFault interface {
	error
	// Unavailable says that nobody could be asked.
	Unavailable() bool
	// WrongKey says that it was wrapped with a key that is not this one.
	WrongKey() bool
}

// rootKeyError marks what a RootKey's error says of itself.
func rootKeyError(ctx context.Context, err error) error {
	var fault rootKeyFault
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrRootKeyUnavailable, ctx.Err())
	case errors.As(err, &fault) && fault.Unavailable():
		return fmt.Errorf("%w: %w", ErrRootKeyUnavailable, err)
	case errors.As(err, &fault) && fault.WrongKey():
		return fmt.Errorf("%w: %w", ErrWrongRootKey, err)
	}
	return nil
}

// keyring holds the data keys, and says which store they belong to.
type keyring struct {
	store  storeID
	active uint32
	keys   map[uint32]secret.Bytes
}

func newKeyring() keyring {
	r := keyring{active: 1, keys: make(map[uint32]secret.Bytes)}
	// crypto/rand never returns an error: it ends the program instead.
	_, _ = rand.Read(r.store[:])
	key := make([]byte, dataKeySize)
	_, _ = rand.Read(key)
	r.keys[r.active] = secret.New(key)
	return r
}

// keyringRecord is what is stored: the root key's name in the clear, so that a wrong root key and a damaged record are
// told apart, and the rest wrapped.
type keyringRecord struct {
	Format    int    `json:"format"`
	RootKeyID string `json:"root_key_id"`
	Wrapped   []byte `json:"wrapped"`
	// RecoveryKeyID and Recovery are the same for the recovery key; empty where there is none.
	RecoveryKeyID string `json:"recovery_key_id,omitempty"`
	Recovery      []byte `json:"recovery,omitempty"`
}

// keyringContent is what is wrapped.
type keyringContent struct {
	StoreID  []byte           `json:"store_id"`
	Active   uint32           `json:"active"`
	DataKeys []dataKeyContent `json:"data_keys"`
}

type dataKeyContent struct {
	ID  uint32 `json:"id"`
	Key []byte `json:"key"`
}

// wrap wraps the keyring with the root key, and to the recovery key where there is one.
func (r keyring) wrap(ctx context.Context, c Config) ([]byte, error) {
	content := keyringContent{StoreID: r.store[:], Active: r.active}
	for id, key := range r.keys {
		content.DataKeys = append(content.DataKeys, dataKeyContent{id, key.Reveal()})
	}
	plaintext, err := encode(content)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	rec := keyringRecord{Format: recordFormat, RootKeyID: c.RootKey.ID()}
	if rec.Wrapped, err = c.RootKey.Wrap(ctx, plaintext); err != nil {
		if known := rootKeyError(ctx, err); known != nil {
			err = known
		}
		return nil, fmt.Errorf("wrapping the keyring with root key %s: %w", rec.RootKeyID, err)
	}
	if c.Recovery != nil {
		rec.RecoveryKeyID = c.Recovery.ID()
		if rec.Recovery, err = c.Recovery.Wrap(ctx, plaintext); err != nil {
			return nil, fmt.Errorf("wrapping the keyring to recovery key %s: %w", rec.RecoveryKeyID, err)
		}
	}
	return encode(rec)
}

// unwrapKeyring opens the keyring with the recovery key, if there is one, and otherwise with the root key.
func unwrapKeyring(ctx context.Context, c Config, stored []byte) (keyring, error) {
	var rec keyringRecord
	if err := decode(stored, &rec); err != nil || rec.Format != recordFormat {
		return keyring{}, damaged(nameKeyring, "it cannot be read")
	}
	if c.RecoveryKey != nil {
		return rec.recover(ctx, c.RecoveryKey)
	}
	root := c.RootKey
	plaintext, err := root.Unwrap(ctx, rec.Wrapped)
	defer clear(plaintext)
	if err != nil {
		if known := rootKeyError(ctx, err); known != nil {
			return keyring{}, known
		}
	}
	switch {
	case err != nil && rec.RootKeyID != root.ID():
		return keyring{}, fmt.Errorf("%w (record %q wants %q, this is %q)", ErrWrongRootKey, nameKeyring, rec.RootKeyID, root.ID())
	case err != nil:
		return keyring{}, damaged(nameKeyring, "root key %s does not open it: %v", root.ID(), err)
	case rec.RootKeyID != root.ID():
		return keyring{}, damaged(nameKeyring, "it names another root key than the one that opens it")
	}
	return readKeyring(plaintext)
}

// readKeyring reads what was wrapped.
func readKeyring(plaintext []byte) (keyring, error) {
	var content keyringContent
	if err := decode(plaintext, &content); err != nil || len(content.StoreID) != storeIDSize {
		return keyring{}, damaged(nameKeyring, "what was wrapped cannot be read")
	}
	r := keyring{store: storeID(content.StoreID), active: content.Active, keys: make(map[uint32]secret.Bytes)}
	for _, k := range content.DataKeys {
		r.keys[k.ID] = secret.New(k.Key)
	}
	return r, nil
}
