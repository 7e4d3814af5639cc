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

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/internal/metrics"
	"github.com/signerd/signerd/internal/tlsfiles"
	"github.com/signerd/signerd/server"
)

// observed is what metrics look at, as it appears while signerd starts.
type observed struct {
	server atomic.Pointer[server.Server]
	tls    atomic.Pointer[tlsfiles.Source]
	copied atomic.Pointer[audit.Copy]
}

func (o *observed) state() metrics.State {
	s := metrics.State{NotServing: make(map[string]bool), Keys: make(map[metrics.KeyLabels]int), Versions: make(map[metrics.VersionLabels]int),
		Expiring: make(map[string]int), Expired: make(map[string]int), Unused: make(map[string]int)}
	ready := server.Readiness{Reason: server.ReasonStarting}
	if o := o.server.Load(); o != nil {
		ready = o.Readiness()
		for _, session := range o.Sessions() {
			s.Sessions++
			s.OldestSession = max(s.OldestSession, time.Since(session.Created))
		}
	}
	for _, reason := range server.Reasons() {
		s.NotServing[string(reason)] = reason == ready.Reason
	}
	if keys := ready.Keys(); keys != nil {
		for _, c := range keys.Counts() {
			s.Keys[metrics.KeyLabels{Scheme: c.Scheme, Environment: string(c.Environment), Enabled: strconv.FormatBool(c.Enabled)}] += c.Keys
			s.Expiring[c.Scheme] += c.Expiring
			s.Expired[c.Scheme] += c.Expired
			s.Unused[c.Scheme] += c.Unused
			for state, n := range c.Versions {
				s.Versions[metrics.VersionLabels{Scheme: c.Scheme, State: string(state)}] += n
			}
		}
	}
	if log := ready.Log(); log != nil {
		s.Records = uint64(log.Tree().N)
	}
	s.CopyLost = o.copyLost()
	if source := o.tls.Load(); source != nil {
		s.CertificateEnds = source.NotAfter()
	}
	return s
}

// copyLost is how many records did not reach where they are copied to.
func (o *observed) copyLost() uint64 {
	if c := o.copied.Load(); c != nil {
		return c.Lost()
	}
	return 0
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
