package client

import (
	"context"
	"sync"
	"time"
)

// sessionPatience bounds a call for a session, which many requests wait for: no single one's end ends it.
const sessionPatience = 30 * time.Second

// session is what signerd says of one. It is never changed.
type session struct {
	id      string
	headers map[string]string
	cookies []string // their names
	gateway origin
	expires time.Time
}

// sessions keeps the session of a key. It is safe for concurrent use: any number of requests share one call.
type sessions struct {
	ask func(ctx context.Context, rejected string) (*session, error)

	mu       sync.Mutex
	current  *session
	rejected string // the id of a session that the gateway refused, and that signerd was not asked about yet
	call     *sessionCall
}

// sessionCall is a call under way. What is below done may be read when that is closed.
type sessionCall struct {
	rejected string
	done     chan struct{}
	session  *session
	err      error
}

// get gives the session. rejected names one that was refused: it comes again only when signerd was asked about it and holds on to it.
func (s *sessions) get(ctx context.Context, rejected string) (*session, error) {
	for {
		c := s.underWay(ctx, rejected)
		select {
		case <-c.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// A call that began before the refusal may give the refused session; then it takes another that names it.
		if c.err != nil || c.rejected == rejected || c.session.id != rejected {
			return c.session, c.err
		}
	}
}

// underWay gives the call to wait for: one that ended with the current session, the one that others wait for, or a new one.
func (s *sessions) underWay(ctx context.Context, rejected string) *sessionCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.current; c != nil && c.id != rejected && time.Now().Before(c.expires) {
		ended := &sessionCall{done: make(chan struct{}), session: c}
		close(ended.done)
		return ended
	}
	if s.call == nil {
		if rejected == "" {
			rejected = s.rejected
		}
		s.call = &sessionCall{rejected: rejected, done: make(chan struct{})}
		go s.run(context.WithoutCancel(ctx), s.call)
	}
	return s.call
}

func (s *sessions) run(ctx context.Context, c *sessionCall) {
	ctx, cancel := context.WithTimeout(ctx, sessionPatience)
	defer cancel()
	c.session, c.err = s.ask(ctx, c.rejected)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.call = nil
	if c.err == nil {
		s.current, s.rejected = c.session, ""
	}
	close(c.done)
}

// reject notes that the gateway refused a session. The next request asks signerd about it.
func (s *sessions) reject(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && s.current.id == id {
		s.current, s.rejected = nil, id
	}
}
