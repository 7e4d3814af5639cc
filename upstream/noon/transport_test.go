package noon_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noon"
)

// credentialAt is a credential whose base URL is base.
func credentialAt(t *testing.T, base string, destinations noon.Destinations) *noon.Credential {
	t.Helper()
	scheme := noon.Scheme{Destinations: destinations}
	m, _, err := scheme.Import(upstream.Prod, upstream.Material{
		upstream.PartCredentials: secret.New(credentialFile(t)), upstream.PartBaseURL: secret.New([]byte(base)),
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := scheme.Open(m)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*noon.Credential)
}

// What net/http prints by package log is on standard error, where no secret may be.
func TestAnAnswerThatNobodyAskedForIsNotPrinted(t *testing.T) {
	var printed bytes.Buffer
	before := log.Writer()
	log.SetOutput(&printed)
	defer log.SetOutput(before)
	ended := make(chan struct{})
	b, c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nSet-Cookie: _npsid=one\r\nContent-Length: 0\r\n\r\n"+
			"HTTP/1.1 200 OK\r\nSet-Cookie: _npsid="+canary+"\r\nContent-Length: 0\r\n\r\n")
		// The client has ended the connection only after it has looked at what else was on it.
		_, _ = io.Copy(io.Discard, conn)
	}), false)
	if _, err := b.Session(t.Context(), account, c, ""); err != nil {
		t.Error(err)
	}
	<-ended
	log.SetOutput(before)
	if printed.Len() > 0 {
		t.Errorf("net/http printed %q", printed.String())
	}
}

// A stream that is refused was not processed, and net/http sends it again on its own.
func TestALoginThatAnHTTP2GatewayRefusesIsSentOnce(t *testing.T) {
	certificate, roots := serverCertificate(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	var sent, recorded atomic.Int32
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				sent.Add(refuseStreams(conn.(*tls.Conn)))
			})
		}
	})
	base := "https://" + l.Addr().String()
	destinations := noon.Destinations{BaseURLs: []string{base}}
	b := noon.NewBroker(noon.BrokerConfig{
		Destinations: destinations, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, Timeout: 5 * time.Second,
		LoginStarting: func(noon.Account) (func(noon.Outcome, error), error) {
			recorded.Add(1)
			return nil, nil
		},
	})
	if _, err := b.Session(t.Context(), account, credentialAt(t, base, destinations), ""); !errors.Is(err, noon.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	b.Close()
	_ = l.Close()
	serving.Wait()
	if sent.Load() != 1 || recorded.Load() != 1 {
		t.Errorf("%d logins were sent, %d were on record", sent.Load(), recorded.Load())
	}
}

// refuseStreams counts the requests of a connection. It answers none: over HTTP/2 it refuses each stream.
func refuseStreams(conn *tls.Conn) (requests int32) {
	if conn.Handshake() != nil {
		return 0
	}
	if conn.ConnectionState().NegotiatedProtocol != "h2" {
		text, _ := io.ReadAll(io.LimitReader(conn, int64(len("POST"))))
		return int32(strings.Count(string(text), "POST"))
	}
	const preface, data, reset, settings, endStream, refused = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, 3, 4, 1, 7
	if _, err := io.ReadFull(conn, make([]byte, len(preface))); err != nil {
		return 0
	}
	_, _ = conn.Write([]byte{0, 0, 0, settings, 0, 0, 0, 0, 0})
	for {
		var header [9]byte
		if _, err := io.ReadFull(conn, header[:]); err != nil {
			return requests
		}
		length := int64(header[0])<<16 | int64(header[1])<<8 | int64(header[2])
		if _, err := io.CopyN(io.Discard, conn, length); err != nil {
			return requests
		}
		if header[3] == data && header[4]&endStream != 0 {
			requests++
			frame := append([]byte{0, 0, 4, reset, 0}, header[5:]...)
			_, _ = conn.Write(binary.BigEndian.AppendUint32(frame, refused))
		}
	}
}

// serverCertificate is one for 127.0.0.1, and the roots that it comes from.
func serverCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return server.TLS.Certificates[0], roots
}

// A gateway that hangs up without an answer looks to net/http like a connection that had idled too long.
func TestALoginIsNotSentAgainWhenTheGatewayHangsUp(t *testing.T) {
	var sent atomic.Int32
	b, c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if sent.Add(1) == 1 {
			http.SetCookie(w, &http.Cookie{Name: "_npsid", Value: "one"})
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.Close()
	}), false)
	for i := range 2 {
		next := account
		next.Version, next.Generation = next.Version+uint32(i), next.Generation+uint64(i)
		_, err := b.Session(t.Context(), next, c, "")
		if (err == nil) != (i == 0) {
			t.Errorf("login %d: %v", i, err)
		}
	}
	if sent.Load() != 2 {
		t.Errorf("%d logins were sent, want 2", sent.Load())
	}
}
