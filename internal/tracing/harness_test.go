package tracing_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/signerd/signerd/internal/tracing"
)

// Nothing answers at the proxy that the environment names, for all tests: it is read once in the life of a process.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
		if err := os.Setenv(name, "http://127.0.0.1:1"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

const (
	echoService = "signerd.test.v1.EchoService"
	echoMethod  = "/" + echoService + "/Echo"
)

type answer func(context.Context, *wrapperspb.StringValue) (*wrapperspb.StringValue, error)

func echo(_ context.Context, in *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	return in, nil
}

// services has one service with one method, which a rig answers with its answer.
var services = []grpc.ServiceDesc{{
	ServiceName: echoService, HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Echo",
		Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.StringValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			return srv.(answer)(ctx, in)
		},
	}},
}}

// rig is a traced server on a Unix socket and a connection to it.
type rig struct {
	conn    *grpc.ClientConn
	server  *grpc.Server
	tracing *tracing.Tracing // nil where New was given no endpoint
	log     *logBuffer
	socket  string
}

// start serves until the test ends; with an empty endpoint, without tracing.
func start(t testing.TB, c tracing.Config, do answer, dial ...grpc.DialOption) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "tr") // t.TempDir can be too long for a socket
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &rig{log: new(logBuffer), socket: filepath.Join(dir, "s")}
	var handler stats.Handler
	if c.Endpoint != "" {
		c.Services, c.Log = services, slog.New(slog.NewJSONHandler(r.log, nil))
		r.tracing, err = tracing.New(c)
		must(t, err)
		t.Cleanup(func() { _ = r.tracing.Shutdown(ended()) })
		handler = r.tracing.Handler()
	}
	r.server = serve(t, r.socket, do, handler)
	dial = append(dial, grpc.WithTransportCredentials(insecure.NewCredentials()))
	r.conn, err = grpc.NewClient("unix:"+r.socket, dial...)
	must(t, err)
	t.Cleanup(func() { _ = r.conn.Close() })
	return r
}

func serve(t testing.TB, socket string, do answer, handler stats.Handler) *grpc.Server {
	t.Helper()
	var options []grpc.ServerOption
	if handler != nil {
		options = append(options, grpc.StatsHandler(handler))
	}
	g := grpc.NewServer(options...)
	g.RegisterService(&services[0], do)
	healthpb.RegisterHealthServer(g, health.NewServer())
	l, err := net.Listen("unix", socket)
	must(t, err)
	listen(t, g, l)
	return g
}

func listen(t testing.TB, g *grpc.Server, l net.Listener) {
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serving: %v", err)
		}
	})
}

// say makes a request, with metadata as pairs of name and value.
func (r *rig) say(t testing.TB, what string, meta ...string) (string, error) {
	t.Helper()
	out := new(wrapperspb.StringValue)
	ctx := metadata.AppendToOutgoingContext(t.Context(), meta...)
	err := r.conn.Invoke(ctx, echoMethod, wrapperspb.String(what), out)
	return out.GetValue(), err
}

// finish ends the server, so that all spans have ended, and then the tracing.
func (r *rig) finish(ctx context.Context) error {
	r.server.GracefulStop()
	return r.tracing.Shutdown(ctx)
}

// collector is where spans go. The zero value takes all.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	endpoint string
	// answer is given before anything is kept; optional.
	answer func(context.Context) (*collectorpb.ExportTraceServiceResponse, error)
	// forgets is true where nothing is to be kept.
	forgets bool

	mu       sync.Mutex
	requests []*collectorpb.ExportTraceServiceRequest
	raw      bytes.Buffer // all that ever came, metadata included
}

// collect serves c, with plain gRPC where creds is nil.
func collect(t testing.TB, c *collector, host string, creds credentials.TransportCredentials) *collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	c.endpoint = "https://" + net.JoinHostPort(host, port)
	if creds == nil {
		c.endpoint, creds = "http://"+net.JoinHostPort(host, port), insecure.NewCredentials()
	}
	g := grpc.NewServer(grpc.Creds(creds))
	collectorpb.RegisterTraceServiceServer(g, c)
	listen(t, g, l)
	return c
}

// Export implements collectorpb.TraceServiceServer.
func (c *collector) Export(ctx context.Context, in *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	out := new(collectorpb.ExportTraceServiceResponse)
	if c.answer != nil {
		var err error
		if out, err = c.answer(ctx); err != nil {
			return nil, err
		}
	}
	if c.forgets {
		return out, nil
	}
	bytes, err := proto.Marshal(in)
	if err != nil {
		return nil, err
	}
	meta, _ := metadata.FromIncomingContext(ctx)
	text, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, in)
	c.raw.Write(bytes)
	c.raw.Write(text)
	return out, nil
}

// spans are those that came.
func (c *collector) spans() []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*tracepb.Span
	for _, request := range c.requests {
		for _, r := range request.GetResourceSpans() {
			for _, s := range r.GetScopeSpans() {
				out = append(out, s.GetSpans()...)
			}
		}
	}
	return out
}

// logBuffer keeps a JSON log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

type logLine struct {
	Level, Msg, Cause string
	Spans             int
}

func (b *logBuffer) lines(t testing.TB) []logLine {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []logLine
	for dec := json.NewDecoder(bytes.NewReader(b.text.Bytes())); dec.More(); {
		var line logLine
		must(t, dec.Decode(&line))
		out = append(out, line)
	}
	return out
}

// lost is the number of spans that the log says are lost.
func (b *logBuffer) lost(t testing.TB) int {
	t.Helper()
	n := 0
	for _, line := range b.lines(t) {
		n += line.Spans
	}
	return n
}

// ended is a context that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// clock goes on when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is its time.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
