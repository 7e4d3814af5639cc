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

// refusals notices the requests that never reach the interceptors.
type refusals struct{ metrics Metrics }

type seenKey struct{}

// TagRPC implements stats.Handler.
func (refusals) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, seenKey{}, new(bool))
}

// see notes that a request reached the interceptors.
func see(ctx context.Context) {
	if seen, ok := ctx.Value(seenKey{}).(*bool); ok {
		*seen = true
	}
}

// HandleRPC implements stats.Handler.
func (r refusals) HandleRPC(ctx context.Context, event stats.RPCStats) {
	end, ok := event.(*stats.End)
	if !ok || end.Error == nil {
		return
	}
	if seen, ok := ctx.Value(seenKey{}).(*bool); ok && !*seen {
		r.metrics.Refused(status.Code(end.Error).String())
	}
}

// TagConn implements stats.Handler.
func (refusals) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (refusals) HandleConn(context.Context, stats.ConnStats) {}
