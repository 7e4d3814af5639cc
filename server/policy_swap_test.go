package server_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

func TestReplacingThePolicyUnderLoadLosesNothingAndMixesNothing(t *testing.T) {
	t.Parallel()
	const callers, swaps = 64, 200
	r := start(t, setup{})
	for _, key := range []string{"a", "b"} {
		r.importedNoba(t, key)
	}
	signing := func(name, key, method string) *adminv1.PolicyRule {
		rule := ruleFor(name, allow, "*", "ComputeNobaSignature")
		rule.Keys, rule.Methods = []string{key}, []string{method}
		return rule
	}
	// What each document says of a request is one rule by name; of "both", that it is allowed.
	documents := [2]*adminv1.Policy{}
	for i, method := range []string{"GET", "POST"} {
		which := string(rune('a' + i))
		documents[i] = withRules(signing("rule-"+which, "a", method), signing("both-"+which, "b", "GET"), ruleFor("none-"+which, deny, "*", "GetNoonSession"))
	}
	first := r.apply(t, documents[0])
	connections := make([]signerdv1.SignerServiceClient, 8)
	for i := range connections {
		connections[i] = signerdv1.NewSignerServiceClient(r.connect(t, r.socket))
	}
	var load sync.WaitGroup
	var done atomic.Bool
	var signed [2]atomic.Int64
	under := make(chan struct{}, callers)
	for i := range callers {
		ctx, client := as(t, uint32(7000+i)), connections[i%len(connections)]
		load.Go(func() {
			for n := 0; !done.Load(); n++ {
				if n == 1 {
					under <- struct{}{}
				}
				if _, err := client.ComputeNobaSignature(ctx, &signerdv1.ComputeNobaSignatureRequest{Key: "b", Method: "GET", Path: "/v1"}); err != nil {
					t.Errorf("what both policies allow was refused: %v", err)
					return
				}
				method := (n + i) % 2
				_, err := client.ComputeNobaSignature(ctx, &signerdv1.ComputeNobaSignatureRequest{Key: "a", Method: []string{"GET", "POST"}[method], Path: "/v1"})
				if err == nil {
					signed[method].Add(1)
				} else if status.Code(err) != codes.PermissionDenied {
					t.Errorf("got %v", err)
					return
				}
			}
		})
	}
	for range callers {
		<-under
	}
	in := map[uint64]int{first: 0} // the document of every generation
	for n := range swaps {
		in[r.apply(t, documents[(n+1)%2])] = (n + 1) % 2
	}
	done.Store(true)
	load.Wait()
	decided := make(map[string]int)
	for _, l := range r.lines(t) {
		if l.Operation != "ComputeNobaSignature" {
			continue
		}
		which, known := in[l.Policy]
		suffix := "-" + string(rune('a'+which))
		if !known || l.Rule != "" && !strings.HasSuffix(l.Rule, suffix) || l.Key == "b" && l.Rule != "both"+suffix || (l.Code == "OK") != (l.Rule != "") {
			t.Fatalf("a request saw half of each policy: %+v", l)
		}
		decided[fmt.Sprint(l.Key, " ", l.Rule)]++
	}
	for _, want := range []string{"b both-a", "b both-b", "a rule-a", "a rule-b", "a "} {
		if decided[want] == 0 {
			t.Errorf("decided were %v: the test does not see what it should", decided)
		}
	}
	if signed[0].Load()+signed[1].Load() != int64(decided["a rule-a"]+decided["a rule-b"]) {
		t.Errorf("%d and %d were signed, but the log has %v", signed[0].Load(), signed[1].Load(), decided)
	}
}
