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

// maxIntermediates bounds how many certificates a client may show beside its own. They are its own choice until a chain is
// found, and looking for one may check a signature for each two of them.
const maxIntermediates = 5

// Client is a client's certificate as a handshake proved it.
type Client struct {
	// Leaf is the certificate; Intermediates are what came with it and leads to an authority.
	Leaf          *x509.Certificate
	Intermediates []*x509.Certificate

	verdict atomic.Pointer[verdict]
}

// verdict remembers what material said of a client, good or bad. It holds until a certificate that it may rest on begins or
// ends, and not for a clock that was set back to before the last time one did.
type verdict struct {
	by          *material
	err         error
	from, until time.Time // until is the first moment after
}

func (v *verdict) holds(by *material, now time.Time) bool {
	return v != nil && v.by == by && !now.Before(v.from) && now.Before(v.until)
}

// bound shortens v to where c does not change between valid and not.
func (v *verdict) bound(c *x509.Certificate, now time.Time) {
	for _, change := range []time.Time{c.NotBefore, c.NotAfter.Add(time.Nanosecond)} {
		if change.After(now) {
			if change.Before(v.until) {
				v.until = change
			}
		} else if change.After(v.from) {
			v.from = change
		}
	}
}

// Client is for what a client showed in a handshake, its own certificate first: it keeps what leads to an authority. The
// error is what a handshake would fail with now, ErrUntrusted. Whether anything is revoked, Verify says.
func (s *Source) Client(shown []*x509.Certificate) (*Client, error) {
	chains, err := s.current.Load().chains(shown, s.now())
	if err != nil {
		return nil, err
	}
	c := &Client{Leaf: shown[0]}
	for _, i := range shown[1:] {
		if slices.ContainsFunc(chains, func(chain []*x509.Certificate) bool { return slices.ContainsFunc(chain, i.Equal) }) {
			c.Intermediates = append(c.Intermediates, i)
		}
	}
	return c, nil
}

// Verify holds a connection's certificate against what is in force now: authorities, revocation, time. Errors:
// ErrRevoked, ErrExpired, ErrUntrusted. While the files stay as they are, what it finds is remembered.
func (s *Source) Verify(c *Client) error {
	m, now := s.current.Load(), s.now()
	if v := c.verdict.Load(); v.holds(m, now) {
		return v.err
	}
	if now.After(c.Leaf.NotAfter) || now.Before(c.Leaf.NotBefore) {
		return ErrExpired
	}
	v := &verdict{by: m, err: m.judge(c, now), from: c.Leaf.NotBefore, until: c.Leaf.NotAfter.Add(time.Nanosecond)}
	for _, i := range slices.Concat(c.Intermediates, m.authorities) {
		v.bound(i, now)
	}
	c.verdict.Store(v)
	return v.err
}

// judge looks for a chain to an authority in which nothing is revoked. What it returns holds on to no certificate.
func (m *material) judge(c *Client, now time.Time) error {
	if m.refuses(c.Leaf) {
		return ErrRevoked
	}
	chains, err := m.chains(append([]*x509.Certificate{c.Leaf}, c.Intermediates...), now)
	switch {
	case err != nil:
		return ErrUntrusted
	case !slices.ContainsFunc(chains, func(chain []*x509.Certificate) bool { return !m.refusesAny(chain) }):
		return ErrRevoked
	}
	return nil
}

// chains finds the ways from a client's certificate, the first, to an authority. It does not ask whether anything is revoked.
func (m *material) chains(shown []*x509.Certificate, now time.Time) ([][]*x509.Certificate, error) {
	if len(shown) == 0 {
		return nil, ErrUntrusted
	}
	if len(shown) > 1+maxIntermediates {
		return nil, fmt.Errorf("%w: %d certificates came with it, at most %d are taken", ErrUntrusted, len(shown)-1, maxIntermediates)
	}
	pool := x509.NewCertPool()
	for _, i := range shown[1:] {
		pool.AddCert(i)
	}
	chains, err := shown[0].Verify(x509.VerifyOptions{Roots: m.roots, Intermediates: pool, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return chains, nil
}
