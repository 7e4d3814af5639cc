package keystore

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream"
)

// recordFormat is the format of everything that is sealed. A newer format gets a new number; old ones keep opening.
const recordFormat = 1

// keyRecord is a key as it is sealed, whole, with the material of all its versions.
type keyRecord struct {
	Format      int               `json:"format"`
	Name        string            `json:"name"`
	Scheme      string            `json:"scheme"`
	Environment string            `json:"environment"`
	Labels      map[string]string `json:"labels,omitempty"`
	Enabled     bool              `json:"enabled"`
	Active      uint32            `json:"active,omitempty"`
	NextVersion uint32            `json:"next_version"`
	CreateTime  time.Time         `json:"create_time"`
	UpdateTime  time.Time         `json:"update_time"`
	Versions    []versionRecord   `json:"versions"`
}

type versionRecord struct {
	Number      uint32            `json:"number"`
	State       State             `json:"state"`
	Algorithm   string            `json:"algorithm"`
	Fingerprint []byte            `json:"fingerprint"`
	CreateTime  time.Time         `json:"create_time"`
	Creator     string            `json:"creator"`
	Material    map[string][]byte `json:"material"`
	// DestroyTime is when the material is to be destroyed, or was.
	DestroyTime time.Time `json:"destroy_time,omitzero"`
	ExpireTime  time.Time `json:"expire_time,omitzero"`
}

// fenceRecord holds the key under which shared secrets are compared across environments.
type fenceRecord struct {
	Format int    `json:"format"`
	Pepper []byte `json:"pepper"`
}

// auditKeyRecord holds the Ed25519 seed of the key that signs the audit log's checkpoints.
type auditKeyRecord struct {
	Format int    `json:"format"`
	Seed   []byte `json:"seed"`
}

func (r *keyRecord) version(number uint32) *versionRecord {
	for i := range r.Versions {
		if r.Versions[i].Number == number {
			return &r.Versions[i]
		}
	}
	return nil
}

// wipe overwrites the material that decoding copied.
func (r *keyRecord) wipe() {
	for _, v := range r.Versions {
		for _, part := range v.Material {
			clear(part)
		}
	}
}

func (v versionRecord) material() upstream.Material {
	m := make(upstream.Material, len(v.Material))
	for part, b := range v.Material {
		m[part] = secret.Copy(b)
	}
	return m
}

func storedMaterial(m upstream.Material) map[string][]byte {
	out := make(map[string][]byte, len(m))
	for part, s := range m {
		out[part] = bytes.Clone(s.Reveal())
	}
	return out
}

// check holds a record against the rules that every write keeps.
func (r *keyRecord) check() error {
	switch {
	case r.Format != recordFormat:
		return fmt.Errorf("its format is %d; this program reads %d", r.Format, recordFormat)
	case !policy.ValidKeyName(r.Name):
		return errors.New("its name is malformed")
	case !upstream.Environment(r.Environment).Valid():
		return errors.New("its environment is neither sandbox nor prod")
	case len(r.Versions) == 0:
		return errors.New("it has no version")
	case r.Active != 0 && r.version(r.Active) == nil:
		return errors.New("its active version does not exist")
	case r.Active != 0 && r.version(r.Active).State == Pending:
		return errors.New("its active version is pending")
	}
	last := uint32(0)
	for _, v := range r.Versions {
		switch {
		case v.Number <= last || v.Number >= r.NextVersion:
			return errors.New("its version numbers are out of order")
		case v.State != Pending && v.State != Enabled && v.State != Disabled && v.State != Destroyed:
			return fmt.Errorf("version %d has an unknown state", v.Number)
		case v.State == Enabled && !v.DestroyTime.IsZero():
			return fmt.Errorf("version %d is ENABLED while its destruction is scheduled", v.Number)
		case v.State == Destroyed && (v.DestroyTime.IsZero() || len(v.Material) > 0):
			return fmt.Errorf("version %d is DESTROYED without a time, or has material", v.Number)
		case len(v.Fingerprint) != 32:
			return fmt.Errorf("version %d has no fingerprint", v.Number)
		}
		last = v.Number
	}
	return nil
}

func decodeKeyRecord(plaintext []byte) (keyRecord, error) {
	var r keyRecord
	if err := decode(plaintext, &r); err != nil {
		return keyRecord{}, err
	}
	if err := r.check(); err != nil {
		r.wipe()
		return keyRecord{}, err
	}
	return r, nil
}

func decodeFenceRecord(plaintext []byte) (secret.Bytes, error) {
	var r fenceRecord
	if err := decode(plaintext, &r); err != nil {
		return secret.Bytes{}, err
	}
	if r.Format != recordFormat || len(r.Pepper) != dataKeySize {
		return secret.Bytes{}, errors.New("it is malformed")
	}
	return secret.New(r.Pepper), nil
}

// decodeAuditKeyRecord gives the seed; it is the caller's to wipe.
func decodeAuditKeyRecord(plaintext []byte) (secret.Bytes, error) {
	var r auditKeyRecord
	if err := decode(plaintext, &r); err != nil {
		clear(r.Seed)
		return secret.Bytes{}, err
	}
	if r.Format != recordFormat || len(r.Seed) != ed25519.SeedSize {
		clear(r.Seed)
		return secret.Bytes{}, errors.New("it is malformed")
	}
	return secret.New(r.Seed), nil
}

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding a record: %w", err)
	}
	return b, nil
}

// errContent hides what encoding/json says: it quotes the input.
var errContent = errors.New("its content cannot be read")

// decode reads exactly one JSON value that holds nothing unknown.
func decode(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return errContent
	}
	if _, err := dec.Token(); err != io.EOF {
		return errContent
	}
	return nil
}
