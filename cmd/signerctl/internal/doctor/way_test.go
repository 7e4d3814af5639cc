package doctor_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/http/httpproxy"

	"github.com/signerd/signerd/cmd/signerctl/internal/doctor"
	"github.com/signerd/signerd/internal/certtest"
)

// partner is a local TLS server, known as partner.test.
type partner struct {
	server      *httptest.Server
	authorities *x509.CertPool
}

func servePartner(t *testing.T, edit func(*x509.Certificate)) partner {
	t.Helper()
	authority := certtest.NewAuthority(t, "Test Authority", time.Now())
	pair := authority.Issue(t, func(c *x509.Certificate) {
		c.IPAddresses, c.DNSNames = []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"partner.test"}
		if edit != nil {
			edit(c)
		}
	})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization")+r.Header.Get("Cookie") != "" || r.Method != http.MethodHead {
			t.Errorf("asked with %s %v", r.Method, r.Header)
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair.TLS(t)}}
	server.StartTLS()
	t.Cleanup(server.Close)
	authorities := x509.NewCertPool()
	authorities.AddCert(authority.Certificate)
	return partner{server, authorities}
}

func (p partner) way(t *testing.T) *doctor.Way {
	t.Helper()
	return &doctor.Way{Base: address(t, p.server.URL), Scheme: "noah", Authorities: p.authorities, Timeout: time.Minute}
}

func address(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// named gives a partner's address with a name in place of 127.0.0.1.
func (p partner) named(t *testing.T, name string) *url.URL {
	t.Helper()
	u := address(t, p.server.URL)
	u.Host = net.JoinHostPort(name, u.Port())
	return u
}

// nameServer is a DNS server on loopback that knows partner.test alone.
func nameServer(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buffer := make([]byte, 1500); ; {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil {
				continue
			}
			m.Response, m.Additionals = true, nil
			q := m.Questions[0]
			switch {
			case !strings.HasPrefix(q.Name.String(), "partner.test."):
				m.RCode = dnsmessage.RCodeNameError
			case q.Type == dnsmessage.TypeA:
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET},
					Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
			}
			if packed, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(packed, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func TestEachFaultOnTheWayHasItsFinding(t *testing.T) {
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = refusing.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	p := servePartner(t, nil)
	now := time.Now()
	for _, tt := range []struct {
		name     string
		way      func(t *testing.T) *doctor.Way
		check    string
		result   doctor.Result
		text     string
		advice   string
		answered bool
	}{
		{"all is well", p.way, "tls", doctor.OK, "TLS 1.3, certificate of 127.0.0.1 from Test Authority, valid until ", "", true},
		{"the clocks agree", p.way, "clock", doctor.OK, "differ by 5s at most", "", true},
		{"a name that is known", func(t *testing.T) *doctor.Way {
			w := p.way(t)
			w.Base, w.Resolver = p.named(t, "partner.test"), nameServer(t)
			return w
		}, "dns", doctor.OK, "partner.test is 127.0.0.1", "", true},
		{"an unknown host", func(t *testing.T) *doctor.Way {
			w := p.way(t)
			w.Base, w.Resolver = p.named(t, "partner.invalid"), nameServer(t)
			return w
		}, "dns", doctor.Fault, "there is no host partner.invalid", "see that the name is right", false},
		{"a refused connection", func(t *testing.T) *doctor.Way {
			w := p.way(t)
			w.Base = address(t, "https://"+refusing.Addr().String())
			return w
		}, "tcp", doctor.Fault, "refuses connections", "something listens there", false},
		{"an expired certificate", func(t *testing.T) *doctor.Way {
			return servePartner(t, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-48*time.Hour), now.Add(-24*time.Hour) }).way(t)
		}, "tls", doctor.Fault, "the certificate of 127.0.0.1 has expired at ", "if this machine's clock is right", false},
		{"a certificate of the future", func(t *testing.T) *doctor.Way {
			return servePartner(t, func(c *x509.Certificate) { c.NotBefore = now.Add(10 * time.Hour) }).way(t)
		}, "tls", doctor.Fault, "is not valid before ", "set this machine's clock", false},
		{"a certificate for another name", func(t *testing.T) *doctor.Way {
			return servePartner(t, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"other.test"} }).way(t)
		}, "tls", doctor.Fault, "the certificate is not for 127.0.0.1, but for other.test", "DNS and proxy", false},
		{"an unknown authority", func(t *testing.T) *doctor.Way {
			w := p.way(t)
			w.Authorities = x509.NewCertPool()
			return w
		}, "tls", doctor.Fault, "an authority that this machine does not trust", "--partner-ca", false},
		{"plain HTTP where TLS was expected", func(t *testing.T) *doctor.Way {
			w := p.way(t)
			w.Base = address(t, strings.Replace(plain.URL, "http:", "https:", 1))
			return w
		}, "tls", doctor.Fault, "speaks plain HTTP, not TLS", "begins with http://", false},
		{"a local partner", func(t *testing.T) *doctor.Way {
			w := p.way(t)
			w.Base = address(t, plain.URL)
			return w
		}, "tls", doctor.Note, "for local partners alone", "", true},
		{"plain HTTP to elsewhere", func(t *testing.T) *doctor.Way {
			w := p.way(t)
			w.Base, w.Resolver = address(t, plain.URL), nameServer(t)
			w.Base.Host = "partner.test:" + w.Base.Port()
			return w
		}, "tls", doctor.Fault, "partners refuse it", "https://", true},
		{"a clock that is 10 minutes fast", off(p, 10*time.Minute, "noah"), "clock", doctor.Fault, "10m0s ahead of the partner's; NOAH refuses a token whose iat is in the future", "NTP", true},
		{"a clock that is 10 minutes slow", off(p, -10*time.Minute, "noba"), "clock", doctor.Fault, "10m0s behind the partner's; Noba refuses a timestamp that is more than 5 minutes", "NTP", true},
		{"a clock that is millennia slow", dated(p, "Fri, 31 Dec 9999 23:59:59 GMT"), "clock", doctor.Fault, "behind the partner's", "NTP", true},
		{"a clock that is millennia fast", dated(p, "Mon, 01 Jan 0001 00:00:00 GMT"), "clock", doctor.Fault, "h47m16s ahead of the partner's", "NTP", true},
		{"a clock that cannot be read", dated(p, "next Tuesday"), "clock", doctor.Skipped, "does not say what time it is", "", true},
		{"a clock that is 30 seconds slow", off(p, -30*time.Second, "noah"), "clock", doctor.Note, "30s behind the partner's", "NTP", true},
		{"a clock that is 30 seconds fast", off(p, 30*time.Second, "noah"), "clock", doctor.Fault, "30s ahead of", "NTP", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			findings, answered := tt.way(t).Check(t.Context())
			if answered != tt.answered {
				t.Errorf("answered: %v", answered)
			}
			checkFinding(t, findings, tt.check, tt.result, tt.text, tt.advice)
		})
	}
}

// off shifts this machine's clock.
func off(p partner, by time.Duration, scheme string) func(t *testing.T) *doctor.Way {
	return func(t *testing.T) *doctor.Way {
		w := p.way(t)
		w.Scheme = scheme
		w.Now = func() time.Time { return time.Now().Add(by) }
		return w
	}
}

// dated has the partner say what time it is.
func dated(p partner, date string) func(t *testing.T) *doctor.Way {
	return func(t *testing.T) *doctor.Way {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Date", date) }))
		t.Cleanup(server.Close)
		w := p.way(t)
		w.Base = address(t, server.URL)
		return w
	}
}

// checkFinding also wants every check there once, in order, and nothing found beyond the one fault.
func checkFinding(t *testing.T, findings []doctor.Finding, check string, result doctor.Result, text, advice string) {
	t.Helper()
	var checks []string
	for _, f := range findings {
		checks = append(checks, f.Check)
		if f.Check != check && f.Result == doctor.Fault {
			t.Errorf("found as well: %+v", f)
		}
		if f.Check == check && (f.Result != result || !strings.Contains(f.Text, text) || !strings.Contains(f.Advice, advice)) {
			t.Errorf("got  %+v\nwant %s, %q, %q", f, result, text, advice)
		}
	}
	if want := []string{"proxy", "dns", "tcp", "tls", "clock"}; !slices.Equal(checks, want) {
		t.Errorf("checked %q, want %q", checks, want)
	}
}

func TestEachFaultOfAProxyHasItsFinding(t *testing.T) {
	p := servePartner(t, nil)
	const password = "letmein"
	var tunnel http.HandlerFunc = func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") == "" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		to, err := net.Dial("tcp", p.server.Listener.Addr().String())
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer to.Close()
		from, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer from.Close()
		_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(to, from) }()
		_, _ = io.Copy(from, to)
	}
	proxy := httptest.NewServer(tunnel)
	t.Cleanup(proxy.Close)
	forbids := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(forbids.Close)
	at := func(server *httptest.Server) string { return server.Listener.Addr().String() }
	for _, tt := range []struct {
		name, proxy, exempt string
		check               string
		result              doctor.Result
		text, advice        string
	}{
		{"one that lets through", "http://user:" + password + "@" + at(proxy), "", "proxy", doctor.Note, "requests to partner.test go through http://" + at(proxy), "NO_PROXY=partner.test"},
		{"one that lets through, and TLS", "http://user:" + password + "@" + at(proxy), "", "tls", doctor.OK, "certificate of partner.test", ""},
		{"one that is exempt", "http://user:" + password + "@" + at(proxy), "partner.test", "proxy", doctor.OK, "", ""},
		{"one that wants a password", "http://" + at(proxy), "", "tls", doctor.Fault, "wants a user and a password", "HTTPS_PROXY: http://USER:PASSWORD@" + at(proxy)},
		{"one that forbids", "http://user:" + password + "@" + at(forbids), "", "tls", doctor.Fault, "the proxy refuses to connect to partner.test", "NO_PROXY"},
		{"one that is not there", "http://user:" + password + "@127.0.0.1:1", "", "tcp", doctor.Fault, "the proxy 127.0.0.1:1 refuses connections", "something listens there"},
		{"one that has no name", "http://user:" + password + "@proxy.invalid:1", "", "dns", doctor.Fault, "there is no host proxy.invalid", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := p.way(t)
			w.Base, w.Resolver = p.named(t, "partner.test"), nameServer(t)
			w.Proxy = (&httpproxy.Config{HTTPSProxy: tt.proxy, NoProxy: tt.exempt}).ProxyFunc()
			findings, _ := w.Check(t.Context())
			checkFinding(t, findings, tt.check, tt.result, tt.text, tt.advice)
			for _, f := range findings {
				if strings.Contains(f.Text+f.Advice, password) || strings.Contains(f.Text+f.Advice, "user:") {
					t.Errorf("%+v holds user and password", f)
				}
			}
		})
	}
}

func TestASettingThatIsNoProxyIsNotRepeated(t *testing.T) {
	w := servePartner(t, nil).way(t)
	w.Proxy = func(*url.URL) (*url.URL, error) { return nil, errors.New("invalid proxy address http://user:letmein@") }
	findings, _ := w.Check(t.Context())
	checkFinding(t, findings, "proxy", doctor.Fault, "HTTPS_PROXY or HTTP_PROXY holds something that is no URL of a proxy", "correct it")
	if strings.Contains(findings[0].Text, "letmein") {
		t.Error(findings[0].Text)
	}
}

func TestNoPartOfAPasswordIsTakenForAProxy(t *testing.T) {
	for _, setting := range []string{
		"user:let@mein/1@proxy.internal:3128", "http://user:12/letmein@proxy.internal", "http://letmein:12#3@proxy.internal", "http://letmein:12?3@proxy.internal",
		"http://user:letmein@[bad", "http://user:let%zzmein@proxy.internal", "ftp://user:letmein@mein",
	} {
		t.Run(setting, func(t *testing.T) {
			w := servePartner(t, nil).way(t)
			w.Base = address(t, "https://partner.test")
			w.Resolver = nameServer(t)
			w.Proxy = (&httpproxy.Config{HTTPSProxy: setting}).ProxyFunc()
			findings, _ := w.Check(t.Context())
			for _, f := range findings {
				if strings.Contains(f.Text+f.Advice, "mein") || strings.Contains(f.Text+f.Advice, ":12") {
					t.Errorf("%+v holds a part of the password", f)
				}
			}
			if strings.Contains(setting, "%zz") {
				return // net/http takes no proxy at all
			}
			checkFinding(t, findings, "proxy", doctor.Fault, "holds something that is no URL of a proxy", "%2F")
		})
	}
}
