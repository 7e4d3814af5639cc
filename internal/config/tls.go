package config

import (
	"net"
	"strconv"

	"github.com/signerd/signerd/internal/tlsfiles"
)

// TLS is a TCP port for applications, with TLS 1.3 and client certificates. Its files are read again when they change and on
// SIGHUP; a bad new file leaves the old ones in force.
type TLS struct {
	// Address is where it listens: HOST:PORT, HOST an IP address or a name, or empty for every address of the machine.
	// Default: no port is opened, and no other field of tls may be set; with it, certificate, key and client_ca are
	// required.
	Address string `yaml:"address"`
	// Certificate is the file of the server's certificate and what lies between it and its root, leaf first, PEM.
	Certificate string `yaml:"certificate"`
	// Key is the file of its private key, PEM, not encrypted. It is not the same file as ClientCA.
	Key string `yaml:"key"`
	// ClientCA is the file of the authorities that issue clients' certificates, PEM, one or more.
	ClientCA string `yaml:"client_ca"`
	// CRLs are files of revocation lists (PEM, any number a file, or DER), each whole (no delta, not indirect) and signed by
	// an authority in ClientCA. One past its next update still counts. Default: none.
	CRLs []string `yaml:"crls"`
	// RefusedSerials are serial numbers of certificates to refuse whoever issued them, in quotes, hexadecimal as openssl
	// prints them: "0A1B2C" or "0A:1B:2C". A root's own is not looked at: remove it from ClientCA. Default: none.
	RefusedSerials []string `yaml:"refused_serials"`
}

// Enabled reports whether the port is opened.
func (t TLS) Enabled() bool { return t.Address != "" }

// Files are what the section names, for tlsfiles.Load.
func (t TLS) Files() tlsfiles.Files {
	return tlsfiles.Files{Certificate: t.Certificate, Key: t.Key, ClientCA: t.ClientCA, CRLs: t.CRLs, RefusedSerials: t.RefusedSerials}
}

// paths are the section's paths, to be made absolute.
func (t *TLS) paths() []*string {
	out := []*string{&t.Certificate, &t.Key, &t.ClientCA}
	for i := range t.CRLs {
		out = append(out, &t.CRLs[i])
	}
	return out
}

// check finds the first fault, and calls fault with its path in the file.
func (t TLS) check(fault func(path []any, format string, args ...any) error) error {
	at := func(steps ...any) []any { return append([]any{"tls"}, steps...) }
	required := []struct{ field, value string }{{"certificate", t.Certificate}, {"key", t.Key}, {"client_ca", t.ClientCA}}
	if !t.Enabled() {
		for _, r := range required {
			if r.value != "" {
				return fault(at("address"), "it is required with tls.%s", r.field)
			}
		}
		if len(t.CRLs)+len(t.RefusedSerials) > 0 {
			return fault(at("address"), "it is required with the other fields of tls")
		}
		return nil
	}
	if _, port, err := net.SplitHostPort(t.Address); err != nil || !isPort(port) {
		return fault(at("address"), "wanted HOST:PORT with a port from 1 to 65535, such as 192.0.2.1:8443 or :8443")
	}
	for _, r := range required {
		if r.value == "" {
			return fault(at(r.field), "it is required with tls.address")
		}
	}
	if t.Key == t.ClientCA {
		return fault(at("key"), "it is the same file as tls.client_ca")
	}
	for i, path := range t.CRLs {
		if path == "" {
			return fault(at("crls", i), "a path is missing here")
		}
	}
	for i, serial := range t.RefusedSerials {
		if _, err := tlsfiles.ParseSerial(serial); err != nil {
			return fault(at("refused_serials", i), "%w", err)
		}
	}
	return nil
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}
