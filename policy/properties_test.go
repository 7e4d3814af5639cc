package policy_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/condition"
	"github.com/signerd/signerd/policy/limit"
	"github.com/signerd/signerd/policy/pattern"
)

func TestADenyNeverAllowsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawDocument(t, shape{})
		more := drawRule(t, rapid.SampledFrom(texts("a", "r3-more", "z")).Draw(t, "name"), shape{})
		more.Effect, more.Limits = policy.Deny, limit.Rates{}
		if more.Query != nil {
			more.Query = drawQuery(t, policy.Deny)
		}
		before, after := compiled(t, rules), compiled(t, append(slices.Clone(rules), more))
		for range 4 {
			d := drawQuestion(t)
			b, a := before.Decide(d.again()), after.Decide(d.again())
			if a.Err() != nil {
				continue
			}
			if b.Err() != nil || a.Rule != b.Rule || fmt.Sprint(a.Charges) != fmt.Sprint(b.Charges) {
				t.Fatalf("of %+v\nbefore %s\nafter  %s", d, outcome(b), outcome(a))
			}
		}
	})
}

func TestTheOrderOfADocumentNeverMatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawDocument(t, shape{})
		other := rapid.Permutation(rules).Draw(t, "another order")
		for i, r := range other {
			other[i].Callers = rapid.Permutation(r.Callers).Draw(t, "callers")
			other[i].Keys = rapid.Permutation(r.Keys).Draw(t, "keys")
			other[i].Operations = rapid.Permutation(r.Operations).Draw(t, "operations")
			other[i].Paths = rapid.Permutation(r.Paths).Draw(t, "paths")
		}
		a, b := compiled(t, rules), compiled(t, other)
		for range 4 {
			d := drawQuestion(t)
			if x, y := a.Decide(d.again()), b.Decide(d.again()); outcome(x) != outcome(y) {
				t.Fatalf("of %+v\none   %s\nother %s", d, outcome(x), outcome(y))
			}
			if x, y := a.Explain(d.again()), b.Explain(d.again()); !slices.Equal(x, y) {
				t.Fatalf("of %+v\none   %+v\nother %+v", d, x, y)
			}
		}
	})
}

func TestAnUnknownCallerGetsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawDocument(t, shape{})
		d := drawQuestion(t)
		d.Caller = policy.Caller{}
		if got := compiled(t, rules).Decide(d.again()); outcome(got) != outcome(policy.Decision{}) {
			t.Fatalf("nobody: %s", outcome(got))
		}
		if slices.ContainsFunc(compiled(t, rules).Explain(d.again()), func(e policy.Explanation) bool { return e.Matched || !e.Elsewhere }) {
			t.Fatal("a rule is about nobody")
		}
		for i := range rules {
			rules[i].Callers = slices.DeleteFunc(slices.Clone(rules[i].Callers), func(c string) bool { return c == policy.Any })
			rules[i].Callers = append(rules[i].Callers, alice)
		}
		p := compiled(t, rules)
		for _, text := range texts(mallory, "unix:uid=100", "unix:uid=10000", "dns:unix", "spiffe://example.com/ns/a/api", "spiffe://example.org.evil/ns/a/api") {
			d.Caller, _ = policy.ParseCaller(text)
			if got := p.Decide(d.again()); outcome(got) != outcome(policy.Decision{}) {
				t.Fatalf("%s, whom no rule names: %s", text, outcome(got))
			}
		}
	})
}

// unchanged fails if a change of the request, which the caller chooses, turned a denial into a signature.
func unchanged(t *rapid.T, p *policy.Policy, before, after policy.Question, what string) {
	if b, a := p.Decide(before), p.Decide(after); b.Err() != nil && a.Err() == nil {
		t.Fatalf("%s: of %+v\nbefore %s\nafter  %s", what, before, outcome(b), outcome(a))
	}
}

func drawSigned(t *rapid.T) described {
	d := drawQuestion(t)
	d.Operation = rapid.SampledFrom(operations(sign, compute)).Draw(t, "signing operation")
	if d.Request == nil {
		d.Request = &policy.Request{Method: "POST"}
	}
	return d
}

func TestAHiddenOrBrokenBodyNeverTurnsADenialIntoASignature(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := compiled(t, drawDocument(t, shape{}))
		for range 4 {
			d := drawSigned(t)
			hidden := d.again()
			hidden.Request.Body = condition.HashedBody()
			unchanged(t, p, d.again(), hidden, "a hash")
			hidden.Request.Body = nil
			unchanged(t, p, d.again(), hidden, "nothing")
			for _, broken := range brokenBodies(t, d.Text) {
				b := d
				b.Text = broken
				unchanged(t, p, d.again(), b.again(), fmt.Sprintf("%q", broken))
			}
		}
	})
}

// brokenBodies are not JSON, or JSON that two programs may read differently.
func brokenBodies(t *rapid.T, text string) []string {
	out := []string{text + "}", text + ",", "{" + text, text + "\x00", "\xff" + text, "\ufeff" + text + " ", text + " 0", "01"}
	if strings.HasPrefix(text, "{") {
		out = append(out, text[:rapid.IntRange(1, len(text)-1).Draw(t, "cut at")])
	}
	// What closes an object that was cut mends it.
	out = slices.DeleteFunc(out, func(s string) bool { return json.Valid([]byte(s)) })
	if strings.HasPrefix(text, "{") {
		out = append(out, `{"amount": "1", "\u0061mount": "1", `+text[1:])
	}
	return out
}

func TestARespelledPathNeverTurnsADenialIntoASignature(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := compiled(t, drawDocument(t, shape{}))
		for range 4 {
			d := drawSigned(t)
			// Another spelling of the same path decides alike.
			same := d
			same.Path = escaped(t, d.Path)
			if b, a := p.Decide(d.again()), p.Decide(same.again()); outcome(b) != outcome(a) {
				t.Fatalf("%q decides unlike %q\nbefore %s\nafter  %s", same.Path, d.Path, outcome(b), outcome(a))
			}
			// One that some program might read as the same path does no better.
			for _, path := range ambiguous(t, d.Path) {
				other := d
				other.Path = escaped(t, path)
				unchanged(t, p, d.again(), other.again(), fmt.Sprintf("%q for %q", other.Path, d.Path))
			}
		}
	})
}

// Some routers take a path in another case, or with a slash at its end, for the same. What a deny rule says of the path by a
// pattern holds for these, too; allow rules without capitals and slashes at the end do not allow them more.
func TestAPathInAnotherCaseNeverTurnsADenialIntoASignature(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := compiled(t, drawDocument(t, shape{noPathConditions: true, plainPaths: true}))
		for range 4 {
			d := drawSigned(t)
			d.Path = rapid.SampledFrom(targets).Draw(t, "plain path")
			other := d
			other.Path = recased(t, d.Path)
			if maybe(t, "slash", 2) {
				other.Path += "/"
			}
			other.Path = escaped(t, other.Path)
			unchanged(t, p, d.again(), other.again(), fmt.Sprintf("%q for %q", other.Path, d.Path))
		}
	})
}

// escaped writes some characters as escapes that stand for the same.
func escaped(t *rapid.T, path string) string {
	var out strings.Builder
	for i := range len(path) {
		unreserved := path[i] != '/' && path[i] != '.' && path[i] != '%' && path[i] != ';' && (i < 1 || path[i-1] != '%') && (i < 2 || path[i-2] != '%')
		switch {
		case unreserved && maybe(t, "escaped", 4):
			fmt.Fprintf(&out, rapid.SampledFrom(texts("%%%02x", "%%%02X")).Draw(t, "case"), path[i])
		default:
			out.WriteByte(path[i])
		}
	}
	return out.String()
}

func ambiguous(t *rapid.T, path string) []string {
	var slashes []int
	for i := range len(path) {
		if path[i] == '/' {
			slashes = append(slashes, i)
		}
	}
	at := rapid.SampledFrom(slashes).Draw(t, "slash")
	return []string{
		path[:at] + "/." + path[at:], path[:at] + "/" + path[at:], path[:at] + "/x/.." + path[at:], path[:at] + "/%2e" + path[at:], path[:at] + "%2f" + path[at+1:],
		path[:at] + `\` + path[at+1:], path + "/.", path + "//", path + ";v=1", path + "%20", path + "%00", path + "%", path + "%ff", path + "?a=b",
	}
}

func recased(t *rapid.T, path string) string {
	out := []byte(path)
	for i, c := range out {
		if 'a' <= c && c <= 'z' && maybe(t, "upper", 3) {
			out[i] = c - 'a' + 'A'
		}
	}
	return string(out)
}

func TestRulesInShadowChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawDocument(t, shape{})
		inForce := slices.DeleteFunc(slices.Clone(rules), func(r policy.Rule) bool { return r.Shadow })
		with, without := compiled(t, rules), compiled(t, inForce)
		for range 4 {
			d := drawQuestion(t)
			w, wo := with.Decide(d.again()), without.Decide(d.again())
			shadows := w.Shadows
			w.Shadows, w.Unevaluated, wo.Unevaluated = nil, nil, nil
			if outcome(w) != outcome(wo) {
				t.Fatalf("of %+v\nwith    %s\nwithout %s", d, outcome(w), outcome(wo))
			}
			// What a rule in shadow would do is what it does in force.
			for _, s := range shadows {
				forced := slices.Clone(inForce)
				for _, r := range rules {
					if r.Name == s.Rule {
						r.Shadow = false
						forced = append(forced, r)
					}
				}
				if f := compiled(t, forced).Decide(d.again()); (f.Err() == nil) != (s.Effect == policy.Allow) || (w.Err() == nil) == (f.Err() == nil) {
					t.Fatalf("%+v in force: %s", s, outcome(f))
				}
			}
		}
	})
}

func TestAnAbsentKeyIsDecidedLikeAPresentOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := compiled(t, drawDocument(t, shape{noKeyFacts: true}))
		d := drawQuestion(t)
		d.Key.Name = rapid.SampledFrom(askedKeys[:4]).Draw(t, "named key")
		d.Key = policy.Key{Name: d.Key.Name}
		absent := p.Decide(d.again())
		d.Key = drawFacts(t, d.Key)
		if present := p.Decide(d.again()); outcome(absent) != outcome(present) {
			t.Fatalf("of %+v\nabsent  %s\npresent %s", d, outcome(absent), outcome(present))
		}
	})
}

// Whoever is refused a key, for whatever reason, hears the same of one that is absent.
func TestWhoIsRefusedAKeyIsRefusedAnAbsentOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := compiled(t, drawDocument(t, shape{}))
		d := drawQuestion(t)
		d.Key = drawFacts(t, policy.Key{Name: rapid.SampledFrom(askedKeys[:4]).Draw(t, "named key")})
		present := p.Decide(d.again())
		d.Key = policy.Key{Name: d.Key.Name}
		if absent := p.Decide(d.again()); present.Err() != nil && absent.Err() == nil {
			t.Fatalf("of %+v\nabsent  %s\npresent %s", d, outcome(absent), outcome(present))
		}
	})
}

func TestExplainAgreesWithTheDecision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawDocument(t, shape{})
		p := compiled(t, rules)
		limits := p.Limits()
		for range 4 {
			d := drawQuestion(t)
			var want policy.Decision
			var allows []string
			for _, e := range p.Explain(d.again()) {
				if e.Matched && e.Elsewhere || !e.Matched && e.Why == "" {
					t.Fatalf("%+v", e)
				}
				if !e.Matched || e.Shadow {
					continue
				}
				if e.Effect == policy.Deny && want.Rule == "" {
					want.Rule = e.Rule
				}
				if e.Effect == policy.Allow {
					allows = append(allows, e.Rule)
				}
			}
			if want.Rule == "" && len(allows) > 0 {
				want.Permit, want.Rule = new(policy.Permit), allows[0]
				for _, name := range allows {
					if rates, limited := limits[name]; limited {
						want.Charges = append(want.Charges, limit.Charge{Rule: name, Rates: rates})
					}
				}
			}
			got := p.Decide(d.again())
			got.Shadows, got.Unevaluated = nil, nil
			if outcome(got) != outcome(want) {
				t.Fatalf("of %+v\ndecided   %s\nexplained %s", d, outcome(got), outcome(want))
			}
		}
	})
}

// The fence holds under every policy, and no policy locks administrators out.
func TestBoundsHoldUnderEveryPolicy(t *testing.T) {
	b, err := policy.NewBounds(texts(alice), texts(bob, "spiffe://example.org/ns/b/**"), operations(status))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		p := compiled(t, drawDocument(t, shape{}))
		d := drawQuestion(t)
		got, unbounded := b.Decide(p, d.again()), p.Decide(d.again())
		fenced := d.Caller.String() == bob || d.Caller.String() == apiB
		switch {
		case d.Caller.String() == alice && d.Operation == status:
			if got.Err() != nil || got.Rule != policy.RuleAdministrators {
				t.Fatalf("an administrator is locked out: %s", outcome(got))
			}
		case fenced && d.Key.Name != "" && d.Key.Environment != "sandbox":
			if got.Err() == nil {
				t.Fatalf("a fenced caller got past the fence: %s", outcome(got))
			}
		case outcome(got) != outcome(unbounded):
			t.Fatalf("of %+v\nbounded   %s\nunbounded %s", d, outcome(got), outcome(unbounded))
		}
	})
}

// Targets that the generators call plain have one reading, and what they make of them have none.
func TestRespellingsAreWhatTheyClaim(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.SampledFrom(targets).Draw(t, "path")
		target := pattern.NewTarget(path)
		if spelled := escaped(t, path); target.Ambiguous() || pattern.NewTarget(spelled) != target {
			t.Fatalf("%q is not %q", spelled, path)
		}
		for _, other := range ambiguous(t, path) {
			if !pattern.NewTarget(other).Ambiguous() {
				t.Fatalf("%q has one reading", other)
			}
		}
	})
}
