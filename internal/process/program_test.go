package process

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/importticket"
	"github.com/signerd/signerd/internal/scripttest"
)

// program is the signerd that is tested, plugin a KMS plugin.
var program, plugin string

func TestMain(m *testing.M) {
	if as := os.Getenv(role); as != "" {
		fmt.Fprintln(os.Stderr, become(as, os.Args[1:]))
		os.Exit(1)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sd")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program, plugin = filepath.Join(dir, "signerd"), filepath.Join(dir, "signerd-kms-file")
	for _, path := range []string{program, plugin} {
		// Never with the race detector: it keeps memory of its own.
		if out, err := exec.Command("go", "build", "-o", path, "github.com/signerd/signerd/cmd/"+filepath.Base(path)).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building %s: %v\n%s", filepath.Base(path), err, out)
			return 1
		}
	}
	return m.Run()
}

// signerd is a running signerd with its files in folders of their own.
type signerd struct {
	dir string
	// input is what it reads from its standard input, at each start.
	input string
	// terminal, if set, is its controlling terminal.
	terminal *os.File
	// wrap, if set, is the beginning of the command line that signerd is started with.
	wrap []string
	env  []string
	cmd  *exec.Cmd
	conn *grpc.ClientConn
	log  chan string
}

const keyFile = "{file: root.key}"

// start makes a signerd with a root key file and waits until it serves; more is put at the end of its configuration.
func start(t *testing.T, more string, prepare func(s *signerd)) *signerd {
	t.Helper()
	s := install(t, keyFile, more, prepare)
	s.launch(t)
	s.allowEverything(t)
	return s
}

// install makes the files of a signerd; rootKey is what the configuration says of the root key.
func install(t *testing.T, rootKey, more string, prepare func(s *signerd)) *signerd {
	t.Helper()
	dir, err := os.MkdirTemp("", "sd") // short, for the sockets
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	s := &signerd{dir: dir}
	for _, folder := range []string{"etc", "store", "anchor", "log", "run", "tls", "other"} {
		must(t, os.Mkdir(s.path(folder), 0o700))
	}
	must(t, os.WriteFile(s.path("etc/signerd.yaml"), fmt.Appendf(nil, `store: ../store/keys.db
anchor: ../anchor/anchor
root_key: %s
socket: {path: ../run/app.sock}
admin_socket: {path: ../run/admin.sock}
administrators: ["unix:uid=%d"]
%s`, rootKey, os.Geteuid(), more), 0o600))
	if prepare != nil {
		prepare(s)
	}
	cmd := exec.CommandContext(t.Context(), program, "init", "--config", s.path("etc/signerd.yaml"))
	cmd.Stdin = strings.NewReader(s.input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("signerd init: %v\n%s", err, out)
	}
	return s
}

func (s *signerd) allowEverything(t *testing.T) {
	t.Helper()
	_, err := adminv1.NewPolicyServiceClient(s.conn).SetPolicy(t.Context(), &adminv1.SetPolicyRequest{Policy: &adminv1.Policy{Rules: []*adminv1.PolicyRule{{
		Name: "everything", Effect: adminv1.PolicyEffect_POLICY_EFFECT_ALLOW, Callers: []string{"*"}, Keys: []string{"*"}, Operations: []string{"*"}}}}})
	must(t, err)
}

// launch starts the process, and waits until it serves.
func (s *signerd) launch(t *testing.T) {
	t.Helper()
	s.begin(t)
	must(t, scripttest.WaitServing(s.path("run/admin.sock")))
}

// begin starts the process.
func (s *signerd) begin(t *testing.T) {
	t.Helper()
	s.log = make(chan string, 10_000)
	line := append(slices.Clone(s.wrap), program, "--config", s.path("etc/signerd.yaml"))
	s.cmd = exec.CommandContext(t.Context(), line[0], line[1:]...)
	s.cmd.Env, s.cmd.Dir = append(os.Environ(), s.env...), s.path("anchor")
	s.cmd.Stdin = strings.NewReader(s.input)
	if s.terminal != nil {
		s.cmd.Stdin, s.cmd.SysProcAttr = s.terminal, &syscall.SysProcAttr{Setsid: true, Setctty: true}
	}
	stderr, err := s.cmd.StderrPipe()
	must(t, err)
	must(t, s.cmd.Start())
	go func() {
		defer close(s.log)
		for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
			s.log <- scanner.Text()
		}
	}()
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

// importSealed has signerd make a ticket, and imports what is sealed for it.
func (s *signerd) importSealed(t *testing.T, name string, material map[string][]byte) {
	t.Helper()
	keys := adminv1.NewKeyServiceClient(s.conn)
	made, err := keys.CreateImportTicket(t.Context(), &adminv1.CreateImportTicketRequest{Name: name, Scheme: "noba", Environment: adminv1.Environment_ENVIRONMENT_SANDBOX})
	must(t, err)
	ticket, err := importticket.Parse(made.GetTicket())
	must(t, err)
	file, err := importticket.Seal(ticket, material)
	must(t, err)
	_, err = keys.ImportKey(t.Context(), &adminv1.ImportKeyRequest{Name: name, Scheme: "noba", Environment: adminv1.Environment_ENVIRONMENT_SANDBOX, Sealed: file})
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
