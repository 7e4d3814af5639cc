package keystore

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/signerd/signerd/internal/secret"
)

// A sealed record is
//
//	format (1 byte) | data key id (4 bytes) | nonce (12) | ciphertext | tag (16)
//
// with AES-256-GCM and a random nonce, bound to the store's id, the record's name and its generation: a record put
// under another name, into another store, or given another generation does not open.
const (
	sealFormat   = 1
	sealHeader   = 1 + 4
	sealOverhead = sealHeader + 12 + 16
	dataKeySize  = 32
	storeIDSize  = 16
)

// storeID tells stores apart; it is random and not secret.
type storeID [storeIDSize]byte

// errSeal says that a record does not open. Why, an attacker need not know and AES-GCM cannot tell.
var errSeal = errors.New("it does not open")

// sealer seals and opens records of one store. It is immutable and safe for concurrent use.
type sealer struct {
	store  storeID
	active uint32
	aeads  map[uint32]cipher.AEAD
}

func newSealer(r keyring) (*sealer, error) {
	s := &sealer{store: r.store, active: r.active, aeads: make(map[uint32]cipher.AEAD, len(r.keys))}
	for id, key := range r.keys {
		aead, err := newAEAD(key)
		if err != nil {
			return nil, fmt.Errorf("data key %d: %w", id, err)
		}
		s.aeads[id] = aead
	}
	if s.aeads[s.active] == nil {
		return nil, fmt.Errorf("the active data key %d is missing", s.active)
	}
	return s, nil
}

func newAEAD(key secret.Bytes) (cipher.AEAD, error) {
	if key.Len() != dataKeySize {
		return nil, fmt.Errorf("a data key has %d bytes, not %d", dataKeySize, key.Len())
	}
	block, err := aes.NewCipher(key.Reveal())
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (s *sealer) seal(name string, generation uint64, plaintext []byte) []byte {
	out := make([]byte, sealHeader, sealOverhead+len(plaintext))
	out[0] = sealFormat
	binary.BigEndian.PutUint32(out[1:], s.active)
	return s.aeads[s.active].Seal(out, nil, plaintext, s.binding(name, generation, out[:sealHeader]))
}

func (s *sealer) open(name string, generation uint64, sealed []byte) ([]byte, error) {
	if len(sealed) < sealOverhead || sealed[0] != sealFormat {
		return nil, errSeal
	}
	aead := s.aeads[binary.BigEndian.Uint32(sealed[1:])]
	if aead == nil {
		return nil, errSeal
	}
	plaintext, err := aead.Open(nil, nil, sealed[sealHeader:], s.binding(name, generation, sealed[:sealHeader]))
	if err != nil {
		return nil, errSeal
	}
	return plaintext, nil
}

// binding is the additional data: every field is of fixed length or has its length before it.
func (s *sealer) binding(name string, generation uint64, header []byte) []byte {
	out := append(make([]byte, 0, 64+len(name)), "signerd record\x00"...)
	out = append(out, header...)
	out = append(out, s.store[:]...)
	out = binary.BigEndian.AppendUint64(out, generation)
	out = binary.BigEndian.AppendUint32(out, uint32(len(name)))
	return append(out, name...)
}
