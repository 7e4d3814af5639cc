package policy

import (
	"errors"
	"math/bits"

	"github.com/signerd/signerd/policy/condition"
)

// Replay is what a policy says of a past request of which not everything is on record.
type Replay struct {
	// Effect is empty where it cannot be said.
	Effect Effect
	// Rule decides, or is the first that what is not on record would decide by; empty where none matches.
	Rule string
}

// Past is a question about a request of the past. A body that is not on record is condition.HashedBody.
type Past struct {
	Question
	// QueryWithheld says that only the names of query parameters are on record; their values are then nil.
	QueryWithheld bool
	// LabelsWithheld says that the key's labels are not on record.
	LabelsWithheld bool
}

// Replay answers a past question within the bounds. It counts no limits.
func (b *Bounds) Replay(p *Policy, q Past) Replay {
	if _, ok := b.always[q.Operation]; ok && b.administrators.has(q.Caller) {
		return Replay{Allow, RuleAdministrators}
	}
	if q.Key.Name != "" && !(q.Key.Known && q.Key.Environment == "sandbox") && b.sandboxOnly.has(q.Caller) {
		return Replay{Deny, RuleSandboxOnly}
	}
	return p.replay(&q)
}

// replay tries the rules in their order: those that deny before those that allow. Shadow rules decide nothing.
func (p *Policy) replay(q *Past) Replay {
	var found candidates
	p.index.collect(&q.Question, &found)
	var in input
	var mayDeny, mayAllow string
	for i, word := range found[:(len(p.rules)+63)/64] {
		for ; word != 0; word &= word - 1 {
			r := p.rules[i*64+bits.TrailingZeros64(word)]
			if r.shadow {
				continue
			}
			switch matches := r.matchesPast(q, &in); {
			case matches == no:
			case matches == yes && r.effect == Deny:
				return Replay{Deny, r.name}
			case r.effect == Deny && mayDeny == "":
				mayDeny = r.name
			case r.effect == Deny:
			case mayDeny != "":
				return Replay{"", mayDeny}
			case matches == yes:
				return Replay{Allow, r.name}
			case mayAllow == "":
				mayAllow = r.name
			}
		}
	}
	if mayAllow != "" {
		return Replay{"", mayAllow}
	}
	return Replay{Deny, ""}
}

// certainty is whether a rule matches.
type certainty int

const (
	no certainty = iota
	maybe
	yes
)

func (r *rule) matchesPast(q *Past, in *input) certainty {
	if r.elsewhere(&q.Question) != "" || r.pathsOutside && !r.pathMatches(&q.Question) || !r.environmentMatches(&q.Question) || !r.methodMatches(&q.Question) {
		return no
	}
	sure := min(r.labelsMatchPast(q), r.queryMatchesPast(q))
	if sure == no || r.when == nil {
		return sure
	}
	if q.QueryWithheld && r.reads.Query || q.LabelsWithheld && (r.reads.AllLabels || len(r.reads.Labels) > 0) {
		return maybe
	}
	holds, err := r.conditionMatches(&q.Question, in)
	var failed *condition.EvalError
	if errors.As(err, &failed) && failed.Reason == condition.ReasonBodyUnknown {
		return maybe
	}
	if !holds {
		return no
	}
	return sure
}

func (r *rule) labelsMatchPast(q *Past) certainty {
	switch {
	case q.LabelsWithheld && len(r.labels) > 0:
		return maybe
	case r.labelsMatch(&q.Question):
		return yes
	}
	return no
}

func (r *rule) queryMatchesPast(q *Past) certainty {
	if !q.QueryWithheld || r.query == nil || q.Request == nil {
		if r.queryMatches(&q.Question) {
			return yes
		}
		return no
	}
	if r.effect == Deny {
		sure := no
		for name := range q.Request.Query {
			switch p, named := r.query[name]; {
			case named && p.any:
				return yes
			case named:
				sure = maybe
			}
		}
		return sure
	}
	sure := yes
	for name := range q.Request.Query {
		switch p, named := r.query[name]; {
		case !named:
			return no
		case !p.any:
			sure = maybe
		}
	}
	for name, p := range r.query {
		if _, given := q.Request.Query[name]; !given && !p.optional {
			return no
		}
	}
	return sure
}
