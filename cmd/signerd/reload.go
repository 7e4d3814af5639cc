package main

import (
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/tlsfiles"
	"github.com/signerd/signerd/server"
)

// settings are what a running signerd was told by its configuration file, and can be told anew by SIGHUP.
type settings struct {
	file    string
	log     *slog.Logger
	level   *slog.LevelVar
	hangup  chan os.Signal
	current atomic.Pointer[config.Config]
}

// newSettings also makes the log, and keeps SIGHUP from ending the process until close.
func newSettings(file string, c *config.Config, stderr io.Writer) (*settings, error) {
	level, err := logLevel(c)
	if err != nil {
		return nil, err
	}
	s := &settings{file: file, level: new(slog.LevelVar), hangup: make(chan os.Signal, 1)}
	s.level.Set(level)
	s.log = slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: s.level}))
	s.current.Store(c)
	signal.Notify(s.hangup, syscall.SIGHUP)
	stdlog.SetFlags(0)
	stdlog.SetOutput(wordless{s.log})
	return s, nil
}

// wordless takes the place of package log's output, to which libraries write what strangers sent: net/http quotes what it
// could not read, cookies included.
type wordless struct{ log *slog.Logger }

// Write implements io.Writer.
func (w wordless) Write(p []byte) (int, error) {
	w.log.Warn("a library has something to say; its words are left out, for they may quote what was sent", "bytes", len(p))
	return len(p), nil
}

func (s *settings) close() { signal.Stop(s.hangup) }

// reload puts the configuration file in force as it is now: all of it, or, on an error, nothing. tls is nil without a TLS
// port.
func (s *settings) reload(serving *server.Server, tls *tlsfiles.Source) error {
	next, err := readConfig(s.file)
	if err != nil {
		return err
	}
	if fields := s.current.Load().NeedsRestart(next); len(fields) > 0 {
		return fmt.Errorf("a change of %s needs a restart", strings.Join(fields, ", "))
	}
	level, err := logLevel(next)
	if err != nil {
		return err
	}
	if tls != nil {
		if err := tls.Replace(next.TLS.Files()); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
	}
	// Nothing from here on can fail.
	serving.SetBounds(next.Bounds())
	s.level.Set(level)
	s.current.Store(next)
	// What is open stays open: this can only be told.
	if err := checkPermissions(next); err != nil {
		s.log.Warn("a start would be refused", "cause", err.Error())
	}
	return nil
}

func logLevel(c *config.Config) (slog.Level, error) {
	var level slog.Level
	err := level.UnmarshalText([]byte(c.LogLevel))
	return level, err
}

// follow puts a new configuration in force on SIGHUP, and new TLS files when they change, until stop is called.
func (s *settings) follow(serving *server.Server, tls *tlsfiles.Source) (stop func()) {
	if s == nil {
		return func() {}
	}
	done := make(chan struct{})
	var following sync.WaitGroup
	if tls != nil {
		following.Go(func() { tls.Watch(done, tlsLook, s.tellTLS(tls)) })
	}
	following.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-s.hangup:
				s.tell(s.reload(serving, tls))
			}
		}
	})
	return func() {
		close(done)
		following.Wait()
	}
}

func (s *settings) tell(err error) {
	if err != nil {
		s.log.Error("configuration is refused; what was in force stays", "cause", err.Error())
		return
	}
	s.log.Info("configuration is in force", "file", s.file)
}

func (s *settings) tellTLS(tls *tlsfiles.Source) func(error) {
	return func(err error) {
		if err != nil {
			s.log.Error("TLS files are refused; what was in force stays", "cause", err.Error())
			return
		}
		s.log.Info("TLS files are in force", "certificate_ends", tls.NotAfter())
	}
}
