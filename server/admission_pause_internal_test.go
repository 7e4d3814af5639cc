package server

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestCallsTooManyPauseAndAreNotUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(Limits{MaxConcurrentCalls: 1}.orDefaults(), time.Now, t.Context())
		in, err := a.enter(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		var refused sync.WaitGroup
		for range 100 {
			refused.Go(func() {
				began := time.Now()
				if _, err := a.enter(t.Context(), "a"); !errors.Is(err, errExcess) || time.Since(began) != excessPause {
					t.Errorf("a second call: %v after %v", err, time.Since(began))
				}
			})
		}
		synctest.Wait()
		a.leave(in, false)
		if _, err := a.enter(t.Context(), "a"); err != nil {
			t.Errorf("a call, while others wait for their refusal: %v", err)
		}
		refused.Wait()
	})
}

func TestRefusalsStayRareHoweverManyCallsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(Limits{MaxRefusals: 1, RefusalsPerSecond: 0.01}.orDefaults(), time.Now, t.Context())
		first, err := a.enter(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		a.leave(first, true)
		const callers, long = 3000, 10 * time.Second
		began, refused := time.Now(), 0
		var calling sync.WaitGroup
		var mu sync.Mutex
		for range callers {
			calling.Go(func() {
				for time.Since(began) < long {
					if _, err := a.enter(t.Context(), "a"); !errors.Is(err, errExcess) {
						t.Errorf("got %v", err)
					}
					mu.Lock()
					refused++
					mu.Unlock()
				}
			})
		}
		calling.Wait()
		if most := int(time.Since(began)/excessEach) + 2*callers; refused > most {
			t.Errorf("%d refusals in %v", refused, time.Since(began))
		}
	})
}

func TestNoMoreCallsPauseThanTheMemoryIsMeantFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(Limits{MaxRefusals: 1, RefusalsPerSecond: 0.01}.orDefaults(), time.Now, t.Context())
		l, err := a.enter(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		a.leave(l, true)
		for range maxPaused {
			go func() { _, _ = a.enter(t.Context(), "a") }()
		}
		synctest.Wait()
		began := time.Now()
		if _, err := a.enter(t.Context(), "a"); !errors.Is(err, errExcess) || time.Since(began) != 0 {
			t.Errorf("one more: %v after %v", err, time.Since(began))
		}
	})
}
