package policy_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/signerd/signerd/policy"
)

func newPermit(t testing.TB, key string) *policy.Permit {
	t.Helper()
	alice := caller(t, 1000)
	p := newPolicy(t, grant([]policy.Caller{alice}, []string{policy.Any}, policy.Any))
	permit, err := p.Decide(policy.Question{Caller: alice, Operation: sign, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return permit
}

func TestAPermitIsGoodForOneUseOfItsKey(t *testing.T) {
	permit := newPermit(t, "orders")
	for i, key := range []string{"payments", "", policy.Any, "order", "orders "} {
		if err := permit.Redeem(key); err != policy.ErrPermit {
			t.Errorf("use %d, for %q: got %v", i, key, err)
		}
	}
	if err := permit.Redeem("orders"); err != nil {
		t.Fatalf("the first use: %v", err)
	}
	for range 3 {
		if err := permit.Redeem("orders"); err != policy.ErrPermit {
			t.Errorf("used up: got %v", err)
		}
	}
}

func TestOnlyDecideMakesAPermitThatIsWorthAnything(t *testing.T) {
	for name, permit := range map[string]*policy.Permit{
		"nil":                                 nil,
		"a permit of one's own":               new(policy.Permit),
		"a permit of a decision without keys": newPermit(t, ""),
	} {
		for _, key := range []string{"", "orders", policy.Any} {
			if err := permit.Redeem(key); err != policy.ErrPermit {
				t.Errorf("%s, for %q: got %v", name, key, err)
			}
		}
	}
}

func TestEachDecisionGivesAPermitOfItsOwn(t *testing.T) {
	alice := caller(t, 1000)
	p := newPolicy(t, grant([]policy.Caller{alice}, []string{"orders"}, sign))
	for range 2 {
		permit, err := p.Decide(policy.Question{Caller: alice, Operation: sign, Key: "orders"})
		if err != nil {
			t.Fatal(err)
		}
		if err := permit.Redeem("orders"); err != nil {
			t.Error(err)
		}
	}
}

func TestOfConcurrentUsesExactlyOneWins(t *testing.T) {
	for range 200 {
		permit := newPermit(t, "orders")
		var wins atomic.Int32
		var uses sync.WaitGroup
		start := make(chan struct{})
		for range 8 {
			uses.Go(func() {
				<-start
				if permit.Redeem("orders") == nil {
					wins.Add(1)
				}
			})
		}
		close(start)
		uses.Wait()
		if wins.Load() != 1 {
			t.Fatalf("%d uses won", wins.Load())
		}
	}
}

func TestAPolicyDecidesForManyAtOnce(t *testing.T) {
	alice := caller(t, 1000)
	p := newPolicy(t, grant([]policy.Caller{alice}, []string{"orders"}, sign))
	var deciders sync.WaitGroup
	for range 4 {
		deciders.Go(func() {
			for range 100 {
				if _, err := p.Decide(policy.Question{Caller: alice, Operation: sign, Key: "orders"}); err != nil {
					t.Error(err)
				}
				if _, err := p.Decide(policy.Question{Caller: alice, Operation: sign, Key: "payments"}); err != policy.ErrDenied {
					t.Error(err)
				}
			}
		})
	}
	deciders.Wait()
}

// Every request asks, the refused ones too.
func TestADecisionAllocatesItsPermitAlone(t *testing.T) {
	alice := caller(t, 1000)
	p := newPolicy(t, grant([]policy.Caller{alice}, []string{"orders"}, sign))
	for key, most := range map[string]float64{"orders": 1, "payments": 0} {
		q := policy.Question{Caller: alice, Operation: sign, Key: key}
		if n := testing.AllocsPerRun(100, func() { decided, _ = p.Decide(q) }); n > most {
			t.Errorf("%s: %v allocations, want at most %v", key, n, most)
		}
	}
}

// decided keeps the compiler from leaving the permit out.
var decided *policy.Permit

func BenchmarkDecide(b *testing.B) {
	var grants []policy.Grant
	for uid := range uint32(1000) {
		grants = append(grants, grant([]policy.Caller{caller(b, uid)}, []string{"orders", "payments", "refunds"}, sign, read))
	}
	p := newPolicy(b, grants...)
	for name, q := range map[string]policy.Question{
		"allowed": {Caller: caller(b, 500), Operation: sign, Key: "refunds"},
		"denied":  {Caller: caller(b, 500), Operation: sign, Key: "absent"},
		"unknown": {Caller: caller(b, 5000), Operation: sign, Key: "refunds"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				decided, _ = p.Decide(q)
			}
		})
	}
}
