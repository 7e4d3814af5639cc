package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// The sockets of a signerd, in its folder.
const (
	applications = "app"
	operators    = "admin"
)

// installation is a signerd with a folder, a configuration and a store of its own.
type installation struct {
	rig     *rig
	program string
	dir     string
	address string // of the TCP port
	process *process
}

// install configures a program as its operators do, with every port open, and fills its store with the accounts' keys.
func (r *rig) install(server string) (*installation, error) {
	i := &installation{rig: r, program: filepath.Join(r.bin, programs[server]), dir: filepath.Join(r.dir, server)}
	if err := os.Mkdir(i.dir, 0o700); err != nil {
		return nil, err
	}
	if err := i.configure(); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(r.ctx, i.program, "init", "--config", i.configFile()).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s init: %w\n%s", filepath.Base(i.program), err, out)
	}
	return i, i.fill()
}

func (i *installation) configFile() string { return filepath.Join(i.dir, "signerd.yaml") }

// configure leaves what concerns the audit log at its defaults. A file of it that is full is compressed in the background, which the
// figures then include; what is left of a run of minutes is some hundred MB at most, and goes with the folder.
func (i *installation) configure() (err error) {
	if i.address, err = freeAddress(); err != nil {
		return err
	}
	metricsAddress, err := freeAddress()
	if err != nil {
		return err
	}
	shared := func(name string) string { return filepath.Join(i.rig.dir, name) }
	return os.WriteFile(i.configFile(), fmt.Appendf(nil, `store: keys.db
anchor: anchor
root_key: {file: root.key}
audit: {dir: audit}
socket: {path: %q}
admin_socket: {path: %q}
tls: {address: %q, certificate: %q, key: %q, client_ca: %q}
metrics: {address: %q}
noon: {base_urls: [%q]}
administrators: ["unix:uid=%d"]
`, socketIn(i.dir, applications), socketIn(i.dir, operators), i.address, shared(certificateFile), shared(privateKeyFile), shared(authorityFile),
		metricsAddress, i.rig.accounts.gateway.URL, os.Geteuid()), 0o600)
}

// freeAddress is a loopback address that nobody listened on a moment ago.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// fill imports the keys. It is another process that then serves, as after any restart.
func (i *installation) fill() error {
	if err := i.launch(i.nothingYet); err != nil {
		return err
	}
	conn, err := i.dial(operators)
	if err != nil {
		return err
	}
	if err := errors.Join(allow(i.rig.ctx, conn), i.rig.accounts.importInto(i.rig.ctx, conn), conn.Close()); err != nil {
		return err
	}
	return i.stop()
}

// allow sets a policy of a rule for the callers of the bench.
func allow(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := adminv1.NewPolicyServiceClient(conn).SetPolicy(ctx, &adminv1.SetPolicyRequest{Policy: &adminv1.Policy{Rules: []*adminv1.PolicyRule{{
		Name: "bench", Effect: adminv1.PolicyEffect_POLICY_EFFECT_ALLOW, Callers: []string{fmt.Sprintf("unix:uid=%d", os.Geteuid()), loadCaller},
		Keys: []string{"*"}, Operations: []string{"*"},
	}}}})
	return err
}

// start starts the program (again), and gives the time until its first signature.
func (i *installation) start() (time.Duration, error) {
	if err := i.stop(); err != nil {
		return 0, err
	}
	began := time.Now()
	err := i.launch(i.sign)
	return time.Since(began), err
}

// launch starts the program, and asks until it answers.
func (i *installation) launch(ask func(*grpc.ClientConn) error) (err error) {
	if i.process, err = i.rig.start(exec.CommandContext(i.rig.ctx, i.program, "--config", i.configFile()), nil); err != nil {
		return err
	}
	return i.await(ask)
}

// stop ends the program, if it runs.
func (i *installation) stop() error {
	if i == nil {
		return nil
	}
	p := i.process
	i.process = nil
	return p.stop()
}

func (i *installation) connect(client *tls.Config) (*target, error) {
	return connect(i.process.pid(), socketIn(i.dir, applications), i.address, client)
}

// dial connects to a socket, and tries again soon while it does not exist.
func (i *installation) dial(name string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+socketIn(i.dir, name), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: glance, Multiplier: 1, MaxDelay: glance}, MinConnectTimeout: time.Second,
		}))
}

// sign asks for one signature.
func (i *installation) sign(conn *grpc.ClientConn) error {
	op := i.rig.operations[nameES384]
	return conn.Invoke(i.rig.ctx, op.method, op.request, op.answer())
}

// nothingYet asks for a signature with a key that is still to come, as is the policy.
func (i *installation) nothingYet(conn *grpc.ClientConn) error {
	if err := i.sign(conn); status.Code(err) != codes.PermissionDenied {
		return err
	}
	return nil
}

// await asks until the answer is no longer that the program is not there, or not ready.
func (i *installation) await(ask func(*grpc.ClientConn) error) (err error) {
	conn, err := i.dial(applications)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for {
		err := ask(conn)
		if err == nil {
			return nil
		}
		if status.Code(err) != codes.Unavailable {
			return fmt.Errorf("%s does not sign: %w", filepath.Base(i.program), err)
		}
		select {
		case <-i.process.exited:
			return fmt.Errorf("%s did not start: %w\n%s", filepath.Base(i.program), i.process.err, i.rig.lastLines())
		case <-time.After(glance):
		}
	}
}
