package soak

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// soak asks for as much as is worth minutes, and for numbers to be held.
var soak = os.Getenv("SIGNERD_SOAK") == "1"

// program is the signerd that is tested.
var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sd")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "signerd")
	args := []string{"build", "-o", program}
	if raced() {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "github.com/signerd/signerd/cmd/signerd")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building signerd: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// raced says whether the test looks for data races, and so is signerd to.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// signerd is a folder with everything of one signerd, and its process while it runs.
type signerd struct {
	dir    string
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone
}

// install makes a signerd that never ran. more has what its configuration says beside its files and sockets.
func install(t *testing.T, more string) *signerd {
	t.Helper()
	dir, err := os.MkdirTemp("", "sd") // short, for the sockets
	must(t, err)
	s := &signerd{dir: dir}
	t.Cleanup(func() {
		if s.cmd != nil {
			<-s.exited
		}
		if log, _ := os.ReadFile(s.path("log")); t.Failed() || bytes.Contains(log, []byte("DATA RACE")) {
			t.Errorf("signerd logged, at last:\n%s", log[max(0, len(log)-8<<10):])
		}
		must(t, os.RemoveAll(dir))
	})
	must(t, os.WriteFile(s.path("signerd.yaml"), fmt.Appendf(nil, `store: keys.db
anchor: anchor
root_key: {file: root.key}
socket: {path: app.sock}
admin_socket: {path: admin.sock}
administrators: ["unix:uid=%d"]
%s`, os.Geteuid(), more), 0o600))
	if out, err := exec.CommandContext(t.Context(), program, "init", "--config", s.path("signerd.yaml")).CombinedOutput(); err != nil {
		t.Fatalf("signerd init: %v\n%s", err, out)
	}
	return s
}

func (s *signerd) path(name string) string { return filepath.Join(s.dir, name) }

// start starts the process, and does not wait for anything.
func (s *signerd) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(s.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	defer func() { _ = log.Close() }()
	cmd, exited := exec.CommandContext(t.Context(), program, "--config", s.path("signerd.yaml")), make(chan struct{})
	cmd.Stderr = log
	must(t, cmd.Start())
	go func() {
		defer close(exited)
		_ = cmd.Wait() // its state says how it ended
	}()
	s.cmd, s.exited = cmd, exited
}

// kill ends the process as the kernel does when memory runs out.
func (s *signerd) kill(t *testing.T) {
	t.Helper()
	must(t, s.cmd.Process.Kill())
	<-s.exited
	if status, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		t.Fatalf("signerd ended by itself before it was killed: %v", s.cmd.ProcessState)
	}
}

// stop ends the process as operators do, and wants it to be content.
func (s *signerd) stop(t *testing.T) {
	t.Helper()
	must(t, s.cmd.Process.Signal(syscall.SIGTERM))
	<-s.exited
	if !s.cmd.ProcessState.Success() {
		t.Fatalf("signerd ended with %v", s.cmd.ProcessState)
	}
}

// dial connects to a socket that may not be there yet.
func (s *signerd) dial(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	return dial(t, "unix://"+s.path(socket), insecure.NewCredentials())
}

func dial(t *testing.T, address string, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	soon := backoff.Config{BaseDelay: time.Millisecond, Multiplier: 1, MaxDelay: time.Millisecond}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds), grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: soon, MinConnectTimeout: time.Second}))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// serving waits until signerd says that it serves.
func (s *signerd) serving(t *testing.T) {
	t.Helper()
	conn := s.dial(t, "admin.sock")
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	exited := s.exited // this process', and not the next one's
	go func() {
		select {
		case <-exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	// Whoever is there before its listener is ready, or is asked while it opens its keys, is asked again.
	watch, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	for err == nil {
		var said *healthpb.HealthCheckResponse
		if said, err = watch.Recv(); err == nil && said.GetStatus() == healthpb.HealthCheckResponse_SERVING {
			return
		}
	}
	t.Fatalf("signerd does not serve: %v", err)
}

// verify has signerd recompute its whole log.
func (s *signerd) verify(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	stream, err := adminv1.NewAuditServiceClient(conn).VerifyLog(t.Context(), &adminv1.VerifyLogRequest{})
	must(t, err)
	var result *adminv1.VerifyLogResult
	for {
		got, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		result = got.GetResult()
	}
	if !result.GetGood() {
		t.Fatalf("the log is not good: %v", result)
	}
}

// importNOAH makes a key of a partner's account.
func importNOAH(t *testing.T, conn *grpc.ClientConn, name string, curve elliptic.Curve) {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	importKey(t, conn, name, "noah", map[string][]byte{
		"private_key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "api_key": []byte("soak_sandbox_" + rand.Text()),
	})
}

func importKey(t *testing.T, conn *grpc.ClientConn, name, scheme string, material map[string][]byte) {
	t.Helper()
	_, err := adminv1.NewKeyServiceClient(conn).ImportKey(t.Context(), &adminv1.ImportKeyRequest{
		Name: name, Scheme: scheme, Environment: adminv1.Environment_ENVIRONMENT_SANDBOX, Material: material})
	must(t, err)
}

// allowing is a policy that lets callers do everything.
func allowing(note string, callers ...string) *adminv1.Policy {
	return &adminv1.Policy{Rules: []*adminv1.PolicyRule{{Name: "soak", Description: note, Effect: adminv1.PolicyEffect_POLICY_EFFECT_ALLOW,
		Callers: callers, Keys: []string{"*"}, Operations: []string{"*"}}}}
}

// setFirstPolicy is for a store that has none.
func setFirstPolicy(t *testing.T, conn *grpc.ClientConn, callers ...string) {
	t.Helper()
	_, err := adminv1.NewPolicyServiceClient(conn).SetPolicy(t.Context(), &adminv1.SetPolicyRequest{Policy: allowing("", callers...)})
	must(t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cpu is the CPU time that the process has used: the kernel's clock of it (clock_getcpuclockid(3)).
func (s *signerd) cpu(t *testing.T) time.Duration {
	t.Helper()
	const wholeProcess = 2 // CPUCLOCK_SCHED
	var used unix.Timespec
	must(t, unix.ClockGettime(int32(^s.cmd.Process.Pid<<3|wholeProcess), &used))
	return time.Duration(used.Nano())
}
