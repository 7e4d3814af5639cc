package tracing_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/signerd/signerd/internal/tracing"
)

func TestTheEnvironmentChangesNothing(t *testing.T) {
	for _, convention := range []string{"", "rpc/old", "rpc/dup"} {
		t.Run(convention, func(t *testing.T) {
			want, wantMeta := exported(t)
			elsewhere := collect(t, new(collector), "127.0.0.1", nil)
			for name, value := range map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": elsewhere.endpoint, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": elsewhere.endpoint,
				"OTEL_EXPORTER_OTLP_HEADERS": "x-added=1,authorization=2", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-added=1",
				"OTEL_EXPORTER_OTLP_INSECURE": "false", "OTEL_EXPORTER_OTLP_TRACES_INSECURE": "false",
				"OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": "/nowhere",
				"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/nowhere", "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/nowhere",
				"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
				"OTEL_TRACES_EXPORTER": "none", "OTEL_TRACES_SAMPLER": "always_off", "OTEL_TRACES_SAMPLER_ARG": "0",
				"OTEL_RESOURCE_ATTRIBUTES": "service.name=other,service.version=other,added=1", "OTEL_SERVICE_NAME": "other",
				"OTEL_SDK_DISABLED": "true", "OTEL_PROPAGATORS": "none",
				"OTEL_BSP_MAX_QUEUE_SIZE": "-1", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "-1", "OTEL_BSP_EXPORT_TIMEOUT": "1", "OTEL_BSP_SCHEDULE_DELAY": "1",
				"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "1", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "1",
				"OTEL_ATTRIBUTE_COUNT_LIMIT": "1", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1", "OTEL_SPAN_LINK_COUNT_LIMIT": "1",
				"OTEL_SPAN_EVENT_COUNT_LIMIT": "1", "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "1", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "1",
				"OTEL_GO_X_OBSERVABILITY": "true", "OTEL_GO_X_SELF_OBSERVABILITY": "true", "OTEL_GO_X_RESOURCE": "true",
				"OTEL_SEMCONV_STABILITY_OPT_IN": convention,
			} {
				t.Setenv(name, value)
			}
			got, gotMeta := exported(t)
			if diff := cmp.Diff(want, got, protocmp.Transform(), inOrder); diff != "" {
				t.Errorf("what is sent changed (-without +with the environment):\n%s", diff)
			}
			if diff := cmp.Diff(wantMeta, gotMeta); diff != "" {
				t.Errorf("the metadata changed (-without +with the environment):\n%s", diff)
			}
			if n := len(elsewhere.spans()); n > 0 {
				t.Errorf("%d spans went where the environment said", n)
			}
		})
	}
}

// inOrder is for spans, which may end after the answer has arrived, and so in any order.
var inOrder = protocmp.SortRepeated(func(a, b *tracepb.Span) bool { return a.GetStatus().GetCode() < b.GetStatus().GetCode() })

// exported is what two requests make leave, without what differs between any two: ids, times, addresses.
func exported(t *testing.T) ([]*collectorpb.ExportTraceServiceRequest, metadata.MD) {
	t.Helper()
	var meta metadata.MD
	c := collect(t, &collector{answer: func(ctx context.Context) (*collectorpb.ExportTraceServiceResponse, error) {
		meta, _ = metadata.FromIncomingContext(ctx)
		return new(collectorpb.ExportTraceServiceResponse), nil
	}}, "127.0.0.1", nil)
	r := start(t, tracing.Config{Endpoint: c.endpoint, SampleRatio: 1, Version: "v1.2.3"},
		func(ctx context.Context, in *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
			tracing.Annotate(ctx, "record", "noba", "DENIED")
			if in.GetValue() == "fail" {
				return nil, status.Error(codes.Internal, "internal")
			}
			return in, nil
		})
	_, _ = r.say(t, "fail")
	_, err := r.say(t, "hello", "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	must(t, err)
	must(t, r.finish(t.Context()))
	if n := len(c.spans()); n != 2 {
		t.Errorf("%d spans arrived, want 2; the log has %v", n, r.log.lines(t))
	}
	for _, s := range c.spans() {
		s.TraceId, s.SpanId, s.StartTimeUnixNano, s.EndTimeUnixNano = nil, nil, 0, 0
		for _, a := range s.GetAttributes() {
			if a.GetKey() == "server.address" {
				proto.Reset(a.GetValue())
			}
		}
	}
	delete(meta, ":authority")
	return c.requests, meta
}
