package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

const noteGeneration = "note: the document still says generation 7: make it 8 before you apply it again\n"

const noteNoRules = "note: the policy has no rules: nobody is allowed anything but by the configuration file\n"

// results decide the two cases of policyYAML.
func results(first, second *adminv1.PolicyCaseResult) *adminv1.TestPolicyResponse {
	first.Name, second.Name = "a buy", "another"
	return &adminv1.TestPolicyResponse{Results: []*adminv1.PolicyCaseResult{first, second}, Generation: 7}
}

func passed() *adminv1.TestPolicyResponse {
	return results(&adminv1.PolicyCaseResult{Passed: true, Effect: allow, Rule: "checkout-buys", EffectInForce: allow, RuleInForce: "checkout-buys"},
		&adminv1.PolicyCaseResult{Passed: true, Effect: deny, EffectInForce: deny})
}

// mixed has a case that fails and one that changes.
func mixed() *adminv1.TestPolicyResponse {
	return results(&adminv1.PolicyCaseResult{Effect: deny, EffectInForce: deny},
		&adminv1.PolicyCaseResult{Passed: true, Effect: deny, Rule: "nobody", EffectInForce: allow, RuleInForce: "(administrators)"})
}

// author is who runs signerctl.
const author = "unix:uid=1000"

// asked is what apply asks about its own author, before it applies p.
func asked(p *adminv1.Policy) []proto.Message {
	return []proto.Message{&adminv1.GetStatusRequest{}, &adminv1.TestPolicyRequest{Policy: &adminv1.Policy{Rules: p.GetRules(), Cases: []*adminv1.PolicyCase{{
		Name: "the author applies another policy", Expect: allow, Request: &adminv1.PolicyRequest{Caller: author, Operation: "SetPolicy"}}}}}}
}

// authored adds answers to the questions about the author, decided is what becomes of them.
func authored(a answers, decided *adminv1.PolicyCaseResult) answers {
	a["GetStatus"] = give(&adminv1.GetStatusResponse{Caller: author})
	cases := a["TestPolicy"]
	a["TestPolicy"] = func(ctx context.Context, req proto.Message) (proto.Message, error) {
		if c := req.(*adminv1.TestPolicyRequest).GetPolicy().GetCases(); len(c) == 1 && c[0].GetRequest().GetOperation() == "SetPolicy" {
			return &adminv1.TestPolicyResponse{Results: []*adminv1.PolicyCaseResult{decided}}, nil
		}
		return cases(ctx, req)
	}
	return a
}

// administered is for an author who may always set the policy.
func administered(a answers) answers {
	return authored(a, &adminv1.PolicyCaseResult{Passed: true, Effect: allow, Rule: "(administrators)", EffectInForce: allow, RuleInForce: "(administrators)"})
}

func TestPolicyApply(t *testing.T) {
	old := inForce(7, &adminv1.PolicyRule{Name: "checkout-buys", Effect: allow}, &adminv1.PolicyRule{Name: "old"}, &adminv1.PolicyRule{Name: "older"})
	f := serve(t, administered(answers{"GetPolicy": give(old), "TestPolicy": give(passed()), "SetPolicy": give(&adminv1.SetPolicyResponse{Generation: 8})}))
	f.run(t, policyYAML, "policy", "apply", "-").want(t, 0, `The policy is replaced (generation 8): 2 rules, 2 cases, which all pass.
Added: nobody.
Changed: checkout-buys.
Removed: old, older.
`, noteGeneration)
	want := append([]proto.Message{&adminv1.GetPolicyRequest{}, &adminv1.TestPolicyRequest{Policy: policyOf()}}, asked(policyOf())...)
	f.wantRequests(t, append(want, &adminv1.SetPolicyRequest{Policy: policyOf(), Generation: 7})...)
	f.run(t, policyYAML, "policy", "apply", "-", "-o", "json").want(t, 0, "{\n  \"generation\": \"8\"\n}\n", noteGeneration)
}

func TestPolicyApplyOfTheSame(t *testing.T) {
	f := serve(t, administered(answers{"GetPolicy": give(inForce(7, &adminv1.PolicyRule{Name: "a"})), "SetPolicy": give(&adminv1.SetPolicyResponse{Generation: 8})}))
	f.run(t, "generation: 7\nrules: [{name: a}]", "policy", "apply", "-").want(t, 0,
		"The policy is replaced (generation 8): 1 rule, no cases.\nNo rule is added, changed or removed.\n", noteGeneration)
}

func TestPolicyApplyDoesNotListWithoutEnd(t *testing.T) {
	var rules []*adminv1.PolicyRule
	for i := range 1000 {
		rules = append(rules, &adminv1.PolicyRule{Name: fmt.Sprint("r", i)})
	}
	f := serve(t, administered(answers{"GetPolicy": give(inForce(7, rules...)), "SetPolicy": give(&adminv1.SetPolicyResponse{Generation: 8})}))
	f.run(t, "rules: []", "policy", "apply", "-", "--force").want(t, 0, "The policy is replaced (generation 8): no rules, no cases.\n"+
		"Removed: r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, r13, r14, r15, r16, r17, r18, r19 and 980 more.\n", noteNoRules)
}

// Which generation a document is applied to, or why it is not.
func TestPolicyApplyHoldsTheGeneration(t *testing.T) {
	const set = ", set 2026-11-22T08:30:00Z by unix:uid=1000"
	for _, tt := range []struct {
		name     string
		document string
		args     string
		present  uint64
		applied  uint64
		refusal  string
	}{
		{"the first policy", "", "", 0, 0, ""},
		{"the first policy, as get printed it", "generation: 0\n", "", 0, 0, ""},
		{"the present generation", "generation: 7\n", "", 7, 7, ""},
		{"the present generation by flag", "", "--generation 7", 7, 7, ""},
		{"by both", "generation: 7\n", "--generation 7", 7, 7, ""},
		{"by force without one", "", "--force", 7, 7, ""},
		{"by force with an old one", "generation: 5\n", "--force", 7, 7, ""},
		{"by force with a later one", "generation: 9\n", "--force", 7, 7, ""},
		{"none", "", "", 7, 0, "the document does not say which generation it was made from, and generation 7 is in force" + set +
			"\nhint: begin with `signerctl policy get`; or give --generation 7 once you know what it replaces, or --force"},
		{"an older one", "generation: 5\n", "", 7, 0, "the document was made from generation 5, and generation 7 is in force" + set +
			"\nhint: somebody applied another policy since generation 5: `signerctl policy get`, merge, apply again"},
		{"an older one by flag", "", "--generation 5", 7, 0, "the document was made from generation 5, and generation 7 is in force" + set +
			"\nhint: somebody applied another policy since generation 5: `signerctl policy get`, merge, apply again"},
		{"the first one of an empty signerd", "generation: 0\n", "", 7, 0, "the document was made from generation 0, and generation 7 is in force" + set +
			"\nhint: somebody applied another policy since generation 0: `signerctl policy get`, merge, apply again"},
		{"a later one", "generation: 9\n", "", 7, 0, "the document was made from generation 9, and generation 7 is in force" + set +
			"\nhint: is it the right signerd, and its newest store? --force replaces the policy all the same"},
		{"a later one of an empty signerd", "generation: 9\n", "", 0, 0, "the document was made from generation 9, and generation 0 is in force" +
			"\nhint: is it the right signerd, and its newest store? --force replaces the policy all the same"},
		{"two", "generation: 7\n", "--generation 8", 7, 0, "the document names generation 7, and --generation 8\nhint: leave one of them out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			present := inForce(tt.present)
			if tt.present == 0 {
				present = &adminv1.GetPolicyResponse{}
			}
			f := serve(t, administered(answers{"GetPolicy": give(present), "SetPolicy": give(&adminv1.SetPolicyResponse{Generation: 10})}))
			r := f.run(t, tt.document+"rules: []\n", append([]string{"policy", "apply", "-"}, strings.Fields(tt.args)...)...)
			if tt.refusal != "" {
				r.want(t, 1, "", "signerctl: applying standard input: "+tt.refusal+"\n")
				f.wantRequests(t, &adminv1.GetPolicyRequest{})
				return
			}
			note := noteNoRules
			if tt.document != "" {
				note += "note: the document still says " + strings.TrimSpace(strings.Replace(tt.document, ":", "", 1)) + ": make it 10 before you apply it again\n"
			}
			r.want(t, 0, "The policy is replaced (generation 10): no rules, no cases.\nNo rule is added, changed or removed.\n", note)
			want := append([]proto.Message{&adminv1.GetPolicyRequest{}}, asked(&adminv1.Policy{})...)
			f.wantRequests(t, append(want, &adminv1.SetPolicyRequest{Policy: &adminv1.Policy{}, Generation: tt.applied})...)
		})
	}
}

// Between looking and replacing somebody may be faster.
func TestPolicyApplyOvertaken(t *testing.T) {
	f := serve(t, administered(answers{"GetPolicy": give(inForce(7)), "TestPolicy": give(passed()), "SetPolicy": refuse(codes.Aborted, "CONFLICT", "the policy is at generation 8")}))
	f.run(t, policyYAML, "policy", "apply", "-").want(t, 1, "", "signerctl: applying standard input: the policy is at generation 8\n"+
		"hint: somebody applied another policy since generation 7: `signerctl policy get`, merge, apply again\n")
}

func TestPolicyApplyTriesTheCases(t *testing.T) {
	f := serve(t, administered(answers{"GetPolicy": give(inForce(7)), "TestPolicy": give(mixed()), "SetPolicy": give(&adminv1.SetPolicyResponse{Generation: 8})}))
	path := writeFile(t, policyYAML)
	f.run(t, "", "policy", "apply", path).want(t, 1, "", "signerctl: applying "+path+": nothing was applied: 1 of 2 cases fails\n"+
		path+":14: cases[0] (a buy): expected allow by checkout-buys, decided deny, as no rule matches\n"+
		"hint: correct the rules or the cases; `signerctl policy test` shows more, and --skip-cases applies the document all the same\n")
	f.wantRequests(t, &adminv1.GetPolicyRequest{}, &adminv1.TestPolicyRequest{Policy: policyOf()})
	f.run(t, "", "policy", "apply", path, "--skip-cases").want(t, 0,
		"The policy is replaced (generation 8): 2 rules, 2 cases, not tried.\nAdded: checkout-buys, nobody.\n", noteGeneration)
}

func TestPolicyApplyRefused(t *testing.T) {
	denied := refuse(codes.PermissionDenied, "DENIED", "not allowed")
	const want = "signerctl: applying standard input: not allowed\nhint: ask whoever sets the policy for a rule; they can find this call by record rec-1\n"
	for _, a := range []answers{
		{"GetPolicy": denied},
		{"GetPolicy": give(inForce(7)), "TestPolicy": denied},
		administered(answers{"GetPolicy": give(inForce(7)), "TestPolicy": give(passed()), "SetPolicy": denied}),
		authored(answers{"GetPolicy": give(inForce(7)), "TestPolicy": give(passed()), "SetPolicy": denied}, &adminv1.PolicyCaseResult{Effect: deny, EffectInForce: deny}),
	} {
		serve(t, a).run(t, policyYAML, "policy", "apply", "-").want(t, 1, "", want)
	}
	f := serve(t, answers{"GetPolicy": denied})
	f.run(t, "", "policy", "get").want(t, 1, "", strings.Replace(want, "applying standard input", "getting the policy", 1))
}

func TestPolicyTest(t *testing.T) {
	response := passed()
	f := serve(t, answers{"TestPolicy": func(context.Context, proto.Message) (proto.Message, error) { return response, nil }})
	path := writeFile(t, policyYAML)
	f.run(t, "", "policy", "test", path).want(t, 0, "2 cases, which all pass; the policy in force (generation 7) decides each the same.\n", "")
	f.wantRequests(t, &adminv1.TestPolicyRequest{Policy: policyOf()})

	response = mixed()
	response.Generation = 9
	f.run(t, "", "policy", "test", path).want(t, 1, `LINE  CASE     RESULT           EXPECTED                DECIDED                   IN FORCE
14    a buy    FAILS            allow by checkout-buys  deny, as no rule matches  the same
22    another  passes, changes  deny                    deny by nobody            allow by (administrators)

1 of 2 cases fails; the policy in force (generation 9) decides 1 otherwise.
`, "note: the document was made from generation 7, and generation 9 is in force: as it is, it cannot be applied\nsignerctl: testing "+path+": 1 of 2 cases fails\n")

	// Changes alone do not fail.
	response = mixed()
	response.Results[0] = passed().Results[0]
	f.run(t, "", "policy", "test", path).want(t, 0, `LINE  CASE     RESULT           EXPECTED  DECIDED         IN FORCE
22    another  passes, changes  deny      deny by nobody  allow by (administrators)

2 cases, which all pass; the policy in force (generation 7) decides 1 otherwise.
`, "")

	response = &adminv1.TestPolicyResponse{Results: mixed().Results[:1]}
	f.run(t, "", "policy", "test", path).want(t, 1, "", "signerctl: testing "+path+": signerd answered for 1 of 2 cases\n")
}

func TestPolicyTestAsJSON(t *testing.T) {
	f := serve(t, answers{"TestPolicy": give(mixed())})
	r := f.run(t, policyYAML, "policy", "test", "-", "-o", "json")
	if r.code != 1 || r.stderr != "signerctl: testing standard input: 1 of 2 cases fails\n" || !strings.HasPrefix(r.stdout, "{\n  \"results\": [\n    {\n      \"name\": \"a buy\",\n      \"passed\": false,") {
		t.Errorf("got %+v", r)
	}
}
