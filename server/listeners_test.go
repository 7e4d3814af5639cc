package server_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/server"
)

func TestApplicationsReachNoAdminService(t *testing.T) {
	t.Parallel()
	r := start(t, setup{applications: true})
	for _, rpc := range server.RPCs() {
		_, out := rpc.Messages()
		err := invoke(as(t, operator), r.conn, rpc, minimal(t, rpc, "a"), out)
		if rpc.Admin() {
			// The library answers: nothing of the service is there.
			if st := status.Convert(err); st.Code() != codes.Unimplemented || len(st.Details()) > 0 {
				t.Errorf("%s: %v", rpc.Path, err)
			}
			continue
		}
		r.refused(t, err, codes.NotFound, "KEY_NOT_FOUND")
	}
	for _, l := range r.lines(t) {
		if l.Operation != "SignNoahRequest" && l.Operation != "ComputeNobaSignature" && l.Operation != "GetNoonSession" {
			t.Errorf("an admin request came through: %+v", l)
		}
	}
	r.healthIs(t, serving)
}

func TestOperatorsReachEverything(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	for _, rpc := range server.RPCs() {
		r.prepare(t, rpc)
		_, out := rpc.Messages()
		who := uint32(operator)
		if !slices.Contains(server.Operations(), policy.Operation(rpc.Name())) {
			who = administrator // no rule gives it
		}
		if err := invoke(as(t, who), r.conn, rpc, minimal(t, rpc, nameOf(rpc)), out); !letIn(err) {
			t.Errorf("%s: %v", rpc.Path, err)
		}
	}
}

func TestAConnectionOverTCPIsClosedUnanswered(t *testing.T) {
	t.Parallel()
	r := start(t, setup{peers: true})
	for name, serve := range map[string]func(net.Listener) error{"applications": r.server.ServeApplications, "operators": r.server.ServeOperators} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			served := make(chan error, 1)
			go func() { served <- serve(l) }()

			conn, err := net.Dial("tcp", l.Addr().String())
			must(t, err)
			_, err = conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
			must(t, err)
			var answer bytes.Buffer
			_, _ = io.Copy(&answer, conn) // to the end, which may be a reset
			_ = conn.Close()
			if answer.Len() > 0 {
				t.Errorf("it was answered: %q", answer.String())
			}

			client, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			must(t, err)
			_, err = healthpb.NewHealthClient(client).Check(context.Background(), &healthpb.HealthCheckRequest{})
			_ = client.Close()
			if status.Code(err) != codes.Unavailable {
				t.Errorf("got %v", err)
			}
			must(t, l.Close())
			<-served
		})
	}
	if calls := r.lines(t); len(calls) > 0 {
		t.Errorf("the log has %+v", calls)
	}
}
