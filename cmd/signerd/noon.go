package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/tlsfiles"
	"github.com/signerd/signerd/upstream/noon"
)

// noonConfig says how the broker of Noon sessions works, and logs each login before it is sent and after.
func noonConfig(c *config.Config, log *slog.Logger) (noon.BrokerConfig, error) {
	out := noon.BrokerConfig{
		Destinations: noon.Destinations{BaseURLs: c.Noon.BaseURLs},
		Life:         time.Duration(c.Noon.SessionLife), Timeout: time.Duration(c.Noon.Timeout),
		ProxyFromEnvironment: c.Noon.ProxyFromEnvironment,
		LoginStarting: func(a noon.Account) (func(noon.Outcome, error), error) {
			log.Info("noon login", "key", a.Key, "key_version", a.Version, "outcome", "starting")
			return func(outcome noon.Outcome, err error) {
				attrs, level := []any{"key", a.Key, "key_version", a.Version, "outcome", string(outcome)}, slog.LevelInfo
				if err != nil {
					attrs, level = append(attrs, "cause", err.Error()), slog.LevelWarn
				}
				log.Log(context.Background(), level, "noon login", attrs...)
			}, nil
		},
	}
	if c.Noon.CAFile == "" {
		return out, nil
	}
	roots, err := tlsfiles.Roots(c.Noon.CAFile)
	if err != nil {
		return noon.BrokerConfig{}, fmt.Errorf("noon.ca_file: %w", err)
	}
	out.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return out, nil
}
