package noon

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The gateway's paths.
const (
	pathLogin  = "/identity/public/v1/api/login"
	pathWhoami = "/identity/v1/whoami"
)

// Bounds of one exchange with the gateway.
const (
	maxAnswerBytes       = 1 << 20
	maxAnswerHeaderBytes = 64 << 10
	maxRetryAfter        = time.Hour
)

// Errors of the gateway. server's error table gives each its code.
var (
	// ErrRejectedCredential says that Noon refuses the credential (400 or 401 to a login).
	ErrRejectedCredential = errors.New("the partner refuses the credential")
	// ErrUnavailable says that Noon is down, slow, overloaded, or answers what it should not.
	ErrUnavailable = errors.New("the partner is not available")
	// ErrDestination says that no login of the key can be sent before its base URL is listed, or another version is
	// activated.
	ErrDestination = errors.New("the key's base URL is not on the configured list of Noon gateways")
	// ErrRateLimited says that signerd itself holds back logins, so that no caller can lock the account.
	ErrRateLimited = errors.New("too many logins")
)

// RetryError wraps one of the errors above with the time after which another try may do better.
type RetryError struct {
	Err   error
	After time.Duration
}

// Error implements error.
func (e *RetryError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *RetryError) Unwrap() error { return e.Err }

// gateway exchanges single requests with Noon. It is safe for concurrent use.
type gateway struct {
	client       *http.Client
	destinations Destinations
	life         time.Duration
	now          func() time.Time
}

// newTransport makes a transport that goes nowhere but where the request says: no redirects (see newClient), no proxy
// unless asked for, TLS verified, bounded headers. A login is rare, and each goes over a connection of its own: what
// arrives on an idle one net/http prints, cookies included, and over HTTP/2 it sends a login again that a gateway puts
// off.
func newTransport(proxyFromEnvironment bool, roots *tls.Config) *http.Transport {
	t := &http.Transport{
		TLSClientConfig:        roots,
		Protocols:              new(http.Protocols),
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxAnswerHeaderBytes,
		TLSHandshakeTimeout:    10 * time.Second,
	}
	t.Protocols.SetHTTP1(true)
	if proxyFromEnvironment {
		t.Proxy = http.ProxyFromEnvironment
	}
	return t
}

func newClient(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// loginClaims are what the page's own code signs, and nothing more.
type loginClaims struct {
	Subject  string `json:"sub"`
	IssuedAt int64  `json:"iat"`
	ID       string `json:"jti"`
}

// jwt.Claims is also what a verifier reads; there is nothing more to read here.

// GetExpirationTime implements jwt.Claims.
func (loginClaims) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuedAt implements jwt.Claims.
func (c loginClaims) GetIssuedAt() (*jwt.NumericDate, error) {
	return jwt.NewNumericDate(time.Unix(c.IssuedAt, 0)), nil
}

// GetNotBefore implements jwt.Claims.
func (loginClaims) GetNotBefore() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuer implements jwt.Claims.
func (loginClaims) GetIssuer() (string, error) { return "", nil }

// GetSubject implements jwt.Claims.
func (c loginClaims) GetSubject() (string, error) { return c.Subject, nil }

// GetAudience implements jwt.Claims.
func (loginClaims) GetAudience() (jwt.ClaimStrings, error) { return nil, nil }

// token makes a login JWT with a fresh UUID of version 4 (RFC 9562) as its jti.
func (c *Credential) token(now time.Time) (string, error) {
	var u [16]byte
	_, _ = rand.Read(u[:])
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	id := fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:])
	claims := loginClaims{Subject: c.keyID, IssuedAt: now.Unix(), ID: id}
	token, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(c.key)
	if err != nil {
		return "", fmt.Errorf("signing a Noon login: %w", err)
	}
	return token, nil
}

// mayReach is ErrDestination for a credential whose base URL is not, or no longer, on the list.
func (g *gateway) mayReach(c *Credential) error {
	if _, err := g.destinations.check(c.baseURL); err != nil {
		return ErrDestination
	}
	return nil
}

// login exchanges a fresh token for a session. Errors: ErrRejectedCredential, ErrUnavailable (in a RetryError where
// the gateway said when), ErrDestination, or ctx's.
func (g *gateway) login(ctx context.Context, c *Credential) (*Session, error) {
	base, err := g.destinations.check(c.baseURL)
	if err != nil {
		return nil, ErrDestination
	}
	sent := g.now()
	token, err := c.token(sent)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]string{"token": token, "default_project_code": c.projectCode})
	if err != nil {
		return nil, fmt.Errorf("encoding a Noon login: %w", err)
	}
	resp, _, err := g.exchange(ctx, http.MethodPost, base+pathLogin, c.userAgent, "", body)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusBadRequest, http.StatusUnauthorized:
		return nil, fmt.Errorf("%w: the login was answered with %d", ErrRejectedCredential, resp.StatusCode)
	default:
		return nil, unavailable(resp, g.now())
	}
	cookies, err := sessionCookies(resp.Header, resp.Request.URL.Hostname(), sent)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	session := newSession(c, cookies, sent, g.life)
	if !before(g.now(), session.usable) {
		return nil, fmt.Errorf("%w: its session had ended before the answer was read", ErrUnavailable)
	}
	return session, nil
}

// accepts asks the gateway whether it still takes a session. An error says that it gave no answer to that.
func (g *gateway) accepts(ctx context.Context, s *Session) (bool, error) {
	base, err := g.destinations.check(s.credential.baseURL)
	if err != nil {
		return false, ErrDestination
	}
	resp, body, err := g.exchange(ctx, http.MethodGet, base+pathWhoami, s.credential.userAgent, string(s.header.Reveal()), nil)
	if err != nil {
		return false, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		if !namesAccount(body) {
			return false, fmt.Errorf("%w: its whoami answers without naming an account", ErrUnavailable)
		}
		return true, nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return false, nil
	}
	return false, unavailable(resp, g.now())
}

// namesAccount reports whether whoami's answer is JSON with something in it: a page that says "log in", or that of a
// gateway under maintenance, is no verdict on a session.
func namesAccount(body []byte) bool {
	var account map[string]json.RawMessage
	return json.Unmarshal(body, &account) == nil && len(account) > 0
}

// exchange sends one request and reads the answer to its bounded end. What went wrong
// on the way is ErrUnavailable, with no more of net/http's error than cause lets pass.
func (g *gateway) exchange(ctx context.Context, method, target, userAgent, cookie string, body []byte) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, nil, fmt.Errorf("building a request to Noon: %w", err)
	}
	// Without it no transport can send a token a second time.
	req.GetBody = nil
	req.Header.Set(HeaderUserAgent, userAgent)
	if cookie != "" {
		req.Header.Set(HeaderCookie, cookie)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, cause(err))
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("%w: reading its answer: %w", ErrUnavailable, cause(err))
	case len(answer) > maxAnswerBytes:
		return nil, nil, fmt.Errorf("%w: its answer is larger than %d bytes", ErrUnavailable, maxAnswerBytes)
	}
	return resp, answer, nil
}

// unavailable is the error for an answer that is neither yes nor no.
func unavailable(resp *http.Response, now time.Time) error {
	err := fmt.Errorf("%w: it answered %d", ErrUnavailable, resp.StatusCode)
	if after := retryAfter(resp.Header.Get("Retry-After"), now); after > 0 {
		return &RetryError{err, after}
	}
	return err
}

// retryAfter reads RFC 9110, section 10.2.3: seconds or a date. It is bounded, so that an answer cannot stop logins for
// good; a number beyond all bounds means the longest.
func retryAfter(value string, now time.Time) time.Duration {
	var after time.Duration
	if value != "" && strings.Trim(value, "0123456789") == "" {
		after = maxRetryAfter
		if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
			after = time.Duration(seconds) * time.Second
		}
	} else if at, err := http.ParseTime(value); err == nil {
		after = at.Sub(now)
	}
	return min(max(after, 0), maxRetryAfter)
}
