// Package policy decides who may have what signed.
//
// It is for server, which asks one question per request, and for keystore, which hands out a key only against the
// Permit that a decision gave. Decisions are pure: no storage, no clock, no network, no gRPC; what they charge to rate
// limits, the server does. Whoever was refused learns nothing from it: reasons are for operators (Explain) alone.
package policy

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/signerd/signerd/policy/condition"
	"github.com/signerd/signerd/policy/limit"
	"github.com/signerd/signerd/policy/pattern"
)

// Operation is what a caller wants to do; its name is the RPC's, such as "SignNoahRequest".
type Operation string

// Any stands for everybody, every key or every operation in a rule.
const Any = "*"

// ErrDenied is the one answer to everything that no rule allows.
var ErrDenied = errors.New("not allowed")

// ErrPermit says that a permit was used twice, or for another key: a bug in signerd, never a caller's doing.
var ErrPermit = errors.New("the permit does not cover this use")

// Question is one request as policy sees it. A question about an absent key is asked like any other.
type Question struct {
	Caller    Caller
	Operation Operation
	// Key is the key that the request names; its zero value for operations that concern no key.
	Key Key
	// Request is what is to be signed; nil for operations that sign nothing.
	Request *Request
	Now     time.Time
}

// Key is what policy knows of a key.
type Key struct {
	Name string
	// Known is false where there is no such key. Then no allow rule on environment or labels matches, nor one whose condition
	// reads the key, and every such deny rule does: a caller that is refused some keys must not learn which names are free.
	Known       bool
	Scheme      string
	Environment string
	Labels      map[string]string
}

// Request is what is to be signed. It belongs to one decision at a time, which parses Body.
type Request struct {
	// Method is in upper case.
	Method string
	// Path is the request's path as it goes on the wire, without the query.
	Path pattern.Target
	// Query has the texts of every parameter's values, in their order; at least one for each.
	Query map[string][]string
	// Body is parsed only if a rule reads it; condition.HashedBody for one that stayed with the caller.
	Body *condition.Body
}

// Decision is the answer to a question.
type Decision struct {
	// Permit is what the decision allows; nil if it allows nothing.
	Permit *Permit
	// Rule names the rule that decided, the first by name of several; empty if none matched, which is a denial.
	Rule string
	// Charges are what the request costs under every limited rule that allows it, by name. It may only be served once they
	// are paid.
	Charges []limit.Charge
	// Shadows are the rules in shadow mode that would have decided otherwise, by name.
	Shadows []Shadow
	// Unevaluated are the rules that were tried and whose condition could not be evaluated, in shadow or not. Rules that could
	// not have changed the decision any more are not tried; Explain looks at all.
	Unevaluated []string
}

// Shadow is a rule that would have decided otherwise.
type Shadow struct {
	Rule   string
	Effect Effect
}

// Err is ErrDenied where nothing is allowed.
func (d Decision) Err() error {
	if d.Permit == nil {
		return ErrDenied
	}
	return nil
}

// Permit is a positive decision about one request. Only a decision makes one that is worth anything.
type Permit struct {
	key  string
	used atomic.Bool
}

// Redeem uses the permit up for the named key. A nil, empty, used or foreign permit is ErrPermit.
func (p *Permit) Redeem(key string) error {
	if p == nil || key == "" || p.key != key || p.used.Swap(true) {
		return ErrPermit
	}
	return nil
}
