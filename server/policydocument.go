package server

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/condition"
	"github.com/signerd/signerd/policy/limit"
	"github.com/signerd/signerd/upstream"
)

// CompilePolicy makes a stored document a policy. It is for keystore.Config. Errors name fields, and quote no values but words
// of conditions and patterns.
func CompilePolicy(document []byte) (*policy.Policy, error) {
	in := &adminv1.Policy{}
	if err := proto.Unmarshal(document, in); err != nil {
		return nil, errors.New("it is no policy document")
	}
	return compilePolicy(in)
}

// storedPolicy is a document as it is kept.
func storedPolicy(in *adminv1.Policy) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(in)
}

// errUnknownFields says that a document says more than this program understands: what it would leave out might be what
// restricts a rule.
var errUnknownFields = errors.New("it has fields that this program does not know; was it made for a newer one?")

func compilePolicy(in *adminv1.Policy) (*policy.Policy, error) {
	if hasUnknown(in.ProtoReflect()) {
		return nil, violations{invalidField("policy", "%v", errUnknownFields)}
	}
	document, bad := policyDocument(in)
	if len(bad) > 0 {
		return nil, bad.bounded()
	}
	compiled, err := policy.Compile(document, catalog())
	var faults policy.Faults
	if errors.As(err, &faults) {
		for _, f := range faults {
			bad = append(bad, invalidField("policy."+f.Path(), "%s", problemOf(f)))
		}
		return nil, bad.bounded()
	}
	return compiled, err
}

var policyEffects = map[adminv1.PolicyEffect]policy.Effect{
	adminv1.PolicyEffect_POLICY_EFFECT_ALLOW: policy.Allow,
	adminv1.PolicyEffect_POLICY_EFFECT_DENY:  policy.Deny,
}

func effectMessage(e policy.Effect) adminv1.PolicyEffect {
	if e == policy.Allow {
		return adminv1.PolicyEffect_POLICY_EFFECT_ALLOW
	}
	return adminv1.PolicyEffect_POLICY_EFFECT_DENY
}

// policyDocument turns a message into the types of package policy, which checks what they say. What is lost on the way is
// checked here.
func policyDocument(in *adminv1.Policy) (policy.Document, violations) {
	var out policy.Document
	var bad violations
	for i, r := range in.GetRules() {
		rule := policy.Rule{
			Name: r.GetName(), Effect: policyEffects[r.GetEffect()], Shadow: r.GetMode() == adminv1.PolicyMode_POLICY_MODE_SHADOW,
			Callers: r.GetCallers(), Keys: r.GetKeys(), Labels: r.GetLabels(), Methods: r.GetMethods(), Paths: r.GetPaths(), When: r.GetWhen(),
			Limits: limit.Rates{
				PerSecond: r.GetLimits().GetPerSecond(), Burst: int(r.GetLimits().GetBurst()),
				PerHour: int64(r.GetLimits().GetPerHour()), PerDay: int64(r.GetLimits().GetPerDay()),
			},
		}
		if _, known := adminv1.PolicyMode_name[int32(r.GetMode())]; !known {
			bad = append(bad, invalidField(fmt.Sprintf("policy.rules[%d].mode", i), "wanted enforce or shadow"))
		}
		if r.GetLimits() != nil && !rule.Limits.Limited() {
			bad = append(bad, invalidField(fmt.Sprintf("policy.rules[%d].limits", i), "it limits nothing"))
		}
		for j, o := range r.GetOperations() {
			if p, _ := permissionFor(policy.Operation(o)); p.noRule {
				bad = append(bad, invalidField(fmt.Sprintf("policy.rules[%d].operations[%d]", i, j), "%s is for administrators alone: no rule gives or takes it", o))
			}
			rule.Operations = append(rule.Operations, policy.Operation(o))
		}
		for _, e := range r.GetEnvironments() {
			rule.Environments = append(rule.Environments, string(environment(e)))
		}
		if r.GetQuery() != nil {
			rule.Query = &policy.Query{}
			for _, p := range r.GetQuery().GetParameters() {
				rule.Query.Parameters = append(rule.Query.Parameters, policy.Parameter{Name: p.GetName(), Values: p.GetValues(), Optional: p.GetOptional()})
			}
		}
		out.Rules = append(out.Rules, rule)
	}
	return out, append(bad, checkCases(in.GetCases())...)
}

// problemOf says what is wrong with a rule. A condition's place is written out, so that clients can find it in their file.
func problemOf(f *policy.Fault) string {
	var source *condition.Error
	if errors.As(f.Err, &source) {
		return fmt.Sprintf("line %d, column %d: %s", source.Line, source.Column, source.Problem)
	}
	return f.Err.Error()
}

// invalidField is upstream.Invalid as part of violations.
func invalidField(field, format string, args ...any) *upstream.FieldError {
	return &upstream.FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

// maxCases bounds the cases of a document.
const maxCases = 10_000

func checkCases(cases []*adminv1.PolicyCase) violations {
	if len(cases) > maxCases {
		return violations{invalidField("policy.cases", "there are more than %d", maxCases)}
	}
	var bad violations
	seen := make(map[string]bool, len(cases))
	for i, c := range cases {
		at := fmt.Sprintf("policy.cases[%d].", i)
		switch _, known := policyEffects[c.GetExpect()]; {
		case c.GetName() == "" || len(c.GetName()) > 200:
			bad = append(bad, invalidField(at+"name", "wanted 1 to 200 bytes"))
		case seen[c.GetName()]:
			bad = append(bad, invalidField(at+"name", "another case has it already"))
		case !known:
			bad = append(bad, invalidField(at+"expect", "wanted allow or deny"))
		}
		seen[c.GetName()] = true
	}
	return bad
}

// hasUnknown reports whether a message, or one within it, has fields that this program does not know.
func hasUnknown(m protoreflect.Message) bool {
	if len(m.GetUnknown()) > 0 {
		return true
	}
	found := false
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					found = hasUnknown(v.Message())
					return !found
				})
			}
		case f.Message() == nil:
		case f.IsList():
			for i := 0; i < v.List().Len() && !found; i++ {
				found = hasUnknown(v.List().Get(i).Message())
			}
		default:
			found = hasUnknown(v.Message())
		}
		return !found
	})
	return found
}
