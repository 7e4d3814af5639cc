package limit

import (
	"slices"
	"sync"
	"time"
)

// Charge is one rule that allowed a request, and how often it may. Rules are told apart by name.
type Charge struct {
	Rule  string
	Rates Rates // as Check accepts them
}

const (
	// sweepStep is how many accounts are looked at when one is opened. With four, a steady stream of new callers
	// leaves about a third more accounts than still count, however fast it is.
	sweepStep = 4
	// sweepEvery is after how many charges of one caller accounts are looked at, though none is opened: so those of
	// callers that will not come again go, too.
	sweepEvery = 64
)

// Meter counts requests by rule and caller. It is safe for concurrent use; callers do not wait for each other, but
// for a moment on the first request of each.
//
// It remembers callers only as long as what they had still counts: a day at most. Callers are forgotten bit by bit, as
// requests come.
type Meter struct {
	// accounts is caller (a string) to *account. It is written under mu, read without.
	accounts sync.Map

	// mu comes before an account's own lock; who holds an account's never asks for it.
	mu sync.Mutex
	// round is where the ring of all accounts begins and ends; hand is the one before the next to be looked at.
	round account
	hand  *account
}

// NewMeter makes a meter that has counted nothing.
func NewMeter() *Meter {
	m := &Meter{}
	m.round.next = &m.round
	m.hand = &m.round
	return m
}

// Charge takes one request of caller off each rule's allowance, or, when any is exhausted, none: then ok is false, and
// the same request would be let through retry later, and not earlier, if no other of the caller comes in between.
// Charges that bound nothing are skipped; a rule that is named twice is charged once, at the first rates.
//
// Times with a monotonic reading (time.Now) do not change when a clock is set. With others, a clock that goes forward is
// time gone by. One that goes back gives nobody anything: a caller's time stands still until the clock has caught up,
// but for a minute at most; further back, it goes on from the caller's next request.
func (m *Meter) Charge(caller string, charges []Charge, now time.Time) (retry time.Duration, ok bool) {
	if !slices.ContainsFunc(charges, func(c Charge) bool { return c.Rates.Limited() }) {
		return 0, true
	}
	a := m.account(caller, now)
	retry = a.charge(charges, now)
	sweep := a.charges%sweepEvery == 0
	a.mu.Unlock()
	if sweep && m.mu.TryLock() {
		m.sweep(now)
		m.mu.Unlock()
	}
	return retry, retry == 0
}

// Keep is told all rules by name when a policy was replaced. What was had under rules that are gone, or that bound
// nothing now, is forgotten. For the others, whether their rates changed or not, everything still counts, so that
// neither applying a policy again nor editing a limit gives anybody a fresh allowance: counts of the hour and of the
// day stand against the new numbers (more may be used up than the new number allows), and what is owed to a burst
// is cut to the new burst. A span that was not bounded before is counted from now on.
//
// Charges under the policy before that come after Keep are counted; they do no harm.
func (m *Meter) Keep(rules map[string]Rates) {
	m.accounts.Range(func(_, v any) bool {
		a := v.(*account)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.tallies = slices.DeleteFunc(a.tallies, func(t tally) bool { return !rules[t.rule].Limited() })
		for i := range a.tallies {
			a.tallies[i].keep(rules[a.tallies[i].rule])
		}
		return true
	})
}

// account finds or opens a caller's account, and returns it locked.
func (m *Meter) account(caller string, now time.Time) *account {
	for {
		v, ok := m.accounts.Load(caller)
		if !ok {
			if a := m.open(caller, now); a != nil {
				return a
			}
			continue
		}
		a := v.(*account)
		a.mu.Lock()
		if !a.closed {
			return a
		}
		a.mu.Unlock()
	}
}

// open opens an account and returns it locked, or nil when somebody else was faster.
func (m *Meter) open(caller string, now time.Time) *account {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.accounts.Load(caller); ok {
		return nil
	}
	a := &account{caller: caller, seen: now}
	// Locked before anybody can see it: it has nothing yet that keeps it from being swept away.
	a.mu.Lock()
	m.accounts.Store(caller, a)
	a.next, m.hand.next = m.hand.next, a
	m.hand = a
	m.sweep(now)
	return a
}

// sweep looks at a few accounts and closes those that are idle. The caller holds mu.
func (m *Meter) sweep(now time.Time) {
	for range sweepStep {
		a := m.hand.next
		// An account that somebody holds is not idle, and must not be waited for.
		if a != &m.round && a.mu.TryLock() {
			idle := a.idle(now)
			if idle {
				m.close(a)
			}
			a.mu.Unlock()
			if idle {
				continue
			}
		}
		m.hand = a
	}
}

// close forgets the account next to the hand. The caller holds mu and the account's lock.
func (m *Meter) close(a *account) {
	a.closed = true
	m.accounts.Delete(a.caller)
	m.hand.next = a.next
}
