package policy

import (
	"errors"
	"fmt"
	"slices"
)

// Bounds stand around every policy: what no rule can take away, and what no rule can give. They come from the configuration
// file. They are immutable; the zero value has no administrators and fences nobody.
type Bounds struct {
	administrators callers
	always         map[Operation]struct{}
	sandboxOnly    callers
}

// RuleAdministrators is the rule that a decision names when an administrator is let in by no document.
const RuleAdministrators = "(administrators)"

// RuleSandboxOnly is the rule that a decision names when the environment fence refused.
const RuleSandboxOnly = "(sandbox-only)"

// BoundsError says which item of a list is malformed.
type BoundsError struct {
	Field string // "administrators" or "sandbox_only"
	Item  int
	Err   error
}

// Error implements error.
func (e *BoundsError) Error() string { return fmt.Sprintf("%s[%d]: %v", e.Field, e.Item, e.Err) }

// Unwrap gives the cause.
func (e *BoundsError) Unwrap() error { return e.Err }

// NewBounds makes bounds of lists of callers, written as in rules. Administrators may always use the operations in always, and
// nothing else without a rule. Callers in sandboxOnly get keys in the sandbox only, whatever the rules say; they cannot make
// others either, because the question is then about the key as it would be.
// Errors are *BoundsError.
func NewBounds(administrators, sandboxOnly []string, always []Operation) (*Bounds, error) {
	b := &Bounds{always: make(map[Operation]struct{}, len(always))}
	for _, o := range always {
		b.always[o] = struct{}{}
	}
	var item int
	var err error
	if slices.Contains(administrators, Any) {
		return nil, &BoundsError{"administrators", slices.Index(administrators, Any), errEverybody}
	}
	if b.administrators, item, err = parseCallers(administrators); err != nil {
		return nil, &BoundsError{"administrators", item, err}
	}
	if b.sandboxOnly, item, err = parseCallers(sandboxOnly); err != nil {
		return nil, &BoundsError{"sandbox_only", item, err}
	}
	return b, nil
}

var errEverybody = errors.New("not everybody can be an administrator")

// Decide answers a question within the bounds.
func (b *Bounds) Decide(p *Policy, q Question) Decision {
	if _, ok := b.always[q.Operation]; ok && b.administrators.has(q.Caller) {
		// The permit is for no key: being let in by no rule never brings a credential out.
		return Decision{Permit: &Permit{}, Rule: RuleAdministrators}
	}
	// A key that does not exist is refused like one in prod, or the answer would tell which there are.
	if q.Key.Name != "" && !(q.Key.Known && q.Key.Environment == "sandbox") && b.sandboxOnly.has(q.Caller) {
		return Decision{Rule: RuleSandboxOnly}
	}
	return p.Decide(q)
}
