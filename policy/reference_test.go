package policy_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/condition"
	"github.com/signerd/signerd/policy/limit"
	"github.com/signerd/signerd/policy/pattern"
)

// answer is what a rule makes of a question.
type answer int

const (
	no answer = iota
	yes
	cannotTell
)

// reference decides slowly and plainly: it asks each rule of the document.
func reference(rules []policy.Rule, q policy.Question) policy.Decision {
	rules = slices.SortedFunc(slices.Values(rules), func(a, b policy.Rule) int { return strings.Compare(a.Name, b.Name) })
	var d policy.Decision
	decisive := func(e policy.Effect, inShadow bool, until func() bool) {
		for _, r := range rules {
			if r.Effect != e || r.Shadow != inShadow || until() && !(e == policy.Allow && !inShadow && r.Limits.Limited()) {
				continue
			}
			a := askRule(r, q)
			if a == cannotTell {
				d.Unevaluated = append(d.Unevaluated, r.Name)
			}
			if a == no || a == cannotTell && e == policy.Allow {
				continue
			}
			if inShadow {
				d.Shadows = append(d.Shadows, policy.Shadow{Rule: r.Name, Effect: e})
				continue
			}
			if d.Rule == "" {
				d.Rule = r.Name
			}
			if e == policy.Allow {
				d.Permit = new(policy.Permit)
			}
			if r.Limits.Limited() {
				d.Charges = append(d.Charges, limit.Charge{Rule: r.Name, Rates: r.Limits})
			}
		}
	}
	decided := func() bool { return d.Rule != "" }
	never := func() bool { return false }
	if decisive(policy.Deny, false, decided); decided() {
		return d
	}
	if decisive(policy.Allow, false, decided); decided() {
		decisive(policy.Deny, true, never)
	} else {
		decisive(policy.Allow, true, never)
	}
	return d
}

func askRule(r policy.Rule, q policy.Question) answer {
	here := slices.ContainsFunc(r.Callers, func(text string) bool {
		if p, err := pattern.ParseSPIFFE(text); err == nil {
			return p.Matches(q.Caller.String())
		}
		return text == policy.Any && q.Caller != policy.Caller{} || text == q.Caller.String()
	})
	_, exists := catalog()[q.Operation]
	anyKey, anyOperation := slices.Contains(r.Keys, policy.Any), slices.Contains(r.Operations, policy.Any)
	here = here && exists && (anyOperation || slices.Contains(r.Operations, q.Operation))
	if q.Key.Name == "" {
		// What the star adds to the other names is decided by the star alone.
		here = here && (!anyOperation || anyKey)
	} else {
		here = here && (anyKey || slices.Contains(r.Keys, q.Key.Name))
	}
	hides := hidesAbsent(r, q)
	if len(r.Environments) > 0 {
		here = here && (hides || q.Key.Known && slices.Contains(r.Environments, q.Key.Environment))
	}
	for name, value := range r.Labels {
		got, labelled := q.Key.Labels[name]
		here = here && (hides || q.Key.Known && labelled && got == value)
	}
	if !here || !askRequest(r, q.Request) {
		return no
	}
	return askCondition(r, q)
}

// hidesAbsent reports whether a rule takes back a key that does not exist, lest its absence be told.
func hidesAbsent(r policy.Rule, q policy.Question) bool {
	return r.Effect == policy.Deny && q.Key.Name != "" && !q.Key.Known
}

func askRequest(r policy.Rule, request *policy.Request) bool {
	denies := r.Effect == policy.Deny
	if request == nil {
		return denies || len(r.Methods) == 0 && len(r.Paths) == 0 && r.Query == nil
	}
	if len(r.Methods) > 0 && !slices.Contains(r.Methods, request.Method) {
		return false
	}
	if len(r.Paths) > 0 && !slices.ContainsFunc(r.Paths, func(text string) bool {
		p, err := pattern.ParsePath(text)
		return err == nil && (denies && p.Denies(request.Path) || !denies && p.Allows(request.Path))
	}) {
		return false
	}
	if r.Query == nil {
		return true
	}
	listed := func(p policy.Parameter, value string) bool {
		return slices.Contains(p.Values, policy.Any) || slices.Contains(p.Values, value)
	}
	named := 0
	for _, p := range r.Query.Parameters {
		values, given := request.Query[p.Name]
		if given {
			named++
		}
		some, all := given && slices.Contains(p.Values, policy.Any), true
		for _, v := range values {
			some, all = some || listed(p, v), all && listed(p, v)
		}
		switch {
		case denies && some:
			return true
		case !denies && (!all || !p.Optional && len(values) == 0):
			return false
		}
	}
	return !denies && named == len(request.Query)
}

var conditionsBySource sync.Map

func askCondition(r policy.Rule, q policy.Question) answer {
	if r.When == "" {
		return yes
	}
	v, ok := conditionsBySource.Load(r.When)
	if !ok {
		compiled, err := condition.Compile(r.When)
		if err != nil {
			panic(err)
		}
		v, _ = conditionsBySource.LoadOrStore(r.When, compiled)
	}
	c := v.(*condition.Condition)
	in := condition.Input{Caller: q.Caller.String(), Now: q.Now, Key: condition.Key{
		Name: q.Key.Name, Scheme: q.Key.Scheme, Environment: q.Key.Environment, Labels: q.Key.Labels,
	}}
	reads := c.Reads()
	if !q.Key.Known && (reads.Key || reads.AllLabels || len(reads.Labels) > 0) {
		if hidesAbsent(r, q) {
			return yes
		}
		return no
	}
	if q.Request != nil {
		in.Method, in.Query, in.Body = q.Request.Method, q.Request.Query, q.Request.Body
		in.Path, in.PathOK = q.Request.Path.Canonical()
	} else if reads.Method || reads.Path || reads.Query || reads.Body {
		return cannotTell
	}
	switch holds, err := c.Eval(&in); {
	case err != nil:
		return cannotTell
	case holds:
		return yes
	}
	return no
}

func TestDecisionsAreThoseOfAPlainReading(t *testing.T) {
	outcomes := make(map[string]int)
	rapid.Check(t, func(t *rapid.T) {
		rules := drawDocument(t, shape{})
		p := compiled(t, rules)
		for range 8 {
			d := drawQuestion(t)
			got, want := p.Decide(d.again()), reference(rules, d.again())
			if outcome(got) != outcome(want) {
				t.Fatalf("of %+v\ngot  %s\nwant %s", d, outcome(got), outcome(want))
			}
			switch {
			case got.Permit != nil:
				outcomes["allowed"]++
			case got.Rule != "":
				outcomes["denied by a rule"]++
			default:
				outcomes["denied by none"]++
			}
			for kind, n := range map[string]int{"charged": len(got.Charges), "shadows": len(got.Shadows), "unevaluated": len(got.Unevaluated)} {
				outcomes[kind] += min(n, 1)
			}
		}
	})
	// A generator that draws nothing of interest would prove nothing.
	for _, kind := range []string{"allowed", "denied by a rule", "denied by none", "charged", "shadows", "unevaluated"} {
		if outcomes[kind] == 0 {
			t.Errorf("no decision was %s: %v", kind, outcomes)
		}
	}
	t.Log(outcomes)
}
