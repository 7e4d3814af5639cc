package limit_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signerd/signerd/policy/limit"
)

func TestOfConcurrentRequestsExactlyAsManyAsAllowedGetThrough(t *testing.T) {
	m := limit.NewMeter()
	bounded, loose := limit.Rates{PerSecond: 1, Burst: 300, PerHour: 300, PerDay: 300}, limit.Rates{PerHour: 1e9}
	// Both share "shared", and name their rules in opposite order.
	sets := [][]limit.Charge{
		{under("shared", bounded), under("a", loose), under("b", loose)},
		{under("b", loose), under("a", loose), under("shared", bounded)},
	}
	rules := map[string]limit.Rates{"shared": bounded, "a": loose, "b": loose}
	var got [4]atomic.Int64
	var work sync.WaitGroup
	for g := range 64 {
		work.Go(func() {
			for range 100 {
				if _, ok := m.Charge(fmt.Sprint(g%len(got)), sets[g/len(got)%2], start); ok {
					got[g%len(got)].Add(1)
				}
			}
		})
	}
	// Meanwhile a policy is applied again, and strangers come and go.
	work.Go(func() {
		for i := range 200 {
			m.Keep(rules)
			m.Charge(fmt.Sprintf("stranger %d", i), []limit.Charge{under("a", limit.Rates{PerSecond: 1e6})}, start.Add(time.Duration(i)*time.Millisecond))
		}
	})
	work.Wait()
	for i := range got {
		if n := got[i].Load(); n != 300 {
			t.Errorf("caller %d had %d requests, want 300", i, n)
		}
	}
}

// Accounts are swept away and opened again at the very moment when several requests of their callers come.
func TestSweepingAndChargingAtOnceLoseNoCount(t *testing.T) {
	m, charges := limit.NewMeter(), []limit.Charge{under("rule", limit.Rates{PerHour: 3})}
	for round := range 200 {
		now := start.Add(time.Duration(round) * time.Hour)
		var got [5]atomic.Int64
		var work sync.WaitGroup
		for g := range 8 {
			work.Go(func() {
				for i := range 5 * len(got) {
					if _, ok := m.Charge(fmt.Sprint((g+i)%len(got)), charges, now); ok {
						got[(g+i)%len(got)].Add(1)
					}
					m.Charge(fmt.Sprintf("stranger %d", i), charges, now)
				}
			})
		}
		work.Wait()
		for i := range got {
			if n := got[i].Load(); n != 3 {
				t.Fatalf("round %d: caller %d had %d requests, want 3", round, i, n)
			}
		}
	}
}

func TestFirstRequestsThatComeAtOnceAreCountedTogether(t *testing.T) {
	m, charges := limit.NewMeter(), []limit.Charge{under("rule", limit.Rates{PerHour: 1})}
	var got [5000]atomic.Int64
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for i := range got {
				if _, ok := m.Charge(fmt.Sprint(i), charges, start); ok {
					got[i].Add(1)
				}
			}
		})
	}
	work.Wait()
	for i := range got {
		if n := got[i].Load(); n != 1 {
			t.Fatalf("caller %d had %d requests, want 1", i, n)
		}
	}
}

func TestARequestWhoseCallerIsSweptAwayMeanwhileIsCountedAllTheSame(t *testing.T) {
	charges, later := []limit.Charge{under("rule", limit.Rates{PerHour: 1})}, start.Add(time.Hour)
	for range 100 {
		m := limit.NewMeter()
		sure(t, m, 1, start, charges...)
		var work sync.WaitGroup
		m.SweepDuring(caller, func() {
			work.Go(func() { m.Charge(caller, charges, later) })
			// Lets the request get as far as it can: to the account that is about to go.
			for range 20 {
				runtime.Gosched()
			}
		})
		work.Wait()
		refused(t, m, time.Hour, later, charges...)
	}
}
