package policy_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/condition"
	"github.com/signerd/signerd/policy/limit"
)

// many gives n names that are all well-formed.
func many(n int, format string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(format, i)
	}
	return out
}

func manyLabels(n int) map[string]string {
	out := make(map[string]string, n)
	for _, name := range many(n, "l%d") {
		out[name] = ""
	}
	return out
}

func TestAFaultyRuleIsNamedByItsPlace(t *testing.T) {
	dry := policy.Parameter{Name: "dry", Values: texts("true")}
	tests := []struct {
		name   string
		rule   policy.Rule // the second of two
		place  string
		reason string
	}{
		{"no name", renamed(allow(policy.Rule{}), ""), "rules[1].name", "lower-case letters"},
		{"a name in upper case", renamed(allow(policy.Rule{}), "Allow"), "rules[1].name", "lower-case letters"},
		{"too long a name", renamed(allow(policy.Rule{}), strings.Repeat("a", 64)), "rules[1].name", "at most 63 bytes"},
		{"a name in parentheses, as bounds have", renamed(allow(policy.Rule{}), policy.RuleSandboxOnly), "rules[1].name", "lower-case letters"},
		{"a name of another rule", renamed(allow(policy.Rule{}), "good"), "rules[1].name", "another rule has it"},

		{"no effect", effect(allow(policy.Rule{}), ""), "rules[1].effect", "wanted allow or deny"},
		{"another effect", effect(allow(policy.Rule{}), "Allow"), "rules[1].effect", "wanted allow or deny"},

		{"no callers", allow(policy.Rule{Callers: []string{}}), "rules[1].callers", "missing or empty"},
		{"too many callers", allow(policy.Rule{Callers: many(1001, "unix:uid=%d")}), "rules[1].callers", "1001 items; at most 1000"},
		{"a caller in another spelling", allow(policy.Rule{Callers: texts(alice, "unix:uid=01000")}), "rules[1].callers[1]", "numeric user id"},
		{"nobody", allow(policy.Rule{Callers: texts("unix:uid=65534")}), "rules[1].callers[0]", "nobody"},
		{"an empty caller", allow(policy.Rule{Callers: texts("*", "")}), "rules[1].callers[1]", "wanted unix:uid=N"},
		{"a pattern of hosts", allow(policy.Rule{Callers: texts("dns:*.internal")}), "rules[1].callers[0]", "without a wildcard"},
		{"a pattern of users", allow(policy.Rule{Callers: texts("unix:uid=*")}), "rules[1].callers[0]", "numeric user id"},
		{"a pattern of trust domains", allow(policy.Rule{Callers: texts("spiffe://*/orders")}), "rules[1].callers[0]", "trust domain"},
		{"a wildcard inside a segment", allow(policy.Rule{Callers: texts(apiA, "spiffe://example.org/orders-*")}), "rules[1].callers[1]", "whole segment"},

		{"no keys", allow(policy.Rule{Keys: []string{}}), "rules[1].keys", "missing or empty"},
		{"too many keys", allow(policy.Rule{Keys: many(1001, "key-%d")}), "rules[1].keys", "1001 items; at most 1000"},
		{"a pattern of keys", allow(policy.Rule{Keys: texts("orders", "orders-*")}), "rules[1].keys[1]", "neither a key's name nor *"},
		{"an empty key", allow(policy.Rule{Keys: texts("")}), "rules[1].keys[0]", "neither a key's name nor *"},

		{"no operations", allow(policy.Rule{Operations: []policy.Operation{}}), "rules[1].operations", "missing or empty"},
		{"an unknown operation", allow(policy.Rule{Operations: operations(sign, "Sign")}), "rules[1].operations[1]", "unknown operation"},
		{"the star beside an operation", allow(policy.Rule{Operations: operations(policy.Any, sign)}), "rules[1].operations", "* stands for all of them"},

		{"an unknown environment", allow(policy.Rule{Environments: texts("prod", "staging")}), "rules[1].environments[1]", "wanted sandbox or prod"},
		{"an empty environment", allow(policy.Rule{Environments: texts("")}), "rules[1].environments[0]", "wanted sandbox or prod"},
		{"every environment", allow(policy.Rule{Environments: texts("*")}), "rules[1].environments[0]", "wanted sandbox or prod"},
		{"too many labels", allow(policy.Rule{Labels: manyLabels(1001)}), "rules[1].labels", "1001 items; at most 1000"},
		{"a label that no key can have", allow(policy.Rule{Labels: map[string]string{"Team": "payments"}}), "rules[1].labels", "lower-case letters"},
		{"an empty label", allow(policy.Rule{Labels: map[string]string{"": "payments"}}), "rules[1].labels", "lower-case letters"},
		{"a label with a hyphen at its end", allow(policy.Rule{Labels: map[string]string{"team-": "payments"}}), "rules[1].labels", "lower-case letters"},
		{"too long a label", allow(policy.Rule{Labels: map[string]string{strings.Repeat("a", 64): ""}}), "rules[1].labels", "at most 63 bytes"},

		{"a method in lower case", allow(policy.Rule{Methods: texts("GET", "post")}), "rules[1].methods[1]", "upper case"},
		{"every method", allow(policy.Rule{Methods: texts("*")}), "rules[1].methods[0]", "upper case"},
		{"an empty method", allow(policy.Rule{Methods: texts("")}), "rules[1].methods[0]", "upper case"},
		{"a method with a space", allow(policy.Rule{Methods: texts("GET ")}), "rules[1].methods[0]", "upper case"},
		{"a method beyond ASCII", allow(policy.Rule{Methods: texts("PÖST")}), "rules[1].methods[0]", "upper case"},
		{"a method with a zero byte", allow(policy.Rule{Methods: texts("GET\x00")}), "rules[1].methods[0]", "upper case"},
		{"too many methods", allow(policy.Rule{Methods: many(1001, "M%d")}), "rules[1].methods", "1001 items; at most 1000"},
		{"a path that is none", allow(policy.Rule{Paths: texts("/v1/pay", "v1/pay")}), "rules[1].paths[1]", "does not start with /"},
		{"an empty path", allow(policy.Rule{Paths: texts("")}), "rules[1].paths[0]", "it is empty"},
		{"too many paths", allow(policy.Rule{Paths: many(1001, "/p%d")}), "rules[1].paths", "1001 items; at most 1000"},

		{"a parameter that is named twice", allow(policy.Rule{Query: query(dry, dry)}), "rules[1].query[1]", "named twice"},
		{"a parameter without values", allow(policy.Rule{Query: query(dry, policy.Parameter{Name: "page"})}), "rules[1].query[1]", "lists no value"},
		{"an optional parameter that denies", deny(policy.Rule{Query: query(policy.Parameter{Name: "dry", Values: texts("true"), Optional: true})}), "rules[1].query[0]", "optional means nothing"},
		{"a query without parameters that denies", deny(policy.Rule{Query: query()}), "rules[1].query", "could never match"},
		{"too many values", allow(policy.Rule{Query: query(policy.Parameter{Name: "dry", Values: many(1001, "%d")})}), "rules[1].query[0]", "1001 items; at most 1000"},
		{"too many parameters", allow(policy.Rule{Query: query(manyParameters(1001)...)}), "rules[1].query", "1001 items; at most 1000"},

		{"a condition with a typo", allow(policy.Rule{When: "request.methd == 'GET'"}), "rules[1].when", "1:9: request has no field methd"},
		{"a condition that is no bool", allow(policy.Rule{When: "caller"}), "rules[1].when", "a condition is a bool"},

		{"limits on a rule that denies", deny(policy.Rule{Limits: limit.Rates{PerDay: 1}}), "rules[1].limits", "belong to allow rules"},
		{"a burst on a rule that denies", deny(policy.Rule{Limits: limit.Rates{Burst: 1}}), "rules[1].limits", "belong to allow rules"},
		{"a burst alone", allow(policy.Rule{Limits: limit.Rates{Burst: 1}}), "rules[1].limits", "burst needs per_second"},
		{"a negative limit", allow(policy.Rule{Limits: limit.Rates{PerDay: -1}}), "rules[1].limits", "per_day is -1"},
		{"a negative rate", allow(policy.Rule{Limits: limit.Rates{PerSecond: -1}}), "rules[1].limits", "per_second is -1"},
		{"no number for a rate", allow(policy.Rule{Limits: limit.Rates{PerSecond: math.NaN()}}), "rules[1].limits", "per_second is NaN"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fault := onlyFault(t, renamed(allow(policy.Rule{}), "good"), tt.rule)
			if fault.Path() != tt.place || !strings.Contains(fault.Err.Error(), tt.reason) {
				t.Errorf("got %v", fault)
			}
			if fault.Rule != 1 || !strings.HasPrefix(tt.place, "rules[1]."+fault.Field) || (fault.Item >= 0) != strings.HasSuffix(tt.place, "]") {
				t.Errorf("got %+v", fault)
			}
		})
	}
}

func renamed(r policy.Rule, name string) policy.Rule {
	r.Name = name
	return r
}

func effect(r policy.Rule, e policy.Effect) policy.Rule {
	r.Effect = e
	return r
}

func manyParameters(n int) (out []policy.Parameter) {
	for _, name := range many(n, "p%d") {
		out = append(out, policy.Parameter{Name: name, Values: texts("*")})
	}
	return out
}

func onlyFault(t *testing.T, rules ...policy.Rule) *policy.Fault {
	t.Helper()
	p, err := policy.Compile(policy.Document{Rules: rules}, catalog())
	var faults policy.Faults
	if !errors.As(err, &faults) || p != nil || len(faults) != 1 {
		t.Fatalf("got %v, want one fault and no policy", err)
	}
	if !strings.Contains(err.Error(), faults[0].Error()) || !errors.Is(faults[0], faults[0].Err) {
		t.Errorf("%v does not tell of its fault", err)
	}
	return faults[0]
}

// Whatever a signature does not cover, the caller could send otherwise than it said.
func TestARuleDecidesOnlyByWhatIsSigned(t *testing.T) {
	all := []policy.Operation{sign, compute, session, read, create, list, status, setPolicy}
	for _, tt := range []struct {
		name, field, what string
		rule              policy.Rule
		covered           []policy.Operation
	}{
		{"a method", "methods", "method", policy.Rule{Methods: texts("POST")}, operations(sign, compute)},
		{"a path", "paths", "path", policy.Rule{Paths: texts("/v1/pay")}, operations(sign, compute)},
		{"every path", "paths", "path", policy.Rule{Paths: texts("**")}, operations(sign, compute)},
		{"a query", "query", "query", policy.Rule{Query: query(policy.Parameter{Name: "dry", Values: texts("*")})}, operations(sign)},
		{"a condition on the method", "when", "method", policy.Rule{When: `request.method == "GET"`}, operations(sign, compute)},
		{"a condition on the path", "when", "path", policy.Rule{When: `request.path == "/"`}, operations(sign, compute)},
		{"a condition on the query", "when", "query", policy.Rule{When: `request.query.size() == 0`}, operations(sign)},
		{"a condition on the body", "when", "body", policy.Rule{When: `body == null`}, operations(sign, compute)},
		{"a condition on the caller", "", "", policy.Rule{When: `caller == ""`}, append(all, policy.Any)},
		{"a condition on the key", "", "", policy.Rule{When: `key.name == ""`}, append(all, policy.Any)},
		{"an environment", "", "", policy.Rule{Environments: texts("prod")}, append(all, policy.Any)},
	} {
		for _, o := range append(all, policy.Any) {
			t.Run(fmt.Sprintf("%s for %s", tt.name, o), func(t *testing.T) {
				for _, rule := range []policy.Rule{allow(tt.rule), deny(tt.rule)} {
					rule.Operations = operations(o)
					_, err := policy.Compile(policy.Document{Rules: []policy.Rule{rule}}, catalog())
					if slices.Contains(tt.covered, o) {
						if err != nil {
							t.Error(err)
						}
						continue
					}
					fault := onlyFault(t, rule)
					if fault.Field != tt.field || fault.Item != -1 || !strings.Contains(fault.Err.Error(), "decides by the "+tt.what+", which ") {
						t.Errorf("got %v", fault)
					}
				}
			})
		}
	}
	fault := onlyFault(t, allow(policy.Rule{Operations: operations(sign, compute), Query: query()}))
	if want := "rules[0].query: the rule decides by the query, which ComputeNobaSignature does not sign: the caller could send another"; fault.Error() != want {
		t.Errorf("got %q", fault)
	}
}

func TestAllThatIsWrongIsNamedAtOnce(t *testing.T) {
	_, err := policy.Compile(policy.Document{Rules: []policy.Rule{
		{},
		allow(policy.Rule{Keys: texts("A", "b", "C"), Operations: operations("X", "Y"), When: "1"}),
		allow(policy.Rule{Operations: operations(session), Methods: texts("GET"), Paths: texts("/"), When: "body == request.query"}),
	}}, catalog())
	var faults policy.Faults
	if !errors.As(err, &faults) {
		t.Fatal(err)
	}
	var places []string
	for _, f := range faults {
		places = append(places, f.Path())
	}
	want := "rules[0].name rules[0].effect rules[0].callers rules[0].keys rules[0].operations " +
		"rules[1].keys[0] rules[1].keys[2] rules[1].when rules[1].operations[0] rules[1].operations[1] " +
		"rules[2].methods rules[2].paths rules[2].when rules[2].when rules[2].name"
	if got := strings.Join(places, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestFaultsAreNamedUpToABound(t *testing.T) {
	_, err := policy.Compile(policy.Document{Rules: make([]policy.Rule, 100)}, catalog())
	var faults policy.Faults
	if !errors.As(err, &faults) || len(faults) != 20 {
		t.Errorf("got %d: %v", len(faults), err)
	}
}

func TestAPolicyHasBounds(t *testing.T) {
	rules := make([]policy.Rule, policy.MaxRules+1)
	for i := range rules {
		rules[i] = allow(policy.Rule{Name: fmt.Sprint("r", i)})
	}
	if p, err := policy.Compile(policy.Document{Rules: rules[:policy.MaxRules]}, catalog()); err != nil || p == nil {
		t.Errorf("the most rules that there can be: %v", err)
	}
	fault := onlyFault(t, rules...)
	if fault.Rule != policy.MaxRules || !strings.Contains(fault.Err.Error(), "at most 10000 rules") {
		t.Errorf("got %v", fault)
	}
}

func TestAConditionsFaultHasItsPlaceInTheSource(t *testing.T) {
	fault := onlyFault(t, allow(policy.Rule{When: "caller == 'a' &&\n  calle == 'b'"}))
	var at *condition.Error
	if !errors.As(fault, &at) || at.Line != 2 || at.Column != 3 {
		t.Errorf("got %v", fault)
	}
}
