package server_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/disk"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/internal/checkpoint"
	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/bolt"
	"github.com/signerd/signerd/keystore/memory"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/server"
	"github.com/signerd/signerd/upstream/noon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Callers of the tests, by uid.
const (
	operator = 1000 // may do everything, unless a test gives other rules
	stranger = 4711 // is in no rule
	// administrator is one in the configuration file, and in no rule.
	administrator = 999
)

// callerHeader is the metadata in which tests say who calls.
const callerHeader = "test-uid"

// setup says what is special about a test's server.
type setup struct {
	metrics      server.Metrics
	gateway      http.RoundTripper // Noon; by default one that answers every login
	rules        []allowance       // default: operator may do everything
	sandboxOnly  []string          // callers that get no prod key
	identify     server.Identify   // default: byHeader
	peers        bool              // identify by the kernel's word, as in production
	limits       server.Limits
	bolt         bool // keep the keys in a file
	queryValues  bool
	nextRootKey  func(context.Context) (keystore.RootKey, error)
	unopened     bool                  // the server has no keys yet
	disk         func(disk.FS) disk.FS // stands between the audit log and its folder
	applications bool                  // serve applications only
	reflection   bool
	dial         []grpc.DialOption
}

// rig is a running server and a connection to it.
type rig struct {
	server *server.Server
	keys   *keystore.Keystore
	store  *hookedStore
	anchor *memoryAnchor // unless the keys are in a file
	audit  *audit.Log
	log    *logBuffer
	clock  *clock
	socket string
	conn   *grpc.ClientConn
	signer signerdv1.SignerServiceClient
	admin  adminv1.KeyServiceClient
	system adminv1.SystemServiceClient
	policy adminv1.PolicyServiceClient
	reader adminv1.AuditServiceClient
}

// start serves on a Unix socket until the test ends.
func start(t testing.TB, s setup) *rig {
	t.Helper()
	dir := shortDir(t)
	r := &rig{log: &logBuffer{}, clock: newClock(), anchor: &memoryAnchor{}, store: &hookedStore{Store: openStore(t, dir, s.bolt)}}
	var anchor keystore.Anchor = r.anchor
	if s.bolt {
		anchor = audit.NewAnchorFile(filepath.Join(dir, "anchor"))
	}
	r.keys = openKeys(t, r.store, anchor, r.clock)
	if s.rules == nil {
		s.rules = []allowance{everything(t, operator)}
	}
	r.setPolicy(t, s.rules...)
	bounds, err := policy.NewBounds([]string{"unix:uid=" + strconv.Itoa(administrator)}, s.sandboxOnly, server.Always())
	must(t, err)
	if s.identify == nil && !s.peers {
		s.identify = byHeader
	}
	if s.gateway == nil {
		s.gateway = gatewayFunc(loggedIn)
	}
	if s.limits.MaxRefusals == 0 {
		s.limits.MaxRefusals = 1 << 30 // the clock stands still, and forgives nothing
	}
	r.server, err = server.New(server.Config{
		Noon: noon.BrokerConfig{Transport: s.gateway, Now: r.clock.Now}, Metrics: s.metrics,
		Bounds: bounds, Log: slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Identify: s.identify, Limits: s.limits, Now: r.clock.Now, Version: "v0-test", Reflection: s.reflection, QueryValues: s.queryValues, NextRootKey: s.nextRootKey,
	})
	must(t, err)
	r.audit = openLog(t, filepath.Join(dir, "audit"), s.disk, r.keys, r.server.AuditChanged, r.clock.Now)
	t.Cleanup(r.server.Close)
	if !s.unopened {
		r.server.Open(r.keys, r.audit)
	}
	t.Cleanup(func() { _ = r.server.Shutdown(context.Background()) })
	r.socket = filepath.Join(dir, "s")
	serve := r.server.ServeOperators
	if s.applications {
		serve = r.server.ServeApplications
	}
	r.listen(t, r.socket, serve)
	r.conn = r.connect(t, r.socket, s.dial...)
	r.signer = signerdv1.NewSignerServiceClient(r.conn)
	r.admin = adminv1.NewKeyServiceClient(r.conn)
	r.system = adminv1.NewSystemServiceClient(r.conn)
	r.policy = adminv1.NewPolicyServiceClient(r.conn)
	r.reader = adminv1.NewAuditServiceClient(r.conn)
	return r
}

// allowance is an allow rule of callers, keys and operations alone.
type allowance struct {
	Callers    []policy.Caller
	Keys       []string
	Operations []policy.Operation
}

// setPolicy puts a policy of allow rules in force.
func (r *rig) setPolicy(t testing.TB, rules ...allowance) {
	t.Helper()
	document := &adminv1.Policy{}
	for i, a := range rules {
		rule := &adminv1.PolicyRule{Name: "rule-" + strconv.Itoa(i), Effect: adminv1.PolicyEffect_POLICY_EFFECT_ALLOW, Keys: a.Keys}
		for _, c := range a.Callers {
			rule.Callers = append(rule.Callers, c.String())
		}
		for _, o := range a.Operations {
			rule.Operations = append(rule.Operations, string(o))
		}
		document.Rules = append(document.Rules, rule)
	}
	r.setDocument(t, document)
}

// setDocument puts a policy in force.
func (r *rig) setDocument(t testing.TB, document *adminv1.Policy) {
	t.Helper()
	b, err := proto.Marshal(document)
	must(t, err)
	_, err = r.keys.SetPolicy(t.Context(), "test", r.keys.View().Policy().Generation, b)
	must(t, err)
}

// listen serves on one more socket. When the server is shut down, serving must end without an error.
func (r *rig) listen(t testing.TB, path string, serve func(net.Listener) error) *tellingListener {
	t.Helper()
	inner, err := net.Listen("unix", path)
	must(t, err)
	return r.serveOn(t, inner, serve)
}

func (r *rig) serveOn(t testing.TB, inner net.Listener, serve func(net.Listener) error) *tellingListener {
	t.Helper()
	l := &tellingListener{Listener: inner, closed: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- serve(l) }()
	t.Cleanup(func() {
		_ = r.server.Shutdown(context.Background())
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serving ended with %v", err)
		}
	})
	return l
}

// tellingListener tells when it was closed.
type tellingListener struct {
	net.Listener
	closed chan struct{}
	once   atomic.Bool
}

func (l *tellingListener) Close() error {
	err := l.Listener.Close()
	if !l.once.Swap(true) {
		close(l.closed)
	}
	return err
}

func (r *rig) connect(t testing.TB, socket string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	options = append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, options...)
	conn, err := grpc.NewClient("unix://"+socket, options...)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// shortDir is a folder whose path leaves room for a socket's name.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sd")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func openStore(t testing.TB, dir string, file bool) keystore.Store {
	t.Helper()
	var store keystore.Store = memory.New()
	if file {
		path := filepath.Join(dir, "keys.db")
		must(t, bolt.Create(path))
		var err error
		store, err = bolt.Open(path)
		must(t, err)
	}
	t.Cleanup(func() { must(t, store.Close()) })
	return store
}

func openKeys(t testing.TB, store keystore.Store, anchor keystore.Anchor, clock *clock) *keystore.Keystore {
	t.Helper()
	root, err := rootKey()
	must(t, err)
	c := keystore.Config{Store: store, Anchor: anchor, RootKey: root, Schemes: server.Schemes(noon.Destinations{LoopbackHTTP: true}), Compile: server.CompilePolicy, Now: clock.Now}
	must(t, keystore.Init(t.Context(), c))
	keys, err := keystore.Open(t.Context(), c)
	must(t, err)
	return keys
}

// openLog opens an audit log in a folder that it makes.
func openLog(t testing.TB, dir string, between func(disk.FS) disk.FS, keys *keystore.Keystore, changed func(error), now func() time.Time) *audit.Log {
	t.Helper()
	must(t, os.Mkdir(dir, 0o700))
	var folder disk.FS = disk.Dir(dir)
	if between != nil {
		folder = between(folder)
	}
	log, err := audit.Open(t.Context(), audit.Config{FS: folder, Signer: keys.AuditSigner(), State: keys.AuditState(), Store: keys.StoreState,
		Keep: keys.SetAuditState, Changed: changed, Now: now})
	must(t, err)
	t.Cleanup(func() { _ = log.Close(context.Background()) })
	return log
}

// rootKey is one for all tests: making one waits for the disk.
var rootKey = sync.OnceValues(func() (*rootkey.File, error) {
	dir, err := os.MkdirTemp("", "sd")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "root.key")
	if err := rootkey.CreateFile(path); err != nil {
		return nil, err
	}
	return rootkey.OpenFile(path)
})

// memoryAnchor is an anchor that does not wait for the disk. The keystore writes it under a lock of its own.
type memoryAnchor struct {
	signed []byte
	broken atomic.Bool
}

func (a *memoryAnchor) Exists() (bool, error) { return a.signed != nil, nil }

func (a *memoryAnchor) Read(key note.Verifier) (checkpoint.Store, error) {
	if a.signed == nil {
		return checkpoint.Store{}, fs.ErrNotExist
	}
	c, err := checkpoint.Open(a.signed, key)
	return c.Store, err
}

func (a *memoryAnchor) Write(key *checkpoint.Signer, state checkpoint.Store) (err error) {
	if a.broken.Load() {
		return errors.New("the disk is full")
	}
	a.signed, err = checkpoint.Checkpoint{Origin: key.Name(), Store: state}.Sign(key)
	return err
}

// hookedStore lets a test stand between the keystore and its store.
type hookedStore struct {
	keystore.Store
	commit  atomic.Pointer[func() error] // asked before every commit
	compact atomic.Pointer[error]        // what every compaction fails with
}

func (s *hookedStore) Compact(ctx context.Context) error {
	if err := s.compact.Load(); err != nil {
		return *err
	}
	return s.Store.Compact(ctx)
}

func (s *hookedStore) Commit(ctx context.Context, changes []keystore.Change) (uint64, error) {
	if hook := s.commit.Load(); hook != nil {
		if err := (*hook)(); err != nil {
			return 0, err
		}
	}
	return s.Store.Commit(ctx, changes)
}

// failing makes every commit fail until it is given nil.
func (s *hookedStore) failing(err error) {
	hook := func() error { return err }
	s.commit.Store(&hook)
}

// clock stands still unless a test moves it.
type clock struct {
	millis atomic.Int64
	asked  atomic.Pointer[func()] // told whenever somebody asks for the time
}

func newClock() *clock {
	c := &clock{}
	c.millis.Store(time.Date(2026, time.March, 1, 12, 0, 0, 250e6, time.UTC).UnixMilli())
	return c
}

func (c *clock) Now() time.Time {
	if asked := c.asked.Load(); asked != nil {
		(*asked)()
	}
	return time.UnixMilli(c.millis.Load())
}

// onceAt calls do when the time is asked for the nth time from now on. What do does may ask again.
func (c *clock) onceAt(n int64, do func()) {
	var count atomic.Int64
	hook := func() {
		if count.Add(1) == n {
			c.asked.Store(nil)
			do()
		}
	}
	c.asked.Store(&hook)
}

func (c *clock) advance(d time.Duration) { c.millis.Add(d.Milliseconds()) }

// as is a context in which the given user calls.
func as(t testing.TB, uid uint32) context.Context {
	return metadata.AppendToOutgoingContext(t.Context(), callerHeader, strconv.FormatUint(uint64(uid), 10))
}

// byHeader is a server.Identify that believes callerHeader.
func byHeader(ctx context.Context) (policy.Caller, error) {
	values := metadata.ValueFromIncomingContext(ctx, callerHeader)
	if len(values) != 1 {
		return policy.Caller{}, errors.New("nobody said who calls")
	}
	return policy.ParseCaller("unix:uid=" + values[0])
}

func caller(t testing.TB, uid uint32) policy.Caller {
	t.Helper()
	c, err := policy.UnixCaller(uid)
	must(t, err)
	return c
}

func everything(t testing.TB, uid uint32) allowance {
	return allows(t, uid, []string{policy.Any}, policy.Any)
}

func allows(t testing.TB, uid uint32, keys []string, operations ...policy.Operation) allowance {
	return allowance{Callers: []policy.Caller{caller(t, uid)}, Keys: keys, Operations: operations}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// invoke calls an RPC, and reads all of an answer that comes in pieces; out is then the last.
func invoke(ctx context.Context, conn grpc.ClientConnInterface, rpc server.RPC, in, out proto.Message, options ...grpc.CallOption) error {
	if !rpc.IsStreamingServer() {
		return conn.Invoke(ctx, rpc.Path, in, out, options...)
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, rpc.Path, options...)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(in); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		if err := stream.RecvMsg(out); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
