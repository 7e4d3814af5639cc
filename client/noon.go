package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/grpc"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

// maxDrained is how much of a refusal's body is read so that its connection can be used again.
const maxDrained = 64 << 10

// NewNoon makes a RoundTripper for the Noon gateway that sends the session of a key of signerd's, by its name: its cookies beside the request's own, and its
// User-Agent instead of the request's. The session is asked for once and kept until it expires or the gateway answers 401.
//
// After a 401 signerd is asked about that session. When there is a new one, the request is sent again, once, if its body can be (there
// is none, or the request has GetBody, as http.NewRequest sets it for readers in memory); else the 401 is the answer.
func NewNoon(conn grpc.ClientConnInterface, key string, c Config) (*Transport, error) {
	if c.TTL != 0 || c.KeepBody || c.Warn != nil || c.MaxBodyBytes != 0 {
		return nil, errors.New("client: TTL, KeepBody, MaxBodyBytes and Warn are for partners whose requests are signed")
	}
	signer := signerdv1.NewSignerServiceClient(conn)
	return newTransport(c, key, &noon{sessions: sessions{ask: func(ctx context.Context, rejected string) (*session, error) {
		out, err := signer.GetNoonSession(ctx, &signerdv1.GetNoonSessionRequest{Key: key, RejectedSessionId: rejected})
		if err != nil {
			return nil, err
		}
		gateway, err := url.Parse(out.GetBaseUrl())
		if err != nil {
			return nil, errors.New("signerd names a gateway whose URL cannot be read")
		}
		s := &session{id: out.GetSessionId(), headers: out.GetHeaders(), gateway: originOf(gateway), expires: out.GetExpireTime().AsTime()}
		for _, cookie := range out.GetCookies() {
			s.cookies = append(s.cookies, cookie.GetName())
		}
		return s, nil
	}}})
}

// noon is the gateway, which wants a session.
type noon struct{ sessions sessions }

func (n *noon) send(base http.RoundTripper, req *http.Request, _ string) (*http.Response, error) {
	s, err := n.sessions.get(req.Context(), "")
	if err == nil {
		err = s.fits(req)
	}
	if err != nil {
		closeBody(req)
		return nil, failed(req, err)
	}
	resp, err := base.RoundTrip(s.on(req))
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	n.sessions.reject(s.id)
	if !replayable(req) {
		return resp, nil
	}
	next, err := n.sessions.get(req.Context(), s.id)
	if err == nil && next.id == s.id {
		return resp, nil // signerd has asked the gateway, which accepts it: the 401 has another cause
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxDrained))
	_ = resp.Body.Close()
	if err == nil {
		err = next.fits(req)
	}
	if err != nil {
		return nil, failed(req, err)
	}
	again := next.on(req)
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return nil, failed(req, fmt.Errorf("reading the body again: %w", err))
		}
	}
	return base.RoundTrip(again)
}

func replayable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// fits refuses a session for a gateway other than the request's: its cookies may go nowhere else.
func (s *session) fits(req *http.Request) error {
	if s.gateway != originOf(req.URL) {
		return fmt.Errorf("%w: the key's session is for another gateway", ErrOtherHost)
	}
	return nil
}

// on gives the request with the session's headers. Cookies of the request's that the session does not name stay.
func (s *session) on(req *http.Request) *http.Request {
	out := withHeaders(req, s.headers)
	cookies := []string{out.Header.Get("Cookie")}
	for name, lines := range req.Header {
		if !strings.EqualFold(name, "Cookie") {
			continue
		}
		for cookie := range strings.SplitSeq(strings.Join(lines, ";"), ";") {
			cookie = strings.TrimSpace(cookie)
			if name, _, _ := strings.Cut(cookie, "="); cookie != "" && !s.names(name) {
				cookies = append(cookies, cookie)
			}
		}
	}
	out.Header.Set("Cookie", strings.Join(cookies, "; "))
	return out
}

func (s *session) names(cookie string) bool {
	for _, name := range s.cookies {
		if name == cookie {
			return true
		}
	}
	return false
}
