// Package tlsfiles keeps what TLS needs from files in force: certificate, key, client authorities, revocation lists.
//
// It is for cmd/signerd, which says which files and when to look again, and for server, which makes handshakes and asks
// about each request's certificate. A bad new file leaves the old ones in force. It knows no identities.
package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/signerd/signerd/internal/durable"
)

// maxFileBytes bounds each file.
const maxFileBytes = 4 << 20

// Files says where the material is. Paths are absolute.
type Files struct {
	// Certificate is the server's chain, leaf first, PEM. Key is its private key, PEM.
	Certificate, Key string
	// ClientCA are the authorities that clients' certificates come from, PEM.
	ClientCA string
	// CRLs are revocation lists of those authorities, PEM (any number a file) or DER. Optional.
	CRLs []string
	// RefusedSerials are serial numbers in hexadecimal, with or without colons, whatever the issuer. Optional.
	RefusedSerials []string
}

// Errors about a client's certificate.
var (
	// ErrRevoked says that the certificate, or an authority between it and a trusted one, is on a revocation list or that
	// its serial is refused.
	ErrRevoked = errors.New("the client certificate is revoked")
	// ErrExpired says that the certificate is not valid at this time.
	ErrExpired = errors.New("the client certificate is expired, or not valid yet")
	// ErrUntrusted says that the certificate does not come from an authority that is trusted now.
	ErrUntrusted = errors.New("the client certificate comes from no trusted authority")
)

// Source holds the material in force. It is safe for concurrent use; Verify and handshakes take no lock.
type Source struct {
	now func() time.Time

	reload  sync.Mutex
	files   Files
	stamps  map[string]stamp
	current atomic.Pointer[material]
}

// material is one consistent reading of all files. It is immutable.
type material struct {
	config  *tls.Config
	roots   *x509.CertPool
	leaf    *x509.Certificate
	serials map[string]struct{} // refused whatever the issuer
	revoked map[issuedSerial]struct{}
}

type issuedSerial struct{ issuer, serial string } // the issuer's raw name, the serial's bytes

// stamp tells whether a file changed.
type stamp struct {
	modified time.Time
	size     int64
	inode    uint64
}

// Load reads all files for the first time.
func Load(files Files, now func() time.Time) (*Source, error) {
	s := &Source{now: now}
	if err := s.Replace(files); err != nil {
		return nil, err
	}
	return s, nil
}

// Reload reads all files again, and puts them in force together. On an error what was in force stays so.
func (s *Source) Reload() error {
	s.reload.Lock()
	defer s.reload.Unlock()
	return s.read()
}

// Replace is Reload with other files, which are looked at from then on. On an error the old ones stay, and what they hold.
func (s *Source) Replace(files Files) error {
	s.reload.Lock()
	defer s.reload.Unlock()
	before, stamps := s.files, s.stamps
	s.files = files
	err := s.read()
	if err != nil {
		s.files, s.stamps = before, stamps
	}
	return err
}

// ReloadIfChanged is Reload if any file was replaced or written since the last look.
func (s *Source) ReloadIfChanged() (changed bool, err error) {
	s.reload.Lock()
	defer s.reload.Unlock()
	stamps := s.look()
	if sameStamps(stamps, s.stamps) {
		return false, nil
	}
	return true, s.read()
}

func (s *Source) read() error {
	// The stamps are taken first: a file that changes while it is read is read again at the next look.
	stamps := s.look()
	m, err := s.load()
	s.stamps = stamps
	if err != nil {
		return err
	}
	s.current.Store(m)
	return nil
}

func (s *Source) paths() []string {
	return append([]string{s.files.Certificate, s.files.Key, s.files.ClientCA}, s.files.CRLs...)
}

func (s *Source) look() map[string]stamp {
	out := make(map[string]stamp)
	for _, path := range s.paths() {
		if info, err := os.Stat(path); err == nil {
			out[path] = stamp{info.ModTime(), info.Size(), inode(info)}
		}
	}
	return out
}

func sameStamps(a, b map[string]stamp) bool {
	if len(a) != len(b) {
		return false
	}
	for path, s := range a {
		if b[path] != s {
			return false
		}
	}
	return true
}

func (s *Source) load() (*material, error) {
	certificate, err := loadPair(s.files.Certificate, s.files.Key)
	if err != nil {
		return nil, err
	}
	authorities, err := loadAuthorities(s.files.ClientCA)
	if err != nil {
		return nil, err
	}
	m := &material{roots: x509.NewCertPool(), leaf: certificate.Leaf, serials: make(map[string]struct{}), revoked: make(map[issuedSerial]struct{})}
	for _, a := range authorities {
		m.roots.AddCert(a)
	}
	for _, text := range s.files.RefusedSerials {
		serial, err := ParseSerial(text)
		if err != nil {
			return nil, err
		}
		m.serials[string(serial.Bytes())] = struct{}{}
	}
	for _, path := range s.files.CRLs {
		if err := m.addCRL(path, authorities); err != nil {
			return nil, err
		}
	}
	m.config = &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    m.roots,
		NextProtos:   []string{"h2"},
		// A resumed session would skip the check against authorities that have changed meanwhile.
		SessionTicketsDisabled: true,
		Time:                   s.now,
	}
	return m, nil
}

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

// addCRL takes in a file of revocation lists that one of the authorities signed. One that is past its next update still counts:
// what it revokes stays revoked.
func (m *material) addCRL(path string, authorities []*x509.Certificate) error {
	der, err := durable.ReadLimited(path, maxFileBytes)
	if err != nil {
		return fmt.Errorf("reading a revocation list: %w", err)
	}
	block, rest := pem.Decode(der)
	if block == nil {
		return m.addList(path, der, authorities)
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
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

// Config is for listeners: each handshake uses what is in force when it begins.
func (s *Source) Config() *tls.Config {
	c := s.current.Load().config.Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current.Load().config, nil }
	return c
}

// NotAfter is when the server's own certificate ends.
func (s *Source) NotAfter() time.Time { return s.current.Load().leaf.NotAfter }

// Client is a client's certificate as a handshake proved it.
type Client struct {
	// Leaf is the certificate; Intermediates are what came with it.
	Leaf          *x509.Certificate
	Intermediates []*x509.Certificate

	verified atomic.Pointer[verification]
}

// verification remembers that material trusted a chain, which is valid until then.
type verification struct {
	by    *material
	until time.Time
}

// Verify holds a connection's certificate against what is in force now: authorities, revocation, time. Errors:
// ErrRevoked, ErrExpired, ErrUntrusted. It costs two map lookups while the files stay as they are.
func (s *Source) Verify(c *Client) error {
	m, now := s.current.Load(), s.now()
	if now.After(c.Leaf.NotAfter) || now.Before(c.Leaf.NotBefore) {
		return ErrExpired
	}
	if m.refuses(c.Leaf) {
		return ErrRevoked
	}
	if v := c.verified.Load(); v != nil && v.by == m && !now.After(v.until) {
		return nil
	}
	until, err := m.trusts(c, now)
	if err != nil {
		return err
	}
	c.verified.Store(&verification{m, until})
	return nil
}

// refuses reports whether a certificate, a client's or an authority's, is revoked.
func (m *material) refuses(c *x509.Certificate) bool {
	serial := string(c.SerialNumber.Bytes())
	_, refused := m.serials[serial]
	_, revoked := m.revoked[issuedSerial{string(c.RawIssuer), serial}]
	return refused || revoked
}

// trusts looks for a chain to an authority in which nothing is revoked, and says how long it is valid.
func (m *material) trusts(c *Client, now time.Time) (until time.Time, err error) {
	pool := x509.NewCertPool()
	for _, i := range c.Intermediates {
		pool.AddCert(i)
	}
	chains, err := c.Leaf.Verify(x509.VerifyOptions{Roots: m.roots, Intermediates: pool, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	for _, chain := range chains {
		if slices.ContainsFunc(chain, m.refuses) {
			continue
		}
		first := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		return first.NotAfter, nil
	}
	return time.Time{}, fmt.Errorf("%w: by way of its authority", ErrRevoked)
}

// Watch looks at the files every interval until done is closed, and tells of each reading that was tried.
func (s *Source) Watch(done <-chan struct{}, interval time.Duration, tell func(error)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			if changed, err := s.ReloadIfChanged(); changed {
				tell(err)
			}
		}
	}
}

// inode tells a file from the one that replaced it.
func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}
