package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"
)

// The sockets of signerd, and its log: a regular file, with a JSON line for each request.
const (
	applications = "app"
	operators    = "admin"
	logFile      = "log"
)

// rig is everything that runs while the bench measures.
type rig struct {
	ctx        context.Context
	bin, dir   string
	accounts   *accounts
	operations map[string]operation
	signerd    *process
	echo       *process
	targets    map[string]*target
	starts     []time.Duration // from the start of a process to its first signature
}

// prepare leaves signerd and the echo running, connected to, and giving right answers.
func (r *rig) prepare(starts int) error {
	client, err := makeCertificates(r.dir)
	if err != nil {
		return err
	}
	if r.accounts, err = newAccounts(); err != nil {
		return err
	}
	r.operations = newOperations(r.ctx, r.accounts)
	address, err := r.initialize()
	if err != nil {
		return err
	}
	if err := r.importKeys(); err != nil {
		return err
	}
	for range starts {
		if err := r.startSignerd(); err != nil {
			return err
		}
	}
	r.targets = make(map[string]*target)
	if r.targets[serverSignerd], err = connect(r.signerd.pid(), socketIn(r.dir, applications), address, client); err != nil {
		return err
	}
	if err := r.recordAnswers(); err != nil {
		return err
	}
	if r.echo, address, err = r.startEcho(); err != nil {
		return err
	}
	if r.targets[serverEcho], err = connect(r.echo.pid(), socketIn(r.dir, serverEcho), address, client); err != nil {
		return err
	}
	return r.checkEcho()
}

// initialize configures signerd as its operators do, with every port open, and makes its store.
func (r *rig) initialize() (tlsAddress string, err error) {
	tlsAddress, err = freeAddress()
	if err != nil {
		return "", err
	}
	metricsAddress, err := freeAddress()
	if err != nil {
		return "", err
	}
	config := fmt.Appendf(nil, `store: keys.db
anchor: anchor
root_key: {file: root.key}
socket: {path: %q}
admin_socket: {path: %q}
tls: {address: %q, certificate: %q, key: %q, client_ca: %q}
metrics: {address: %q}
noon: {base_urls: [%q]}
administrators: ["unix:uid=%d"]
`, socketIn(r.dir, applications), socketIn(r.dir, operators), tlsAddress, certificateFile, privateKeyFile, authorityFile,
		metricsAddress, r.accounts.gateway.URL, os.Geteuid())
	if err := os.WriteFile(r.configFile(), config, 0o600); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(r.ctx, r.program(), "init", "--config", r.configFile()).CombinedOutput(); err != nil {
		return "", fmt.Errorf("signerd init: %w\n%s", err, out)
	}
	return tlsAddress, nil
}

func (r *rig) program() string    { return filepath.Join(r.bin, "signerd") }
func (r *rig) configFile() string { return filepath.Join(r.dir, "signerd.yaml") }

// freeAddress is a loopback address that nobody listened on a moment ago.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// recordAnswers checks what signerd answers, and writes it down for the echo.
func (r *rig) recordAnswers() error {
	recorded := make(answers)
	for _, op := range r.operations {
		err := r.targets[serverSignerd].checkAll(r.ctx, op, func(got answer) error {
			text, err := proto.Marshal(got)
			recorded[op.method] = merge(recorded[op.method], op.key, text)
			return errors.Join(err, op.check(got))
		})
		if err != nil {
			return err
		}
	}
	text, err := json.Marshal(recorded)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.dir, answersFile), text, 0o600)
}

func merge(into map[string][]byte, key string, value []byte) map[string][]byte {
	if into == nil {
		into = make(map[string][]byte)
	}
	into[key] = value
	return into
}

// checkEcho wants answers as long as signerd's, and as good.
func (r *rig) checkEcho() error {
	for _, op := range r.operations {
		if err := r.targets[serverEcho].checkAll(r.ctx, op, op.check); err != nil {
			return fmt.Errorf("the echo: %w", err)
		}
	}
	return nil
}

// emptyLog keeps the log from filling the disk, while nobody measures.
func (r *rig) emptyLog() error { return os.Truncate(filepath.Join(r.dir, logFile), 0) }

// close ends what was started.
func (r *rig) close() error {
	var errs []error
	for _, t := range r.targets {
		if t != nil {
			errs = append(errs, t.close())
		}
	}
	for _, p := range []*process{r.signerd, r.echo} {
		errs = append(errs, p.stop())
	}
	if r.accounts != nil {
		r.accounts.gateway.Close()
	}
	return errors.Join(errs...)
}

// lastLines is the end of the log, for errors.
func (r *rig) lastLines() []byte {
	text, err := os.ReadFile(filepath.Join(r.dir, logFile))
	if err != nil {
		return nil
	}
	const most = 2 << 10
	return bytes.TrimSpace(text[max(0, len(text)-most):])
}
