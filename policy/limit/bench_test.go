package limit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/signerd/signerd/policy/limit"
)

// allRates bound by everything, and refuse nothing that a benchmark does.
var allRates = limit.Rates{PerSecond: 1e6, Burst: 1e6, PerHour: 1e15, PerDay: 1e15}

func BenchmarkCharge(b *testing.B) {
	for _, bound := range []struct {
		name  string
		rates limit.Rates
	}{{"second", limit.Rates{PerSecond: 1e6}}, {"second, hour and day", allRates}} {
		charges := []limit.Charge{under("orders-may-sign", bound.rates)}
		for _, goroutines := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/goroutines=%d", bound.name, goroutines), func(b *testing.B) {
				m := limit.NewMeter()
				begin := make(chan struct{})
				done := make(chan struct{})
				for g := range goroutines {
					go func() {
						defer func() { done <- struct{}{} }()
						caller := fmt.Sprintf("spiffe://example.org/orders/%d", g)
						<-begin
						now := start
						for range b.N / goroutines {
							now = now.Add(time.Microsecond)
							if _, ok := m.Charge(caller, charges, now); !ok {
								b.Error("refused")
								return
							}
						}
					}()
				}
				b.ReportAllocs()
				b.ResetTimer()
				close(begin)
				for range goroutines {
					<-done
				}
			})
		}
	}
}

// The refusal that takes longest: of a caller that was busy all day, under a limit that was lowered to 1.
func BenchmarkRefusal(b *testing.B) {
	m := limit.NewMeter()
	now := start
	for range 200 {
		m.Charge(caller, []limit.Charge{under("orders-may-sign", limit.Rates{PerDay: 200})}, now)
		now = now.Add(7 * time.Minute)
	}
	charges := []limit.Charge{under("orders-may-sign", limit.Rates{PerDay: 1})}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := m.Charge(caller, charges, now); ok {
			b.Fatal("let through")
		}
	}
}

// Callers that come once each: one account opened, and those before it swept away.
func BenchmarkFirstRequests(b *testing.B) {
	m := limit.NewMeter()
	charges := []limit.Charge{under("orders-may-sign", limit.Rates{PerSecond: 1})}
	now := start
	b.ReportAllocs()
	for i := range b.N {
		now = now.Add(10 * time.Microsecond)
		m.Charge(fmt.Sprintf("spiffe://example.org/orders/%d", i), charges, now)
	}
}
