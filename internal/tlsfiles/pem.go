package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/signerd/signerd/internal/durable"
)

func loadPair(certFile, keyFile string) (tls.Certificate, error) {
	chain, err := durable.ReadLimited(certFile, maxFileBytes)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading the TLS certificate: %w", err)
	}
	key, err := durable.ReadLimited(keyFile, maxFileBytes)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading the TLS key: %w", err)
	}
	defer clear(key)
	certificate, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("TLS certificate %s and key %s: %w", certFile, keyFile, err)
	}
	return certificate, nil
}

func loadAuthorities(path string) ([]*x509.Certificate, error) {
	text, err := durable.ReadLimited(path, maxFileBytes)
	if err != nil {
		return nil, fmt.Errorf("reading the client authorities: %w", err)
	}
	var out []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("client authorities %s: it holds a PEM block that is not a certificate", path)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("client authorities %s: %w", path, err)
		}
		if !c.IsCA {
			return nil, fmt.Errorf("client authorities %s: the certificate of %q is no authority's", path, c.Subject.CommonName)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("client authorities %s: it holds no certificate", path)
	}
	return out, nil
}
