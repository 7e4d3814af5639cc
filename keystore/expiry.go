package keystore

import (
	"context"
	"time"
)

// ExpiryWarning is how long before a version expires signerd warns of it.
const ExpiryWarning = 30 * 24 * time.Hour

// SetExpiry says when the partner will no longer take a version; the zero time says never, or that nobody knows. The version signs all
// the same, also afterwards: the date is for warnings. Errors: ErrNotFound, ErrConflict, ErrVersionDestroyed, ErrUnavailable.
func (k *Keystore) SetExpiry(ctx context.Context, name string, number uint32, expected Precondition, at time.Time) (*Key, error) {
	return k.changeVersion(ctx, name, number, expected, func(_ *keyRecord, v *versionRecord) error {
		if v.State == Destroyed {
			return ErrVersionDestroyed
		}
		v.ExpireTime = at.UTC()
		return nil
	})
}

// Expiry is whether a version is near its end.
type Expiry int

// The ways in which a version may be near its end.
const (
	NotExpiring Expiry = iota // it does not expire soon, or is DESTROYED
	Expiring                  // it expires within ExpiryWarning
	Expired                   // it has expired
)

// expiry is what a version's date means now. The time is only asked for where there is a date.
func (v Version) expiry(now func() time.Time) Expiry {
	if v.State == Destroyed || v.ExpireTime.IsZero() {
		return NotExpiring
	}
	switch left := v.ExpireTime.Sub(now()); {
	case left > ExpiryWarning:
		return NotExpiring
	case left > 0:
		return Expiring
	}
	return Expired
}
