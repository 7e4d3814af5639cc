package tracing_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/signerd/signerd/internal/tracing"
)

func values(attributes []*commonpb.KeyValue) map[string]any {
	out := make(map[string]any)
	for _, a := range attributes {
		if s, ok := a.GetValue().GetValue().(*commonpb.AnyValue_StringValue); ok {
			out[a.GetKey()] = s.StringValue
		} else {
			out[a.GetKey()] = a.GetValue().GetIntValue()
		}
	}
	return out
}

func TestASpanSaysWhatWasAskedAndHowItEnded(t *testing.T) {
	for name, test := range map[string]struct {
		do     answer
		want   map[string]any
		status tracepb.Status_StatusCode
	}{
		"served": {
			func(ctx context.Context, in *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
				tracing.Annotate(ctx, "record-1", "noah", "")
				return in, nil
			},
			map[string]any{"rpc.response.status_code": "OK", "signerd.record_id": "record-1", "signerd.scheme": "noah"},
			tracepb.Status_STATUS_CODE_UNSET,
		},
		"refused": {
			func(ctx context.Context, _ *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
				tracing.Annotate(ctx, "record-2", "", "DENIED")
				return nil, status.Error(codes.PermissionDenied, "denied")
			},
			map[string]any{"rpc.response.status_code": "PERMISSION_DENIED", "signerd.record_id": "record-2", "signerd.reason": "DENIED"},
			tracepb.Status_STATUS_CODE_UNSET,
		},
		"signerd's trouble": {
			func(context.Context, *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
				return nil, status.Error(codes.Internal, "internal")
			},
			map[string]any{"rpc.response.status_code": "INTERNAL"},
			tracepb.Status_STATUS_CODE_ERROR,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := collect(t, new(collector), "127.0.0.1", nil)
			r := start(t, tracing.Config{Endpoint: c.endpoint, SampleRatio: 1, Version: "v1.2.3"}, test.do)
			_, _ = r.say(t, "hello")
			must(t, r.finish(t.Context()))
			spans := c.spans()
			if len(spans) != 1 {
				t.Fatalf("%d spans arrived, want 1", len(spans))
			}
			s := spans[0]
			test.want["rpc.system.name"], test.want["rpc.method"] = "grpc", echoService+"/Echo"
			test.want["server.address"] = r.socket
			if diff := cmp.Diff(test.want, values(s.GetAttributes())); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
			if s.GetName() != echoService+"/Echo" || s.GetKind() != tracepb.Span_SPAN_KIND_SERVER {
				t.Errorf("the span is %v %q", s.GetKind(), s.GetName())
			}
			if s.GetStatus().GetCode() != test.status || s.GetStatus().GetMessage() != "" {
				t.Errorf("status %v, want %v without a message", s.GetStatus(), test.status)
			}
			if s.GetStartTimeUnixNano() == 0 || s.GetEndTimeUnixNano() < s.GetStartTimeUnixNano() {
				t.Errorf("the span lasts from %d to %d", s.GetStartTimeUnixNano(), s.GetEndTimeUnixNano())
			}
			resource := values(c.requests[0].GetResourceSpans()[0].GetResource().GetAttributes())
			if diff := cmp.Diff(map[string]any{"service.name": "signerd", "service.version": "v1.2.3"}, resource); diff != "" {
				t.Errorf("resource (-want +got):\n%s", diff)
			}
			if lines := r.log.lines(t); len(lines) > 0 {
				t.Errorf("the log has %v", lines)
			}
		})
	}
}

func TestTheCallersTraceDecides(t *testing.T) {
	const traceID, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for _, test := range []struct {
		ratio       float64
		traceparent string
		spans       int
		continued   bool
	}{
		{ratio: 0},
		{ratio: 1, spans: 1},
		{0, "00-" + traceID + "-" + parent + "-01", 1, true},
		{1, "00-" + traceID + "-" + parent + "-01", 1, true},
		{0, "00-" + traceID + "-" + parent + "-00", 0, false},
		{1, "00-" + traceID + "-" + parent + "-00", 0, false},
		{1, "00-" + strings.Repeat("0", 32) + "-" + parent + "-01", 1, false},
		{0, "nonsense", 0, false},
		{1, "nonsense", 1, false},
	} {
		t.Run(fmt.Sprintf("%v %s", test.ratio, test.traceparent), func(t *testing.T) {
			c := collect(t, new(collector), "127.0.0.1", nil)
			r := start(t, tracing.Config{Endpoint: c.endpoint, SampleRatio: test.ratio}, echo)
			var meta []string
			if test.traceparent != "" {
				meta = []string{"traceparent", test.traceparent}
			}
			_, err := r.say(t, "hello", meta...)
			must(t, err)
			must(t, r.finish(t.Context()))
			spans := c.spans()
			if len(spans) != test.spans {
				t.Fatalf("%d spans arrived, want %d", len(spans), test.spans)
			}
			for _, s := range spans {
				continued := hex.EncodeToString(s.GetTraceId()) == traceID && hex.EncodeToString(s.GetParentSpanId()) == parent
				if continued != test.continued || !continued && len(s.GetParentSpanId()) > 0 {
					t.Errorf("the span is of trace %x below %x", s.GetTraceId(), s.GetParentSpanId())
				}
			}
		})
	}
}

func TestOnlyMethodsOfTheServicesGetSpans(t *testing.T) {
	c := collect(t, new(collector), "127.0.0.1", nil)
	r := start(t, tracing.Config{Endpoint: c.endpoint, SampleRatio: 1}, echo)
	_, err := healthpb.NewHealthClient(r.conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	must(t, err)
	for _, method := range []string{"/" + echoService + "/MadeUp", "/made.up/Echo", echoMethod + "/", "/" + echoService + "/"} {
		err := r.conn.Invoke(t.Context(), method, wrapperspb.String(""), new(wrapperspb.StringValue))
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", method, err)
		}
	}
	must(t, r.finish(t.Context()))
	if spans := c.spans(); len(spans) > 0 {
		t.Errorf("spans arrived: %v", spans)
	}
}

func TestNothingThatWasSaidLeaves(t *testing.T) {
	const canary = "c4n4ryc4n4ryc4n4ry"
	c := collect(t, new(collector), "127.0.0.1", nil)
	do := func(ctx context.Context, in *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
		tracing.Annotate(ctx, "record", "noah", "")
		_ = grpc.SetHeader(ctx, metadata.Pairs("x-header", canary))
		_ = grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", canary))
		code := codes.Code(len(in.GetValue()) - len(canary))
		if code == codes.OK {
			return wrapperspb.String(canary), nil
		}
		st, err := status.New(code, canary).WithDetails(&errdetails.ErrorInfo{Reason: canary})
		if err != nil {
			return nil, err
		}
		return nil, st.Err()
	}
	r := start(t, tracing.Config{Endpoint: c.endpoint, SampleRatio: 1}, do, grpc.WithUserAgent(canary), grpc.WithAuthority(canary))
	const requests = int(codes.Unauthenticated) + 2 // every code, and one that is none
	for i := range requests {
		_, err := r.say(t, canary+strings.Repeat("x", i), "authorization", "Bearer "+canary, "x-"+canary, "1", "x-bytes-bin", canary,
			"baggage", "k="+canary, "tracestate", "k="+canary, "grpc-trace-bin", canary,
			"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		if got := status.Code(err); int(got) != i {
			t.Fatalf("code %v, want %d", got, i)
		}
	}
	for _, method := range []string{"/" + echoService + "/" + canary, "/" + canary + "/Echo"} {
		_ = r.conn.Invoke(t.Context(), method, wrapperspb.String(canary), new(wrapperspb.StringValue))
	}
	must(t, r.finish(t.Context()))
	if spans := c.spans(); len(spans) != requests {
		t.Errorf("%d spans arrived, want %d", len(spans), requests)
	}
	for _, needle := range []string{canary, hex.EncodeToString([]byte(canary)), base64.RawStdEncoding.EncodeToString([]byte(canary))[:20]} {
		if strings.Contains(strings.ToLower(c.raw.String()), strings.ToLower(needle)) {
			t.Errorf("%s left", needle)
		}
	}
}

func TestAnnotateWithoutASpanDoesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { tracing.Annotate(t.Context(), "record", "noah", "DENIED") }); n > 0 {
		t.Errorf("it allocates %v times", n)
	}
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(noPEM, []byte("nothing"), 0o600))
	good := tracing.Config{Endpoint: "https://collector.example:4317", SampleRatio: .5, Services: services, Log: slog.New(slog.DiscardHandler)}
	const wantedEndpoint = "endpoint: wanted https://HOST:PORT"
	for name, test := range map[string]struct {
		edit func(*tracing.Config)
		want string
	}{
		"no log":              {func(c *tracing.Config) { c.Log = nil }, "needs a log"},
		"no services":         {func(c *tracing.Config) { c.Services = nil }, "the services"},
		"ratio below 0":       {func(c *tracing.Config) { c.SampleRatio = -.1 }, "sample ratio -0.1: wanted a number from 0 to 1"},
		"ratio above 1":       {func(c *tracing.Config) { c.SampleRatio = 1.1 }, "sample ratio 1.1"},
		"ratio not a number":  {func(c *tracing.Config) { c.SampleRatio = math.NaN() }, "sample ratio NaN"},
		"no endpoint":         {func(c *tracing.Config) { c.Endpoint = "" }, wantedEndpoint},
		"no scheme":           {func(c *tracing.Config) { c.Endpoint = "collector.example:4317" }, wantedEndpoint},
		"no port":             {func(c *tracing.Config) { c.Endpoint = "https://collector.example" }, wantedEndpoint},
		"port 0":              {func(c *tracing.Config) { c.Endpoint = "https://collector.example:0" }, wantedEndpoint},
		"port too large":      {func(c *tracing.Config) { c.Endpoint = "https://collector.example:65536" }, wantedEndpoint},
		"no host":             {func(c *tracing.Config) { c.Endpoint = "https://:4317" }, wantedEndpoint},
		"path":                {func(c *tracing.Config) { c.Endpoint = "https://collector.example:4317/v1/traces" }, wantedEndpoint},
		"query":               {func(c *tracing.Config) { c.Endpoint = "https://collector.example:4317/?a=b" }, wantedEndpoint},
		"fragment":            {func(c *tracing.Config) { c.Endpoint = "https://collector.example:4317/#" }, wantedEndpoint},
		"password":            {func(c *tracing.Config) { c.Endpoint = "https://user:word@collector.example:4317" }, wantedEndpoint},
		"bad password":        {func(c *tracing.Config) { c.Endpoint = "https://user:wo%zzrd@collector.example:4317" }, wantedEndpoint},
		"other scheme":        {func(c *tracing.Config) { c.Endpoint = "unix:///run/collector" }, wantedEndpoint},
		"space":               {func(c *tracing.Config) { c.Endpoint = "https://collector.example:4317 " }, wantedEndpoint},
		"escaped host":        {func(c *tracing.Config) { c.Endpoint = "https://collector%2fexample:4317" }, wantedEndpoint},
		"plain":               {func(c *tracing.Config) { c.Endpoint = "http://192.0.2.1:4317" }, "plain http is for literal loopback"},
		"plain to a name":     {func(c *tracing.Config) { c.Endpoint = "http://localhost:4317" }, "plain http is for literal loopback"},
		"CA file of nothing":  {func(c *tracing.Config) { c.CAFile = noPEM }, "holds no certificate"},
		"CA file not there":   {func(c *tracing.Config) { c.CAFile = noPEM + "x" }, "CA file: open "},
		"CA file without TLS": {func(c *tracing.Config) { c.Endpoint, c.CAFile = "http://127.0.0.1:1", noPEM }, "for https endpoints only"},
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			test.edit(&c)
			_, err := tracing.New(c)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "word") {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	for _, endpoint := range []string{"https://collector.example:4317", "https://collector.example:4317/", "http://127.0.0.1:4317",
		"http://[::1]:4317", "https://[2001:db8::1]:1"} {
		must(t, tracing.CheckEndpoint(endpoint))
		c := good
		c.Endpoint = endpoint
		made, err := tracing.New(c)
		must(t, err)
		must(t, made.Shutdown(t.Context()))
		must(t, made.Shutdown(t.Context()))
	}
}
