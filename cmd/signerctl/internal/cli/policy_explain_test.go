package cli

import (
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

func TestPolicyExplain(t *testing.T) {
	f := serve(t, answers{"ExplainPolicy": give(&adminv1.ExplainPolicyResponse{
		Effect: deny, Rule: "no-refunds", Operation: "SignNoahRequest", Generation: 7, Omitted: 12,
		Rules: []*adminv1.PolicyRuleExplanation{
			{Name: "checkout-buys", Effect: allow, Mode: adminv1.PolicyMode_POLICY_MODE_ENFORCE, Why: "paths: /v1/refund matches none of them"},
			{Name: "no-refunds", Effect: deny, Matched: true},
			{Name: "soon", Effect: allow, Mode: adminv1.PolicyMode_POLICY_MODE_SHADOW, Why: "when: \x1b[31m"},
		}})})
	f.run(t, "{}", "policy", "explain", "--as", "spiffe://example.org/checkout", "--key", "noah-checkout", "POST", "/v1/refund",
		"--query", "a=1", "--query", "n:=20", "--body", "-", "--operation", "SignNoahRequest", "--all").want(t, 0, `Decision:    deny by no-refunds
Operation:   SignNoahRequest
Generation:  7

RULE           EFFECT  MODE     MATCHES  WHY
checkout-buys  allow   enforce  no       paths: /v1/refund matches none of them
no-refunds     deny    enforce  yes      -
soon           allow   shadow   no       "when: \x1b[31m"

Left out: 12 rules for another caller, operation or key; --all shows them.
`, "")
	f.run(t, "", "policy", "explain", "--as", "unix:uid=1000", "--operation", "ListKeys")
	query, err := structpb.NewStruct(map[string]any{"a": "1", "n": 20.0})
	if err != nil {
		t.Fatal(err)
	}
	f.wantRequests(t, &adminv1.ExplainPolicyRequest{All: true, Request: &adminv1.PolicyRequest{
		Caller: "spiffe://example.org/checkout", Key: "noah-checkout", Operation: "SignNoahRequest", Method: "POST", Path: "/v1/refund",
		QueryParams: query, Content: &adminv1.PolicyRequest_Body{Body: []byte("{}")}}},
		&adminv1.ExplainPolicyRequest{Request: &adminv1.PolicyRequest{Caller: "unix:uid=1000", Operation: "ListKeys"}})
}

func TestPolicyExplainOfAKeyThatThereIsNot(t *testing.T) {
	f := serve(t, answers{"ExplainPolicy": give(&adminv1.ExplainPolicyResponse{Effect: allow, Rule: "a", Operation: "SignNoahRequest"})})
	f.run(t, "", "policy", "explain", "--as", "unix:uid=1000", "--key", "new", "GET", "/v1/a",
		"--scheme", "noah", "--env", "prod", "--label", "team=checkout", "--label", "tier=").want(t, 0,
		"Decision:    allow by a\nOperation:   SignNoahRequest\nGeneration:  0\n", "")
	f.wantRequests(t, &adminv1.ExplainPolicyRequest{Request: &adminv1.PolicyRequest{
		Caller: "unix:uid=1000", Key: "new", Method: "GET", Path: "/v1/a",
		Scheme: "noah", Environment: adminv1.Environment_ENVIRONMENT_PROD, Labels: map[string]string{"team": "checkout", "tier": ""}}})
}

func TestPolicyExplainWhenNothingMatches(t *testing.T) {
	f := serve(t, answers{"ExplainPolicy": give(&adminv1.ExplainPolicyResponse{Effect: deny, Operation: "GetNoonSession", Omitted: 1})})
	f.run(t, "", "policy", "explain", "--as", "unix:uid=1000", "--key", "robot").want(t, 0, `Decision:    deny, as no rule matches
Operation:   GetNoonSession
Generation:  0

Left out: 1 rule for another caller, operation or key; --all shows them.
`, "")
	if r := f.run(t, "", "policy", "explain", "--as", "unix:uid=1000", "--key", "robot", "-o", "json"); r.code != 0 || !strings.Contains(r.stdout, `"omitted": 1`) {
		t.Errorf("got %+v", r)
	}
}

func TestPolicyExplainRefused(t *testing.T) {
	f := serve(t, answers{"ExplainPolicy": refuse(codes.InvalidArgument, "INVALID_REQUEST", "request.path: it has a fragment",
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "request.path", Description: "it has a fragment"}}})})
	f.run(t, "", "policy", "explain", "--as", "unix:uid=1000", "--key", "a", "GET", "/#").want(t, 1, "",
		"signerctl: explaining a decision: request.path: it has a fragment\nhint: "+reasonHints["INVALID_REQUEST"]+"\n")
}
