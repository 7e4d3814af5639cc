// Package limit counts how often callers had what policy's rules allow, and says when it was enough.
//
// It is for server, which charges each request that a limited rule allowed before it is signed. It counts in memory
// only: counts begin anew with the process, and every process has its own. The time comes from the caller.
package limit

import (
	"errors"
	"fmt"
	"math"
)

// Bounds of Rates. Together they keep sums of a bucket within 64 bits.
const (
	minPerSecond = 0.001
	maxPerSecond = 1e6
	maxBurst     = 1_000_000
	// maxRefillSeconds bounds how long a burst takes to be earned again, and so how long callers are remembered.
	maxRefillSeconds = 24 * 60 * 60
)

// Rates bound one caller under one rule. Fields that are zero do not bound; the zero value bounds nothing.
type Rates struct {
	// PerSecond is how many requests a second are earned: 0.001 to 1000000, in steps of 0.001.
	PerSecond float64
	// Burst is how many requests may come at once before PerSecond holds: 1 to 1000000, and what is earned within a
	// day at most. Only with PerSecond; without it, PerSecond rounded up.
	Burst int
	// PerHour and PerDay bound each span of 60 minutes and of 24 hours, whenever it begins. A request counts until
	// it is that old, or up to a minute (PerHour) or 15 minutes (PerDay) longer when others followed it closely.
	PerHour, PerDay int64
}

// Limited reports whether r bounds anything.
func (r Rates) Limited() bool { return r.PerSecond > 0 || r.PerHour > 0 || r.PerDay > 0 }

// Check says in plain words what is wrong with r, by the names per_second, burst, per_hour and per_day. It refuses
// what could not be meant: a burst, or an hour, that a longer span never has room for.
func (r Rates) Check() error {
	if r.PerSecond != 0 {
		// The bounds come first, in a form that NaN fails: only then is the conversion to an integer defined.
		if !(r.PerSecond >= minPerSecond && r.PerSecond <= maxPerSecond) || float64(r.rate())/1000 != r.PerSecond {
			return fmt.Errorf("per_second is %v; wanted 0.001 to 1000000 with at most three decimals; less often is per_hour or per_day", r.PerSecond)
		}
	}
	switch {
	case r.Burst < 0 || r.Burst > maxBurst:
		return fmt.Errorf("burst is %d; wanted 1 to %d", r.Burst, maxBurst)
	case r.Burst > 0 && r.PerSecond == 0:
		return errors.New("burst needs per_second, which says how fast it is earned again")
	case r.PerSecond > 0 && int64(r.burst())*1000 > r.rate()*maxRefillSeconds:
		return fmt.Errorf("burst is %d, which takes longer than a day to be earned again at per_second %v", r.Burst, r.PerSecond)
	case r.PerHour < 0:
		return fmt.Errorf("per_hour is %d; wanted at least 1", r.PerHour)
	case r.PerDay < 0:
		return fmt.Errorf("per_day is %d; wanted at least 1", r.PerDay)
	case r.PerHour > 0 && r.PerDay > 0 && r.PerDay < r.PerHour:
		return fmt.Errorf("per_hour is %d, which per_day %d never has room for", r.PerHour, r.PerDay)
	}
	for _, longer := range []struct {
		name string
		n    int64
	}{{"per_hour", r.PerHour}, {"per_day", r.PerDay}} {
		if r.PerSecond > 0 && longer.n > 0 && longer.n < int64(r.burst()) {
			return fmt.Errorf("burst is %d (without one: per_second rounded up), which %s %d never has room for", r.burst(), longer.name, longer.n)
		}
	}
	return nil
}

// rate is PerSecond in thousandths of a request a second.
func (r Rates) rate() int64 { return int64(math.Round(r.PerSecond * 1000)) }

func (r Rates) burst() int {
	if r.Burst > 0 {
		return r.Burst
	}
	return max(1, int(math.Ceil(r.PerSecond)))
}
