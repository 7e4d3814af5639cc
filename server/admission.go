package server

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signerd/signerd/audit"
)

// Defaults of what one caller may burden signerd with.
const (
	DefaultMaxConcurrentCalls = 1024
	DefaultMaxRefusals        = 1000
	DefaultRefusalsPerSecond  = 50
)

// An excess call waits for its refusal, so that a caller that asks again at once leaves the processor to others: for excessPause, and
// longer where so many wait that more than one would be refused each excessEach.
const (
	excessPause    = 100 * time.Millisecond
	excessEach     = 200 * time.Microsecond
	maxExcessPause = 5 * time.Second
	// maxPaused is how many calls of one caller wait like that; more are refused at once, so that they cannot fill the memory.
	maxPaused = 4096
)

// excessInterval is what one record of excess calls covers.
const excessInterval = time.Minute

// admission bounds what each caller may burden signerd with, before a record is opened: how many calls it may have under
// way, and how many refused ones signerd records. Letting a call pass takes no lock. It is safe for concurrent use.
type admission struct {
	calls    int32
	burst    time.Duration // of refusals, as the time in which they are forgiven
	each     time.Duration // in which one refusal is forgiven
	now      func() time.Time
	stopping context.Context

	loads sync.Map // caller → *load
}

// load is what one caller has under way and against it.
type load struct {
	caller string
	// underWay is negative once the load is forgotten, and another takes its place.
	underWay atomic.Int32
	// waiting are the calls that are refused here, and wait to be told so. They are not under way.
	waiting atomic.Int32
	// forgiven is when the last refusal will be forgiven, in nanoseconds: a bucket that leaks (GCRA).
	forgiven atomic.Int64

	mu     sync.Mutex
	excess *excess // calls that were refused here and are not recorded yet
}

// excess counts calls for the record that they will have together.
type excess struct {
	id          string
	calls       uint64
	from, until time.Time
}

// forgotten is far below any number of calls under way.
const forgotten = -1 << 30

func newAdmission(l Limits, now func() time.Time, stopping context.Context) *admission {
	each := time.Duration(float64(time.Second) / l.RefusalsPerSecond)
	return &admission{calls: int32(l.MaxConcurrentCalls), burst: time.Duration(l.MaxRefusals) * each, each: each, now: now, stopping: stopping}
}

// excessError says that a caller has too many calls, when it may come again, and which record counts them. It is errExcess.
type excessError struct {
	after    time.Duration
	recordID string
}

// Error implements error.
func (e *excessError) Error() string { return errExcess.Error() }

// Is makes every excessError an errExcess.
func (e *excessError) Is(target error) bool { return target == errExcess }

// enter lets a call pass, which must leave, or gives an *excessError.
func (a *admission) enter(ctx context.Context, caller string) (*load, error) {
	l := a.join(caller)
	now := a.now()
	wait := time.Duration(l.forgiven.Load()-now.UnixNano()) + a.each - a.burst
	crowded := l.underWay.Load() > a.calls
	if wait <= 0 && !crowded {
		return l, nil
	}
	err := &excessError{max(wait, a.each), l.refuse(now)}
	// Otherwise those that wait would keep out those that may come in.
	l.underWay.Add(-1)
	pause := excessPause
	if !crowded {
		pause = min(wait, excessPause)
	}
	waiting := l.waiting.Add(1)
	defer l.waiting.Add(-1)
	if waiting > maxPaused {
		return nil, err
	}
	a.pause(ctx, max(pause, min(time.Duration(waiting)*excessEach, maxExcessPause)))
	return nil, err
}

// join counts a call of the caller.
func (a *admission) join(caller string) *load {
	for {
		known, ok := a.loads.Load(caller)
		if !ok {
			known, _ = a.loads.LoadOrStore(caller, &load{caller: caller})
		}
		l := known.(*load)
		if l.underWay.Add(1) > 0 {
			return l
		}
		a.loads.CompareAndDelete(caller, known)
	}
}

func (a *admission) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-a.stopping.Done():
	}
}

// leave ends a call that was let in.
func (a *admission) leave(l *load, refused bool) {
	defer l.underWay.Add(-1)
	if !refused {
		return
	}
	now := a.now().UnixNano()
	for {
		before := l.forgiven.Load()
		if l.forgiven.CompareAndSwap(before, max(before, now)+int64(a.each)) {
			return
		}
	}
}

// refuse counts a call, and names the record that it will be part of.
func (l *load) refuse(now time.Time) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.excess == nil {
		l.excess = &excess{id: newRecordID(now), from: now}
	}
	l.excess.calls++
	l.excess.until = now
	return l.excess.id
}

// take gives the record of a caller's excess calls, nil without any. putBack returns what could not be recorded.
func (l *load) take() *excess {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.excess
	l.excess = nil
	return e
}

func (l *load) putBack(e *excess) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.excess != nil {
		e.calls += l.excess.calls
		e.until = l.excess.until
	}
	l.excess = e
}

// recordExcess records every caller's excess calls, and forgets callers with nothing against them. What cannot be recorded now
// is kept for the next time.
func (a *admission) recordExcess(appendRecord func(*audit.Record) error) error {
	var failed error
	a.loads.Range(func(_, value any) bool {
		l := value.(*load)
		// Forgotten first: whoever comes in from then on counts elsewhere.
		if l.forgiven.Load() <= a.now().UnixNano() && l.underWay.CompareAndSwap(0, forgotten) {
			a.loads.CompareAndDelete(l.caller, value)
		}
		e := l.take()
		if e == nil {
			return true
		}
		err := appendRecord(&audit.Record{Kind: audit.KindExcess, ID: e.id, Time: e.until, Caller: l.caller,
			Excess: &audit.Excess{Calls: e.calls, From: e.from, Until: e.until}})
		if err != nil {
			failed = fmt.Errorf("recording %d excess calls: %w", e.calls, err)
			again := a.join(l.caller)
			again.putBack(e)
			again.underWay.Add(-1)
		}
		return true
	})
	return failed
}
