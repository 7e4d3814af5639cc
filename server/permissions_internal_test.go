package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream"
)

func TestEveryRPCHasAPermissionAndEveryPermissionAnRPC(t *testing.T) {
	declared := make(map[string]bool)
	operations := make(map[policy.Operation]string)
	for _, rpc := range RPCs() {
		declared[rpc.Path] = true
		p, ok := permissions[rpc.Path]
		if !ok {
			t.Errorf("%s has no permission", rpc.Path)
			continue
		}
		if p.operation != policy.Operation(rpc.Name()) {
			t.Errorf("the operation of %s is %q; api.md names it by the RPC", rpc.Path, p.operation)
		}
		if other, taken := operations[p.operation]; taken {
			t.Errorf("%s and %s share the operation %s", other, rpc.Path, p.operation)
		}
		operations[p.operation] = rpc.Path
		if named := rpc.KeyField() != ""; named != (p.scope == onKey) {
			t.Errorf("%s: its request names a key: %t; its permission is on a key: %t", rpc.Path, named, p.scope == onKey)
		}
	}
	for path := range permissions {
		if !declared[path] {
			t.Errorf("there is a permission, but no RPC %s", path)
		}
	}
	if len(declared) == 0 {
		t.Error("no RPC was found")
	}
	known := Operations()
	delete(operations, "Unfreeze") // for administrators alone
	if !slices.IsSorted(known) || len(known) != len(operations) || len(slices.Compact(known)) != len(operations) {
		t.Errorf("Operations() is %v; want each of %d once, sorted", known, len(operations))
	}
}

func TestEveryRPCIsServedAndItsRulesAreCompiledAtStart(t *testing.T) {
	served := make(map[string]bool)
	for _, desc := range services {
		for _, m := range desc.Methods {
			served["/"+desc.ServiceName+"/"+m.MethodName] = true
		}
		for _, m := range desc.Streams {
			path := "/" + desc.ServiceName + "/" + m.StreamName
			if served[path] = true; !permissions[path].streams || m.ClientStreams {
				t.Errorf("%s streams, and its permission does not say so", path)
			}
		}
	}
	var compiled []string
	for _, m := range requestMessages() {
		compiled = append(compiled, string(proto.MessageName(m)))
	}
	for _, rpc := range RPCs() {
		if !served[rpc.Path] {
			t.Errorf("%s is not among services", rpc.Path)
		}
		if !slices.Contains(compiled, string(rpc.Input().FullName())) {
			t.Errorf("%s is not among requestMessages", rpc.Input().FullName())
		}
	}
}

// bare is a server without keys for one caller, that may do everything or nothing.
func bare(t *testing.T, allowed bool) *Server {
	t.Helper()
	caller, err := policy.UnixCaller(1000)
	if err != nil {
		t.Fatal(err)
	}
	bounds := &policy.Bounds{}
	if allowed {
		if bounds, err = policy.NewBounds([]string{caller.String()}, nil, Operations()); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(Config{Bounds: bounds, Log: slog.New(slog.DiscardHandler),
		Identify: func(context.Context) (policy.Caller, error) { return caller, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// served runs a handler behind the interceptors as if it were GetKey's.
func served(t *testing.T, s *Server, path string, handler grpc.UnaryHandler) codes.Code {
	t.Helper()
	resp, err := s.unary(t.Context(), &adminv1.GetKeyRequest{Name: "a"}, &grpc.UnaryServerInfo{FullMethod: path}, handler)
	if (err == nil) == (resp == nil) {
		t.Errorf("got %v and %v; want an answer or an error", resp, err)
	}
	return status.Code(err)
}

func TestAnAnswerThatNoDecisionAllowedIsABug(t *testing.T) {
	answer := &adminv1.GetKeyResponse{}
	getKey := adminv1.KeyService_GetKey_FullMethodName
	tests := []struct {
		name    string
		allowed bool
		path    string
		handler func(*Server) grpc.UnaryHandler
		want    codes.Code
	}{
		{"allowed", true, getKey, asks("a"), codes.OK},
		{"without a decision", true, getKey, func(*Server) grpc.UnaryHandler {
			return func(context.Context, any) (any, error) { return answer, nil }
		}, codes.Internal},
		{"in spite of a denial", false, getKey, asks("a"), codes.Internal},
		{"decided on no key", true, getKey, asks(""), codes.Internal},
		{"decided on a key for an operation on none", true, adminv1.SystemService_GetStatus_FullMethodName, asks("a"), codes.Internal},
		{"without a permission", true, "/signerd.admin.v1.KeyService/Forgotten", asks("a"), codes.Internal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := bare(t, tt.allowed)
			if got := served(t, s, tt.path, tt.handler(s)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// asks is a handler that asks policy, and answers whatever it was told.
func asks(key string) func(*Server) grpc.UnaryHandler {
	return func(s *Server) grpc.UnaryHandler {
		return func(ctx context.Context, _ any) (any, error) {
			_, _ = s.decide(ctx, keystore.View{}, policy.Key{Name: key}, nil)
			return &adminv1.GetKeyResponse{}, nil
		}
	}
}

func TestNothingIsDecidedOutsideTheInterceptors(t *testing.T) {
	s := bare(t, true)
	if _, err := s.decide(t.Context(), keystore.View{}, policy.Key{Name: "a"}, nil); err == nil || errors.Is(err, policy.ErrDenied) {
		t.Errorf("got %v; want an error that says it is a bug", err)
	}
	if _, _, err := credential[upstream.Credential](t.Context(), authorized{}, "noah"); err == nil {
		t.Error("a credential was redeemed")
	}
}
