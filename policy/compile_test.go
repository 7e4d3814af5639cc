package policy_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/limit"
)

func TestAPolicyDoesNotChangeWithTheDocumentItWasMadeOf(t *testing.T) {
	rule := allow(policy.Rule{
		Callers: texts(alice), Keys: texts("orders", "payments"), Operations: operations(read, sign), Environments: texts("prod"),
		Labels: map[string]string{"team": "payments"}, Methods: texts("POST"), Paths: texts("/v1/pay"),
		Query: query(policy.Parameter{Name: "dry", Values: texts("true")}),
	})
	rule.Operations = operations(sign)
	known := catalog()
	rules := []policy.Rule{rule, allow(policy.Rule{Name: "every", Callers: texts(bob), Operations: operations(policy.Any)})}
	p, err := policy.Compile(policy.Document{Rules: rules}, known)
	if err != nil {
		t.Fatal(err)
	}
	q := asked{query: map[string][]string{"dry": {"true"}}}.question(t)
	before := p.Explain(q)
	rules[1].Effect, rule.Callers[0], rule.Keys[0], rule.Operations[0], rule.Environments[0] = policy.Deny, mallory, "refunds", read, "sandbox"
	rule.Labels["team"], rule.Labels["tier"], rule.Methods[0], rule.Paths[0] = "orders", "2", "GET", "/v1/sell"
	rule.Query.Parameters[0].Values[0] = "false"
	rule.Query.Parameters[0].Name = "wet"
	known["Later"] = policy.Covers{}
	if d := p.Decide(q); d.Rule != "allow" || d.Err() != nil {
		t.Errorf("%+v", d)
	}
	if diff := cmp.Diff(before, p.Explain(q)); diff != "" {
		t.Error(diff)
	}
	if d := p.Decide(asked{caller: bob, operation: "Later"}.question(t)); d.Err() == nil {
		t.Errorf("%+v", d)
	}
}

func TestAPolicyKnowsWhichLabelsDecide(t *testing.T) {
	named := compile(t,
		allow(policy.Rule{Name: "a", Labels: map[string]string{"team": "payments"}}),
		shadow(deny(policy.Rule{Name: "b", Labels: map[string]string{"tier": "1"}})),
		allow(policy.Rule{Name: "c", When: `key.labels.region == "eu" || "zone" in key.labels || key.labels["rack"] == "1"`}),
		allow(policy.Rule{Name: "d", When: `body.floor == 1`}),
	)
	for label, want := range map[string]bool{"team": true, "tier": true, "region": true, "zone": true, "rack": true, "floor": false, "": false, "payments": false} {
		if got := named.ReadsLabel(label); got != want {
			t.Errorf("%q: got %v", label, got)
		}
	}
	if all := compile(t, allow(policy.Rule{When: `key.labels.size() == 0`})); !all.ReadsLabel("anything") {
		t.Error("a condition that reads all labels reads no label")
	}
}

func TestAPolicyListsItsLimits(t *testing.T) {
	hourly, daily := limit.Rates{PerHour: 5}, limit.Rates{PerDay: 7}
	p := compile(t, allow(policy.Rule{Name: "a", Limits: hourly}), allow(policy.Rule{Name: "b"}), shadow(allow(policy.Rule{Name: "c", Limits: daily})))
	if diff := cmp.Diff(map[string]limit.Rates{"a": hourly, "c": daily}, p.Limits()); diff != "" {
		t.Error(diff)
	}
}

// A short rule must not become a large index.
func TestARuleForManyCallersAndKeysIsIndexedInProportion(t *testing.T) {
	rule := allow(policy.Rule{Callers: many(1000, "unix:uid=%d"), Keys: many(1000, "key-%d"), Operations: operations(policy.Any)})
	if n := testing.AllocsPerRun(1, func() { compile(t, rule) }); n > 20_000 {
		t.Errorf("%v allocations", n)
	}
	p := compile(t, rule)
	for key, want := range map[string]bool{"key-0": true, "key-999": true, "key-1000": false, "orders": false} {
		q := asked{caller: "unix:uid=7", key: policy.Key{Name: key}}.question(t)
		if d := p.Decide(q); (d.Err() == nil) != want {
			t.Errorf("%s: %+v", key, d)
		}
	}
}

func TestRulesMayShareACondition(t *testing.T) {
	var rules []policy.Rule
	for i := range 100 {
		rules = append(rules, allow(policy.Rule{Name: fmt.Sprint("r", i), Callers: texts(fmt.Sprint("unix:uid=", i)), When: `decimal(body.amount) < 100`}))
	}
	p := compile(t, rules...)
	for uid, want := range map[int]string{0: "r0", 99: "r99", 100: ""} {
		if d := p.Decide(asked{caller: fmt.Sprint("unix:uid=", uid)}.question(t)); d.Rule != want {
			t.Errorf("%d: %+v", uid, d)
		}
	}
}
