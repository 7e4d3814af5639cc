package process

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/scripttest"
)

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
	// Never with the race detector: it keeps memory of its own.
	if out, err := exec.Command("go", "build", "-o", program, "github.com/signerd/signerd/cmd/signerd").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building signerd: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// signerd is a running signerd with its files in folders of their own.
type signerd struct {
	dir  string
	cmd  *exec.Cmd
	conn *grpc.ClientConn
	log  chan string
}

// start makes a signerd and waits until it serves; more is put at the end of its configuration.
func start(t *testing.T, more string, prepare func(s *signerd)) *signerd {
	t.Helper()
	dir, err := os.MkdirTemp("", "sd") // short, for the sockets
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	s := &signerd{dir: dir}
	for _, folder := range []string{"etc", "store", "anchor", "log", "run", "tls"} {
		must(t, os.Mkdir(s.path(folder), 0o700))
	}
	must(t, os.WriteFile(s.path("etc/signerd.yaml"), fmt.Appendf(nil, `store: ../store/keys.db
anchor: ../anchor/anchor
root_key: {file: root.key}
socket: {path: ../run/app.sock}
admin_socket: {path: ../run/admin.sock}
administrators: ["unix:uid=%d"]
%s`, os.Geteuid(), more), 0o600))
	if prepare != nil {
		prepare(s)
	}
	if out, err := exec.CommandContext(t.Context(), program, "init", "--config", s.path("etc/signerd.yaml")).CombinedOutput(); err != nil {
		t.Fatalf("signerd init: %v\n%s", err, out)
	}
	s.launch(t)
	_, err = adminv1.NewPolicyServiceClient(s.conn).SetPolicy(t.Context(), &adminv1.SetPolicyRequest{Policy: &adminv1.Policy{Rules: []*adminv1.PolicyRule{{
		Name: "everything", Effect: adminv1.PolicyEffect_POLICY_EFFECT_ALLOW, Callers: []string{"*"}, Keys: []string{"*"}, Operations: []string{"*"}}}}})
	must(t, err)
	return s
}

// launch starts the process, and waits until it serves.
func (s *signerd) launch(t *testing.T) {
	t.Helper()
	s.log = make(chan string, 10_000)
	s.cmd = exec.CommandContext(t.Context(), program, "--config", s.path("etc/signerd.yaml"))
	stderr, err := s.cmd.StderrPipe()
	must(t, err)
	must(t, s.cmd.Start())
	go func() {
		defer close(s.log)
		for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
			s.log <- scanner.Text()
		}
	}()
	must(t, scripttest.WaitServing(s.path("run/admin.sock")))
	s.conn, err = grpc.NewClient("unix://"+s.path("run/admin.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { _ = s.conn.Close() })
}

func (s *signerd) path(name string) string { return filepath.Join(s.dir, name) }

// logged waits for a line.
func (s *signerd) logged(t *testing.T, text string) string {
	t.Helper()
	for line := range s.log {
		if strings.Contains(line, text) {
			return line
		}
	}
	t.Fatalf("signerd ended and never logged %q", text)
	return ""
}

// stop ends the process as operators do, and gives what it logged since.
func (s *signerd) stop(t *testing.T) (rest string) {
	t.Helper()
	must(t, s.cmd.Process.Signal(syscall.SIGTERM))
	for line := range s.log {
		rest += line + "\n"
	}
	if err := s.cmd.Wait(); err != nil {
		t.Fatalf("signerd ended with %v:\n%s", err, rest)
	}
	return rest
}

func (s *signerd) importKey(t *testing.T, name, scheme string, material map[string][]byte) {
	t.Helper()
	_, err := adminv1.NewKeyServiceClient(s.conn).ImportKey(t.Context(), &adminv1.ImportKeyRequest{
		Name: name, Scheme: scheme, Environment: adminv1.Environment_ENVIRONMENT_SANDBOX, Material: material})
	must(t, err)
}

// verify has signerd recompute its whole log.
func (s *signerd) verify(ctx context.Context, t *testing.T) {
	t.Helper()
	stream, err := adminv1.NewAuditServiceClient(s.conn).VerifyLog(ctx, &adminv1.VerifyLogRequest{})
	must(t, err)
	for good := false; ; {
		got, err := stream.Recv()
		if err == io.EOF && good {
			return
		}
		must(t, err)
		good = got.GetResult().GetGood()
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
