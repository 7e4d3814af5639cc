package rootkey

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// wrapBinding keeps what was sealed for something else from being taken for a keyring.
var wrapBinding = []byte("signerd keyring")

// errNotOpened says all that AES-GCM tells.
var errNotOpened = errors.New("the wrapped keyring was changed, or wrapped with another key")

// local is a root key that is in this process. It is immutable and safe for concurrent use.
type local struct {
	id   string
	aead cipher.AEAD
}

// newLocal makes a root key of keySize bytes, which stay the caller's to wipe.
func newLocal(provider string, key []byte) (local, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return local{}, err
	}
	sum := sha256.Sum256(append([]byte("signerd root key id\x00"), key...))
	return local{id: provider + ":" + hex.EncodeToString(sum[:8]), aead: aead}, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("a root key of %d bytes: %w", len(key), err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// ID implements keystore.RootKey: a hash of the key, from which it cannot be found otherwise than by trying keys, as from what it
// wrapped.
func (l local) ID() string { return l.id }

// Wrap implements keystore.RootKey.
func (l local) Wrap(ctx context.Context, plaintext []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return l.aead.Seal(nil, nil, plaintext, wrapBinding), nil
}

// Unwrap implements keystore.RootKey.
func (l local) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	plaintext, err := l.aead.Open(nil, nil, wrapped, wrapBinding)
	if err != nil {
		return nil, errNotOpened
	}
	return plaintext, nil
}
