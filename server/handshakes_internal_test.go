package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

// TestAHandshakeLogsAShortPrintableCause has what a certificate can bring into an error: names are up to a quarter of a
// mebibyte of anything.
func TestAHandshakeLogsAShortPrintableCause(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, cause, want string }{
		{"short", "x509: cannot parse it: é", "x509: cannot parse it: é"},
		{"control characters", "a\r\nb\x1b[31m\x00\u009b2J\u2028\u202ec", "a\ufffd\ufffdb\ufffd[31m\ufffd\ufffd2J\ufffd\ufffdc"},
		{"not UTF-8", "a\xff\xfeb", "a\ufffd\ufffdb"},
		{"as long as may be", strings.Repeat("a", 300), strings.Repeat("a", 300)},
		{"too long", strings.Repeat("a", 301), strings.Repeat("a", 297) + "…"},
		{"too long, cut within a character", strings.Repeat("é", 1<<17), strings.Repeat("é", 148) + "…"},
		{"too long once it is printable", strings.Repeat("\x00", 200), strings.Repeat("\ufffd", 99) + "…"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			h := &handshakes{metrics: noMetrics{}, log: slog.New(slog.NewJSONHandler(&log, nil)), now: time.Now}
			h.failed(&net.TCPAddr{}, errors.New(tt.cause))
			var line struct{ Cause string }
			if err := json.Unmarshal(log.Bytes(), &line); err != nil || line.Cause != tt.want || len(line.Cause) > 300 {
				t.Errorf("got %q (%v), want %q", line.Cause, err, tt.want)
			}
		})
	}
}

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
