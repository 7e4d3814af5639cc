package keystore

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream"
)

// Actor is who makes a change, as the record of it will say.
type Actor string

// Precondition is the generation a change was decided on; 0 accepts any. A stale one is ErrConflict.
type Precondition uint64

// maxVersions bounds the versions of a key, and so the size of its record.
const maxVersions = 1000

// Create makes a key whose material is generated here; version 1 is PENDING. Errors: ErrKeyExists,
// upstream.ErrNotGenerated, *upstream.FieldError, ErrUnavailable.
func (k *Keystore) Create(ctx context.Context, by Actor, n NewKey, algorithm string) (*Key, error) {
	return k.createKey(ctx, n, func(s upstream.Scheme) (upstream.Material, error) {
		return s.Generate(algorithm)
	}, by)
}

// Import makes a key from what the partner handed out; version 1 is ENABLED and active, or PENDING while a part is
// missing that the partner has yet to give. The notes say what was changed in the material on the way in. Errors as
// Create.
func (k *Keystore) Import(ctx context.Context, by Actor, n NewKey, m upstream.Material) (key *Key, notes []string, err error) {
	key, err = k.createKey(ctx, n, func(s upstream.Scheme) (upstream.Material, error) {
		canonical, said, err := s.Import(n.Environment, m)
		notes = said
		return canonical, err
	}, by)
	return key, notes, err
}

// NewKey names a key to be made.
type NewKey struct {
	Name        string
	Scheme      string
	Environment upstream.Environment
	Labels      map[string]string
	// ExpireTime is when the partner will no longer take version 1; zero if nobody said.
	ExpireTime time.Time
}

func (k *Keystore) createKey(ctx context.Context, n NewKey, source func(upstream.Scheme) (upstream.Material, error), by Actor) (*Key, error) {
	scheme := k.config.scheme(n.Scheme)
	switch {
	case !policy.ValidKeyName(n.Name):
		return nil, upstream.Invalid("name", "it is malformed; wanted lower-case letters, digits and inner hyphens")
	case scheme == nil:
		return nil, upstream.Invalid("scheme", "it is not a partner that signerd knows")
	case !n.Environment.Valid():
		return nil, upstream.Invalid("environment", "it is neither sandbox nor prod")
	case k.Lookup(n.Name) != nil:
		return nil, ErrKeyExists
	}
	m, err := source(scheme)
	if err != nil {
		return nil, err
	}
	defer m.Wipe()
	return k.write(ctx, n.Name, 0, func(s *snapshot, rec *keyRecord) error {
		if rec.Name != "" {
			return ErrKeyExists
		}
		now := k.config.now()
		*rec = keyRecord{Format: recordFormat, Name: n.Name, Scheme: n.Scheme, Environment: string(n.Environment),
			Labels: maps.Clone(n.Labels), Enabled: true, NextVersion: 1, CreateTime: now}
		v, err := k.addVersion(s, rec, m, by)
		if err != nil {
			return err
		}
		v.ExpireTime = n.ExpireTime.UTC()
		if v.State == Enabled {
			rec.Active = v.Number
		}
		return nil
	})
}

// addVersion proves the material, holds it against the environment fence, and appends it to rec.
func (k *Keystore) addVersion(s *snapshot, rec *keyRecord, m upstream.Material, by Actor) (*versionRecord, error) {
	if len(rec.Versions) >= maxVersions {
		return nil, upstream.Invalid("name", "the key has %d versions, the most a key can have", maxVersions)
	}
	credential, err := k.config.scheme(rec.Scheme).Open(m)
	if err != nil {
		return nil, err
	}
	if err := credential.Prove(); err != nil {
		return nil, err
	}
	fingerprint := credential.Fingerprint(s.pepper)
	if serves, known := s.serves[fingerprint]; known && string(serves) != rec.Environment {
		return nil, upstream.Invalid("material", "this private key or secret already serves the %s environment; partners forbid sharing one between environments", serves)
	}
	v := versionRecord{
		Number: rec.NextVersion, State: Enabled, Algorithm: credential.Algorithm(), Fingerprint: fingerprint[:],
		CreateTime: k.config.now(), Creator: string(by), Material: storedMaterial(m),
	}
	if !credential.Complete() {
		v.State = Pending
	}
	rec.NextVersion++
	rec.Versions = append(rec.Versions, v)
	return &rec.Versions[len(rec.Versions)-1], nil
}

// CreateVersion generates a version beside the active one; it is PENDING. Errors: ErrNotFound, ErrConflict,
// upstream.ErrNotGenerated, *upstream.FieldError, ErrUnavailable.
func (k *Keystore) CreateVersion(ctx context.Context, by Actor, name string, expected Precondition, algorithm string) (*Key, uint32, error) {
	return k.newVersion(ctx, by, name, expected, time.Time{}, func(s upstream.Scheme, _ *keyRecord) (upstream.Material, error) {
		return s.Generate(algorithm)
	})
}

// ImportVersion adds a version beside the active one, from what the partner handed out. expires is when the partner will no longer take
// it, zero if nobody said. Errors: ErrNotFound, ErrConflict, *upstream.FieldError, ErrUnavailable.
func (k *Keystore) ImportVersion(ctx context.Context, by Actor, name string, expected Precondition, m upstream.Material, expires time.Time) (key *Key, version uint32, notes []string, err error) {
	key, version, err = k.newVersion(ctx, by, name, expected, expires, func(s upstream.Scheme, rec *keyRecord) (upstream.Material, error) {
		canonical, said, err := s.Import(upstream.Environment(rec.Environment), m)
		notes = said
		return canonical, err
	})
	return key, version, notes, err
}

func (k *Keystore) newVersion(ctx context.Context, by Actor, name string, expected Precondition, expires time.Time, source func(upstream.Scheme, *keyRecord) (upstream.Material, error)) (*Key, uint32, error) {
	var number uint32
	key, err := k.write(ctx, name, expected, func(s *snapshot, rec *keyRecord) error {
		if rec.Name == "" {
			return ErrNotFound
		}
		m, err := source(k.config.scheme(rec.Scheme), rec)
		if err != nil {
			return err
		}
		defer m.Wipe()
		v, err := k.addVersion(s, rec, m, by)
		if err != nil {
			return err
		}
		v.ExpireTime = expires.UTC()
		number = v.Number
		return nil
	})
	return key, number, err
}

// Activate makes a version the one that signs. With an API key it completes a PENDING version in the same write. expires replaces when
// the partner will no longer take it; zero leaves that.
// Errors: ErrNotFound, ErrConflict, ErrKeyDisabled for a DISABLED version, ErrVersionDestroyed, *upstream.FieldError, also for one whose
// destruction is scheduled, ErrUnavailable.
func (k *Keystore) Activate(ctx context.Context, name string, number uint32, expected Precondition, completing upstream.Material, expires time.Time) (key *Key, notes []string, err error) {
	key, err = k.changeVersion(ctx, name, number, expected, func(rec *keyRecord, v *versionRecord) error {
		if err := v.existing(); err != nil {
			return err
		}
		if v.State == Pending && len(completing) == 0 {
			return upstream.Invalid(upstream.PartAPIKey, "version %d is PENDING: the API key that the partner gave for its public key is still missing", number)
		}
		if v.State != Pending && len(completing) > 0 {
			return upstream.Invalid(upstream.PartAPIKey, "version %d has its API key already; import a new version to change it", number)
		}
		if v.State == Disabled {
			return ErrKeyDisabled
		}
		rec.Active = number
		if !expires.IsZero() {
			v.ExpireTime = expires.UTC()
		}
		if v.State == Enabled {
			return nil
		}
		var err error
		notes, err = k.complete(rec, v, completing)
		return err
	})
	return key, notes, err
}

// complete adds the parts that were missing from a PENDING version.
func (k *Keystore) complete(rec *keyRecord, v *versionRecord, parts upstream.Material) ([]string, error) {
	scheme := k.config.scheme(rec.Scheme)
	m := v.material()
	for part, b := range parts {
		if m[part].Len() > 0 {
			return nil, upstream.Invalid("material."+part, "version %d has it already; import a new version to change it", v.Number)
		}
		m[part] = b
	}
	canonical, notes, err := scheme.Import(upstream.Environment(rec.Environment), m)
	if err != nil {
		return nil, err
	}
	credential, err := scheme.Open(canonical)
	if err != nil {
		return nil, err
	}
	if !credential.Complete() {
		return nil, upstream.Invalid(upstream.PartAPIKey, "the version is still incomplete with it")
	}
	v.Material, v.State = storedMaterial(canonical), Enabled
	return notes, credential.Prove()
}

// EnableVersion makes a DISABLED version usable again, without activating it. Errors: ErrNotFound, ErrConflict,
// ErrVersionDestroyed, *upstream.FieldError for a PENDING version and one whose destruction is scheduled, ErrUnavailable.
func (k *Keystore) EnableVersion(ctx context.Context, name string, number uint32, expected Precondition) (*Key, error) {
	return k.setState(ctx, name, number, expected, Enabled)
}

// DisableVersion stops a version from signing, the active one included. Errors as EnableVersion.
func (k *Keystore) DisableVersion(ctx context.Context, name string, number uint32, expected Precondition) (*Key, error) {
	return k.setState(ctx, name, number, expected, Disabled)
}

func (k *Keystore) setState(ctx context.Context, name string, number uint32, expected Precondition, state State) (*Key, error) {
	return k.changeVersion(ctx, name, number, expected, func(_ *keyRecord, v *versionRecord) error {
		if err := v.existing(); err != nil {
			return err
		}
		if v.State == Pending {
			return upstream.Invalid("version", "version %d is PENDING: it becomes ENABLED when it is activated with its API key", number)
		}
		v.State = state
		return nil
	})
}

func (k *Keystore) changeVersion(ctx context.Context, name string, number uint32, expected Precondition, edit func(*keyRecord, *versionRecord) error) (*Key, error) {
	return k.write(ctx, name, expected, func(_ *snapshot, rec *keyRecord) error {
		v := rec.version(number)
		if v == nil {
			return ErrNotFound
		}
		return edit(rec, v)
	})
}

// SetEnabled lets a key sign, or stops it. Errors: ErrNotFound, ErrConflict, ErrUnavailable.
func (k *Keystore) SetEnabled(ctx context.Context, name string, expected Precondition, enabled bool) (*Key, error) {
	return k.write(ctx, name, expected, func(_ *snapshot, rec *keyRecord) error {
		if rec.Name == "" {
			return ErrNotFound
		}
		rec.Enabled = enabled
		return nil
	})
}

// SetLabels replaces a key's labels. Errors: ErrNotFound, ErrConflict, ErrUnavailable.
func (k *Keystore) SetLabels(ctx context.Context, name string, expected Precondition, labels map[string]string) (*Key, error) {
	return k.write(ctx, name, expected, func(_ *snapshot, rec *keyRecord) error {
		if rec.Name == "" {
			return ErrNotFound
		}
		rec.Labels = maps.Clone(labels)
		return nil
	})
}

// write is the one way a key changes. It gives edit the key's record (empty if there is none), and commits what edit
// made of it together with a new head. When another process was faster, edit decides anew on the new state.
func (k *Keystore) write(ctx context.Context, name string, expected Precondition, edit func(*snapshot, *keyRecord) error) (*Key, error) {
	var key *Key
	err := k.changing(ctx, func(s *snapshot) (err error) {
		key, err = k.tryWrite(ctx, s, name, expected, edit)
		return err
	})
	if err != nil {
		return nil, err
	}
	return key, nil
}

func (k *Keystore) tryWrite(ctx context.Context, s *snapshot, name string, expected Precondition, edit func(*snapshot, *keyRecord) error) (*Key, error) {
	old := s.keys[name]
	if expected != 0 && old == nil {
		return nil, ErrNotFound
	}
	if expected != 0 && uint64(expected) != old.Generation {
		return nil, ErrConflict
	}
	rec, before, err := s.unseal(old)
	if err != nil {
		return nil, err
	}
	defer rec.wipe()
	defer clear(before)
	if err := edit(s, &rec); err != nil {
		return nil, err
	}
	if unchanged, err := rec.is(before); err != nil || unchanged {
		return old, err
	}
	rec.UpdateTime = k.config.now()
	return k.commitKey(ctx, s, rec)
}

func (k *Keystore) commitKey(ctx context.Context, s *snapshot, rec keyRecord) (*Key, error) {
	plaintext, err := encode(rec)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	name, generation := prefixKey+rec.Name, s.head.counter+1
	record := Record{name, generation, s.sealer.seal(name, generation, plaintext)}
	key, err := k.openKey(s, record)
	if err != nil {
		return nil, fmt.Errorf("opening the changed key %q: %w", rec.Name, err)
	}
	h := k.nextHead(s, record)
	if key.destroyed() > s.keys[rec.Name].destroyed() {
		h.uncompacted = h.counter // the old record has the material
	}
	return key, k.commitRecord(ctx, s, record, h, func(n *snapshot) { n.replace(key) })
}

// unseal opens a key's record for a change, and returns its encoding as well.
func (s *snapshot) unseal(key *Key) (keyRecord, []byte, error) {
	if key == nil {
		return keyRecord{}, nil, nil
	}
	plaintext, err := s.sealer.open(prefixKey+key.Name, key.Generation, key.sealed)
	if err != nil {
		return keyRecord{}, nil, damaged(prefixKey+key.Name, "it does not open again")
	}
	rec, err := decodeKeyRecord(plaintext)
	if err != nil {
		return keyRecord{}, nil, damaged(prefixKey+key.Name, "%v", err)
	}
	return rec, plaintext, nil
}

// is reports whether the record is what it was: then there is nothing to write.
func (r *keyRecord) is(before []byte) (bool, error) {
	if err := r.check(); err != nil {
		return false, fmt.Errorf("a change would break the key: %w", err)
	}
	after, err := encode(r)
	if err != nil {
		return false, err
	}
	defer clear(after)
	return string(after) == string(before), nil
}
