package server_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/signerd/signerd/audit"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/server"
)

func (r *rig) freeze(t testing.TB, reason string) *adminv1.FreezeResponse {
	t.Helper()
	out, err := r.system.Freeze(as(t, administrator), &adminv1.FreezeRequest{Reason: reason})
	must(t, err)
	return out
}

func (r *rig) unfreeze(t testing.TB) *adminv1.UnfreezeResponse {
	t.Helper()
	out, err := r.system.Unfreeze(as(t, administrator), &adminv1.UnfreezeRequest{})
	must(t, err)
	return out
}

// everySigning has one call of every RPC that signs, on keys that there are.
func (r *rig) everySigning(t *testing.T) map[string]func(uid uint32) error {
	r.importedNOAH(t, "noah")
	r.importedNoba(t, "noba")
	r.importedNoon(t, "noon")
	return map[string]func(uid uint32) error{
		"SignNoahRequest": func(uid uint32) error { _, err := r.signNOAH(as(t, uid), "noah"); return err },
		"ComputeNobaSignature": func(uid uint32) error {
			_, err := r.signer.ComputeNobaSignature(as(t, uid), &signerdv1.ComputeNobaSignatureRequest{Key: "noba", Method: "GET", Path: "/v1"})
			return err
		},
		"GetNoonSession": func(uid uint32) error {
			_, err := r.signer.GetNoonSession(as(t, uid), &signerdv1.GetNoonSessionRequest{Key: "noon"})
			return err
		},
	}
}

func TestAFreezeStopsAllSigningUntilItIsEnded(t *testing.T) {
	t.Parallel()
	r := start(t, setup{bolt: true})
	calls := r.everySigning(t)
	for rpc, call := range calls {
		if err := call(operator); err != nil {
			t.Errorf("%s before: %v", rpc, err)
		}
	}
	out := r.freeze(t, "the-secret-reason")
	if !out.GetChanged() || out.GetFreeze().GetReason() != "the-secret-reason" || out.GetFreeze().GetAuthor() != "unix:uid=999" || out.GetGeneration() == 0 {
		t.Errorf("the answer is %v", out)
	}
	for rpc, call := range calls {
		err := call(operator) // with a Noon session in the cache
		r.refused(t, err, codes.Unavailable, "FROZEN")
		if strings.Contains(status.Convert(err).Proto().String(), "secret-reason") {
			t.Errorf("%s tells the reason", rpc)
		}
	}
	r.healthIs(t, notServing)
	got, err := r.system.GetStatus(as(t, administrator), &adminv1.GetStatusRequest{})
	must(t, err)
	if got.GetServing() || got.GetReason() != "all signing is stopped by an operator" || r.server.Readiness().Reason != server.ReasonFrozen {
		t.Errorf("the status is %v", got)
	}
	same(t, got.GetFreeze(), out.GetFreeze())

	again := r.freeze(t, "another reason")
	if again.GetChanged() {
		t.Error("freezing again changed something")
	}
	same(t, again.GetFreeze(), out.GetFreeze())

	ended := r.unfreeze(t)
	same(t, ended.GetEnded(), out.GetFreeze())
	if !ended.GetChanged() || ended.GetGeneration() <= out.GetGeneration() {
		t.Errorf("the answer is %v", ended)
	}
	for rpc, call := range calls {
		if err := call(operator); err != nil {
			t.Errorf("%s after: %v", rpc, err)
		}
	}
	r.healthIs(t, serving)
	if more := r.unfreeze(t); more.GetChanged() || more.GetEnded() != nil {
		t.Errorf("ending nothing: %v", more)
	}
}

func TestAFreezeIsTheSameToWhoeverIsDenied(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	calls := r.everySigning(t)
	r.freeze(t, "a reason")
	for _, call := range calls {
		r.refused(t, call(stranger), codes.PermissionDenied, "DENIED")
	}
	_, err := r.system.Freeze(as(t, stranger), &adminv1.FreezeRequest{Reason: "mine"})
	r.refused(t, err, codes.PermissionDenied, "DENIED")
	_, err = r.system.Unfreeze(as(t, stranger), &adminv1.UnfreezeRequest{})
	r.refused(t, err, codes.PermissionDenied, "DENIED")
	if !r.keys.View().Freeze().Frozen {
		t.Error("a stranger ended it")
	}
}

func TestAdministratorsAloneEndAFreeze(t *testing.T) {
	t.Parallel()
	r := start(t, setup{}) // the operator has a rule for every operation
	_, err := r.system.Freeze(as(t, operator), &adminv1.FreezeRequest{Reason: "a reason"})
	must(t, err)
	_, err = r.system.Unfreeze(as(t, operator), &adminv1.UnfreezeRequest{})
	r.refused(t, err, codes.PermissionDenied, "DENIED")
	if !r.keys.View().Freeze().Frozen {
		t.Error("a rule gave what is the administrators'")
	}
	r.unfreeze(t)
}

func TestAPolicyThatNamesWhatIsForAdministratorsAloneIsRefused(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	for _, effect := range []adminv1.PolicyEffect{allow, deny} {
		_, err := r.policy.SetPolicy(as(t, administrator), &adminv1.SetPolicyRequest{Policy: withRules(ruleFor("ends-it", effect, theOperator, "Freeze", "Unfreeze"))})
		_, fields := r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST")
		if len(fields) != 1 || fields[0] != "policy.rules[0].operations[1]" || !strings.Contains(status.Convert(err).Message(), "administrators alone") {
			t.Errorf("it blames %q: %v", fields, err)
		}
	}
}

func TestAStoreThatIsOpenedFrozenSignsNothing(t *testing.T) {
	t.Parallel()
	r := start(t, setup{unopened: true})
	_, _, err := r.keys.Freeze(t.Context(), "test", "before the restart")
	must(t, err)
	r.server.Open(r.keys, r.audit)
	r.importedNOAH(t, "noah")
	_, err = r.signNOAH(as(t, operator), "noah")
	r.refused(t, err, codes.Unavailable, "FROZEN")
	r.healthIs(t, notServing)
	// What stops everything is named before what an operator stopped.
	r.server.AuditChanged(audit.ErrUnavailable)
	if got := r.server.Readiness().Reason; got != server.ReasonAudit {
		t.Errorf("without a log the reason is %q", got)
	}
	r.server.AuditChanged(nil)
	if got := r.server.Readiness().Reason; got != server.ReasonFrozen {
		t.Errorf("with one again it is %q", got)
	}
}

func TestAFreezeIsOnRecordWithItsReason(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	before := len(r.records(t))
	out := r.freeze(t, "a reason")
	records := r.records(t)[before:]
	if len(records) != 2 || records[0].Kind != audit.KindIntention || records[1].Kind != audit.KindCall {
		t.Fatalf("on record are %+v", records)
	}
	for _, record := range records {
		if record.Note != "a reason" || record.Operation != "Freeze" || record.Caller != "unix:uid=999" {
			t.Errorf("on record is %+v", record)
		}
	}
	if records[1].Generation != out.GetGeneration() {
		t.Errorf("on record is generation %d, want %d", records[1].Generation, out.GetGeneration())
	}
}

func TestALoginUnderWayComesToNothingWhenAllIsFrozen(t *testing.T) {
	t.Parallel()
	entered, open := make(chan struct{}), make(chan struct{})
	var logins atomic.Int32
	r := start(t, setup{gateway: gatewayFunc(func(req *http.Request) (*http.Response, error) {
		if logins.Add(1) == 1 {
			close(entered)
			<-open
		}
		return loggedIn(req)
	})})
	r.importedNoon(t, "n")
	ended := make(chan error, 1)
	go func() { _, err := r.session(t, "n", ""); ended <- err }()
	<-entered
	r.freeze(t, "a reason")
	checkRefused(t, <-ended, codes.Unavailable, "FROZEN") // before the gateway answers
	close(open)
	r.unfreeze(t)
	_, err := r.session(t, "n", "")
	must(t, err)
	if logins.Load() != 2 {
		t.Errorf("%d logins were sent: what the first brought was kept", logins.Load())
	}
}

// The log orders everything: once the result of Freeze is in it, no signature comes after.
func TestAfterFreezeIsAnsweredNothingIsHandedOut(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "noah")
	var answered atomic.Bool
	var signed atomic.Int32
	warm := make(chan struct{})
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			for {
				late := answered.Load()
				_, err := r.signNOAH(as(t, operator), "noah")
				switch {
				case err == nil && late:
					t.Error("a call that came after the answer was signed")
				case err == nil && signed.Add(1) == 200:
					close(warm)
				case err != nil && status.Convert(err).Message() != "all signing is stopped by an operator":
					t.Errorf("a caller got %v", err)
				}
				if late {
					return
				}
			}
		})
	}
	<-warm
	r.freeze(t, "a race")
	answered.Store(true)
	callers.Wait()
	frozen, after := false, 0
	for _, record := range r.records(t) {
		switch {
		case record.Operation == "Freeze" && record.Kind == audit.KindCall:
			frozen = true
		case frozen && record.Operation == "SignNoahRequest":
			after++
			if record.Code != codes.Unavailable.String() || record.Reason != "FROZEN" || len(record.Headers) > 0 {
				t.Fatalf("after the freeze there is %+v", record)
			}
		}
	}
	if !frozen || after < 64 {
		t.Errorf("%d calls came after the freeze (on record: %t)", after, frozen)
	}
}

// A call that was decided on and signed before the freeze is refused all the same if its answer is not out.
func TestACallThatWasSignedButNotAnsweredIsRefused(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "noah")
	for n := int64(1); ; n++ {
		var did atomic.Bool
		// At every moment of the call at which it asks for the time.
		r.clock.onceAt(n, func() {
			did.Store(true)
			_, _, err := r.keys.Freeze(t.Context(), "test", "in the middle")
			if err != nil {
				t.Error(err)
			}
		})
		_, err := r.signNOAH(as(t, operator), "noah")
		frozen := r.keys.View().Freeze().Frozen
		_, _, _, unfreezing := r.keys.Unfreeze(t.Context(), "test")
		must(t, unfreezing)
		if !did.Load() || err == nil {
			// The last moments are those at which the answer has passed the gate.
			if n < 3 {
				t.Errorf("nothing asks for the time a %dth time before the end, frozen %t", n, frozen)
			}
			break
		}
		if status.Convert(err).Message() != "all signing is stopped by an operator" {
			t.Fatalf("frozen at the %dth look at the clock: %v", n, err)
		}
	}
}
