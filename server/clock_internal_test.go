package server

import (
	"testing"
	"time"
)

func TestAClockThatJumpedAheadIsBelievedAfterADayOrWhenItIsSetRight(t *testing.T) {
	start := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	const year = 365 * 24 * time.Hour
	type look struct {
		running, ahead time.Duration
		believed, news bool
	}
	for name, looks := range map[string][]look{
		"a clock that is right":                  {{0, 0, true, false}, {time.Minute, 0, true, false}, {year, 0, true, false}},
		"one that is adjusted":                   {{time.Minute, time.Hour, true, false}, {time.Hour, -time.Hour, true, false}},
		"one that jumps and is set right":        {{time.Minute, year, false, true}, {2 * time.Minute, year, false, false}, {3 * time.Minute, 0, true, true}},
		"one that stays where it jumped":         {{time.Minute, year, false, true}, {24*time.Hour + time.Minute - 1, year, false, false}, {24*time.Hour + time.Minute, year, true, true}, {48 * time.Hour, year, true, false}},
		"one that jumps again":                   {{0, year, false, true}, {24 * time.Hour, year, true, true}, {25 * time.Hour, 2 * year, false, true}},
		"one that jumps in steps":                {{0, 50 * time.Minute, true, false}, {time.Minute, 100 * time.Minute, false, true}},
		"one that is set back and ahead again":   {{0, -year, true, false}, {time.Minute, 0, false, true}},
		"one that began far behind":              {{time.Minute, 50 * year, false, true}},
		"one that is set right and jumps anew":   {{0, year, false, true}, {23 * time.Hour, 0, true, true}, {30 * time.Hour, year, false, true}, {53 * time.Hour, year, false, false}, {54 * time.Hour, year, true, true}},
		"one that sleeps longer than it may":     {{time.Minute, 61 * time.Minute, false, true}},
		"one that nobody looked at for two days": {{48 * time.Hour, year, false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClockWatch(start)
			for i, l := range looks {
				news, err := c.look(start.Add(l.running+l.ahead), l.running)
				if (err == nil) != l.believed || news != l.news || c.Err() != err {
					t.Errorf("look %d: %v, news %t; want it believed: %t, news %t", i, err, news, l.believed, l.news)
				}
			}
		})
	}
}
