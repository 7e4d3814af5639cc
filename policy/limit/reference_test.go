package limit_test

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/signerd/signerd/policy/limit"
)

// reference keeps every request that was let through, by caller and rule, and counts them anew each time.
type reference map[string][]time.Time

func (r reference) within(key string, now time.Time, length time.Duration) (n int64) {
	for _, at := range slices.Backward(r[key]) {
		if now.Sub(at) >= length {
			break
		}
		n++
	}
	return n
}

// fits says whether one more request at now keeps to the rate since each of those before: burst, and what was earned
// since, bound the number of all from there on.
func (r reference) fits(key string, now time.Time, rates limit.Rates) bool {
	log := r[key]
	burst := rates.Burst
	if burst == 0 {
		burst = max(1, int(math.Ceil(rates.PerSecond)))
	}
	for i, at := range log {
		earned := big.NewInt(int64(math.Round(rates.PerSecond * 1000)))
		earned.Mul(earned, big.NewInt(int64(now.Sub(at)))).Div(earned, big.NewInt(1e12))
		if big.NewInt(int64(len(log)-i+1-burst)).Cmp(earned) > 0 {
			return false
		}
	}
	return true
}

// verdict says whether a request must be refused or must be let through; in between, windows have their choice.
func (r reference) verdict(caller string, charges []limit.Charge, now time.Time) (mustRefuse, mustAllow bool) {
	mustAllow = true
	for _, c := range charges {
		key := caller + " " + c.Rule
		if c.Rates.PerSecond > 0 && !r.fits(key, now, c.Rates) {
			mustRefuse = true
		}
		for _, w := range []struct {
			limit        int64
			length, step time.Duration
		}{{c.Rates.PerHour, time.Hour, time.Minute}, {c.Rates.PerDay, 24 * time.Hour, 15 * time.Minute}} {
			if w.limit > 0 && r.within(key, now, w.length) >= w.limit {
				mustRefuse = true
			}
			if w.limit > 0 && r.within(key, now, w.length+w.step) >= w.limit {
				mustAllow = false
			}
		}
	}
	return mustRefuse, mustAllow && !mustRefuse
}

func (r reference) admit(caller string, charges []limit.Charge, now time.Time) {
	for _, c := range charges {
		r[caller+" "+c.Rule] = append(r[caller+" "+c.Rule], now)
	}
}

type tester interface {
	Helper()
	Fatalf(string, ...any)
}

// charge charges m, holds the answer against r, and writes down what was let through.
func (r reference) charge(t tester, m *limit.Meter, caller string, charges []limit.Charge, now time.Time) (time.Duration, bool) {
	t.Helper()
	mustRefuse, mustAllow := r.verdict(caller, charges, now)
	retry, ok := m.Charge(caller, charges, now)
	switch {
	case ok && mustRefuse:
		t.Fatalf("%s at %v: let through over its limit", caller, now.Sub(start))
	case !ok && mustAllow:
		t.Fatalf("%s at %v: refused below its limit", caller, now.Sub(start))
	case ok != (retry == 0) || retry < 0 || retry > 24*time.Hour:
		t.Fatalf("%s at %v: retry %v, ok %v", caller, now.Sub(start), retry, ok)
	case ok:
		r.admit(caller, charges, now)
	}
	return retry, ok
}

func drawRates(t *rapid.T, name string) limit.Rates {
	var r limit.Rates
	for !r.Limited() || r.Check() != nil {
		r = limit.Rates{}
		if rapid.Bool().Draw(t, name+" has a rate") {
			r.PerSecond = float64(rapid.OneOf(rapid.Int64Range(1, 5000), rapid.Int64Range(1, 1e9)).Draw(t, name+" thousandths")) / 1000
			r.Burst = rapid.IntRange(0, 8).Draw(t, name+" burst")
		}
		if rapid.Bool().Draw(t, name+" has an hour") {
			r.PerHour = rapid.Int64Range(1, 12).Draw(t, name+" hour")
		}
		if rapid.Bool().Draw(t, name+" has a day") {
			r.PerDay = rapid.Int64Range(1, 30).Draw(t, name+" day")
		}
	}
	return r
}

// pauses are between requests: of every length that means something to a limit, and a little to both sides.
var pauses = rapid.Custom(func(t *rapid.T) time.Duration {
	unit := rapid.SampledFrom([]time.Duration{0, 0, 1, time.Microsecond, time.Millisecond, time.Second, 20 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 24 * time.Hour}).Draw(t, "unit")
	return max(0, unit*time.Duration(rapid.IntRange(1, 4).Draw(t, "units"))+time.Duration(rapid.IntRange(-2, 2).Draw(t, "and ns")))
})

func TestNeverMoreThanTheExactCountAllowsNorLessThanItMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, exact, now := limit.NewMeter(), reference{}, start
		var rules []limit.Charge
		for i := range rapid.IntRange(1, 4).Draw(t, "rules") {
			name := fmt.Sprintf("rule%d", i)
			rules = append(rules, under(name, drawRates(t, name)))
		}
		callers := rapid.IntRange(1, 12).Draw(t, "callers")
		for range rapid.IntRange(1, 120).Draw(t, "requests") {
			now = now.Add(pauses.Draw(t, "pause"))
			who := fmt.Sprintf("caller%d", rapid.IntRange(1, callers).Draw(t, "caller"))
			charges := rapid.Permutation(rules).Draw(t, "order")[:rapid.IntRange(1, len(rules)).Draw(t, "matching")]
			retry, ok := exact.charge(t, m, who, charges, now)
			if ok || rapid.IntRange(0, 3).Draw(t, "goes on without waiting") == 0 {
				continue
			}
			// The retry is true: refused just before, let through then.
			now = now.Add(retry - 1)
			if left, ok := exact.charge(t, m, who, charges, now); ok || left != 1 {
				t.Fatalf("1 ns before the retry of %v: got %v, %v", retry, left, ok)
			}
			now = now.Add(1)
			if _, ok := exact.charge(t, m, who, charges, now); !ok {
				t.Fatalf("after the retry of %v it was refused again", retry)
			}
		}
	})
}

func TestWindowsAreExactForACallerThatIsAlwaysBusy(t *testing.T) {
	const minute, quarter = time.Minute, 15 * time.Minute
	for name, tc := range map[string]struct {
		rates  limit.Rates
		pauses []time.Duration // over and over
	}{
		"many to an hour's step":                     {limit.Rates{PerHour: 500}, []time.Duration{7 * time.Second}},
		"just within an hour's step":                 {limit.Rates{PerHour: 60}, []time.Duration{minute - 1}},
		"on an hour's step":                          {limit.Rates{PerHour: 59}, []time.Duration{minute}},
		"just over an hour's step":                   {limit.Rates{PerHour: 58}, []time.Duration{minute + 1}},
		"at an hour's step's beginning and end":      {limit.Rates{PerHour: 119}, []time.Duration{minute - 1, 1}},
		"the same, with the most the hour can hold":  {limit.Rates{PerHour: 121}, []time.Duration{minute - 1, 1}},
		"the same, with more than the hour can hold": {limit.Rates{PerHour: 122}, []time.Duration{minute - 1, 1}},
		"many to a day's step":                       {limit.Rates{PerDay: 700}, []time.Duration{2*minute + 1}},
		"just within a day's step":                   {limit.Rates{PerDay: 96}, []time.Duration{quarter - 1}},
		"on a day's step":                            {limit.Rates{PerDay: 95}, []time.Duration{quarter}},
		"just over a day's step":                     {limit.Rates{PerDay: 94}, []time.Duration{quarter + 1}},
		"at a day's step's beginning and end":        {limit.Rates{PerDay: 193}, []time.Duration{quarter - 1, 1}},
		"in an hour and a day":                       {limit.Rates{PerHour: 30, PerDay: 300}, []time.Duration{minute, 1, 3 * minute, 20 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			m, exact, now := limit.NewMeter(), reference{}, start
			charges := []limit.Charge{under("rule", tc.rates)}
			for i := range 1200 {
				exact.charge(t, m, caller, charges, now)
				now = now.Add(tc.pauses[i%len(tc.pauses)])
			}
			// The ring stands where it began, if it never lost anything.
			now = now.Add(48 * time.Hour)
			for range max(tc.rates.PerHour, tc.rates.PerDay) + 1 {
				exact.charge(t, m, caller, charges, now)
			}
		})
	}
}

// Callers that share a meter, and its sweeping, get the answers that each alone would get.
func TestCallersDoNotNoticeEachOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shared, alone, now := limit.NewMeter(), map[string]*limit.Meter{}, start
		charges := []limit.Charge{under("rule", drawRates(t, "rule"))}
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			now = now.Add(pauses.Draw(t, "pause"))
			who := fmt.Sprintf("caller%d", rapid.IntRange(1, 40).Draw(t, "caller"))
			if alone[who] == nil {
				alone[who] = limit.NewMeter()
			}
			retry, ok := shared.Charge(who, charges, now)
			wantRetry, want := alone[who].Charge(who, charges, now)
			if retry != wantRetry || ok != want {
				t.Fatalf("%s at %v: got %v, %v; alone %v, %v", who, now.Sub(start), retry, ok, wantRetry, want)
			}
		}
	})
}
