package noon

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// How an entry treats the gateway. The limits keep any caller, and any number of them, from locking the account.
const (
	loginBurst    = 3                // logins at once per key,
	loginInterval = 20 * time.Second // and then one each

	firstBackOff = 2 * time.Second
	maxBackOff   = 5 * time.Minute
	// rejectedBackOff is how long a refused credential is not tried again.
	rejectedBackOff = 5 * time.Minute
	// verdictLife is how long an answer of whoami stands for all who report the same session, if it does not say itself.
	verdictLife = 5 * time.Second
)

// errChanged says that the key changed while its session was asked for.
var errChanged = &RetryError{fmt.Errorf("%w: the key changed meanwhile", ErrUnavailable), time.Second}

// entry is what the broker knows of one key. Its limits outlive versions and sessions.
type entry struct {
	// current is read without the lock, and written with it.
	current atomic.Pointer[held]

	mu       sync.Mutex
	account  Account
	flight   *flight // the exchange under way, if any
	bucket   bucket
	failures int
	retryAt  time.Time // no login before,
	reason   error     // because of this
	verdict  verdict
}

// held is the session of an account.
type held struct {
	account Account
	session *Session
}

// flight is one exchange that any number of callers wait for. session and err are set before done is closed.
type flight struct {
	done    chan struct{}
	session *Session
	err     error
}

// reset takes up another account: what was known of the one before counts no more, but for how often it logged in.
func (e *entry) reset(account Account) {
	e.current.Store(nil)
	e.account, e.flight, e.verdict = account, nil, verdict{}
	e.failures, e.retryAt, e.reason = 0, time.Time{}, nil
}

// usable is the session that may be handed out now, or nil.
func (e *entry) usable(now time.Time) *Session {
	if h := e.current.Load(); h != nil && before(now, h.session.usable) {
		return h.session
	}
	return nil
}

// mayLogin charges the limits for one login, or says why there can be none now.
func (e *entry) mayLogin(now time.Time) error {
	if now.Before(e.retryAt) {
		return &RetryError{e.reason, e.retryAt.Sub(now)}
	}
	if wait := e.bucket.take(now); wait > 0 {
		return &RetryError{ErrRateLimited, wait}
	}
	return nil
}

// failed notes a failed login and says when the next may be made.
func (e *entry) failed(err error, now time.Time) error {
	delay := rejectedBackOff
	if !errors.Is(err, ErrRejectedCredential) {
		delay = min(firstBackOff<<min(e.failures, 16), maxBackOff)
	}
	e.failures++
	// Jitter keeps several signerds from knocking in step; it only ever lengthens what was promised.
	delay += rand.N(delay/4 + 1)
	var told *RetryError
	if errors.As(err, &told) {
		delay = max(delay, told.After)
	}
	e.retryAt, e.reason = now.Add(delay), err
	return &RetryError{err, delay}
}

func (e *entry) succeeded(s *Session) {
	e.failures, e.retryAt, e.reason = 0, time.Time{}, nil
	e.current.Store(&held{e.account, s})
}

// verdict is what whoami last said.
type verdict struct {
	session string
	until   time.Time
	err     error // it could not be asked
}

func newVerdict(s *Session, err error, now time.Time) verdict {
	life := verdictLife
	var told *RetryError
	if errors.As(err, &told) {
		life = max(life, told.After)
	}
	return verdict{s.ID, now.Add(life), err}
}

// about gives the verdict on a session while it is fresh enough to stand for every caller that reports it.
func (v verdict) about(s *Session, now time.Time) (session *Session, err error, fresh bool) {
	if v.session != s.ID || !now.Before(v.until) {
		return nil, nil, false
	}
	if v.err != nil {
		return nil, &RetryError{v.err, v.until.Sub(now)}, true
	}
	return s, nil, true
}

// judged takes in what whoami said of a session. Without a session and an error, a login has been charged for and is to
// be made.
func (e *entry) judged(account Account, s *Session, accepted bool, err error, now time.Time) (*Session, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.account != account {
		return nil, errChanged
	}
	if err != nil || accepted {
		e.verdict = newVerdict(s, err, now)
	}
	switch {
	case err != nil:
		return nil, &RetryError{err, e.verdict.until.Sub(now)}
	case accepted && before(now, s.usable):
		return s, nil
	}
	e.current.Store(nil)
	return nil, e.mayLogin(now)
}

// bucket is a token bucket of logins.
type bucket struct {
	tokens float64
	at     time.Time
}

func fullBucket(now time.Time) bucket { return bucket{loginBurst, now} }

// take uses one token up, or says after what time there is one.
func (b *bucket) take(now time.Time) time.Duration {
	if now.After(b.at) {
		b.tokens = min(loginBurst, b.tokens+float64(now.Sub(b.at))/float64(loginInterval))
		b.at = now
	}
	if b.tokens < 1 {
		return max(time.Duration((1-b.tokens)*float64(loginInterval)), time.Millisecond)
	}
	b.tokens--
	return 0
}
