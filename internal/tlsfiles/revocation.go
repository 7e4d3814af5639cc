package tlsfiles

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"

	"github.com/signerd/signerd/internal/durable"
)

type issuedSerial struct{ issuer, serial string } // the issuer's raw name, the serial's bytes

// refuses reports whether a certificate, a client's or an authority's, is revoked.
func (m *material) refuses(c *x509.Certificate) bool {
	serial := string(c.SerialNumber.Bytes())
	_, refused := m.serials[serial]
	_, revoked := m.revoked[issuedSerial{string(c.RawIssuer), serial}]
	return refused || revoked
}

// addCRL takes in a file of revocation lists that one of the authorities signed. One that is past its next update still counts:
// what it revokes stays revoked.
func (m *material) addCRL(path string, authorities []*x509.Certificate) error {
	text, err := durable.ReadLimited(path, maxFileBytes)
	if err != nil {
		return fmt.Errorf("reading a revocation list: %w", err)
	}
	if !bytes.Contains(text, pemBegin) {
		return m.addList(path, text, authorities)
	}
	blocks, err := decodePEM(text)
	if err != nil {
		return fmt.Errorf("revocation list %s: %w", path, err)
	}
	for _, block := range blocks {
		if block.Type != "X509 CRL" {
			return fmt.Errorf("revocation list %s: it holds a PEM block that is not a revocation list", path)
		}
		if err := m.addList(path, block.Bytes, authorities); err != nil {
			return err
		}
	}
	return nil
}

func (m *material) addList(path string, der []byte, authorities []*x509.Certificate) error {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return fmt.Errorf("revocation list %s: %w", path, err)
	}
	if len(list.Raw) != len(der) {
		return fmt.Errorf("revocation list %s: something follows the list, and would not be read", path)
	}
	for _, a := range authorities {
		if string(a.RawSubject) == string(list.RawIssuer) && list.CheckSignatureFrom(a) == nil {
			for _, entry := range list.RevokedCertificateEntries {
				m.revoked[issuedSerial{string(list.RawIssuer), string(entry.SerialNumber.Bytes())}] = struct{}{}
			}
			return nil
		}
	}
	return fmt.Errorf("revocation list %s: none of the client authorities signed it", path)
}

// maxSerialDigits is more than any certificate has (RFC 5280 allows 20 bytes).
const maxSerialDigits = 64

// serialForm is hexadecimal as openssl prints it: digits alone, or pairs with colons between them.
var serialForm = regexp.MustCompile(`^([0-9A-Fa-f]+|[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})*)$`)

// ParseSerial reads a certificate's serial number in hexadecimal, as openssl prints it: with or without colons.
func ParseSerial(text string) (*big.Int, error) {
	digits := strings.ReplaceAll(text, ":", "")
	serial, ok := new(big.Int).SetString(digits, 16)
	if !serialForm.MatchString(text) || !ok || serial.Sign() == 0 || len(digits) > maxSerialDigits {
		return nil, errors.New("wanted a certificate's serial number in hexadecimal, such as 0A:1B:2C")
	}
	return serial, nil
}
