package keystore

import (
	"sync"
	"time"

	"github.com/signerd/signerd/upstream"
)

// Stats counts what the keystore holds.
type Stats struct {
	Keys, Versions int
	// Counter is the store's change counter; it only grows.
	Counter uint64
	// RootKeyID names the root key.
	RootKeyID string
	// RecoveryKeyID names the recovery key that the keyring is wrapped to; empty for none.
	RecoveryKeyID string
	// Scheduled counts the versions to be destroyed, of which the next is at NextDestroy, which is zero without any.
	Scheduled   int
	NextDestroy time.Time
	// Expiring counts the versions that expire within ExpiryWarning, Expired those that have; both without those that are DESTROYED.
	Expiring, Expired int
	// Unused counts the ENABLED versions without a use for UnusedAfter.
	Unused int
}

// Stats counts what the keystore holds now.
func (k *Keystore) Stats() Stats {
	s := k.current.Load()
	out := Stats{Keys: len(s.keys), Counter: s.head.counter, RootKeyID: s.rootKeyID(), RecoveryKeyID: recoveryKeyID(s.wrapped)}
	now := sync.OnceValue(k.config.now)
	for _, key := range s.keys {
		out.Versions += len(key.versions)
		for _, v := range key.versions {
			out.add(v, now)
			if v.unused(s.usage.since, now) {
				out.Unused++
			}
		}
	}
	return out
}

// add counts what a version has before it.
func (s *Stats) add(v Version, now func() time.Time) {
	if v.scheduled() {
		s.Scheduled++
		if s.NextDestroy.IsZero() || v.DestroyTime.Before(s.NextDestroy) {
			s.NextDestroy = v.DestroyTime
		}
	}
	switch v.expiry(now) {
	case Expiring:
		s.Expiring++
	case Expired:
		s.Expired++
	}
}

// Count is how many keys of one kind there are.
type Count struct {
	Scheme      string
	Environment upstream.Environment
	Enabled     bool
	// Keys counts keys, Versions their versions by state.
	Keys     int
	Versions map[State]int
	// Expiring, Expired and Unused count versions, as in Stats.
	Expiring, Expired, Unused int
}

// Counts tells keys apart by scheme, environment, and whether they are enabled.
func (k *Keystore) Counts() []Count {
	type kind struct {
		scheme      string
		environment upstream.Environment
		enabled     bool
	}
	index := make(map[kind]int)
	var out []Count
	s, now := k.current.Load(), sync.OnceValue(k.config.now)
	for _, key := range s.keys {
		of := kind{key.Scheme, key.Environment, key.Enabled}
		i, ok := index[of]
		if !ok {
			i = len(out)
			index[of] = i
			out = append(out, Count{Scheme: of.scheme, Environment: of.environment, Enabled: of.enabled, Versions: make(map[State]int)})
		}
		out[i].Keys++
		for _, v := range key.versions {
			out[i].Versions[v.State]++
			switch v.expiry(now) {
			case Expiring:
				out[i].Expiring++
			case Expired:
				out[i].Expired++
			}
			if v.unused(s.usage.since, now) {
				out[i].Unused++
			}
		}
	}
	return out
}
