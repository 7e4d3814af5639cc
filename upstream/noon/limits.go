package noon

import (
	"errors"
	"maps"
	"math/rand/v2"
	"sync"
	"time"
)

// How the broker treats the gateway. The limits keep any caller, and any number of them, from locking the account.
const (
	loginBurst    = 3                // logins at once per credential,
	loginInterval = 20 * time.Second // and then one each

	firstBackOff = 2 * time.Second
	maxBackOff   = 5 * time.Minute
	// rejectedBackOff is how long a refused credential is not tried again.
	rejectedBackOff = 5 * time.Minute
	// sweepInterval is how often what counts no more is looked for.
	sweepInterval = time.Minute
)

// limits say when a login may be made. They belong to what the partner sees, a credential and an account, and not to a
// key: neither another name for a credential nor a change of a key makes room for more logins. They are safe for
// concurrent use.
type limits struct {
	mu       sync.Mutex
	budgets  map[[32]byte]*budget // by the credential's fingerprint
	backOffs map[partnerAccount]*backOff
	swept    time.Time
}

// partnerAccount is one account at a gateway; the partner allows it several credentials.
type partnerAccount struct{ baseURL, projectCode string }

// budget is what a credential may do: its bucket, and what was refused of it, by all that a login says.
type budget struct {
	bucket   bucket
	refusals map[[32]byte]refusal
}

// refusal is the partner's no to a version's login.
type refusal struct {
	key     string
	version uint32
	until   time.Time
	reason  error
}

// backOff is how long an account's gateway is left alone after it failed or asked for it.
type backOff struct {
	failures int
	until    time.Time
	reason   error
}

func newLimits() *limits {
	return &limits{budgets: make(map[[32]byte]*budget), backOffs: make(map[partnerAccount]*backOff)}
}

// take charges for one login, or says why there can be none now.
func (l *limits) take(account Account, c *Credential, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(now)
	g := l.budget(c, now)
	// Another version of the key that was refused is tried: somebody activated it to mend that.
	if r, ok := g.refusals[c.material]; ok && now.Before(r.until) && (r.key != account.Key || r.version == account.Version) {
		return &RetryError{r.reason, r.until.Sub(now)}
	}
	if o, ok := l.backOffs[c.partner()]; ok && now.Before(o.until) {
		return &RetryError{o.reason, o.until.Sub(now)}
	}
	if wait := g.bucket.take(now); wait > 0 {
		return &RetryError{ErrRateLimited, wait}
	}
	return nil
}

// unsent gives back what was charged for a login that was not sent.
func (l *limits) unsent(c *Credential, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.budget(c, now)
	g.bucket.tokens = min(loginBurst, g.bucket.tokens+1)
}

// failed notes a failed login and says when the next may be made.
func (l *limits) failed(account Account, c *Credential, err error, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(err, ErrRejectedCredential) {
		delay := jittered(rejectedBackOff)
		l.budget(c, now).refusals[c.material] = refusal{account.Key, account.Version, now.Add(delay), err}
		return &RetryError{err, delay}
	}
	o, ok := l.backOffs[c.partner()]
	if !ok {
		o = &backOff{}
		l.backOffs[c.partner()] = o
	}
	delay := jittered(min(firstBackOff<<min(o.failures, 16), maxBackOff))
	o.failures++
	var told *RetryError
	if errors.As(err, &told) {
		delay = max(delay, told.After)
	}
	// Of logins that were under way at once, the one that was told to wait longest counts.
	if until := now.Add(delay); until.After(o.until) {
		o.until, o.reason = until, err
	}
	return &RetryError{err, o.until.Sub(now)}
}

// jittered keeps several signerds from knocking in step; it only ever lengthens what was promised.
func jittered(d time.Duration) time.Duration { return d + rand.N(d/4+1) }

// succeeded forgets the failures before a login, but not what another was told while this one was under way.
func (l *limits) succeeded(c *Credential, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.budget(c, now).refusals, c.material)
	if o, ok := l.backOffs[c.partner()]; ok && !now.Before(o.until) {
		delete(l.backOffs, c.partner())
	}
}

// budget is the credential's. The caller holds l.mu.
func (l *limits) budget(c *Credential, now time.Time) *budget {
	g, ok := l.budgets[c.fingerprint]
	if !ok {
		g = &budget{bucket{loginBurst, now}, make(map[[32]byte]refusal)}
		l.budgets[c.fingerprint] = g
	}
	return g
}

// sweep forgets what is as good as new. The caller holds l.mu.
func (l *limits) sweep(now time.Time) {
	if now.Sub(l.swept) < sweepInterval {
		return
	}
	l.swept = now
	maps.DeleteFunc(l.budgets, func(_ [32]byte, g *budget) bool {
		maps.DeleteFunc(g.refusals, func(_ [32]byte, r refusal) bool { return !now.Before(r.until) })
		return len(g.refusals) == 0 && g.bucket.full(now)
	})
	maps.DeleteFunc(l.backOffs, func(_ partnerAccount, o *backOff) bool { return now.Sub(o.until) >= maxBackOff })
}

// bucket is a token bucket of logins.
type bucket struct {
	tokens float64
	at     time.Time
}

// take uses one token up, or says after what time there is one.
func (b *bucket) take(now time.Time) time.Duration {
	if now.After(b.at) {
		b.tokens, b.at = b.level(now), now
	}
	if b.tokens < 1 {
		return max(time.Duration((1-b.tokens)*float64(loginInterval)), time.Millisecond)
	}
	b.tokens--
	return 0
}

func (b *bucket) level(now time.Time) float64 {
	return min(loginBurst, b.tokens+float64(now.Sub(b.at))/float64(loginInterval))
}

func (b *bucket) full(now time.Time) bool { return b.level(now) >= loginBurst }
