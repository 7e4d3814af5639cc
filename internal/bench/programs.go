package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
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
