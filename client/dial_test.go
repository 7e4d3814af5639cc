package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/signerd/signerd/client"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/internal/certtest"
)

// stub is a signerd that answers as its function says.
type stub struct {
	signerdv1.UnimplementedSignerServiceServer
	calls  atomic.Int32
	answer func(ctx context.Context, call int) error
}

func (s *stub) GetNoonSession(ctx context.Context, _ *signerdv1.GetNoonSessionRequest) (*signerdv1.GetNoonSessionResponse, error) {
	if err := s.answer(ctx, int(s.calls.Add(1))); err != nil {
		return nil, err
	}
	return &signerdv1.GetNoonSessionResponse{SessionId: "one"}, nil
}

// serve serves a stub, and gives where.
func serve(t *testing.T, network, address string, creds credentials.TransportCredentials, s *stub) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(creds))
	signerdv1.RegisterSignerServiceServer(server, s)
	done := make(chan error)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// session calls a stub behind Dial.
func session(t *testing.T, ctx context.Context, target string, opts ...client.Option) error {
	t.Helper()
	conn, err := client.Dial(target, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = signerdv1.NewSignerServiceClient(conn).GetNoonSession(ctx, &signerdv1.GetNoonSessionRequest{Key: "a"})
	return err
}

func unavailable(details ...protoadapt.MessageV1) error {
	st, err := status.New(codes.Unavailable, "not now").WithDetails(details...)
	if err != nil {
		return err
	}
	return st.Err()
}

func TestOnlyWhatMayPassSoonIsCalledAgain(t *testing.T) {
	reason := func(s string) *errdetails.ErrorInfo { return &errdetails.ErrorInfo{Domain: "signerd", Reason: s} }
	for _, tt := range []struct {
		name  string
		fails int // how many calls fail
		err   error
		calls int32
		code  codes.Code
	}{
		{"a signerd that restarts", 2, unavailable(), 3, codes.OK},
		{"a store that cannot be written for a moment", 1, unavailable(reason("STORE_UNAVAILABLE")), 2, codes.OK},
		{"one that does not come back", 9, unavailable(), 3, codes.Unavailable},
		{"a freeze", 9, unavailable(reason("FROZEN")), 1, codes.Unavailable},
		{"a partner that will be back soon", 1, unavailable(reason("UPSTREAM_UNAVAILABLE"), &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Millisecond)}), 2, codes.OK},
		{"a partner that will be away for long", 9, unavailable(reason("UPSTREAM_UNAVAILABLE"), &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Minute)}), 1, codes.Unavailable},
		{"a refusal", 9, status.Error(codes.PermissionDenied, "no"), 1, codes.PermissionDenied},
		{"a limit", 9, status.Error(codes.ResourceExhausted, "no"), 1, codes.ResourceExhausted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &stub{answer: func(_ context.Context, call int) error {
				if call <= tt.fails {
					return tt.err
				}
				return nil
			}}
			address := serve(t, "unix", filepath.Join(t.TempDir(), "s"), insecure.NewCredentials(), s)
			if err := session(t, t.Context(), "unix://"+address); status.Code(err) != tt.code || s.calls.Load() != tt.calls {
				t.Errorf("%d calls ended with %v; want %d and %v", s.calls.Load(), err, tt.calls, tt.code)
			}
		})
	}
}

func TestACallHasADeadline(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []client.Option
		own  time.Duration
		most time.Duration
	}{
		{"by default", nil, 0, client.DefaultTimeout},
		{"as given", []client.Option{client.WithTimeout(time.Hour)}, 0, time.Hour},
		{"its caller's", nil, 2 * time.Hour, 2 * time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var left time.Duration
			s := &stub{answer: func(ctx context.Context, _ int) error {
				if deadline, ok := ctx.Deadline(); ok {
					left = time.Until(deadline)
				}
				return nil
			}}
			ctx := t.Context()
			if tt.own > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.own)
				defer cancel()
			}
			address := serve(t, "unix", filepath.Join(t.TempDir(), "s"), insecure.NewCredentials(), s)
			if err := session(t, ctx, "unix://"+address, tt.opts...); err != nil {
				t.Fatal(err)
			}
			if left <= tt.most/2 || left > tt.most {
				t.Errorf("%v were left, want %v", left, tt.most)
			}
		})
	}
}

func TestWithoutSignerdACallSaysSoAndDoesNotWait(t *testing.T) {
	err := session(t, t.Context(), "unix://"+filepath.Join(t.TempDir(), "s"), client.WithTimeout(time.Hour))
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestTLSIsMutual(t *testing.T) {
	dir := t.TempDir()
	clients, servers := certtest.NewAuthority(t, "clients", time.Now()), certtest.NewAuthority(t, "servers", time.Now())
	own := servers.Issue(t, func(c *x509.Certificate) {
		c.IPAddresses, c.DNSNames = []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"localhost"}
	})
	caller := clients.Client(t, "spiffe://client.test/a")
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, content := range map[string][]byte{"ca": servers.PEM(), "other-ca": clients.PEM(), "cert": caller.Certificate, "key": caller.KeyPEM, "empty": nil} {
		if err := os.WriteFile(path(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(own.Certificate, own.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(clients.PEM())
	s := &stub{answer: func(context.Context, int) error { return nil }}
	address := serve(t, "tcp", "127.0.0.1:0", credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted, MinVersion: tls.VersionTLS13}), s)
	if err := session(t, t.Context(), address, client.WithTLSFiles(path("ca"), path("cert"), path("key"))); err != nil {
		t.Error(err)
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	if err := session(t, t.Context(), "localhost:"+port, client.WithTLSFiles(path("ca"), path("cert"), path("key"))); err != nil {
		t.Error(err)
	}
	if err := session(t, t.Context(), address, client.WithTLSFiles(path("other-ca"), path("cert"), path("key"))); status.Code(err) != codes.Unavailable {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
	for _, tt := range []struct {
		name, target string
		opts         []client.Option
		want         string
	}{
		{"no files", address, nil, "mutual TLS"},
		{"a file too few", address, []client.Option{client.WithTLSFiles(path("ca"), "", "")}, "mutual TLS"},
		{"a file that is not there", address, []client.Option{client.WithTLSFiles(path("nothing"), path("cert"), path("key"))}, "no such file"},
		{"no authority in the file", address, []client.Option{client.WithTLSFiles(path("empty"), path("cert"), path("key"))}, "no certificate"},
		{"certificate and key exchanged", address, []client.Option{client.WithTLSFiles(path("ca"), path("key"), path("cert"))}, "loading"},
		{"TLS over a Unix socket", "unix:///s", []client.Option{client.WithTLSFiles(path("ca"), path("cert"), path("key"))}, "not with a Unix socket"},
		{"no port", "localhost", nil, "host:port"},
		{"a URL", "https://localhost:1", nil, "host:port"},
		{"nothing", "", nil, "host:port"},
		{"a socket without its path", "unix:", nil, "unix:///"},
		{"a socket whose path is not absolute", "unix://s", nil, "unix:///"},
		{"no time at all", "unix:///s", []client.Option{client.WithTimeout(0)}, "timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := client.Dial(tt.target, tt.opts...)
			if err == nil {
				_ = conn.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
