package main

import (
	"fmt"
	"net"
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

// listenTLS serves applications over TLS; source is nil if no port is to be opened.
func (d daemon) listenTLS(s *server.Server, source *tlsfiles.Source, failed chan<- error) error {
	if source == nil {
		return nil
	}
	l, err := net.Listen("tcp", d.config.TLS.Address)
	if err != nil {
		return fmt.Errorf("tls.address: %w", err)
	}
	d.log.Info("listening", "tls", l.Addr().String(), "certificate_ends", source.NotAfter())
	go func() { failed <- s.ServeTLS(l, source) }()
	return nil
}
