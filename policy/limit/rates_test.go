package limit_test

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/signerd/signerd/policy/limit"
)

func TestCheckRefusesWhatCannotBeMeant(t *testing.T) {
	for name, tc := range map[string]struct {
		rates limit.Rates
		want  string // of the error; empty for none
	}{
		"no bounds are no mistake":                           {limit.Rates{}, ""},
		"a rate alone":                                       {limit.Rates{PerSecond: 20}, ""},
		"a rate below one":                                   {limit.Rates{PerSecond: 0.5}, ""},
		"the smallest rate":                                  {limit.Rates{PerSecond: 0.001}, ""},
		"the largest rate and burst":                         {limit.Rates{PerSecond: 1e6, Burst: 1e6}, ""},
		"a burst that takes a day":                           {limit.Rates{PerSecond: 0.5, Burst: 43_200}, ""},
		"everything at once":                                 {limit.Rates{PerSecond: 5, Burst: 10, PerHour: 10, PerDay: 10}, ""},
		"a day that holds more than its hours":               {limit.Rates{PerHour: 1, PerDay: 1000}, ""},
		"a rate that its hour does not hold":                 {limit.Rates{PerSecond: 10, PerHour: 100}, ""},
		"a negative rate":                                    {limit.Rates{PerSecond: -1}, "per_second is -1"},
		"a rate too small":                                   {limit.Rates{PerSecond: 0.0001}, "per_second is 0.0001; wanted 0.001"},
		"a rate too large":                                   {limit.Rates{PerSecond: 1_000_001}, "per_second is"},
		"a rate with four decimals":                          {limit.Rates{PerSecond: 1.2345}, "at most three decimals"},
		"a rate that is no number":                           {limit.Rates{PerSecond: math.NaN()}, "per_second is NaN"},
		"an infinite rate":                                   {limit.Rates{PerSecond: math.Inf(1)}, "per_second is +Inf"},
		"an infinite negative rate":                          {limit.Rates{PerSecond: math.Inf(-1)}, "per_second is -Inf"},
		"a negative burst":                                   {limit.Rates{PerSecond: 1, Burst: -1}, "burst is -1"},
		"a burst too large":                                  {limit.Rates{PerSecond: 1e6, Burst: 1_000_001}, "burst is 1000001"},
		"a burst without a rate":                             {limit.Rates{Burst: 5}, "burst needs per_second"},
		"a burst without a rate beside an hour":              {limit.Rates{Burst: 5, PerHour: 10}, "burst needs per_second"},
		"a burst that takes longer than a day":               {limit.Rates{PerSecond: 0.5, Burst: 43_201}, "longer than a day"},
		"a burst that the hour never has room for":           {limit.Rates{PerSecond: 1, Burst: 10, PerHour: 9}, "burst is 10 (without one: per_second rounded up), which per_hour 9"},
		"a burst that the day never has room for":            {limit.Rates{PerSecond: 1, Burst: 10, PerDay: 9}, "which per_day 9"},
		"a rate whose own burst the hour never has room for": {limit.Rates{PerSecond: 9.5, PerHour: 9}, "burst is 10"},
		"a negative hour":                                    {limit.Rates{PerHour: -1}, "per_hour is -1"},
		"a negative day":                                     {limit.Rates{PerDay: -1}, "per_day is -1"},
		"an hour that the day never has room for":            {limit.Rates{PerHour: 10, PerDay: 9}, "per_hour is 10, which per_day 9"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.rates.Check()
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestEveryThousandthIsARate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rates := limit.Rates{PerSecond: float64(rapid.Int64Range(1, 1e9).Draw(t, "thousandths")) / 1000}
		if err := rates.Check(); err != nil {
			t.Error(err)
		}
	})
}

func TestLimitedIsWhatBounds(t *testing.T) {
	for rates, want := range map[limit.Rates]bool{
		{}:             false,
		{PerSecond: 1}: true,
		{PerHour: 1}:   true,
		{PerDay: 1}:    true,
	} {
		if rates.Limited() != want {
			t.Errorf("%+v: got %v", rates, !want)
		}
	}
}
