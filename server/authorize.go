package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream"
)

// decide asks policy about the call, one key and what is to be signed with it; this is where a caller is refused. key is
// empty for operations on no key, request is nil for those that sign nothing. view is what the key was looked up in.
func (s *Server) decide(ctx context.Context, view keystore.View, key policy.Key, request *asked) (*policy.Permit, error) {
	c, err := callFrom(ctx)
	if err != nil {
		return nil, err
	}
	c.allowed = false
	if (c.permission.scope == onKey) != (key.Name != "") {
		return nil, fmt.Errorf("operation %s was decided with the wrong scope", c.permission.operation)
	}
	now := s.now()
	stored := view.Policy()
	d := s.bounds.Load().Decide(stored.Policy, policy.Question{
		Caller: c.caller, Operation: c.permission.operation, Key: key, Request: request.question(), Now: now,
	})
	c.record.Key, c.record.Scheme, c.record.Environment = key.Name, key.Scheme, key.Environment
	c.decided(d, stored.Generation)
	c.signs(request, s.queryValues)
	if !c.anew {
		for _, shadow := range d.Shadows {
			s.metrics.Shadow(string(shadow.Effect))
		}
	}
	if err := d.Err(); err != nil {
		return nil, err
	}
	if len(d.Charges) > 0 && !c.anew {
		if retry, ok := s.meter.Charge(c.caller.String(), d.Charges, now); !ok {
			return nil, &limitedError{retry}
		}
	}
	if err := s.intend(ctx, c); err != nil {
		return nil, err
	}
	c.allowed = true
	return d.Permit, nil
}

// decideSystem is decide for operations on no key. Before keys are loaded, and the policy with them, administrators alone are
// let in: then it gives no keystore, and the view of an empty one.
func (s *Server) decideSystem(ctx context.Context) (*keystore.Keystore, keystore.View, error) {
	var view keystore.View
	keys := s.ready.Load().keys
	if keys != nil {
		view = keys.View()
	}
	_, err := s.decide(ctx, view, policy.Key{}, nil)
	if keys == nil && errors.Is(err, policy.ErrDenied) {
		err = errNotReady
	}
	return keys, view, err
}

// limitedError says that a limit, of a rule or of VerifySignature, is reached, and when the same request would be let through. It is errLimited.
type limitedError struct{ after time.Duration }

// Error implements error.
func (e *limitedError) Error() string { return fmt.Sprintf("%v: try again in %v", errLimited, e.after) }

// Is makes every limitedError an errLimited.
func (e *limitedError) Is(target error) bool { return target == errLimited }

// authorized is a key that the caller may use for this call's operation, and the permit that says so.
type authorized struct {
	keys   *keystore.Keystore
	key    *keystore.Key
	permit *policy.Permit
}

// authorize finds the named key and decides on what is to be signed with it, nil for nothing. A caller that no rule allows gets
// policy.ErrDenied whether there is such a key or not; one that is allowed gets keystore.ErrNotFound.
func (s *Server) authorize(ctx context.Context, name string, request *asked) (authorized, error) {
	keys, err := s.loaded()
	if err != nil {
		return authorized{}, err
	}
	view := keys.View()
	key := view.Lookup(name)
	permit, err := s.decide(ctx, view, knownKey(name, key), request)
	if err != nil {
		return authorized{}, err
	}
	c, err := callFrom(ctx)
	if err != nil {
		return authorized{}, err
	}
	c.keys = keys
	if c.permission.signs {
		// By the state of now, which may be newer than what was decided on.
		if err := s.frozen(keys); err != nil {
			return authorized{}, err
		}
	}
	if key == nil {
		return authorized{}, keystore.ErrNotFound
	}
	c.scheme = key.Scheme
	return authorized{keys, key, permit}, nil
}

// authorizeNew decides on a key that is to be made: by what it will be.
func (s *Server) authorizeNew(ctx context.Context, n keystore.NewKey) (*keystore.Keystore, error) {
	keys, err := s.loaded()
	if err != nil {
		return nil, err
	}
	view := keys.View()
	_, err = s.decide(ctx, view, policy.Key{Name: n.Name, Known: true, Scheme: n.Scheme, Environment: string(n.Environment), Labels: n.Labels}, nil)
	if err != nil {
		return nil, err
	}
	return keys, s.mayLabel(ctx, view, nil, n.Labels)
}

// mayLabel refuses a change of labels that the policy reads to whoever may not set the policy.
func (s *Server) mayLabel(ctx context.Context, view keystore.View, before, after map[string]string) error {
	c, err := callFrom(ctx)
	if err != nil {
		return err
	}
	inForce := view.Policy()
	decides := func(a, b map[string]string) bool {
		for name, value := range a {
			if other, ok := b[name]; (!ok || other != value) && inForce.Policy.ReadsLabel(name) {
				return true
			}
		}
		return false
	}
	if !decides(before, after) && !decides(after, before) {
		return nil
	}
	d := s.bounds.Load().Decide(inForce.Policy, policy.Question{Caller: c.caller, Operation: setPolicy, Now: s.now()})
	if d.Err() != nil {
		// The record says which decision refused, and that it was not on the operation itself.
		c.decided(d, inForce.Generation)
		c.record.Needs, c.allowed = string(setPolicy), false
	}
	return d.Err()
}

// knownKey is what policy knows of a key, which is nil if there is none of that name.
func knownKey(name string, key *keystore.Key) policy.Key {
	if key == nil {
		return policy.Key{Name: name}
	}
	return key.Known()
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
	c.record.Version, c.signer = version, a.key
	return typed, c, nil
}
