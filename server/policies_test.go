package server_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/server"
)

func TestAPolicyTakesEffectOnTheNextRequestOfAnOpenConnection(t *testing.T) {
	t.Parallel()
	r := start(t, setup{rules: []allowance{everything(t, operator)}})
	r.importedNOAH(t, "a")
	app := as(t, application)
	_, err := r.signNOAH(app, "a")
	r.denied(t, err, "")
	for range 3 {
		generation := r.apply(t, withRules(applying("signs", nil)))
		out, err := r.signNOAH(app, "a")
		must(t, err)
		if logged := r.record(t, out.GetRecordId()); logged.Rule != "signs" || logged.Policy != generation {
			t.Errorf("the log names rule %q of policy %d, want signs of %d", logged.Rule, logged.Policy, generation)
		}
		generation = r.apply(t, withRules(applying("signs", nil), ruleFor("stops", deny, "*", "SignNoahRequest")))
		_, err = r.signNOAH(app, "a")
		if logged := r.denied(t, err, "stops"); logged.Policy != generation {
			t.Errorf("the log names policy %d, want %d", logged.Policy, generation)
		}
	}
}

func TestAPolicyIsGivenBackAsItWasSet(t *testing.T) {
	t.Parallel()
	r := start(t, setup{bolt: true})
	document := withRules(applying("signs", func(rule *adminv1.PolicyRule) {
		rule.Description = "für die Bestellungen"
		rule.Environments, rule.Labels = []adminv1.Environment{sandbox}, map[string]string{"team": "orders"}
		rule.Methods, rule.Paths = []string{"GET"}, []string{"/v1/*/things", "/v2/**"}
		rule.Query = &adminv1.PolicyQuery{Parameters: []*adminv1.PolicyQueryParameter{{Name: "a", Values: []string{"*"}, Optional: true}}}
		rule.When, rule.Limits = "body == null", &adminv1.PolicyLimits{PerSecond: 1.5, Burst: 3, PerHour: 10, PerDay: 20}
		rule.Mode = adminv1.PolicyMode_POLICY_MODE_SHADOW
	}))
	document.Cases = []*adminv1.PolicyCase{{Name: "a case", Expect: deny, Rule: "signs", Request: &adminv1.PolicyRequest{Caller: theApplication, Operation: "GetStatus"}}}
	want := cloned(document)
	generation := r.apply(t, document)
	got := r.inForce(t)
	same(t, got.GetPolicy(), want)
	if got.GetGeneration() != generation || got.GetAuthor() != theAdministrator || !got.GetUpdateTime().AsTime().Equal(r.clock.Now()) {
		t.Errorf("got %v", got)
	}
	// Any other would do as well in force; but one that is the same is a change, too.
	if again := r.apply(t, document); again <= generation {
		t.Errorf("generation %d after %d", again, generation)
	}
}

func TestABrokenPolicyLeavesTheOldOneInForce(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	before := r.apply(t, withRules(applying("signs", nil)))
	for _, tt := range invalidPolicies() {
		in, ok := tt.in.(*adminv1.SetPolicyRequest)
		if !ok {
			continue
		}
		in.Generation = before
		if in.Policy != nil { // with good rules around the bad one
			in.Policy.Rules = append(in.Policy.Rules, ruleFor("good", deny, "*", "*"))
		}
		_, err := r.policy.SetPolicy(as(t, administrator), in)
		r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST")
		out, err := r.signNOAH(as(t, application), "a")
		must(t, err)
		if logged := r.record(t, out.GetRecordId()); logged.Rule != "signs" || logged.Policy != before {
			t.Errorf("%s: rule %q of policy %d decides, want signs of %d", tt.name, logged.Rule, logged.Policy, before)
		}
	}
	if now := r.inForce(t).GetGeneration(); now != before {
		t.Errorf("generation %d, want %d", now, before)
	}
}

func TestAPolicyThatCannotBeStoredIsNotInForce(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	before := r.inForce(t).GetGeneration()
	r.store.failing(errors.New("the disk is full"))
	_, err := r.policy.SetPolicy(as(t, administrator), &adminv1.SetPolicyRequest{Policy: withRules(applying("signs", nil)), Generation: before})
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	_, err = r.signNOAH(as(t, application), "a")
	r.denied(t, err, "")
	r.store.failing(nil)
	r.apply(t, withRules(applying("signs", nil)))
	_, err = r.signNOAH(as(t, application), "a")
	must(t, err)
}

func TestAStaleEditOfThePolicyIsAConflict(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	first := r.apply(t, withRules(applying("first", nil)))
	second := r.apply(t, withRules(applying("second", nil)))
	for _, stale := range []uint64{0, 1, first, second - 1, second + 1} {
		if stale == second {
			continue
		}
		_, err := r.policy.SetPolicy(as(t, administrator), &adminv1.SetPolicyRequest{Policy: withRules(applying("third", nil)), Generation: stale})
		r.refused(t, err, codes.Aborted, "CONFLICT")
	}
	if got := r.inForce(t); got.GetGeneration() != second || got.GetPolicy().GetRules()[0].GetName() != "second" {
		t.Errorf("in force is %v", got)
	}
	// Keys change the store, but not the policy.
	r.importedNOAH(t, "a")
	_, err := r.policy.SetPolicy(as(t, administrator), &adminv1.SetPolicyRequest{Policy: withRules(), Generation: second})
	must(t, err)
}

func TestOfTwoEditsOfOnePolicyOneIsRefused(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	before := r.inForce(t).GetGeneration()
	const editors = 8
	errs := make(chan error, editors)
	for i := range editors {
		go func() {
			_, err := r.policy.SetPolicy(as(t, administrator), &adminv1.SetPolicyRequest{
				Policy: withRules(applying(fmt.Sprint("editor-", i), nil)), Generation: before})
			errs <- err
		}()
	}
	made := 0
	for range editors {
		err := <-errs
		if err == nil {
			made++
			continue
		}
		r.refused(t, err, codes.Aborted, "CONFLICT")
	}
	if made != 1 {
		t.Errorf("%d edits were made, want 1", made)
	}
}

func TestAnOperatorMayRotateButNotSetPolicy(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	r.apply(t, withRules(ruleFor("rotators", allow, theApplication, "GetKey", "CreateKeyVersion", "ActivateKeyVersion", "GetPolicy")))
	app := as(t, application)
	_, err := r.admin.CreateKeyVersion(app, &adminv1.CreateKeyVersionRequest{Name: "a"})
	must(t, err)
	got, err := r.policy.GetPolicy(app, &adminv1.GetPolicyRequest{})
	must(t, err)
	_, err = r.policy.SetPolicy(app, &adminv1.SetPolicyRequest{Policy: withRules(applying("mine", nil)), Generation: got.GetGeneration()})
	r.denied(t, err, "")
	for name, call := range map[string]func() error{
		"test": func() error {
			_, err := r.policy.TestPolicy(app, &adminv1.TestPolicyRequest{Policy: withRules()})
			return err
		},
		"explain": func() error {
			_, err := r.policy.ExplainPolicy(app, &adminv1.ExplainPolicyRequest{Request: &adminv1.PolicyRequest{Caller: theApplication, Operation: "GetStatus"}})
			return err
		},
		"sign": func() error { _, err := r.signNOAH(app, "a"); return err },
	} {
		t.Run(name, func(t *testing.T) { r.denied(t, call(), "") })
	}
}

func TestNoRuleStopsAnAdministrator(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	nothing := ruleFor("nothing", deny, "*", "*")
	r.apply(t, &adminv1.Policy{Rules: []*adminv1.PolicyRule{nothing, ruleFor("not-even", deny, theAdministrator, "SetPolicy", "GetPolicy"),
		{Name: "once", Effect: allow, Callers: []string{theAdministrator}, Keys: []string{"*"}, Operations: []string{"*"}, Limits: &adminv1.PolicyLimits{PerDay: 1}}}})
	admin := as(t, administrator)
	for range 3 {
		_, err := r.system.GetStatus(admin, &adminv1.GetStatusRequest{})
		must(t, err)
		if logged := r.last(t); logged.Rule != policy.RuleAdministrators || logged.Code != "OK" || logged.Caller != theAdministrator {
			t.Errorf("the log has %+v", logged)
		}
		_, err = r.policy.TestPolicy(admin, &adminv1.TestPolicyRequest{Policy: withRules()})
		must(t, err)
		_, err = r.policy.ExplainPolicy(admin, &adminv1.ExplainPolicyRequest{Request: &adminv1.PolicyRequest{Caller: theApplication, Operation: "GetStatus"}})
		must(t, err)
	}
	_, err := r.system.GetStatus(as(t, operator), &adminv1.GetStatusRequest{})
	r.denied(t, err, "nothing")
	r.apply(t, withRules())
	_, err = r.system.GetStatus(as(t, operator), &adminv1.GetStatusRequest{})
	must(t, err)
}

func TestAnAdministratorGetsNothingElseWithoutARule(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	always := []string{"GetPolicy", "SetPolicy", "TestPolicy", "ExplainPolicy", "GetStatus", "VerifyLog", "GetCheckpoint", "AcknowledgeLoss", "Freeze", "Unfreeze"}
	for _, rpc := range server.RPCs() {
		r.prepare(t, rpc)
	}
	for _, rpc := range server.RPCs() {
		if slices.Contains(always, string(rpc.Name())) {
			continue
		}
		_, out := rpc.Messages()
		r.denied(t, invoke(as(t, administrator), r.conn, rpc, minimal(t, rpc, nameOf(rpc)), out), "")
	}
	r.apply(t, withRules(ruleFor("administrators-sign", allow, theAdministrator, "SignNoahRequest")))
	_, err := r.signNOAH(as(t, administrator), "signnoahrequest")
	must(t, err)
}

func TestNewBoundsCountFromTheNextRequest(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	bounds, err := policy.NewBounds([]string{theApplication}, []string{theOperator}, server.Always())
	must(t, err)
	_, err = r.policy.GetPolicy(as(t, application), &adminv1.GetPolicyRequest{})
	r.denied(t, err, "")
	r.imported(t, "prod", "noba", prod, newNoba().material())
	r.server.SetBounds(bounds)
	_, err = r.policy.GetPolicy(as(t, application), &adminv1.GetPolicyRequest{})
	must(t, err)
	_, err = r.policy.GetPolicy(as(t, administrator), &adminv1.GetPolicyRequest{})
	r.denied(t, err, "")
	_, err = r.computeNoba(as(t, operator), "prod")
	r.denied(t, err, policy.RuleSandboxOnly)
}

func TestBeforeKeysAreLoadedAdministratorsAloneGetTheStatus(t *testing.T) {
	t.Parallel()
	r := start(t, setup{unopened: true})
	out, err := r.system.GetStatus(as(t, administrator), &adminv1.GetStatusRequest{})
	must(t, err)
	if out.GetServing() {
		t.Error("it says that it serves")
	}
	_, err = r.system.GetStatus(as(t, operator), &adminv1.GetStatusRequest{})
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	_, err = r.policy.GetPolicy(as(t, administrator), &adminv1.GetPolicyRequest{})
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	_, err = r.policy.SetPolicy(as(t, administrator), &adminv1.SetPolicyRequest{Policy: withRules()})
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	r.server.Open(r.keys, r.audit)
	if got := r.inForce(t); got.GetGeneration() == 0 {
		t.Errorf("got %v", got)
	}
}

func TestKeysThatAreLoadedMeanwhileAreNoEmptyPolicy(t *testing.T) {
	t.Parallel()
	r := start(t, setup{unopened: true})
	r.clock.onceAt(3, func() { r.server.Open(r.keys, r.audit) }) // once the call is logged in, while it is decided
	out, err := r.policy.GetPolicy(as(t, administrator), &adminv1.GetPolicyRequest{})
	if err == nil && out.GetGeneration() == 0 {
		t.Error("the policy in force was given out as none")
	}
}

func TestAPolicyWithFieldsOfTheFutureIsRefused(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1)
	for name, spoil := range map[string]func(*adminv1.Policy){
		"the document": func(p *adminv1.Policy) { p.ProtoReflect().SetUnknown(unknown) },
		"a rule":       func(p *adminv1.Policy) { p.GetRules()[1].ProtoReflect().SetUnknown(unknown) },
		"limits":       func(p *adminv1.Policy) { p.GetRules()[0].GetLimits().ProtoReflect().SetUnknown(unknown) },
		"a query":      func(p *adminv1.Policy) { p.GetRules()[0].GetQuery().ProtoReflect().SetUnknown(unknown) },
		"a parameter": func(p *adminv1.Policy) {
			p.GetRules()[0].GetQuery().GetParameters()[0].ProtoReflect().SetUnknown(unknown)
		},
		"a case":           func(p *adminv1.Policy) { p.GetCases()[0].ProtoReflect().SetUnknown(unknown) },
		"a case's request": func(p *adminv1.Policy) { p.GetCases()[0].GetRequest().ProtoReflect().SetUnknown(unknown) },
	} {
		document := withRules(applying("a", func(rule *adminv1.PolicyRule) {
			rule.Limits = &adminv1.PolicyLimits{PerDay: 1}
			rule.Query = &adminv1.PolicyQuery{Parameters: []*adminv1.PolicyQueryParameter{{Name: "a", Values: []string{"b"}}}}
		}))
		document.Cases = []*adminv1.PolicyCase{{Name: "a", Expect: deny, Request: &adminv1.PolicyRequest{Caller: theOperator, Operation: "GetStatus"}}}
		spoil(document)
		_, err := r.policy.SetPolicy(as(t, administrator), &adminv1.SetPolicyRequest{Policy: document, Generation: r.inForce(t).GetGeneration()})
		if _, fields := r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST"); !slices.Equal(fields, []string{"policy"}) {
			t.Errorf("%s: it names %q", name, fields)
		}
		_, err = r.policy.TestPolicy(as(t, administrator), &adminv1.TestPolicyRequest{Policy: document})
		r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	}
	asked := &adminv1.PolicyRequest{Caller: theOperator, Operation: "GetStatus"}
	asked.ProtoReflect().SetUnknown(unknown)
	_, err := r.policy.ExplainPolicy(as(t, administrator), &adminv1.ExplainPolicyRequest{Request: asked})
	r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST")
}

func TestAPolicyThatIsKeptCanBeTested(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	for _, tt := range invalidPolicies() {
		in, ok := tt.in.(*adminv1.TestPolicyRequest)
		if !ok || len(in.GetPolicy().GetCases()) == 0 {
			continue
		}
		_, err := r.policy.SetPolicy(as(t, administrator), &adminv1.SetPolicyRequest{Policy: in.GetPolicy(), Generation: r.inForce(t).GetGeneration()})
		if _, fields := r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST"); !slices.Equal(fields, []string{tt.field}) {
			t.Errorf("%s: it names %q, want %q", tt.name, fields, tt.field)
		}
	}
}

func TestAPolicyOfTenThousandRulesDecides(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	document := withRules()
	for i := range 9_999 {
		document.Rules = append(document.Rules, applying(fmt.Sprintf("rule-%05d", i), func(rule *adminv1.PolicyRule) {
			rule.Methods, rule.Paths = []string{"GET"}, []string{fmt.Sprintf("/v1/customers/%d/*", i)}
			rule.Keys = []string{"a", fmt.Sprint("b", i)}
		}))
	}
	r.apply(t, document)
	out, err := r.signer.SignNoahRequest(as(t, application), &signerdv1.SignNoahRequestRequest{Key: "a", Method: "GET", Path: "/v1/customers/7777/cards"})
	must(t, err)
	if logged := r.record(t, out.GetRecordId()); logged.Rule != "rule-07777" {
		t.Errorf("rule %q decided", logged.Rule)
	}
	same(t, r.inForce(t).GetPolicy(), document)
	document.Rules = append(document.Rules, applying("one-more", nil))
	_, err = r.policy.SetPolicy(as(t, administrator), &adminv1.SetPolicyRequest{Policy: document, Generation: r.inForce(t).GetGeneration()})
	r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST")
}

func TestAPolicyThatIsAcceptedCanBeReadBack(t *testing.T) {
	t.Parallel()
	const most = 20_000
	// A client that reads no larger messages than the server does.
	r := start(t, setup{limits: server.Limits{MaxMessageBytes: most}, dial: []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(most))}})
	accepted, refused := 0, 0
	for padding := most - 400; padding < most; padding++ {
		document := withRules(applying("a", func(rule *adminv1.PolicyRule) { rule.Description = strings.Repeat("x", padding) }))
		in := &adminv1.SetPolicyRequest{Policy: document, Generation: r.inForce(t).GetGeneration()}
		if proto.Size(in) > most {
			break
		}
		_, err := r.policy.SetPolicy(as(t, administrator), in)
		if err != nil {
			refused++
			_, fields := r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST")
			if !slices.Equal(fields, []string{"policy"}) {
				t.Fatalf("%d bytes: it names %q", proto.Size(in), fields)
			}
			continue
		}
		accepted++
		r.inForce(t)
	}
	if accepted == 0 || refused == 0 {
		t.Errorf("%d policies were accepted, %d refused: the test does not see what it should", accepted, refused)
	}
}

func TestWhatIsSaidOfABrokenPolicyIsBounded(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	long := strings.Repeat("ä", 1000)
	modes, cases, limits, conditions := &adminv1.Policy{}, &adminv1.Policy{}, &adminv1.Policy{}, &adminv1.Policy{}
	for i := range 5000 {
		cases.Cases = append(cases.Cases, &adminv1.PolicyCase{Name: "the same"})
		name := fmt.Sprint("a", i)
		modes.Rules = append(modes.Rules, applying(name, func(rule *adminv1.PolicyRule) { rule.Mode = 7 }))
		limits.Rules = append(limits.Rules, applying(name, func(rule *adminv1.PolicyRule) { rule.Limits = &adminv1.PolicyLimits{} }))
		if i < 100 {
			conditions.Rules = append(conditions.Rules, applying(name, func(rule *adminv1.PolicyRule) {
				rule.When = fmt.Sprintf("request.path.matches('(%s')", long)
			}))
		}
	}
	for name, document := range map[string]*adminv1.Policy{"modes": modes, "cases": cases, "limits": limits, "conditions": conditions} {
		t.Run(name, func(t *testing.T) {
			_, err := r.policy.TestPolicy(as(t, administrator), &adminv1.TestPolicyRequest{Policy: document})
			_, fields := r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST")
			if n := proto.Size(status.Convert(err).Proto()); len(fields) != 20 || n > 16<<10 {
				t.Errorf("it names %d fields in %d bytes", len(fields), n)
			}
		})
	}
}

func TestNobodyUnknownSetsAPolicy(t *testing.T) {
	t.Parallel()
	r := start(t, setup{rules: []allowance{{Callers: []policy.Caller{caller(t, operator)}, Keys: []string{"*"}, Operations: []policy.Operation{"*"}}}})
	in := &adminv1.SetPolicyRequest{Policy: withRules(), Generation: r.inForce(t).GetGeneration()}
	_, err := r.policy.SetPolicy(t.Context(), in)
	r.refused(t, err, codes.Unauthenticated, "NO_IDENTITY")
	_, err = r.policy.SetPolicy(metadata.AppendToOutgoingContext(t.Context(), callerHeader, "65534"), in)
	r.refused(t, err, codes.Unauthenticated, "NO_IDENTITY")
	_, err = r.policy.SetPolicy(as(t, stranger), in)
	r.denied(t, err, "")
}
