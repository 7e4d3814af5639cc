package cli

import (
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

func replays(t *testing.T, r *adminv1.ReplayPolicyResult) *fake {
	t.Helper()
	return serveStreams(t, nil, streams{"ReplayPolicy": parts(&adminv1.ReplayPolicyResponse{Calls: 5}, &adminv1.ReplayPolicyResponse{Calls: 9, Result: r})})
}

func TestPolicyTestAgainstTheAuditLog(t *testing.T) {
	f := replays(t, &adminv1.ReplayPolicyResult{Same: 1200, Different: 13, Unknown: 3, Omitted: 1, Calls: []*adminv1.ReplayedCalls{
		{Count: 12, Caller: "unix:uid=1000", Operation: "SignNoahRequest", Key: "shop", Method: "GET", Path: "/v1/a", EffectThen: allow, RuleThen: "all", Effect: deny, RecordId: recordID(1)},
		{Count: 3, Caller: "unix:uid=1000", Operation: "SignNoahRequest", Key: "shop", Method: "POST", Path: "/\x1b[2J", EffectThen: allow, RuleThen: "all", Rule: "small", RecordId: recordID(2)},
		{Count: 1, Caller: "unix:uid=0", Operation: "ListKeys", EffectThen: deny, Effect: allow, Rule: "operators", RecordId: recordID(3)},
	}})
	r := f.run(t, policyYAML, "policy", "test", "--against-audit", "2026-11-22T08:30:00Z", "-")
	r.want(t, 1, `CALLS  CALLER         OPERATION        KEY   REQUEST          THEN                      NOW                       NEWEST
12     unix:uid=1000  SignNoahRequest  shop  GET /v1/a        allow by all              deny, as no rule matches  01990000-0000-7000-8000-000000000001
3      unix:uid=1000  SignNoahRequest  shop  "POST /\x1b[2J"  allow by all              cannot be said for small  01990000-0000-7000-8000-000000000002
1      unix:uid=0     ListKeys         -     -                deny, as no rule matches  allow by operators        01990000-0000-7000-8000-000000000003

Left out: 1 more group, of fewer calls each.
1200 calls decided the same, 13 otherwise; of 3 it cannot be said.
`, "signerctl: testing standard input: 13 past calls would be decided otherwise\n")
	f.wantRequests(t, &adminv1.ReplayPolicyRequest{Policy: policyOf(), Since: &timestamppb.Timestamp{Seconds: 1795336200}})
}

func TestPolicyTestAgainstTheAuditLogEndsWell(t *testing.T) {
	f := replays(t, &adminv1.ReplayPolicyResult{Same: 12, Unknown: 1})
	f.run(t, "rules: []", "policy", "test", "--against-audit", "7d", "-").want(t, 0, "12 calls decided the same, 0 otherwise; of 1 it cannot be said.\n", "")
	f = replays(t, &adminv1.ReplayPolicyResult{Same: 1})
	f.run(t, "rules: []", "policy", "test", "--against-audit", "7d", "-").want(t, 0, "1 call decided the same, 0 otherwise.\n", "")
	f = replays(t, &adminv1.ReplayPolicyResult{})
	f.run(t, "rules: []", "policy", "test", "--against-audit", "7d", "-").want(t, 0, "No call is on record since then, and so nothing was tried.\n", "")
	f = replays(t, &adminv1.ReplayPolicyResult{Different: 1})
	if r := f.run(t, "rules: []", "policy", "test", "--against-audit", "7d", "-", "-o", "json"); r.code != 1 || !strings.Contains(r.stdout, `"different": "1"`) {
		t.Errorf("got %+v", r)
	}
}

func TestPolicyTestAgainstTheAuditLogWantsAResult(t *testing.T) {
	f := serveStreams(t, nil, streams{"ReplayPolicy": parts(&adminv1.ReplayPolicyResponse{Calls: 5})})
	f.run(t, "rules: []", "policy", "test", "--against-audit", "7d", "-").want(t, 1, "", "signerctl: testing standard input: signerd ended without a result\n")
}

func TestPolicyTestAgainstTheAuditLogNamesTheLine(t *testing.T) {
	bad := refuse(codes.InvalidArgument, "INVALID_REQUEST", "wrong", &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
		{Field: "policy.rules[0].paths[1]", Description: "it does not start with /"}}})
	f := serveStreams(t, nil, streams{"ReplayPolicy": func(stream grpc.ServerStream, _ proto.Message) error {
		_, err := bad(stream.Context(), nil)
		return err
	}})
	f.run(t, policyYAML, "policy", "test", "--against-audit", "7d", "-").want(t, 1, "", "signerctl: testing standard input: signerd does not accept the document\n"+
		"standard input:8: rules[0] (checkout-buys) paths[1]: it does not start with /\nhint: `signerctl policy --help` shows what a document looks like\n")
}
