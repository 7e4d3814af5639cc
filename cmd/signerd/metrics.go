package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/signerd/signerd/internal/metrics"
	"github.com/signerd/signerd/internal/tlsfiles"
	"github.com/signerd/signerd/server"
	"github.com/signerd/signerd/upstream/noon"
)

// observed is what metrics look at, as it appears while signerd starts.
type observed struct {
	server atomic.Pointer[server.Server]
	broker atomic.Pointer[noon.Broker]
	tls    atomic.Pointer[tlsfiles.Source]
}

func (o *observed) state() metrics.State {
	s := metrics.State{NotServing: make(map[string]bool), Keys: make(map[metrics.KeyLabels]int), Versions: make(map[metrics.VersionLabels]int)}
	ready := server.Readiness{Reason: server.ReasonStarting}
	if o := o.server.Load(); o != nil {
		ready = o.Readiness()
	}
	for _, reason := range server.Reasons() {
		s.NotServing[string(reason)] = reason == ready.Reason
	}
	if keys := ready.Keys(); keys != nil {
		for _, c := range keys.Counts() {
			s.Keys[metrics.KeyLabels{Scheme: c.Scheme, Environment: string(c.Environment), Enabled: strconv.FormatBool(c.Enabled)}] += c.Keys
			for state, n := range c.Versions {
				s.Versions[metrics.VersionLabels{Scheme: c.Scheme, State: string(state)}] += n
			}
		}
	}
	if broker := o.broker.Load(); broker != nil {
		for _, session := range broker.Stats() {
			s.Sessions++
			s.OldestSession = max(s.OldestSession, time.Since(session.Created))
		}
	}
	if source := o.tls.Load(); source != nil {
		s.CertificateEnds = source.NotAfter()
	}
	return s
}

// serveMetrics serves /metrics until stop is called.
func serveMetrics(address string, m *metrics.Metrics, log *slog.Logger, failed chan<- error) (stop func(), err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("metrics.address: %w", err)
	}
	s := metrics.NewServer(m, log)
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serving metrics: %w", err)
		}
	}()
	return func() { _ = s.Close() }, nil
}
