package tlsfiles

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

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
		if m.refusesAny(chain) {
			continue
		}
		first := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		return first.NotAfter, nil
	}
	return time.Time{}, fmt.Errorf("%w: by way of its authority", ErrRevoked)
}
