package noon

import (
	"context"
	"time"
)

// Proof is a login that succeeded with a version of a key which does not sign yet. Its session is kept apart until it is adopted or
// discarded, one of which must be. Callers of the version get it from the moment on that it signs. It is safe for concurrent use.
type Proof struct {
	broker *Broker
	entry  *entry
	flight *flight
}

// Prove logs in with a version of a key that is to sign from now on, whatever session the key has: that one stays. The login is
// one like any other: recorded before it is sent, bounded, counted by the limits, and sent where logins may go. Errors: those of
// Session, ErrKeyChanged also for a proof that was given up. A caller whose ctx ends leaves, and the login's session is not kept.
func (b *Broker) Prove(ctx context.Context, account Account, c *Credential) (*Proof, error) {
	e := b.entry(account.Key)
	f, err := b.startProof(e, account, c)
	if err != nil {
		return nil, err
	}
	p := &Proof{b, e, f}
	select {
	case <-f.done:
		if f.err != nil {
			return nil, f.err
		}
		return p, nil
	case <-ctx.Done():
		p.Discard()
		return nil, ctx.Err()
	}
}

// startProof sends the login, apart from its caller.
func (b *Broker) startProof(e *entry, account Account, c *Credential) (*flight, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if account.Generation < e.dropped {
		return nil, ErrKeyChanged
	}
	if err := b.mayLogin(account, c, b.config.Now()); err != nil {
		return nil, err
	}
	f := &flight{account: account, credential: c, done: make(chan struct{})}
	if e.proofs == nil {
		e.proofs = make(map[*flight]struct{})
	}
	e.proofs[f] = struct{}{}
	b.logins.Go(func() {
		session, err := b.login(e, f)
		e.proved(f, session, err)
	})
	return f, nil
}

// Adopt makes the session the key's, which signs with the version since the given generation, unless it was given up, or the key
// has changed again.
func (p *Proof) Adopt(generation uint64) {
	e, account := p.entry, p.flight.account
	account.Generation = generation
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.proofs[p.flight]; ok && e.admit(account, identityOf(account, p.flight.credential)) {
		e.adopt(account, p.broker.config.Now())
	}
	delete(e.proofs, p.flight)
}

// Discard forgets the session, unless a caller of the version has got it already. Cookies stay valid at the partner.
func (p *Proof) Discard() {
	p.entry.mu.Lock()
	defer p.entry.mu.Unlock()
	delete(p.entry.proofs, p.flight)
}

// proved ends a proof's exchange.
func (e *entry) proved(f *flight, s *Session, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.abandoned {
		return
	}
	if err != nil {
		delete(e.proofs, f)
	}
	f.session, f.err = s, err
	close(f.done)
}

// adopt makes a proven session of what the key has become the current one, if there is none. Whoever comes first does, the
// callers of the version or the one that activated it, so that there is no second login. The caller holds e.mu.
func (e *entry) adopt(account Account, now time.Time) {
	if e.usable(now) != nil {
		return
	}
	for f := range e.proofs {
		if f.session != nil && identityOf(f.account, f.credential) == e.identity && before(now, f.session.usable) {
			e.current.Store(&held{account, e.identity, f.session})
			delete(e.proofs, f)
			return
		}
	}
}

// giveUp ends an exchange, if it is under way: those who wait for it are told at once, and what it brings is not kept. The caller
// holds e.mu.
func (f *flight) giveUp() {
	select {
	case <-f.done:
	default:
		f.err, f.abandoned = ErrKeyChanged, true
		close(f.done)
	}
}
