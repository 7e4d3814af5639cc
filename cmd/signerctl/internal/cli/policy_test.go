package cli

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

const (
	allow = adminv1.PolicyEffect_POLICY_EFFECT_ALLOW
	deny  = adminv1.PolicyEffect_POLICY_EFFECT_DENY
)

const policyYAML = `generation: 7
rules:
  - name: checkout-buys
    effect: allow
    callers: [spiffe://example.org/checkout]
    keys: [noah-checkout]
    operations: [SignNoahRequest]
    paths: [/v1/checkout/buy, "v1//x"]
    when: |
      body.a == 1 &&
        body.b == "x
  - {name: nobody, effect: deny, callers: ["*"], keys: ["*"], operations: ["*"]}
cases:
  - name: a buy
    caller: spiffe://example.org/checkout
    key: noah-checkout
    method: POST
    path: /v1/checkout/buy
    body: "{}"
    expect: allow
    rule: checkout-buys
  - {name: another, caller: "unix:uid=1000", key: noah-checkout, method: GET, path: /, expect: deny}
`

func policyOf() *adminv1.Policy {
	return &adminv1.Policy{
		Rules: []*adminv1.PolicyRule{
			{Name: "checkout-buys", Effect: allow, Callers: []string{"spiffe://example.org/checkout"}, Keys: []string{"noah-checkout"},
				Operations: []string{"SignNoahRequest"}, Paths: []string{"/v1/checkout/buy", "v1//x"}, When: "body.a == 1 &&\n  body.b == \"x\n"},
			{Name: "nobody", Effect: deny, Callers: []string{"*"}, Keys: []string{"*"}, Operations: []string{"*"}},
		},
		Cases: []*adminv1.PolicyCase{
			{Name: "a buy", Expect: allow, Rule: "checkout-buys", Request: &adminv1.PolicyRequest{
				Caller: "spiffe://example.org/checkout", Key: "noah-checkout", Method: "POST", Path: "/v1/checkout/buy",
				Content: &adminv1.PolicyRequest_Body{Body: []byte("{}")}}},
			{Name: "another", Expect: deny, Request: &adminv1.PolicyRequest{Caller: "unix:uid=1000", Key: "noah-checkout", Method: "GET", Path: "/"}},
		},
	}
}

func inForce(generation uint64, rules ...*adminv1.PolicyRule) *adminv1.GetPolicyResponse {
	return &adminv1.GetPolicyResponse{Policy: &adminv1.Policy{Rules: rules}, Generation: generation, UpdateTime: made, Author: "unix:uid=1000"}
}

func TestPolicyGet(t *testing.T) {
	f := serve(t, answers{"GetPolicy": give(inForce(7, &adminv1.PolicyRule{Name: "a", Effect: deny, Callers: []string{"*"}}))})
	f.run(t, "", "policy", "get").want(t, 0, `generation: 7
# set 2026-11-22T08:30:00Z by unix:uid=1000
rules:
  - name: a
    effect: deny
    callers: ['*']
`, "")
	f.wantRequests(t, &adminv1.GetPolicyRequest{})
	if r := f.run(t, "", "policy", "get", "-o", "json"); r.code != 0 || !strings.Contains(r.stdout, `"effect": "POLICY_EFFECT_DENY"`) {
		t.Errorf("got %+v", r)
	}
}

func TestPolicyGetBeforeThereIsOne(t *testing.T) {
	f := serve(t, answers{"GetPolicy": give(&adminv1.GetPolicyResponse{})})
	f.run(t, "", "policy", "get").want(t, 0,
		"generation: 0\n# no policy was ever set: nobody is allowed anything but by the configuration file\nrules: []\n", "")
}

// What this signerctl does not know would be lost in YAML, and then in force.
func TestPolicyGetOfANewerSignerd(t *testing.T) {
	newer := &adminv1.PolicyRule{Name: "a"}
	newer.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 1))
	f := serve(t, answers{"GetPolicy": give(inForce(7, newer))})
	f.run(t, "", "policy", "get").want(t, 1, "", "signerctl: writing the policy as YAML: the policy holds more than this program can write as YAML\n"+
		"hint: is signerd newer than this signerctl? -o json prints what of it is known here\n")
}

func TestPolicyGetTakesWhatSignerdCanHold(t *testing.T) {
	f := serve(t, answers{"GetPolicy": give(inForce(7, &adminv1.PolicyRule{Description: strings.Repeat("x", 5<<20)}))})
	if r := f.run(t, "", "policy", "get"); r.code != 0 || len(r.stdout) < 5<<20 {
		t.Errorf("exit status %d, %d bytes, %s", r.code, len(r.stdout), r.stderr)
	}
}

func TestPolicyThatCannotBeRead(t *testing.T) {
	f := serve(t, nil)
	dir := t.TempDir()
	const hintFile = "\nhint: FILE wants the name of a file, or - for standard input\n"
	const hintForm = "\nhint: `signerctl policy --help` shows what a document looks like\n"
	wrong := writeFile(t, "rules:\n  - name: a\n    efect: allow\n    mode: dry\ngeneration:\n")
	for _, command := range []string{"apply", "test"} {
		for _, tt := range []struct{ stdin, path, want string }{
			{"", filepath.Join(dir, "none"), "reading " + filepath.Join(dir, "none") + ": no such file or directory" + hintFile},
			{"", dir, "reading " + dir + ": is a directory" + hintFile},
			{strings.Repeat("x", maxPolicyBytes+1), "-", "reading standard input: it has more than 4096 KiB" + hintFile},
			{"", "-", "reading standard input: it is no policy document\nstandard input:1: the document is empty; `rules: []` is the policy that allows nobody" + hintForm},
			{"rules: *x", "-", "reading standard input: it is no policy document\nstandard input: unknown anchor 'x' referenced" + hintForm},
			{"rules: []\n\"a\\x1bb\": c", "-", "reading standard input: it is no policy document\nstandard input:2: \"a\\x1bb: the key is unknown\"" + hintForm},
			{"", wrong, "reading " + wrong + ": it is no policy document\n" +
				wrong + ":3: rules[0] (a) efect: the key is unknown\n" +
				wrong + ":4: rules[0] (a) mode: wanted enforce or shadow\n" +
				wrong + ":5: generation: a value is missing here" + hintForm},
		} {
			f.run(t, tt.stdin, "policy", command, tt.path).want(t, 1, "", "signerctl: "+tt.want)
		}
	}
	f.wantRequests(t)
}

func TestAPolicyWithoutEndIsNotReadToIt(t *testing.T) {
	f := serve(t, nil)
	in := &endless{}
	if code := Main(t.Context(), []string{"--address", f.address, "policy", "apply", "-"}, in, io.Discard, io.Discard); code != 1 || in.read > 2*maxPolicyBytes {
		t.Errorf("exit status %d after %d bytes", code, in.read)
	}
}

func TestPolicyAtTheLimit(t *testing.T) {
	f := serve(t, answers{"TestPolicy": give(&adminv1.TestPolicyResponse{Generation: 7})})
	var text bytes.Buffer
	text.WriteString("rules: []\n#")
	text.WriteString(strings.Repeat("x", maxPolicyBytes-text.Len()))
	f.run(t, text.String(), "policy", "test", "-").want(t, 0, "The document is sound (no rules). It has no cases, and so nothing was tried.\n", "")
}

func TestSignerdsFaultsAreToldByLine(t *testing.T) {
	bad := refuse(codes.InvalidArgument, "INVALID_REQUEST", "several fields are wrong", &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
		{Field: "policy.rules[0].paths[1]", Description: "it does not start with /"},
		{Field: "policy.rules[0].when", Description: "line 2, column 13: the text is not ended"},
		{Field: "policy.rules[1].limits", Description: "limits belong to\nallow rules"},
		{Field: "policy.cases[0].request.path", Description: "it has a fragment"},
		{Field: "policy.cases[1].expect", Description: "wanted allow or deny"},
	}})
	want := `signerd does not accept the document
FILE:8: rules[0] (checkout-buys) paths[1]: it does not start with /
FILE:11: rules[0] (checkout-buys) when: line 2, column 13: the text is not ended
FILE:12: "rules[1] (nobody) limits: limits belong to\nallow rules"
FILE:18: cases[0] (a buy) path: it has a fragment
FILE:22: cases[1] (another) expect: wanted allow or deny
hint: ` + "`signerctl policy --help` shows what a document looks like\n"
	path := writeFile(t, policyYAML)
	want = strings.ReplaceAll(want, "FILE", path)
	f := serve(t, answers{"GetPolicy": give(inForce(7)), "TestPolicy": bad, "SetPolicy": bad})
	f.run(t, "", "policy", "test", path).want(t, 1, "", "signerctl: testing "+path+": "+want)
	f.run(t, "", "policy", "apply", path).want(t, 1, "", "signerctl: applying "+path+": "+want)
	f.run(t, "", "policy", "apply", path, "--skip-cases", "--allow-lockout").want(t, 1, "", "signerctl: applying "+path+": "+want)
	f = serve(t, answers{"GetPolicy": give(inForce(7)), "GetStatus": give(&adminv1.GetStatusResponse{Caller: author}), "TestPolicy": bad})
	f.run(t, "", "policy", "apply", path, "--skip-cases").want(t, 1, "", "signerctl: applying "+path+": "+want)
}

// The example in the help is one that works.
func TestTheHelpShowsADocument(t *testing.T) {
	_, text, ok := strings.Cut(longPolicy, "\n\n  generation")
	text, _, end := strings.Cut(text, "\n\nA rule needs")
	if !ok || !end {
		t.Fatal("the help has no document")
	}
	f := serve(t, answers{"TestPolicy": func(_ context.Context, req proto.Message) (proto.Message, error) {
		p := req.(*adminv1.TestPolicyRequest).GetPolicy()
		return &adminv1.TestPolicyResponse{Results: make([]*adminv1.PolicyCaseResult, len(p.GetCases())), Generation: 7}, nil
	}})
	r := f.run(t, "  generation"+text+"\n", "policy", "test", "-")
	if !strings.HasSuffix(r.stderr, "1 of 1 case fails\n") {
		t.Errorf("got %+v", r)
	}
}
