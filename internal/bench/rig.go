package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"
)

// logFile is where all programs write what they log; of requests that are answered, that is nothing.
const logFile = "log"

// programs are what is installed, by the server that it is in the report.
var programs = map[string]string{serverSignerd: "signerd", serverUnaudited: "signerd-unaudited"}

// rig is everything that runs while the bench measures.
type rig struct {
	ctx           context.Context
	bin, dir      string
	accounts      *accounts
	operations    map[string]operation
	installations map[string]*installation // by server
	echo          *process
	targets       map[string]*target // by server
	starts        []time.Duration    // from the start of signerd to its first signature
}

// prepare leaves all servers running, connected to, and giving right answers.
func (r *rig) prepare(starts int) error {
	client, err := makeCertificates(r.dir)
	if err != nil {
		return err
	}
	if r.accounts, err = newAccounts(); err != nil {
		return err
	}
	r.operations = newOperations(r.ctx, r.accounts)
	r.installations, r.targets = make(map[string]*installation), make(map[string]*target)
	for _, server := range []string{serverSignerd, serverUnaudited} {
		if r.installations[server], err = r.install(server); err != nil {
			return err
		}
		if err := r.run(server, starts, client); err != nil {
			return err
		}
	}
	if err := r.recordAnswers(); err != nil {
		return err
	}
	address := ""
	if r.echo, address, err = r.startEcho(); err != nil {
		return err
	}
	if r.targets[serverEcho], err = connect(r.echo.pid(), socketIn(r.dir, serverEcho), address, client); err != nil {
		return err
	}
	return errors.Join(r.check(serverUnaudited), r.check(serverEcho))
}

// run starts what is installed, signerd so many times, and connects to it.
func (r *rig) run(server string, starts int, client *tls.Config) (err error) {
	if server != serverSignerd {
		starts = 1
	}
	for range starts {
		took, err := r.installations[server].start()
		if err != nil {
			return err
		}
		if server == serverSignerd {
			r.starts = append(r.starts, took)
		}
	}
	r.targets[server], err = r.installations[server].connect(client)
	return err
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

// check wants answers as good as signerd's.
func (r *rig) check(server string) error {
	for _, op := range r.operations {
		if err := r.targets[server].checkAll(r.ctx, op, op.check); err != nil {
			return fmt.Errorf("%s: %w", server, err)
		}
	}
	return nil
}

// close ends what was started.
func (r *rig) close() error {
	var errs []error
	for _, t := range r.targets {
		if t != nil {
			errs = append(errs, t.close())
		}
	}
	for _, i := range r.installations {
		errs = append(errs, i.stop())
	}
	errs = append(errs, r.echo.stop())
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
