package rootkey

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Providers elsewhere encrypt little (KMS plugins less than a kilobyte), and need not see the keyring: they encrypt a key that is made
// for one wrapping, and that key seals the keyring.

// keyElsewhere is a provider that encrypts and decrypts such keys.
type keyElsewhere interface {
	encrypt(ctx context.Context, key []byte) (encryptedKey, error)
	decrypt(ctx context.Context, key encryptedKey) ([]byte, error)
}

// encryptedKey is what the provider made of a key, and what it wants back with it.
type encryptedKey struct {
	KeyID       string            `json:"key_id,omitempty"`
	Annotations map[string][]byte `json:"annotations,omitempty"`
	Ciphertext  []byte            `json:"ciphertext"`
}

type envelope struct {
	Format int          `json:"format"`
	Key    encryptedKey `json:"key"`
	Sealed []byte       `json:"sealed"`
}

const (
	envelopeFormat   = 1
	maxEnvelopeBytes = 1 << 20
)

var errEnvelope = errors.New("the wrapped keyring cannot be read, or was wrapped by another kind of root key")

// binding binds a keyring to everything beside it.
func (k encryptedKey) binding() ([]byte, error) {
	b, err := json.Marshal(k)
	return append(append([]byte(nil), wrapBinding...), b...), err
}

// shows says whether what is kept beside the keyring would open it: in bytes, or in the base64 that providers are sent.
func (k encryptedKey) shows(key []byte) bool {
	coded := []byte(base64.StdEncoding.EncodeToString(key))
	in := func(b []byte) bool { return bytes.Contains(b, key) || bytes.Contains(b, coded) }
	return in(k.Ciphertext) || in([]byte(k.KeyID)) || slices.ContainsFunc(slices.Collect(maps.Values(k.Annotations)), in)
}

// wrapElsewhere does not return before the provider has shown that it gives the key back.
func wrapElsewhere(ctx context.Context, provider keyElsewhere, plaintext []byte) ([]byte, error) {
	key := make([]byte, keySize)
	_, _ = rand.Read(key)
	defer clear(key)
	encrypted, err := provider.encrypt(ctx, key)
	if err != nil {
		return nil, err
	}
	if encrypted.shows(key) {
		return nil, errors.New("the provider does not encrypt: what it answers holds what it was given")
	}
	again, err := provider.decrypt(ctx, encrypted)
	defer clear(again)
	if err != nil {
		return nil, fmt.Errorf("decrypting again what was just encrypted: %w", err)
	}
	if !bytes.Equal(key, again) {
		return nil, errors.New("the provider does not give back what it encrypted")
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	binding, err := encrypted.binding()
	if err != nil {
		return nil, err
	}
	return json.Marshal(envelope{envelopeFormat, encrypted, aead.Seal(nil, nil, plaintext, binding)})
}

func unwrapElsewhere(ctx context.Context, provider keyElsewhere, wrapped []byte) ([]byte, error) {
	e, err := parseEnvelope(wrapped)
	if err != nil {
		return nil, err
	}
	key, err := provider.decrypt(ctx, e.Key)
	defer clear(key)
	if err != nil {
		return nil, err
	}
	if len(key) != keySize {
		return nil, errNotOpened
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	binding, err := e.Key.binding()
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(nil, nil, e.Sealed, binding)
	if err != nil {
		return nil, errNotOpened
	}
	return plaintext, nil
}

// parseEnvelope accepts what wrapElsewhere writes, and no other spelling of it.
func parseEnvelope(wrapped []byte) (envelope, error) {
	var e envelope
	if len(wrapped) > maxEnvelopeBytes || json.Unmarshal(wrapped, &e) != nil || e.Format != envelopeFormat || len(e.Key.Ciphertext) == 0 {
		return envelope{}, errEnvelope
	}
	if again, err := json.Marshal(e); err != nil || !bytes.Equal(again, wrapped) {
		return envelope{}, errEnvelope
	}
	return e, nil
}
