package keystore

import (
	"context"
	"fmt"
	"time"

	"github.com/signerd/signerd/upstream"
)

// How long the way back from a destruction stays open.
const (
	DefaultDestroyAfter = 7 * 24 * time.Hour
	// MinDestroyAfterProd and MinDestroyAfterSandbox are the least, by the key's environment; MaxDestroyAfter is the most.
	MinDestroyAfterProd    = 24 * time.Hour
	MinDestroyAfterSandbox = time.Minute
	MaxDestroyAfter        = 366 * 24 * time.Hour
)

// Destruction says when a version's material is to be destroyed, and that this is meant.
type Destruction struct {
	// After is how long the way back stays open. Default: DefaultDestroyAfter.
	After time.Duration
	// Confirm is needed for the active version: "NAME/VERSION/GENERATION/AFTER" of this very request, with the key's generation of
	// now and After as time.Duration prints it. The error of a request without it says what it is.
	Confirm string
}

// ScheduleDestruction says that a version's material is to be destroyed after a time. From now on the version cannot sign: it is
// DISABLED, or PENDING if it was. Errors: ErrNotFound, ErrConflict, ErrVersionDestroyed, *upstream.FieldError, ErrUnavailable.
func (k *Keystore) ScheduleDestruction(ctx context.Context, name string, number uint32, expected Precondition, d Destruction) (*Key, error) {
	if d.After == 0 {
		d.After = DefaultDestroyAfter
	}
	return k.write(ctx, name, expected, func(s *snapshot, rec *keyRecord) error {
		v := rec.version(number)
		if v == nil {
			return ErrNotFound
		}
		if err := v.existing(); err != nil {
			return err
		}
		if err := d.check(rec, number, s.keys[name].Generation); err != nil {
			return err
		}
		v.DestroyTime = k.config.now().Add(d.After)
		if v.State == Enabled {
			v.State = Disabled
		}
		return nil
	})
}

// existing refuses a version that is destroyed, or about to be.
func (v *versionRecord) existing() error {
	switch {
	case v.State == Destroyed:
		return ErrVersionDestroyed
	case !v.DestroyTime.IsZero():
		return upstream.Invalid("version", "the destruction of version %d is scheduled for %s; restore it first", v.Number, v.DestroyTime.Format(time.RFC3339))
	}
	return nil
}

func leastDestroyAfter(environment string) time.Duration {
	if environment == string(upstream.Prod) {
		return MinDestroyAfterProd
	}
	return MinDestroyAfterSandbox
}

func (d Destruction) check(rec *keyRecord, number uint32, generation uint64) error {
	least := leastDestroyAfter(rec.Environment)
	if d.After < least || d.After > MaxDestroyAfter {
		return upstream.Invalid("after", "for a %s key it is at least %s and at most %s", rec.Environment, least, MaxDestroyAfter)
	}
	if d.Confirm == "" && rec.Active != number {
		return nil
	}
	want := fmt.Sprintf("%s/%d/%d/%s", rec.Name, number, generation, d.After)
	switch {
	case d.Confirm == want:
		return nil
	case rec.Active != number:
		return upstream.Invalid("confirm", "it confirms another request; this one would be confirmed by %s", want)
	case d.Confirm == "":
		return upstream.Invalid("confirm", "version %d is the active one: no request can be signed once its destruction is scheduled; confirm this by %s", number, want)
	}
	return upstream.Invalid("confirm", "it confirms another request, or the key has changed since; version %d is the active one, and this request is confirmed by %s", number, want)
}

// RestoreVersion takes back a scheduled destruction, for as long as the material is there. The version is DISABLED then, or PENDING
// if it was. Errors: ErrNotFound, ErrConflict, ErrVersionDestroyed, *upstream.FieldError, ErrUnavailable.
func (k *Keystore) RestoreVersion(ctx context.Context, name string, number uint32, expected Precondition) (*Key, error) {
	return k.changeVersion(ctx, name, number, expected, func(_ *keyRecord, v *versionRecord) error {
		switch {
		case v.State == Destroyed:
			return ErrVersionDestroyed
		case v.DestroyTime.IsZero():
			return upstream.Invalid("version", "no destruction of version %d is scheduled", number)
		}
		v.DestroyTime = time.Time{}
		return nil
	})
}

// Doomed is a version whose time has come.
type Doomed struct {
	Key     *Key
	Version uint32
}

// Due lists the versions whose material is to be destroyed now, by name and number.
func (k *Keystore) Due() []Doomed {
	var out []Doomed
	s := k.current.Load()
	for _, name := range s.names {
		for _, v := range s.keys[name].versions {
			if v.scheduled() && !k.config.now().Before(v.DestroyTime) {
				out = append(out, Doomed{s.keys[name], v.Number})
			}
		}
	}
	return out
}

// scheduled reports whether the version is to be destroyed.
func (v Version) scheduled() bool { return v.State != Destroyed && !v.DestroyTime.IsZero() }

// DestroyVersion takes the material out of a version whose time has come, for good. What it was stays: number, fingerprint, times and
// creator. The store's file may hold the old record until Purge. It does nothing to a version that is destroyed or was restored: done
// says whether it was this call that destroyed it. Errors: ErrNotFound, ErrConflict, ErrUnavailable.
func (k *Keystore) DestroyVersion(ctx context.Context, name string, number uint32) (key *Key, done bool, err error) {
	key, err = k.changeVersion(ctx, name, number, 0, func(_ *keyRecord, v *versionRecord) error {
		now := k.config.now()
		done = false
		if v.State == Destroyed || v.DestroyTime.IsZero() || now.Before(v.DestroyTime) {
			return nil
		}
		for _, part := range v.Material {
			clear(part)
		}
		v.State, v.DestroyTime, v.Material = Destroyed, now, nil
		done = true
		return nil
	})
	return key, done && err == nil, err
}

// destroyed counts the versions without material; none for no key.
func (k *Key) destroyed() (n int) {
	if k == nil {
		return 0
	}
	for _, v := range k.versions {
		if v.State == Destroyed {
			n++
		}
	}
	return n
}
