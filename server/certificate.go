package server

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"net"
	"net/url"
	"slices"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/signerd/signerd/internal/tlsfiles"
	"github.com/signerd/signerd/policy"
)

// certificateCaller identifies a client by its certificate: exactly one URI name, which is a SPIFFE ID; without any URI
// name, exactly one DNS name without a wildcard. The common name is never looked at.
func certificateCaller(leaf *x509.Certificate) (policy.Caller, error) {
	uris, hosts, ok := alternativeNames(leaf)
	if !ok {
		return policy.Caller{}, errors.New("the certificate's alternative names cannot be read")
	}
	switch {
	case len(uris) == 1:
		return policy.SPIFFECaller(uris[0])
	case len(uris) > 1:
		return policy.Caller{}, errors.New("the certificate has more than one URI name")
	case len(hosts) == 1:
		return policy.DNSCaller(hosts[0])
	case len(hosts) > 1:
		return policy.Caller{}, errors.New("the certificate has more than one DNS name and no URI name")
	}
	return policy.Caller{}, errors.New("the certificate has neither a URI nor a DNS name")
}

// The names that matter here, by their tag in GeneralName (RFC 5280, section 4.2.1.6).
const (
	tagDNSName = 2
	tagURI     = 6
)

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// alternativeNames reads the names as they stand in the certificate: crypto/x509 gives URIs parsed, and a parsed URI has
// lost how it was written. It takes no name that crypto/x509 did not see, because only what that saw was held against
// what the authority may name.
func alternativeNames(leaf *x509.Certificate) (uris, hosts []string, ok bool) {
	var names []asn1.RawValue
	found := false
	for _, extension := range leaf.Extensions {
		if !extension.Id.Equal(oidSubjectAltName) {
			continue
		}
		if rest, err := asn1.Unmarshal(extension.Value, &names); err != nil || len(rest) > 0 || found {
			return nil, nil, false
		}
		found = true
	}
	for _, name := range names {
		if name.Class != asn1.ClassContextSpecific || name.Tag != tagURI && name.Tag != tagDNSName {
			continue
		}
		switch {
		case name.IsCompound: // crypto/x509 passes over it
			return nil, nil, false
		case name.Tag == tagURI:
			uris = append(uris, string(name.Bytes))
		default:
			hosts = append(hosts, string(name.Bytes))
		}
	}
	if !slices.EqualFunc(uris, leaf.URIs, sameURI) || !slices.Equal(hosts, leaf.DNSNames) {
		return nil, nil, false
	}
	return uris, hosts, true
}

func sameURI(text string, parsed *url.URL) bool {
	u, err := url.Parse(text)
	return err == nil && u.String() == parsed.String()
}

// tlsPeer is what the handshake proved. The caller is worked out once; whether the certificate still counts, on each
// request.
type tlsPeer struct {
	credentials.CommonAuthInfo
	source *tlsfiles.Source
	client *tlsfiles.Client
	caller policy.Caller
	err    error // why caller is nobody
}

// AuthType implements credentials.AuthInfo.
func (*tlsPeer) AuthType() string { return "tls" }

// identify names the client while its certificate is trusted, valid and not revoked.
func (p *tlsPeer) identify() (policy.Caller, error) {
	if p.err != nil {
		return policy.Caller{}, p.err
	}
	if err := p.source.Verify(p.client); err != nil {
		return policy.Caller{}, err
	}
	return p.caller, nil
}

// clientCertificates makes TLS 1.3 handshakes that require a client certificate, and ends a connection when that
// certificate ends, by the clock as it was at the handshake: if the clock is set meanwhile, the connection may outlast the
// certificate or end before it, but each request is refused from the certificate's end on (tlsPeer.identify).
type clientCertificates struct {
	credentials.TransportCredentials
	source *tlsfiles.Source
	now    func() time.Time
	failed func(remote net.Addr, err error) // is told of handshakes that fail
}

func newClientCertificates(source *tlsfiles.Source, now func() time.Time, failed func(net.Addr, error)) credentials.TransportCredentials {
	return clientCertificates{credentials.NewTLS(source.Config()), source, now, failed}
}

// ServerHandshake implements credentials.TransportCredentials.
func (c clientCertificates) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		c.failed(raw.RemoteAddr(), err)
		return nil, nil, err
	}
	state, ok := info.(credentials.TLSInfo)
	if !ok {
		return nil, nil, errors.Join(errors.New("the handshake was not TLS"), conn.Close())
	}
	client, err := c.source.Client(state.State.PeerCertificates)
	if err != nil { // the authorities changed since the handshake took it
		c.failed(raw.RemoteAddr(), err)
		return nil, nil, errors.Join(err, conn.Close())
	}
	p := &tlsPeer{CommonAuthInfo: state.CommonAuthInfo, source: c.source, client: client}
	p.caller, p.err = certificateCaller(client.Leaf)
	return newExpiringConn(conn, client.Leaf.NotAfter.Sub(c.now())), p, nil
}

// Clone implements credentials.TransportCredentials.
func (c clientCertificates) Clone() credentials.TransportCredentials {
	return clientCertificates{c.TransportCredentials.Clone(), c.source, c.now, c.failed}
}

// expiringConn is a connection that closes itself after a time, which setting the clock does not change.
type expiringConn struct {
	net.Conn
	end *time.Timer
}

func newExpiringConn(conn net.Conn, life time.Duration) *expiringConn {
	return &expiringConn{conn, time.AfterFunc(life, func() { _ = conn.Close() })}
}

// Close implements net.Conn.
func (c *expiringConn) Close() error {
	c.end.Stop()
	return c.Conn.Close()
}
