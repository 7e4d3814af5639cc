package server_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/policy"
)

// gate holds requests that carry waitHeader in Identify, whatever becomes of their context, until it is opened.
type gate struct{ entered, open chan struct{} }

const waitHeader = "test-wait"

func newGate() gate { return gate{make(chan struct{}, 1), make(chan struct{})} }

func (g gate) identify(ctx context.Context) (policy.Caller, error) {
	if len(metadata.ValueFromIncomingContext(ctx, waitHeader)) > 0 {
		g.entered <- struct{}{}
		<-g.open
	}
	return byHeader(ctx)
}

// outcome is how a request ended.
type outcome struct {
	out *signerdv1.SignNoahRequestResponse
	err error
}

// underWay starts a request, and returns when it waits at the gate.
func (r *rig) underWay(t *testing.T, g gate) <-chan outcome {
	t.Helper()
	ended := make(chan outcome, 1)
	ctx := metadata.AppendToOutgoingContext(as(t, operator), waitHeader, "1")
	go func() {
		out, err := r.signNOAH(ctx, "a")
		ended <- outcome{out, err}
	}()
	<-g.entered
	return ended
}

func TestShutdownAnswersWhatIsUnderWayAndRefusesTheRest(t *testing.T) {
	t.Parallel()
	g := newGate()
	r := start(t, setup{identify: g.identify})
	a := r.importedNOAH(t, "a")
	second := filepath.Join(filepath.Dir(r.socket), "t")
	listener := r.listen(t, second, r.server.ServeApplications)
	watch := r.watch(t, "", serving)
	ended := r.underWay(t, g)

	down := make(chan error, 1)
	go func() { down <- r.server.Shutdown(context.Background()) }()
	wants(t, watch, notServing)
	<-listener.closed
	for _, socket := range []string{r.socket, second} {
		late := signerdv1.NewSignerServiceClient(r.connect(t, socket))
		// The first socket may close a moment after the second: a request before that is refused with the rest of its
		// connection, or answered.
		_, err := late.SignNoahRequest(as(t, operator), &signerdv1.SignNoahRequestRequest{Key: "a", Method: "GET", Path: "/v1"})
		if socket == second && status.Code(err) != codes.Unavailable {
			t.Errorf("a new request was answered with %v", err)
		}
	}
	select {
	case err := <-down:
		t.Fatalf("Shutdown returned %v with a request under way", err)
	case got := <-ended:
		t.Fatalf("the request ended with %v", got.err)
	default:
	}

	close(g.open)
	got := <-ended
	must(t, got.err)
	if err := noahPartner(t, r, a).Check(onTheWire("GET", "/v1/things", got.out.GetHeaders(), nil)); err != nil {
		t.Error(err)
	}
	must(t, <-down)
	r.record(t, got.out.GetRecordId())
	must(t, r.server.Shutdown(context.Background())) // again
}

func TestShutdownCutsOffWhatDoesNotEndInTime(t *testing.T) {
	t.Parallel()
	g := newGate()
	defer close(g.open)
	r := start(t, setup{identify: g.identify})
	ended := r.underWay(t, g)
	ctx, cancel := context.WithCancel(t.Context())
	down := make(chan error, 1)
	watch := r.watch(t, "", serving)
	go func() { down <- r.server.Shutdown(ctx) }()
	wants(t, watch, notServing)
	select {
	case err := <-down:
		t.Fatalf("Shutdown returned %v with a request under way", err)
	default:
	}
	cancel()
	if err := <-down; !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown returned %v", err)
	}
	if got := <-ended; status.Code(got.err) != codes.Unavailable || got.out != nil {
		t.Errorf("the request ended with %v", got)
	}
}

func TestAServerThatWasShutDownServesNoMore(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.healthIs(t, serving)
	must(t, r.server.Shutdown(context.Background()))
	r.server.Open(r.keys, r.audit)
	second := filepath.Join(filepath.Dir(r.socket), "t")
	<-r.listen(t, second, r.server.ServeOperators).closed
	for _, socket := range []string{r.socket, second} {
		if conn, err := net.Dial("unix", socket); err == nil {
			_ = conn.Close()
			t.Errorf("%s takes connections", socket)
		}
	}
	_, err := healthpb.NewHealthClient(r.conn).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(false))
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestARequestThatNeverArrivesDoesNotHoldUpShutdown(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	conn := r.connect(t, r.socket)
	stream, err := conn.NewStream(as(t, operator), &grpc.StreamDesc{ClientStreams: true}, signerdv1.SignerService_SignNoahRequest_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	// Another request on the same connection shows that the first one's headers are there.
	if _, err := r.signNOAH(as(t, operator), "absent"); status.Code(err) != codes.NotFound {
		t.Fatalf("got %v", err)
	}
	if err := r.server.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := stream.RecvMsg(&signerdv1.SignNoahRequestResponse{}); status.Code(err) != codes.Unavailable {
		t.Errorf("the request that never arrived got %v", err)
	}
}
