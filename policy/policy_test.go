package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signerd/signerd/policy"
)

// The operations of these tests; status concerns no key.
const (
	sign   policy.Operation = "SignNoahRequest"
	read   policy.Operation = "GetKey"
	status policy.Operation = "GetStatus"
)

var known = []policy.Operation{sign, read, status}

func caller(t testing.TB, uid uint32) policy.Caller {
	t.Helper()
	c, err := policy.UnixCaller(uid)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newPolicy(t testing.TB, grants ...policy.Grant) *policy.Policy {
	t.Helper()
	p, err := policy.New(grants, known)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func grant(callers []policy.Caller, keys []string, operations ...policy.Operation) policy.Grant {
	return policy.Grant{Callers: callers, Keys: keys, Operations: operations}
}

func TestACallerMayDoWhatAGrantAllowsAndNothingElse(t *testing.T) {
	alice, bob, carol, mallory := caller(t, 1000), caller(t, 1001), caller(t, 0), caller(t, 4000)
	p := newPolicy(t,
		grant([]policy.Caller{alice}, []string{"orders"}, sign),
		grant([]policy.Caller{alice, bob}, []string{"payments", "refunds"}, read),
		grant([]policy.Caller{bob}, []string{policy.Any}, sign),
		grant([]policy.Caller{alice}, []string{"orders-2"}, sign),
		grant([]policy.Caller{carol}, []string{"orders"}, policy.Any),
	)
	tests := []struct {
		name      string
		caller    policy.Caller
		operation policy.Operation
		key       string
		allowed   bool
	}{
		{"the one thing of a grant", alice, sign, "orders", true},
		{"what another grant adds to the same operation", alice, sign, "orders-2", true},
		{"another key", alice, sign, "payments", false},
		{"a key that does not exist", alice, sign, "absent", false},
		{"a key whose name begins alike", alice, sign, "order", false},
		{"a key whose name goes on", alice, sign, "orders-", false},
		{"a key's name in upper case", alice, sign, "ORDERS", false},
		{"the star as a key's name", alice, sign, policy.Any, false},
		{"another operation on a key", alice, read, "orders", false},
		{"the keys of one operation are not those of another", alice, sign, "refunds", false},
		{"the second key of a grant", alice, read, "refunds", true},
		{"the second caller of a grant", bob, read, "payments", true},
		{"every key", bob, sign, "anything", true},
		{"every key for that operation alone", bob, read, "anything", false},
		{"every operation", carol, read, "orders", true},
		{"every operation on that key alone", carol, sign, "payments", false},
		{"an operation that no grant names", alice, status, "", false},
		{"an operation without a key", carol, status, "", true},
		{"an operation that does not exist", carol, "DeleteEverything", "orders", false},
		{"an operation in another case", alice, "signnoahrequest", "orders", false},
		{"no operation", carol, "", "orders", false},
		{"the star as an operation", carol, policy.Any, "orders", false},
		{"a caller in no grant", mallory, sign, "orders", false},
		{"a caller in no grant, without a key", mallory, status, "", false},
		{"nobody", policy.Caller{}, sign, "orders", false},
		{"nobody, without a key", policy.Caller{}, status, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			permit, err := p.Decide(policy.Question{Caller: tt.caller, Operation: tt.operation, Key: tt.key})
			if tt.allowed {
				if err != nil || permit == nil {
					t.Fatalf("got %v", err)
				}
				return
			}
			// The very error: a refusal must not differ from another in anything.
			if err != policy.ErrDenied || permit != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAnEmptyPolicyAllowsNobody(t *testing.T) {
	for name, p := range map[string]*policy.Policy{"the zero value": {}, "no grants": newPolicy(t)} {
		for _, q := range []policy.Question{
			{Caller: caller(t, 0), Operation: sign, Key: "orders"},
			{Caller: caller(t, 0), Operation: status},
			{Operation: sign, Key: "orders"},
			{},
		} {
			if permit, err := p.Decide(q); err != policy.ErrDenied || permit != nil {
				t.Errorf("%s: %+v: got %v", name, q, err)
			}
		}
	}
}

func TestAPolicyDoesNotChangeWithTheGrantsItWasMadeOf(t *testing.T) {
	alice, mallory := caller(t, 1000), caller(t, 4000)
	g := grant([]policy.Caller{alice}, []string{"orders"}, sign)
	operations := []policy.Operation{sign, read, status}
	p, err := policy.New([]policy.Grant{g, grant([]policy.Caller{alice}, []string{"all-operations"}, policy.Any)}, operations)
	if err != nil {
		t.Fatal(err)
	}
	g.Callers[0], g.Keys[0], g.Operations[0], operations[1] = mallory, policy.Any, status, "Later"
	for q, allowed := range map[policy.Question]bool{
		{Caller: alice, Operation: sign, Key: "orders"}:            true,
		{Caller: alice, Operation: sign, Key: "other"}:             false,
		{Caller: mallory, Operation: sign, Key: "orders"}:          false,
		{Caller: alice, Operation: read, Key: "all-operations"}:    true,
		{Caller: alice, Operation: "Later", Key: "all-operations"}: false,
	} {
		if _, err := p.Decide(q); (err == nil) != allowed {
			t.Errorf("%+v: got %v", q, err)
		}
	}
}

func TestAMalformedGrantIsNamedByItsPlace(t *testing.T) {
	alice := []policy.Caller{caller(t, 1000)}
	good := grant(alice, []string{"orders"}, sign)
	tests := []struct {
		name    string
		grants  []policy.Grant
		index   int
		field   string
		item    int
		message string
	}{
		{"no callers", []policy.Grant{grant(nil, []string{"orders"}, sign)}, 0, "callers", -1, "grants[0].callers: it is missing or empty"},
		{"no keys", []policy.Grant{good, grant(alice, nil, sign)}, 1, "keys", -1, "grants[1].keys: it is missing or empty"},
		{"an empty list of keys", []policy.Grant{grant(alice, []string{}, sign)}, 0, "keys", -1, "grants[0].keys: it is missing or empty"},
		{"no operations", []policy.Grant{good, good, grant(alice, []string{"orders"})}, 2, "operations", -1, "grants[2].operations: it is missing or empty"},
		{"an empty grant", []policy.Grant{{}}, 0, "callers", -1, "grants[0].callers"},
		{"nobody as a caller", []policy.Grant{grant(append(alice[:1:1], policy.Caller{}), []string{"orders"}, sign)}, 0, "callers", 1, "grants[0].callers[1]: it is empty"},
		{"a name that no key can have", []policy.Grant{grant(alice, []string{"orders", "Orders"}, sign)}, 0, "keys", 1, "grants[0].keys[1]: it is neither a key name nor *"},
		{"a pattern", []policy.Grant{grant(alice, []string{"orders-*"}, sign)}, 0, "keys", 0, "grants[0].keys[0]: it is neither a key name nor *"},
		{"an empty name", []policy.Grant{grant(alice, []string{""}, sign)}, 0, "keys", 0, "grants[0].keys[0]"},
		{"a bad name beside the star", []policy.Grant{grant(alice, []string{policy.Any, "-"}, sign)}, 0, "keys", 1, "grants[0].keys[1]"},
		{"an unknown operation", []policy.Grant{good, grant(alice, []string{"orders"}, sign, "Sign")}, 1, "operations", 1, `grants[1].operations[1]: unknown operation "Sign"; known: [SignNoahRequest GetKey GetStatus], or *`},
		{"an unknown operation beside the star", []policy.Grant{grant(alice, []string{"orders"}, policy.Any, "Sign")}, 0, "operations", 1, "unknown operation"},
		{"an empty operation", []policy.Grant{grant(alice, []string{"orders"}, "")}, 0, "operations", 0, "unknown operation"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := policy.New(tt.grants, known)
			var grantErr *policy.GrantError
			if !errors.As(err, &grantErr) || p != nil {
				t.Fatalf("got %v, want a *GrantError and no policy", err)
			}
			if grantErr.Index != tt.index || grantErr.Field != tt.field || grantErr.Item != tt.item {
				t.Errorf("got %+v", grantErr)
			}
			if !strings.Contains(err.Error(), tt.message) {
				t.Errorf("got %q, want %q", err, tt.message)
			}
			if grantErr.Err == nil || !errors.Is(err, grantErr.Err) {
				t.Error("it does not unwrap to its cause")
			}
		})
	}
}

// A caller that may not know learns nothing: what is absent is refused exactly as what is forbidden.
func TestARefusalSaysNothing(t *testing.T) {
	alice := caller(t, 1000)
	p := newPolicy(t, grant([]policy.Caller{alice}, []string{"orders"}, sign))
	var texts []string
	for _, q := range []policy.Question{
		{Caller: alice, Operation: sign, Key: "payments"},
		{Caller: alice, Operation: read, Key: "orders"},
		{Caller: caller(t, 1001), Operation: sign, Key: "orders"},
	} {
		_, err := p.Decide(q)
		texts = append(texts, err.Error())
	}
	if diff := cmp.Diff([]string{"not allowed", "not allowed", "not allowed"}, texts); diff != "" {
		t.Error(diff)
	}
}
