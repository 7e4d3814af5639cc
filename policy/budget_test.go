package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/condition"
)

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
