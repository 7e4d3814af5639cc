package noon

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
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

const wantedBase = "wanted https://host or https://host:port, and nothing more"

func parseBase(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" ||
		u.Path != "" && u.Path != "/" || strings.ContainsAny(base, "%# \t\r\n") {
		return nil, upstream.Invalid(fieldBaseURL, wantedBase)
	}
	host, literal, ok := canonicalHost(u.Host)
	if !ok {
		return nil, upstream.Invalid(fieldBaseURL, "%s; a host is a name of letters, digits and inner hyphens, or an address; a port is 1 to 65535", wantedBase)
	}
	u.Host = host
	switch u.Scheme {
	case "https":
		return u, nil
	case "http":
		if literal.IsLoopback() {
			return u, nil
		}
		return nil, upstream.Invalid(fieldBaseURL, "plain http is for literal loopback addresses only")
	}
	return nil, upstream.Invalid(fieldBaseURL, wantedBase)
}

// canonicalHost checks host[:port] and gives its one form, and the address if the host is one.
func canonicalHost(s string) (host string, literal netip.Addr, ok bool) {
	host, port, found := s, "", false
	if end := strings.LastIndexByte(s, ']'); strings.HasPrefix(s, "[") && end > 0 {
		addr, err := netip.ParseAddr(s[1:end])
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", netip.Addr{}, false
		}
		host, literal = "["+addr.String()+"]", addr
		port, found = strings.CutPrefix(s[end+1:], ":")
		if !found && s[end+1:] != "" {
			return "", netip.Addr{}, false
		}
	} else {
		host, port, found = strings.Cut(strings.ToLower(s), ":")
		if addr, err := netip.ParseAddr(host); err == nil {
			literal = addr
		} else if !isHostName(host) {
			return "", netip.Addr{}, false
		}
	}
	if !found {
		return host, literal, true
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' {
		return "", netip.Addr{}, false
	}
	return host + ":" + port, literal, true
}

// isHostName wants labels of letters, digits and inner hyphens (RFC 1123, section 2.1). A name whose last label is a
// number some resolvers read as an address.
func isHostName(s string) bool {
	if len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	last := labels[len(labels)-1]
	_, err := strconv.ParseUint(last, 0, 64)
	return err != nil && strings.Trim(last, "0123456789") != ""
}
