package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/tlsfiles"
	"github.com/signerd/signerd/server"
)

// tlsLook is how often the files of tls are looked at.
const tlsLook = 5 * time.Second

// loadTLS reads the files of tls, nil if no port is to be opened.
func loadTLS(c config.TLS) (*tlsfiles.Source, error) {
	if !c.Enabled() {
		return nil, nil
	}
	source, err := tlsfiles.Load(c.Files(), time.Now)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return source, nil
}

// listenTLS serves applications over TLS, if so configured, and keeps up with the files until stop is called.
func (d daemon) listenTLS(s *server.Server, seen *observed, failed chan<- error) (stop func(), err error) {
	source, err := loadTLS(d.config.TLS)
	if source == nil {
		return func() {}, err
	}
	l, err := net.Listen("tcp", d.config.TLS.Address)
	if err != nil {
		return nil, fmt.Errorf("tls.address: %w", err)
	}
	seen.tls.Store(source)
	stop = d.followTLS(source)
	d.log.Info("listening", "tls", l.Addr().String(), "certificate_ends", source.NotAfter())
	go func() { failed <- s.ServeTLS(l, source) }()
	return stop, nil
}

// followTLS puts new files in force when they change and on SIGHUP.
func (d daemon) followTLS(source *tlsfiles.Source) (stop func()) {
	tell := func(err error) {
		if err != nil {
			d.log.Error("TLS files are refused; what was in force stays", "cause", err.Error())
			return
		}
		d.log.Info("TLS files are in force", "certificate_ends", source.NotAfter())
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	done := make(chan struct{})
	var following sync.WaitGroup
	following.Go(func() { source.Watch(done, tlsLook, tell) })
	following.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-hangup:
				tell(source.Reload())
			}
		}
	})
	return func() {
		signal.Stop(hangup)
		close(done)
		following.Wait()
	}
}
