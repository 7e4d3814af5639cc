package server

import (
	"context"
	"time"

	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// Metrics is told what becomes of requests. It must not block.
type Metrics interface {
	// Call tells of a request that signerd answered. scheme is that of the key; empty where none was authorized.
	Call(operation, code, scheme string, took time.Duration)
	// Refused tells of a request that the gRPC library refused before signerd saw it.
	Refused(code string)
	// Shadow tells of a rule in shadow mode that would have decided otherwise; effect is "allow" or "deny".
	Shadow(effect string)
	// Login tells of a login at Noon: ok, rejected or unavailable.
	Login(outcome string)
	// HandshakeFailed tells of a TLS connection that did not come about.
	HandshakeFailed()
}

type noMetrics struct{}

func (noMetrics) Call(string, string, string, time.Duration) {}
func (noMetrics) Refused(string)                             {}
func (noMetrics) Shadow(string)                              {}
func (noMetrics) Login(string)                               {}
func (noMetrics) HandshakeFailed()                           {}

// ends sees each request to its end, as the gRPC library tells of it: it notices those that never reach the interceptors, and lets
// answers that sign something leave the gate only once they are with their connection.
type ends struct{ metrics Metrics }

type passageKey struct{}

// passage is what is known of a request outside of the interceptors. It belongs to the request's goroutine.
type passage struct {
	seen    bool   // it reached them
	leaving *crowd // that its answer is counted in; nil for none
}

// TagRPC implements stats.Handler.
func (ends) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, passageKey{}, new(passage))
}

// see notes that a request reached the interceptors.
func see(ctx context.Context) {
	if p, ok := ctx.Value(passageKey{}).(*passage); ok {
		p.seen = true
	}
}

// leaveAtEnd has an answer counted until it is with its connection. It reports whether there is a connection.
func leaveAtEnd(ctx context.Context, leaving *crowd) bool {
	p, ok := ctx.Value(passageKey{}).(*passage)
	if ok {
		p.leaving = leaving
	}
	return ok
}

// HandleRPC implements stats.Handler. The end comes after the answer was encoded and given to the connection's queue, whatever became
// of it.
func (e ends) HandleRPC(ctx context.Context, event stats.RPCStats) {
	end, ok := event.(*stats.End)
	if !ok {
		return
	}
	p, ok := ctx.Value(passageKey{}).(*passage)
	if !ok {
		return
	}
	p.leaving.leave()
	if end.Error != nil && !p.seen {
		e.metrics.Refused(status.Code(end.Error).String())
	}
}

// TagConn implements stats.Handler.
func (ends) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (ends) HandleConn(context.Context, stats.ConnStats) {}
