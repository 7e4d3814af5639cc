package main

import (
	"context"
	"fmt"
	"net"
	"testing"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// spanCollector is an OpenTelemetry collector that keeps what it gets.
type spanCollector struct {
	collectorpb.UnimplementedTraceServiceServer
	spans chan *tracepb.Span
}

func (c *spanCollector) Export(_ context.Context, in *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	for _, r := range in.GetResourceSpans() {
		for _, s := range r.GetScopeSpans() {
			for _, span := range s.GetSpans() {
				c.spans <- span
			}
		}
	}
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

func TestRequestsAreTracedWhereConfigured(t *testing.T) {
	in := install(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	collector := &spanCollector{spans: make(chan *tracepb.Span, 10)}
	g := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(g, collector)
	go func() { _ = g.Serve(l) }()
	defer g.Stop()
	in.configure(t, "", fmt.Sprintf("tracing: {endpoint: 'http://%s', sample_ratio: 1}", l.Addr()))
	logged, stop := in.serve(t)
	logged(`"msg":"serving"`)
	if err := sign(t, in.connect(t, in.client(t))); status.Code(err) != codes.PermissionDenied {
		t.Errorf("got %v", err)
	}
	stop() // sends what is waiting

	span := <-collector.spans
	attributes := make(map[string]string)
	for _, a := range span.GetAttributes() {
		attributes[a.GetKey()] = a.GetValue().GetStringValue()
	}
	if span.GetName() != "signerd.v1.SignerService/SignNoahRequest" || attributes["signerd.reason"] != "DENIED" || attributes["signerd.record_id"] == "" {
		t.Errorf("the span is %v", span)
	}
}
