package policy_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/signerd/signerd/policy"
)

func newPermit(t testing.TB, a asked) *policy.Permit {
	t.Helper()
	p := compile(t, allow(policy.Rule{Keys: texts("*"), Operations: operations(policy.Any)}))
	d := p.Decide(a.question(t))
	if d.Err() != nil {
		t.Fatal(d.Err())
	}
	return d.Permit
}

func TestAPermitIsGoodForOneUseOfItsKey(t *testing.T) {
	permit := newPermit(t, asked{})
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

func TestOnlyADecisionAboutAKeyMakesAPermitThatIsWorthAnything(t *testing.T) {
	for name, permit := range map[string]*policy.Permit{
		"nil":                                  nil,
		"a permit of one's own":                new(policy.Permit),
		"a permit of a decision without a key": newPermit(t, asked{operation: status, key: noKey}),
	} {
		for _, key := range []string{"", "orders", policy.Any} {
			if err := permit.Redeem(key); err != policy.ErrPermit {
				t.Errorf("%s, for %q: got %v", name, key, err)
			}
		}
	}
}

func TestEachDecisionGivesAPermitOfItsOwn(t *testing.T) {
	p := compile(t, allow(policy.Rule{}))
	for range 2 {
		if err := p.Decide(asked{}.question(t)).Permit.Redeem("orders"); err != nil {
			t.Error(err)
		}
	}
}

func TestOfConcurrentUsesExactlyOneWins(t *testing.T) {
	for range 100 {
		permit := newPermit(t, asked{})
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
	p := compile(t, allow(policy.Rule{Callers: texts("spiffe://example.org/**"), Paths: texts("/v1/*"), When: `decimal(body.amount) < 100`}))
	var deciders sync.WaitGroup
	for range 4 {
		deciders.Go(func() {
			for range 100 {
				if d := p.Decide(asked{caller: apiA}.question(t)); d.Err() != nil {
					t.Errorf("%+v", d)
				}
				if d := p.Decide(asked{}.question(t)); d.Err() != policy.ErrDenied {
					t.Errorf("%+v", d)
				}
			}
		})
	}
	deciders.Wait()
}
