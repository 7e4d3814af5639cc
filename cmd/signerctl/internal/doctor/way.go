package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// Way is how this machine gets to a partner.
type Way struct {
	// Base is the partner's address: http or https, a host, and perhaps a port.
	Base *url.URL
	// Scheme is "noah", "noba" or "noon"; it decides how exact clocks must be.
	Scheme string
	// Authorities are what the partner's certificate may come from; nil for the system's.
	Authorities *x509.CertPool
	// Proxy is what net/http would take for a URL; nil for none ever.
	Proxy func(*url.URL) (*url.URL, error)
	// Resolver looks names up; nil for the system's.
	Resolver *net.Resolver
	// Timeout bounds each step.
	Timeout time.Duration
	// Now is this machine's clock; nil for time.Now.
	Now func() time.Time
}

// Check looks at proxy, name, connection, TLS and clock, in this order. What a fault hides is Skipped. answered says whether the partner
// gave any answer.
func (w *Way) Check(ctx context.Context) (findings []Finding, answered bool) {
	if w.Now == nil {
		w.Now = time.Now
	}
	proxy, finding := w.proxy()
	findings = []Finding{finding}
	if finding.Result == Fault {
		return append(findings, skipped("the proxy comes first", "dns", "tcp", "tls", "clock")...), false
	}
	first := w.Base
	if proxy != nil {
		first = proxy
	}
	finding = w.lookUp(ctx, first)
	findings = append(findings, finding)
	if finding.Result == Fault {
		return append(findings, skipped("there is no address to connect to", "tcp", "tls", "clock")...), false
	}
	finding = w.connect(ctx, first, proxy != nil)
	findings = append(findings, finding)
	if finding.Result == Fault {
		return append(findings, skipped("there is no connection", "tls", "clock")...), false
	}
	last, answered := w.ask(ctx, proxy)
	return append(findings, last...), answered
}

func skipped(why string, checks ...string) []Finding {
	all := make([]Finding, len(checks))
	for i, check := range checks {
		all[i] = Finding{check, Skipped, why, ""}
	}
	return all
}

// proxy is the one on the way, nil for none. Its user and password are shown nowhere.
func (w *Way) proxy() (*url.URL, Finding) {
	if w.Proxy == nil {
		return nil, Finding{"proxy", OK, "none", ""}
	}
	proxy, err := w.Proxy(w.Base)
	switch {
	case err != nil || proxy != nil && !isProxy(proxy):
		// Neither the error nor what was read is shown: a part of a password may be in it.
		return nil, Finding{"proxy", Fault, "HTTPS_PROXY or HTTP_PROXY holds something that is no URL of a proxy", "correct it, such as http://proxy.internal:3128, or unset it; in a password / ? # @ and % are written %2F %3F %23 %40 and %25"}
	case proxy == nil:
		if os.Getenv("HTTPS_PROXY")+os.Getenv("https_proxy") != "" {
			return nil, Finding{"proxy", OK, "HTTPS_PROXY is set, but not taken for " + w.Base.Hostname() + ": NO_PROXY names it, it is this machine, or the setting is no URL", ""}
		}
		return nil, Finding{"proxy", OK, "none", ""}
	}
	return proxy, Finding{"proxy", Note, fmt.Sprintf("requests to %s go through %s://%s", w.Base.Hostname(), proxy.Scheme, proxy.Host),
		"your application must go through it as well, without one that opens TLS or changes requests; NO_PROXY=" + w.Base.Hostname() + " goes around it"}
}

// isProxy says whether an address can be a proxy's. One with a path, a query or a fragment is mostly a password that has a / ? or # in it
// as it is, so that the "host" is a part of it.
func isProxy(u *url.URL) bool {
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		return u.Hostname() != "" && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.Fragment == "" && !strings.HasSuffix(u.Host, ":")
	}
	return false
}

func (w *Way) lookUp(ctx context.Context, u *url.URL) Finding {
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return Finding{"dns", Skipped, host + " is an address, not a name", ""}
	}
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	addresses, err := w.resolver().LookupHost(ctx, host)
	if err == nil {
		return Finding{"dns", OK, host + " is " + strings.Join(addresses, ", "), ""}
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return Finding{"dns", Fault, "there is no host " + host, "see that the name is right; if it is, this machine's DNS does not know names outside: ask whoever runs it, or go through a proxy (HTTPS_PROXY)"}
	}
	return Finding{"dns", Fault, "looking up " + host + " failed: " + cause(err), "see that the DNS server of this machine answers: /etc/resolv.conf names it"}
}

func (w *Way) resolver() *net.Resolver {
	if w.Resolver != nil {
		return w.Resolver
	}
	return net.DefaultResolver
}

func (w *Way) dialer() *net.Dialer { return &net.Dialer{Timeout: w.Timeout, Resolver: w.Resolver} }

func (w *Way) connect(ctx context.Context, u *url.URL, isProxy bool) Finding {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	at := net.JoinHostPort(u.Hostname(), port)
	what := at
	if isProxy {
		what = "the proxy " + at
	}
	conn, err := w.dialer().DialContext(ctx, "tcp", at)
	switch {
	case err == nil:
		_ = conn.Close()
		return Finding{"tcp", OK, what + " takes connections", ""}
	case errors.Is(err, syscall.ECONNREFUSED):
		return Finding{"tcp", Fault, what + " refuses connections", "see that host and port are right, and that something listens there"}
	case isTimeout(err):
		return Finding{"tcp", Fault, fmt.Sprintf("%s did not answer within %s", what, w.Timeout), "a firewall on the way most likely drops it: let this machine out to it, or go through a proxy (HTTPS_PROXY)"}
	}
	return Finding{"tcp", Fault, "connecting to " + what + " failed: " + cause(err), "see that this machine has a way out: routes, firewall, proxy (HTTPS_PROXY)"}
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// cause is the innermost error: those around it repeat addresses.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// errProxyRefused is a proxy's answer to CONNECT.
type errProxyRefused struct{ status int }

func (e errProxyRefused) Error() string { return fmt.Sprintf("the proxy answered %d", e.status) }

// Client makes requests on this way. It follows no redirect, and keeps no connection.
func (w *Way) Client() *http.Client {
	return &http.Client{
		Timeout:       w.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: func(r *http.Request) (*url.URL, error) {
				if w.Proxy == nil {
					return nil, nil
				}
				return w.Proxy(r.URL)
			},
			OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
				if resp.StatusCode != http.StatusOK {
					return errProxyRefused{resp.StatusCode}
				}
				return nil
			},
			DialContext:       w.dialer().DialContext,
			TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: w.Authorities, Time: w.Now},
			ForceAttemptHTTP2: true,
			DisableKeepAlives: true,
		},
	}
}

// ask sends a request without headers of its own, and looks at TLS and at the clock.
func (w *Way) ask(ctx context.Context, proxy *url.URL) (findings []Finding, answered bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, w.Base.String(), nil)
	if err != nil {
		return []Finding{{"tls", Fault, "the address cannot be asked", "correct --partner-url"}}, false
	}
	req.Header.Set("User-Agent", "signerctl-doctor")
	before := w.Now()
	resp, err := w.Client().Do(req)
	after := w.Now()
	if err != nil {
		return append([]Finding{w.whyNot(err, proxy)}, skipped("nothing answered", "clock")...), false
	}
	_ = resp.Body.Close()
	return []Finding{w.tls(resp), w.clock(resp.Header.Get("Date"), before.Add(after.Sub(before)/2))}, true
}
