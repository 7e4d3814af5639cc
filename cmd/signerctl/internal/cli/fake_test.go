package cli

import (
	"bytes"
	"context"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/testing/protocmp"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

// answers tells a fake signerd what to answer, by the RPC's name; without an entry an RPC answers UNIMPLEMENTED.
type answers map[string]func(ctx context.Context, req proto.Message) (proto.Message, error)

// give answers with m, always.
func give(m proto.Message) func(context.Context, proto.Message) (proto.Message, error) {
	return func(context.Context, proto.Message) (proto.Message, error) { return m, nil }
}

// refuse answers with an error as signerd makes it.
func refuse(code codes.Code, reason, message string, details ...protoadapt.MessageV1) func(context.Context, proto.Message) (proto.Message, error) {
	details = append(details, &errdetails.ErrorInfo{Domain: "signerd", Reason: reason, Metadata: map[string]string{"record_id": "rec-1"}})
	s, err := status.New(code, message).WithDetails(details...)
	if err != nil {
		panic(err)
	}
	return func(context.Context, proto.Message) (proto.Message, error) { return nil, s.Err() }
}

// fake is a signerd that answers from a table and keeps what it was asked.
type fake struct {
	address string
	answers answers
	streams streams

	mu       sync.Mutex
	requests []proto.Message
}

// serve starts a fake signerd on a Unix socket.
func serve(t *testing.T, a answers) *fake {
	t.Helper()
	return serveStreams(t, a, nil)
}

// serveStreams is serve with answers in parts.
func serveStreams(t *testing.T, a answers, s streams) *fake {
	t.Helper()
	// Not t.TempDir: the test's name would make the path too long for a socket.
	dir, err := os.MkdirTemp("", "sc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{address: "unix://" + socket, answers: a, streams: s}
	f.serveOn(t, listener)
	return f
}

func (f *fake) serveOn(t *testing.T, listener net.Listener, options ...grpc.ServerOption) {
	server := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(65<<20), grpc.UnaryInterceptor(f.answer))...)
	signerdv1.RegisterSignerServiceServer(server, signerdv1.UnimplementedSignerServiceServer{})
	adminv1.RegisterKeyServiceServer(server, adminv1.UnimplementedKeyServiceServer{})
	adminv1.RegisterPolicyServiceServer(server, fakePolicy{f: f})
	adminv1.RegisterAuditServiceServer(server, fakeAudit{f: f})
	adminv1.RegisterSystemServiceServer(server, fakeSystem{f: f})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
}

func (f *fake) answer(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	f.mu.Lock()
	f.requests = append(f.requests, req.(proto.Message))
	f.mu.Unlock()
	if answer, ok := f.answers[path.Base(info.FullMethod)]; ok {
		return answer(ctx, req.(proto.Message))
	}
	return handler(ctx, req)
}

// wantRequests compares what was asked so far.
func (f *fake) wantRequests(t *testing.T, want ...proto.Message) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if diff := cmp.Diff(want, f.requests, protocmp.Transform()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// result is what a run of signerctl came to.
type result struct {
	code           int
	stdout, stderr string
}

// run runs signerctl against f.
func (f *fake) run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	return run(t, stdin, append([]string{"--address", f.address}, args...)...)
}

// run runs signerctl with no address but those in args.
func run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	if os.Getenv(addressVariable) != "" {
		t.Setenv(addressVariable, "")
	}
	return runIn(t, stdin, args...)
}

// runIn runs signerctl in the environment as it is.
func runIn(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := Main(t.Context(), args, strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// want compares a whole run.
func (r result) want(t *testing.T, code int, stdout, stderr string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit status %d, want %d", r.code, code)
	}
	if diff := cmp.Diff(stdout, r.stdout); diff != "" {
		t.Errorf("stdout (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(stderr, r.stderr); diff != "" {
		t.Errorf("stderr (-want +got):\n%s", diff)
	}
}

// writeFile makes a file in a folder of its own and returns its path.
func writeFile(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
