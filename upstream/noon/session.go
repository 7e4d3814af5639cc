package noon

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/signerd/signerd/internal/secret"
)

// The headers Noon wants on every request.
const (
	HeaderCookie    = "Cookie"
	HeaderUserAgent = "User-Agent"
)

// Session is what a login gave. It is immutable and safe for concurrent use.
type Session struct {
	// ID is random; a caller names it to report that the gateway refuses the session.
	ID string
	// Created is when the login was sent, Expires when the earliest cookie or the configured cap ends the session.
	Created, Expires time.Time

	credential *Credential
	cookies    *jar
	header     secret.Bytes // the Cookie header
	refresh    time.Time    // from when on a new login is made ahead; see before
	usable     time.Time    // until when it is handed out; see before
}

// jar keeps cookies behind two pointers, out of the printers' reach: see package secret.
type jar struct{ inner *[]http.Cookie }

// newSession takes the cookies of the answer to a login that was sent at that time: how long the answer took is the
// gateway's time too. life caps how long the session is used.
func newSession(c *Credential, cookies []http.Cookie, sent time.Time, life time.Duration) *Session {
	s := &Session{ID: rand.Text(), Created: sent.Round(0), Expires: sent.Round(0).Add(life), credential: c, cookies: &jar{&cookies}}
	pairs := make([]string, 0, len(cookies))
	for _, cookie := range cookies {
		// As it was set; http.Cookie would put quotes around a value with a comma or a space.
		pairs = append(pairs, cookie.Name+"="+cookie.Value)
		if !cookie.Expires.IsZero() && cookie.Expires.Before(s.Expires) {
			s.Expires = cookie.Expires
		}
	}
	s.header = secret.New([]byte(strings.Join(pairs, "; ")))
	// A request signed now still has to reach the gateway; a refresh ahead has to have its chance before that.
	left := s.Expires.Sub(s.Created)
	s.usable = sent.Add(left - min(handOutMargin, left/20))
	s.refresh = sent.Add(left - min(refreshMargin, left/5))
	return s
}

// before reports whether now is before end by the wall clock and, where both times have a reading of it, by the
// monotonic clock: the one stands still while a machine sleeps, the other can be set back.
func before(now, end time.Time) bool {
	return now.Before(end) && now.Round(0).Before(end.Round(0))
}

// How long before its end a session is no longer handed out, and is refreshed; less for short sessions.
const (
	handOutMargin = time.Minute
	refreshMargin = time.Hour
)

// Headers are what each request with the session must send.
func (s *Session) Headers() map[string]string {
	return map[string]string{HeaderCookie: string(s.header.Reveal()), HeaderUserAgent: s.credential.UserAgent()}
}

// Cookies are the cookies with their attributes; Expires is absolute, and zero where only the cap ends them.
func (s *Session) Cookies() []http.Cookie { return slices.Clone(*s.cookies.inner) }

// BaseURL is the gateway's.
func (s *Session) BaseURL() string { return s.credential.BaseURL() }
