package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

// failures counts handshakes.
type failures struct {
	noMetrics
	n int
}

func (f *failures) HandshakeFailed() { f.n++ }

func TestFailedHandshakesAreCountedAndDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	m, now := &failures{}, time.Unix(1800000000, 0)
	h := &handshakes{metrics: m, log: slog.New(slog.NewTextHandler(&log, nil)), now: func() time.Time { return now }}
	from := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7}
	for range 1000 {
		h.failed(from, errors.New("no certificate"))
	}
	h.failed(from, fmt.Errorf("reading: %w", io.EOF))
	if got := strings.Count(log.String(), "\n"); got != 1 || m.n != 1001 {
		t.Errorf("%d lines of %d failures", got, m.n)
	}
	now = now.Add(handshakeLogInterval)
	h.failed(from, errors.New("another"))
	if text := log.String(); !strings.Contains(text, "omitted_before=999") || !strings.Contains(text, "192.0.2.1:7") || !strings.Contains(text, "no certificate") {
		t.Errorf("the log has %s", text)
	}
	now = now.Add(-time.Hour) // a clock that was set back must not silence the log
	h.failed(from, errors.New("set back"))
	if !strings.Contains(log.String(), "set back") {
		t.Error("nothing is logged after the clock was set back")
	}
}
