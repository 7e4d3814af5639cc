package policy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/signerd/signerd/policy/limit"
	"github.com/signerd/signerd/policy/pattern"
)

// checker holds one rule against what can be said of it alone.
type checker struct {
	index      int
	rule       Rule
	catalog    Catalog
	operations set[Operation] // all of the catalog
	conditions conditions
	faults     Faults
}

func (c *checker) fault(field string, item int, format string, args ...any) {
	c.faults = append(c.faults, &Fault{c.index, field, item, fmt.Errorf(format, args...)})
}

// check gives the compiled rule, or what is wrong with it. The compiled rule shares nothing with the document that could
// be changed.
func (c *checker) check() *rule {
	r := &rule{
		name: c.rule.Name, effect: c.rule.Effect, shadow: c.rule.Shadow,
		environments: newSet(c.rule.Environments), methods: newSet(c.rule.Methods), limits: c.rule.Limits, limited: c.rule.Limits.Limited(),
	}
	if !ValidKeyName(c.rule.Name) {
		c.fault("name", -1, "wanted lower-case letters, digits and inner hyphens, at most %d bytes", MaxKeyNameBytes)
	}
	if c.rule.Effect != Allow && c.rule.Effect != Deny {
		c.fault("effect", -1, "wanted allow or deny")
	}
	c.required("callers", len(c.rule.Callers))
	c.required("keys", len(c.rule.Keys))
	c.required("operations", len(c.rule.Operations))
	c.bounded("environments", -1, len(c.rule.Environments))
	c.bounded("labels", -1, len(c.rule.Labels))
	c.bounded("methods", -1, len(c.rule.Methods))
	c.bounded("paths", -1, len(c.rule.Paths))
	c.callers(r)
	c.keys(r)
	for i, e := range c.rule.Environments {
		if e != "sandbox" && e != "prod" {
			c.fault("environments", i, "wanted sandbox or prod")
		}
	}
	c.labels(r)
	for i, m := range c.rule.Methods {
		if m == "" || !consistsOf(m, upperCase+digits+"!#$%&'+-.^_`|~") {
			c.fault("methods", i, "wanted an HTTP method in upper case, such as POST")
		}
	}
	for i, text := range c.rule.Paths {
		p, err := pattern.ParsePath(text)
		if err != nil {
			c.fault("paths", i, "%w", err)
		}
		r.paths = append(r.paths, p)
	}
	c.query(r)
	c.when(r)
	if c.known(r) {
		c.covered(r)
	}
	c.limits()
	return r
}

func (c *checker) required(field string, n int) {
	if n == 0 {
		c.fault(field, -1, "it is missing or empty; a rule names callers, keys and operations")
	}
	c.bounded(field, -1, n)
}

func (c *checker) bounded(field string, item, n int) {
	if n > maxListed {
		c.fault(field, item, "it has %d items; at most %d", n, maxListed)
	}
}

func (c *checker) callers(r *rule) {
	var item int
	var err error
	if r.callers, item, err = parseCallers(c.rule.Callers); err != nil {
		c.fault("callers", item, "%w", err)
	}
}

func (c *checker) keys(r *rule) {
	for i, name := range c.rule.Keys {
		if name != Any && !ValidKeyName(name) {
			c.fault("keys", i, "it is neither a key's name nor *")
		}
	}
	r.anyKey = slices.Contains(c.rule.Keys, Any)
	r.keys = newSet(c.rule.Keys)
}

// maxLabelBytes bounds the name of a label.
const maxLabelBytes = 63

func (c *checker) labels(r *rule) {
	for _, name := range slices.Sorted(maps.Keys(c.rule.Labels)) {
		// A deny rule for a label that no key can have would be an open door.
		if name == "" || len(name) > maxLabelBytes || !consistsOf(name, lowerCase+digits+".-_") || !consistsOf(name[:1]+name[len(name)-1:], lowerCase+digits) {
			c.fault("labels", -1, "a label's name is lower-case letters and digits, and . - _ inside, at most %d bytes", maxLabelBytes)
			return
		}
		r.labels = append(r.labels, label{name, c.rule.Labels[name]})
	}
}

func (c *checker) query(r *rule) {
	if c.rule.Query == nil {
		return
	}
	c.bounded("query", -1, len(c.rule.Query.Parameters))
	r.query = make(map[string]parameter, len(c.rule.Query.Parameters))
	for i, p := range c.rule.Query.Parameters {
		_, twice := r.query[p.Name]
		switch {
		case p.Name == "":
			c.fault("query", i, "its name is missing")
		case twice:
			c.fault("query", i, "the parameter is named twice")
		case len(p.Values) == 0:
			c.fault("query", i, "it lists no value; wanted at least one, or *")
		case p.Optional && c.rule.Effect == Deny:
			c.fault("query", i, "optional means nothing in a deny rule")
		}
		c.bounded("query", i, len(p.Values))
		r.query[p.Name] = parameter{slices.Contains(p.Values, Any), newSet(p.Values), p.Optional}
	}
	if c.rule.Effect == Deny && len(r.query) == 0 {
		c.fault("query", -1, "it names no parameter, so that the rule could never match")
	}
}

func (c *checker) when(r *rule) {
	if c.rule.When == "" {
		return
	}
	compiled := c.conditions[c.rule.When]
	if compiled.err != nil {
		c.fault("when", -1, "%w", compiled.err)
		return
	}
	r.when, r.reads = compiled.condition, compiled.condition.Reads()
}

// known reports whether there are all operations that the rule names.
func (c *checker) known(r *rule) bool {
	before := len(c.faults)
	for i, o := range c.rule.Operations {
		if _, known := c.catalog[o]; !known && o != Any {
			c.fault("operations", i, "unknown operation")
		}
	}
	if r.anyOperation = slices.Contains(c.rule.Operations, Any); r.anyOperation && len(c.rule.Operations) > 1 {
		c.fault("operations", -1, "* stands for all of them, and not beside others")
	}
	if r.anyOperation {
		r.operations = c.operations
	} else {
		r.operations = newSet(c.rule.Operations)
	}
	return len(c.faults) == before
}

// covered refuses a rule that decides by what one of its operations' signatures does not cover.
func (c *checker) covered(r *rule) {
	for _, decidesBy := range []struct {
		field, what string
		so          bool
		covered     func(Covers) bool
	}{
		{"methods", "method", len(r.methods) > 0, Covers.method},
		{"paths", "path", len(r.paths) > 0, Covers.path},
		{"query", "query", r.query != nil, Covers.query},
		{"when", "method", r.reads.Method, Covers.method},
		{"when", "path", r.reads.Path, Covers.path},
		{"when", "query", r.reads.Query, Covers.query},
		{"when", "body", r.reads.Body, Covers.body},
	} {
		if !decidesBy.so {
			continue
		}
		for _, o := range r.operations {
			if !decidesBy.covered(c.catalog[o]) {
				c.fault(decidesBy.field, -1, "the rule decides by the %s, which %s does not sign: the caller could send another", decidesBy.what, o)
				break
			}
		}
	}
}

func (c Covers) method() bool { return c.Method }
func (c Covers) path() bool   { return c.Path }
func (c Covers) query() bool  { return c.Query }
func (c Covers) body() bool   { return c.Body }

func (c *checker) limits() {
	if c.rule.Effect == Deny && c.rule.Limits != (limit.Rates{}) {
		c.fault("limits", -1, "limits belong to allow rules")
		return
	}
	if err := c.rule.Limits.Check(); err != nil {
		c.fault("limits", -1, "%w", err)
	}
}

// set is a list for looking things up in: sorted, each once.
type set[T ~string] []T

func newSet[T ~string](list []T) set[T] {
	s := slices.Clone(list)
	slices.Sort(s)
	return slices.Compact(s)
}

func (s set[T]) has(one T) bool {
	_, ok := slices.BinarySearch(s, one)
	return ok
}
