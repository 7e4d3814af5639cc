package policy

import (
	"fmt"
	"strings"

	"github.com/signerd/signerd/policy/limit"
)

// Effect is what a rule does when it matches.
type Effect string

// The effects. A matching deny rule wins over every allow rule; without a matching allow rule nothing is allowed.
const (
	Allow Effect = "allow"
	Deny  Effect = "deny"
)

// Bounds of a document.
const (
	MaxRules  = 10_000
	maxListed = 1_000 // in any list of a rule
)

// Document is a policy as people write it. The order of its rules means nothing.
type Document struct{ Rules []Rule }

// Rule matches a request when everything that it names matches. What it does not name matches everything.
type Rule struct {
	// Name is unique: lower-case letters, digits and inner hyphens, at most 63 bytes.
	Name   string
	Effect Effect
	// Shadow marks a rule that is evaluated and reported, and changes nothing.
	Shadow bool
	// Callers are callers in their one spelling, SPIFFE patterns (spiffe://example.org/ns/*/api, spiffe://example.org/**), or
	// Any. At least one.
	Callers []string
	// Keys are names of keys, or Any. At least one.
	Keys []string
	// Operations are known operations, or Any. At least one. Operations that concern no key, such as SetPolicy, match where
	// they are named, or where both Operations and Keys are Any: "every operation on this key" gives nothing beyond the key.
	Operations []Operation
	// Environments are "sandbox" and "prod". A key that does not exist is in none for an allow rule, and in all for a deny
	// rule; the same goes for labels. Where there is no key, neither matches.
	Environments []string
	// Labels are those that a key must have, each with that very value; all of them.
	Labels map[string]string
	// Methods are HTTP methods in upper case.
	Methods []string
	// Paths are patterns of URL paths (package pattern).
	Paths []string
	// Query bounds the query; nil does not. See Query.
	Query *Query
	// When is a condition in CEL (package condition); empty for none. One that cannot be evaluated makes an allow rule not
	// match, and a deny rule match. Of a key that does not exist, one that reads the key is false in an allow rule and true in a
	// deny rule.
	// It compares paths exactly; only Paths sees through case and a slash at the end.
	When string
	// Limits bound each caller under an allow rule. They count what the rule matches, whichever rule is named as the one that
	// allowed it; what only a rule without limits matches is not counted.
	Limits limit.Rates
}

// Query names query parameters. An allow rule matches if the request has every parameter that is named and not optional, no other
// one, and each of their values is among those listed; without parameters, if there is no query. A deny rule matches if any
// named parameter has any listed value.
type Query struct{ Parameters []Parameter }

// Parameter is one query parameter.
type Parameter struct {
	Name string
	// Values are those that it may have, compared by their text on the wire; Any for every one. At least one.
	Values []string
	// Optional lets an allow rule match without it.
	Optional bool
}

// Covers is what an operation's signature covers. A rule cannot decide by anything else: the caller could send something
// different.
type Covers struct{ Method, Path, Query, Body bool }

// Catalog is every operation there is, with what its signature covers.
type Catalog map[Operation]Covers

// Fault is what is wrong with one rule.
type Fault struct {
	Rule  int    // the rule's index
	Field string // such as "paths"
	Item  int    // of the field's list; -1 for the whole field
	Err   error
}

// Error implements error.
func (f *Fault) Error() string { return f.Path() + ": " + f.Err.Error() }

// Path names the place: rules[3].paths[0].
func (f *Fault) Path() string {
	path := fmt.Sprintf("rules[%d].%s", f.Rule, f.Field)
	if f.Item >= 0 {
		path += fmt.Sprintf("[%d]", f.Item)
	}
	return path
}

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// maxFaults bounds how many are named at once.
const maxFaults = 20

// Faults are what is wrong with a document, never empty.
type Faults []*Fault

// Error names them all.
func (f Faults) Error() string {
	texts := make([]string, len(f))
	for i, one := range f {
		texts[i] = one.Error()
	}
	return strings.Join(texts, "; ")
}
