package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream"
)

// call is what signerd knows of one request while it is under way. It belongs to the request's goroutine.
type call struct {
	recordID   string
	permission permission
	caller     policy.Caller
	key        string // once the request was found valid
	scheme     string // of the key, once it was authorized
	version    uint32
	allowed    bool // policy was asked, and its last answer was yes
	decision   policy.Decision
	generation uint64           // of the policy that decided
	needs      policy.Operation // what the caller may not do and would have to, where that is another operation
}

type callKey struct{}

// callFrom is the call that the interceptors opened; without one there is a bug, and nothing may be decided.
func callFrom(ctx context.Context) (*call, error) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return nil, errors.New("the request did not pass the interceptors")
	}
	return c, nil
}

// healthPrefix marks the one service that needs no permission, and no identity on the host itself (admitHealth): it says
// only whether signerd serves.
const healthPrefix = "/grpc.health.v1.Health/"

// openCall opens the call's record, gives every refusal its status, and logs the outcome.
func (s *Server) openCall(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	see(ctx)
	if strings.HasPrefix(info.FullMethod, healthPrefix) {
		if err := s.admitHealth(ctx); err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
	s.active.Add(1)
	defer s.active.Add(-1)
	start := s.now()
	c := &call{recordID: newRecordID(start)}
	resp, err := s.serveCall(context.WithValue(ctx, callKey{}, c), c, req, info, next)
	reason, code := "", codes.OK
	var cause error
	if err != nil {
		st, why := statusFor(ctx, err, c.recordID)
		cause, reason, code = err, why, st.Code()
		resp, err = nil, st.Err()
	}
	took := s.now().Sub(start)
	s.metrics.Call(string(c.permission.operation), code.String(), c.scheme, took)
	if s.traces != nil {
		s.traces.Annotate(ctx, c.recordID, c.scheme, reason)
	}
	s.logCall(ctx, c, took, code, reason, cause)
	return resp, err
}

// serveCall refuses RPCs without a permission, and answers that no decision allowed: both are bugs in signerd, and must
// not become an open door.
func (s *Server) serveCall(ctx context.Context, c *call, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	var ok bool
	if c.permission, ok = permissions[info.FullMethod]; !ok {
		return nil, fmt.Errorf("no permission is defined for %s", info.FullMethod)
	}
	resp, err := next(ctx, req)
	if err == nil && !c.allowed {
		return nil, fmt.Errorf("%s answered without a decision that allows it", info.FullMethod)
	}
	return resp, err
}

func (s *Server) logCall(ctx context.Context, c *call, took time.Duration, code codes.Code, reason string, cause error) {
	attrs := []slog.Attr{
		slog.String("record_id", c.recordID),
		slog.String("operation", string(c.permission.operation)),
		slog.String("caller", c.caller.String()),
		slog.String("key", c.key),
		slog.Uint64("key_version", uint64(c.version)),
		slog.String("code", code.String()),
		slog.String("reason", reason),
		slog.String("rule", c.decision.Rule),
		slog.Uint64("policy", c.generation),
		slog.Duration("duration", took),
	}
	if len(c.decision.Shadows) > 0 {
		attrs = append(attrs, slog.Any("shadow", wouldHave(c.decision.Shadows)))
	}
	if len(c.decision.Unevaluated) > 0 {
		names := c.decision.Unevaluated
		attrs = append(attrs, slog.Any("unevaluated", names[:min(len(names), maxLogged)]), slog.Int("unevaluated_count", len(names)))
	}
	if c.needs != "" {
		attrs = append(attrs, slog.String("needs", string(c.needs)))
	}
	level := slog.LevelInfo
	// Only what is signerd's own trouble shows its cause: the rest is the caller's, and may hold its words.
	if code == codes.Internal || code == codes.Unavailable {
		level = slog.LevelError
		attrs = append(attrs, slog.String("cause", cause.Error()))
	}
	s.log.LogAttrs(ctx, level, "call", attrs...)
}

// maxLogged bounds the rules that a line names: a caller can make every condition fail.
const maxLogged = 20

// wouldHave says what rules in shadow mode would have done.
func wouldHave(shadows []policy.Shadow) []string {
	out := make([]string, len(shadows))
	for i, s := range shadows {
		out[i] = "would " + string(s.Effect) + ": " + s.Rule
	}
	return out
}

// panicked makes an error of a panic; the log gets the stack, the caller the fixed text.
func panicked(_ context.Context, p any) error {
	return fmt.Errorf("panic: %v\n%s", p, debug.Stack())
}

// identifyCaller establishes the caller: no identity, no service.
func (s *Server) identifyCaller(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if strings.HasPrefix(info.FullMethod, healthPrefix) {
		return next(ctx, req)
	}
	c, err := callFrom(ctx)
	if err != nil {
		return nil, err
	}
	if c.caller, err = s.identify(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoIdentity, err)
	}
	return next(ctx, req)
}

// validate holds a message against the rules in the proto files. What they cannot say, the handlers check before they
// ask policy.
func (s *Server) validate(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	message, ok := req.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("request of type %T is no message", req)
	}
	err := s.validator.Validate(message)
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) {
		if err != nil {
			return nil, fmt.Errorf("validating a request: %w", err)
		}
		return next(ctx, req)
	}
	var list violations
	for _, v := range invalid.Violations {
		f := upstream.FieldError{Field: topField(v), Problem: problem(v)}
		// A map may break one rule in a hundred thousand places, which all read the same.
		if !slices.ContainsFunc(list, func(seen *upstream.FieldError) bool { return *seen == f }) {
			list = append(list, &f)
		}
	}
	return nil, list
}

// problem says in plain words what a rule found. Patterns, which people cannot read, are those of names.
func problem(v *protovalidate.Violation) string {
	if v.Proto.GetRuleId() == "string.pattern" {
		if topField(v) == "labels" {
			return "a label's name is malformed; wanted lower-case letters, digits and inner dots, hyphens and underscores, at most 63"
		}
		return "it is not a key's name; wanted lower-case letters, digits and inner hyphens, at most 63"
	}
	return v.Proto.GetMessage()
}

// topField names a violation's field without what is below it: keys of maps are the caller's words.
func topField(v *protovalidate.Violation) string {
	if elements := v.Proto.GetField().GetElements(); len(elements) > 0 {
		return elements[0].GetFieldName()
	}
	return "request"
}

// reflectionPrefixes are the services that tell of services; they are registered only where configured.
var reflectionPrefixes = []string{"/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/"}

// refuseStreams lets only health checks and reflection stream: no service of signerd's does.
func (s *Server) refuseStreams(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if srv == nil { // no service has this method
		return next(srv, stream)
	}
	see(stream.Context())
	if strings.HasPrefix(info.FullMethod, healthPrefix) {
		if err := s.admitHealth(stream.Context()); err != nil {
			return err
		}
		return next(srv, stream)
	}
	if slices.ContainsFunc(reflectionPrefixes, func(prefix string) bool { return strings.HasPrefix(info.FullMethod, prefix) }) {
		if err := s.admitIdentified(stream.Context()); err != nil {
			return err
		}
		return next(srv, stream)
	}
	st, _ := statusFor(stream.Context(), fmt.Errorf("%s streams", info.FullMethod), newRecordID(s.now()))
	return st.Err()
}

// unknownMethod answers as the library would, which counts as its refusal.
func (s *Server) unknownMethod(any, grpc.ServerStream) error {
	return status.Error(codes.Unimplemented, "unknown service or method")
}
