package tracing

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/signerd/signerd/internal/tlsfiles"
)

var errEndpoint = errors.New("wanted https://HOST:PORT, or http://HOST:PORT with a loopback address, and nothing more")

// CheckEndpoint says whether spans can be sent to an endpoint, and if not, why not.
func CheckEndpoint(endpoint string) error {
	_, err := parseEndpoint(endpoint)
	return err
}

func parseEndpoint(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" ||
		u.Path != "" && u.Path != "/" || strings.ContainsAny(endpoint, "# \t\r\n%") {
		return nil, errEndpoint // not url.Parse's, which quotes the endpoint, and a password in it
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
		return nil, errEndpoint
	}
	switch u.Scheme {
	case "https":
		return u, nil
	case "http":
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil && addr.IsLoopback() {
			return u, nil
		}
		return nil, errors.New("plain http is for literal loopback addresses only")
	}
	return nil, errEndpoint
}

// transport is how the collector at u is spoken to.
func transport(u *url.URL, caFile string) (credentials.TransportCredentials, error) {
	if u.Scheme == "http" {
		if caFile != "" {
			return nil, errors.New("a CA file is for https endpoints only")
		}
		return insecure.NewCredentials(), nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		roots, err := tlsfiles.Roots(caFile)
		if err != nil {
			return nil, fmt.Errorf("CA file: %w", err)
		}
		conf.RootCAs = roots
	}
	return credentials.NewTLS(conf), nil
}
