// Package certtest makes authorities, certificates and revocation lists when a test runs, and puts them in files.
//
// It is for tests of TLS in any package. Nothing it makes is kept.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority issues certificates.
type Authority struct {
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	now         time.Time
	above       *Authority // nil for a root
}

// NewAuthority is a root that is valid around now, and so is what it issues.
func NewAuthority(t testing.TB, name string, now time.Time) *Authority {
	t.Helper()
	return newAuthority(t, name, now, nil, nil)
}

// Intermediate is an authority below this one.
func (a *Authority) Intermediate(t testing.TB, name string) *Authority {
	t.Helper()
	return newAuthority(t, name, a.now, a, nil)
}

// EditedIntermediate is an authority below this one; edit changes what is special about it.
func (a *Authority) EditedIntermediate(t testing.TB, name string, edit func(*x509.Certificate)) *Authority {
	t.Helper()
	return newAuthority(t, name, a.now, a, edit)
}

func newAuthority(t testing.TB, name string, now time.Time, above *Authority, edit func(*x509.Certificate)) *Authority {
	t.Helper()
	template := template(t, now)
	template.Subject = pkix.Name{CommonName: name}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	template.NotAfter = now.Add(1000 * time.Hour).UTC()
	if edit != nil {
		edit(template)
	}
	a := &Authority{key: newKey(t), now: now, above: above}
	parent, signer := template, a.key
	if above != nil {
		parent, signer = above.Certificate, above.key
	}
	a.Certificate = sign(t, template, parent, &a.key.PublicKey, signer)
	return a
}

// PEM is the authority's own certificate.
func (a *Authority) PEM() []byte { return certificatePEM(a.Certificate) }

// Pair is a certificate with its key.
type Pair struct {
	Leaf                *x509.Certificate
	Certificate, KeyPEM []byte // the chain without its root, leaf first; PEM
}

// TLS is the pair as crypto/tls takes it.
func (p Pair) TLS(t testing.TB) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair(p.Certificate, p.KeyPEM)
	must(t, err)
	return c
}

// Issue makes a certificate for servers and clients on 127.0.0.1; edit changes what is special about it.
func (a *Authority) Issue(t testing.TB, edit func(*x509.Certificate)) Pair {
	t.Helper()
	template := template(t, a.now)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if edit != nil {
		edit(template)
	}
	key := newKey(t)
	leaf := sign(t, template, a.Certificate, &key.PublicKey, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	chain := certificatePEM(leaf)
	for up := a; up.above != nil; up = up.above {
		chain = append(chain, up.PEM()...)
	}
	return Pair{leaf, chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
}

// Server is a certificate of 127.0.0.1.
func (a *Authority) Server(t testing.TB) Pair {
	t.Helper()
	return a.Issue(t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
}

// Client is a certificate with these URI names.
func (a *Authority) Client(t testing.TB, uris ...string) Pair {
	t.Helper()
	return a.Issue(t, func(c *x509.Certificate) {
		for _, text := range uris {
			u, err := url.Parse(text)
			must(t, err)
			c.URIs = append(c.URIs, u)
		}
	})
}

// CRL is a revocation list in DER.
func (a *Authority) CRL(t testing.TB, revoked ...*x509.Certificate) []byte {
	t.Helper()
	return a.EditedCRL(t, nil, revoked...)
}

// EditedCRL is a revocation list in DER; edit changes what is special about it.
func (a *Authority) EditedCRL(t testing.TB, edit func(*x509.RevocationList), revoked ...*x509.Certificate) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: a.now.Add(-time.Hour), NextUpdate: a.now.Add(time.Hour)}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: a.now.Add(-time.Hour)})
	}
	if edit != nil {
		edit(list)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.Certificate, a.key)
	must(t, err)
	return der
}

// CRLPEM is a revocation list in PEM.
func CRLPEM(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}) }

// Replace puts a file in place in one step, as tools that renew certificates do.
func Replace(t testing.TB, path string, content []byte) {
	t.Helper()
	next := filepath.Join(filepath.Dir(path), ".next-"+filepath.Base(path))
	must(t, os.WriteFile(next, content, 0o600))
	must(t, os.Rename(next, path))
}

func template(t testing.TB, now time.Time) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	must(t, err)
	return &x509.Certificate{SerialNumber: serial.Add(serial, big.NewInt(1)), NotBefore: now.Add(-time.Hour).UTC(), NotAfter: now.Add(24 * time.Hour).UTC()}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	must(t, err)
	c, err := x509.ParseCertificate(der)
	must(t, err)
	return c
}

func certificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
