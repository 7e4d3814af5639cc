package noon_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/partners"
	"github.com/signerd/signerd/upstream/noon"
)

// answeringRaw writes the same bytes to everyone.
func answeringRaw(t *testing.T, raw string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, raw)
	})
}

func TestErrorsDoNotQuoteTheAnswer(t *testing.T) {
	for name, raw := range map[string]string{
		"no status line":                "Set-Cookie: _npsid=" + canary + "\r\n\r\n",
		"a status that is no number":    "HTTP/1.1 " + canary + " OK\r\n\r\n",
		"a version that is none":        "HTTP/9.9" + canary + " 200 OK\r\n\r\n",
		"a header without a colon":      "HTTP/1.1 200 OK\r\nSet-Cookie _npsid=" + canary + "\r\n\r\n",
		"a space before the colon":      "HTTP/1.1 200 OK\r\nSet-Cookie : _npsid=" + canary + "\r\n\r\n",
		"a length that is no number":    "HTTP/1.1 200 OK\r\nContent-Length: " + canary + "\r\n\r\n",
		"two lengths":                   "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2" + canary + "\r\n\r\n",
		"an unknown transfer encoding":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + canary + "\r\n\r\n",
		"a chunk without a length":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + canary + "\r\n",
		"a trailer that is none":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n0\r\n" + canary + " x\r\n\r\n",
		"gzip that is none":             "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\n" + canary,
		"a status of the gateway's own": "HTTP/1.1 299 " + canary + "\r\nContent-Length: 0\r\n\r\n",
		"nothing":                       "",
	} {
		t.Run(name, func(t *testing.T) {
			b, c := serve(t, answeringRaw(t, raw), false)
			s, err := b.Session(t.Context(), account, c, "")
			if s != nil || !errors.Is(err, noon.ErrUnavailable) || strings.Contains(err.Error(), canary) {
				t.Errorf("got %v, %v", s, err)
			}
		})
	}
}

// An operator must be able to tell a gateway that is down from one with another certificate.
func TestErrorsSayWhatIsWrongWithTheWayToTheGateway(t *testing.T) {
	dial := func(inner error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: inner} }
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"nobody listens", dial(errors.New("connection refused")), "dial tcp: connection refused"},
		{"no such name", dial(&net.DNSError{Err: "no such host", Name: "noon.example"}), "no such host"},
		{"an alert", &net.OpError{Op: "remote error", Err: errors.New("tls: handshake failure")}, "tls: handshake failure"},
		{"the deadline", context.DeadlineExceeded, "deadline exceeded"},
		{"plain HTTP where TLS should be", http.ErrSchemeMismatch, "HTTP response to HTTPS client"},
		{"a proxy that is down", &net.OpError{Op: "proxyconnect", Net: "tcp", Err: dial(errors.New("connection refused"))}, "the proxy: dial tcp: connection refused"},
		{"a proxy's words", &net.OpError{Op: "proxyconnect", Net: "tcp", Err: errors.New(canary)}, "the proxy: the answer is not well-formed"},
		{"a proxy's status", errors.New(canary), "not well-formed"},
		{"words read from the connection", &net.OpError{Op: "read", Net: "tcp", Err: errors.New(canary)}, "not well-formed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := noon.NewBroker(noon.BrokerConfig{Transport: failing{&url.Error{Op: "Post", URL: "https://" + canary, Err: tt.err}}})
			defer b.Close()
			_, err := b.Session(t.Context(), account, credentialForTest(t), "")
			if !errors.Is(err, noon.ErrUnavailable) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), canary) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// failing fails every request alike.
type failing struct{ err error }

// RoundTrip implements http.RoundTripper.
func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

func TestErrorsNameACertificateThatIsNotTrusted(t *testing.T) {
	_, c := serve(t, newPartner(t), true)
	b := noon.NewBroker(noon.BrokerConfig{Destinations: noon.Destinations{BaseURLs: []string{c.BaseURL()}}})
	defer b.Close()
	if _, err := b.Session(t.Context(), account, c, ""); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
}

func TestErrorsNameAGatewayThatHangsUp(t *testing.T) {
	n := newPartner(t)
	n.Fail(partners.HangUp)
	b, c := serve(t, n, false)
	if _, err := b.Session(t.Context(), account, c, ""); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("got %v", err)
	}
}
