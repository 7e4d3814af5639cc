package tlsfiles

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/signerd/signerd/internal/durable"
)

// issuer is a name with a key, and what the lists that this key signed revoke. An authority that was given a new key keeps
// its name, and may number its certificates anew.
type issuer struct {
	authority *x509.Certificate
	revoked   map[string]struct{} // serials
}

// issuer finds the one with the authority's name and key, or makes it.
func (m *material) issuer(a *x509.Certificate) *issuer {
	name := string(a.RawSubject)
	for _, i := range m.issuers[name] {
		if bytes.Equal(i.authority.RawSubjectPublicKeyInfo, a.RawSubjectPublicKeyInfo) {
			return i
		}
	}
	i := &issuer{a, make(map[string]struct{})}
	m.issuers[name] = append(m.issuers[name], i)
	return i
}

// signed reports whether the issuer's key signed c. A signature that cannot be checked may be the issuer's, and counts.
func (i *issuer) signed(c *x509.Certificate) bool {
	err := i.authority.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
	_, insecure := errors.AsType[x509.InsecureAlgorithmError](err)
	return err == nil || insecure || errors.Is(err, x509.ErrUnsupportedAlgorithm)
}

// refuses reports whether a certificate, a client's or an authority's, is revoked. It needs no chain: whoever signed the
// list signed the certificate.
func (m *material) refuses(c *x509.Certificate) bool {
	_, refused := m.serials[string(c.SerialNumber.Bytes())]
	return refused || m.listed(c)
}

func (m *material) listed(c *x509.Certificate) bool {
	for _, i := range m.issuers[string(c.RawIssuer)] {
		if _, ok := i.revoked[string(c.SerialNumber.Bytes())]; ok && i.signed(c) {
			return true
		}
	}
	return false
}

// refusesAny reports whether anything in a chain is revoked. Serials are not held against its root: roots often have small
// ones, and a root that is not to be trusted is not left among the authorities.
func (m *material) refusesAny(chain []*x509.Certificate) bool {
	top := chain[len(chain)-1]
	if bytes.Equal(top.RawSubject, top.RawIssuer) {
		chain = chain[:len(chain)-1]
		if m.listed(top) {
			return true
		}
	}
	return slices.ContainsFunc(chain, m.refuses)
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
	if err := checkList(list); err != nil {
		return fmt.Errorf("revocation list %s: %w", path, err)
	}
	for _, a := range authorities {
		if bytes.Equal(a.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(a) == nil {
			revoked := m.issuer(a).revoked
			for _, entry := range list.RevokedCertificateEntries {
				revoked[string(entry.SerialNumber.Bytes())] = struct{}{}
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
