package server_test

import (
	"crypto/fips140"
	"os"
	"slices"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/server"
)

func TestEveryRPCAnswersWhomARuleAllowsAndNobodyElse(t *testing.T) {
	t.Parallel()
	const mayOnly, mayAllBut = 20000, 30000 // and the RPC's index
	rpcs := server.RPCs()
	rules := []allowance{everything(t, operator)}
	for i, rpc := range rpcs {
		op := policy.Operation(rpc.Name())
		others := slices.DeleteFunc(server.Operations(), func(o policy.Operation) bool { return o == op })
		rules = append(rules, allows(t, mayAllBut+uint32(i), []string{policy.Any}, others...))
		if slices.Contains(server.Operations(), op) { // others are for administrators alone
			rules = append(rules, allows(t, mayOnly+uint32(i), []string{nameOf(rpc)}, op))
		}
		if rpc.KeyField() != "" {
			rules = append(rules, allows(t, mayAllBut+uint32(i), []string{"another-key", nameOf(rpc) + "-2"}, op))
		}
	}
	r := start(t, setup{rules: rules})
	for i, rpc := range rpcs {
		t.Run(string(rpc.Name()), func(t *testing.T) {
			r.prepare(t, rpc)
			in := minimal(t, rpc, nameOf(rpc))
			call := func(uid uint32) error {
				_, out := rpc.Messages()
				return invoke(as(t, uid), r.conn, rpc, in, out)
			}
			for _, uid := range []uint32{stranger, mayAllBut + uint32(i)} {
				logged, _ := r.refused(t, call(uid), codes.PermissionDenied, "DENIED")
				if logged.Caller != caller(t, uid).String() || logged.Operation != string(rpc.Name()) || rpc.KeyField() != "" && logged.Key != nameOf(rpc) {
					t.Errorf("the log has %+v", logged)
				}
			}
			_, out := rpc.Messages()
			logged, _ := r.refused(t, invoke(t.Context(), r.conn, rpc, in, out), codes.Unauthenticated, "NO_IDENTITY")
			if logged.Caller != "" || logged.Key != "" {
				t.Errorf("the log names somebody: %+v", logged)
			}
			if rpc.Name() == "SetPolicy" {
				defer r.setPolicy(t, rules...) // for the RPCs that follow
			}
			may := mayOnly + uint32(i)
			if rpc.Name() == "Unfreeze" {
				r.refused(t, call(operator), codes.PermissionDenied, "DENIED") // who has a rule for every operation
				may = administrator
			}
			if err := call(may); !letIn(err) {
				t.Errorf("the one that may got %v: %v", err, status.Convert(err).Details())
			}
		})
	}
}

// letIn reports whether a call got past the policy: there was an answer, nothing that the request is about, or what enforced FIPS 140-3
// does not allow.
func letIn(err error) bool {
	if err == nil {
		return true
	}
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason() == "NOTHING_MISSING" || info.GetReason() == "RECORD_NOT_FOUND" || fips140.Enforced() && info.GetReason() == "FIPS_REFUSED"
		}
	}
	return false
}

func TestAnEmptyPolicyAllowsNobody(t *testing.T) {
	t.Parallel()
	r := start(t, setup{rules: []allowance{}})
	for _, rpc := range server.RPCs() {
		_, out := rpc.Messages()
		r.refused(t, invoke(as(t, operator), r.conn, rpc, minimal(t, rpc, "a"), out), codes.PermissionDenied, "DENIED")
	}
}

func TestTheKernelSaysWhoCalls(t *testing.T) {
	t.Parallel()
	self := uint32(os.Geteuid())
	r := start(t, setup{peers: true, rules: []allowance{allows(t, self, []string{policy.Any}, "GetStatus"), everything(t, self+1)}})
	// What the caller says of itself counts for nothing.
	status, err := r.system.GetStatus(as(t, self+1), &adminv1.GetStatusRequest{})
	must(t, err)
	if want := caller(t, self).String(); status.GetCaller() != want {
		t.Errorf("the caller is %q, want %q", status.GetCaller(), want)
	}
	_, err = r.admin.GetKey(as(t, self+1), &adminv1.GetKeyRequest{Name: "a"})
	logged, _ := r.refused(t, err, codes.PermissionDenied, "DENIED")
	if want := caller(t, self).String(); logged.Caller != want {
		t.Errorf("the log names %q, want %q", logged.Caller, want)
	}
}
