package cli

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

const hintLockout = "hint: keep a rule that allows you SetPolicy, or have the configuration file name you in administrators; --allow-lockout applies the document all the same\n"

// A document that its author cannot replace is refused, and applied by who insists.
func TestPolicyApplyOfALockout(t *testing.T) {
	for _, tt := range []struct {
		name, document, reason string
		decided                *adminv1.PolicyCaseResult
		rules                  []*adminv1.PolicyRule
		notes, out             string
	}{
		{"no rules", "rules: []\n", "deny, as no rule matches",
			&adminv1.PolicyCaseResult{Effect: deny, EffectInForce: allow, RuleInForce: "operators"}, nil,
			noteNoRules, "The policy is replaced (generation 8): no rules, no cases.\nNo rule is added, changed or removed.\n"},
		{"a rule that denies", "rules: [{name: nobody}]\ncases: [{name: the author applies another policy}]\n", "deny by nobody",
			&adminv1.PolicyCaseResult{Effect: deny, Rule: "nobody", EffectInForce: allow, RuleInForce: "operators"}, []*adminv1.PolicyRule{{Name: "nobody"}},
			"", "The policy is replaced (generation 8): 1 rule, 1 case, not tried.\nAdded: nobody.\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := authored(answers{"GetPolicy": give(inForce(7)), "SetPolicy": give(&adminv1.SetPolicyResponse{Generation: 8})}, tt.decided)
			text := "by this document you (unix:uid=1000) could not replace the policy again (SetPolicy: " + tt.reason + ")\n"
			f := serve(t, a)
			f.run(t, tt.document, "policy", "apply", "-", "--force", "--skip-cases").want(t, 1, "", "signerctl: applying standard input: nothing was applied: "+text+hintLockout)
			f.wantRequests(t, append([]proto.Message{&adminv1.GetPolicyRequest{}}, asked(&adminv1.Policy{Rules: tt.rules})...)...)
			f.run(t, tt.document, "policy", "apply", "-", "--force", "--skip-cases", "--allow-lockout").want(t, 0, tt.out, "note: "+text+tt.notes)
		})
	}
}

// What is not known may be a lockout.
func TestPolicyApplyWhenALockoutCannotBeTold(t *testing.T) {
	denied := refuse(codes.PermissionDenied, "DENIED", "not allowed")
	const hint = "\nhint: apply asks GetStatus and TestPolicy whether you could still replace the policy; ask for a rule that allows you both, or apply with --allow-lockout\n"
	you := give(&adminv1.GetStatusResponse{Caller: author})
	for _, tt := range []struct {
		name string
		a    answers
		want string
	}{
		{"who the author is", answers{"GetStatus": denied}, "not allowed" + hint},
		{"what is decided", answers{"GetStatus": you, "TestPolicy": denied}, "not allowed" + hint},
		{"no decision", answers{"GetStatus": you, "TestPolicy": give(&adminv1.TestPolicyResponse{})}, "signerd answered for 0 of 1 cases\n"},
		{"a decision that is none", authored(answers{}, &adminv1.PolicyCaseResult{}),
			"nothing was applied: by this document you (unix:uid=1000) could not replace the policy again (SetPolicy: unspecified)\n" + hintLockout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.a["GetPolicy"], tt.a["SetPolicy"] = give(inForce(7)), give(&adminv1.SetPolicyResponse{Generation: 8})
			f := serve(t, tt.a)
			f.run(t, "rules: [{name: a}]", "policy", "apply", "-", "--force").want(t, 1, "", "signerctl: applying standard input: "+tt.want)
			if r := f.run(t, "rules: [{name: a}]", "policy", "apply", "-", "--force", "--allow-lockout"); r.code != 0 {
				t.Errorf("got %+v", r)
			}
		})
	}
}
