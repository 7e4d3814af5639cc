package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/version"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/server"
	"github.com/signerd/signerd/upstream/noon"
)

// devShutdown is how long `signerd dev` drains.
const devShutdown = 5 * time.Second

// serveDev is `signerd dev`: its own folder, root key, store and policy, and one socket for everything.
func serveDev(ctx context.Context, dir string, stdout, stderr io.Writer) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	socket := config.Socket{Path: filepath.Join(dir, "signerd.sock"), Mode: 0o600}
	c := &config.Config{
		Store: filepath.Join(dir, "keys.db"), Anchor: filepath.Join(dir, "anchor"),
		RootKey:     config.RootKey{File: filepath.Join(dir, "root.key")},
		AdminSocket: socket, ShutdownTimeout: config.Duration(devShutdown),
	}
	if _, err := prepare(ctx, c); err != nil && !errors.Is(err, keystore.ErrInitialized) {
		return explain(err)
	}
	p, err := everythingForThisUser()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	d := daemon{
		config: c, log: log,
		serving:   server.Config{Policy: p, Log: log, Version: version.Version, Development: true},
		noon:      noon.BrokerConfig{Destinations: noon.Destinations{LoopbackHTTP: true}},
		oneSocket: true,
		ready:     func() { greet(stdout, dir, socket.Path) },
	}
	return d.run(ctx)
}

// everythingForThisUser is the policy of `signerd dev`.
func everythingForThisUser() (*policy.Policy, error) {
	caller, err := policy.UnixCaller(uint32(os.Geteuid()))
	if err != nil {
		return nil, fmt.Errorf("signerd dev serves the user who starts it: %w", err)
	}
	return policy.New([]policy.Grant{{
		Callers: []policy.Caller{caller}, Keys: []string{policy.Any}, Operations: []policy.Operation{policy.Any},
	}}, server.Operations())
}

func greet(out io.Writer, dir, socket string) {
	_, _ = fmt.Fprintf(out, `signerd dev is serving, for development only: the root key lies beside the store, in
%s. Do not give it production keys.

Next, in another terminal:

  export SIGNERD_ADDRESS=unix://%s
  signerctl status
  signerctl key create my-noah-key --env sandbox
  signerctl key list

Ctrl-C stops it; the keys stay.
`, dir, socket)
}
