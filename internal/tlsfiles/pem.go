package tlsfiles

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/signerd/signerd/internal/durable"
)

var (
	pemBegin = []byte("-----BEGIN ")
	pemEnd   = []byte("-----END ")
)

var errDamaged = errors.New("a PEM block in it is damaged (no other line may begin with a dash)")

// decodePEM gives all blocks of a file. pem.Decode takes a block that it cannot read for text between blocks, and what that
// block held would be lost without a word: so each line that may be the rest of a BEGIN or an END must belong to a block. Any
// other text may stand beside the blocks, as openssl writes it with -text; a file that lost its end in a crash has zeros there.
func decodePEM(text []byte) ([]*pem.Block, error) {
	var out []*pem.Block
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		out = append(out, block)
	}
	dashed := 0
	for line := range bytes.Lines(text) {
		if line[0] == '-' {
			dashed++
		}
	}
	n := len(out)
	if bytes.Count(text, pemBegin) != n || bytes.Count(text, pemEnd) != n || dashed != 2*n || bytes.IndexByte(text, 0) >= 0 {
		return nil, errDamaged
	}
	return out, nil
}

func loadPair(certFile, keyFile string) (tls.Certificate, error) {
	chain, err := durable.ReadLimited(certFile, maxFileBytes)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading the TLS certificate: %w", err)
	}
	defer clear(chain) // the key may be in the same file
	if err := checkPair(chain); err != nil {
		return tls.Certificate{}, fmt.Errorf("TLS certificate %s: %w", certFile, err)
	}
	key, err := durable.ReadLimited(keyFile, maxFileBytes)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading the TLS key: %w", err)
	}
	defer clear(key)
	if err := checkPair(key); err != nil {
		return tls.Certificate{}, fmt.Errorf("TLS key %s: %w", keyFile, err)
	}
	certificate, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("TLS certificate %s and key %s: %w", certFile, keyFile, err)
	}
	return certificate, nil
}

// checkPair finds what tls.X509KeyPair would pass over: it reads the first certificate and the first key, and sends the rest
// of the chain as it is.
func checkPair(text []byte) error {
	blocks, err := decodePEM(text)
	if err != nil {
		return err
	}
	for _, b := range blocks {
		defer clear(b.Bytes)
		switch {
		case b.Type == "CERTIFICATE":
			if _, err := x509.ParseCertificate(b.Bytes); err != nil {
				return err
			}
		case strings.HasSuffix(b.Type, "PRIVATE KEY"), strings.HasSuffix(b.Type, " PARAMETERS"):
		default:
			return errors.New("it holds a PEM block that is neither a certificate nor a key")
		}
	}
	return nil
}

func loadAuthorities(path string) ([]*x509.Certificate, error) {
	list, err := loadCertificates(path)
	if err != nil {
		return nil, fmt.Errorf("client authorities: %w", err)
	}
	for _, c := range list {
		if !c.IsCA {
			return nil, fmt.Errorf("client authorities: %s: the certificate of %q is no authority's", path, c.Subject.CommonName)
		}
	}
	return list, nil
}

// Roots reads a file of certificates, PEM, that servers' certificates come from. A damaged file is refused whole.
func Roots(path string) (*x509.CertPool, error) {
	list, err := loadCertificates(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range list {
		pool.AddCert(c)
	}
	return pool, nil
}

// loadCertificates reads a file of at least one certificate and nothing else.
func loadCertificates(path string) ([]*x509.Certificate, error) {
	text, err := durable.ReadLimited(path, maxFileBytes)
	if err != nil {
		return nil, err
	}
	blocks, err := decodePEM(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var out []*x509.Certificate
	for _, block := range blocks {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s: it holds a PEM block that is not a certificate", path)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: it holds no certificate", path)
	}
	return out, nil
}
