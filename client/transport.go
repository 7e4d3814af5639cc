package client

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config says what a Transport sends, and where. Fields of another partner must be zero.
type Config struct {
	// BaseURLs are the partner's hosts, as "https://api.noah.com": scheme and host, a port where there is one. At least one; requests to any
	// other are refused. Plain http is for loopback only.
	BaseURLs []string
	// Base sends what is signed. Default: http.DefaultTransport. It must not change target or body.
	Base http.RoundTripper
	// MaxBodyBytes bounds a body, which is in memory while it is sent. Default: 32 MiB for NOAH, and for Noba what fits into
	// a message to signerd (MaxMessageBody), which is its upper bound too. Not for Noon, whose requests are not signed one by one.
	MaxBodyBytes int64
	// TTL is how long NOAH accepts a signature: whole seconds, up to 15 minutes. Default: signerd's, 5 minutes. NOAH only.
	TTL time.Duration
	// KeepBody sends signerd the SHA-256 of bodies instead of them; rules of the policy that look into a body then allow nothing. Bodies longer than
	// MaxMessageBody always go so. NOAH only.
	KeepBody bool
	// Warn is told why Noba may refuse a request although its signature is right: the body is not as JSON.stringify writes it. It is called
	// before the request is sent, from many goroutines at once. Noba only.
	Warn func(req *http.Request, warnings []string)
}

// MaxMessageBody is the longest body in bytes that fits into a message to signerd: its default limit of 4 MiB, and room for the rest.
const MaxMessageBody = 4<<20 - 64<<10

// defaultMaxBody bounds bodies of which signerd needs the hash alone.
const defaultMaxBody = 32 << 20

// Transport is an http.RoundTripper for one partner and one key, made by NewNOAH, NewNoba or NewNoon. It is safe for concurrent use, and shares
// signerd's connection, which it does not close.
//
// A request that fails is not sent again by it, save for one retry at Noon; what calls it again has it signed again. (http.Transport repeats, with the same headers, requests that met a connection
// just closed.)
type Transport struct {
	base    http.RoundTripper
	origins []origin
	partner partner
}

// partner is what differs: it sends a request that passed the checks, whose target is as it goes on the wire. It closes the body.
type partner interface {
	send(base http.RoundTripper, req *http.Request, target string) (*http.Response, error)
}

func newTransport(c Config, key string, p partner) (*Transport, error) {
	if key == "" {
		return nil, errors.New("client: the key's name is empty")
	}
	t := &Transport{base: c.Base, partner: p}
	if t.base == nil {
		t.base = http.DefaultTransport
	}
	for _, text := range c.BaseURLs {
		o, err := parseBaseURL(text)
		if err != nil {
			return nil, fmt.Errorf("client: the base URL %q: %w", text, err)
		}
		t.origins = append(t.origins, o)
	}
	if len(t.origins) == 0 {
		return nil, errors.New("client: there is no base URL, and so no host that a request could be signed for")
	}
	return t, nil
}

// RoundTrip implements http.RoundTripper. When the request was not sent, the error is an *Error; other errors are the base's.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	target, err := t.check(req)
	if err != nil {
		closeBody(req)
		return nil, failed(req, err)
	}
	return t.partner.send(t.base, req, target)
}

// CloseIdleConnections lets http.Client close those of the base.
func (t *Transport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// check refuses what is for somebody else and what cannot be signed as it goes out, and gives the target as net/http will write it.
func (t *Transport) check(req *http.Request) (string, error) {
	if req.URL == nil {
		return "", fmt.Errorf("%w: it has no URL", ErrUnsignable)
	}
	if err := t.ours(req); err != nil {
		return "", err
	}
	switch {
	case req.Method == http.MethodConnect:
		return "", fmt.Errorf("%w: CONNECT has no target that is signed", ErrUnsignable)
	case len(req.Trailer) > 0:
		return "", fmt.Errorf("%w: trailers follow the body, and no signature covers them", ErrUnsignable)
	case has(req.Header, "Upgrade"):
		return "", fmt.Errorf("%w: what follows an Upgrade is not covered", ErrUnsignable)
	}
	target := req.URL.RequestURI()
	if !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") {
		return "", fmt.Errorf("%w: its target does not start with one slash", ErrUnsignable)
	}
	return target, nil
}

// ours refuses requests that would reach, or name, another host.
func (t *Transport) ours(req *http.Request) error {
	to := originOf(req.URL)
	for _, o := range t.origins {
		if o != to {
			continue
		}
		if req.Host != "" && originOf(&url.URL{Scheme: req.URL.Scheme, Host: req.Host}) != to {
			return fmt.Errorf("%w: its Host header is another than its URL's", ErrOtherHost)
		}
		return nil
	}
	return ErrOtherHost
}

// origin is what two URLs of one host have in common.
type origin struct{ scheme, host, port string }

func originOf(u *url.URL) origin {
	o := origin{strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()}
	if o.port == "" {
		o.port = map[string]string{"http": "80", "https": "443"}[o.scheme]
	}
	return o
}

func parseBaseURL(text string) (origin, error) {
	u, err := url.Parse(text)
	if err != nil {
		return origin{}, errors.New("it cannot be read")
	}
	o := originOf(u)
	switch {
	case o.scheme != "https" && o.scheme != "http" || o.host == "":
		return origin{}, errors.New("wanted https:// and a host")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil:
		return origin{}, errors.New("wanted scheme, host and port alone")
	case o.scheme == "http" && o.host != "localhost" && !net.ParseIP(o.host).IsLoopback():
		return origin{}, errors.New("plain http is for loopback only: anybody on the way could read API keys and sessions")
	}
	return o, nil
}

// has reports whether there is a header of that name, however it is written.
func has(h http.Header, name string) bool {
	for k := range h {
		if strings.EqualFold(k, name) {
			return true
		}
	}
	return false
}

// withHeaders copies a request, and puts headers in the place of all that have their names: those of an earlier signature must not stay beside them.
func withHeaders(req *http.Request, headers map[string]string) *http.Request {
	out := req.Clone(req.Context())
	if out.Header == nil {
		out.Header = make(http.Header)
	}
	for name, value := range headers {
		for k := range out.Header {
			if strings.EqualFold(k, name) {
				delete(out.Header, k)
			}
		}
		out.Header.Set(name, value)
	}
	return out
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // nothing was sent of it
	}
}
