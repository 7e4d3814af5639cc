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
	"google.golang.org/protobuf/proto"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream"
)

// call is what signerd knows of one request while it is under way. It belongs to the request's goroutine.
type call struct {
	// record is what will be on record; the key, once the request was found valid, and what else is known of it.
	record     audit.Record
	start      time.Time
	permission permission
	caller     policy.Caller
	nobody     error // why there is no caller
	allowed    bool  // policy was asked, and its last answer was yes
	anew       bool  // policy is asked again since the key changed under the call, which has been charged for
	decision   policy.Decision
	unrecorded bool               // it has no record, since none can be written: that is not the caller's fault
	keys       *keystore.Keystore // that the key is of, once the call was authorized
	scheme     string             // of the key, once the call was authorized; for metrics, which strangers may read
	signer     *keystore.Key      // whose credential signs, once it was given; the record has its version
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

// openCall lets a call in, opens its record, gives every refusal its status, and hands nothing out before the record is
// durable.
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
	c, admitted, err := s.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	defer admitted.leave()
	c.describe(req)
	resp, err := s.serveCall(context.WithValue(ctx, callKey{}, c), c, func(ctx context.Context) (any, error) { return next(ctx, req) })
	leaving, err := s.passGate(c, err)
	if !leaveAtEnd(ctx, leaving) {
		defer leaving.leave()
	}
	if err == nil {
		c.handOut(resp)
	}
	if err = s.conclude(ctx, c, err); err != nil {
		admitted.refused = !c.unrecorded
		return nil, err
	}
	if c.signer != nil {
		c.signer.MarkUsed(c.record.Version, c.start)
	}
	return resp, nil
}

// admitted is a call that was let in.
type admitted struct {
	admission *admission
	load      *load
	refused   bool
}

func (a *admitted) leave() { a.admission.leave(a.load, a.refused) }

// admit says who calls, holds the caller to what it may burden signerd with, and opens the call's record. Its error is a status.
func (s *Server) admit(ctx context.Context, method string) (*call, *admitted, error) {
	c := &call{start: s.now(), permission: permissions[method]}
	c.caller, c.nobody = s.identify(ctx)
	l, err := s.admission.enter(ctx, c.caller.String())
	if err != nil {
		var over *excessError
		if errors.As(err, &over) {
			c.record.ID = over.recordID
		}
		return nil, nil, s.answer(ctx, c, err)
	}
	c.open()
	c.record.IdentifiedBy, c.record.Certificate = identifiedBy(ctx)
	return c, &admitted{admission: s.admission, load: l}, nil
}

// serveCall refuses callers without identity, calls that could not be recorded, RPCs without a permission, and answers that no
// decision allowed: the last two are bugs in signerd, and must not become an open door.
func (s *Server) serveCall(ctx context.Context, c *call, next func(context.Context) (any, error)) (any, error) {
	if c.nobody != nil {
		return nil, fmt.Errorf("%w: %w", errNoIdentity, c.nobody)
	}
	if c.permission == (permission{}) {
		return nil, errors.New("no permission is defined for an RPC")
	}
	if err := s.recordable(c); err != nil {
		return nil, err
	}
	resp, err := next(ctx)
	if err == nil && !c.allowed {
		return nil, fmt.Errorf("%s answered without a decision that allows it", c.permission.operation)
	}
	return resp, err
}

// answer counts, traces and logs how a call ended, and gives its status; nil for none.
func (s *Server) answer(ctx context.Context, c *call, err error) error {
	reason, code := "", codes.OK
	var out error
	if err != nil {
		st, why := statusFor(ctx, err, c.record.ID)
		reason, code, out = why, st.Code(), st.Err()
	}
	took := s.now().Sub(c.start)
	s.metrics.Call(string(c.permission.operation), code.String(), c.scheme, took)
	if s.traces != nil {
		s.traces.Annotate(ctx, c.record.ID, c.scheme, reason)
	}
	s.logCall(ctx, c, took, code, reason, err)
	return out
}

// logCall says what became of a call, for those who look into signerd itself: what it was, the audit log says. Only what is
// signerd's own trouble shows its cause: the rest is the caller's, and may hold its words.
func (s *Server) logCall(ctx context.Context, c *call, took time.Duration, code codes.Code, reason string, cause error) {
	level := slog.LevelDebug
	// A freeze is an operator's will, and would fill the log.
	if trouble := code == codes.Internal || code == codes.Unavailable; trouble && !errors.Is(cause, errFrozen) {
		level = slog.LevelError
	}
	if !s.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("record_id", c.record.ID),
		slog.String("operation", string(c.permission.operation)),
		slog.String("caller", c.caller.String()),
		slog.String("key", c.record.Key),
		slog.Uint64("key_version", uint64(c.record.Version)),
		slog.String("code", code.String()),
		slog.String("reason", reason),
		slog.Duration("duration", took),
	}
	if level == slog.LevelError {
		attrs = append(attrs, slog.String("cause", cause.Error()))
	}
	s.log.LogAttrs(ctx, level, "call", attrs...)
}

// panickedOutside answers for a panic outside of what is recorded.
func (s *Server) panickedOutside(ctx context.Context, p any) error {
	c := &call{start: s.now()}
	c.open()
	return s.conclude(ctx, c, panicked(ctx, p))
}

// panicked makes an error of a panic; the log gets the stack, the caller the fixed text.
func panicked(_ context.Context, p any) error {
	return fmt.Errorf("panic: %v\n%s", p, debug.Stack())
}

// validate holds a message against the rules in the proto files. What they cannot say, the handlers check before they
// ask policy.
func (s *Server) validate(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := s.valid(req); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (s *Server) valid(req any) error {
	message, ok := req.(proto.Message)
	if !ok {
		return fmt.Errorf("request of type %T is no message", req)
	}
	err := s.validator.Validate(message)
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) {
		if err != nil {
			return fmt.Errorf("validating a request: %w", err)
		}
		return nil
	}
	var list violations
	for _, v := range invalid.Violations {
		f := upstream.FieldError{Field: topField(v), Problem: problem(v)}
		// A map may break one rule in a hundred thousand places, which all read the same.
		if !slices.ContainsFunc(list, func(seen *upstream.FieldError) bool { return *seen == f }) {
			list = append(list, &f)
		}
	}
	return list
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
