package limit

import (
	"sync"
	"time"
)

const (
	// maxStale is by how much a request's time may lie behind another's that overtook it.
	maxStale = time.Minute
	// maxStep is more than anything is remembered for (a day), so that a longer silence is as good.
	maxStep = 48 * time.Hour
)

// account holds what one caller had.
type account struct {
	caller string

	mu     sync.Mutex
	closed bool // swept away: whoever still has it must look the caller up again

	// clock is nanoseconds since the account was opened, as far as requests' times showed them; seen is the time it
	// stands at. It never runs backwards.
	clock int64
	seen  time.Time

	tallies []tally
	cursor  int    // behind the tally that was looked up last
	charges uint64 // counts calls of charge

	next *account // on the sweeper's round; belongs to Meter.mu
}

// tally is what the caller had under one rule.
type tally struct {
	rule      string
	marked    uint64 // the call of charge that has yet to take from it
	second    bucket
	hour, day *window // nil as long as nothing is bounded by them
}

// advance brings the clock to now, and says how many nanoseconds now lies behind it.
//
// Time that lies a little behind is a request's that was overtaken: the clock stands still, or the same time would be
// earned twice. Further behind, somebody set the time back: the clock goes on from there, or callers would be refused
// until that time comes again.
func (a *account) advance(now time.Time) int64 {
	switch gone := now.Sub(a.seen); {
	case gone >= 0:
		a.clock += int64(min(gone, maxStep))
		a.seen = now
	case gone < -maxStale:
		a.seen = now
	default:
		return int64(-gone)
	}
	return 0
}

// tally finds or makes the tally of a rule. Charges of one policy come in one order, so that the next is mostly where
// the cursor is.
func (a *account) tally(rule string) *tally {
	for range a.tallies {
		if a.cursor >= len(a.tallies) {
			a.cursor = 0
		}
		t := &a.tallies[a.cursor]
		a.cursor++
		if t.rule == rule {
			return t
		}
	}
	a.tallies = append(a.tallies, tally{rule: rule})
	a.cursor = len(a.tallies)
	return &a.tallies[a.cursor-1]
}

// charge takes one request off each charge's allowance and returns 0, or takes nothing and returns how long it would
// be refused. A rule that is named twice is charged once.
func (a *account) charge(charges []Charge, now time.Time) time.Duration {
	behind := a.advance(now)
	a.charges++
	var wait int64
	for i := range charges {
		c := &charges[i]
		if !c.Rates.Limited() {
			continue
		}
		if t := a.tally(c.Rule); t.marked != a.charges {
			t.marked = a.charges
			wait = max(wait, t.wait(c.Rates, a.clock))
		}
	}
	if wait > 0 {
		return time.Duration(wait + behind)
	}
	for i := range charges {
		c := &charges[i]
		if !c.Rates.Limited() {
			continue
		}
		if t := a.tally(c.Rule); t.marked == a.charges {
			t.marked = 0
			t.take(c.Rates, a.clock)
		}
	}
	return 0
}

// wait is how many nanoseconds after now there is room under all of r. Room, once there, stays until something is
// taken; so the longest wait is the one for all.
func (t *tally) wait(r Rates, now int64) int64 {
	var wait int64
	if r.PerSecond > 0 {
		wait = t.second.wait(r, now)
	}
	if r.PerHour > 0 {
		if t.hour == nil {
			t.hour = newWindow(hour, hourSteps)
		}
		wait = max(wait, t.hour.wait(r.PerHour, now))
	}
	if r.PerDay > 0 {
		if t.day == nil {
			t.day = newWindow(day, daySteps)
		}
		wait = max(wait, t.day.wait(r.PerDay, now))
	}
	return wait
}

// take takes one request, which wait has just found room for.
func (t *tally) take(r Rates, now int64) {
	if r.PerSecond > 0 {
		t.second.take()
	}
	if r.PerHour > 0 {
		t.hour.take(now)
	}
	if r.PerDay > 0 {
		t.day.take(now)
	}
}

// keep drops what r does not bound.
func (t *tally) keep(r Rates) {
	if r.PerSecond <= 0 {
		t.second = bucket{}
	}
	if r.PerHour <= 0 {
		t.hour = nil
	}
	if r.PerDay <= 0 {
		t.day = nil
	}
}

// idle reports whether nothing of what the caller had counts any more.
func (a *account) idle(now time.Time) bool {
	a.advance(now)
	for i := range a.tallies {
		if !a.tallies[i].idle(a.clock) {
			return false
		}
	}
	return true
}

func (t *tally) idle(now int64) bool {
	if t.second.settle(now); t.second.debt > 0 {
		return false
	}
	for _, w := range []*window{t.hour, t.day} {
		if w == nil {
			continue
		}
		if w.forget(now); w.n > 0 {
			return false
		}
	}
	return true
}
