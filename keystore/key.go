package keystore

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream"
)

// State is where a version is in its life.
type State string

// The states of a version: PENDING → ENABLED ⇄ DISABLED, and DESTROYED, from which nothing leads back. A version whose destruction is
// scheduled is PENDING or DISABLED and has a DestroyTime.
const (
	Pending  State = "PENDING"  // a part is missing that the partner has yet to give; it cannot sign
	Enabled  State = "ENABLED"  // it can be made active
	Disabled State = "DISABLED" // it cannot sign until it is enabled
	// Destroyed says that its material is gone.
	Destroyed State = "DESTROYED"
)

// Key is one partner account as it was at one generation. It is immutable and safe for concurrent use. Of its material
// only Credential, Candidate and Verifiers give anything, and only against a permit.
type Key struct {
	Name        string
	Scheme      string
	Environment upstream.Environment
	Enabled     bool
	// Active is the number of the version that signs; 0 for none.
	Active uint32
	// Generation is the store's counter at the key's last change.
	Generation uint64
	CreateTime time.Time
	UpdateTime time.Time

	labels   map[string]string
	versions []Version
	sealed   []byte // the stored record, for the next change
}

// Version is one set of material of a key.
type Version struct {
	Number      uint32
	State       State
	Algorithm   string
	Fingerprint [32]byte
	CreateTime  time.Time
	// Creator is the caller that made it.
	Creator string
	// DestroyTime is when its material is to be destroyed, or was; zero where no destruction is scheduled.
	DestroyTime time.Time
	// ExpireTime is when the partner will no longer take it, as an operator said; zero if nobody did.
	ExpireTime time.Time

	credential upstream.Credential // nil once destroyed
	used       *atomic.Int64       // when it last signed, in Unix seconds; 0 for never. It is the same in all snapshots.
}

// PublicKey is the SubjectPublicKeyInfo in DER, nil where the scheme has none, or the version is DESTROYED.
func (v Version) PublicKey() []byte {
	if v.credential == nil {
		return nil
	}
	return v.credential.PublicKey()
}

// Known is the key as policy sees it. Its labels are the key's own and are not to be changed.
func (k *Key) Known() policy.Key {
	return policy.Key{Name: k.Name, Known: true, Scheme: k.Scheme, Environment: string(k.Environment), Labels: k.labels}
}

// Labels is a copy of the key's labels.
func (k *Key) Labels() map[string]string { return maps.Clone(k.labels) }

// Versions is a copy of the list of all versions, by number.
func (k *Key) Versions() []Version { return slices.Clone(k.versions) }

// Version finds a version by its number.
func (k *Key) Version(number uint32) (Version, bool) {
	for _, v := range k.versions {
		if v.Number == number {
			return v, true
		}
	}
	return Version{}, false
}

// Credential gives what the active version signs with, and that version's number. It uses the permit up. Errors:
// policy.ErrPermit, ErrKeyDisabled, ErrNoActiveVersion, ErrVersionDestroyed.
func (k *Key) Credential(permit *policy.Permit) (upstream.Credential, uint32, error) {
	if err := permit.Redeem(k.Name); err != nil {
		return nil, 0, err
	}
	active, err := k.Signing()
	if err != nil {
		return nil, 0, err
	}
	return active.credential, active.Number, nil
}

// Candidate gives what a version that is ENABLED would sign with, to prove it before it is made active; of a disabled key too. It
// uses the permit up. Errors: policy.ErrPermit, ErrNotFound, ErrKeyDisabled for a version in any other state.
func (k *Key) Candidate(permit *policy.Permit, number uint32) (upstream.Credential, error) {
	if err := permit.Redeem(k.Name); err != nil {
		return nil, err
	}
	v, ok := k.Version(number)
	switch {
	case !ok:
		return nil, ErrNotFound
	case v.State != Enabled:
		return nil, ErrKeyDisabled
	}
	return v.credential, nil
}

// VersionVerifier checks what one version made.
type VersionVerifier struct {
	Number uint32
	upstream.Verifier
}

// Verifiers gives what checks signatures of the versions that are not DESTROYED, whatever else their state and the key's: the active
// one first, then the newest first; none where the scheme signs no requests. It uses the permit up. Error: policy.ErrPermit.
func (k *Key) Verifiers(permit *policy.Permit) ([]VersionVerifier, error) {
	if err := permit.Redeem(k.Name); err != nil {
		return nil, err
	}
	var active, others []VersionVerifier
	for _, v := range slices.Backward(k.versions) {
		if v.State == Destroyed || v.credential == nil {
			continue
		}
		verifier := v.credential.Verifier()
		switch {
		case verifier == nil:
		case v.Number == k.Active:
			active = append(active, VersionVerifier{v.Number, verifier})
		default:
			others = append(others, VersionVerifier{v.Number, verifier})
		}
	}
	return append(active, others...), nil
}

// Signing is the version that signs. Errors: ErrKeyDisabled, ErrNoActiveVersion, ErrVersionDestroyed.
func (k *Key) Signing() (Version, error) {
	if !k.Enabled {
		return Version{}, ErrKeyDisabled
	}
	active, ok := k.Version(k.Active)
	if !ok {
		return Version{}, ErrNoActiveVersion
	}
	if active.State == Destroyed {
		return Version{}, ErrVersionDestroyed
	}
	if active.State != Enabled {
		return Version{}, ErrKeyDisabled
	}
	return active, nil
}
