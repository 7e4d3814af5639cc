package tracing

import (
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// kept are the attributes that leave as they are. OpenTelemetry has two sets for the method, and the environment chooses:
// leaving writes it anew.
var kept = map[string]bool{
	"rpc.response.status_code": true, "server.address": true, "server.port": true,
	string(recordIDKey): true, string(schemeKey): true, string(reasonKey): true,
}

// leaving is what of a batch goes to the collector, and the number of its spans. Everything is left behind but what is
// listed here: a status's message and the trace state hold words of the caller's, the resource those of the environment, and a
// later release of OpenTelemetry may add more.
func leaving(batch []*tracepb.ResourceSpans, from *resourcepb.Resource) (*collectorpb.ExportTraceServiceRequest, int) {
	out := &tracepb.ResourceSpans{Resource: from}
	spans := 0
	for _, r := range batch {
		for _, s := range r.GetScopeSpans() {
			scope := &tracepb.ScopeSpans{
				Scope: &commonpb.InstrumentationScope{Name: s.GetScope().GetName(), Version: s.GetScope().GetVersion()},
			}
			for _, span := range s.GetSpans() {
				scope.Spans = append(scope.Spans, leavingSpan(span))
			}
			out.ScopeSpans = append(out.ScopeSpans, scope)
			spans += len(scope.Spans)
		}
	}
	return &collectorpb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{out}}, spans
}

func leavingSpan(s *tracepb.Span) *tracepb.Span {
	attributes := []*commonpb.KeyValue{text("rpc.system.name", "grpc"), text("rpc.method", s.GetName())}
	for _, a := range s.GetAttributes() {
		if kept[a.GetKey()] {
			attributes = append(attributes, a)
		}
	}
	return &tracepb.Span{
		TraceId: s.GetTraceId(), SpanId: s.GetSpanId(), ParentSpanId: s.GetParentSpanId(), Flags: s.GetFlags(),
		Name: s.GetName(), Kind: s.GetKind(), StartTimeUnixNano: s.GetStartTimeUnixNano(), EndTimeUnixNano: s.GetEndTimeUnixNano(),
		Attributes: attributes, Status: &tracepb.Status{Code: s.GetStatus().GetCode()},
	}
}

// signerd is the resource that all spans are of.
func signerd(version string) *resourcepb.Resource {
	out := &resourcepb.Resource{Attributes: []*commonpb.KeyValue{text("service.name", "signerd")}}
	if version != "" {
		out.Attributes = append(out.Attributes, text("service.version", version))
	}
	return out
}

func text(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}
