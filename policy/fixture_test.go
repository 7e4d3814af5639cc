package policy_test

import (
	"testing"
	"time"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/condition"
	"github.com/signerd/signerd/policy/pattern"
)

// The operations of these tests. The last three concern no key.
const (
	sign      policy.Operation = "SignNoahRequest"
	compute   policy.Operation = "ComputeNobaSignature"
	session   policy.Operation = "GetNoonSession"
	read      policy.Operation = "GetKey"
	create    policy.Operation = "CreateKey"
	list      policy.Operation = "ListKeys"
	status    policy.Operation = "GetStatus"
	setPolicy policy.Operation = "SetPolicy"
)

func catalog() policy.Catalog {
	return policy.Catalog{
		sign:    {Method: true, Path: true, Query: true, Body: true},
		compute: {Method: true, Path: true, Body: true},
		session: {}, read: {}, create: {}, list: {}, status: {}, setPolicy: {},
	}
}

// The callers of these tests.
const (
	alice   = "unix:uid=1000"
	bob     = "unix:uid=1001"
	mallory = "unix:uid=4000"
	apiA    = "spiffe://example.org/ns/a/api"
	apiB    = "spiffe://example.org/ns/b/api"
	host    = "dns:orders.internal"
)

func caller(t testing.TB, text string) policy.Caller {
	t.Helper()
	c, err := policy.ParseCaller(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// allow is a rule that allows alice to sign with orders, but for what r says otherwise.
func allow(r policy.Rule) policy.Rule {
	if r.Name == "" {
		r.Name = "allow"
	}
	r.Effect = policy.Allow
	if r.Callers == nil {
		r.Callers = []string{alice}
	}
	if r.Keys == nil {
		r.Keys = []string{"orders"}
	}
	if r.Operations == nil {
		r.Operations = []policy.Operation{sign}
	}
	return r
}

// deny is allow's opposite.
func deny(r policy.Rule) policy.Rule {
	if r.Name == "" {
		r.Name = "deny"
	}
	r = allow(r)
	r.Effect = policy.Deny
	return r
}

func shadow(r policy.Rule) policy.Rule {
	r.Shadow = true
	return r
}

func compile(t testing.TB, rules ...policy.Rule) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(policy.Document{Rules: rules}, catalog())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// asked is a question by what differs from: alice signs POST /v1/pay with orders, a NOAH key in prod.
type asked struct {
	caller    string
	operation policy.Operation
	key       policy.Key
	method    string
	path      string
	query     map[string][]string
	body      *condition.Body
	no        bool // there is no request
}

// orders is a key in prod, with labels.
var orders = policy.Key{Name: "orders", Known: true, Scheme: "noah", Environment: "prod", Labels: map[string]string{"team": "payments", "tier": "1"}}

// noKey is the key of operations that concern none.
var noKey = policy.Key{Scheme: "none"}

func (a asked) question(t testing.TB) policy.Question {
	t.Helper()
	if a.caller == "" {
		a.caller = alice
	}
	if a.operation == "" {
		a.operation = sign
	}
	switch {
	case a.key.Scheme == noKey.Scheme:
		a.key = policy.Key{}
	case a.key.Name == "":
		a.key = orders
	}
	if a.method == "" {
		a.method = "POST"
	}
	if a.path == "" {
		a.path = "/v1/pay"
	}
	if a.body == nil {
		a.body = condition.NewBody([]byte(`{"amount": "50", "currency": "EUR"}`))
	}
	q := policy.Question{Caller: caller(t, a.caller), Operation: a.operation, Key: a.key, Now: time.Date(2026, 3, 4, 9, 30, 0, 0, time.UTC)}
	if covers := catalog()[a.operation]; covers != (policy.Covers{}) && !a.no {
		q.Request = &policy.Request{Method: a.method, Path: pattern.NewTarget(a.path), Query: a.query, Body: a.body}
	}
	return q
}
