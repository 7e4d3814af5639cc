package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/tracing"
	"github.com/signerd/signerd/internal/version"
	"github.com/signerd/signerd/server"
)

// tracingPatience bounds the sending of the last spans.
const tracingPatience = 3 * time.Second

// startTracing sends spans to the collector that is configured; traces is nil if none is.
func startTracing(c config.Tracing, log *slog.Logger) (traces *server.Traces, stop func(), err error) {
	if c.Endpoint == "" {
		return nil, func() {}, nil
	}
	t, err := tracing.New(tracing.Config{
		Endpoint: c.Endpoint, CAFile: c.CAFile, SampleRatio: c.SampleRatio, Services: server.Services(), Version: version.Version, Log: log,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("tracing: %w", err)
	}
	return &server.Traces{Handler: t.Handler(), Annotate: tracing.Annotate}, func() {
		ctx, cancel := context.WithTimeout(context.Background(), tracingPatience)
		defer cancel()
		if err := t.Shutdown(ctx); err != nil {
			log.Warn("the last spans were not sent", "cause", err.Error())
		}
	}, nil
}
