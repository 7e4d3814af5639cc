package limit_test

import (
	"testing"
	"time"

	"github.com/signerd/signerd/policy/limit"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const caller = "spiffe://example.org/orders"

func under(rule string, rates limit.Rates) limit.Charge {
	return limit.Charge{Rule: rule, Rates: rates}
}

// sure charges n times and fails unless all are let through.
func sure(t testing.TB, m *limit.Meter, n int, now time.Time, charges ...limit.Charge) {
	t.Helper()
	for i := range n {
		if retry, ok := m.Charge(caller, charges, now); !ok || retry != 0 {
			t.Fatalf("request %d of %d: got %v, %v; want it let through", i+1, n, retry, ok)
		}
	}
}

// refused charges once and fails unless it is refused for exactly want.
func refused(t testing.TB, m *limit.Meter, want time.Duration, now time.Time, charges ...limit.Charge) {
	t.Helper()
	if retry, ok := m.Charge(caller, charges, now); ok || retry != want {
		t.Fatalf("got %v, %v; want it refused for %v", retry, ok, want)
	}
}

func TestAllowanceIsUsedUpAndComesBack(t *testing.T) {
	for name, tc := range map[string]struct {
		rates limit.Rates
		has   int           // at once
		retry time.Duration // after that
	}{
		"one a second has a burst of one":              {limit.Rates{PerSecond: 1}, 1, time.Second},
		"half a request a second has a burst of one":   {limit.Rates{PerSecond: 0.5}, 1, 2 * time.Second},
		"a rate between numbers has the next as burst": {limit.Rates{PerSecond: 2.5}, 3, 400 * time.Millisecond},
		"a third of a second is rounded up":            {limit.Rates{PerSecond: 3}, 3, 333_333_334},
		"a burst may be less than the rate":            {limit.Rates{PerSecond: 100, Burst: 1}, 1, 10 * time.Millisecond},
		"a burst may be more than the rate":            {limit.Rates{PerSecond: 1, Burst: 10}, 10, time.Second},
		"the smallest rate":                            {limit.Rates{PerSecond: 0.001}, 1, 1000 * time.Second},
		"the largest rate":                             {limit.Rates{PerSecond: 1e6, Burst: 2}, 2, time.Microsecond},
		"one an hour":                                  {limit.Rates{PerHour: 1}, 1, time.Hour},
		"many an hour":                                 {limit.Rates{PerHour: 200}, 200, time.Hour},
		"one a day":                                    {limit.Rates{PerDay: 1}, 1, 24 * time.Hour},
		"the hour is exhausted before the day":         {limit.Rates{PerHour: 3, PerDay: 4}, 3, time.Hour},
		"the second is exhausted before the hour":      {limit.Rates{PerSecond: 1, PerHour: 2}, 1, time.Second},
		"the longest wait of those exhausted counts":   {limit.Rates{PerSecond: 2, PerHour: 2, PerDay: 2}, 2, 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.rates.Check(); err != nil {
				t.Fatal(err)
			}
			m, c := limit.NewMeter(), under("rule", tc.rates)
			sure(t, m, tc.has, start, c)
			refused(t, m, tc.retry, start, c)
			refused(t, m, 1, start.Add(tc.retry-1), c)
			sure(t, m, 1, start.Add(tc.retry), c)
		})
	}
}

func TestABurstIsEarnedOneByOneAndNeverMore(t *testing.T) {
	m, c := limit.NewMeter(), under("rule", limit.Rates{PerSecond: 2, Burst: 5})
	sure(t, m, 5, start, c)
	sure(t, m, 1, start.Add(500*time.Millisecond), c)
	sure(t, m, 2, start.Add(1500*time.Millisecond), c)
	refused(t, m, 400*time.Millisecond, start.Add(1600*time.Millisecond), c)
	sure(t, m, 5, start.Add(300*time.Hour), c)
	refused(t, m, 500*time.Millisecond, start.Add(300*time.Hour), c)
}

func TestAnHourSlides(t *testing.T) {
	m, c := limit.NewMeter(), under("rule", limit.Rates{PerHour: 3})
	sure(t, m, 1, start, c)
	sure(t, m, 1, start.Add(20*time.Minute), c)
	sure(t, m, 1, start.Add(59*time.Minute), c)
	refused(t, m, time.Minute, start.Add(59*time.Minute), c)
	sure(t, m, 1, start.Add(60*time.Minute), c)
	refused(t, m, 20*time.Minute, start.Add(60*time.Minute), c)
}

func TestRequestsLessThanAStepApartLeaveTogether(t *testing.T) {
	m, c := limit.NewMeter(), under("rule", limit.Rates{PerHour: 2})
	sure(t, m, 1, start, c)
	sure(t, m, 1, start.Add(time.Minute-1), c)
	refused(t, m, 1, start.Add(time.Hour+time.Minute-2), c)
	sure(t, m, 2, start.Add(time.Hour+time.Minute-1), c)
}

func TestNothingIsChargedUnlessAllIs(t *testing.T) {
	m := limit.NewMeter()
	one, five := under("one", limit.Rates{PerHour: 1}), under("five", limit.Rates{PerSecond: 1, Burst: 5, PerHour: 5, PerDay: 5})
	sure(t, m, 1, start, one)
	for range 10 {
		refused(t, m, time.Hour, start, five, one)
		refused(t, m, time.Hour, start, one, five)
	}
	sure(t, m, 5, start, five)
	refused(t, m, 24*time.Hour, start, one, five)
}

func TestEachRuleIsCharged(t *testing.T) {
	m := limit.NewMeter()
	three, five := under("three", limit.Rates{PerHour: 3}), under("five", limit.Rates{PerHour: 5})
	sure(t, m, 3, start, three, five)
	refused(t, m, time.Hour, start, three)
	sure(t, m, 2, start, five)
	refused(t, m, time.Hour, start, five)
}

func TestCallersDoNotShareAnAllowance(t *testing.T) {
	m, charges := limit.NewMeter(), []limit.Charge{under("rule", limit.Rates{PerHour: 1})}
	for _, c := range []string{caller, "spiffe://example.org/payments", "unix:uid=1000", ""} {
		if _, ok := m.Charge(c, charges, start); !ok {
			t.Errorf("%q was refused its first request", c)
		}
		if _, ok := m.Charge(c, charges, start); ok {
			t.Errorf("%q had two", c)
		}
	}
}

func TestARuleThatIsNamedTwiceIsChargedOnce(t *testing.T) {
	m, c := limit.NewMeter(), under("rule", limit.Rates{PerHour: 2})
	sure(t, m, 2, start, c, c)
	refused(t, m, time.Hour, start, c, c)
}

func TestWhatBoundsNothingIsNotCounted(t *testing.T) {
	m, free := limit.NewMeter(), under("free", limit.Rates{})
	sure(t, m, 100, start)
	sure(t, m, 100, start, free)
	if n := m.Callers(); n != 0 {
		t.Errorf("%d callers are remembered for nothing", n)
	}
	c := under("rule", limit.Rates{PerHour: 1})
	sure(t, m, 1, start, free, c, free)
	refused(t, m, time.Hour, start, free, c)
	sure(t, m, 1, start, free)
}

func TestARefusalCostsNothing(t *testing.T) {
	m, c := limit.NewMeter(), under("rule", limit.Rates{PerSecond: 1, PerHour: 100})
	sure(t, m, 1, start, c)
	for i := range 1000 {
		refused(t, m, time.Second-time.Duration(i), start.Add(time.Duration(i)), c)
	}
	sure(t, m, 1, start.Add(time.Second), c)
}
