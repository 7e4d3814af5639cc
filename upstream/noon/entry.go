package noon

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// verdictLife is how long an answer of whoami stands for all who report the same session, if it does not say itself.
const verdictLife = 5 * time.Second

// ErrKeyChanged is the ErrUnavailable of a caller whose key was disabled, or signs with another version, since it was
// looked up.
var ErrKeyChanged error = &RetryError{fmt.Errorf("%w: the key changed meanwhile", ErrUnavailable), time.Second}

// entry is what the broker knows of one key.
type entry struct {
	// current is read without the lock, and written with it.
	current atomic.Pointer[held]

	mu         sync.Mutex
	identity   identity // whose session and flight these are,
	generation uint64   // and the newest generation that was seen to have it
	dropped    uint64   // callers that know only older generations get nothing
	flight     *flight  // the exchange under way, if any
	verdict    verdict
	proofs     map[*flight]struct{} // logins with versions that do not sign yet; see Proof
}

// identity is what a session belongs to. A key's other changes, of labels or of versions beside the active one, are
// none of the partner's business and end no session.
type identity struct {
	version  uint32
	material [32]byte
}

func identityOf(account Account, c *Credential) identity {
	return identity{account.Version, c.material}
}

// held is a session, and the account that logged in.
type held struct {
	account  Account
	identity identity
	session  *Session
}

// flight is one exchange that any number of callers wait for. session and err are set before done is closed.
type flight struct {
	account    Account
	credential *Credential
	suspect    *Session // to ask whoami about first; nil to log in at once

	done      chan struct{}
	abandoned bool // it was given up, and done is closed
	session   *Session
	err       error
}

// admit takes up another identity, and reports whether the account is still the key's: a caller that read the key before
// it changed gets no session of what it became, and starts no login of what it was.
func (e *entry) admit(account Account, id identity) bool {
	switch {
	case account.Generation < e.dropped:
		return false
	case id == e.identity:
		e.generation = max(e.generation, account.Generation)
	case account.Generation < e.generation:
		return false
	default:
		e.current.Store(nil)
		e.giveUpFlight()
		e.identity, e.generation, e.verdict = id, account.Generation, verdict{}
	}
	return true
}

// drop forgets what older generations of the key brought about.
func (e *entry) drop(generation uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dropped = max(e.dropped, generation)
	if h := e.current.Load(); h != nil && h.account.Generation < generation {
		e.current.Store(nil)
	}
	if e.flight != nil && e.flight.account.Generation < generation {
		e.giveUpFlight()
	}
	for f := range e.proofs {
		if f.account.Generation < generation {
			f.giveUp()
			delete(e.proofs, f)
		}
	}
}

// abandon gives up every exchange under way.
func (e *entry) abandon() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.giveUpFlight()
	for f := range e.proofs {
		f.giveUp()
	}
	maps.DeleteFunc(e.proofs, func(f *flight, _ struct{}) bool { return f.abandoned })
}

// giveUpFlight tells the callers that wait for it at once. The caller holds e.mu.
func (e *entry) giveUpFlight() {
	if e.flight != nil {
		e.flight.giveUp()
		e.flight = nil
	}
}

// usable is the session that may be handed out now, or nil.
func (e *entry) usable(now time.Time) *Session {
	if h := e.current.Load(); h != nil && before(now, h.session.usable) {
		return h.session
	}
	return nil
}

// keep makes a flight's session the current one. A late answer never replaces what the key has become.
func (e *entry) keep(f *flight, s *Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flight == f {
		e.current.Store(&held{f.account, identityOf(f.account, f.credential), s})
	}
}

// landed ends a flight. One that was given up, because the key has become another meanwhile, gave its waiters nothing.
func (e *entry) landed(f *flight, s *Session, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.abandoned {
		return
	}
	e.flight = nil
	f.session, f.err = s, err
	close(f.done)
}

// judged takes in what whoami said of a flight's suspect. Without a session and an error, a login is to be made.
func (e *entry) judged(f *flight, accepted bool, err error, now time.Time) (*Session, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.current.Load()
	if e.flight != f || h == nil || h.session != f.suspect {
		return nil, ErrKeyChanged
	}
	if err != nil || accepted {
		e.verdict = newVerdict(f.suspect, err, now)
	}
	switch {
	case err != nil:
		return nil, &RetryError{err, e.verdict.until.Sub(now)}
	case accepted && before(now, f.suspect.usable):
		return f.suspect, nil
	}
	e.current.Store(nil)
	return nil, nil
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
