package policy

import (
	"slices"

	"github.com/signerd/signerd/policy/condition"
	"github.com/signerd/signerd/policy/pattern"
)

// matches reports whether a rule matches that the index led to. An error says that its condition could not be evaluated.
func (r *rule) matches(q *Question, in *input) (bool, error) {
	if r.elsewhere(q) != "" || r.pathsOutside && !r.pathMatches(q) || r.mismatch(q) != "" {
		return false, nil
	}
	return r.conditionMatches(q, in)
}

// elsewhere says what else a rule is about; empty if it is about the question's operation and key.
func (r *rule) elsewhere(q *Question) string {
	switch {
	case !r.operations.has(q.Operation):
		return "the operation is not among its operations"
	case q.Key.Name == "" && r.anyOperation && !r.anyKey:
		return "the operation concerns no key, and the rule is about every operation on some"
	case q.Key.Name != "" && !r.anyKey && !r.keys.has(q.Key.Name):
		return "the key is not among its keys"
	}
	return ""
}

// mismatch says what does not match, of all but what the index is sure of and the condition; empty if everything does.
func (r *rule) mismatch(q *Question) string {
	switch {
	case !r.environmentMatches(q):
		return "the key's environment is not among its environments"
	case !r.labelsMatch(q):
		return "the key has not all of its labels"
	case !r.methodMatches(q):
		return "the method is not among its methods"
	case !r.queryMatches(q):
		return "the query is not what it bounds the query to"
	}
	return ""
}

func (r *rule) environmentMatches(q *Question) bool {
	switch {
	case len(r.environments) == 0:
		return true
	case !q.Key.Known:
		return r.matchesAbsent(q)
	}
	return r.environments.has(q.Key.Environment)
}

// matchesAbsent is what a rule makes of a key that does not exist, where it decides by what keys are. A deny rule matches: it
// takes keys back from callers that another rule gives every name, and they would otherwise learn which of those names there
// are. Operations that concern no key are another matter: they have nothing that could be learned.
func (r *rule) matchesAbsent(q *Question) bool { return r.effect == Deny && q.Key.Name != "" }

func (r *rule) labelsMatch(q *Question) bool {
	if len(r.labels) > 0 && !q.Key.Known {
		return r.matchesAbsent(q)
	}
	for _, l := range r.labels {
		if got, ok := q.Key.Labels[l.name]; !ok || got != l.value {
			return false
		}
	}
	return true
}

func (r *rule) methodMatches(q *Question) bool {
	if len(r.methods) == 0 {
		return true
	}
	if q.Request == nil {
		return r.matchesUnknown()
	}
	return r.methods.has(q.Request.Method)
}

// matchesUnknown is what a rule makes of a request that is not there. Operations that sign have one, and no rule about
// others decides by it (see Covers): if it is missing all the same, nothing must be allowed.
func (r *rule) matchesUnknown() bool { return r.effect == Deny }

func (r *rule) queryMatches(q *Question) bool {
	switch {
	case r.query == nil:
		return true
	case q.Request == nil:
		return r.matchesUnknown()
	case r.effect == Deny:
		return r.anyListed(q.Request.Query)
	}
	for name, values := range q.Request.Query {
		p, named := r.query[name]
		if !named || !p.any && slices.ContainsFunc(values, func(v string) bool { return !p.values.has(v) }) {
			return false
		}
	}
	for name, p := range r.query {
		if !p.optional && len(q.Request.Query[name]) == 0 {
			return false
		}
	}
	return true
}

func (r *rule) anyListed(query map[string][]string) bool {
	for name, p := range r.query {
		values, given := query[name]
		if given && p.any || slices.ContainsFunc(values, p.values.has) {
			return true
		}
	}
	return false
}

// pathMatches is what the index finds out for many rules at once.
func (r *rule) pathMatches(q *Question) bool {
	if len(r.paths) == 0 {
		return true
	}
	if q.Request == nil {
		return r.matchesUnknown()
	}
	return slices.ContainsFunc(r.paths, func(p pattern.Path) bool {
		if r.effect == Deny {
			return p.Denies(q.Request.Path)
		}
		return p.Allows(q.Request.Path)
	})
}

// conditionMatches evaluates a rule's condition. An error says that it could not; what that means is done.
func (r *rule) conditionMatches(q *Question, in *input) (bool, error) {
	switch {
	case r.when == nil:
		return true, nil
	case !q.Key.Known && r.readsKey():
		return r.matchesAbsent(q), nil
	case q.Request == nil && r.readsRequest():
		return r.matchesUnknown(), &condition.EvalError{Reason: condition.ReasonMissing}
	}
	holds, err := r.when.Eval(in.of(q))
	if err != nil {
		return r.effect == Deny, err
	}
	return holds, nil
}

// readsKey reports whether the condition reads something of the key, be it the name alone, which Reads does not tell apart.
func (r *rule) readsKey() bool {
	return r.reads.Key || r.reads.AllLabels || len(r.reads.Labels) > 0
}

func (r *rule) readsRequest() bool {
	return r.reads.Method || r.reads.Path || r.reads.Query || r.reads.Body
}

// input is one question as conditions see it, made for the first of them. It stands beside the question so that those
// without conditions stay off the heap.
type input struct{ made *condition.Input }

func (in *input) of(q *Question) *condition.Input {
	if in.made != nil {
		return in.made
	}
	in.made = &condition.Input{
		Caller: q.Caller.id, Now: q.Now, Budget: condition.NewBudget(),
		Key: condition.Key{Name: q.Key.Name, Scheme: q.Key.Scheme, Environment: q.Key.Environment, Labels: q.Key.Labels},
	}
	if q.Request != nil {
		in.made.Method, in.made.Query, in.made.Body = q.Request.Method, q.Request.Query, q.Request.Body
		in.made.Path, in.made.PathOK = q.Request.Path.Canonical()
	}
	return in.made
}
