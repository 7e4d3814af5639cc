package server

import (
	"context"
	"errors"

	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/keystore"
)

// Reason says why nothing is served, in one word for metrics and logs.
type Reason string

// The reasons; the empty Reason says that a request would be served now.
const (
	ReasonStarting Reason = "starting" // the keys are not loaded yet
	ReasonRootKey  Reason = "root-key" // whoever has the root key cannot be asked yet
	ReasonStore    Reason = "store"    // the store can no longer be vouched for
	ReasonAudit    Reason = "audit"    // nothing can be recorded
	ReasonFrozen   Reason = "frozen"   // an operator has stopped all signing
	ReasonStopping Reason = "stopping" // Shutdown has begun
)

// Reasons are all that there are.
func Reasons() []Reason {
	return []Reason{ReasonStarting, ReasonRootKey, ReasonStore, ReasonAudit, ReasonFrozen, ReasonStopping}
}

// Readiness is whether signerd serves at one moment. It is immutable.
type Readiness struct {
	// Reason is empty while signerd serves.
	Reason Reason
	// Text says it for people; empty while signerd serves. It holds no key's name.
	Text string

	keys *keystore.Keystore // what requests that are let in work with; nil if none is
	log  *audit.Log         // where they are recorded; nil while there are no keys
}

// Readiness says whether signerd serves now.
func (s *Server) Readiness() Readiness { return *s.ready.Load() }

// Keys are the keys that are served now, nil if none are.
func (r Readiness) Keys() *keystore.Keystore { return r.keys }

// Log is where calls are recorded, nil before there are keys.
func (r Readiness) Log() *audit.Log { return r.log }

// Open starts serving the keys of an open keystore, and recording calls in a log.
func (s *Server) Open(keys *keystore.Keystore, log *audit.Log) {
	s.become(func(r *Readiness) {
		r.keys, r.log, r.Reason, r.Text = keys, log, "", ""
		r.say(log.Err(), s.held.Load() != nil)
	})
	if err := keys.UsageFault(); err != nil {
		s.log.Warn("when keys were last used was lost", "cause", err.Error())
	}
	// What happened before it is told from now on must not be missed.
	keys.OnFreeze(s.freezeMoved)
	keys.OnFault(s.CloseKeys)
	s.freezeMoved()
	select {
	case s.opened <- struct{}{}:
	default: // it is told already
	}
}

// RootKeyAway says, before Open, that the keys cannot be loaded yet because whoever has the root key cannot be asked, and why.
func (s *Server) RootKeyAway(err error) {
	s.become(func(r *Readiness) {
		if r.keys == nil {
			r.Reason, r.Text = ReasonRootKey, err.Error()
		}
	})
}

// AuditChanged says that nothing can be recorded any more, and why, or with nil that records can be written again.
func (s *Server) AuditChanged(err error) {
	s.become(func(r *Readiness) {
		if r.keys != nil {
			r.say(err, s.held.Load() != nil)
		}
	})
}

// say takes what the log says of itself, and whether signing is stopped, by the store or in this process alone (held): what an operator
// ends with a word comes second.
func (r *Readiness) say(fault error, held bool) {
	r.Reason, r.Text = "", ""
	switch {
	case fault != nil:
		r.Reason, r.Text = ReasonAudit, fault.Error()
	case r.keys.View().Freeze().Frozen:
		r.Reason, r.Text = ReasonFrozen, errFrozen.Error()+" by an operator"
	case held:
		r.Reason, r.Text = ReasonFrozen, errFrozen.Error()+" by an operator; that could not be stored, and a restart ends it"
	}
}

// CloseKeys stops serving keys, when the keystore can no longer be vouched for, and says why. The log gets all of err.
func (s *Server) CloseKeys(err error) {
	text := "the store can no longer be vouched for"
	for _, known := range []error{keystore.ErrRolledBack, keystore.ErrDamaged, keystore.ErrAnchor, keystore.ErrWrongRootKey, keystore.ErrRootKeyUnavailable, keystore.ErrUnavailable} {
		if errors.Is(err, known) {
			text = known.Error()
			break
		}
	}
	s.log.Error("the store can no longer be vouched for", "cause", err.Error())
	s.become(func(r *Readiness) { r.keys, r.Reason, r.Text = nil, ReasonStore, text })
}

// become is the one place where health changes. Once stopping, nothing else is believed.
func (s *Server) become(change func(*Readiness)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	before := *s.ready.Load()
	r := before
	change(&r)
	s.ready.Store(&r)
	if r.Reason != before.Reason || r.Text != before.Text {
		s.tellHealth(r)
	}
}

func (s *Server) tellHealth(r Readiness) {
	status := healthpb.HealthCheckResponse_SERVING
	if r.Reason != "" {
		status = healthpb.HealthCheckResponse_NOT_SERVING
	}
	s.health.SetServingStatus("", status)
	for _, d := range services {
		s.health.SetServingStatus(d.ServiceName, status)
	}
	s.log.Info("health", "status", status.String(), "reason", string(r.Reason), "text", r.Text)
}

// loaded is the open keystore, or errNotReady.
func (s *Server) loaded() (*keystore.Keystore, error) {
	if keys := s.ready.Load().keys; keys != nil {
		return keys, nil
	}
	return nil, errNotReady
}

// healthService ends its watches when Shutdown begins, which would otherwise wait for clients to end them.
type healthService struct {
	*health.Server
	stopping context.Context
}

// Watch implements healthpb.HealthServer.
func (h healthService) Watch(in *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(h.stopping, cancel)()
	err := h.Server.Watch(in, watchStream{stream, ctx})
	if h.stopping.Err() == nil {
		return err
	}
	// The watch may have ended before it passed on the last word.
	_ = stream.Send(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING})
	return nil
}

// watchStream is a stream with a context of its own.
type watchStream struct {
	healthpb.Health_WatchServer
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (w watchStream) Context() context.Context { return w.ctx }
