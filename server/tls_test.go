package server_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/signerd/signerd/internal/certtest"
	"github.com/signerd/signerd/server"
)

// names makes an edit of a certificate: URIs are what has "//", the rest are hosts.
func names(list ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, name := range list {
			if u, err := url.Parse(name); err == nil && strings.Contains(name, "//") {
				c.URIs = append(c.URIs, u)
			} else {
				c.DNSNames = append(c.DNSNames, name)
			}
		}
	}
}

func TestACertificateNamesOneCallerOrNobody(t *testing.T) {
	t.Parallel()
	r := startTLS(t)
	for _, tt := range []struct {
		name string
		edit func(*x509.Certificate)
		want string // empty: NO_IDENTITY
	}{
		{"a SPIFFE ID", names(orders), orders},
		{"a host", names("shipping.internal"), shipping},
		{"a host in upper case", names("SHIPPING.Internal"), shipping},
		{"a SPIFFE ID before hosts", names("shipping.internal", orders, "*.internal"), orders},
		{"a SPIFFE ID beside other kinds of names", func(c *x509.Certificate) {
			names(orders)(c)
			c.IPAddresses, c.EmailAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"a@example.org"}
		}, orders},
		{"two SPIFFE IDs", names(orders, "spiffe://example.org/billing"), ""},
		{"one SPIFFE ID twice", names(orders, orders), ""},
		{"a SPIFFE ID and another URI", names(orders, "https://example.org/orders"), ""},
		{"an http URI", names("http://example.org/orders"), ""},
		{"an http URI and a host", names("http://example.org/orders", "shipping.internal"), ""},
		{"no name", nil, ""},
		{"two hosts", names("shipping.internal", "orders.internal"), ""},
		{"a wildcard", names("*.internal"), ""},
		{"an IP address alone", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }, ""},
		{"an IP address for a host", names("127.0.0.1"), ""},
		{"an e-mail address alone", func(c *x509.Certificate) { c.EmailAddresses = []string{"a@shipping.internal"} }, ""},
		{"a common name that is a host", func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "shipping.internal"} }, ""},
		{"a common name that is a SPIFFE ID", func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: orders} }, ""},
		{"a SPIFFE ID with a fragment", names(orders + "#a"), ""},
		{"a SPIFFE ID with an empty fragment", rawURI(orders + "#"), ""},
		{"a SPIFFE ID with a query", names(orders + "?a=b"), ""},
		{"a SPIFFE ID with an upper-case trust domain", names("spiffe://Example.org/orders"), ""},
		{"a SPIFFE ID with an upper-case scheme", rawURI("SPIFFE://example.org/orders"), ""},
		{"a SPIFFE ID without a path", names("spiffe://example.org"), ""},
		{"a SPIFFE ID with a port", names("spiffe://example.org:443/orders"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn := r.dial(t, r.as(t, r.clients.Issue(t, tt.edit)))
			err := sign(t, conn)
			if tt.want == "" {
				if logged, _ := r.refused(t, err, codes.Unauthenticated, "NO_IDENTITY"); logged.Caller != "" {
					t.Errorf("the log names somebody: %+v", logged)
				}
				return
			}
			must(t, err)
			lines := r.lines(t)
			if got := lines[len(lines)-1].Caller; got != tt.want {
				t.Errorf("the caller is %q, want %q", got, tt.want)
			}
		})
	}
}

// rawURI is a URI name as it is written: package url would write it in its own way.
func rawURI(uri string) func(*x509.Certificate) { return rawName(0x86, uri) }

// rawName is an alternative name with this identifier octet.
func rawName(identifier byte, name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		value := append([]byte{0x30, byte(len(name) + 2), identifier, byte(len(name))}, name...)
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: []int{2, 5, 29, 17}, Value: value})
	}
}

// TestAnAuthorityCannotNameMoreThanItMay issues names outside of what the authority is constrained to, also in forms that
// crypto/x509 passes over when it holds names against the constraints.
func TestAnAuthorityCannotNameMoreThanItMay(t *testing.T) {
	t.Parallel()
	r := startTLS(t)
	constrained := r.clients.EditedIntermediate(t, "team a", func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"team-a.example.org"}, true
		c.PermittedURIDomains = c.PermittedDNSDomains
	})
	for _, tt := range []struct {
		name string
		edit func(*x509.Certificate)
		want codes.Code
	}{
		{"a URI", rawName(0x86, orders), codes.Unavailable},
		{"a host", rawName(0x82, "shipping.internal"), codes.Unavailable},
		{"a constructed URI", rawName(0xa6, orders), codes.Unauthenticated},
		{"a constructed host", rawName(0xa2, "shipping.internal"), codes.Unauthenticated},
		{"a URI of the application class", rawName(0x46, orders), codes.Unauthenticated},
		{"a host of the private class", rawName(0xc2, "shipping.internal"), codes.Unauthenticated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := sign(t, r.dial(t, r.as(t, constrained.Issue(t, tt.edit)))); status.Code(err) != tt.want {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAHandshakeWithoutAGoodCertificateFails(t *testing.T) {
	t.Parallel()
	r := startTLS(t)
	now := r.clock.Now()
	before := len(r.lines(t))
	good := func(c *x509.Certificate) { names(orders)(c) }
	with := func(edit func(*x509.Certificate)) *tls.Config {
		return r.as(t, r.clients.Issue(t, func(c *x509.Certificate) { good(c); edit(c) }))
	}
	old := r.as(t, r.clients.Client(t, orders))
	old.MaxVersion = tls.VersionTLS12
	bad := map[string]*tls.Config{
		"an expired certificate": with(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = now.Add(-2*time.Hour), now.Add(-time.Hour)
		}),
		"a certificate that is not valid yet": with(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) }),
		"a certificate for servers":           with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
		"another authority's certificate":     r.as(t, certtest.NewAuthority(t, "another", now).Client(t, orders)),
		"an authority of the same name":       r.as(t, certtest.NewAuthority(t, "clients", now).Client(t, orders)),
		"more certificates than are taken":    r.as(t, beside(t, r.clients.Client(t, orders), 6)),
		"no certificate":                      {RootCAs: r.roots, Time: r.clock.Now, MinVersion: tls.VersionTLS13},
		"TLS 1.2":                             old,
	}
	for name, c := range bad {
		t.Run(name, func(t *testing.T) {
			if err := sign(t, r.dial(t, c)); status.Code(err) != codes.Unavailable {
				t.Errorf("got %v", err)
			}
		})
	}
	if calls := r.lines(t)[before:]; len(calls) > 0 {
		t.Errorf("a request came through: %+v", calls)
	}
	for range bad { // each is counted, once its end of the connection has failed
		<-r.metrics.handshakes
	}
	if !strings.Contains(r.log.String(), `"msg":"TLS handshake failed"`) {
		t.Errorf("the log has %s", r.log.String())
	}
	must(t, sign(t, r.dial(t, with(func(*x509.Certificate) {}))))
	must(t, sign(t, r.dial(t, r.as(t, beside(t, r.clients.Client(t, orders), 5)))))
}

// beside adds n authorities that have nothing to do with it to what a client shows.
func beside(t *testing.T, p certtest.Pair, n int) certtest.Pair {
	for range n {
		p.Certificate = append(p.Certificate, certtest.NewAuthority(t, "clients", p.Leaf.NotBefore).PEM()...)
	}
	return p
}

func TestNoAdminServiceIsServedOverTLS(t *testing.T) {
	t.Parallel()
	r := startTLS(t)
	conn := r.dial(t, r.as(t, r.clients.Client(t, orders)))
	for _, rpc := range server.RPCs() {
		_, out := rpc.Messages()
		err := invoke(t.Context(), conn, rpc, minimal(t, rpc, "a"), out)
		if unimplemented := status.Code(err) == codes.Unimplemented; unimplemented != rpc.Admin() {
			t.Errorf("%s: %v", rpc.Path, err)
		}
	}
}

func TestAConnectionIsHeldAgainstWhatIsInForceNow(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, r *tlsRig, p certtest.Pair){
		"revoked by a list": func(t *testing.T, r *tlsRig, p certtest.Pair) {
			certtest.Replace(t, r.files.CRLs[0], r.clients.CRL(t, p.Leaf))
			changed, err := r.source.ReloadIfChanged()
			if must(t, err); !changed {
				t.Error("the new list was not noticed")
			}
		},
		"expired": func(_ *testing.T, r *tlsRig, _ certtest.Pair) { r.clock.advance(25 * time.Hour) },
		"of an authority that is trusted no more": func(t *testing.T, r *tlsRig, _ certtest.Pair) {
			r.trust(t, certtest.NewAuthority(t, "next", r.clock.Now()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startTLS(t)
			p := r.clients.Client(t, orders)
			conn := r.dial(t, r.as(t, p))
			must(t, sign(t, conn))
			spoil(t, r, p)
			for range 2 {
				r.refused(t, sign(t, conn), codes.Unauthenticated, "NO_IDENTITY")
			}
		})
	}
}

func TestAConnectionEndsWithItsCertificate(t *testing.T) {
	t.Parallel()
	r := startTLS(t)
	// The clock of the test stands a quarter of a second past the full one.
	brief := r.clients.Issue(t, func(c *x509.Certificate) { names(orders)(c); c.NotAfter = r.clock.Now().Add(time.Second) })
	lasting, ending := r.dial(t, r.as(t, r.clients.Client(t, orders))), r.dial(t, r.as(t, brief))
	must(t, sign(t, lasting))
	watch, err := healthpb.NewHealthClient(ending).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	for err == nil {
		_, err = watch.Recv() // health does not change: only the connection's end ends this
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	must(t, sign(t, lasting))
}

// fromAfar makes connections seem to come from another host.
type fromAfar struct{ net.Listener }

func (l fromAfar) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return afar{conn}, err
}

type afar struct{ net.Conn }

func (afar) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4711} }

func TestHealthNeedsAnIdentityFromAnotherHost(t *testing.T) {
	t.Parallel()
	r := startTLS(t)
	far := r.listenTLS(t, func(l net.Listener) net.Listener { return fromAfar{l} })
	somebody, nobody := r.as(t, r.clients.Client(t, orders)), r.as(t, r.clients.Client(t))
	for _, tt := range []struct {
		name, address string
		client        *tls.Config
		answered      bool
	}{
		{"nobody on this host", r.address, nobody, true}, {"somebody on this host", r.address, somebody, true},
		{"nobody elsewhere", far, nobody, false}, {"somebody elsewhere", far, somebody, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := dialTLS(tt.address, tt.client)
			must(t, err)
			defer func() { _ = conn.Close() }()
			client := healthpb.NewHealthClient(conn)
			_, checked := client.Check(t.Context(), &healthpb.HealthCheckRequest{})
			stream, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
			must(t, err)
			_, watched := stream.Recv()
			for _, err := range []error{checked, watched} {
				if tt.answered {
					must(t, err)
				} else if !isNoIdentity(err) {
					t.Errorf("got %v", err)
				}
			}
			if err := sign(t, conn); (status.Code(err) == codes.OK) != (tt.client == somebody) {
				t.Errorf("signing: %v", err)
			}
		})
	}
}

func isNoIdentity(err error) bool {
	st := status.Convert(err)
	if st.Code() != codes.Unauthenticated || len(st.Details()) == 0 {
		return false
	}
	info, ok := st.Details()[0].(*errdetails.ErrorInfo)
	return ok && info.GetReason() == "NO_IDENTITY"
}
