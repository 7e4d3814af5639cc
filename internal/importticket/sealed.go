package importticket

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
)

// materialBody is all secrets of one key, as they are sealed.
type materialBody struct {
	Format   int               `json:"format"`
	Material map[string][]byte `json:"material"`
}

// Seal makes a file of all parts of a key that only the maker of the ticket can open, once. A sealed file is one PEM block: the
// format, one byte; the ticket's id, 16 bytes; and what hpke.Seal gives. Errors: ErrNotAllowed, and another for what is too much.
func Seal(t Ticket, material map[string][]byte) (file []byte, err error) {
	plaintext, err := json.Marshal(materialBody{format, material})
	if err != nil {
		return nil, fmt.Errorf("encoding what is to be sealed: %w", err)
	}
	defer clear(plaintext)
	if len(plaintext) > MaxMaterialBytes {
		return nil, errors.New("it is too much for one sealed file")
	}
	var sealed []byte
	err = allowed(func() error {
		public, err := hpke.DHKEM(ecdh.P384()).NewPublicKey(t.PublicKey)
		if err != nil {
			return err
		}
		sealed, err = hpke.Seal(public, hpke.HKDFSHA384(), hpke.AES256GCM(), t.Info(), plaintext)
		return err
	})
	if err != nil {
		return nil, err
	}
	body := append(append([]byte{format}, t.ID[:]...), sealed...)
	return pem.EncodeToMemory(&pem.Block{Type: typeSealed, Bytes: body}), nil
}

// For says which ticket a file was sealed for. Errors: ErrSealed.
func For(file []byte) (ID, error) {
	id, _, err := split(file)
	return id, err
}

func split(file []byte) (ID, []byte, error) {
	body, err := block(file, MaxSealedBytes, typeSealed)
	if err != nil || len(body) < 1+idSize+pointSize || body[0] != format {
		return ID{}, nil, ErrSealed
	}
	return ID(body[1 : 1+idSize]), body[1+idSize:], nil
}

// Open gives the parts of a key that were sealed for the ticket; Wipe them. Errors: ErrSealed.
func Open(t Ticket, private hpke.PrivateKey, file []byte) (map[string][]byte, error) {
	id, sealed, err := split(file)
	if err != nil || id != t.ID {
		return nil, ErrSealed
	}
	plaintext, err := hpke.Open(private, hpke.HKDFSHA384(), hpke.AES256GCM(), t.Info(), sealed)
	if err != nil {
		return nil, ErrSealed
	}
	defer clear(plaintext)
	var b materialBody
	if err := decode(plaintext, &b); err != nil || b.Format != format || len(b.Material) == 0 {
		Wipe(b.Material)
		return nil, ErrSealed
	}
	return b.Material, nil
}
