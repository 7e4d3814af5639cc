package server_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/known/structpb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

func inShadow(rule *adminv1.PolicyRule) *adminv1.PolicyRule {
	rule.Mode = adminv1.PolicyMode_POLICY_MODE_SHADOW
	return rule
}

func TestRulesInShadowAreReportedAndChangeNothing(t *testing.T) {
	t.Parallel()
	m := &counted{}
	r := start(t, setup{metrics: m})
	r.importedNOAH(t, "a")
	wouldDeny := inShadow(ruleFor("would-deny", deny, theApplication, "SignNoahRequest"))
	wouldAllow := inShadow(applying("would-allow", limits(&adminv1.PolicyLimits{PerDay: 1})))
	otherwise := inShadow(applying("otherwise", func(rule *adminv1.PolicyRule) { rule.Effect, rule.Methods = deny, []string{"PUT"} }))
	for name, tt := range map[string]struct {
		rules   []*adminv1.PolicyRule
		want    adminv1.PolicyEffect
		shadows []string
	}{
		"an allowed request": {[]*adminv1.PolicyRule{wouldDeny, wouldAllow, otherwise, applying("signs", nil)}, allow, []string{"would deny: would-deny"}},
		"one of no rule":     {[]*adminv1.PolicyRule{wouldDeny, wouldAllow, otherwise}, deny, []string{"would allow: would-allow"}},
		"a denied one":       {[]*adminv1.PolicyRule{wouldDeny, otherwise, ruleFor("stops", deny, "*", "SignNoahRequest")}, deny, nil},
		"one of no shadow":   {[]*adminv1.PolicyRule{otherwise, applying("signs", nil)}, allow, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r.apply(t, withRules(tt.rules...))
			for range 3 {
				m.forget()
				r.decides(t, asked(t, "", nil), tt.want)
				if got := r.last(t).Shadow; !slices.Equal(got, tt.shadows) {
					t.Errorf("the log has %q, want %q", got, tt.shadows)
				}
				if got := m.shadowed(); len(got) != len(tt.shadows) || len(got) > 0 && !strings.HasPrefix(tt.shadows[0], "would "+got[0]+":") {
					t.Errorf("counted are %q, want %q", got, tt.shadows)
				}
			}
		})
	}
}

func (c *counted) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shadows = nil
}

func (c *counted) shadowed() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.shadows)
}

func TestAConditionThatCannotBeEvaluatedIsOnRecord(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	broken := func(name string, effect adminv1.PolicyEffect) *adminv1.PolicyRule {
		rule := ruleFor(name, effect, theApplication, "SignNoahRequest")
		rule.When = `body.amount > 500`
		return rule
	}
	for name, tt := range map[string]struct {
		rule *adminv1.PolicyRule
		want adminv1.PolicyEffect // beside a rule that allows everything
		by   string
	}{
		"an allow rule":           {broken("broken", allow), allow, "signs"},
		"a deny rule":             {broken("broken", deny), deny, "broken"},
		"a deny rule in shadow":   {inShadow(broken("broken", deny)), allow, "signs"},
		"an allow rule by itself": {broken("broken", allow), deny, ""},
	} {
		t.Run(name, func(t *testing.T) {
			rules := []*adminv1.PolicyRule{tt.rule}
			if !strings.HasSuffix(name, "by itself") {
				rules = append(rules, applying("signs", nil))
			}
			r.apply(t, withRules(rules...))
			for _, text := range []string{"no JSON", `{"amount":"a canary that sings"}`, `{}`} {
				r.decides(t, &signerdv1.SignNoahRequestRequest{Key: "a", Method: "POST", Path: "/v1", Content: body(text)}, tt.want)
				logged := r.last(t)
				if logged.Rule != tt.by {
					t.Errorf("%q decided, want %q", logged.Rule, tt.by)
				}
				// An allow rule beside one that allows already need not be tried.
				if !slices.Equal(logged.Unevaluated, []string{"broken"}) && name != "an allow rule" {
					t.Errorf("%s: the log has unevaluated %q", text, logged.Unevaluated)
				}
			}
			if tt.rule.GetEffect() == deny && tt.rule.GetMode() == adminv1.PolicyMode_POLICY_MODE_SHADOW && !slices.Equal(r.last(t).Shadow, []string{"would deny: broken"}) {
				t.Errorf("the log has shadow %q", r.last(t).Shadow)
			}
			_, _ = r.signer.SignNoahRequest(as(t, application), &signerdv1.SignNoahRequestRequest{Key: "a", Method: "POST", Path: "/v1", Content: body(`{"amount":500}`)})
			if logged := r.last(t); len(logged.Unevaluated) > 0 || len(logged.Shadow) > 0 {
				t.Errorf("a condition that is false: the log has %+v", logged)
			}
		})
	}
}

func TestEveryDecisionIsOnRecordWithItsRule(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	generation := r.apply(t, withRules(applying("second", nil), applying("first", nil), ruleFor("no-puts", deny, "*", "SignNoahRequest")))
	_, err := r.signNOAH(as(t, application), "a")
	if logged := r.denied(t, err, "no-puts"); logged.Policy != generation || logged.Caller != theApplication || logged.Operation != "SignNoahRequest" {
		t.Errorf("the log has %+v", logged)
	}
	r.apply(t, withRules(applying("second", nil), applying("first", nil)))
	r.decides(t, asked(t, "", nil), allow)
	if logged := r.last(t); logged.Rule != "first" {
		t.Errorf("%q decided, want the first by name", logged.Rule)
	}
	_, err = r.signNOAH(as(t, application), "absent")
	if logged, _ := r.refused(t, err, codes.NotFound, "KEY_NOT_FOUND"); logged.Rule != "first" {
		t.Errorf("the log has %+v", logged)
	}
	_, err = r.signer.SignNoahRequest(as(t, application), &signerdv1.SignNoahRequestRequest{Key: "a", Method: "GET", Path: "no path"})
	if logged, _ := r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST"); logged.Rule != "" || logged.Policy != 0 {
		t.Errorf("nothing was decided, but the log has %+v", logged)
	}
}

// statuses is what a client hears of refusals.
type statuses struct {
	mu    sync.Mutex
	texts []string
	codes map[codes.Code]int
}

func (h *statuses) intercept(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, next grpc.UnaryInvoker, options ...grpc.CallOption) error {
	var header, trailer metadata.MD
	err := next(ctx, method, req, reply, conn, append(options, grpc.Header(&header), grpc.Trailer(&trailer))...)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.codes[status.Code(err)]++
	h.texts = append(h.texts, fmt.Sprint(header, trailer), prototext.Format(status.Convert(err).Proto()))
	for _, detail := range status.Convert(err).Details() {
		h.texts = append(h.texts, fmt.Sprint(detail))
	}
	return err
}

// canary is a text that occurs nowhere else, and is in itself a good name.
func canary() string { return strings.ToLower(rand.Text()) }

func TestNeitherRulesNorRequestsAreHeardOrLogged(t *testing.T) {
	t.Parallel()
	heard, m := &statuses{codes: make(map[codes.Code]int)}, &counted{}
	r := start(t, setup{metrics: m})
	r.importedNOAH(t, "a")
	r.importedNoba(t, "n")
	written := map[string]string{"description": canary(), "label": canary(), "condition": canary(), "path": canary(), "value": canary(), "rule": canary()}
	sent := map[string]string{"body": canary(), "query": canary(), "target": canary(), "case": canary()}
	rule := func(effect adminv1.PolicyEffect, mode adminv1.PolicyMode) *adminv1.PolicyRule {
		return &adminv1.PolicyRule{Name: written["rule"], Effect: effect, Mode: mode, Callers: []string{theApplication}, Keys: []string{"*"},
			Operations: []string{"SignNoahRequest"}, Description: written["description"], Labels: map[string]string{"note": written["label"]},
			Paths: []string{"/v1/**", "/" + written["path"]}, Query: parameters(parameter("q", "*", written["value"])), When: `body.amount <= 500 || body.note != "` + written["condition"] + `"`}
	}
	must(t, r.label(as(t, operator), "a", map[string]string{"note": written["label"]}))
	users := *r
	users.conn = r.connect(t, r.socket, grpc.WithChainUnaryInterceptor(heard.intercept))
	users.signer, users.policy = signerdv1.NewSignerServiceClient(users.conn), adminv1.NewPolicyServiceClient(users.conn)
	for _, effect := range []adminv1.PolicyEffect{allow, deny} {
		for _, mode := range []adminv1.PolicyMode{adminv1.PolicyMode_POLICY_MODE_ENFORCE, adminv1.PolicyMode_POLICY_MODE_SHADOW} {
			document := withRules(rule(effect, mode), ruleFor("opened", allow, "unix:uid=3001", "SignNoahRequest"))
			r.apply(t, document)
			for _, b := range []string{`{"amount": 501, "note": "` + sent["body"] + `"}`, `{"` + sent["body"] + `": 1`, `{"amount": "` + sent["body"] + `"}`,
				`{"a":1,"a":"` + sent["body"] + `"}`, sent["body"]} {
				users.tryAsUsers(t, b, sent, document)
				r.tryAsAdministrator(t, b, sent)
			}
			_, _ = r.policy.SetPolicy(as(t, administrator), &adminv1.SetPolicyRequest{Policy: document})
			r.store.failing(errors.New("the disk is on fire"))
			_, _ = users.policy.SetPolicy(as(t, administrator), &adminv1.SetPolicyRequest{Policy: document, Generation: r.inForce(t).GetGeneration()})
			r.store.failing(nil)
		}
	}
	all, log, records := strings.Join(heard.texts, "\n"), r.log.String(), r.recordText(t)
	for name, text := range sent {
		// What is signed where is on record; what is sent is not.
		if strings.Contains(records, text) != (name == "target") {
			t.Errorf("the %s of a request is on record, or should be", name)
		}
		if strings.Contains(log, text) || strings.Contains(all, text) {
			t.Errorf("the %s of a request is logged or heard", name)
		}
	}
	for name, text := range written {
		// Rules are on record by name, and by nothing else.
		if strings.Contains(records, text) != (name == "rule") || strings.Contains(log, text) || strings.Contains(all, text) {
			t.Errorf("the %s of a rule is logged or heard", name)
		}
	}
	for _, code := range []codes.Code{codes.OK, codes.PermissionDenied, codes.NotFound, codes.InvalidArgument, codes.Unavailable} {
		if heard.codes[code] == 0 || len(m.shadowed()) == 0 {
			t.Errorf("codes %v, %d shadows: the test does not see what it should", heard.codes, len(m.shadowed()))
		}
	}
}

func (r *rig) tryAsUsers(t *testing.T, b string, sent map[string]string, document *adminv1.Policy) {
	t.Helper()
	query := &structpb.Struct{Fields: map[string]*structpb.Value{"q": structpb.NewStringValue(sent["query"])}}
	for _, who := range []uint32{application, 3001, stranger} {
		for _, key := range []string{"a", "n", "absent"} {
			_, _ = r.signer.SignNoahRequest(as(t, who), &signerdv1.SignNoahRequestRequest{Key: key, Method: "POST", Path: "/v1/" + sent["target"], QueryParams: query, Content: body(b)})
			_, _ = r.signer.SignNoahRequest(as(t, who), &signerdv1.SignNoahRequestRequest{Key: key, Method: "POST", Path: "/v1/x?q=" + sent["query"], Content: body(b)})
			_, _ = r.signer.ComputeNobaSignature(as(t, who), &signerdv1.ComputeNobaSignatureRequest{Key: key, Method: "POST", Path: "/v1/" + sent["target"], Body: []byte(b)})
		}
		_, _ = r.policy.GetPolicy(as(t, who), &adminv1.GetPolicyRequest{})
		_, _ = r.policy.SetPolicy(as(t, who), &adminv1.SetPolicyRequest{Policy: document})
		_, _ = r.policy.TestPolicy(as(t, who), &adminv1.TestPolicyRequest{Policy: document})
		_, _ = r.policy.ExplainPolicy(as(t, who), &adminv1.ExplainPolicyRequest{Request: &adminv1.PolicyRequest{Caller: theOperator, Operation: "GetStatus"}})
	}
}

// tryAsAdministrator asks about requests, well and malformed, which the log must not show.
func (r *rig) tryAsAdministrator(t *testing.T, b string, sent map[string]string) {
	t.Helper()
	admin := as(t, administrator)
	for _, path := range []string{"/v1/" + sent["target"], "/v1/x?q=" + sent["query"], "no path " + sent["target"], "/v1?q=%" + sent["query"]} {
		described := &adminv1.PolicyRequest{Caller: theApplication, Key: "a", Method: "POST", Path: path, Content: &adminv1.PolicyRequest_Body{Body: []byte(b)}}
		_, _ = r.policy.ExplainPolicy(admin, &adminv1.ExplainPolicyRequest{Request: described, All: true})
		_, _ = r.policy.TestPolicy(admin, &adminv1.TestPolicyRequest{Policy: &adminv1.Policy{Cases: []*adminv1.PolicyCase{{Name: sent["case"], Expect: deny, Request: described}}}})
	}
	for _, who := range []string{sent["body"], "spiffe://" + sent["body"], "dns:*" + sent["body"]} {
		_, _ = r.policy.ExplainPolicy(admin, &adminv1.ExplainPolicyRequest{Request: &adminv1.PolicyRequest{Caller: who, Key: "_" + sent["body"], Operation: sent["body"]}})
	}
	for _, when := range []string{sent["body"], `request.path.matches("(` + sent["body"] + `")`} {
		_, _ = r.policy.SetPolicy(admin, &adminv1.SetPolicyRequest{Policy: withRules(applying("a", func(rule *adminv1.PolicyRule) { rule.When = when }))})
	}
}
