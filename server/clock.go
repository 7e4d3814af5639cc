package server

import (
	"fmt"
	"sync"
	"time"
)

// What a clock may be ahead of what it should say before it is not believed, and for how long it is not. A clock that is slewed
// stays far below it; a machine that slept for longer is held up for nothing but that time.
const (
	maxClockJump = time.Hour
	clockGrace   = 24 * time.Hour
)

// clockWatch holds the system's clock against the time that the process has run, which no setting of the clock changes. What is
// destroyed because the clock is wrong for a minute is gone for good, so a clock that jumped ahead is believed only once it has been
// ahead for clockGrace since it was looked at, which is when something is due by it. At a start the clock is taken as it is.
type clockWatch struct {
	mu      sync.Mutex
	origin  time.Time     // what the clock said, or should have, when the process had run for no time
	jumped  bool          // it is ahead
	noticed time.Duration // when that was seen first
	err     error         // what there is to say; nil while the clock is believed
}

func newClockWatch(now time.Time) *clockWatch { return &clockWatch{origin: now.Round(0)} }

// look is told what the clock says after the process has run for a time. An error says that it is not believed, and until when; news
// that this, or its end, was not told before.
func (c *clockWatch) look(now time.Time, running time.Duration) (news bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.jumped
	ahead := now.Round(0).Sub(c.origin) - running
	if ahead > maxClockJump && !c.jumped {
		c.jumped, c.noticed = true, running
	}
	left := clockGrace - (running - c.noticed)
	switch {
	case c.jumped && ahead > maxClockJump && left > 0:
		c.err = fmt.Errorf("the clock is ahead by %s of what it said since the start: nothing is destroyed before it has been so for %s, %s from now on",
			ahead.Round(time.Minute), clockGrace, left.Round(time.Minute))
		return !before, c.err
	case c.jumped && ahead > maxClockJump || ahead < -maxClockJump:
		// It is the time, or it was set back, by which nothing comes due.
		c.origin = now.Round(0).Add(-running)
	}
	c.jumped, c.err = false, nil
	return before, nil
}

// Err says why the clock is not believed; nil if it is.
func (c *clockWatch) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
