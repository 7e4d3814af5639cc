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

	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
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
		Audit:       config.Audit{Dir: filepath.Join(dir, "audit")},
		AdminSocket: socket, ShutdownTimeout: config.Duration(devShutdown), Confinement: config.ConfineBestEffort,
	}
	if err := hideMemory(c); err != nil {
		return err
	}
	if _, err := prepare(ctx, c); err != nil && !errors.Is(err, keystore.ErrInitialized) {
		return explain(err)
	}
	user, err := policy.UnixCaller(uint32(os.Geteuid()))
	if err != nil {
		return fmt.Errorf("signerd dev serves the user who starts it: %w", err)
	}
	bounds, err := policy.NewBounds([]string{user.String()}, nil, server.Always())
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	root, err := shutIn(ctx, "", c, log)
	if err != nil {
		return err
	}
	d := daemon{
		config: c, log: log, root: root,
		serving:   server.Config{Bounds: bounds, Log: log, Version: version.Version, Development: true},
		noon:      noon.BrokerConfig{Destinations: noon.Destinations{LoopbackHTTP: true}},
		oneSocket: true,
		opened:    func(ctx context.Context, keys *keystore.Keystore) error { return everythingFor(ctx, keys, user) },
		ready:     func() { greet(stdout, dir, socket.Path) },
	}
	return d.run(ctx)
}

// everythingFor sets the policy that `signerd dev` begins with, unless there is one.
func everythingFor(ctx context.Context, keys *keystore.Keystore, user policy.Caller) error {
	if keys.View().Policy().Generation != 0 {
		return nil
	}
	document, err := proto.Marshal(&adminv1.Policy{Rules: []*adminv1.PolicyRule{{
		Name: "everything-for-this-user", Description: "What signerd dev begins with.", Effect: adminv1.PolicyEffect_POLICY_EFFECT_ALLOW,
		Callers: []string{user.String()}, Keys: []string{policy.Any}, Operations: []string{policy.Any},
	}}})
	if err != nil {
		return err
	}
	_, err = keys.SetPolicy(ctx, keystore.Actor(user.String()), 0, document)
	return err
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
