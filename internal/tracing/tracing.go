// Package tracing makes a span of every request that signerd serves, and sends it to an OpenTelemetry collector.
//
// It is for cmd/signerd, which gives server the stats.Handler and Annotate. Nothing of it is global, no environment
// variable has a say, and it never waits: without room, or without a collector, spans are dropped. A span never holds
// what a caller sent, nor what it was answered (see leaving).
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// Config says what gets a span, and where spans go.
type Config struct {
	// Endpoint is the collector, which speaks OTLP over gRPC: https://HOST:PORT, or http://HOST:PORT with a literal
	// loopback address. Required.
	Endpoint string
	// CAFile holds the authorities that the collector's certificate comes from, PEM. Only with https.
	// Default: those of the system, which the environment can replace (SSL_CERT_FILE) as for any Go program.
	CAFile string
	// SampleRatio is the share, from 0 to 1, of the requests without a trace of their caller's that get a span. With one,
	// the caller decides: its sampled trace is continued whatever the ratio, any other is not. So a caller can have spans made
	// of all its requests; they can crowd out those of others, and nothing else.
	SampleRatio float64
	// Services are those whose methods get spans. Health checks are not among them, and what is not one of their methods is
	// the caller's own word. Required.
	Services []grpc.ServiceDesc
	// Version is the program's.
	Version string
	// Log gets a line when spans are lost, one a minute at most and one at the end. Required.
	Log *slog.Logger
	// Now is the clock of that minute. Default: time.Now.
	Now func() time.Time
}

// What waits for the collector is bounded: a span takes one or two kilobytes.
const (
	queueSize = 2048
	// batchSize keeps a batch below what gRPC holds on to for another attempt, 256 KiB.
	batchSize  = 256
	batchDelay = 5 * time.Second
	// exportTimeout bounds the sending of a batch, with all attempts.
	exportTimeout = 10 * time.Second
	// maxAttributeBytes is more than any attribute of signerd's has.
	maxAttributeBytes = 256
)

// Tracing makes spans and sends them. It is safe for concurrent use.
type Tracing struct {
	handler   stats.Handler
	processor sdktrace.SpanProcessor
	collector *collector
}

// New makes what Config describes. It reads CAFile, but does not wait for the collector. Shutdown releases it.
//
// OpenTelemetry looks at OTEL_TRACES_SAMPLER and OTEL_RESOURCE_ATTRIBUTES all the same: it prints a line on standard error
// where one is malformed, and what it makes of them is not used.
func New(c Config) (*Tracing, error) {
	if c.Log == nil || len(c.Services) == 0 {
		return nil, errors.New("tracing needs a log and the services that get spans")
	}
	if math.IsNaN(c.SampleRatio) || c.SampleRatio < 0 || c.SampleRatio > 1 {
		return nil, fmt.Errorf("sample ratio %v: wanted a number from 0 to 1", c.SampleRatio)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	to, err := newCollector(c)
	if err != nil {
		return nil, err
	}
	exporter, err := otlptrace.New(context.Background(), to)
	if err != nil {
		return nil, errors.Join(err, to.Stop(context.Background()))
	}
	t := &Tracing{collector: to}
	// Every option is given, because the environment decides those that are not.
	t.processor = sdktrace.NewBatchSpanProcessor(exporter, sdktrace.WithMaxQueueSize(queueSize),
		sdktrace.WithMaxExportBatchSize(batchSize), sdktrace.WithBatchTimeout(batchDelay), sdktrace.WithExportTimeout(exportTimeout))
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSpanProcessor(admitted{t.processor, to}),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.SampleRatio))),
		sdktrace.WithResource(resource.Empty()), // the environment adds to it; what leaves is the collector's resource
		sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{AttributeValueLengthLimit: maxAttributeBytes, AttributeCountLimit: 32}),
	)
	methods := make(map[string]bool)
	for _, service := range c.Services {
		for _, m := range service.Methods {
			methods["/"+service.ServiceName+"/"+m.MethodName] = true
		}
	}
	t.handler = otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(provider),
		otelgrpc.WithMeterProvider(metricnoop.NewMeterProvider()),
		otelgrpc.WithPropagators(propagation.TraceContext{}),
		otelgrpc.WithFilter(func(info *stats.RPCTagInfo) bool { return methods[info.FullMethodName] }),
	)
	return t, nil
}

// Handler makes a span of each request of a gRPC server.
func (t *Tracing) Handler() stats.Handler { return t.handler }

// Shutdown sends the spans that are waiting, until ctx ends: then it drops the rest and returns ctx's error. Spans of
// requests that end later are dropped, so servers are to be shut down before.
func (t *Tracing) Shutdown(ctx context.Context) error {
	err := t.processor.Shutdown(ctx)
	t.collector.cutOff()
	<-t.collector.stopped // soon: nothing waits for the collector any more
	return err
}

// The attributes of Annotate.
const (
	recordIDKey = attribute.Key("signerd.record_id")
	schemeKey   = attribute.Key("signerd.scheme")
	reasonKey   = attribute.Key("signerd.reason")
)

// Annotate puts on the span of the request in ctx, if it has one, what signerd knows of it: the id of its record, the
// scheme of its key, and why it was refused. Empty values are left out. None may hold what a caller chose.
func Annotate(ctx context.Context, recordID, scheme, reason string) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	attributes := make([]attribute.KeyValue, 0, 3)
	for _, a := range [...]attribute.KeyValue{recordIDKey.String(recordID), schemeKey.String(scheme), reasonKey.String(reason)} {
		if a.Value.AsString() != "" {
			attributes = append(attributes, a)
		}
	}
	span.SetAttributes(attributes...)
}
