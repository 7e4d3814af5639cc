package noon

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/signerd/signerd/upstream"
)

// Destinations say where logins may go. A login token names no audience and no expiry: whoever receives one can log in
// with it. The zero value allows the partner's own gateway alone.
type Destinations struct {
	// BaseURLs are allowed beside DefaultBaseURL; each is https://host[:port], or http:// where LoopbackHTTP allows it.
	BaseURLs []string
	// LoopbackHTTP allows plain http to literal loopback addresses, listed or not: for `signerd dev`.
	LoopbackHTTP bool
}

// CheckBaseURL says whether a base URL can be put on a list of destinations, and if not, why not.
func CheckBaseURL(base string) error {
	_, err := parseBase(base)
	var field *upstream.FieldError
	if errors.As(err, &field) {
		return errors.New(field.Problem)
	}
	return err
}

// check returns base in its canonical form if logins may go there.
func (d Destinations) check(base string) (string, error) {
	u, err := parseBase(base)
	if err != nil {
		return "", err
	}
	canonical := u.Scheme + "://" + u.Host
	if u.Scheme == "http" && d.LoopbackHTTP {
		return canonical, nil
	}
	if canonical == DefaultBaseURL || slices.ContainsFunc(d.BaseURLs, func(allowed string) bool {
		a, err := parseBase(allowed)
		return err == nil && a.Scheme+"://"+a.Host == canonical
	}) {
		return canonical, nil
	}
	return "", upstream.Invalid(fieldBaseURL, "it is not on the configured list of Noon gateways")
}

const fieldBaseURL = "material." + upstream.PartBaseURL

func parseBase(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" ||
		u.Path != "" && u.Path != "/" || strings.ContainsAny(base, " \t\r\n") {
		return nil, upstream.Invalid(fieldBaseURL, "wanted https://host or https://host:port, and nothing more")
	}
	u.Host = strings.ToLower(u.Host)
	switch u.Scheme {
	case "https":
		return u, nil
	case "http":
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil && addr.IsLoopback() {
			return u, nil
		}
		return nil, upstream.Invalid(fieldBaseURL, "plain http is for literal loopback addresses only")
	}
	return nil, upstream.Invalid(fieldBaseURL, "wanted https://host or https://host:port, and nothing more")
}
