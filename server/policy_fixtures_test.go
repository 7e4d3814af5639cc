package server_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

const (
	allow = adminv1.PolicyEffect_POLICY_EFFECT_ALLOW
	deny  = adminv1.PolicyEffect_POLICY_EFFECT_DENY
)

// application is a caller that tests give rules of its own; operator's are for preparing.
const application = 3000

// ruleFor is a rule about one caller, or "*", and some operations on every key, for tests to narrow.
func ruleFor(name string, effect adminv1.PolicyEffect, who string, operations ...string) *adminv1.PolicyRule {
	return &adminv1.PolicyRule{Name: name, Effect: effect, Callers: []string{who}, Keys: []string{"*"}, Operations: operations}
}

const (
	theApplication   = "unix:uid=3000"
	theOperator      = "unix:uid=1000"
	theAdministrator = "unix:uid=999"
)

// applying is a rule that allows application to sign for NOAH, narrowed.
func applying(name string, narrow func(*adminv1.PolicyRule)) *adminv1.PolicyRule {
	rule := ruleFor(name, allow, theApplication, "SignNoahRequest")
	if narrow != nil {
		narrow(rule)
	}
	return rule
}

// withRules is a document of these rules; operator may do everything beside them.
func withRules(rules ...*adminv1.PolicyRule) *adminv1.Policy {
	return &adminv1.Policy{Rules: append(rules, ruleFor("operators", allow, theOperator, "*"))}
}

// apply sets a policy as somebody who read the present one just before.
func (r *rig) apply(t testing.TB, document *adminv1.Policy) uint64 {
	t.Helper()
	before, err := r.policy.GetPolicy(as(t, administrator), &adminv1.GetPolicyRequest{})
	must(t, err)
	out, err := r.policy.SetPolicy(as(t, administrator), &adminv1.SetPolicyRequest{Policy: document, Generation: before.GetGeneration()})
	must(t, err)
	return out.GetGeneration()
}

// inForce is the policy that GetPolicy gives.
func (r *rig) inForce(t testing.TB) *adminv1.GetPolicyResponse {
	t.Helper()
	out, err := r.policy.GetPolicy(as(t, administrator), &adminv1.GetPolicyRequest{})
	must(t, err)
	return out
}

// denied wants a denial that the log says was the rule's; "" for want of any.
func (r *rig) denied(t testing.TB, err error, rule string) line {
	t.Helper()
	logged, _ := r.refused(t, err, codes.PermissionDenied, "DENIED")
	if logged.Rule != rule {
		t.Errorf("the log says that %q denied, want %q", logged.Rule, rule)
	}
	return logged
}

// last is the newest line of the log.
func (r *rig) last(t testing.TB) line {
	t.Helper()
	all := r.lines(t)
	return all[len(all)-1]
}

// decides wants a NOAH request of application's to be signed or denied.
func (r *rig) decides(t testing.TB, in *signerdv1.SignNoahRequestRequest, want adminv1.PolicyEffect) {
	t.Helper()
	_, err := r.signer.SignNoahRequest(as(t, application), in)
	if want == allow {
		if err != nil {
			t.Errorf("%v was refused: %v", in, err)
		}
		return
	}
	r.refused(t, err, codes.PermissionDenied, "DENIED")
}

func (r *rig) get(ctx context.Context, key string) error {
	_, err := r.admin.GetKey(ctx, &adminv1.GetKeyRequest{Name: key})
	return err
}

func (r *rig) label(ctx context.Context, key string, labels map[string]string) error {
	_, err := r.admin.UpdateKey(ctx, &adminv1.UpdateKeyRequest{Name: key, Labels: labels})
	return err
}

func cloned(p *adminv1.Policy) *adminv1.Policy { return proto.Clone(p).(*adminv1.Policy) }

func nameOnly(text string) string {
	name, _, _ := strings.Cut(text, " ")
	return strings.ToLower(name)
}
