package config_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const withTLS = valid + `tls:
  address: 192.0.2.1:8443
  certificate: cert.pem
  key: /etc/key.pem
  client_ca: ca.pem
  crls:
    - a.crl
    - /etc/b.crl
  refused_serials:
    - "0A1B2C"
    - 0A:1B:2D
`

func TestTheFilesOfTLSAreRelativeToTheConfiguration(t *testing.T) {
	c, path, err := load(t, withTLS)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	f := c.TLS.Files()
	got := append([]string{f.Certificate, f.Key, f.ClientCA}, f.CRLs...)
	want := []string{filepath.Join(dir, "cert.pem"), "/etc/key.pem", filepath.Join(dir, "ca.pem"), filepath.Join(dir, "a.crl"), "/etc/b.crl"}
	if !slices.Equal(got, want) || !slices.Equal(f.RefusedSerials, []string{"0A1B2C", "0A:1B:2D"}) || !c.TLS.Enabled() {
		t.Errorf("got %v and %v", got, f.RefusedSerials)
	}
}

func TestWithoutTheSectionNoPortIsOpened(t *testing.T) {
	for _, text := range []string{valid, valid + "tls: {}\n"} {
		if c, _, err := load(t, text); err != nil || c.TLS.Enabled() {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestFaultsOfTLSAreNamedWithFileAndLine(t *testing.T) {
	replaced := func(old, with string) string {
		if !strings.Contains(withTLS, old) {
			t.Fatalf("%q is not there", old)
		}
		return strings.Replace(withTLS, old, with, 1)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"an unknown key", withTLS + "  bogus: 1\n", ":18: field bogus is unknown in TLS"},
		{"no address", replaced("  address: 192.0.2.1:8443\n", ""), ":8: tls.address: it is required with tls.certificate"},
		{"an empty address", replaced("192.0.2.1:8443", `""`), ":8: tls.address: it is required"},
		{"serials alone", valid + "tls: {refused_serials: [a]}\n", ":7: tls.address: it is required"},
		{"no port", replaced(":8443", ""), ":8: tls.address: wanted HOST:PORT"},
		{"an empty port", replaced(":8443", `":"`), ":8: tls.address: wanted HOST:PORT"},
		{"port 0", replaced(":8443", ":0"), ":8: tls.address: wanted HOST:PORT"},
		{"too large a port", replaced(":8443", ":65536"), ":8: tls.address: wanted HOST:PORT"},
		{"a service for a port", replaced(":8443", ":https"), ":8: tls.address: wanted HOST:PORT"},
		{"an IPv6 address without brackets", replaced("192.0.2.1", "2001:db8::1"), ":8: tls.address: wanted HOST:PORT"},
		{"no certificate", replaced("  certificate: cert.pem\n", ""), ":8: tls.certificate: it is required with tls.address"},
		{"no key", replaced("  key: /etc/key.pem\n", ""), ":8: tls.key: it is required with tls.address"},
		{"no authorities", replaced("  client_ca: ca.pem\n", ""), ":8: tls.client_ca: it is required with tls.address"},
		{"one file for key and authorities", replaced("ca.pem", "/etc/x/../key.pem"), ":10: tls.key: it is the same file as tls.client_ca"},
		{"an empty path of a list", replaced("- a.crl", `- ""`), ":13: tls.crls[0]: a path is missing"},
		{"a forgotten list", replaced("- a.crl", "-"), ":13: a value is missing here"},
		{"a malformed serial", replaced("0A:1B:2D", "0A:1B:2D:x"), ":17: tls.refused_serials[1]: wanted a certificate's serial number in hexadecimal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, path, err := load(t, tt.text)
			if err == nil || !strings.HasPrefix(err.Error(), path) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v and %+v, want %q", err, c, tt.want)
			}
		})
	}
}
