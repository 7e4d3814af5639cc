package policy_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/condition"
)

// withheld is the question as a record has it: without the body, and perhaps without query values and labels.
func withheld(t *rapid.T, d described) policy.Past {
	past := policy.Past{Question: d.again()}
	if past.Request == nil {
		return past
	}
	if d.Text != "" {
		past.Request.Body = condition.HashedBody()
	}
	if maybe(t, "without values", 2) {
		past.QueryWithheld = true
		names := make(map[string][]string)
		for name := range past.Request.Query {
			names[name] = nil
		}
		past.Request.Query = names
	}
	if maybe(t, "without labels", 4) {
		past.LabelsWithheld = true
		past.Key.Labels = nil
	}
	return past
}

func TestAReplaySaysWhatTheDecisionWasOrThatItCannotTell(t *testing.T) {
	bounds, err := policy.NewBounds([]string{alice}, []string{bob}, []policy.Operation{status})
	if err != nil {
		t.Fatal(err)
	}
	var sure, unsure int
	rapid.Check(t, func(t *rapid.T) {
		p := compiled(t, drawDocument(t, shape{}))
		for range 4 {
			d := drawQuestion(t)
			if d.Request != nil && len(d.Request.Query["dry"]) == 0 {
				d.Request.Query = nil // nobody sends a name without a value
			}
			want := policy.Deny
			decision := bounds.Decide(p, d.again())
			if decision.Permit != nil {
				want = policy.Allow
			}
			if got := bounds.Replay(p, policy.Past{Question: d.again()}); got.Effect != want && got.Effect != "" {
				t.Fatalf("knowing everything: %+v, the decision is %s by %q", got, want, decision.Rule)
			}
			got := bounds.Replay(p, withheld(t, d))
			if got.Effect == "" {
				unsure++
				if got.Rule == "" {
					t.Fatal("it does not say which rule it cannot tell of")
				}
				continue
			}
			sure++
			if got.Effect != want {
				t.Fatalf("a replay says %+v, the decision is %s by %q", got, want, decision.Rule)
			}
		}
	})
	if sure == 0 || unsure == 0 {
		t.Errorf("%d replays were sure and %d were not; nothing is proven", sure, unsure)
	}
}

func TestAReplayOfWhatAllIsKnownOfIsSure(t *testing.T) {
	bounds := &policy.Bounds{}
	rapid.Check(t, func(t *rapid.T) {
		p := compiled(t, drawDocument(t, shape{}))
		d := drawQuestion(t)
		decision := bounds.Decide(p, d.again())
		got := bounds.Replay(p, policy.Past{Question: d.again()})
		if want := decision.Permit != nil; got.Effect == "" || (got.Effect == policy.Allow) != want || got.Rule != decision.Rule {
			t.Fatalf("a replay says %+v, the decision is by %q, allowed: %t", got, decision.Rule, want)
		}
	})
}
