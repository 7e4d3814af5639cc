package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// glance is the time between two attempts to reach a program that is starting.
const glance = time.Millisecond

// process is a program that the rig started.
type process struct {
	cmd    *exec.Cmd
	end    func() error // asks it to end
	exited chan struct{}
	err    error // once it exited
}

// start starts a program that logs into the rig's log. end asks it to end; nil sends SIGTERM.
func (r *rig) start(cmd *exec.Cmd, end func() error) (*process, error) {
	// Appended to, so that it can be emptied in between.
	log, err := os.OpenFile(filepath.Join(r.dir, logFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd.Stderr = log
	cmd.Env = append(os.Environ(), fmt.Sprintf("GOGC=%d", gcPercent))
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if end == nil {
		end = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	}
	p := &process{cmd: cmd, end: end, exited: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the program, and wants it to end with 0.
func (p *process) stop() error {
	if p == nil {
		return nil
	}
	if err := p.end(); err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, os.ErrClosed) {
		return err
	}
	<-p.exited
	if p.err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(p.cmd.Path), p.err)
	}
	return nil
}

// dial connects to a socket of signerd's, and tries again soon while it does not exist.
func (r *rig) dial(name string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+socketIn(r.dir, name), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: glance, Multiplier: 1, MaxDelay: glance}, MinConnectTimeout: time.Second,
		}))
}

// importKeys fills the store. It is another process that then serves, as after any restart.
func (r *rig) importKeys() (err error) {
	p, err := r.start(exec.CommandContext(r.ctx, r.program(), "--config", r.configFile()), nil)
	if err != nil {
		return err
	}
	r.signerd = p
	if err := r.await(applications, r.nothingYet); err != nil {
		return err
	}
	conn, err := r.dial(operators)
	if err != nil {
		return err
	}
	if err := errors.Join(allow(r.ctx, conn), r.accounts.importInto(r.ctx, conn), conn.Close()); err != nil {
		return err
	}
	return r.stopSignerd()
}

// allow sets a policy of a rule for the callers of the bench.
func allow(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := adminv1.NewPolicyServiceClient(conn).SetPolicy(ctx, &adminv1.SetPolicyRequest{Policy: &adminv1.Policy{Rules: []*adminv1.PolicyRule{{
		Name: "bench", Effect: adminv1.PolicyEffect_POLICY_EFFECT_ALLOW, Callers: []string{fmt.Sprintf("unix:uid=%d", os.Geteuid()), loadCaller},
		Keys: []string{"*"}, Operations: []string{"*"},
	}}}})
	return err
}

// startSignerd starts signerd (again) and notes how long it took until the first signature.
func (r *rig) startSignerd() error {
	if err := r.stopSignerd(); err != nil {
		return err
	}
	cmd := exec.CommandContext(r.ctx, r.program(), "--config", r.configFile())
	began := time.Now()
	p, err := r.start(cmd, nil)
	if err != nil {
		return err
	}
	r.signerd = p
	if err := r.await(applications, r.sign); err != nil {
		return err
	}
	r.starts = append(r.starts, time.Since(began))
	return nil
}

func (r *rig) stopSignerd() error {
	p := r.signerd
	r.signerd = nil
	return p.stop()
}

// sign asks for one signature.
func (r *rig) sign(conn *grpc.ClientConn) error {
	op := r.operations[nameES384]
	return conn.Invoke(r.ctx, op.method, op.request, op.answer())
}

// nothingYet asks for a signature with a key that is still to come, as is the policy.
func (r *rig) nothingYet(conn *grpc.ClientConn) error {
	if err := r.sign(conn); status.Code(err) != codes.PermissionDenied {
		return err
	}
	return nil
}

// await asks until the answer is no longer that signerd is not there, or not ready.
func (r *rig) await(socket string, ask func(*grpc.ClientConn) error) (err error) {
	conn, err := r.dial(socket)
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
			return fmt.Errorf("signerd does not sign: %w", err)
		}
		select {
		case <-r.signerd.exited:
			return fmt.Errorf("signerd did not start: %w\n%s", r.signerd.err, r.lastLines())
		case <-time.After(glance):
		}
	}
}
