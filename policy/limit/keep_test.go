package limit_test

import (
	"testing"
	"time"

	"github.com/signerd/signerd/policy/limit"
)

func TestReplacingAPolicy(t *testing.T) {
	for name, tc := range map[string]struct {
		before limit.Rates
		had    int
		after  map[string]limit.Rates // given to Keep
		now    limit.Rates            // charged then
		has    int                    // at once
		retry  time.Duration          // after that
	}{
		"by itself refills nothing": {
			limit.Rates{PerSecond: 1, Burst: 5, PerHour: 5, PerDay: 5}, 3,
			map[string]limit.Rates{"rule": {PerSecond: 1, Burst: 5, PerHour: 5, PerDay: 5}},
			limit.Rates{PerSecond: 1, Burst: 5, PerHour: 5, PerDay: 5}, 2, 24 * time.Hour,
		},
		"without the rule forgets it": {
			limit.Rates{PerDay: 5}, 3, map[string]limit.Rates{"other": {PerDay: 5}}, limit.Rates{PerDay: 5}, 5, 24 * time.Hour,
		},
		"with the rule unlimited forgets it": {
			limit.Rates{PerDay: 5}, 3, map[string]limit.Rates{"rule": {}}, limit.Rates{PerDay: 5}, 5, 24 * time.Hour,
		},
		"with more a day gives the difference": {
			limit.Rates{PerDay: 5}, 5, map[string]limit.Rates{"rule": {PerDay: 7}}, limit.Rates{PerDay: 7}, 2, 24 * time.Hour,
		},
		"with less a day counts what was had": {
			limit.Rates{PerDay: 5}, 4, map[string]limit.Rates{"rule": {PerDay: 2}}, limit.Rates{PerDay: 2}, 0, 24 * time.Hour,
		},
		"with another hour leaves the day": {
			limit.Rates{PerHour: 5, PerDay: 6}, 5, map[string]limit.Rates{"rule": {PerHour: 6, PerDay: 6}}, limit.Rates{PerHour: 6, PerDay: 6}, 1, 24 * time.Hour,
		},
		"without an hour forgets the hour": {
			limit.Rates{PerHour: 5, PerDay: 8}, 5, map[string]limit.Rates{"rule": {PerDay: 8}}, limit.Rates{PerHour: 5, PerDay: 8}, 3, 24 * time.Hour,
		},
		"without a day forgets the day": {
			limit.Rates{PerHour: 5, PerDay: 5}, 5, map[string]limit.Rates{"rule": {PerHour: 7}}, limit.Rates{PerHour: 7, PerDay: 7}, 2, time.Hour,
		},
		"with an hour for the first time counts from then on": {
			limit.Rates{PerDay: 8}, 5, map[string]limit.Rates{"rule": {PerHour: 2, PerDay: 8}}, limit.Rates{PerHour: 2, PerDay: 8}, 2, time.Hour,
		},
		"with a larger burst gives the difference": {
			limit.Rates{PerSecond: 1, Burst: 5}, 5, map[string]limit.Rates{"rule": {PerSecond: 1, Burst: 7}}, limit.Rates{PerSecond: 1, Burst: 7}, 2, time.Second,
		},
		"with a smaller burst bars nobody for longer than one request": {
			limit.Rates{PerSecond: 1e6, Burst: 1000}, 1000, map[string]limit.Rates{"rule": {PerSecond: 0.001}}, limit.Rates{PerSecond: 0.001}, 0, 1000 * time.Second,
		},
		"with another rate holds it from then on": {
			limit.Rates{PerSecond: 1, Burst: 5}, 5, map[string]limit.Rates{"rule": {PerSecond: 4, Burst: 5}}, limit.Rates{PerSecond: 4, Burst: 5}, 0, 250 * time.Millisecond,
		},
		"without a rate forgets the burst": {
			limit.Rates{PerSecond: 1, PerDay: 8}, 1, map[string]limit.Rates{"rule": {PerDay: 8}}, limit.Rates{PerSecond: 1, PerDay: 8}, 1, time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := limit.NewMeter()
			sure(t, m, tc.had, start, under("rule", tc.before))
			m.Keep(tc.after)
			sure(t, m, tc.has, start, under("rule", tc.now))
			refused(t, m, tc.retry, start, under("rule", tc.now))
			sure(t, m, 1, start.Add(tc.retry), under("rule", tc.now))
		})
	}
}

func TestWhatWasEarnedBeforeARateChangedWasEarnedAtTheOldRate(t *testing.T) {
	slow, fast := limit.Rates{PerSecond: 1, Burst: 10}, limit.Rates{PerSecond: 1000, Burst: 10}
	m := limit.NewMeter()
	sure(t, m, 10, start, under("rule", slow))
	m.Keep(map[string]limit.Rates{"rule": fast})
	sure(t, m, 2, start.Add(2*time.Second), under("rule", fast))
	refused(t, m, time.Millisecond, start.Add(2*time.Second), under("rule", fast))
}

func TestKeepLeavesOtherRulesAndOtherCallersAlone(t *testing.T) {
	m, rates := limit.NewMeter(), limit.Rates{PerHour: 1}
	sure(t, m, 1, start, under("a", rates), under("b", rates), under("c", rates))
	other := []limit.Charge{under("a", rates), under("b", rates)}
	m.Charge("unix:uid=1000", other, start)
	m.Keep(map[string]limit.Rates{"a": rates, "c": rates, "d": rates})
	refused(t, m, time.Hour, start, under("a", rates))
	refused(t, m, time.Hour, start, under("c", rates))
	sure(t, m, 1, start, under("b", rates))
	if _, ok := m.Charge("unix:uid=1000", other, start); ok {
		t.Error("another caller's allowance was refilled")
	}
	if _, ok := m.Charge("unix:uid=1000", other[1:], start); !ok {
		t.Error("another caller's count of a rule that is gone was kept")
	}
}
