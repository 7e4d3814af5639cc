package server

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signerd/signerd/audit"
)

func admitting(t *testing.T, l Limits) *admission {
	t.Helper()
	return newAdmission(l.orDefaults(), time.Now, t.Context())
}

// refusing lets a call of the caller in, and refuses it.
func (a *admission) refusing(t *testing.T, caller string) error {
	t.Helper()
	l, err := a.enter(t.Context(), caller)
	if err == nil {
		a.leave(l, true)
	}
	return err
}

func TestRefusalsBeyondTheBoundAreNotLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := admitting(t, Limits{MaxRefusals: 5, RefusalsPerSecond: 10})
		for range 5 {
			if err := a.refusing(t, "a"); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		var over *excessError
		if err := a.refusing(t, "a"); !errors.As(err, &over) || !errors.Is(err, errExcess) || over.after != 100*time.Millisecond {
			t.Fatalf("the sixth refusal: %v", err)
		}
		if time.Since(began) != excessPause {
			t.Errorf("it was told so after %v", time.Since(began))
		}
		// The pause has forgiven one.
		if err := a.refusing(t, "a"); err != nil {
			t.Error(err)
		}
		if err := a.refusing(t, "b"); err != nil {
			t.Errorf("another caller: %v", err)
		}
		time.Sleep(time.Hour)
		for range 5 {
			if err := a.refusing(t, "a"); err != nil {
				t.Fatalf("an hour later: %v", err)
			}
		}
		if err := a.refusing(t, "a"); err == nil {
			t.Error("an hour forgives more than the bound")
		}
	})
}

func TestCallsThatAreAnsweredCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := admitting(t, Limits{MaxRefusals: 1, RefusalsPerSecond: 0.01})
		for range 1000 {
			l, err := a.enter(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			a.leave(l, false)
		}
	})
}

func TestCallsUnderWayAreBoundedForEachCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := admitting(t, Limits{MaxConcurrentCalls: 3})
		var under []*load
		for range 3 {
			l, err := a.enter(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			under = append(under, l)
		}
		began := time.Now()
		if _, err := a.enter(t.Context(), "a"); !errors.Is(err, errExcess) || time.Since(began) != excessPause {
			t.Errorf("a fourth call: %v after %v", err, time.Since(began))
		}
		if l, err := a.enter(t.Context(), "b"); err != nil {
			t.Errorf("another caller: %v", err)
		} else {
			a.leave(l, false)
		}
		a.leave(under[0], false)
		if _, err := a.enter(t.Context(), "a"); err != nil {
			t.Errorf("in the place of one that ended: %v", err)
		}
	})
}

func TestAPauseEndsWithTheCallAndWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopping, stop := context.WithCancel(t.Context())
		a := newAdmission(Limits{MaxRefusals: 1, RefusalsPerSecond: 0.01}.orDefaults(), time.Now, stopping)
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		must(a.refusing(t, "a"))
		began := time.Now()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := a.enter(gone, "a"); err == nil || time.Since(began) != 0 {
			t.Errorf("a caller that is gone: %v after %v", err, time.Since(began))
		}
		stop()
		if _, err := a.enter(t.Context(), "a"); err == nil || time.Since(began) != 0 {
			t.Errorf("a server that stops: %v after %v", err, time.Since(began))
		}
	})
}

func TestExcessIsOneRecordWithTheIDThatItsCallersWereGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := admitting(t, Limits{MaxRefusals: 1, RefusalsPerSecond: 0.01})
		if err := a.refusing(t, "a"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ids := make(map[string]uint64)
		for range 7 {
			var over *excessError
			if _, err := a.enter(t.Context(), "a"); !errors.As(err, &over) {
				t.Fatal(err)
			}
			ids[over.recordID]++
		}
		var records []audit.Record
		take := func(r *audit.Record) error {
			records = append(records, *r)
			return nil
		}
		// What cannot be recorded is kept.
		if err := a.recordExcess(func(*audit.Record) error { return audit.ErrUnavailable }); !errors.Is(err, audit.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		if _, err := a.enter(t.Context(), "a"); err == nil {
			t.Error("another call is let in")
		}
		if err := a.recordExcess(take); err != nil {
			t.Fatal(err)
		}
		if err := a.recordExcess(take); err != nil {
			t.Fatal(err)
		}
		if len(records) != 1 || len(ids) != 1 || ids[records[0].ID] != 7 {
			t.Fatalf("records %+v for callers that were given %v", records, ids)
		}
		got := records[0]
		if got.Kind != audit.KindExcess || got.Caller != "a" || got.Excess.Calls != 8 || !got.Excess.From.Equal(began) || !got.Excess.Until.Equal(got.Time) {
			t.Errorf("the record is %+v, %+v", got, *got.Excess)
		}
	})
}

func TestCallersWithNothingAgainstThemAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := admitting(t, Limits{})
		for i := range 1000 {
			l, err := a.enter(t.Context(), strconv.Itoa(i))
			if err != nil {
				t.Fatal(err)
			}
			a.leave(l, i%2 == 0)
		}
		under, err := a.enter(t.Context(), "under way")
		if err != nil {
			t.Fatal(err)
		}
		none := func(*audit.Record) error { return errors.New("there is nothing to record") }
		known := func() (n int) {
			a.loads.Range(func(any, any) bool { n++; return true })
			return n
		}
		if err := a.recordExcess(none); err != nil || known() != 501 {
			t.Errorf("%d callers are known, %v; want those with a refusal and one under way", known(), err)
		}
		time.Sleep(time.Hour)
		if err := a.recordExcess(none); err != nil || known() != 1 {
			t.Errorf("an hour later %d callers are known, %v", known(), err)
		}
		a.leave(under, false)
	})
}

func TestNoCallIsLostWhileCallersAreForgotten(t *testing.T) {
	a := newAdmission(Limits{MaxRefusals: 1, RefusalsPerSecond: 100_000}.orDefaults(), time.Now, t.Context())
	over, cancel := context.WithCancel(t.Context())
	cancel() // so that nothing pauses
	var refused, recorded uint64
	take := func(r *audit.Record) error {
		recorded += r.Excess.Calls
		return nil
	}
	var callers sync.WaitGroup
	var mu sync.Mutex
	for range 4 {
		callers.Go(func() {
			for range 5000 {
				l, err := a.enter(over, "a")
				if err == nil {
					a.leave(l, true)
					continue
				}
				mu.Lock()
				refused++
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() { callers.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if err := a.recordExcess(take); err != nil {
			t.Fatal(err)
		}
	}
	if refused != recorded || refused == 0 {
		t.Errorf("%d calls were in excess, %d are on record", refused, recorded)
	}
	a.loads.Range(func(_, value any) bool {
		if n := value.(*load).underWay.Load(); n != 0 && n != forgotten {
			t.Errorf("%d calls are still under way", n)
		}
		return true
	})
}
