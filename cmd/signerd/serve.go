package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/metrics"
	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/internal/version"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/bolt"
	"github.com/signerd/signerd/server"
	"github.com/signerd/signerd/upstream/noon"
)

// serve is `signerd --config FILE`.
func serve(ctx context.Context, configFile string, stderr io.Writer) error {
	c, err := load(configFile)
	if err != nil {
		return err
	}
	told, err := newSettings(configFile, c, stderr)
	if err != nil {
		return err
	}
	defer told.close()
	if err := checkPermissions(c); err != nil {
		return explain(err)
	}
	root, err := shutIn(ctx, configFile, c, told.log)
	if err != nil && ctx.Err() != nil {
		told.log.Info("stopping before anything was served")
		return nil
	}
	if err != nil {
		return err
	}
	gateway, err := noonConfig(c, told.log)
	if err != nil {
		return err
	}
	traces, stopTracing, err := startTracing(c.Tracing, told.log)
	if err != nil {
		return err
	}
	defer stopTracing()
	var next coming
	d := daemon{
		config: c, log: told.log, root: root, noon: gateway,
		serving: server.Config{Bounds: c.Bounds(), Log: told.log, Version: version.Version, Reflection: c.Reflection, Traces: traces, Limits: server.Limits{
			MaxMessageBytes: c.Limits.MaxMessageBytes, MaxConcurrentStreams: c.Limits.MaxConcurrentStreams,
			MaxConcurrentCalls: c.Limits.MaxConcurrentCalls, MaxRefusals: c.Limits.MaxRefusals, RefusalsPerSecond: c.Limits.RefusalsPerSecond,
		}, QueryValues: c.Audit.QueryValues,
			NextRootKey: func(ctx context.Context) (keystore.RootKey, error) {
				return next.now(ctx, told.current.Load().NextRootKey)
			}},
		settings: told,
		next:     &next,
		ready:    func() {},
	}
	return d.run(ctx)
}

// daemon is one run of signerd.
type daemon struct {
	config  *config.Config
	log     *slog.Logger
	root    rootKeys
	serving server.Config
	noon    noon.BrokerConfig
	// settings are what SIGHUP changes; nil under `signerd dev`.
	settings *settings
	// next takes the root key to come as it is at start; nil for nobody.
	next *coming
	// opened is called before anything is served from the open keystore; nil for nothing to do.
	opened func(context.Context, *keystore.Keystore) error
	// ready is called once requests are served.
	ready func()
	// oneSocket serves operators and applications on the admin socket: `signerd dev`.
	oneSocket bool
}

// files opens what the configuration names. The store's file is locked from then on. isNew says that the store is being made.
func files(ctx context.Context, c *config.Config, gateways noon.Destinations, isNew bool) (keystore.Config, error) {
	root, err := openRootKeys(ctx, c, isNew)
	if err != nil {
		return keystore.Config{}, err
	}
	return filesWith(c, root, gateways)
}

// filesWith is files with the root keys that were opened already.
func filesWith(c *config.Config, root rootKeys, gateways noon.Destinations) (keystore.Config, error) {
	recovery, err := recoveryPublic(c.RootKey)
	if err != nil {
		return keystore.Config{}, err
	}
	store, err := bolt.Open(c.Store)
	if err != nil {
		return keystore.Config{}, err
	}
	return keystore.Config{Store: store, Anchor: audit.NewAnchorFile(c.Anchor), RootKey: root.now, NextRootKey: root.next, Recovery: recovery,
		Schemes: server.Schemes(gateways), Compile: server.CompilePolicy}, nil
}

// run serves until ctx ends, and then drains.
func (d daemon) run(ctx context.Context) (err error) {
	d.log.Info("cryptography", "fips140", version.FIPS(), "module", version.Module(), "erasing", secret.Erasing)
	kc, err := filesWith(d.config, d.root, d.noon.Destinations)
	if err != nil {
		return explain(notYet(err))
	}
	defer func() { err = errors.Join(err, kc.Store.Close()) }()
	if d.next != nil {
		*d.next = coming{d.config.NextRootKey, kc.NextRootKey}
	}
	var seen observed
	m := metrics.New(version.Version, seen.state)
	if next := d.serving.NextRootKey; next != nil {
		d.serving.NextRootKey = withSameRecoveryKey(d.config.RootKey, kc.Recovery, next)
	}
	d.serving.Metrics, d.serving.Noon, d.serving.CopyLost = m, d.noon, seen.copyLost
	s, err := server.New(d.serving)
	if err != nil {
		return err
	}
	seen.server.Store(s)
	records := recording{copies: copies(d.config.Audit.Copy, d.log)}
	seen.copied.Store(records.copies)
	defer func() { err = errors.Join(err, records.close()) }()
	defer s.Close()
	certificates, err := loadTLS(d.config.TLS)
	if err != nil {
		return err
	}
	seen.tls.Store(certificates)
	failed := make(chan error, 4) // one a listener
	if d.config.Metrics.Address != "" {
		stop, err := serveMetrics(d.config.Metrics.Address, m, d.log, failed)
		if err != nil {
			return err
		}
		defer stop()
	}
	closeAll, err := d.listen(s, failed)
	// Whatever becomes of the server, no socket stays behind.
	defer closeAll()
	if err != nil {
		return errors.Join(err, d.shutdown(s))
	}
	if err := d.listenTLS(s, certificates, failed); err != nil {
		return errors.Join(err, d.shutdown(s))
	}
	stopSettings := d.settings.follow(s, certificates)
	defer stopSettings()
	// Health says NOT_SERVING from here until every key is loaded.
	keys, err := d.open(ctx, kc, s, &records)
	if err != nil && ctx.Err() != nil {
		d.log.Info("stopping before anything was served")
		return d.shutdown(s)
	}
	if err != nil {
		return explain(errors.Join(err, d.shutdown(s)))
	}
	tellRecovery(keys, d.log)
	stats := keys.Stats()
	d.log.Info("serving", "version", version.Version, "keys", stats.Keys, "root_key", stats.RootKeyID, "store_counter", stats.Counter)
	d.ready()

	stopWatching := watchRootKey(kc.RootKey, d.log)
	defer stopWatching()
	following, stopFollowing := context.WithCancel(context.WithoutCancel(ctx))
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		if err := keys.Follow(following); following.Err() == nil {
			s.CloseKeys(err)
		}
	}()
	defer func() { stopFollowing(); <-followed }()

	select {
	case <-ctx.Done():
		d.log.Info("stopping: requests under way are answered, new ones refused")
	case err = <-failed:
	}
	return errors.Join(err, d.shutdown(s))
}

// open opens the keystore and the audit log, and starts serving from the one and recording in the other.
func (d daemon) open(ctx context.Context, kc keystore.Config, s *server.Server, records *recording) (*keystore.Keystore, error) {
	var keys *keystore.Keystore
	err := patiently(ctx, func() (err error) {
		keys, err = keystore.Open(ctx, kc)
		return err
	}, func(err error, pause time.Duration) {
		d.log.Warn("the keys cannot be loaded yet", "cause", err.Error(), "again_in", pause.String())
		s.RootKeyAway(err)
	})
	if err != nil {
		return nil, err
	}
	if err := records.open(ctx, d.config.Audit, keys, kc.Anchor, d.log, s.AuditChanged); err != nil {
		return nil, err
	}
	if d.opened != nil {
		if err := d.opened(ctx, keys); err != nil {
			return nil, err
		}
	}
	s.Open(keys, records.log)
	// Opening thousands of keys leaves as much behind: the system gets it back, remains of records in it too.
	debug.FreeOSMemory()
	return keys, nil
}

// listen starts the listeners on Unix sockets. closeAll closes those that were started.
func (d daemon) listen(s *server.Server, failed chan<- error) (closeAll func(), err error) {
	var listeners []net.Listener
	closeAll = func() {
		for _, l := range listeners {
			_ = l.Close() // the server has closed it, as a rule
		}
	}
	start := func(socket config.Socket, serve func(net.Listener) error) error {
		l, err := listen(socket.Path, socket.Mode.FS())
		if err != nil {
			return err
		}
		listeners = append(listeners, l)
		d.log.Info("listening", "socket", socket.Path)
		go func() { failed <- serve(l) }()
		return nil
	}
	if err := start(d.config.AdminSocket, s.ServeOperators); err != nil {
		return closeAll, err
	}
	if d.oneSocket {
		return closeAll, nil
	}
	return closeAll, start(d.config.Socket, s.ServeApplications)
}

func (d daemon) shutdown(s *server.Server) error {
	patience := d.config.ShutdownTimeout
	if d.settings != nil {
		patience = d.settings.current.Load().ShutdownTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(patience))
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		return fmt.Errorf("requests were cut off at the shutdown timeout: %w", err)
	}
	return nil
}
