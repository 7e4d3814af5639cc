package policy

import (
	"slices"
	"strings"
)

// Explanation is what became of one rule. It is for operators: a caller that was refused must not see it.
type Explanation struct {
	Rule    string
	Effect  Effect
	Shadow  bool
	Matched bool
	// Elsewhere is true of a rule that names another caller, operation or key.
	Elsewhere bool
	// Why is the first thing that did not match, or why the condition could not be evaluated; empty for a plain match.
	Why string
}

// decidesByKey reports whether the rule decides by more of a key than the name.
func (r *rule) decidesByKey() bool { return len(r.environments)+len(r.labels) > 0 || r.readsKey() }

// Explain says of every rule, by name, whether it matches and if not, why not. It looks at all of them, and takes its time.
func (p *Policy) Explain(q Question) []Explanation {
	out := make([]Explanation, 0, len(p.rules))
	var in input
	for _, r := range p.rules {
		out = append(out, r.explain(&q, &in))
	}
	slices.SortFunc(out, func(a, b Explanation) int { return strings.Compare(a.Rule, b.Rule) })
	return out
}

func (r *rule) explain(q *Question, in *input) Explanation {
	e := Explanation{Rule: r.name, Effect: r.effect, Shadow: r.shadow}
	if e.Why = r.elsewhere(q); !r.callers.has(q.Caller) {
		e.Why = "the caller is not among its callers"
	}
	if e.Elsewhere = e.Why != ""; e.Elsewhere {
		return e
	}
	if !r.pathMatches(q) {
		e.Why = "the path is not among its paths"
		return e
	}
	if e.Why = r.mismatch(q); e.Why != "" {
		return e
	}
	var err error
	switch e.Matched, err = r.conditionMatches(q, in); {
	case err != nil:
		e.Why = err.Error()
	case !e.Matched && !q.Key.Known && r.readsKey():
		e.Why = "its condition reads the key, and there is no such key"
	case !e.Matched:
		e.Why = "its condition is false"
	case !q.Key.Known && r.matchesAbsent(q) && r.decidesByKey():
		e.Why = "it takes back some keys by what they are, and there is no such key"
	}
	return e
}
