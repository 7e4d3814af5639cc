package policy_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/condition"
	"github.com/signerd/signerd/policy/limit"
)

// What an unlimited rule allows is charged to a limited one as well, if that matches. A body that is made too costly to look
// into must not be a way around it.
func TestACostlyBodyIsNoWayAroundALimit(t *testing.T) {
	rules := []policy.Rule{
		allow(policy.Rule{Name: "a-open", When: "body.amount == 5"}),
		allow(policy.Rule{Name: "z-limited", When: "body.items.all(i, i == 1) && body.amount <= 10", Limits: limit.Rates{PerDay: 1}}),
	}
	p := compile(t, rules...)
	q := asked{}.question(t)
	for _, items := range []int{1, 20_000} {
		q.Request.Body = condition.NewBody([]byte(`{"amount":5,"items":[` + strings.Repeat("1,", items) + `1]}`))
		if d := p.Decide(q); d.Err() != nil || len(d.Charges) != 1 || d.Charges[0].Rule != "z-limited" {
			t.Errorf("%d items: %+v", items, d)
		}
	}
}

// A rule that names many of everything must not have an entry for each combination.
func TestManyCallersKeysAndPathsStayFew(t *testing.T) {
	r := policy.Rule{Name: "many", Effect: policy.Allow, Operations: operations(sign)}
	for i := range 300 {
		r.Callers = append(r.Callers, fmt.Sprintf("unix:uid=%d", 1000+i))
		r.Paths = append(r.Paths, fmt.Sprintf("/v1/path-%d/*", i))
	}
	for i := range 4 {
		r.Keys = append(r.Keys, fmt.Sprintf("key-%d", i))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p := compile(t, r)
	runtime.ReadMemStats(&after)
	if bytes := after.TotalAlloc - before.TotalAlloc; bytes > 8<<20 {
		t.Errorf("compiling it takes %d bytes", bytes)
	}
	q := asked{path: "/v1/path-7/x", key: policy.Key{Name: "key-3", Known: true}}.question(t)
	if d := p.Decide(q); d.Rule != "many" {
		t.Errorf("a path of the rule's: %+v", d)
	}
	if d := p.Decide(asked{path: "/v1/path-301/x", key: policy.Key{Name: "key-3", Known: true}}.question(t)); d.Err() == nil {
		t.Errorf("another path: %+v", d)
	}
}

// A caller chooses the body, and must not choose with it how long all conditions together take.
func TestConditionsOfOneDecisionShareABudget(t *testing.T) {
	const rules = 200
	var document []policy.Rule
	for i := range rules {
		// Each looks at every item, and is false because of the last.
		document = append(document, allow(policy.Rule{Name: fmt.Sprintf("r%d", i), When: fmt.Sprintf("body.a.all(i, i != 1000 && i != -%d)", i+1)}))
	}
	q := asked{}.question(t)
	ask := func(rules ...policy.Rule) policy.Decision {
		q.Request.Body = condition.NewBody([]byte(`{"a":[` + strings.Repeat("0,", 600) + `1000]}`))
		return compile(t, rules...).Decide(q)
	}
	if d := ask(document[0]); d.Err() == nil || len(d.Unevaluated) > 0 {
		t.Fatalf("one such condition is not too costly: %+v", d)
	}
	if d := ask(document...); d.Err() == nil || len(d.Unevaluated) == 0 || len(d.Unevaluated) == rules {
		t.Errorf("%d of %d conditions were not evaluated; the first should be, the last should not", len(d.Unevaluated), rules)
	}
}
