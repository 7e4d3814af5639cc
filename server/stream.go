package server

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// reflectionPrefixes are the services that tell of services; they are registered only where configured.
var reflectionPrefixes = []string{"/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/"}

// openStream is openCall for answers in pieces. What is about to be given away is on record before the first piece is, and
// how it ended after the last.
func (s *Server) openStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if srv == nil { // no service has this method
		return next(srv, stream)
	}
	ctx := stream.Context()
	see(ctx)
	if strings.HasPrefix(info.FullMethod, healthPrefix) {
		if err := s.admitHealth(ctx); err != nil {
			return err
		}
		return next(srv, stream)
	}
	if slices.ContainsFunc(reflectionPrefixes, func(prefix string) bool { return strings.HasPrefix(info.FullMethod, prefix) }) {
		if err := s.admitIdentified(ctx); err != nil {
			return err
		}
		return next(srv, stream)
	}
	c, admitted, err := s.admit(ctx, info.FullMethod)
	if err != nil {
		return err
	}
	defer admitted.leave()
	// A client that follows the log would otherwise keep signerd from stopping.
	ctx, cancel := context.WithCancel(context.WithValue(ctx, callKey{}, c))
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	_, err = s.serveCall(ctx, c, func(ctx context.Context) (any, error) {
		return nil, next(srv, &pieces{stream, ctx, s, c})
	})
	if s.stopping.Err() != nil && status.FromContextError(err).Code() == codes.Canceled {
		err = errStopping
	}
	err = s.conclude(stream.Context(), c, err)
	admitted.refused = err != nil && !c.unrecorded
	return err
}

// pieces is a stream that takes only valid requests, and gives nothing that no decision allows.
type pieces struct {
	grpc.ServerStream
	ctx    context.Context
	server *Server
	call   *call
}

// Context implements grpc.ServerStream.
func (p *pieces) Context() context.Context { return p.ctx }

// RecvMsg implements grpc.ServerStream.
func (p *pieces) RecvMsg(m any) error {
	if err := p.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return p.server.valid(m)
}

// SendMsg implements grpc.ServerStream.
func (p *pieces) SendMsg(m any) error {
	if !p.call.allowed {
		return errUndecided
	}
	return p.ServerStream.SendMsg(m)
}

// unknownMethod answers as the library would, which counts as its refusal.
func (s *Server) unknownMethod(any, grpc.ServerStream) error {
	return status.Error(codes.Unimplemented, "unknown service or method")
}
