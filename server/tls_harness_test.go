package server_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/internal/certtest"
	"github.com/signerd/signerd/internal/tlsfiles"
	"github.com/signerd/signerd/policy"
)

// Clients of the tests, who may do everything.
const (
	orders   = "spiffe://example.org/orders"
	shipping = "dns:shipping.internal"
)

// tlsRig is a server that listens on loopback, and what its operators and clients have in hand.
type tlsRig struct {
	*rig
	source  *tlsfiles.Source
	files   tlsfiles.Files
	clients *certtest.Authority
	roots   *x509.CertPool // what clients trust
	address string
	metrics *counted
}

// startTLS serves over TLS with files in a folder of the test's, and the key "a" to sign with.
func startTLS(t *testing.T) *tlsRig {
	t.Helper()
	self := uint32(os.Geteuid())
	rules := []allowance{everything(t, self)}
	for _, text := range []string{orders, shipping} {
		c, err := policy.ParseCaller(text)
		must(t, err)
		rules = append(rules, allowance{Callers: []policy.Caller{c}, Keys: []string{policy.Any}, Operations: []policy.Operation{policy.Any}})
	}
	m := &counted{handshakes: make(chan struct{}, 1000)}
	r := &tlsRig{rig: start(t, setup{peers: true, rules: rules, metrics: m}), roots: x509.NewCertPool(), metrics: m}
	r.importedNOAH(t, "a")

	now := r.clock.Now()
	r.clients = certtest.NewAuthority(t, "clients", now)
	dir := t.TempDir()
	r.files = tlsfiles.Files{
		Certificate: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), ClientCA: filepath.Join(dir, "ca.pem"),
		CRLs: []string{filepath.Join(dir, "crl")},
	}
	r.serverCertificate(t, certtest.NewAuthority(t, "servers", now))
	certtest.Replace(t, r.files.ClientCA, r.clients.PEM())
	certtest.Replace(t, r.files.CRLs[0], r.clients.CRL(t))
	var err error
	r.source, err = tlsfiles.Load(r.files, r.clock.Now)
	must(t, err)
	r.address = r.listenTLS(t, func(l net.Listener) net.Listener { return l })
	return r
}

// listenTLS serves on one more port.
func (r *tlsRig) listenTLS(t *testing.T, wrap func(net.Listener) net.Listener) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r.serveOn(t, wrap(l), func(l net.Listener) error { return r.server.ServeTLS(l, r.source) })
	return l.Addr().String()
}

// serverCertificate puts a new certificate of an authority that clients trust in the files.
func (r *tlsRig) serverCertificate(t *testing.T, by *certtest.Authority) certtest.Pair {
	t.Helper()
	r.roots.AddCert(by.Certificate)
	p := by.Server(t)
	certtest.Replace(t, r.files.Certificate, p.Certificate)
	certtest.Replace(t, r.files.Key, p.KeyPEM)
	return p
}

// trust makes these the authorities of clients, with no list of revoked certificates for any but the first.
func (r *tlsRig) trust(t *testing.T, authorities ...*certtest.Authority) {
	t.Helper()
	var text [][]byte
	for _, a := range authorities {
		text = append(text, a.PEM())
	}
	certtest.Replace(t, r.files.ClientCA, bytes.Join(text, nil))
	certtest.Replace(t, r.files.CRLs[0], authorities[0].CRL(t))
	must(t, r.source.Reload())
}

// as is what a client with this certificate dials with. It shows it whomever the server says it trusts.
func (r *tlsRig) as(t testing.TB, p certtest.Pair) *tls.Config {
	certificate := p.TLS(t)
	return &tls.Config{RootCAs: r.roots, Time: r.clock.Now, MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }}
}

func dialTLS(address string, c *tls.Config) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(c)), grpc.WithNoProxy())
}

func (r *tlsRig) dial(t testing.TB, c *tls.Config) *grpc.ClientConn {
	t.Helper()
	conn, err := dialTLS(r.address, c)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// sign asks for one signature.
func sign(t testing.TB, conn *grpc.ClientConn) error {
	_, err := signerdv1.NewSignerServiceClient(conn).SignNoahRequest(t.Context(),
		&signerdv1.SignNoahRequestRequest{Key: "a", Method: "GET", Path: "/v1/things"})
	return err
}
