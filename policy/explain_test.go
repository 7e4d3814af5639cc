package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/condition"
)

func TestExplainSaysWhyARuleDoesNotMatch(t *testing.T) {
	absent := policy.Key{Name: "orders"}
	tests := []struct {
		name  string
		rule  policy.Rule
		asked asked
		want  policy.Explanation
	}{
		{"a match", allow(policy.Rule{}), asked{}, policy.Explanation{Matched: true}},
		{"another caller", allow(policy.Rule{}), asked{caller: bob}, policy.Explanation{Elsewhere: true, Why: "the caller is not among its callers"}},
		{"another operation", allow(policy.Rule{}), asked{operation: read}, policy.Explanation{Elsewhere: true, Why: "the operation is not among its operations"}},
		{"another key", allow(policy.Rule{Keys: texts("payments")}), asked{}, policy.Explanation{Elsewhere: true, Why: "the key is not among its keys"}},
		{"another caller, operation and key", allow(policy.Rule{}), asked{caller: bob, operation: read, key: policy.Key{Name: "payments"}}, policy.Explanation{Elsewhere: true, Why: "the caller is not among its callers"}},
		{"no key", allow(policy.Rule{Operations: operations(policy.Any)}), asked{operation: status, key: noKey}, policy.Explanation{Elsewhere: true, Why: "the operation concerns no key, and the rule is about every operation on some"}},
		{"another path", allow(policy.Rule{Paths: texts("/v1/sell")}), asked{}, policy.Explanation{Why: "the path is not among its paths"}},
		{"no path", allow(policy.Rule{Paths: texts("**")}), asked{no: true}, policy.Explanation{Why: "the path is not among its paths"}},
		{"a path that denies in another case", deny(policy.Rule{Paths: texts("/v1/sell", "/V1/PAY/")}), asked{}, policy.Explanation{Matched: true}},
		{"another environment", allow(policy.Rule{Environments: texts("sandbox")}), asked{}, policy.Explanation{Why: "the key's environment is not among its environments"}},
		{"other labels", allow(policy.Rule{Labels: map[string]string{"team": "orders"}}), asked{}, policy.Explanation{Why: "the key has not all of its labels"}},
		{"another method", allow(policy.Rule{Methods: texts("GET")}), asked{}, policy.Explanation{Why: "the method is not among its methods"}},
		{"another query", allow(policy.Rule{Query: query()}), asked{query: map[string][]string{"a": {"1"}}}, policy.Explanation{Why: "the query is not what it bounds the query to"}},
		{"a false condition", allow(policy.Rule{When: `caller == ""`}), asked{}, policy.Explanation{Why: "its condition is false"}},
		{"a condition on a key that does not exist", allow(policy.Rule{When: `key.scheme == ""`}), asked{key: absent}, policy.Explanation{Why: "its condition reads the key, and there is no such key"}},
		{"a rule that denies an environment, and a key that does not exist", deny(policy.Rule{Environments: texts("prod")}), asked{key: absent}, policy.Explanation{
			Matched: true, Why: "it takes back some keys by what they are, and there is no such key",
		}},
		{"a condition without its body", allow(policy.Rule{When: `body == null`}), asked{body: condition.HashedBody()}, policy.Explanation{
			Why: "the condition cannot be evaluated: the body is not known, or only as a hash",
		}},
		{"a condition that denies without its body", deny(policy.Rule{When: `body == null`}), asked{body: condition.HashedBody()}, policy.Explanation{
			Matched: true, Why: "the condition cannot be evaluated: the body is not known, or only as a hash",
		}},
		{"a condition without its request", deny(policy.Rule{When: `request.method == "GET"`}), asked{no: true}, policy.Explanation{
			Matched: true, Why: "the condition cannot be evaluated: something that the condition reads is missing",
		}},
		{"a rule in shadow", shadow(deny(policy.Rule{})), asked{}, policy.Explanation{Matched: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Rule, tt.want.Effect, tt.want.Shadow = tt.rule.Name, tt.rule.Effect, tt.rule.Shadow
			if diff := cmp.Diff([]policy.Explanation{tt.want}, compile(t, tt.rule).Explain(tt.asked.question(t))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExplainNamesEveryRuleByName(t *testing.T) {
	p := compile(t,
		allow(policy.Rule{Name: "d"}), deny(policy.Rule{Name: "b"}), shadow(allow(policy.Rule{Name: "a"})), allow(policy.Rule{Name: "c", Callers: texts(bob)}),
	)
	var names string
	for _, e := range p.Explain(asked{}.question(t)) {
		names += e.Rule
	}
	if names != "abcd" {
		t.Errorf("got %s", names)
	}
}
