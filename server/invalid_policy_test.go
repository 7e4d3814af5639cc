package server_test

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// invalidPolicies are documents and questions with one thing wrong.
func invalidPolicies() []invalid {
	var out []invalid
	for _, tt := range []struct {
		name, field string
		spoil       func(*adminv1.PolicyRule)
	}{
		{"no name", "rules[0].name", func(r *adminv1.PolicyRule) { r.Name = "" }},
		{"no effect", "rules[0].effect", func(r *adminv1.PolicyRule) { r.Effect = adminv1.PolicyEffect_POLICY_EFFECT_UNSPECIFIED }},
		{"a mode that there is not", "rules[0].mode", func(r *adminv1.PolicyRule) { r.Mode = 7 }},
		{"nobody's name", "rules[0].callers[0]", func(r *adminv1.PolicyRule) { r.Callers = []string{"alice"} }},
		{"no keys", "rules[0].keys", func(r *adminv1.PolicyRule) { r.Keys = nil }},
		{"an operation that there is not", "rules[0].operations[0]", func(r *adminv1.PolicyRule) { r.Operations = []string{"SignEverything"} }},
		{"an environment that there is not", "rules[0].environments[0]", func(r *adminv1.PolicyRule) { r.Environments = []adminv1.Environment{9} }},
		{"a method in lower case", "rules[0].methods[0]", func(r *adminv1.PolicyRule) { r.Methods = []string{"post"} }},
		{"a path without a slash", "rules[0].paths[1]", func(r *adminv1.PolicyRule) { r.Paths = []string{"/a", "b"} }},
		{"a parameter without values", "rules[0].query[0]", func(r *adminv1.PolicyRule) {
			r.Query = &adminv1.PolicyQuery{Parameters: []*adminv1.PolicyQueryParameter{{Name: "a"}}}
		}},
		{"a condition with a typo", "rules[0].when", func(r *adminv1.PolicyRule) { r.When = "request.metod == 'GET'" }},
		{"limits that limit nothing", "rules[0].limits", func(r *adminv1.PolicyRule) { r.Limits = &adminv1.PolicyLimits{} }},
		{"a query for a partner that does not sign it", "rules[0].query", func(r *adminv1.PolicyRule) {
			r.Operations, r.Query = []string{"ComputeNobaSignature"}, &adminv1.PolicyQuery{}
		}},
		{"a path for a partner that signs none", "rules[0].paths", func(r *adminv1.PolicyRule) { r.Operations, r.Paths = []string{"GetNoonSession"}, []string{"/a"} }},
	} {
		rule := &adminv1.PolicyRule{Name: "a", Effect: adminv1.PolicyEffect_POLICY_EFFECT_ALLOW,
			Callers: []string{"*"}, Keys: []string{"*"}, Operations: []string{"SignNoahRequest"}}
		tt.spoil(rule)
		document := &adminv1.Policy{Rules: []*adminv1.PolicyRule{rule}}
		for _, in := range []proto.Message{&adminv1.SetPolicyRequest{Policy: document, Generation: 2}, &adminv1.TestPolicyRequest{Policy: document}} {
			out = append(out, invalid{tt.name, in, "policy." + tt.field})
		}
	}
	out = append(out,
		invalid{"no document", &adminv1.SetPolicyRequest{}, "policy"},
		invalid{"no document", &adminv1.TestPolicyRequest{}, "policy"},
		invalid{"no request", &adminv1.ExplainPolicyRequest{}, "request"},
	)
	future := &adminv1.Policy{Rules: []*adminv1.PolicyRule{{Name: "a"}}}
	future.GetRules()[0].ProtoReflect().SetUnknown([]byte{0x98, 0x06, 0x01}) // field 99, as a newer client may send it
	out = append(out, invalid{"a field of the future", &adminv1.SetPolicyRequest{Policy: future, Generation: 2}, "policy"})
	for _, tt := range []struct {
		name, field string
		request     *adminv1.PolicyRequest
	}{
		{"nobody's name", "caller", &adminv1.PolicyRequest{Caller: "alice", Operation: "GetStatus"}},
		{"a malformed key", "key", &adminv1.PolicyRequest{Caller: "unix:uid=1", Key: "A", Operation: "GetKey"}},
		{"no operation", "operation", &adminv1.PolicyRequest{Caller: "unix:uid=1", Key: "absent"}},
		{"an operation that there is not", "operation", &adminv1.PolicyRequest{Caller: "unix:uid=1", Operation: "Sign"}},
		{"labels of a key that is not described", "environment", &adminv1.PolicyRequest{Caller: "unix:uid=1", Key: "a", Labels: map[string]string{"a": "b"}, Operation: "GetKey"}},
		{"a key to be made, of no environment", "environment", &adminv1.PolicyRequest{Caller: "unix:uid=1", Key: "a", Operation: "CreateKey"}},
		{"a path for an operation that signs nothing", "method", &adminv1.PolicyRequest{Caller: "unix:uid=1", Operation: "GetStatus", Path: "/a"}},
		{"a malformed path", "path", &adminv1.PolicyRequest{Caller: "unix:uid=1", Key: "a", Operation: "SignNoahRequest", Method: "GET", Path: "a"}},
		{"query parameters for Noba", "query_params", &adminv1.PolicyRequest{Caller: "unix:uid=1", Key: "a", Operation: "ComputeNobaSignature", Method: "GET", Path: "/a",
			Content: &adminv1.PolicyRequest_BodySha256{BodySha256: make([]byte, 32)}}},
	} {
		out = append(out, invalid{tt.name, &adminv1.ExplainPolicyRequest{Request: tt.request}, "request." + tt.field})
		for i, c := range []*adminv1.PolicyCase{{Name: "first", Request: tt.request, Expect: adminv1.PolicyEffect_POLICY_EFFECT_DENY}} {
			out = append(out, invalid{tt.name, &adminv1.TestPolicyRequest{Policy: &adminv1.Policy{Cases: []*adminv1.PolicyCase{c}}}, fmt.Sprintf("policy.cases[%d].request.%s", i, tt.field)})
		}
	}
	return out
}
