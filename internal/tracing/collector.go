package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// attempts are made until exportTimeout, when the collector is away or busy. The first failure would lose a batch each
// time a collector restarts.
const attempts = `{"methodConfig": [{"name": [{}], "retryPolicy": {
	"maxAttempts": 5, "initialBackoff": "0.3s", "maxBackoff": "3s", "backoffMultiplier": 3,
	"retryableStatusCodes": ["UNAVAILABLE"]}}]}`

// collector sends spans. It is an otlptrace.Client in place of OpenTelemetry's own, which reads headers, certificates,
// compression and more from the environment.
type collector struct {
	conn     *grpc.ClientConn
	service  collectorpb.TraceServiceClient
	resource *resourcepb.Resource
	losses   losses
	waiting  atomic.Int64    // spans, those being sent included
	dropped  atomic.Int64    // spans that found no room, since the last report
	open     context.Context // ends when nothing may be sent any more
	cutOff   context.CancelFunc
	stopped  chan struct{} // closed by Stop
}

func newCollector(c Config) (*collector, error) {
	u, err := parseEndpoint(c.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	creds, err := transport(u, c.CAFile)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("dns:///"+u.Host,
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(), // the environment may name one
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultServiceConfig(attempts),
		grpc.WithUserAgent("signerd/"+c.Version),
	)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	to := &collector{conn: conn, service: collectorpb.NewTraceServiceClient(conn), resource: signerd(c.Version),
		losses: losses{log: c.Log, now: c.Now}, stopped: make(chan struct{})}
	to.open, to.cutOff = context.WithCancel(context.Background())
	return to, nil
}

// Start implements otlptrace.Client.
func (*collector) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client: no span comes after it.
func (c *collector) Stop(context.Context) error {
	defer close(c.stopped)
	c.cutOff()
	c.reportDropped()
	c.losses.flush()
	return c.conn.Close()
}

// UploadTraces implements otlptrace.Client. It returns no error: OpenTelemetry would give it to its global handler, which
// prints each.
func (c *collector) UploadTraces(ctx context.Context, batch []*tracepb.ResourceSpans) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.open, cancel)()
	request, spans := leaving(batch, c.resource)
	defer c.reportDropped()
	defer c.waiting.Add(-int64(spans))
	answer, err := c.service.Export(ctx, request)
	switch partial := answer.GetPartialSuccess(); {
	case err != nil:
		c.losses.add(spans, err)
	case partial.GetRejectedSpans() > 0:
		c.losses.add(int(partial.GetRejectedSpans()), errors.New(partial.GetErrorMessage()))
	}
	return nil
}

// admit takes a place among the spans that wait, if there is one.
func (c *collector) admit() bool {
	if c.waiting.Add(1) <= queueSize {
		return true
	}
	c.waiting.Add(-1)
	c.dropped.Add(1)
	return false
}

// reportDropped is not for requests, which must not wait for the log.
func (c *collector) reportDropped() {
	if n := c.dropped.Swap(0); n > 0 {
		c.losses.add(int(n), errors.New("too many were waiting"))
	}
}

// admitted are the spans for which there is room. OpenTelemetry's own queue, which is as long, drops without a word.
type admitted struct {
	sdktrace.SpanProcessor
	to *collector
}

// OnEnd implements sdktrace.SpanProcessor.
func (a admitted) OnEnd(s sdktrace.ReadOnlySpan) {
	if a.to.admit() {
		a.SpanProcessor.OnEnd(s)
	}
}

// quiet is how long lost spans are only counted once a line was written.
const quiet = time.Minute

// losses tells of lost spans, however many, in few lines.
type losses struct {
	log *slog.Logger
	now func() time.Time

	mu    sync.Mutex
	told  time.Time
	spans int // since told
	cause error
}

func (l *losses) add(spans int, cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spans += spans
	l.cause = cause
	if now := l.now(); l.told.IsZero() || now.Sub(l.told) >= quiet {
		l.told = now
		l.tell()
	}
}

// flush tells of what was only counted.
func (l *losses) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spans > 0 {
		l.tell()
	}
}

func (l *losses) tell() {
	l.log.Warn("spans could not be sent to the collector and are lost", "spans", l.spans, "cause", l.cause.Error())
	l.spans = 0
}
