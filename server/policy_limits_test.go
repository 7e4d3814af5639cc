package server_test

import (
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

// limited wants RATE_LIMITED and gives when to come again.
func (r *rig) limited(t testing.TB, err error) time.Duration {
	t.Helper()
	st := status.Convert(err)
	var info *errdetails.ErrorInfo
	var retry *errdetails.RetryInfo
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.RetryInfo:
			retry = d
		default:
			t.Errorf("unexpected detail %T", d)
		}
	}
	if st.Code() != codes.ResourceExhausted || info.GetReason() != "RATE_LIMITED" || retry.GetRetryDelay().AsDuration() <= 0 {
		t.Fatalf("got %v with RetryInfo %v; want RATE_LIMITED", err, retry)
	}
	if logged := r.record(t, info.GetMetadata()["record_id"]); logged.Reason != "RATE_LIMITED" || logged.Code != "ResourceExhausted" {
		t.Errorf("the log has %+v", logged)
	}
	return retry.GetRetryDelay().AsDuration()
}

func limits(l *adminv1.PolicyLimits) func(*adminv1.PolicyRule) {
	return func(rule *adminv1.PolicyRule) { rule.Limits = l }
}

func TestRetryInfoIsTrue(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		limits *adminv1.PolicyLimits
		atOnce int
		retry  time.Duration
	}{
		"a second":             {&adminv1.PolicyLimits{PerSecond: 2}, 2, 500 * time.Millisecond},
		"a burst":              {&adminv1.PolicyLimits{PerSecond: 0.5, Burst: 3}, 3, 2 * time.Second},
		"seldom":               {&adminv1.PolicyLimits{PerSecond: 0.001}, 1, 1000 * time.Second},
		"an hour":              {&adminv1.PolicyLimits{PerHour: 3}, 3, time.Hour},
		"a day":                {&adminv1.PolicyLimits{PerDay: 1}, 1, 24 * time.Hour},
		"the longest of three": {&adminv1.PolicyLimits{PerSecond: 10, Burst: 2, PerHour: 2, PerDay: 2}, 2, 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, setup{})
			r.importedNOAH(t, "a")
			r.apply(t, withRules(applying("limited", limits(tt.limits))))
			sign := func() error { _, err := r.signNOAH(as(t, application), "a"); return err }
			for range tt.atOnce {
				must(t, sign())
			}
			if retry := r.limited(t, sign()); retry != tt.retry {
				t.Errorf("RetryInfo %v, want %v", retry, tt.retry)
			}
			r.clock.advance(tt.retry - time.Millisecond)
			if retry := r.limited(t, sign()); retry != time.Millisecond {
				t.Errorf("just before, RetryInfo is %v", retry)
			}
			r.clock.advance(time.Millisecond)
			if err := sign(); err != nil {
				t.Errorf("when RetryInfo said so: %v", err)
			}
		})
	}
}

func TestLimitsAreForEachCaller(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	r.importedNOAH(t, "b")
	rule := ruleFor("limited", allow, "*", "SignNoahRequest")
	rule.Limits = &adminv1.PolicyLimits{PerHour: 2}
	r.apply(t, &adminv1.Policy{Rules: []*adminv1.PolicyRule{rule}})
	for uid := uint32(5000); uid < 5003; uid++ {
		for _, key := range []string{"a", "b"} { // under one rule, whatever the key
			_, err := r.signNOAH(as(t, uid), key)
			must(t, err)
		}
	}
	for uid := uint32(5000); uid < 5003; uid++ {
		_, err := r.signNOAH(as(t, uid), "a")
		r.limited(t, err)
		// A second connection is the same caller's.
		other := signerdv1.NewSignerServiceClient(r.connect(t, r.socket))
		_, err = other.SignNoahRequest(as(t, uid), &signerdv1.SignNoahRequestRequest{Key: "b", Method: "GET", Path: "/v1"})
		r.limited(t, err)
	}
}

func TestWhatWasUsedUpStaysSoWhenThePolicyIsReplaced(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	sign := func() error { _, err := r.signNOAH(as(t, application), "a"); return err }
	document := func(n uint64, more ...*adminv1.PolicyRule) *adminv1.Policy {
		return withRules(append(more, applying("limited", limits(&adminv1.PolicyLimits{PerHour: n})))...)
	}
	r.apply(t, document(2))
	must(t, sign())
	must(t, sign())
	r.limited(t, sign())
	for _, same := range []*adminv1.Policy{document(2), document(2, applying("z", func(rule *adminv1.PolicyRule) { rule.Methods = []string{"PUT"} })), document(1)} {
		r.apply(t, same)
		r.limited(t, sign())
	}
	r.apply(t, document(3)) // one more
	must(t, sign())
	r.limited(t, sign())
	r.apply(t, withRules(applying("limited", nil))) // no limit at all
	must(t, sign())
}

func TestEveryLimitedRuleThatAllowsIsCharged(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	r.apply(t, withRules(
		applying("all", limits(&adminv1.PolicyLimits{PerDay: 3})),
		applying("posts", func(rule *adminv1.PolicyRule) {
			rule.Methods, rule.Limits = []string{"POST"}, &adminv1.PolicyLimits{PerHour: 1}
		}),
		applying("unlimited", nil)))
	send := func(method string) error {
		_, err := r.signer.SignNoahRequest(as(t, application), &signerdv1.SignNoahRequestRequest{Key: "a", Method: method, Path: "/v1"})
		return err
	}
	must(t, send("POST"))
	if retry := r.limited(t, send("POST")); retry != time.Hour {
		t.Errorf("RetryInfo %v", retry)
	}
	must(t, send("GET")) // the refused request was charged to none
	must(t, send("GET"))
	if retry := r.limited(t, send("GET")); retry != 24*time.Hour {
		t.Errorf("RetryInfo %v", retry)
	}
}

func TestWhatIsNotDecidedIsNotCharged(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	r.apply(t, withRules(applying("limited", limits(&adminv1.PolicyLimits{PerDay: 1})), applying("never", func(rule *adminv1.PolicyRule) { rule.Effect, rule.Methods = deny, []string{"DELETE"} })))
	for range 5 {
		_, err := r.signer.SignNoahRequest(as(t, application), &signerdv1.SignNoahRequestRequest{Key: "a", Method: "GET", Path: "no path"})
		r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST")
		_, err = r.signer.SignNoahRequest(as(t, application), &signerdv1.SignNoahRequestRequest{Key: "a", Method: "DELETE", Path: "/v1"})
		r.denied(t, err, "never")
		_, err = r.policy.TestPolicy(as(t, administrator), &adminv1.TestPolicyRequest{Policy: &adminv1.Policy{Cases: []*adminv1.PolicyCase{{Name: "a", Expect: allow,
			Request: &adminv1.PolicyRequest{Caller: theApplication, Key: "a", Method: "GET", Path: "/v1"}}}}})
		must(t, err)
	}
	_, err := r.signNOAH(as(t, application), "a")
	must(t, err)
	_, err = r.signNOAH(as(t, application), "a")
	if logged := r.last(t); logged.Rule != "limited" {
		t.Errorf("the log has %+v", logged)
	}
	r.limited(t, err)
}

func TestOperatorsAreLimitedAsWell(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	lists := ruleFor("lists", allow, theApplication, "ListKeys", "GetStatus")
	lists.Limits = &adminv1.PolicyLimits{PerHour: 2}
	r.apply(t, withRules(lists))
	_, err := r.admin.ListKeys(as(t, application), &adminv1.ListKeysRequest{})
	must(t, err)
	_, err = r.system.GetStatus(as(t, application), &adminv1.GetStatusRequest{})
	must(t, err)
	_, err = r.admin.ListKeys(as(t, application), &adminv1.ListKeysRequest{})
	r.limited(t, err)
}

func TestNoMoreIsSignedAtOnceThanALimitAllows(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNoba(t, "n")
	rule := ruleFor("limited", allow, theApplication, "ComputeNobaSignature")
	rule.Limits = &adminv1.PolicyLimits{PerDay: 25}
	document := withRules(rule)
	r.apply(t, document)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 20 {
				_, _ = r.computeNoba(as(t, application), "n")
			}
		})
	}
	for range 20 { // applied again and again meanwhile
		r.apply(t, document)
	}
	all.Wait()
	signed := 0
	for _, l := range r.lines(t) {
		if l.Operation == "ComputeNobaSignature" && l.Code == "OK" {
			signed++
		}
	}
	if signed != 25 {
		t.Errorf("%d requests were signed, want 25", signed)
	}
}
