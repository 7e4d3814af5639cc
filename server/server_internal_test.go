package server

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/policy"
)

func TestAServerNeedsBoundsAndALog(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for name, c := range map[string]Config{"nothing": {}, "no bounds": {Log: log}, "no log": {Bounds: &policy.Bounds{}}} {
		if s, err := New(c); err == nil || s != nil {
			t.Errorf("%s: got %v, %v", name, s, err)
		}
	}
	s, err := New(Config{Bounds: &policy.Bounds{}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestWhatStreamsHasAPermission(t *testing.T) {
	s := bare(t, true)
	for path, want := range map[string]codes.Code{
		"/grpc.health.v1.Health/Watch": codes.OK, "/grpc.health.v1.Healthy/Watch": codes.Internal, "": codes.Internal,
	} {
		err := s.openStream(struct{}{}, emptyStream{ctx: t.Context()}, &grpc.StreamServerInfo{FullMethod: path}, func(any, grpc.ServerStream) error { return nil })
		if status.Code(err) != want {
			t.Errorf("%s: got %v, want %v", path, err, want)
		}
	}
}

// emptyStream is a stream of which only the context is asked.
type emptyStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s emptyStream) Context() context.Context { return s.ctx }

func TestMaterialIsWipedFromItsMessage(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		s := bare(t, allowed)
		keys := &keyService{Server: s}
		part := func() map[string][]byte { return map[string][]byte{"secret": []byte("a secret")} }
		imported := &adminv1.ImportKeyRequest{Name: "a", Scheme: "noba", Environment: adminv1.Environment_ENVIRONMENT_PROD, Material: part()}
		version := &adminv1.ImportKeyVersionRequest{Name: "a", Material: part()}
		activated := &adminv1.ActivateKeyVersionRequest{Name: "a", Version: 1, ApiKey: part()["secret"]}
		call := func(path string, in any, handler grpc.UnaryHandler) {
			if _, err := s.unary(t.Context(), in, &grpc.UnaryServerInfo{FullMethod: path}, handler); err == nil {
				t.Errorf("%s: no error without keys", path)
			}
		}
		call(adminv1.KeyService_ImportKey_FullMethodName, imported, func(ctx context.Context, in any) (any, error) {
			return keys.ImportKey(ctx, in.(*adminv1.ImportKeyRequest))
		})
		call(adminv1.KeyService_ImportKeyVersion_FullMethodName, version, func(ctx context.Context, in any) (any, error) {
			return keys.ImportKeyVersion(ctx, in.(*adminv1.ImportKeyVersionRequest))
		})
		call(adminv1.KeyService_ActivateKeyVersion_FullMethodName, activated, func(ctx context.Context, in any) (any, error) {
			return keys.ActivateKeyVersion(ctx, in.(*adminv1.ActivateKeyVersionRequest))
		})
		for _, left := range [][]byte{imported.Material["secret"], version.Material["secret"], activated.ApiKey} {
			if !bytes.Equal(left, make([]byte, len("a secret"))) {
				t.Errorf("left in memory: %q", left)
			}
		}
	}
}
