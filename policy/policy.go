// Package policy decides who may have what signed.
//
// It is for server, which asks one question per request, and for keystore, which hands out a key only against the
// Permit that Decide gave. Decisions are pure: no storage, no clock, no network, no gRPC. It never says why it
// refused: a caller that may not know learns nothing.
package policy

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

// Operation is what a caller wants to do; its name is the RPC's, such as "SignNoahRequest".
type Operation string

// Any stands for every key or every operation in a grant.
const Any = "*"

// ErrDenied is the one answer to everything that no grant allows.
var ErrDenied = errors.New("not allowed")

// ErrPermit says that a permit was used twice, or for another key: a bug in signerd, never a caller's doing.
var ErrPermit = errors.New("the permit does not cover this use")

// Grant allows each of its callers each of its operations on each of its keys.
type Grant struct {
	Callers    []Caller
	Keys       []string    // key names, or Any
	Operations []Operation // known operations, or Any
}

// Question is one request as policy sees it. A question about an absent key is asked like any other.
type Question struct {
	Caller    Caller
	Operation Operation
	// Key is the key's name; empty for operations that concern no key.
	Key string
}

// Policy is a set of grants. It is immutable, and safe for concurrent use. The zero value allows nobody.
type Policy struct {
	allowed map[Caller]map[Operation]keySet
}

type keySet struct {
	all   bool
	names map[string]struct{}
}

func (s keySet) has(name string) bool {
	if s.all {
		return true
	}
	_, ok := s.names[name]
	return ok
}

// GrantError says which grant of a list is malformed.
type GrantError struct {
	Index int    // of the grant
	Field string // "callers", "keys" or "operations"
	Item  int    // of the field's list; -1 for the whole field
	Err   error
}

// Error implements error.
func (e *GrantError) Error() string {
	if e.Item < 0 {
		return fmt.Sprintf("grants[%d].%s: %v", e.Index, e.Field, e.Err)
	}
	return fmt.Sprintf("grants[%d].%s[%d]: %v", e.Index, e.Field, e.Item, e.Err)
}

// Unwrap gives the cause.
func (e *GrantError) Unwrap() error { return e.Err }

// New makes a policy from grants; known lists the operations that exist. Errors are *GrantError.
func New(grants []Grant, known []Operation) (*Policy, error) {
	p := &Policy{allowed: make(map[Caller]map[Operation]keySet)}
	for i, g := range grants {
		if err := check(i, g, known); err != nil {
			return nil, err
		}
		operations := g.Operations
		if slices.Contains(operations, Any) {
			operations = known
		}
		for _, caller := range g.Callers {
			if p.allowed[caller] == nil {
				p.allowed[caller] = make(map[Operation]keySet)
			}
			for _, operation := range operations {
				p.allowed[caller][operation] = p.allowed[caller][operation].with(g.Keys)
			}
		}
	}
	return p, nil
}

func check(i int, g Grant, known []Operation) error {
	for _, list := range []struct {
		field string
		n     int
	}{{"callers", len(g.Callers)}, {"keys", len(g.Keys)}, {"operations", len(g.Operations)}} {
		if list.n == 0 {
			return &GrantError{i, list.field, -1, errors.New("it is missing or empty; a grant names callers, keys and operations")}
		}
	}
	for j, caller := range g.Callers {
		if caller == (Caller{}) {
			return &GrantError{i, "callers", j, errors.New("it is empty")}
		}
	}
	for j, name := range g.Keys {
		if name != Any && !ValidKeyName(name) {
			return &GrantError{i, "keys", j, errors.New("it is neither a key name nor *")}
		}
	}
	for j, operation := range g.Operations {
		if operation != Any && !slices.Contains(known, operation) {
			return &GrantError{i, "operations", j, fmt.Errorf("unknown operation %q; known: %v, or *", operation, known)}
		}
	}
	return nil
}

func (s keySet) with(names []string) keySet {
	if s.names == nil {
		s.names = make(map[string]struct{}, len(names))
	}
	for _, name := range names {
		if name == Any {
			s.all = true
		}
		s.names[name] = struct{}{}
	}
	return s
}

// Decide answers q with a permit, or with ErrDenied.
func (p *Policy) Decide(q Question) (*Permit, error) {
	keys, ok := p.allowed[q.Caller][q.Operation]
	if !ok || q.Key != "" && !keys.has(q.Key) {
		return nil, ErrDenied
	}
	return &Permit{question: q}, nil
}

// Permit is a positive decision about one request. Only Decide makes one that is worth anything.
type Permit struct {
	question Question
	used     atomic.Bool
}

// Redeem uses the permit up for the named key. A nil, empty, used or foreign permit is ErrPermit.
func (p *Permit) Redeem(key string) error {
	if p == nil || key == "" || p.question.Key != key || p.used.Swap(true) {
		return ErrPermit
	}
	return nil
}
