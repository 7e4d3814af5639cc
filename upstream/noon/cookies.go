package noon

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Bounds of what an answer may set: far above the two cookies seen, and within what servers accept as one header.
const (
	maxCookies     = 32
	maxCookieBytes = 8 << 10
)

// Errors of an answer's cookies: the gateway does not behave as one.
var (
	errNoCookies      = errors.New("the answer set no cookie that lives")
	errTooManyCookies = errors.New("the answer set too many or too large cookies")
	errUnsendable     = errors.New("the answer set a cookie with a byte that cannot be sent back")
)

// sessionCookies reads the cookies that host set, by RFC 6265, section 5.3: one for another domain is ignored, one with
// a past end is deleted, and a later one replaces an earlier one of the same name, domain and path. Ends are absolute,
// counted from when the request was sent. All of a session's cookies are to be sent back, so one that cannot be is an
// error.
func sessionCookies(header http.Header, host string, sent time.Time) ([]http.Cookie, error) {
	lines := header.Values("Set-Cookie")
	if len(lines) > maxCookies {
		return nil, errTooManyCookies
	}
	sent = sent.Round(0)
	var cookies []http.Cookie
	size := 0
	for _, line := range lines {
		if strings.ContainsFunc(line, func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }) {
			return nil, errUnsendable
		}
		c, ok := parseSetCookie(line, sent)
		if !ok || !domainFits(c.Domain, host) {
			continue
		}
		size += len(c.Name) + len(c.Value) + len("=; ")
		cookies = replaceCookie(cookies, c, host)
	}
	if size > maxCookieBytes {
		return nil, errTooManyCookies
	}
	living := cookies[:0]
	for _, c := range cookies {
		if !c.Expires.IsZero() && !c.Expires.After(sent) {
			continue
		}
		if !visible(c.Name) || !visible(c.Value) || !visible(c.Path) {
			return nil, errUnsendable
		}
		living = append(living, c)
	}
	if len(living) == 0 {
		return nil, errNoCookies
	}
	return living, nil
}

// visible reports whether s is ASCII without control characters, which headers carry unchanged.
func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e })
}

func replaceCookie(list []http.Cookie, c http.Cookie, host string) []http.Cookie {
	for i := range list {
		if list[i].Name == c.Name && list[i].Path == c.Path && domainOf(list[i], host) == domainOf(c, host) {
			list[i] = c
			return list
		}
	}
	return append(list, c)
}

// domainOf is the host's for a cookie without one.
func domainOf(c http.Cookie, host string) string {
	if c.Domain == "" {
		return strings.ToLower(host)
	}
	return c.Domain
}

// domainFits is RFC 6265, section 5.1.3, and refuses a domain of one label, which would be a whole top-level domain.
func domainFits(domain, host string) bool {
	if domain == "" {
		return true
	}
	host = strings.ToLower(host)
	if domain == host {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	return strings.Contains(domain, ".") && strings.HasSuffix(host, "."+domain)
}
