package limit_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/signerd/signerd/policy/limit"
)

func TestAnOvertakenRequestEarnsNothingTwice(t *testing.T) {
	m, c := limit.NewMeter(), under("rule", limit.Rates{PerSecond: 1})
	sure(t, m, 1, start.Add(100*time.Millisecond), c)
	for range 100 {
		refused(t, m, 1100*time.Millisecond, start, c)
		refused(t, m, time.Second, start.Add(100*time.Millisecond), c)
	}
	sure(t, m, 1, start.Add(1100*time.Millisecond), c)
}

func TestAClockThatIsSet(t *testing.T) {
	for name, tc := range map[string]struct {
		by    time.Duration
		retry time.Duration // of one request an hour, after the one was had
	}{
		"back a little, stands still until it has caught up": {-time.Second, time.Hour + time.Second},
		"back a minute, the same":                            {-time.Minute, time.Hour + time.Minute},
		"back more, goes on from there":                      {-time.Minute - 1, time.Hour},
		"back ten years, goes on from there":                 {-10 * 365 * 24 * time.Hour, time.Hour},
		"back further than durations reach":                  {-1 << 63, time.Hour},
		"forward a little, is time gone by":                  {time.Minute, 59 * time.Minute},
		"forward an hour, is time gone by":                   {time.Hour, 0},
		"forward ten years, is time gone by":                 {10 * 365 * 24 * time.Hour, 0},
		"forward as far as durations reach":                  {1<<63 - 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m, c := limit.NewMeter(), under("rule", limit.Rates{PerHour: 1})
			sure(t, m, 1, start, c)
			now := start.Add(tc.by)
			if tc.retry > 0 {
				refused(t, m, tc.retry, now, c)
				refused(t, m, 1, now.Add(tc.retry-1), c)
			}
			sure(t, m, 1, now.Add(tc.retry), c)
			refused(t, m, time.Hour, now.Add(tc.retry), c)
		})
	}
}

// However the clock jumps, nobody gets more than the time that it ran forward earned, and no retry is a lie or longer
// than a day and the minute in which the clock may stand still.
func TestAJumpingClockRefillsNothingAndLocksNobodyOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, now := limit.NewMeter(), start
		rates := drawRates(t, "rule")
		charges := []limit.Charge{under("rule", rates)}
		var forward time.Duration
		var had int64
		for range rapid.IntRange(1, 150).Draw(t, "requests") {
			step := pauses.Draw(t, "step")
			if rapid.Bool().Draw(t, "back") {
				step = -step
			}
			forward += max(0, step)
			now = now.Add(step)
			retry, ok := m.Charge(caller, charges, now)
			if !ok && rapid.IntRange(0, 9).Draw(t, "waits") == 0 {
				if retry > 24*time.Hour+time.Minute {
					t.Fatalf("the retry is %v", retry)
				}
				if left, ok := m.Charge(caller, charges, now.Add(retry-1)); ok || left != 1 {
					t.Fatalf("1 ns before the retry of %v: got %v, %v", retry, left, ok)
				}
				forward += retry
				now = now.Add(retry)
				if _, ok = m.Charge(caller, charges, now); !ok {
					t.Fatalf("after the retry of %v it was refused again", retry)
				}
				had++
			} else if ok {
				had++
			}
			if rates.PerHour > 0 && had > rates.PerHour*(1+int64(forward/time.Hour)) ||
				rates.PerDay > 0 && had > rates.PerDay*(1+int64(forward/(24*time.Hour))) ||
				rates.PerSecond > 0 && float64(had) > float64(max(rates.Burst, int(rates.PerSecond)+1))+rates.PerSecond*forward.Seconds()+1e-3 {
				t.Fatalf("had %d within %v", had, forward)
			}
		}
	})
}

func TestTimesWithAMonotonicReadingDoNotMindAClockThatIsSet(t *testing.T) {
	m, c, now := limit.NewMeter(), under("rule", limit.Rates{PerHour: 1}), time.Now()
	sure(t, m, 1, now, c)
	refused(t, m, time.Hour-time.Second, now.Add(time.Second), c)
	sure(t, m, 1, now.Add(time.Hour), c)
}
