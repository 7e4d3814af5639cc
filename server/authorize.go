package server

import (
	"context"
	"fmt"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream"
)

// decide asks policy about the call and one key; this is where a caller is refused. name is empty for operations on no
// key. Whether the key exists plays no part: who may not know learns nothing.
func (s *Server) decide(ctx context.Context, name string) (*policy.Permit, error) {
	c, err := callFrom(ctx)
	if err != nil {
		return nil, err
	}
	if (c.permission.scope == onKey) != (name != "") {
		return nil, fmt.Errorf("operation %s was decided with the wrong scope", c.permission.operation)
	}
	c.key = name
	permit, err := s.policy.Load().Decide(policy.Question{Caller: c.caller, Operation: c.permission.operation, Key: name})
	c.allowed = err == nil
	return permit, err
}

// authorized is a key that the caller may use for this call's operation, and the permit that says so.
type authorized struct {
	keys   *keystore.Keystore
	key    *keystore.Key
	permit *policy.Permit
}

// authorize finds the named key and decides. A caller that no grant allows gets policy.ErrDenied whether there is such
// a key or not; one that is allowed gets keystore.ErrNotFound.
func (s *Server) authorize(ctx context.Context, name string) (authorized, error) {
	a, err := s.authorizeName(ctx, name)
	if err == nil && a.key == nil {
		return authorized{}, keystore.ErrNotFound
	}
	return a, err
}

// authorizeName is authorize for operations that need no key of that name yet.
func (s *Server) authorizeName(ctx context.Context, name string) (authorized, error) {
	keys, err := s.loaded()
	if err != nil {
		return authorized{}, err
	}
	key := keys.Lookup(name)
	permit, err := s.decide(ctx, name)
	if err != nil {
		return authorized{}, err
	}
	if c, err := callFrom(ctx); err == nil && key != nil {
		c.scheme = key.Scheme
	}
	return authorized{keys, key, permit}, nil
}

// credential redeems an authorization for what signs. C is the scheme's credential.
func credential[C upstream.Credential](ctx context.Context, a authorized, scheme string) (C, *call, error) {
	var none C
	c, err := callFrom(ctx)
	if err != nil {
		return none, nil, err
	}
	if a.key.Scheme != scheme {
		return none, nil, errWrongScheme
	}
	opened, version, err := a.key.Credential(a.permit)
	if err != nil {
		return none, nil, err
	}
	typed, ok := opened.(C)
	if !ok {
		return none, nil, fmt.Errorf("a %s key opened as %T", scheme, opened)
	}
	c.version = version
	return typed, c, nil
}
