package tracing_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"

	"github.com/signerd/signerd/internal/certtest"
	"github.com/signerd/signerd/internal/tracing"
)

func TestACollectorThatIsAwayHoldsNothingUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	r := start(t, tracing.Config{Endpoint: "http://" + l.Addr().String(), SampleRatio: 1}, echo)
	const requests = 600 // more than a batch
	for range requests {
		_, err := r.say(t, "hello")
		must(t, err)
	}
	if err := r.finish(ended()); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v, want its context's error", err)
	}
	if n := r.log.lost(t); n != requests {
		t.Errorf("the log tells of %d lost spans, want %d: %v", n, requests, r.log.lines(t))
	}
	if n := len(r.log.lines(t)); n > 2 {
		t.Errorf("the log has %d lines, want one and what was left to tell", n)
	}
}

func TestACollectorThatDoesNotAnswerHoldsNothingUp(t *testing.T) {
	for name, answers := range map[string]bool{"it never does": false, "it does in the end": true} {
		t.Run(name, func(t *testing.T) {
			var once sync.Once
			asked, release := make(chan struct{}), make(chan struct{})
			c := collect(t, &collector{answer: func(ctx context.Context) (*collectorpb.ExportTraceServiceResponse, error) {
				once.Do(func() { close(asked) })
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-release:
					return new(collectorpb.ExportTraceServiceResponse), nil
				}
			}}, "127.0.0.1", nil)
			r := start(t, tracing.Config{Endpoint: c.endpoint, SampleRatio: 1}, echo)
			const requests, room = 3000, 2048
			for range requests {
				_, err := r.say(t, "hello")
				must(t, err)
			}
			<-asked
			if answers {
				close(release)
				must(t, r.finish(t.Context()))
			} else if err := r.finish(ended()); !errors.Is(err, context.Canceled) {
				t.Errorf("Shutdown: %v, want its context's error", err)
			}
			arrived, lost := len(c.spans()), r.log.lost(t)
			// The last span may end after its answer, when there is room again.
			if arrived+lost != requests || arrived > room+1 || arrived > 0 != answers {
				t.Errorf("%d spans arrived and %d are lost of %d; there is room for %d", arrived, lost, requests, room)
			}
		})
	}
}

func TestRoomIsForSpansThatWait(t *testing.T) {
	c := collect(t, new(collector), "127.0.0.1", nil)
	made, err := tracing.New(tracing.Config{Endpoint: c.endpoint, SampleRatio: 1, Services: services, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	const rounds, each = 6, 500
	for range rounds {
		for range each {
			request(t, made.Handler())
		}
		must(t, made.Flush(t.Context()))
	}
	must(t, made.Shutdown(t.Context()))
	if n := len(c.spans()); n != rounds*each {
		t.Errorf("%d spans arrived, want %d", n, rounds*each)
	}
}

func TestACollectorThatIsBusyIsAskedAgain(t *testing.T) {
	var asked int
	c := collect(t, &collector{answer: func(context.Context) (*collectorpb.ExportTraceServiceResponse, error) {
		if asked++; asked == 1 {
			return nil, status.Error(codes.Unavailable, "busy")
		}
		return new(collectorpb.ExportTraceServiceResponse), nil
	}}, "127.0.0.1", nil)
	r := start(t, tracing.Config{Endpoint: c.endpoint, SampleRatio: 1}, echo)
	_, err := r.say(t, "hello")
	must(t, err)
	must(t, r.finish(t.Context()))
	if n := len(c.spans()); n != 1 || len(r.log.lines(t)) > 0 {
		t.Errorf("%d spans arrived, want 1; the log has %v", n, r.log.lines(t))
	}
}

func TestLostSpansAreToldOfOnceAMinute(t *testing.T) {
	for name, test := range map[string]struct {
		answer *collectorpb.ExportTraceServiceResponse
		err    error
		cause  string
	}{
		"refused": {nil, status.Error(codes.PermissionDenied, "not you"), "not you"},
		"rejected": {&collectorpb.ExportTraceServiceResponse{
			PartialSuccess: &collectorpb.ExportTracePartialSuccess{RejectedSpans: 1, ErrorMessage: "not this"}}, nil, "not this"},
	} {
		t.Run(name, func(t *testing.T) {
			c := collect(t, &collector{answer: func(context.Context) (*collectorpb.ExportTraceServiceResponse, error) {
				return test.answer, test.err
			}}, "127.0.0.1", nil)
			now := &clock{now: time.Unix(1800000000, 0)}
			log := new(logBuffer)
			made, err := tracing.New(tracing.Config{Endpoint: c.endpoint, SampleRatio: 1, Services: services,
				Log: slog.New(slog.NewJSONHandler(log, nil)), Now: now.Now})
			must(t, err)
			lose := func(wantLines, wantSpans int) {
				t.Helper()
				request(t, made.Handler())
				must(t, made.Flush(t.Context()))
				if lines, spans := log.lines(t), log.lost(t); len(lines) != wantLines || spans != wantSpans {
					t.Errorf("%d spans lost in %v; want %d in %d lines", spans, lines, wantSpans, wantLines)
				}
			}
			lose(1, 1)
			lose(1, 1)
			now.advance(time.Minute - 1)
			lose(1, 1)
			now.advance(1)
			lose(2, 4)
			lose(2, 4)
			must(t, made.Shutdown(t.Context()))
			lines := log.lines(t)
			if len(lines) != 3 || log.lost(t) != 5 {
				t.Errorf("after Shutdown the log has %v", lines)
			}
			for _, line := range lines {
				if line.Level != "WARN" || !strings.Contains(line.Cause, test.cause) {
					t.Errorf("the log has %v", line)
				}
			}
		})
	}
}

// request is one as gRPC tells of it; its span has ended on return.
func request(t testing.TB, h stats.Handler) {
	ctx := h.TagRPC(t.Context(), &stats.RPCTagInfo{FullMethodName: echoMethod})
	h.HandleRPC(ctx, &stats.Begin{})
	h.HandleRPC(ctx, &stats.End{})
}

func TestACollectorBehindTLS(t *testing.T) {
	authority, other := certtest.NewAuthority(t, "collectors", time.Now()), certtest.NewAuthority(t, "other", time.Now())
	pair := authority.Issue(t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4zero} })
	creds := &handshakes{
		TransportCredentials: credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair.TLS(t)}, NextProtos: []string{"h2"}}),
		ended:                make(chan error, 100),
	}
	// A loopback address would never be looked for behind a proxy, and TestMain names a proxy.
	c := collect(t, new(collector), "0.0.0.0", creds)
	file := func(a *certtest.Authority) string {
		path := filepath.Join(t.TempDir(), "ca.pem")
		must(t, os.WriteFile(path, a.PEM(), 0o600))
		return path
	}
	for name, caFile := range map[string]string{"another authority": file(other), "the system's authorities": ""} {
		t.Run(name, func(t *testing.T) {
			r := start(t, tracing.Config{Endpoint: c.endpoint, CAFile: caFile, SampleRatio: 1}, echo)
			_, err := r.say(t, "hello")
			must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			finished := make(chan error, 1)
			go func() { finished <- r.finish(ctx) }()
			select {
			case err := <-creds.ended:
				if err == nil {
					t.Error("the handshake succeeded")
				}
				cancel()
				<-finished
			case <-finished:
				t.Fatalf("there was no handshake; the log has %v", r.log.lines(t))
			}
			if n := len(c.spans()); n > 0 {
				t.Errorf("%d spans arrived", n)
			}
		})
	}
	t.Run("its authority", func(t *testing.T) {
		r := start(t, tracing.Config{Endpoint: c.endpoint, CAFile: file(authority), SampleRatio: 1}, echo)
		_, err := r.say(t, "hello")
		must(t, err)
		must(t, r.finish(t.Context()))
		if n := len(c.spans()); n != 1 {
			t.Errorf("%d spans arrived, want 1; the log has %v", n, r.log.lines(t))
		}
	})
}

// handshakes tells how they end.
type handshakes struct {
	credentials.TransportCredentials
	ended chan error
}

// ServerHandshake implements credentials.TransportCredentials.
func (h *handshakes) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := h.TransportCredentials.ServerHandshake(raw)
	h.ended <- err
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (h *handshakes) Clone() credentials.TransportCredentials { return h }
