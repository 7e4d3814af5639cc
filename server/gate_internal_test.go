package server

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestWaitingAtTheGateEndsWithTheLastThatWasCountedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		g.wait() // for nobody
		first, second := g.enter(), g.enter()
		var ended atomic.Bool
		go func() { g.wait(); ended.Store(true) }()
		synctest.Wait()
		later := g.enter()
		first.leave()
		synctest.Wait()
		if ended.Load() {
			t.Error("it ended while one was still leaving")
		}
		second.leave()
		synctest.Wait()
		if !ended.Load() {
			t.Error("it waits for one that came later")
		}
		later.leave()
		g.wait()
	})
}

func TestWhoWaitsSecondWaitsForThoseOfTheFirstAsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		leaving := g.enter()
		var ended atomic.Int32
		for range 2 {
			go func() { g.wait(); ended.Add(1) }()
		}
		synctest.Wait()
		if n := ended.Load(); n > 0 {
			t.Errorf("%d of 2 ended while one was still leaving", n)
		}
		leaving.leave()
		synctest.Wait()
		if n := ended.Load(); n != 2 {
			t.Errorf("%d of 2 ended, and nobody is leaving", n)
		}
	})
}

// A crowd that was waited for may be entered for a moment by who looked before it was replaced.
func TestACrowdMayBecomeEmptyMoreThanOnce(t *testing.T) {
	c := newCrowd()
	c.leave()
	<-c.left
	c.leaving.Add(1)
	c.leave()
}

// What a freeze promises, as small as it can be: once whoever stops has waited, nobody who saw it open is still inside.
func TestNobodyIsInsideOnceAFreezeHasWaited(t *testing.T) {
	const freezes = 200
	g := newGate()
	var frozen, over atomic.Bool
	var inside, passed atomic.Int64
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for !over.Load() {
				leaving := g.enter()
				if !frozen.Load() {
					inside.Add(1)
					passed.Add(1)
					inside.Add(-1)
				}
				leaving.leave()
				runtime.Gosched() // on few processors, whoever waits would be the last to know
			}
		})
	}
	var freezing sync.WaitGroup
	var turn sync.Mutex
	for range 2 {
		freezing.Go(func() {
			for range freezes {
				turn.Lock()
				frozen.Store(true)
				g.wait()
				if n := inside.Load(); n != 0 {
					t.Errorf("%d are inside after the wait", n)
				}
				frozen.Store(false)
				turn.Unlock()
			}
		})
	}
	freezing.Wait()
	over.Store(true)
	callers.Wait()
	if passed.Load() == 0 {
		t.Error("nobody ever passed")
	}
}

func BenchmarkGate(b *testing.B) {
	g := newGate()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			g.enter().leave()
		}
	})
}
