package policy

import (
	"math/bits"

	"github.com/signerd/signerd/policy/condition"
	"github.com/signerd/signerd/policy/limit"
)

// Decide answers a question.
func (p *Policy) Decide(q Question) Decision {
	var found candidates
	p.index.collect(&q, &found)
	var d Decision
	var in input
	for i, word := range found[:(len(p.rules)+63)/64] {
		for ; word != 0; word &= word - 1 {
			r := p.rules[i*64+bits.TrailingZeros64(word)]
			if !d.dependsOn(r) {
				continue
			}
			matches, err := r.matches(&q, &in)
			if err != nil {
				d.Unevaluated = append(d.Unevaluated, r.name)
			}
			if matches && d.take(r, &q) {
				return d
			}
			if r.limited && !r.shadow && d.Permit != nil && tooCostly(err) {
				// The caller chose what made it so, and must not get around the limit by that.
				d.Charges = append(d.Charges, limit.Charge{Rule: r.name, Rates: r.limits})
			}
		}
	}
	return d
}

// tooCostly reports whether a condition was not evaluated for its cost, or for that of others.
func tooCostly(err error) bool {
	failed, ok := err.(*condition.EvalError) // as Eval gives it, unwrapped
	return ok && failed.Reason == condition.ReasonCost
}

// dependsOn reports whether a rule can still change the decision, or, in shadow, would. Rules come in the order of turn.
func (d *Decision) dependsOn(r *rule) bool {
	allowed := d.Permit != nil
	switch {
	case r.shadow:
		return allowed == (r.effect == Deny)
	case r.effect == Allow:
		return !allowed || r.limited
	}
	return true
}

// take adds what a rule that matches means, and reports whether that is the last word.
func (d *Decision) take(r *rule, q *Question) bool {
	switch {
	case r.shadow:
		d.Shadows = append(d.Shadows, Shadow{r.name, r.effect})
		return false
	case r.effect == Deny:
		d.Rule = r.name
		return true
	}
	if d.Permit == nil {
		d.Permit, d.Rule = &Permit{key: q.Key.Name}, r.name
	}
	if r.limited {
		d.Charges = append(d.Charges, limit.Charge{Rule: r.name, Rates: r.limits})
	}
	return false
}
