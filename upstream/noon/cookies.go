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
)

// sessionCookies reads the cookies that host set, by RFC 6265, section 5.3: one for another domain is ignored, one with
// a past end is deleted, and a later one replaces an earlier one of the same name, domain and path. Expires is made
// absolute.
func sessionCookies(header http.Header, host string, now time.Time) ([]http.Cookie, error) {
	lines := header.Values("Set-Cookie")
	if len(lines) > maxCookies {
		return nil, errTooManyCookies
	}
	var cookies []http.Cookie
	size := 0
	for _, line := range lines {
		c, err := http.ParseSetCookie(line)
		if err != nil || c.Valid() != nil || !domainFits(c.Domain, host) {
			continue
		}
		size += len(c.Name) + len(c.Value) + len("=; ")
		c.Domain = strings.ToLower(strings.TrimPrefix(c.Domain, "."))
		switch {
		case c.MaxAge > 0:
			c.Expires = now.Add(time.Duration(min(c.MaxAge, maxAgeSeconds)) * time.Second)
		case c.MaxAge < 0: // net/http's reading of Max-Age=0
			c.Expires = now
		}
		c.Raw, c.RawExpires, c.Unparsed = "", "", nil
		cookies = replaceCookie(cookies, *c)
	}
	if size > maxCookieBytes {
		return nil, errTooManyCookies
	}
	living := cookies[:0]
	for _, c := range cookies {
		if c.Expires.IsZero() || c.Expires.After(now) {
			living = append(living, c)
		}
	}
	if len(living) == 0 {
		return nil, errNoCookies
	}
	return living, nil
}

// maxAgeSeconds keeps a huge Max-Age from overflowing: ten years.
const maxAgeSeconds = 10 * 365 * 24 * 3600

func replaceCookie(list []http.Cookie, c http.Cookie) []http.Cookie {
	for i := range list {
		if list[i].Name == c.Name && list[i].Domain == c.Domain && list[i].Path == c.Path {
			list[i] = c
			return list
		}
	}
	return append(list, c)
}

// domainFits is RFC 6265, section 5.1.3, and refuses a domain of one label, which would be a whole top-level domain.
func domainFits(domain, host string) bool {
	if domain == "" {
		return true
	}
	domain, host = strings.ToLower(strings.TrimPrefix(domain, ".")), strings.ToLower(host)
	if domain == host {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	return strings.Contains(domain, ".") && strings.HasSuffix(host, "."+domain)
}
