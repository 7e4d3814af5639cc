package noon

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"sync"
	"time"
)

// Defaults of BrokerConfig.
const (
	// DefaultLife caps sessions: older pages of the partner say 22 hours.
	DefaultLife = 22 * time.Hour
	// DefaultTimeout bounds one exchange with the gateway.
	DefaultTimeout = 15 * time.Second
)

// Outcome is how a login ended.
type Outcome string

// The outcomes of a login.
const (
	LoggedIn    Outcome = "ok"
	Rejected    Outcome = "rejected"
	Unavailable Outcome = "unavailable"
)

// BrokerConfig is what a broker needs; zero fields mean the defaults.
type BrokerConfig struct {
	// Destinations say where logins may go.
	Destinations Destinations
	// Life caps how long a session is used. Default: DefaultLife.
	Life time.Duration
	// Timeout bounds one exchange with the gateway. Default: DefaultTimeout.
	Timeout time.Duration
	// ProxyFromEnvironment lets logins go through the proxy that the environment names. Default: no proxy.
	ProxyFromEnvironment bool
	// TLS holds the roots that the gateway's certificate is verified with. Default: the system's.
	TLS *tls.Config
	// Transport replaces the whole transport, for tests; ProxyFromEnvironment and TLS then mean nothing.
	Transport http.RoundTripper
	// LoginStarting is told of every login before it is sent, which its error prevents: callers then get that error. ended is told
	// how it ended; it may be nil. Optional.
	LoginStarting func(Account) (ended func(Outcome, error), err error)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Account is one version of one key, as it was at one generation of it. Another version ends the key's session; another
// generation alone does not, but tells which of two callers knows more of the key.
type Account struct {
	Key        string
	Version    uint32
	Generation uint64
}

// Broker keeps the session of every account in memory, and logs in as seldom as it can: once for any number of
// concurrent callers, ahead of the session's end, and never beyond the limits above. It is safe for concurrent use;
// handing out a cached session takes no lock.
type Broker struct {
	gateway gateway
	config  BrokerConfig
	limits  *limits
	// root ends logins under way at Close; callers that give up do not.
	root   context.Context
	cancel context.CancelFunc
	logins sync.WaitGroup

	entries sync.Map // key name → *entry
}

// NewBroker makes a broker. Close it.
func NewBroker(c BrokerConfig) *Broker {
	if c.Life == 0 {
		c.Life = DefaultLife
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.LoginStarting == nil {
		c.LoginStarting = func(Account) (func(Outcome, error), error) { return nil, nil }
	}
	if c.Transport == nil {
		c.Transport = newTransport(c.ProxyFromEnvironment, c.TLS)
	}
	b := &Broker{config: c, limits: newLimits(), gateway: gateway{newClient(c.Transport), c.Destinations, c.Life, c.Now}}
	b.root, b.cancel = context.WithCancel(context.Background())
	return b
}

// Close ends logins under way and waits for them.
func (b *Broker) Close() {
	b.cancel()
	b.logins.Wait()
	b.gateway.client.CloseIdleConnections()
}

// Session gives the account's session. rejected is the id of a session that the gateway refused to the caller, or
// empty: a new login is made only if that one is still current and whoami no longer accepts it. A caller whose ctx ends
// leaves; what others wait for goes on. Errors: ErrRejectedCredential, ErrUnavailable, ErrRateLimited, in a RetryError
// where a later try may do better; ErrDestination; LoginStarting's; or ctx's.
func (b *Broker) Session(ctx context.Context, account Account, c *Credential, rejected string) (*Session, error) {
	e := b.entry(account.Key)
	now := b.config.Now()
	h := e.current.Load()
	if h != nil && h.identity == identityOf(account, c) && h.session.ID != rejected && before(now, h.session.refresh) {
		return h.session, nil
	}
	session, f, err := b.decide(e, account, c, rejected, now)
	if f == nil {
		return session, err
	}
	select {
	case <-f.done:
		return f.session, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *Broker) entry(key string) *entry {
	if e, ok := b.entries.Load(key); ok {
		return e.(*entry)
	}
	e, _ := b.entries.LoadOrStore(key, &entry{})
	return e.(*entry)
}

// decide answers at once, or gives the flight to wait for.
func (b *Broker) decide(e *entry, account Account, c *Credential, rejected string, now time.Time) (*Session, *flight, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.admit(account, identityOf(account, c)) {
		return nil, nil, ErrKeyChanged
	}
	e.adopt(account, now)
	session := e.usable(now)
	switch {
	case session != nil && session.ID != rejected:
		if e.flight == nil && !before(now, session.refresh) && b.mayLogin(account, c, now) == nil {
			b.start(e, &flight{account: account, credential: c})
		}
		return session, nil, nil
	case e.flight != nil:
		return nil, e.flight, nil
	case session != nil:
		if session, err, fresh := e.verdict.about(session, now); fresh {
			return session, nil, err
		}
		if err := b.gateway.mayReach(c); err != nil {
			return nil, nil, err
		}
		return nil, b.start(e, &flight{account: account, credential: c, suspect: session}), nil
	}
	if err := b.mayLogin(account, c, now); err != nil {
		return nil, nil, err
	}
	return nil, b.start(e, &flight{account: account, credential: c}), nil
}

// mayLogin charges the limits for one login, or says why there can be none now. A login that cannot be sent is none.
func (b *Broker) mayLogin(account Account, c *Credential, now time.Time) error {
	if err := b.gateway.mayReach(c); err != nil {
		return err
	}
	return b.limits.take(account, c, now)
}

// start runs one exchange for the entry, apart from any caller. The caller holds e.mu.
func (b *Broker) start(e *entry, f *flight) *flight {
	f.done = make(chan struct{})
	e.flight = f
	b.logins.Go(func() {
		session, err := b.exchange(e, f)
		e.landed(f, session, err)
	})
	return f
}

// exchange logs in. If there is a session that a caller says is refused, it asks whoami about that one first.
func (b *Broker) exchange(e *entry, f *flight) (*Session, error) {
	if f.suspect == nil {
		return b.login(e, f)
	}
	ctx, cancel := context.WithTimeout(b.root, b.config.Timeout)
	defer cancel()
	accepted, err := b.gateway.accepts(ctx, f.suspect)
	now := b.config.Now()
	if session, err := e.judged(f, accepted, err, now); session != nil || err != nil {
		return session, err
	}
	if err := b.mayLogin(f.account, f.credential, now); err != nil {
		return nil, err
	}
	return b.login(e, f)
}

// login makes one login, which the limits have been charged for, and keeps what it gave; not that of a proof, which is none of
// the entry's flight.
func (b *Broker) login(e *entry, f *flight) (*Session, error) {
	ended, err := b.config.LoginStarting(f.account)
	if err != nil {
		b.limits.unsent(f.credential, b.config.Now())
		return nil, err
	}
	ctx, cancel := context.WithTimeout(b.root, b.config.Timeout)
	defer cancel()
	session, err := b.gateway.login(ctx, f.credential)
	now := b.config.Now()
	if ended != nil {
		ended(outcomeOf(err), err)
	}
	if err != nil {
		return nil, b.limits.failed(f.account, f.credential, err, now)
	}
	b.limits.succeeded(f.credential, now)
	e.keep(f, session)
	return session, nil
}

func outcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return LoggedIn
	case errors.Is(err, ErrRejectedCredential):
		return Rejected
	}
	return Unavailable
}

// Stat is what is known of one account's session.
type Stat struct {
	Account Account
	// Created is when the login was sent.
	Created time.Time
}

// Stats lists the sessions that are kept.
func (b *Broker) Stats() []Stat {
	var out []Stat
	b.entries.Range(func(_, value any) bool {
		if h := value.(*entry).current.Load(); h != nil && before(b.config.Now(), h.session.usable) {
			out = append(out, Stat{h.account, h.session.Created})
		}
		return true
	})
	return out
}

// Drop forgets the session of a key, if it has one from before the given generation, and hands out none that is under
// way: the key or its version was disabled, or another version became active. Cookies that were handed out stay valid
// at the partner.
func (b *Broker) Drop(key string, generation uint64) {
	if e, ok := b.entries.Load(key); ok {
		e.(*entry).drop(generation)
	}
}

// Abandon gives up every exchange that is under way, proofs too: those who wait for it get ErrKeyChanged at once, and what it brings is not
// kept. Sessions that are kept stay.
func (b *Broker) Abandon() {
	b.entries.Range(func(_, value any) bool {
		value.(*entry).abandon()
		return true
	})
}
