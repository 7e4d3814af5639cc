package main

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

// refusing answers a few times.
type refusing struct {
	signerdv1.UnimplementedSignerServiceServer
	answers chan struct{}
}

// ComputeNobaSignature implements signerdv1.SignerServiceServer.
func (r refusing) ComputeNobaSignature(context.Context, *signerdv1.ComputeNobaSignatureRequest) (*signerdv1.ComputeNobaSignatureResponse, error) {
	select {
	case <-r.answers:
		return new(signerdv1.ComputeNobaSignatureResponse), nil
	default:
		return nil, status.Error(codes.ResourceExhausted, "that is enough")
	}
}

// A server that refuses is fast; its figures would look good.
func TestARefusedRequestFailsTheMeasurement(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	few := make(chan struct{}, 10)
	for range cap(few) {
		few <- struct{}{}
	}
	g := grpc.NewServer()
	signerdv1.RegisterSignerServiceServer(g, refusing{answers: few})
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	self := &target{pid: os.Getpid(), conns: map[string][]*grpc.ClientConn{overMTLS: {conn}}}

	_, err = measureLoad(t.Context(), self, nobaOperation("api-key", "secret"), overMTLS, 4, time.Millisecond)
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v, want what the server said", err)
	}
}

func TestARawOperationThatFailsFailsTheMeasurement(t *testing.T) {
	broken := errors.New("broken")
	if _, err := measureRaw(t.Context(), func() error { return broken }, 1, time.Millisecond); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
