package limit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/signerd/signerd/policy/limit"
)

func TestAStreamOfCallersIsForgottenOnceNothingOfItCounts(t *testing.T) {
	for name, tc := range map[string]struct {
		rates limit.Rates
		every time.Duration // a new caller comes
		count int           // callers that still count at a time
	}{
		"a second":               {limit.Rates{PerSecond: 1}, 10 * time.Millisecond, 100},
		"a burst":                {limit.Rates{PerSecond: 0.5, Burst: 10}, 10 * time.Millisecond, 200},
		"an hour":                {limit.Rates{PerHour: 100}, 10 * time.Second, 360},
		"a day":                  {limit.Rates{PerSecond: 5, PerDay: 1000}, 5 * time.Minute, 288},
		"next to nothing counts": {limit.Rates{PerSecond: 1e6}, time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m, charges, now := limit.NewMeter(), []limit.Charge{under("rule", tc.rates)}, start
			for i := range 5000 {
				m.Charge(fmt.Sprintf("spiffe://example.org/%d", i), charges, now)
				now = now.Add(tc.every)
				if i%100 != 0 {
					continue
				}
				if n := m.Callers(); n > tc.count*3/2+sweptAtOnce {
					t.Fatalf("after %d callers %d are remembered; %d still count", i+1, n, tc.count)
				}
			}
			if n := m.Callers(); n < tc.count {
				t.Errorf("%d callers are remembered; %d still count", n, tc.count)
			}
		})
	}
}

// sweptAtOnce is what small numbers may be off by.
const sweptAtOnce = 8

func TestCallersThatDoNotComeAgainAreForgottenWhileOthersDo(t *testing.T) {
	m, charges := limit.NewMeter(), []limit.Charge{under("rule", limit.Rates{PerHour: 10_000})}
	for i := range 1000 {
		m.Charge(fmt.Sprintf("spiffe://example.org/%d", i), charges, start)
	}
	sure(t, m, 1, start, charges...)
	if n := m.Callers(); n != 1001 {
		t.Fatalf("%d callers are remembered, all 1001 still count", n)
	}
	later := start.Add(time.Hour)
	for i := range 64 * 1000 {
		m.Charge(caller, charges, later.Add(time.Duration(i)*time.Second))
	}
	if n := m.Callers(); n != 1 {
		t.Errorf("%d callers are remembered, only one still counts", n)
	}
}

func TestCallersThatCountAreNeverForgotten(t *testing.T) {
	m := limit.NewMeter()
	day, second := []limit.Charge{under("day", limit.Rates{PerDay: 1})}, []limit.Charge{under("second", limit.Rates{PerSecond: 1})}
	for i := range 100 {
		m.Charge(fmt.Sprintf("spiffe://example.org/once/%d", i), day, start)
	}
	for i := range 20_000 {
		m.Charge(fmt.Sprintf("spiffe://example.org/%d", i), second, start.Add(time.Duration(i)*4*time.Second))
	}
	for i := range 100 {
		if retry, ok := m.Charge(fmt.Sprintf("spiffe://example.org/once/%d", i), day, start.Add(24*time.Hour-1)); ok || retry != 1 {
			t.Fatalf("caller %d: got %v, %v; want it refused for 1ns", i, retry, ok)
		}
	}
}

func TestCallersOfRulesThatAreGoneAreForgotten(t *testing.T) {
	m, charges := limit.NewMeter(), []limit.Charge{under("rule", limit.Rates{PerDay: 10})}
	for i := range 1000 {
		m.Charge(fmt.Sprintf("spiffe://example.org/%d", i), charges, start)
	}
	m.Keep(nil)
	for i := range 1000 {
		m.Charge(fmt.Sprintf("spiffe://example.org/new/%d", i), charges, start)
	}
	if n := m.Callers(); n != 1000 {
		t.Errorf("%d callers are remembered, 1000 still count", n)
	}
}

func TestACallerThatIsKnownCostsNoAllocation(t *testing.T) {
	m := limit.NewMeter()
	rates := limit.Rates{PerSecond: 1e6, PerHour: 1e9, PerDay: 1e9}
	charges := []limit.Charge{under("a", rates), under("b", rates), under("c", limit.Rates{PerHour: 1})}
	now := start
	charge := func() {
		m.Charge(caller, charges[:2], now)
		m.Charge(caller, charges, now)
		now = now.Add(time.Minute)
	}
	for range 2 * 24 * 60 {
		charge()
	}
	if n := testing.AllocsPerRun(1000, charge); n != 0 {
		t.Errorf("two charges make %v allocations", n)
	}
}
