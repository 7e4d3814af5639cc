package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// tls tells what protects a connection that came about.
func (w *Way) tls(resp *http.Response) Finding {
	if resp.TLS == nil || len(resp.TLS.PeerCertificates) == 0 {
		if ip := net.ParseIP(w.Base.Hostname()); ip != nil && ip.IsLoopback() || w.Base.Hostname() == "localhost" {
			return Finding{"tls", Note, "plain HTTP, which is for local partners alone", ""}
		}
		return Finding{"tls", Fault, "plain HTTP: partners refuse it, and whoever is on the way reads it", "give an https:// address"}
	}
	leaf := resp.TLS.PeerCertificates[0]
	return Finding{"tls", OK, fmt.Sprintf("%s, certificate of %s from %s, valid until %s", tls.VersionName(resp.TLS.Version), w.Base.Hostname(), issuer(leaf), day(leaf.NotAfter)), ""}
}

func issuer(c *x509.Certificate) string {
	if len(c.Issuer.Organization) > 0 {
		return c.Issuer.Organization[0]
	}
	return c.Issuer.CommonName
}

func day(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// whyNot explains why no answer came.
func (w *Way) whyNot(err error, proxy *url.URL) Finding {
	host := w.Base.Hostname()
	refused, byProxy := errors.AsType[errProxyRefused](err)
	switch {
	case byProxy && refused.status == http.StatusProxyAuthRequired:
		return Finding{"tls", Fault, "the proxy wants a user and a password", "put them into HTTPS_PROXY: http://USER:PASSWORD@" + proxy.Host}
	case byProxy:
		return Finding{"tls", Fault, fmt.Sprintf("the proxy refuses to connect to %s: it answered %d", w.Base.Host, refused.status), "ask whoever runs the proxy to let " + host + " through, or name it in NO_PROXY"}
	case errors.Is(err, http.ErrSchemeMismatch):
		return Finding{"tls", Fault, w.Base.Host + " speaks plain HTTP, not TLS", "see that the port is right; a local partner's address begins with http://"}
	case isTimeout(err):
		return Finding{"tls", Fault, fmt.Sprintf("%s did not answer within %s", w.Base.Host, w.Timeout), "try again; --timeout sets how long to wait"}
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		if e.Cert != nil && w.Now().Before(e.Cert.NotBefore) {
			return Finding{"tls", Fault, "the certificate of " + host + " is not valid before " + day(e.Cert.NotBefore), "set this machine's clock; it says " + day(w.Now())}
		}
		text := "the certificate of " + host + " has expired"
		if e.Cert != nil {
			text += " at " + day(e.Cert.NotAfter)
		}
		return Finding{"tls", Fault, text, "tell the partner, if this machine's clock is right: it says " + day(w.Now())}
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return Finding{"tls", Fault, "the certificate is not for " + host + ", but for " + names(e.Certificate), "see that the address is right, and that DNS and proxy lead to the partner"}
	}
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		text := "the certificate of " + host + " comes from an authority that this machine does not trust"
		if e.Cert != nil {
			text += ": " + issuer(e.Cert)
		}
		return Finding{"tls", Fault, text, "if a proxy of your own opens TLS, let it pass " + host + " unopened; the authority of a partner's test host goes into --partner-ca"}
	}
	return Finding{"tls", Fault, "asking " + w.Base.Host + " failed: " + cause(err), "see what listens there, and whether a proxy or firewall on the way breaks TLS"}
}

func names(c *x509.Certificate) string {
	if c == nil {
		return "another host"
	}
	all := c.DNSNames
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	switch {
	case len(all) == 0:
		return "no host at all"
	case len(all) > 3:
		all = append(all[:3:3], "…")
	}
	return strings.Join(all, ", ")
}
