package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/signerd/signerd/policy/condition"
	"github.com/signerd/signerd/policy/limit"
	"github.com/signerd/signerd/policy/pattern"
)

// Policy is a compiled document. It is immutable, and safe for concurrent use. The zero value allows nobody.
type Policy struct {
	// rules are in the order in which they are tried: those that deny, those that allow, those in shadow; each by name, so
	// that the order of a document never shows, not even in which of several rules is named.
	rules []*rule
	index index
	// labels are those that some rule reads; allLabels says that a condition reads them in a way that cannot be told.
	labels    map[string]struct{}
	allLabels bool
}

// rule is a rule that is ready to be matched. Lists that are empty match everything.
type rule struct {
	name         string
	effect       Effect
	shadow       bool
	callers      callers
	keys         set[string]
	anyKey       bool
	operations   set[Operation]
	anyOperation bool // operations are all there are
	environments set[string]
	labels       []label
	methods      set[string]
	paths        []pattern.Path
	pathsOutside bool                 // the index has not seen to the paths
	query        map[string]parameter // nil where the rule does not bound the query
	when         *condition.Condition // nil for none
	reads        condition.Reads
	limits       limit.Rates
	limited      bool
}

type label struct{ name, value string }

type parameter struct {
	any      bool
	values   set[string]
	optional bool
}

// Compile checks a document and makes a policy of it. Errors are Faults.
func Compile(d Document, catalog Catalog) (*Policy, error) {
	if len(d.Rules) > MaxRules {
		return nil, Faults{{MaxRules, "name", -1, fmt.Errorf("a policy has at most %d rules", MaxRules)}}
	}
	p := &Policy{rules: make([]*rule, 0, len(d.Rules)), labels: make(map[string]struct{})}
	operations, conditions := set[Operation](slices.Sorted(maps.Keys(catalog))), compileConditions(d.Rules)
	var faults Faults
	names := make(map[string]bool, len(d.Rules))
	for i, one := range d.Rules {
		c := checker{index: i, rule: one, catalog: catalog, operations: operations, conditions: conditions}
		r := c.check()
		if names[one.Name] {
			c.fault("name", -1, "another rule has it already")
		}
		names[one.Name] = true
		if faults = append(faults, c.faults...); len(faults) >= maxFaults {
			break
		}
		p.rules = append(p.rules, r)
	}
	if len(faults) > 0 {
		return nil, faults[:min(len(faults), maxFaults)]
	}
	slices.SortFunc(p.rules, func(a, b *rule) int {
		return cmp.Or(cmp.Compare(a.turn(), b.turn()), strings.Compare(a.name, b.name))
	})
	p.index = newIndex(p.rules)
	for _, r := range p.rules {
		p.note(r)
	}
	return p, nil
}

// turn is when a rule is tried: what the others are worth is known then.
func (r *rule) turn() int {
	switch {
	case r.shadow:
		return 2
	case r.effect == Allow:
		return 1
	}
	return 0
}

// note keeps which labels decide.
func (p *Policy) note(r *rule) {
	for _, l := range r.labels {
		p.labels[l.name] = struct{}{}
	}
	for _, name := range r.reads.Labels {
		p.labels[name] = struct{}{}
	}
	p.allLabels = p.allLabels || r.reads.AllLabels
}

// ReadsLabel reports whether some rule decides by a label, in shadow or not. Whoever may change it decides with.
func (p *Policy) ReadsLabel(name string) bool {
	_, read := p.labels[name]
	return read || p.allLabels
}

// ReadsLabels reports whether there is a label for which ReadsLabel is true.
func (p *Policy) ReadsLabels() bool { return p.allLabels || len(p.labels) > 0 }

// Rules is how many there are.
func (p *Policy) Rules() int { return len(p.rules) }

// Limits are the limited rules by name, for limit.Meter. Those in shadow are among them, so that a rule which is put into
// shadow and back gives nobody a fresh allowance.
func (p *Policy) Limits() map[string]limit.Rates {
	out := make(map[string]limit.Rates)
	for _, r := range p.rules {
		if r.limited {
			out[r.name] = r.limits
		}
	}
	return out
}
