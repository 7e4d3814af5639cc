// Package server is signerd's gRPC face: the services, who calls, the order of checks, and the one table that turns
// errors into statuses.
//
// It is for cmd/signerd, which gives it a policy, a keystore and listeners. It turns messages into the types of the
// packages below and back; it never touches storage, and never signs but through an authorized credential.
//
// A request passes: recovery → caller identity → what one caller may burden signerd with (admission) → record opened (openCall) →
// request validation → handler: request parsed → key lookup and policy decision (authorize) → credential redeemed against the
// permit → signed → record durable (conclude).
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"buf.build/go/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/internal/tlsfiles"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/limit"
	"github.com/signerd/signerd/upstream/noon"
)

// Limits bound what a connection may ask for before anything is read.
type Limits struct {
	// MaxMessageBytes bounds a request message. Default: 4 MiB.
	MaxMessageBytes int
	// MaxConcurrentStreams bounds the requests under way on one connection. Default: 256.
	MaxConcurrentStreams uint32
	// MaxConcurrentCalls bounds the calls that one caller has under way, on all its connections. Default: 1024.
	MaxConcurrentCalls int
	// MaxRefusals is how many calls of one caller may be refused at once, each with a record of its own, RefusalsPerSecond how
	// many more each second. The caller's calls beyond are refused unread, and counted in one record a minute. Defaults: 1000, 50.
	MaxRefusals       int
	RefusalsPerSecond float64
}

// Defaults of Limits, and of what is not configurable.
const (
	DefaultMaxMessageBytes      = 4 << 20
	DefaultMaxConcurrentStreams = 256

	maxHeaderListBytes = 16 << 10
	handshakeTimeout   = 10 * time.Second
	keepaliveIdle      = 2 * time.Minute
	keepaliveTimeout   = 20 * time.Second
	keepaliveMinimum   = 30 * time.Second

	// streamWorkers keep their grown stacks from one request to the next.
	streamWorkers = 64
)

// Config is what a server needs.
type Config struct {
	// Bounds stand around the policy, which is in the keystore. Required; the zero value has no administrators.
	Bounds *policy.Bounds
	// Log gets a line for every call. Required.
	Log *slog.Logger
	// Identify establishes callers. Default: PeerCaller.
	Identify Identify
	// Noon says how the server logs in at Noon. LoginStarting and LoginEnded are told beside the audit log.
	Noon noon.BrokerConfig
	// Metrics is told what becomes of requests. Optional.
	Metrics Metrics
	// Traces makes spans of requests. Optional.
	Traces *Traces
	// Limits bound requests; zero fields mean the defaults.
	Limits Limits
	// QueryValues puts the values of query parameters on record, beside their names.
	QueryValues bool
	// CopyLost tells how many records a second sink has lost. Optional.
	CopyLost func() uint64
	// NextRootKey opens the root key that RotateRootKey is to take into use; nil without an error for the one in use. Optional.
	NextRootKey func(context.Context) (keystore.RootKey, error)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Version is the program's, for GetStatus.
	Version string
	// Development marks `signerd dev` in GetStatus.
	Development bool
	// Reflection lets callers ask which services and messages there are.
	Reflection bool
}

// Server serves signerd's services on any number of listeners. All methods are safe for concurrent use.
type Server struct {
	bounds      atomic.Pointer[policy.Bounds]
	meter       *limit.Meter
	keeping     sync.Mutex // orders what meter is told to keep
	gate        *gate
	held        atomic.Pointer[keystore.Freeze] // a freeze of this process that is not stored, or not yet; nil for none
	tickets     tickets
	noon        *noon.Broker
	metrics     Metrics
	traces      *Traces // nil where nothing is traced
	log         *slog.Logger
	identify    Identify
	now         func() time.Time
	version     string
	development bool
	reflection  bool
	started     time.Time
	running     time.Time // as started, by the clock that nobody sets
	clock       *clockWatch
	limits      Limits
	admission   *admission
	queryValues bool
	whole       chan struct{} // calls that read the whole log
	copyLost    func() uint64
	nextRootKey func(context.Context) (keystore.RootKey, error)
	validator   protovalidate.Validator
	health      *health.Server
	stopping    context.Context // ends when Shutdown begins
	stop        context.CancelFunc
	background  sync.WaitGroup
	opened      chan struct{} // told at every Open
	ready       atomic.Pointer[Readiness]
	active      atomic.Int64 // calls whose message has arrived and whose answer has not left

	verifications verifications

	mu      sync.Mutex
	servers []*grpc.Server
	stopped bool
}

// New makes a server that serves nothing yet: Open gives it keys. Close it.
func New(c Config) (*Server, error) {
	if c.Bounds == nil || c.Log == nil {
		return nil, errors.New("a server needs bounds and a log")
	}
	s := &Server{metrics: c.Metrics, traces: c.Traces, log: c.Log, identify: c.Identify, now: c.Now, version: c.Version,
		development: c.Development, reflection: c.Reflection, limits: c.Limits.orDefaults(), queryValues: c.QueryValues, copyLost: c.CopyLost, nextRootKey: c.NextRootKey, health: health.NewServer(), gate: newGate(), meter: limit.NewMeter()}
	s.bounds.Store(c.Bounds)
	if s.identify == nil {
		s.identify = PeerCaller
	}
	if s.metrics == nil {
		s.metrics = noMetrics{}
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.started, s.running = s.now(), time.Now()
	s.clock = newClockWatch(s.started)
	s.stopping, s.stop = context.WithCancel(context.Background())
	var err error
	if s.validator, err = protovalidate.New(protovalidate.WithMessages(requestMessages()...)); err != nil {
		return nil, fmt.Errorf("compiling the request rules: %w", err)
	}
	s.opened = make(chan struct{}, 1)
	s.whole = make(chan struct{}, wholeReaders)
	s.admission = newAdmission(s.limits, s.now, s.stopping)
	s.noon = noon.NewBroker(s.recordLogins(c.Noon))
	s.ready.Store(&Readiness{})
	s.become(func(r *Readiness) { r.Reason, r.Text = ReasonStarting, errNotReady.Error() })
	s.background.Go(func() { s.recordExcess(s.stopping.Done()) })
	s.background.Go(func() { s.destroyInTime(s.stopping) })
	s.background.Go(func() { s.keepUsageHourly(s.stopping) })
	return s, nil
}

// Close ends what New began, after Shutdown: logins under way are given up, calls in excess are put on record, and the keys' last uses are
// stored. The log and the store may be closed after it.
func (s *Server) Close() {
	s.stop()
	s.background.Wait()
	s.noon.Close()
	if err := s.admission.recordExcess(s.appendExcess); err != nil {
		s.log.Warn("calls in excess are not on record", "cause", err.Error())
	}
	s.keepUsage(context.Background())
}

// Sessions lists the Noon sessions that are kept.
func (s *Server) Sessions() []noon.Stat { return s.noon.Stats() }

// services are all that signerd offers, health checks aside.
var services = []grpc.ServiceDesc{
	signerdv1.SignerService_ServiceDesc, adminv1.KeyService_ServiceDesc, adminv1.PolicyService_ServiceDesc,
	adminv1.AuditService_ServiceDesc, adminv1.SystemService_ServiceDesc,
}

// Services describes all that signerd offers, health checks aside.
func Services() []grpc.ServiceDesc { return slices.Clone(services) }

// requestMessages are compiled once, so that the first request is as fast as the next.
func requestMessages() []proto.Message {
	return []proto.Message{
		&signerdv1.SignNoahRequestRequest{}, &signerdv1.ComputeNobaSignatureRequest{}, &signerdv1.GetNoonSessionRequest{},
		&adminv1.CreateKeyRequest{}, &adminv1.ImportKeyRequest{}, &adminv1.GetKeyRequest{}, &adminv1.ListKeysRequest{},
		&adminv1.UpdateKeyRequest{}, &adminv1.EnableKeyRequest{}, &adminv1.DisableKeyRequest{},
		&adminv1.CreateKeyVersionRequest{}, &adminv1.ImportKeyVersionRequest{}, &adminv1.ActivateKeyVersionRequest{},
		&adminv1.EnableKeyVersionRequest{}, &adminv1.DisableKeyVersionRequest{}, &adminv1.DestroyKeyVersionRequest{}, &adminv1.RestoreKeyVersionRequest{},
		&adminv1.UpdateKeyVersionRequest{}, &adminv1.GetPublicKeyRequest{}, &adminv1.VerifySignatureRequest{},
		&adminv1.GetPolicyRequest{}, &adminv1.SetPolicyRequest{}, &adminv1.TestPolicyRequest{}, &adminv1.ExplainPolicyRequest{},
		&adminv1.ReplayPolicyRequest{}, &adminv1.ListRecordsRequest{}, &adminv1.GetRecordRequest{}, &adminv1.VerifyLogRequest{},
		&adminv1.GetCheckpointRequest{}, &adminv1.AcknowledgeLossRequest{}, &adminv1.GetStatusRequest{}, &adminv1.RotateRootKeyRequest{},
		&adminv1.CreateImportTicketRequest{}, &adminv1.FreezeRequest{}, &adminv1.UnfreezeRequest{},
		&adminv1.BackupRequest{},
	}
}

// SetBounds replaces the bounds. Requests that are decided from now on are decided within them.
func (s *Server) SetBounds(b *policy.Bounds) { s.bounds.Store(b) }

// ServeApplications serves what applications call (SignerService and health checks) on a Unix socket, until Shutdown.
func (s *Server) ServeApplications(l net.Listener) error { return s.serve(l, peerCredentials{}, false) }

// ServeTLS serves what ServeApplications does over TLS 1.3 to clients with certificates, until Shutdown.
func (s *Server) ServeTLS(l net.Listener, source *tlsfiles.Source) error {
	failures := &handshakes{metrics: s.metrics, log: s.log, now: s.now}
	return s.serve(l, newClientCertificates(source, s.now, failures.failed), false)
}

// ServeOperators serves everything on a Unix socket, the admin services included, until Shutdown.
func (s *Server) ServeOperators(l net.Listener) error { return s.serve(l, peerCredentials{}, true) }

func (s *Server) serve(l net.Listener, handshake credentials.TransportCredentials, admin bool) error {
	g := s.newGRPC(handshake)
	signerdv1.RegisterSignerServiceServer(g, &signerService{Server: s})
	healthpb.RegisterHealthServer(g, healthService{s.health, s.stopping})
	if admin {
		adminv1.RegisterKeyServiceServer(g, &keyService{Server: s})
		adminv1.RegisterPolicyServiceServer(g, &policyService{Server: s})
		adminv1.RegisterAuditServiceServer(g, &auditService{Server: s})
		adminv1.RegisterSystemServiceServer(g, &systemService{Server: s})
	}
	if s.reflection {
		reflection.Register(g)
	}
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		g.Stop()
		return l.Close()
	}
	s.servers = append(s.servers, g)
	s.mu.Unlock()
	return g.Serve(l)
}

func (s *Server) newGRPC(handshake credentials.TransportCredentials) *grpc.Server {
	options := s.limits.Transport()
	if s.traces != nil {
		options = append(options, grpc.StatsHandler(s.traces.Handler))
	}
	return grpc.NewServer(append(options,
		grpc.StatsHandler(ends{s.metrics}),
		grpc.Creds(handshake),
		grpc.ChainUnaryInterceptor(recovery.UnaryServerInterceptor(recovery.WithRecoveryHandlerContext(s.panickedOutside)),
			s.openCall, recovery.UnaryServerInterceptor(recovery.WithRecoveryHandlerContext(panicked)), s.validate),
		grpc.ChainStreamInterceptor(recovery.StreamServerInterceptor(recovery.WithRecoveryHandlerContext(s.panickedOutside)),
			s.openStream, recovery.StreamServerInterceptor(recovery.WithRecoveryHandlerContext(panicked))),
		grpc.UnknownServiceHandler(s.unknownMethod),
	)...)
}

// Transport is how signerd's gRPC servers treat connections, without what they do with requests; `make bench` measures a
// server of nothing else.
func (l Limits) Transport() []grpc.ServerOption {
	l = l.orDefaults()
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(l.MaxMessageBytes),
		grpc.MaxConcurrentStreams(l.MaxConcurrentStreams),
		grpc.MaxHeaderListSize(maxHeaderListBytes),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveIdle, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMinimum, PermitWithoutStream: true}),
		grpc.NumStreamWorkers(streamWorkers),
	}
}

func (l Limits) orDefaults() Limits {
	if l.MaxMessageBytes == 0 {
		l.MaxMessageBytes = DefaultMaxMessageBytes
	}
	if l.MaxConcurrentStreams == 0 {
		l.MaxConcurrentStreams = DefaultMaxConcurrentStreams
	}
	if l.MaxConcurrentCalls == 0 {
		l.MaxConcurrentCalls = DefaultMaxConcurrentCalls
	}
	if l.MaxRefusals == 0 {
		l.MaxRefusals = DefaultMaxRefusals
	}
	if l.RefusalsPerSecond == 0 {
		l.RefusalsPerSecond = DefaultRefusalsPerSecond
	}
	return l
}

// arrival is how long a message may take to arrive once Shutdown has begun.
const arrival = 2 * time.Second

// Shutdown refuses new requests, answers those under way, and returns; when ctx ends first, it cuts them off and
// returns ctx's error. A request whose message does not arrive is not under way: it cannot hold signerd up.
func (s *Server) Shutdown(ctx context.Context) error {
	servers := s.startStopping()
	s.stop()
	watching, enough := context.WithCancel(ctx)
	defer enough()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		var all sync.WaitGroup
		for _, g := range servers {
			all.Go(g.GracefulStop)
		}
		all.Wait()
	}()
	select {
	case <-drained:
		return nil
	case <-s.allAnswered(watching):
		for _, g := range servers {
			go g.Stop()
		}
		return nil
	case <-ctx.Done():
		// Neither a handshake under way, which Stop waits for, nor a handler that does not look at its context, which
		// the drain waits for, may keep signerd from ending.
		for _, g := range servers {
			go g.Stop()
		}
		return ctx.Err()
	}
}

// startStopping lets no listener and no change of health in any more. Requests under way keep their keys.
func (s *Server) startStopping() []*grpc.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.stopped = true
		s.health.Shutdown()
		r := *s.ready.Load()
		r.Reason, r.Text = ReasonStopping, "it is stopping"
		s.ready.Store(&r)
	}
	return s.servers
}

// allAnswered is closed once messages have had their time to arrive and every call that did is answered.
func (s *Server) allAnswered(ctx context.Context) <-chan struct{} {
	answered := make(chan struct{})
	go func() {
		wait := time.NewTimer(arrival)
		defer wait.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-wait.C:
			}
			if s.active.Load() == 0 {
				close(answered)
				return
			}
			wait.Reset(10 * time.Millisecond)
		}
	}()
	return answered
}
