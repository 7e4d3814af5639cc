package server

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
	"github.com/signerd/signerd/upstream/noon"
)

// policyService implements signerd.admin.v1.PolicyService.
type policyService struct {
	adminv1.UnimplementedPolicyServiceServer
	*Server
}

// authorizePolicy decides on an operation of this service, and gives the keystore and what is in force in it.
func (s *policyService) authorizePolicy(ctx context.Context) (*keystore.Keystore, keystore.View, error) {
	keys, view, err := s.decideSystem(ctx)
	if err == nil && keys == nil {
		err = errNotReady
	}
	return keys, view, err
}

// GetPolicy implements adminv1.PolicyServiceServer.
func (s *policyService) GetPolicy(ctx context.Context, _ *adminv1.GetPolicyRequest) (*adminv1.GetPolicyResponse, error) {
	_, view, err := s.authorizePolicy(ctx)
	if err != nil {
		return nil, err
	}
	stored := view.Policy()
	out := &adminv1.GetPolicyResponse{Policy: &adminv1.Policy{}, Generation: stored.Generation, Author: stored.Author}
	if stored.Generation == 0 {
		return out, nil
	}
	out.UpdateTime = timestamppb.New(stored.UpdateTime)
	if err := proto.Unmarshal(stored.Document, out.GetPolicy()); err != nil {
		return nil, fmt.Errorf("reading the stored policy: %w", err)
	}
	return out, nil
}

// SetPolicy implements adminv1.PolicyServiceServer.
func (s *policyService) SetPolicy(ctx context.Context, in *adminv1.SetPolicyRequest) (*adminv1.SetPolicyResponse, error) {
	keys, view, err := s.authorizePolicy(ctx)
	if err != nil {
		return nil, err
	}
	document, err := storedPolicy(in.GetPolicy())
	if err != nil {
		return nil, fmt.Errorf("encoding a policy: %w", err)
	}
	if most := min(s.limits.orDefaults().MaxMessageBytes-len(actor(ctx))-policyEnvelope, keystore.MaxPolicyBytes); len(document) > most {
		return nil, upstream.Invalid("policy", "it has %d bytes; at most %d, so that GetPolicy can give it back in one message", len(document), most)
	}
	// A document that is kept can be tested.
	err = s.eachCase(ctx, view, in.GetPolicy(), func(*adminv1.PolicyCase, policy.Question) {})
	if err != nil {
		return nil, err
	}
	stored, err := keys.SetPolicy(ctx, actor(ctx), in.GetGeneration(), document)
	if err != nil {
		return nil, err
	}
	s.keepLimits(keys)
	return &adminv1.SetPolicyResponse{Generation: stored.Generation}, nil
}

// policyEnvelope is more than GetPolicy's answer has beside the document and its author.
const policyEnvelope = 64

// keepLimits tells the meter of the policy in force, which is no older than one that was just set: of two at once, the last
// word is the newer one's.
func (s *Server) keepLimits(keys *keystore.Keystore) {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	s.meter.Keep(keys.View().Policy().Policy.Limits())
}

// eachCase makes questions of a document's cases, until one has a fault or the caller is gone.
func (s *Server) eachCase(ctx context.Context, view keystore.View, in *adminv1.Policy, ask func(*adminv1.PolicyCase, policy.Question)) error {
	for i, c := range in.GetCases() {
		if err := ctx.Err(); err != nil {
			return err
		}
		q, err := s.question(view, c.GetRequest())
		if err != nil {
			return within(fmt.Sprintf("policy.cases[%d].request.", i), err)
		}
		ask(c, q)
	}
	return nil
}

// TestPolicy implements adminv1.PolicyServiceServer.
func (s *policyService) TestPolicy(ctx context.Context, in *adminv1.TestPolicyRequest) (*adminv1.TestPolicyResponse, error) {
	_, view, err := s.authorizePolicy(ctx)
	if err != nil {
		return nil, err
	}
	candidate, err := compilePolicy(in.GetPolicy())
	if err != nil {
		return nil, err
	}
	inForce, bounds := view.Policy(), s.bounds.Load()
	out := &adminv1.TestPolicyResponse{Generation: inForce.Generation}
	err = s.eachCase(ctx, view, in.GetPolicy(), func(c *adminv1.PolicyCase, q policy.Question) {
		after, before := bounds.Decide(candidate, q), bounds.Decide(inForce.Policy, q)
		r := &adminv1.PolicyCaseResult{
			Name: c.GetName(), Effect: decided(after), Rule: after.Rule, EffectInForce: decided(before), RuleInForce: before.Rule,
		}
		r.Passed = r.GetEffect() == c.GetExpect() && (c.GetRule() == "" || c.GetRule() == after.Rule)
		out.Results = append(out.Results, r)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ExplainPolicy implements adminv1.PolicyServiceServer.
func (s *policyService) ExplainPolicy(ctx context.Context, in *adminv1.ExplainPolicyRequest) (*adminv1.ExplainPolicyResponse, error) {
	_, view, err := s.authorizePolicy(ctx)
	if err != nil {
		return nil, err
	}
	if hasUnknown(in.GetRequest().ProtoReflect()) {
		return nil, upstream.Invalid("request", "%v", errUnknownFields)
	}
	q, err := s.question(view, in.GetRequest())
	if err != nil {
		return nil, within("request.", err)
	}
	stored := view.Policy()
	d := s.bounds.Load().Decide(stored.Policy, q)
	out := &adminv1.ExplainPolicyResponse{Effect: decided(d), Rule: d.Rule, Operation: string(q.Operation), Generation: stored.Generation}
	for _, e := range stored.Policy.Explain(q) {
		if e.Elsewhere && !in.GetAll() {
			out.Omitted++
			continue
		}
		mode := adminv1.PolicyMode_POLICY_MODE_ENFORCE
		if e.Shadow {
			mode = adminv1.PolicyMode_POLICY_MODE_SHADOW
		}
		out.Rules = append(out.Rules, &adminv1.PolicyRuleExplanation{
			Name: e.Rule, Effect: effectMessage(e.Effect), Mode: mode, Matched: e.Matched, Why: e.Why,
		})
	}
	return out, nil
}

func decided(d policy.Decision) adminv1.PolicyEffect {
	if d.Err() != nil {
		return adminv1.PolicyEffect_POLICY_EFFECT_DENY
	}
	return adminv1.PolicyEffect_POLICY_EFFECT_ALLOW
}

// within names the field of an error as part of a larger message.
func within(prefix string, err error) error {
	var field *upstream.FieldError
	if errors.As(err, &field) {
		return invalidField(prefix+field.Field, "%s", field.Problem)
	}
	return err
}

// signs is the operation that signs with keys of a scheme.
var signs = map[string]policy.Operation{noah.Name: "SignNoahRequest", noba.Name: "ComputeNobaSignature", noon.Name: "GetNoonSession"}

// question is a request that is described and not made.
func (s *Server) question(view keystore.View, in *adminv1.PolicyRequest) (policy.Question, error) {
	q := policy.Question{Operation: policy.Operation(in.GetOperation()), Now: s.now()}
	var err error
	if q.Caller, err = policy.ParseCaller(in.GetCaller()); err != nil {
		return q, upstream.Invalid("caller", "%v", err)
	}
	if q.Key, err = describedKey(view, in); err != nil {
		return q, err
	}
	if q.Operation == "" {
		q.Operation = signs[q.Key.Scheme]
	}
	switch needed, known := permissionFor(q.Operation); {
	case q.Operation == "":
		return q, upstream.Invalid("operation", "it is required where the key's partner is not known")
	case !known:
		return q, upstream.Invalid("operation", "there is no such operation")
	case needed.scope == onKey && q.Key.Name == "":
		return q, upstream.Invalid("key", "%s concerns a key; wanted its name", q.Operation)
	case needed.scope != onKey && q.Key.Name != "":
		return q, upstream.Invalid("key", "%s concerns no key", q.Operation)
	case needed.makesKey && in.GetEnvironment() == adminv1.Environment_ENVIRONMENT_UNSPECIFIED && (q.Operation != createImportTicket || !q.Key.Known):
		return q, upstream.Invalid("environment", "%s is decided by what the key will be; wanted its environment", q.Operation)
	case needed.covers == policy.Covers{}:
		if in.GetMethod() != "" || in.GetPath() != "" || in.GetContent() != nil || len(in.GetQueryParams().GetFields()) > 0 {
			return q, upstream.Invalid("method", "%s signs no request, so that method, path, query and body have no place here", q.Operation)
		}
		return q, nil
	}
	q.Request, err = s.describedRequest(q.Operation, in)
	return q, err
}

// describedKey is the key that there is, or that is described.
func describedKey(view keystore.View, in *adminv1.PolicyRequest) (policy.Key, error) {
	env, described := environments[in.GetEnvironment()]
	switch {
	case !described && in.GetEnvironment() != adminv1.Environment_ENVIRONMENT_UNSPECIFIED:
		return policy.Key{}, upstream.Invalid("environment", "wanted sandbox or prod")
	case in.GetScheme() != "" && signs[in.GetScheme()] == "":
		return policy.Key{}, upstream.Invalid("scheme", "there is no such partner")
	case in.GetKey() == "" && (described || in.GetScheme() != "" || len(in.GetLabels()) > 0):
		return policy.Key{}, upstream.Invalid("key", "it is required with scheme, environment and labels, which describe a key")
	case in.GetKey() == "":
		return policy.Key{}, nil
	case !policy.ValidKeyName(in.GetKey()):
		return policy.Key{}, upstream.Invalid("key", "it is not a key's name")
	case described:
		return policy.Key{Name: in.GetKey(), Known: true, Scheme: in.GetScheme(), Environment: string(env), Labels: in.GetLabels()}, nil
	case in.GetScheme() != "" || len(in.GetLabels()) > 0:
		return policy.Key{}, upstream.Invalid("environment", "it is required with scheme and labels, which describe a key")
	}
	return knownKey(in.GetKey(), view.Lookup(in.GetKey())), nil
}

// describedRequest is checked like the request itself would be.
func (s *Server) describedRequest(o policy.Operation, in *adminv1.PolicyRequest) (*policy.Request, error) {
	if o == signs[noba.Name] {
		if len(in.GetQueryParams().GetFields()) > 0 || len(in.GetBodySha256()) > 0 {
			return nil, upstream.Invalid("query_params", "Noba requests have neither query_params nor body_sha256")
		}
		r, err := noba.NewRequest(noba.RequestParams{Method: in.GetMethod(), Path: in.GetPath(), Body: in.GetBody()}, s.now())
		if err != nil {
			return nil, err
		}
		return nobaAsked(r, in.GetBody()).policy, nil
	}
	r, err := noah.NewRequest(noah.RequestParams{
		Method: in.GetMethod(), Path: in.GetPath(), QueryParams: plainParams(in.GetQueryParams()), Body: in.GetBody(), BodySHA256: in.GetBodySha256(),
	})
	if err != nil {
		return nil, err
	}
	return noahAsked(r, in.GetBody()).policy, nil
}
