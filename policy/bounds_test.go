package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/signerd/signerd/policy"
)

func newBounds(t *testing.T, administrators, sandboxOnly []string) *policy.Bounds {
	t.Helper()
	b, err := policy.NewBounds(administrators, sandboxOnly, operations(status, setPolicy))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBoundsStandAroundEveryPolicy(t *testing.T) {
	everything := allow(policy.Rule{Name: "all", Callers: texts("*"), Keys: texts("*"), Operations: operations(policy.Any)})
	nothing := deny(policy.Rule{Name: "none", Callers: texts("*"), Keys: texts("*"), Operations: operations(policy.Any)})
	b := newBounds(t, texts(alice, "spiffe://example.org/ns/a/**"), texts(bob, "spiffe://example.org/ns/b/*"))
	sandbox := policy.Key{Name: "orders", Known: true, Environment: "sandbox"}
	for _, tt := range []struct {
		name    string
		rule    policy.Rule
		asked   asked
		allowed bool
		by      string
	}{
		{"an administrator may what administrators may", nothing, asked{operation: setPolicy, key: noKey}, true, policy.RuleAdministrators},
		{"an administrator by a pattern", nothing, asked{caller: apiA, operation: status, key: noKey}, true, policy.RuleAdministrators},
		{"an administrator may nothing else", nothing, asked{operation: list, key: noKey}, false, "none"},
		{"an administrator signs nothing", nothing, asked{}, false, "none"},
		{"an administrator whom a rule allows", everything, asked{}, true, "all"},
		{"nobody else may what administrators may", nothing, asked{caller: bob, operation: setPolicy, key: noKey}, false, "none"},
		{"somebody else whom a rule allows", everything, asked{caller: mallory, operation: setPolicy, key: noKey}, true, "all"},

		{"a fenced caller with a prod key", everything, asked{caller: bob}, false, policy.RuleSandboxOnly},
		{"a caller who is fenced by a pattern", everything, asked{caller: apiB}, false, policy.RuleSandboxOnly},
		{"a fenced caller who makes a prod key", everything, asked{caller: bob, operation: create}, false, policy.RuleSandboxOnly},
		{"a fenced caller who reads a prod key", everything, asked{caller: bob, operation: read}, false, policy.RuleSandboxOnly},
		{"a fenced caller with a key of no environment", everything, asked{caller: bob, key: policy.Key{Name: "orders", Known: true}}, false, policy.RuleSandboxOnly},
		{"a fenced caller with a sandbox key", everything, asked{caller: bob, key: sandbox}, true, "all"},
		{"a fenced caller whom no rule allows", nothing, asked{caller: bob, key: sandbox}, false, "none"},
		{"a fenced caller with an absent key", everything, asked{caller: bob, key: policy.Key{Name: "absent"}}, false, policy.RuleSandboxOnly},
		{"a fenced caller with an absent key that is said to be in the sandbox", everything, asked{caller: bob, key: policy.Key{Name: "absent", Environment: "sandbox"}}, false, policy.RuleSandboxOnly},
		{"a caller without a fence, with an absent key", everything, asked{caller: mallory, key: policy.Key{Name: "absent"}}, true, "all"},
		{"a fenced caller who makes a sandbox key", everything, asked{caller: bob, operation: create, key: sandbox}, true, "all"},
		{"a fenced caller without a key", everything, asked{caller: bob, operation: list, key: noKey}, true, "all"},
		{"a caller without a fence", everything, asked{caller: mallory}, true, "all"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := b.Decide(compile(t, tt.rule), tt.asked.question(t))
			if (d.Err() == nil) != tt.allowed || d.Rule != tt.by {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestBoundsOfNobodyBindNobody(t *testing.T) {
	p := compile(t, allow(policy.Rule{}))
	for name, b := range map[string]*policy.Bounds{"the zero value": {}, "empty lists": newBounds(t, nil, nil)} {
		if d := b.Decide(p, asked{}.question(t)); d.Err() != nil {
			t.Errorf("%s: %+v", name, d)
		}
		for _, a := range []asked{{operation: status, key: noKey}, {caller: bob}} {
			if d := b.Decide(p, a.question(t)); d.Err() == nil {
				t.Errorf("%s: %+v", name, d)
			}
		}
		if d := b.Decide(p, policy.Question{Operation: status}); d.Err() == nil {
			t.Errorf("%s, for nobody: %+v", name, d)
		}
	}
}

func TestAFenceCanBeAroundEverybody(t *testing.T) {
	b, p := newBounds(t, nil, texts("*")), compile(t, allow(policy.Rule{}))
	if d := b.Decide(p, asked{}.question(t)); d.Rule != policy.RuleSandboxOnly || d.Err() == nil {
		t.Errorf("%+v", d)
	}
	if d := b.Decide(p, policy.Question{Operation: sign, Key: orders}); d.Err() == nil {
		t.Errorf("for nobody: %+v", d)
	}
}

// Even if an administrator's operation concerned a key.
func TestAnAdministratorsPermitBringsNoCredentialOut(t *testing.T) {
	b, err := policy.NewBounds(texts(alice), nil, operations(sign))
	if err != nil {
		t.Fatal(err)
	}
	d := b.Decide(compile(t), asked{}.question(t))
	if d.Err() != nil {
		t.Fatal(d.Err())
	}
	for _, key := range texts("orders", "", "*") {
		if err := d.Permit.Redeem(key); err != policy.ErrPermit {
			t.Errorf("%q: got %v", key, err)
		}
	}
}

func TestMalformedBoundsAreNamedByTheirPlace(t *testing.T) {
	for _, tt := range []struct {
		name                        string
		administrators, sandboxOnly []string
		message                     string
	}{
		{"everybody an administrator", texts(alice, "*"), nil, "administrators[1]: not everybody"},
		{"a malformed administrator", texts(alice, "root"), nil, "administrators[1]: wanted unix:uid=N"},
		{"an empty administrator", texts(""), nil, "administrators[0]: wanted unix:uid=N"},
		{"a malformed fenced caller", nil, texts(alice, bob, "dns:*"), "sandbox_only[2]: it is not a host name"},
		{"a malformed pattern", nil, texts("spiffe://example.org/**/a"), "sandbox_only[0]: nothing may follow **"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := policy.NewBounds(tt.administrators, tt.sandboxOnly, operations(status))
			var bad *policy.BoundsError
			if !errors.As(err, &bad) || b != nil || !strings.Contains(err.Error(), tt.message) || !errors.Is(err, bad.Err) {
				t.Errorf("got %v", err)
			}
		})
	}
}
