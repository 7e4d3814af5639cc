package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/internal/certtest"
)

// installation is a folder with a configuration that serves over TLS.
type installation struct {
	dir, config, address string
	clients, servers     *certtest.Authority
}

func install(t *testing.T) *installation {
	t.Helper()
	dir, err := os.MkdirTemp("", "sd") // short, for the sockets
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	in := &installation{dir: dir, config: filepath.Join(dir, "signerd.yaml"), address: free.Addr().String(),
		clients: certtest.NewAuthority(t, "clients", time.Now()), servers: certtest.NewAuthority(t, "servers", time.Now())}
	must(t, free.Close())
	in.configure(t, "")
	in.renew(t)
	certtest.Replace(t, filepath.Join(dir, "ca.pem"), in.clients.PEM())
	if code := run(t.Context(), []string{"init", "--config", in.config}, io.Discard, io.Discard); code != 0 {
		t.Fatalf("init ended with %d", code)
	}
	return in
}

// configure writes the configuration: tls has what its section is to say beside what every test needs.
func (in *installation) configure(t *testing.T, tls string, more ...string) {
	t.Helper()
	certtest.Replace(t, in.config, fmt.Appendf(nil, `store: keys.db
anchor: anchor
root_key: {file: root.key}
audit: {dir: audit}
socket: {path: app.sock}
admin_socket: {path: admin.sock}
tls: {address: "%s", certificate: cert.pem, key: key.pem, client_ca: ca.pem%s}
%s
confinement: off # it would hold for all tests
`, in.address, tls, strings.Join(more, "\n")))
}

// renew gives the server a new certificate.
func (in *installation) renew(t *testing.T) *x509.Certificate {
	t.Helper()
	p := in.servers.Server(t)
	certtest.Replace(t, filepath.Join(in.dir, "cert.pem"), p.Certificate)
	certtest.Replace(t, filepath.Join(in.dir, "key.pem"), p.KeyPEM)
	return p.Leaf
}

// serve runs signerd until stop is called. logged waits for a line of its log.
func (in *installation) serve(t *testing.T) (logged func(text string) string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(r); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"--config", in.config}, io.Discard, w)
		_ = w.Close()
	}()
	logged = func(text string) string {
		t.Helper()
		for line := range lines {
			if strings.Contains(line, text) {
				return line
			}
		}
		t.Fatalf("signerd ended and never logged %q", text)
		return ""
	}
	return logged, func() {
		cancel()
		if code := <-ended; code != 0 {
			t.Errorf("signerd ended with %d", code)
		}
	}
}

func (in *installation) client(t *testing.T) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(in.servers.Certificate)
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{in.clients.Client(t, "spiffe://example.org/orders").TLS(t)}}
}

// shows is the certificate that the server shows now.
func (in *installation) shows(t *testing.T) *x509.Certificate {
	t.Helper()
	conn, err := tls.Dial("tcp", in.address, in.client(t))
	must(t, err)
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0]
}

func TestServingOverTLSKeepsUpWithItsFiles(t *testing.T) {
	in := install(t)
	logged, stop := in.serve(t)
	defer stop()
	logged(`"msg":"serving"`)

	conn := in.connect(t, in.client(t))
	// Nothing is granted, and it is on record to whom.
	denied := func(times int) {
		t.Helper()
		if err := sign(t, conn); status.Code(err) != codes.PermissionDenied {
			t.Errorf("got %v", err)
		}
		if records := in.records(t); strings.Count(records, `"caller":"spiffe://example.org/orders","identified_by":"tls"`) != times {
			t.Errorf("on record are %s", records)
		}
	}
	denied(1)

	renewed := in.renew(t)
	hangUp(t)
	logged("configuration is in force")
	if !in.shows(t).Equal(renewed) {
		t.Error("the old certificate is still shown")
	}
	certtest.Replace(t, filepath.Join(in.dir, "key.pem"), []byte("no key"))
	hangUp(t)
	logged("configuration is refused")
	if !in.shows(t).Equal(renewed) {
		t.Error("another certificate is shown")
	}
	denied(2)
}

func (in *installation) connect(t *testing.T, c *tls.Config) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+in.address, grpc.WithTransportCredentials(credentials.NewTLS(c)), grpc.WithNoProxy())
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func sign(t *testing.T, conn *grpc.ClientConn) error {
	t.Helper()
	_, err := signerdv1.NewSignerServiceClient(conn).SignNoahRequest(t.Context(), &signerdv1.SignNoahRequestRequest{Key: "a", Method: "GET", Path: "/v1/things"})
	return err
}

// hangUp sends SIGHUP to signerd, which runs in this process.
func hangUp(t *testing.T) {
	t.Helper()
	must(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
}

func TestBadTLSFilesKeepSignerdFromStarting(t *testing.T) {
	in := install(t)
	var out bytes.Buffer
	if code := run(t.Context(), []string{"check", "--config", in.config}, &out, io.Discard); code != 0 || !strings.Contains(out.String(), "ok       TLS files\n") {
		t.Errorf("check ended with %d and %s", code, &out)
	}
	certtest.Replace(t, filepath.Join(in.dir, "ca.pem"), in.clients.Client(t).Certificate)
	out.Reset()
	if code := run(t.Context(), []string{"check", "--config", in.config}, &out, io.Discard); code != exitError || !strings.Contains(out.String(), "problem  TLS files: tls: client authorities") {
		t.Errorf("check ended with %d and %s", code, &out)
	}
	out.Reset()
	if code := run(t.Context(), []string{"--config", in.config}, io.Discard, &out); code != exitError || !strings.Contains(out.String(), "no authority's") {
		t.Errorf("serving ended with %d and %s", code, &out)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
