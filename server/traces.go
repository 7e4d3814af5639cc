package server

import (
	"context"

	"google.golang.org/grpc/stats"
)

// Traces makes a span of each request, and is told what signerd knows of it. Neither may block.
type Traces struct {
	// Handler sees each request of a gRPC server.
	Handler stats.Handler
	// Annotate tells of an answered request: the id of its record, the scheme of its key where one was authorized, and why it
	// was refused, empty if it was not. None of it is a caller's choice.
	Annotate func(ctx context.Context, recordID, scheme, reason string)
}
