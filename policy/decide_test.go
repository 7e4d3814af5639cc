package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/condition"
	"github.com/signerd/signerd/policy/limit"
)

func texts(list ...string) []string { return list }

func operations(list ...policy.Operation) []policy.Operation { return list }

func TestARuleMatchesWhatItNames(t *testing.T) {
	every := operations(policy.Any)
	tests := []struct {
		name    string
		rule    policy.Rule // allows, or denies beside a rule that allows all that it could deny
		asked   asked
		matches bool
	}{
		{"the very caller", policy.Rule{}, asked{}, true},
		{"another caller", policy.Rule{}, asked{caller: bob}, false},
		{"the second caller", policy.Rule{Callers: texts(bob, alice)}, asked{}, true},
		{"everybody", policy.Rule{Callers: texts("*")}, asked{caller: mallory}, true},
		{"everybody beside a name", policy.Rule{Callers: texts(alice, "*")}, asked{caller: host}, true},
		{"a host", policy.Rule{Callers: texts(host)}, asked{caller: host}, true},
		{"a workload", policy.Rule{Callers: texts(apiA)}, asked{caller: apiA}, true},
		{"a workload by a pattern", policy.Rule{Callers: texts("spiffe://example.org/ns/*/api")}, asked{caller: apiB}, true},
		{"a workload by a pattern for the rest", policy.Rule{Callers: texts("spiffe://example.org/**")}, asked{caller: apiB}, true},
		{"a workload of another trust domain", policy.Rule{Callers: texts("spiffe://example.com/**")}, asked{caller: apiB}, false},
		{"a workload of a longer path", policy.Rule{Callers: texts("spiffe://example.org/*/api")}, asked{caller: apiB}, false},
		{"no workload for a pattern of workloads", policy.Rule{Callers: texts("spiffe://example.org/**")}, asked{}, false},

		{"another key", policy.Rule{Keys: texts("payments")}, asked{}, false},
		{"the second key", policy.Rule{Keys: texts("payments", "orders")}, asked{}, true},
		{"every key", policy.Rule{Keys: texts("*")}, asked{}, true},
		{"a key whose name begins alike", policy.Rule{Keys: texts("order")}, asked{}, false},
		{"the star as a key's name", policy.Rule{}, asked{key: policy.Key{Name: "*", Known: true}}, false},
		{"a key that does not exist", policy.Rule{}, asked{key: policy.Key{Name: "orders"}}, true},

		{"another operation", policy.Rule{}, asked{operation: read}, false},
		{"the second operation", policy.Rule{Operations: operations(sign, read)}, asked{operation: read}, true},
		{"every operation", policy.Rule{Operations: every}, asked{operation: read}, true},
		{"an operation that does not exist", policy.Rule{Operations: every}, asked{operation: "Everything"}, false},
		{"the star as an operation", policy.Rule{Operations: every}, asked{operation: policy.Any}, false},
		{"an operation in another case", policy.Rule{Operations: every}, asked{operation: "getkey"}, false},

		{"an operation on no key that is named", policy.Rule{Operations: operations(list)}, asked{operation: list, key: noKey}, true},
		{"an operation on no key, of every operation on every key", policy.Rule{Operations: every, Keys: texts("*")}, asked{operation: setPolicy, key: noKey}, true},
		{"an operation on no key, of every operation on one key", policy.Rule{Operations: every}, asked{operation: setPolicy, key: noKey}, false},
		{"an operation on no key, of an environment", policy.Rule{Operations: operations(list), Environments: texts("prod", "sandbox")}, asked{operation: list, key: noKey}, false},
		{"an operation on no key, of a label", policy.Rule{Operations: operations(list), Labels: map[string]string{"team": "payments"}}, asked{operation: list, key: noKey}, false},
		{"an operation on no key, of a condition on the key", policy.Rule{Operations: operations(list), When: `key.environment != "sandbox"`}, asked{operation: list, key: noKey}, false},

		{"the key's environment", policy.Rule{Environments: texts("prod")}, asked{}, true},
		{"another environment", policy.Rule{Environments: texts("sandbox")}, asked{}, false},
		{"either environment", policy.Rule{Environments: texts("sandbox", "prod")}, asked{}, true},
		{"the environment of a key that does not exist", policy.Rule{Environments: texts("sandbox", "prod")}, asked{key: policy.Key{Name: "orders"}}, false},
		{"an environment of a key that does not exist", policy.Rule{Environments: texts("prod")}, asked{key: policy.Key{Name: "orders", Environment: "prod"}}, false},

		{"a label", policy.Rule{Labels: map[string]string{"team": "payments"}}, asked{}, true},
		{"all labels", policy.Rule{Labels: map[string]string{"team": "payments", "tier": "1"}}, asked{}, true},
		{"a label with another value", policy.Rule{Labels: map[string]string{"team": "payments", "tier": "2"}}, asked{}, false},
		{"a label's value in another case", policy.Rule{Labels: map[string]string{"team": "Payments"}}, asked{}, false},
		{"a label that the key has not", policy.Rule{Labels: map[string]string{"region": ""}}, asked{}, false},
		{"the star is no label's value", policy.Rule{Labels: map[string]string{"team": "*"}}, asked{}, false},
		{"a label of a key that does not exist", policy.Rule{Labels: map[string]string{"team": "payments"}}, asked{key: policy.Key{Name: "orders", Labels: orders.Labels}}, false},

		{"a method", policy.Rule{Methods: texts("POST")}, asked{}, true},
		{"one of some methods", policy.Rule{Methods: texts("PUT", "POST", "GET")}, asked{}, true},
		{"another method", policy.Rule{Methods: texts("PUT")}, asked{}, false},
		{"a path", policy.Rule{Paths: texts("/v1/pay")}, asked{}, true},
		{"one of some paths", policy.Rule{Paths: texts("/v1/buy", "/v1/*")}, asked{}, true},
		{"another path", policy.Rule{Paths: texts("/v1/buy", "/v1/pay/**")}, asked{path: "/v1/sell"}, false},
		{"a path in another spelling", policy.Rule{Paths: texts("/v1/pay")}, asked{path: "/v1/p%61y"}, true},

		{"a condition that is true", policy.Rule{When: `body.currency == "EUR"`}, asked{}, true},
		{"a condition that is false", policy.Rule{When: `body.currency == "USD"`}, asked{}, false},
		{"a condition on the caller", policy.Rule{When: `caller == "unix:uid=1000"`}, asked{}, true},
		{"a condition on the key", policy.Rule{When: `key.scheme == "noah" && key.name == "orders"`}, asked{}, true},
		{"a condition on a label", policy.Rule{When: `key.labels.team == "payments"`}, asked{}, true},
		{"a condition on the time", policy.Rule{When: `now.getHours() == 9`}, asked{}, true},
		{"a condition on the request", policy.Rule{When: `request.method == "POST" && request.path == "/v1/pay" && request.query.size() == 0`}, asked{path: "/v1/%70ay"}, true},
		{"a condition on an absent key's environment", policy.Rule{When: `key.environment != "sandbox"`}, asked{key: policy.Key{Name: "orders"}}, false},
		{"a condition on an absent key's scheme", policy.Rule{When: `key.scheme == ""`}, asked{key: policy.Key{Name: "orders"}}, false},
		{"a condition on an absent key's labels", policy.Rule{When: `!("team" in key.labels)`}, asked{key: policy.Key{Name: "orders"}}, false},
		{"a condition on how many labels an absent key has", policy.Rule{When: `key.labels.size() == 0`}, asked{key: policy.Key{Name: "orders"}}, false},
		{"a condition that does not read an absent key", policy.Rule{When: `body.currency == "EUR"`}, asked{key: policy.Key{Name: "orders"}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := tt.asked.question(t)
			if d := compile(t, allow(tt.rule)).Decide(q); (d.Err() == nil) != tt.matches || tt.matches != (d.Rule == "allow") {
				t.Errorf("of a rule that allows: %+v", d)
			}
			if _, exists := catalog()[q.Operation]; !exists {
				return
			}
			all := allow(policy.Rule{Name: "all", Callers: texts("*"), Keys: texts("*"), Operations: every})
			d := compile(t, all, deny(tt.rule)).Decide(q)
			if denies := tt.matches || hidden(tt.rule, q); (d.Err() != nil) != denies || denies != (d.Rule == "deny") {
				t.Errorf("of a rule that denies: %+v", d)
			}
		})
	}
}

// hidden reports whether a rule decides by what keys are, and the question's does not exist: then denying hides that.
func hidden(r policy.Rule, q policy.Question) bool {
	return !q.Key.Known && q.Key.Name != "" && (len(r.Environments)+len(r.Labels) > 0 || strings.Contains(r.When, "key."))
}

func query(parameters ...policy.Parameter) *policy.Query {
	return &policy.Query{Parameters: parameters}
}

// What rules for and against bound is not the same: one takes what is surely meant, the other what may be.
func TestAllowAndDenyTakeDoubtDifferently(t *testing.T) {
	dry := policy.Parameter{Name: "dry", Values: texts("true", "yes")}
	optional := policy.Parameter{Name: "page", Values: texts("*"), Optional: true}
	page := policy.Parameter{Name: "page", Values: texts("*")}
	tests := []struct {
		name           string
		rule           policy.Rule
		asked          asked
		allows, denies bool
	}{
		{"a path in another case", policy.Rule{Paths: texts("/v1/pay")}, asked{path: "/V1/Pay"}, false, true},
		{"a path with a slash at the end", policy.Rule{Paths: texts("/v1/pay")}, asked{path: "/v1/pay/"}, false, true},
		{"a path with dot segments", policy.Rule{Paths: texts("/v1/pay")}, asked{path: "/v1/./pay"}, false, true},
		{"another path with dot segments", policy.Rule{Paths: texts("/v1/pay")}, asked{path: "/v2/../other"}, false, true},
		{"every path, of one with dot segments", policy.Rule{Paths: texts("**")}, asked{path: "/v1/../pay"}, true, true},
		{"every path with one reading, of one with dot segments", policy.Rule{Paths: texts("/**")}, asked{path: "/v1/../pay"}, false, true},

		{"no query, of none", policy.Rule{Query: query(dry)}, asked{}, false, false},
		{"a listed value", policy.Rule{Query: query(dry)}, asked{query: map[string][]string{"dry": {"true"}}}, true, true},
		{"another value", policy.Rule{Query: query(dry)}, asked{query: map[string][]string{"dry": {"false"}}}, false, false},
		{"a listed value in another case", policy.Rule{Query: query(dry)}, asked{query: map[string][]string{"dry": {"True"}}}, false, false},
		{"a name in another case", policy.Rule{Query: query(dry)}, asked{query: map[string][]string{"Dry": {"true"}}}, false, false},
		{"two listed values", policy.Rule{Query: query(dry)}, asked{query: map[string][]string{"dry": {"true", "yes"}}}, true, true},
		{"a listed value and another", policy.Rule{Query: query(dry)}, asked{query: map[string][]string{"dry": {"false", "true"}}}, false, true},
		{"a parameter beside those named", policy.Rule{Query: query(dry)}, asked{query: map[string][]string{"dry": {"true"}, "x": {"1"}}}, false, true},
		{"a parameter without any value", policy.Rule{Query: query(dry)}, asked{query: map[string][]string{"dry": nil}}, false, false},
		{"a parameter with an empty list of values", policy.Rule{Query: query(dry)}, asked{query: map[string][]string{"dry": {}}}, false, false},
		{"every value, of none", policy.Rule{Query: query(page)}, asked{query: map[string][]string{"page": nil}}, false, true},
		{"every value, of the empty one", policy.Rule{Query: query(page)}, asked{query: map[string][]string{"page": {""}}}, true, true},
		{"one of two parameters", policy.Rule{Query: query(dry, page)}, asked{query: map[string][]string{"page": {"2"}}}, false, true},

		{"a condition on a body that stayed with the caller", policy.Rule{When: `body.currency == "EUR"`}, asked{body: condition.HashedBody()}, false, true},
		{"a condition on a body that is not JSON", policy.Rule{When: `body.currency == "USD"`}, asked{body: condition.NewBody([]byte(`{"currency": `))}, false, true},
		{"a condition on a body that repeats a name", policy.Rule{When: `body.currency == "USD"`}, asked{body: condition.NewBody([]byte(`{"currency": "EUR", "currency": "USD"}`))}, false, true},
		{"a condition on a field that is missing", policy.Rule{When: `body.amount < 1`}, asked{body: condition.NewBody(nil)}, false, true},
		{"a condition on a label that is missing", policy.Rule{When: `key.labels.region == "eu"`}, asked{}, false, true},
		{"a condition on a path with two readings", policy.Rule{When: `request.path == "/v1/pay"`}, asked{path: "/v1//pay"}, false, true},

		// Only a bug in signerd asks so; it must open nothing.
		{"a method, without a request", policy.Rule{Methods: texts("POST")}, asked{no: true}, false, true},
		{"a path, without a request", policy.Rule{Paths: texts("/v1/pay")}, asked{no: true}, false, true},
		{"every path, without a request", policy.Rule{Paths: texts("**")}, asked{no: true}, false, true},
		{"a query, without a request", policy.Rule{Query: query(page)}, asked{no: true}, false, true},
		{"a condition on the method, without a request", policy.Rule{When: `request.method == "GET"`}, asked{no: true}, false, true},
		{"a condition on the query, without a request", policy.Rule{When: `request.query.size() > 0`}, asked{no: true}, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := tt.asked.question(t)
			if d := compile(t, allow(tt.rule)).Decide(q); (d.Err() == nil) != tt.allows {
				t.Errorf("of a rule that allows: %+v", d)
			}
			all := allow(policy.Rule{Name: "all", Keys: texts("*")})
			if d := compile(t, all, deny(tt.rule)).Decide(q); (d.Err() != nil) != tt.denies {
				t.Errorf("of a rule that denies: %+v", d)
			}
		})
	}
	// What only rules that allow can say.
	for _, tt := range []struct {
		name   string
		query  *policy.Query
		asked  map[string][]string
		allows bool
	}{
		{"no parameters, of none", query(), nil, true},
		{"no parameters, of one", query(), map[string][]string{"dry": {"true"}}, false},
		{"an optional parameter, of none", query(optional), nil, true},
		{"an optional parameter, of it", query(optional), map[string][]string{"page": {"7", "8"}}, true},
		{"an optional parameter without the other", query(dry, optional), map[string][]string{"page": {"7"}}, false},
		{"an optional parameter beside the other", query(dry, optional), map[string][]string{"page": {"7"}, "dry": {"yes"}}, true},
		{"no bound", nil, map[string][]string{"page": {"7"}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := compile(t, allow(policy.Rule{Query: tt.query})).Decide(asked{query: tt.asked}.question(t)); (d.Err() == nil) != tt.allows {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestADecisionSaysWhatItRestsOn(t *testing.T) {
	limits := limit.Rates{PerHour: 10}
	broken := `body.missing == 1`
	charge := func(names ...string) (out []limit.Charge) {
		for _, n := range names {
			out = append(out, limit.Charge{Rule: n, Rates: limits})
		}
		return out
	}
	tests := []struct {
		name  string
		rules []policy.Rule
		want  policy.Decision // its permit is allowed, below
		allow bool
	}{
		{"no rule", nil, policy.Decision{}, false},
		{"a rule for another", []policy.Rule{allow(policy.Rule{Callers: texts(bob)})}, policy.Decision{}, false},
		{"the first by name allows", []policy.Rule{allow(policy.Rule{Name: "b"}), allow(policy.Rule{Name: "a"})}, policy.Decision{Rule: "a"}, true},
		{"the first by name denies", []policy.Rule{deny(policy.Rule{Name: "c"}), allow(policy.Rule{Name: "a"}), deny(policy.Rule{Name: "b"})}, policy.Decision{Rule: "b"}, false},
		{"deny wins", []policy.Rule{allow(policy.Rule{Name: "a", Limits: limits}), deny(policy.Rule{Name: "b"})}, policy.Decision{Rule: "b"}, false},
		{"every limited rule that matches is charged", []policy.Rule{
			allow(policy.Rule{Name: "d", Limits: limits}), allow(policy.Rule{Name: "a"}), allow(policy.Rule{Name: "b", Limits: limits}),
			allow(policy.Rule{Name: "c", Limits: limits, Methods: texts("GET")}),
		}, policy.Decision{Rule: "a", Charges: charge("b", "d")}, true},
		{"a limited rule whose condition cannot be evaluated does not match", []policy.Rule{
			allow(policy.Rule{Name: "a"}), allow(policy.Rule{Name: "b", Limits: limits, When: broken}),
		}, policy.Decision{Rule: "a", Unevaluated: texts("b")}, true},
		{"a rule that allows and cannot be evaluated", []policy.Rule{allow(policy.Rule{Name: "a", When: broken})}, policy.Decision{Unevaluated: texts("a")}, false},
		{"a rule that denies and cannot be evaluated", []policy.Rule{
			allow(policy.Rule{Name: "a"}), deny(policy.Rule{Name: "b", When: broken}),
		}, policy.Decision{Rule: "b", Unevaluated: texts("b")}, false},
		{"what a matched rule leaves undecided is not tried", []policy.Rule{
			allow(policy.Rule{Name: "a"}), allow(policy.Rule{Name: "b", When: broken}), shadow(allow(policy.Rule{Name: "c", When: broken})),
		}, policy.Decision{Rule: "a"}, true},
		{"a rule in shadow that would deny", []policy.Rule{
			allow(policy.Rule{Name: "a"}), shadow(deny(policy.Rule{Name: "b"})), shadow(allow(policy.Rule{Name: "c"})),
		}, policy.Decision{Rule: "a", Shadows: []policy.Shadow{{Rule: "b", Effect: policy.Deny}}}, true},
		{"a rule in shadow that would allow", []policy.Rule{
			shadow(allow(policy.Rule{Name: "a", Limits: limits})), shadow(deny(policy.Rule{Name: "b"})), shadow(allow(policy.Rule{Name: "c", Methods: texts("GET")})),
		}, policy.Decision{Shadows: []policy.Shadow{{Rule: "a", Effect: policy.Allow}}}, false},
		{"rules in shadow that a rule in force precedes", []policy.Rule{
			deny(policy.Rule{Name: "c"}), shadow(allow(policy.Rule{Name: "a"})), shadow(deny(policy.Rule{Name: "b"})), allow(policy.Rule{Name: "d"}),
		}, policy.Decision{Rule: "c"}, false},
		{"a rule in shadow that would deny and cannot be evaluated", []policy.Rule{
			allow(policy.Rule{Name: "a"}), shadow(deny(policy.Rule{Name: "b", When: broken})),
		}, policy.Decision{Rule: "a", Shadows: []policy.Shadow{{Rule: "b", Effect: policy.Deny}}, Unevaluated: texts("b")}, true},
		{"a rule in shadow that cannot be evaluated and would have allowed", []policy.Rule{
			shadow(allow(policy.Rule{Name: "b", When: broken})),
		}, policy.Decision{Unevaluated: texts("b")}, false},
		{"a rule that is found twice counts once", []policy.Rule{
			allow(policy.Rule{
				Name: "a", Limits: limits, Callers: texts(alice, alice), Keys: texts("orders", "orders"), Operations: operations(sign, sign),
				Paths: texts("/v1/pay", "/v1/*", "/**"),
			}),
		}, policy.Decision{Rule: "a", Charges: charge("a")}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := compile(t, tt.rules...).Decide(asked{}.question(t))
			if allowed := d.Permit != nil; allowed != tt.allow {
				t.Errorf("allowed: %v", allowed)
			}
			d.Permit = nil
			if diff := cmp.Diff(tt.want, d); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAWorkloadThatSeveralPatternsNameIsChargedOnce(t *testing.T) {
	p := compile(t, allow(policy.Rule{Callers: texts(apiA, "spiffe://example.org/**", "spiffe://example.org/ns/*/api"), Limits: limit.Rates{PerDay: 1}}))
	if d := p.Decide(asked{caller: apiA}.question(t)); len(d.Charges) != 1 {
		t.Errorf("%+v", d)
	}
}

func TestAnEmptyPolicyAllowsNobody(t *testing.T) {
	for name, p := range map[string]*policy.Policy{"the zero value": {}, "no rules": compile(t)} {
		for _, q := range []policy.Question{asked{}.question(t), asked{operation: status, key: noKey}.question(t), {Operation: sign}, {}} {
			if d := p.Decide(q); d.Err() != policy.ErrDenied || d.Rule != "" {
				t.Errorf("%s: %+v: got %+v", name, q, d)
			}
			if got := p.Explain(q); len(got) != 0 {
				t.Errorf("%s: %+v", name, got)
			}
		}
		if p.ReadsLabel("team") || len(p.Limits()) > 0 {
			t.Errorf("%s says that it has rules", name)
		}
	}
}

// A refusal is the very same error, whatever was refused.
func TestARefusalSaysNothing(t *testing.T) {
	p := compile(t, allow(policy.Rule{Environments: texts("sandbox")}), deny(policy.Rule{Methods: texts("DELETE")}))
	for _, a := range []asked{{}, {method: "DELETE"}, {key: policy.Key{Name: "orders"}}, {key: policy.Key{Name: "absent"}}, {caller: bob}, {operation: read}} {
		if err := p.Decide(a.question(t)).Err(); err != policy.ErrDenied {
			t.Errorf("%+v: got %v", a, err)
		}
	}
}

// Every request asks, the refused ones too.
func TestADecisionAllocatesOnlyWhatItGives(t *testing.T) {
	p := compile(t,
		allow(policy.Rule{Name: "a", Methods: texts("GET", "POST"), Paths: texts("/v1/*"), Labels: map[string]string{"team": "payments"}}),
		allow(policy.Rule{Name: "b", Methods: texts("POST"), Limits: limit.Rates{PerDay: 1}}),
		deny(policy.Rule{Name: "c", Callers: texts("spiffe://example.org/**", "*"), Paths: texts("/v1/admin/**")}),
	)
	for _, tt := range []struct {
		name  string
		asked asked
		most  float64
	}{
		{"a permit", asked{method: "GET"}, 1},
		{"a permit and a charge", asked{}, 2},
		{"nothing, by a rule", asked{path: "/v1/admin/x"}, 0},
		{"nothing, by none", asked{caller: apiA}, 0},
	} {
		q := tt.asked.question(t)
		if n := testing.AllocsPerRun(100, func() { decided = p.Decide(q) }); n > tt.most {
			t.Errorf("%s: %v allocations, want at most %v", tt.name, n, tt.most)
		}
	}
}
