// Package scripttest runs script tests of the real programs: signerd, signerctl and signerd-kms-file are built once, and each script runs
// them as processes in a folder of its own, over real sockets and files.
//
// It is for tests of cmd/signerd and cmd/signerctl.
package scripttest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// patience bounds waiting for a program; nothing is measured against it.
const patience = time.Minute

// Build makes the programs in a new folder and returns it.
func Build(t testing.TB) string {
	t.Helper()
	bin := t.TempDir()
	for _, program := range []string{"signerd", "signerctl", "signerd-kms-file"} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-race", "-o", filepath.Join(bin, program), "github.com/signerd/signerd/cmd/"+program)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", program, err, out)
		}
	}
	return bin
}

// Run runs every script in dir (*.txtar). Beside testscript's own commands, scripts have
//
//	serving SOCKET    waits until signerd serves there
//	scrape URL        fetches it into standard output
//	mode FILE OCTAL   checks a file's permission bits
//	flip FILE N       inverts the byte at offset N
//	expand FILE...    puts the user's number for every UID= in the files
//	until TEXT CMD... runs a command until it prints a text
func Run(t *testing.T, dir string) {
	// A group that may write is refused, whatever the umask of whoever runs the tests.
	syscall.Umask(0o022)
	if files, err := filepath.Glob(filepath.Join(dir, "*.txtar")); err != nil || len(files) == 0 {
		t.Fatalf("no scripts in %s (%v)", dir, err)
	}
	bin := Build(t)
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			// A program with the race detector otherwise waits a second before it ends.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Setenv("GODEBUG", os.Getenv("GODEBUG")) // `make test-fips`
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serving": serving,
			"scrape":  scrape,
			"mode":    mode,
			"flip":    flip,
			"expand":  expand,
			"until":   until,
		},
	})
}

func serving(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serving SOCKET")
	}
	ts.Check(WaitServing(ts.MkAbs(args[0])))
}

// WaitServing returns once signerd serves on a socket.
func WaitServing(socket string) error {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: patience}))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	watch, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	for {
		answer, err := watch.Recv()
		if err != nil {
			return err
		}
		if answer.GetStatus() == healthpb.HealthCheckResponse_SERVING {
			return nil
		}
	}
}

func scrape(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: scrape URL")
	}
	client := http.Client{Timeout: patience}
	resp, err := client.Get(args[0])
	ts.Check(err)
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("%s answered %s", args[0], resp.Status)
	}
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
}

func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE OCTAL")
	}
	info, err := os.Lstat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}

func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE N")
	}
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	if n >= len(b) {
		ts.Fatalf("%s has only %d bytes", args[0], len(b))
	}
	b[n] ^= 0xff
	ts.Check(os.WriteFile(path, b, 0o600))
}

func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: expand FILE...")
	}
	for _, file := range args {
		b, err := os.ReadFile(ts.MkAbs(file))
		ts.Check(err)
		number := strconv.Itoa(os.Getuid())
		ts.Check(os.WriteFile(ts.MkAbs(file), bytes.ReplaceAll(b, []byte("UID="), []byte("uid="+number)), 0o600))
	}
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until TEXT CMD...")
	}
	end := time.Now().Add(patience)
	for time.Now().Before(end) {
		_ = ts.Exec(args[1], args[2:]...) // how it ends is not what is waited for
		if strings.Contains(ts.ReadFile("stdout")+ts.ReadFile("stderr"), args[0]) {
			return
		}
	}
	ts.Fatalf("%v never printed %q", args[1:], args[0])
}
