package policy

import (
	"strings"

	"github.com/signerd/signerd/policy/pattern"
)

// place is a rule's place in the order in which rules are tried.
type place uint16

// candidates are the rules that may match a question, each once, in their order.
type candidates [(MaxRules + 63) / 64]uint64

func (c *candidates) add(p place) { c[p/64] |= 1 << (p % 64) }

// index leads from a caller, a key and a path to the rules that may match, so that a decision looks at few rules however many
// there are. It leaves out no rule that matches, and may bring some that do not.
type index struct {
	exact    map[Caller]table
	patterns pattern.Callers[table]
	anybody  table
}

// table has the rules of some callers: by the name of a key, under Any, and under "" for operations that concern no key.
type table map[string]*leaf

// leaf has the rules of some callers for one key.
type leaf struct {
	everywhere []place // those that name no paths, or whose paths are not in the index
	paths      *byPath // nil if all do
}

type byPath struct{ allow, deny pattern.Set[place] }

func newIndex(rules []*rule) index {
	x := index{exact: make(map[Caller]table), anybody: make(table)}
	tables := make(map[pattern.SPIFFE]table)
	for i, r := range rules {
		p, keys := place(i), r.indexedKeys()
		r.pathsOutside = r.spreads(keys)
		if r.callers.any {
			x.anybody.add(p, r, keys)
			continue // that is everybody
		}
		for caller := range r.callers.exact {
			t := x.exact[caller]
			if t == nil {
				t = make(table)
				x.exact[caller] = t
			}
			t.add(p, r, keys)
		}
		for _, one := range r.callers.patterns {
			t := tables[one]
			if t == nil {
				t = make(table)
				tables[one] = t
				x.patterns.Add(one, t)
			}
			t.add(p, r, keys)
		}
	}
	return x
}

// maxSpread bounds how many entries a rule has for each caller and key that it names: a thousand callers by a thousand keys
// would be a million.
const maxSpread = 4

// indexedKeys are the names under which a rule is found.
func (r *rule) indexedKeys() []string {
	callers := len(r.callers.exact) + len(r.callers.patterns)
	if r.anyKey || callers*len(r.keys) > maxSpread*(callers+len(r.keys)) {
		return []string{Any, ""}
	}
	return append([]string{""}, r.keys...)
}

// spreads reports whether a rule names too many callers, keys and paths to have an entry for each of their combinations. Its
// paths are then looked at when it is tried.
func (r *rule) spreads(keys []string) bool {
	callers := max(1, len(r.callers.exact)+len(r.callers.patterns))
	return callers*len(keys)*len(r.paths) > maxSpread*(callers+len(keys)+len(r.paths))
}

func (t table) add(p place, r *rule, keys []string) {
	for _, key := range keys {
		l := t[key]
		if l == nil {
			l = &leaf{}
			t[key] = l
		}
		l.add(p, r)
	}
}

func (l *leaf) add(p place, r *rule) {
	if len(r.paths) == 0 || r.pathsOutside {
		l.everywhere = append(l.everywhere, p)
		return
	}
	if l.paths == nil {
		l.paths = &byPath{}
	}
	into := &l.paths.allow
	if r.effect == Deny {
		into = &l.paths.deny
	}
	for _, one := range r.paths {
		into.Add(one, p)
	}
}

// collect adds the rules whose callers, keys and paths match. Keys and operations are to be looked at again.
func (x *index) collect(q *Question, c *candidates) {
	if q.Caller == (Caller{}) {
		return
	}
	x.exact[q.Caller].collect(q, c)
	x.anybody.collect(q, c)
	if strings.HasPrefix(q.Caller.id, spiffePrefix) {
		x.patterns.Match(q.Caller.id, func(t table) bool {
			t.collect(q, c)
			return true
		})
	}
}

func (t table) collect(q *Question, c *candidates) {
	if l := t[q.Key.Name]; l != nil {
		l.collect(q, c)
	}
	if q.Key.Name == "" {
		return
	}
	if l := t[Any]; l != nil {
		l.collect(q, c)
	}
}

func (l *leaf) collect(q *Question, c *candidates) {
	for _, p := range l.everywhere {
		c.add(p)
	}
	if l.paths == nil {
		return
	}
	add := func(p place) bool {
		c.add(p)
		return true
	}
	if q.Request == nil {
		// The zero target is one that every deny pattern matches.
		l.paths.deny.Denied(pattern.Target{}, add)
		return
	}
	l.paths.deny.Denied(q.Request.Path, add)
	l.paths.allow.Allowed(q.Request.Path, add)
}
