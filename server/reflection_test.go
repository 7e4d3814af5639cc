package server_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
)

// listServices asks a server what it offers.
func (r *rig) listServices(ctx context.Context) ([]string, error) {
	stream, err := reflectionpb.NewServerReflectionClient(r.conn).ServerReflectionInfo(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	} // EOF: the server has refused already, and Recv says how
	answer, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range answer.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	return names, stream.CloseSend()
}

func TestReflectionIsOffUnlessConfigured(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	if names, err := r.listServices(as(t, operator)); status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v and %v", names, err)
	}
}

func TestReflectionTellsWhoHasAnIdentityWhatTheListenerOffers(t *testing.T) {
	t.Parallel()
	const admin, signer = "signerd.admin.v1.KeyService", "signerd.v1.SignerService"
	for _, tt := range []struct {
		name         string
		applications bool
		admin        bool
	}{{"operators", false, true}, {"applications", true, false}} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, setup{reflection: true, applications: tt.applications})
			names, err := r.listServices(as(t, stranger))
			must(t, err)
			if !slices.Contains(names, signer) || slices.Contains(names, admin) != tt.admin {
				t.Errorf("it names %v", names)
			}
			if names, err := r.listServices(t.Context()); status.Code(err) != codes.Unauthenticated {
				t.Errorf("nobody in particular got %v and %v", names, err)
			}
		})
	}
}
