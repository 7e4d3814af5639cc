package server_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/policy"
)

func (r *rig) explain(t *testing.T, all bool, in *adminv1.PolicyRequest) *adminv1.ExplainPolicyResponse {
	t.Helper()
	out, err := r.policy.ExplainPolicy(as(t, administrator), &adminv1.ExplainPolicyRequest{Request: in, All: all})
	must(t, err)
	return out
}

// test runs one case, and gives what became of it.
func (r *rig) test(t *testing.T, document *adminv1.Policy, cases ...*adminv1.PolicyCase) []*adminv1.PolicyCaseResult {
	t.Helper()
	document = cloned(document)
	document.Cases = cases
	out, err := r.policy.TestPolicy(as(t, administrator), &adminv1.TestPolicyRequest{Policy: document})
	must(t, err)
	if len(out.GetResults()) != len(cases) || out.GetGeneration() != r.keys.View().Policy().Generation {
		t.Fatalf("%d results under generation %d", len(out.GetResults()), out.GetGeneration())
	}
	return out.GetResults()
}

func TestADecisionIsExplainedRuleByRule(t *testing.T) {
	t.Parallel()
	r := start(t, setup{sandboxOnly: []string{"unix:uid=3002"}})
	r.importedNOAH(t, "a")
	r.imported(t, "p", "noba", prod, newNoba().material())
	must(t, r.label(as(t, operator), "a", map[string]string{"team": "orders"}))
	narrow := func(name string, f func(*adminv1.PolicyRule)) *adminv1.PolicyRule { return applying(name, f) }
	rules := []*adminv1.PolicyRule{
		narrow("plain", nil),
		narrow("method", func(rule *adminv1.PolicyRule) { rule.Methods = []string{"PUT"} }),
		narrow("path", func(rule *adminv1.PolicyRule) { rule.Paths = []string{"/v2/**"} }),
		narrow("query", func(rule *adminv1.PolicyRule) { rule.Query = parameters(parameter("a", "*")) }),
		narrow("environment", func(rule *adminv1.PolicyRule) { rule.Environments = []adminv1.Environment{prod} }),
		narrow("label", func(rule *adminv1.PolicyRule) { rule.Labels = map[string]string{"team": "billing"} }),
		narrow("false", func(rule *adminv1.PolicyRule) { rule.When = `body != null` }),
		narrow("broken", func(rule *adminv1.PolicyRule) { rule.When = `body.amount > 1` }),
		inShadow(narrow("shadow", func(rule *adminv1.PolicyRule) { rule.Effect = deny })),
		narrow("other-key", func(rule *adminv1.PolicyRule) { rule.Keys = []string{"b"} }),
		narrow("other-caller", func(rule *adminv1.PolicyRule) { rule.Callers = []string{theOperator} }),
		narrow("other-operation", func(rule *adminv1.PolicyRule) { rule.Operations = []string{"GetKey"} }),
	}
	generation := r.apply(t, &adminv1.Policy{Rules: rules})
	in := &adminv1.PolicyRequest{Caller: theApplication, Key: "a", Method: "get", Path: "/v1/x"}
	out := r.explain(t, false, in)
	if out.GetEffect() != allow || out.GetRule() != "plain" || out.GetOperation() != "SignNoahRequest" || out.GetGeneration() != generation || out.GetOmitted() != 3 || len(out.GetRules()) != 9 {
		t.Errorf("got %v", out)
	}
	all := r.explain(t, true, in)
	if all.GetOmitted() != 0 || len(all.GetRules()) != len(rules) {
		t.Errorf("all: %d rules, %d left out", len(all.GetRules()), all.GetOmitted())
	}
	var names []string
	reasons := make(map[string]bool)
	for _, e := range all.GetRules() {
		names = append(names, e.GetName())
		matched := e.GetName() == "plain" || e.GetName() == "shadow"
		if e.GetMatched() != matched || (e.GetWhy() == "") != matched || (e.GetMode() == adminv1.PolicyMode_POLICY_MODE_SHADOW) != (e.GetName() == "shadow") || (e.GetEffect() == deny) != (e.GetName() == "shadow") {
			t.Errorf("got %v", e)
		}
		reasons[e.GetWhy()] = true
	}
	if !slices.IsSorted(names) || len(reasons) != 11 { // each its own, and none twice
		t.Errorf("rules %q, reasons %v", names, reasons)
	}
	out = r.explain(t, true, &adminv1.PolicyRequest{Caller: theAdministrator, Operation: "SetPolicy"})
	if out.GetEffect() != allow || out.GetRule() != policy.RuleAdministrators {
		t.Errorf("got %v", out)
	}
	out = r.explain(t, true, &adminv1.PolicyRequest{Caller: "unix:uid=3002", Key: "p", Method: "GET", Path: "/v1"})
	if out.GetEffect() != deny || out.GetRule() != policy.RuleSandboxOnly || out.GetOperation() != "ComputeNobaSignature" {
		t.Errorf("got %v", out)
	}
}

func TestWhatIsExplainedIsWhatIsDecided(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	amount := func(rule *adminv1.PolicyRule) {
		rule.Methods, rule.Query, rule.When = []string{"POST"}, parameters(optional(parameter("n", "20", "true"))), `body.amount <= 500`
	}
	for name, document := range map[string]*adminv1.Policy{
		"allowed": withRules(applying("a", amount)),
		"denied": withRules(applying("z", nil), applying("a", func(rule *adminv1.PolicyRule) {
			amount(rule)
			rule.Effect, rule.Query = deny, parameters(parameter("n", "20"))
		})),
		"in vain":  withRules(applying("a", func(rule *adminv1.PolicyRule) { rule.Paths = []string{"/v2"} })),
		"anything": withRules(applying("a", nil)),
	} {
		t.Run(name, func(t *testing.T) {
			r.apply(t, document)
			for _, key := range []string{"a", "absent"} {
				for _, path := range []string{"/v1", "/v1?n=20", "/v1?n=21", "/v2", "/v1/../v2"} {
					for _, text := range []string{"", `{"amount":500}`, `{"amount":501}`, `{`} {
						in := asked(t, "", nil)
						in.Key, in.Method, in.Path, in.Content = key, "POST", path, body(text)
						_, _ = r.signer.SignNoahRequest(as(t, application), in)
						logged := r.last(t)
						out := r.explain(t, false, &adminv1.PolicyRequest{Caller: theApplication, Key: key, Operation: "SignNoahRequest", Method: "POST", Path: path,
							Content: &adminv1.PolicyRequest_Body{Body: []byte(text)}})
						if (logged.Reason == "DENIED") != (out.GetEffect() == deny) || out.GetRule() != logged.Rule {
							t.Errorf("%s of %s: %s by %q, explained as %v by %q", text, path, logged.Code, logged.Rule, out.GetEffect(), out.GetRule())
						}
					}
				}
			}
		})
	}
}

func TestAPolicyIsTestedBesideTheOneInForce(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	r.apply(t, withRules(applying("old", nil)))
	before := r.inForce(t)
	get := &adminv1.PolicyRequest{Caller: theApplication, Key: "a", Method: "GET", Path: "/v1"}
	candidate := &adminv1.Policy{Rules: []*adminv1.PolicyRule{ruleFor("new", deny, theApplication, "SignNoahRequest")}}
	results := r.test(t, candidate,
		&adminv1.PolicyCase{Name: "passes", Request: get, Expect: deny},
		&adminv1.PolicyCase{Name: "passes by the rule", Request: get, Expect: deny, Rule: "new"},
		&adminv1.PolicyCase{Name: "fails", Request: get, Expect: allow},
		&adminv1.PolicyCase{Name: "fails by the rule", Request: get, Expect: deny, Rule: "old"},
		&adminv1.PolicyCase{Name: "nobody", Request: &adminv1.PolicyRequest{Caller: "unix:uid=4711", Operation: "GetStatus"}, Expect: deny},
		&adminv1.PolicyCase{Name: "administrator", Request: &adminv1.PolicyRequest{Caller: theAdministrator, Operation: "GetStatus"}, Expect: allow, Rule: policy.RuleAdministrators},
	)
	for i, want := range []*adminv1.PolicyCaseResult{
		{Name: "passes", Passed: true, Effect: deny, Rule: "new", EffectInForce: allow, RuleInForce: "old"},
		{Name: "passes by the rule", Passed: true, Effect: deny, Rule: "new", EffectInForce: allow, RuleInForce: "old"},
		{Name: "fails", Effect: deny, Rule: "new", EffectInForce: allow, RuleInForce: "old"},
		{Name: "fails by the rule", Effect: deny, Rule: "new", EffectInForce: allow, RuleInForce: "old"},
		{Name: "nobody", Passed: true, Effect: deny, EffectInForce: deny},
		{Name: "administrator", Passed: true, Effect: allow, Rule: policy.RuleAdministrators, EffectInForce: allow, RuleInForce: policy.RuleAdministrators},
	} {
		same(t, results[i], want)
	}
	same(t, r.inForce(t), before)
	r.decides(t, asked(t, "", nil), allow)
}

func TestCasesDescribeKeysThatThereAreNot(t *testing.T) {
	t.Parallel()
	r := start(t, setup{sandboxOnly: []string{"unix:uid=3002"}})
	r.importedNOAH(t, "a")
	query, err := structpb.NewStruct(map[string]any{"n": 20})
	must(t, err)
	rule := applying("described", func(rule *adminv1.PolicyRule) {
		rule.Operations = []string{"SignNoahRequest", "CreateKey"}
		rule.Environments, rule.Labels, rule.When = []adminv1.Environment{prod}, map[string]string{"team": "x"}, `key.scheme == "noah"`
	})
	fenced := ruleFor("fenced", allow, "unix:uid=3002", "*")
	described := func(change func(*adminv1.PolicyRequest)) *adminv1.PolicyRequest {
		in := &adminv1.PolicyRequest{Caller: theApplication, Key: "planned", Scheme: "noah", Environment: prod, Labels: map[string]string{"team": "x"},
			Method: "GET", Path: "/v1", QueryParams: query}
		if change != nil {
			change(in)
		}
		return in
	}
	for name, tt := range map[string]struct {
		in   *adminv1.PolicyRequest
		want adminv1.PolicyEffect
	}{
		"as it should be":     {described(nil), allow},
		"by its operation":    {described(func(in *adminv1.PolicyRequest) { in.Scheme, in.Operation = "noah", "SignNoahRequest" }), allow},
		"a key to be made":    {&adminv1.PolicyRequest{Caller: theApplication, Operation: "CreateKey", Key: "planned", Scheme: "noah", Environment: prod, Labels: map[string]string{"team": "x"}}, allow},
		"sandbox":             {described(func(in *adminv1.PolicyRequest) { in.Environment = sandbox }), deny},
		"another label":       {described(func(in *adminv1.PolicyRequest) { in.Labels = nil }), deny},
		"another partner":     {described(func(in *adminv1.PolicyRequest) { in.Scheme, in.Operation = "noon", "SignNoahRequest" }), deny},
		"one there is":        {&adminv1.PolicyRequest{Caller: theApplication, Key: "a", Method: "GET", Path: "/v1"}, deny},
		"one there is, as if": {described(func(in *adminv1.PolicyRequest) { in.Key = "a" }), allow},
		"fenced":              {described(func(in *adminv1.PolicyRequest) { in.Caller = "unix:uid=3002" }), deny},
		"a ticket for it":     {&adminv1.PolicyRequest{Caller: "unix:uid=3002", Operation: "CreateImportTicket", Key: "a"}, allow},
		"not fenced":          {described(func(in *adminv1.PolicyRequest) { in.Caller, in.Environment = "unix:uid=3002", sandbox }), allow},
	} {
		t.Run(name, func(t *testing.T) {
			if got := r.test(t, withRules(rule, fenced), &adminv1.PolicyCase{Name: "a", Request: tt.in, Expect: tt.want}); !got[0].GetPassed() {
				t.Errorf("got %v", got[0])
			}
		})
	}
	r.apply(t, withRules(rule, fenced))
	for name, in := range map[string]*adminv1.PolicyRequest{
		"key":          {Caller: theApplication, Operation: "SignNoahRequest", Method: "GET", Path: "/v1"},
		"key ":         {Caller: theApplication, Operation: "GetStatus", Key: "a"},
		"key  ":        {Caller: theApplication, Operation: "GetStatus", Environment: prod},
		"scheme":       described(func(in *adminv1.PolicyRequest) { in.Scheme = "NOAH" }),
		"environment ": {Caller: theApplication, Operation: "CreateImportTicket", Key: "planned"},
		"environment":  described(func(in *adminv1.PolicyRequest) { in.Environment = 9 }),
	} {
		_, err := r.policy.ExplainPolicy(as(t, administrator), &adminv1.ExplainPolicyRequest{Request: in})
		if _, fields := r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST"); !slices.Equal(fields, []string{"request." + nameOnly(name)}) {
			t.Errorf("it names %q, want request.%s", fields, name)
		}
	}
}

func TestTenThousandCasesAreTested(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	var cases []*adminv1.PolicyCase
	for i := range 10_000 {
		cases = append(cases, &adminv1.PolicyCase{Name: fmt.Sprint(i), Expect: allow, Rule: "a",
			Request: &adminv1.PolicyRequest{Caller: theApplication, Key: "planned", Environment: sandbox, Scheme: "noah", Method: "GET", Path: fmt.Sprint("/v1/", i)}})
	}
	for i, result := range r.test(t, withRules(applying("a", nil)), cases...) {
		if !result.GetPassed() || result.GetName() != fmt.Sprint(i) {
			t.Fatalf("got %v", result)
		}
	}
	document := withRules()
	document.Cases = append(cases, &adminv1.PolicyCase{Name: "one more", Expect: deny, Request: cases[0].GetRequest()})
	_, err := r.policy.TestPolicy(as(t, administrator), &adminv1.TestPolicyRequest{Policy: document})
	r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST")
}

func TestCasesAreNotTestedForACallerThatIsGone(t *testing.T) {
	t.Parallel()
	r := start(t, setup{identify: func(context.Context) (policy.Caller, error) { return policy.ParseCaller(theAdministrator) }})
	document := withRules()
	for i := range 1000 {
		document.Cases = append(document.Cases, &adminv1.PolicyCase{Name: fmt.Sprint(i), Expect: deny, Request: &adminv1.PolicyRequest{Caller: theOperator, Operation: "GetStatus"}})
	}
	ctx, leave := context.WithCancel(t.Context())
	asked := 0
	hook := func() {
		if asked++; asked == 10 {
			leave()
		}
	}
	r.clock.asked.Store(&hook)
	if _, err := r.server.Invoke(ctx, adminv1.PolicyService_TestPolicy_FullMethodName, &adminv1.TestPolicyRequest{Policy: document}); err == nil {
		t.Error("all cases were tested")
	}
	if asked > 20 {
		t.Errorf("the time was asked for %d times", asked)
	}
}
