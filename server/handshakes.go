package server

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// handshakeLogInterval keeps strangers from filling the log: one line in that time, which says how many were left out.
const handshakeLogInterval = time.Second

// handshakes tells metrics and log of TLS connections that did not come about.
type handshakes struct {
	metrics Metrics
	log     *slog.Logger
	now     func() time.Time

	mu      sync.Mutex
	last    time.Time
	omitted int
}

// failed is safe for concurrent use.
func (h *handshakes) failed(remote net.Addr, err error) {
	h.metrics.HandshakeFailed()
	// Whoever connects and goes without a word, as load balancers do to see whether a port is open, is only counted.
	if errors.Is(err, io.EOF) {
		return
	}
	h.mu.Lock()
	now := h.now()
	if since := now.Sub(h.last); since >= 0 && since < handshakeLogInterval {
		h.omitted++
		h.mu.Unlock()
		return
	}
	omitted := h.omitted
	h.last, h.omitted = now, 0
	h.mu.Unlock()
	h.log.Warn("TLS handshake failed", "remote", remote.String(), "cause", printable(err.Error()), "omitted_before", omitted)
}

const (
	maxCauseBytes = 300
	ellipsis      = "…"
)

// printable bounds an error's text, and takes out what a terminal might obey: errors quote what a stranger's certificate says.
func printable(text string) string {
	// No character shrinks to half its size, so that what is cut here would not be shown.
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, text[:min(len(text), 2*maxCauseBytes)])
	if len(text) <= maxCauseBytes {
		return text
	}
	cut := maxCauseBytes - len(ellipsis)
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + ellipsis
}
