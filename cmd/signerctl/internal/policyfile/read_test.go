package policyfile_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/signerd/signerd/cmd/signerctl/internal/policyfile"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// everything has each key that there is.
const everything = `# a comment
generation: 7
rules:
  - name: checkout-buys
    description: what it is for
    effect: allow
    mode: shadow
    callers: [spiffe://example.org/checkout, unix:uid=1000]
    keys: [noah-checkout]
    operations: [SignNoahRequest]
    environments: [sandbox, prod]
    labels: {team: checkout, version: 1.0}
    methods: [POST]
    paths: [/v1/checkout/buy, /v1/customers/*/cards, /v1/x/**]
    query:
      - {name: PageSize, values: [10, "20"], optional: true}
      - name: Sort
        values: ["*"]
    when: |
      body.FiatCurrency == "USD" &&
        decimal(body.FiatAmount) <= decimal("500")
    limits: {per_second: 0.5, burst: 10, per_hour: 1000, per_day: 5000}
  - {name: nothing-asked, effect: deny, mode: enforce, callers: ["*"], keys: ["*"], operations: ["*"], query: []}
cases:
  - name: a buy of 100 USD
    caller: spiffe://example.org/checkout
    key: noah-checkout
    scheme: noah
    environment: sandbox
    labels: {team: checkout}
    operation: SignNoahRequest
    method: POST
    path: /v1/checkout/buy
    query: {PageSize: 20, From: 2026-01-31, Text: "20", Yes: true, Ids: [1, a, 0.5]}
    body: '{"FiatAmount":"100"}'
    expect: allow
    rule: checkout-buys
  - name: a body that stays at home
    body_sha256: 0000000000000000000000000000000000000000000000000000000000000001
    expect: deny
  - {name: a body that is no text, body: !!binary "/w==", query: {}, expect: deny}
  - {name: an empty body, body: "", expect: deny}
`

func parse(t *testing.T, text string) *policyfile.Document {
	t.Helper()
	d, err := policyfile.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestParseReadsEverything(t *testing.T) {
	params, err := structpb.NewStruct(map[string]any{
		"PageSize": 20, "From": "2026-01-31", "Text": "20", "Yes": true, "Ids": []any{1, "a", 0.5}})
	if err != nil {
		t.Fatal(err)
	}
	hash, err := hex.DecodeString(strings.Repeat("0", 63) + "1")
	if err != nil {
		t.Fatal(err)
	}
	const allow, deny = adminv1.PolicyEffect_POLICY_EFFECT_ALLOW, adminv1.PolicyEffect_POLICY_EFFECT_DENY
	want := &adminv1.Policy{
		Rules: []*adminv1.PolicyRule{{
			Name: "checkout-buys", Description: "what it is for", Effect: allow, Mode: adminv1.PolicyMode_POLICY_MODE_SHADOW,
			Callers:      []string{"spiffe://example.org/checkout", "unix:uid=1000"},
			Keys:         []string{"noah-checkout"},
			Operations:   []string{"SignNoahRequest"},
			Environments: []adminv1.Environment{adminv1.Environment_ENVIRONMENT_SANDBOX, adminv1.Environment_ENVIRONMENT_PROD},
			Labels:       map[string]string{"team": "checkout", "version": "1.0"},
			Methods:      []string{"POST"},
			Paths:        []string{"/v1/checkout/buy", "/v1/customers/*/cards", "/v1/x/**"},
			Query: &adminv1.PolicyQuery{Parameters: []*adminv1.PolicyQueryParameter{
				{Name: "PageSize", Values: []string{"10", "20"}, Optional: true}, {Name: "Sort", Values: []string{"*"}}}},
			When:   "body.FiatCurrency == \"USD\" &&\n  decimal(body.FiatAmount) <= decimal(\"500\")\n",
			Limits: &adminv1.PolicyLimits{PerSecond: 0.5, Burst: 10, PerHour: 1000, PerDay: 5000},
		}, {
			Name: "nothing-asked", Effect: deny, Mode: adminv1.PolicyMode_POLICY_MODE_ENFORCE,
			Callers: []string{"*"}, Keys: []string{"*"}, Operations: []string{"*"}, Query: &adminv1.PolicyQuery{},
		}},
		Cases: []*adminv1.PolicyCase{
			{Name: "a buy of 100 USD", Expect: allow, Rule: "checkout-buys", Request: &adminv1.PolicyRequest{
				Caller: "spiffe://example.org/checkout", Key: "noah-checkout", Scheme: "noah",
				Environment: adminv1.Environment_ENVIRONMENT_SANDBOX, Labels: map[string]string{"team": "checkout"},
				Operation: "SignNoahRequest", Method: "POST", Path: "/v1/checkout/buy", QueryParams: params,
				Content: &adminv1.PolicyRequest_Body{Body: []byte(`{"FiatAmount":"100"}`)}}},
			{Name: "a body that stays at home", Expect: deny, Request: &adminv1.PolicyRequest{
				Content: &adminv1.PolicyRequest_BodySha256{BodySha256: hash}}},
			{Name: "a body that is no text", Expect: deny, Request: &adminv1.PolicyRequest{
				QueryParams: &structpb.Struct{}, Content: &adminv1.PolicyRequest_Body{Body: []byte("\xff")}}},
			{Name: "an empty body", Expect: deny, Request: &adminv1.PolicyRequest{Content: &adminv1.PolicyRequest_Body{}}},
		},
	}
	d := parse(t, everything)
	if diff := cmp.Diff(want, d.Policy, protocmp.Transform()); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	if d.Generation == nil || *d.Generation != 7 {
		t.Errorf("generation is %v", d.Generation)
	}
}

func TestAGenerationNeedNotBeThere(t *testing.T) {
	if d := parse(t, "rules: []\n"); d.Generation != nil || len(d.Policy.GetRules()) != 0 {
		t.Errorf("got %v", d)
	}
	if d := parse(t, "rules: []\ngeneration: 0"); d.Generation == nil || *d.Generation != 0 {
		t.Errorf("got %v", d)
	}
}

func TestAliasesStandForWhatTheyName(t *testing.T) {
	d := parse(t, "rules:\n  - {name: a, callers: &c [unix:uid=1, &u unix:uid=2]}\n  - {name: b, callers: *c, keys: [*u]}\n")
	b := d.Policy.GetRules()[1]
	if diff := cmp.Diff([]string{"unix:uid=1", "unix:uid=2"}, b.GetCallers()); diff != "" || b.GetKeys()[0] != "unix:uid=2" {
		t.Errorf("got %v", b)
	}
}

func TestFaultsNameTheirLine(t *testing.T) {
	const rule = "rules:\n  - name: a\n    " // line 3 is the test's
	const cases = "rules: []\ncases:\n  - name: c\n    "
	const mark = "rules[0] (a) "
	for _, tt := range []struct {
		name, text, want string
	}{
		{"nothing", "", "1 the document is empty; `rules: []` is the policy that allows nobody"},
		{"only comments", "# one\n# two\n", "1 the document is empty; `rules: []` is the policy that allows nobody"},
		{"a marker alone", "---\n", "2 a value is missing here"},
		{"no rules", "generation: 7\ncases: []\n", "1 rules: the key is required; `rules: []` allows nobody"},
		{"a list", "- a\n", "1 wanted keys with values"},
		{"text", "hello\n", "1 wanted keys with values"},
		{"two documents", "rules: []\n---\nrules: []\n", "2 there is more than one YAML document"},
		{"a broken second document", "rules: []\n---\na: [\n", "3 did not find expected node content"},
		{"broken YAML", "rules:\n  - [\n", "2 did not find expected node content"},
		{"a tab", "rules:\n\t- name: a\n", "2 found character that cannot start any token"},
		{"not UTF-8", "rules:\n  - name: \"\xff\"\n", "2 it is not UTF-8"},
		{"a control character", "rules:\n  - name: \"a\x1bb\"\n", `2 there is a control character, U+001B; in "double quotes" it can be written as an escape`},
		{"an alias without an anchor", "rules: *x\n", "0 unknown anchor 'x' referenced"},
		{"an unknown key", "rules: []\nrule: []\n", "2 rule: the key is unknown"},
		{"an unknown key of a rule", rule + "caller: x\n", "3 " + mark + "caller: the key is unknown"},
		{"an unknown key of a case", cases + "methods: [GET]\n", "4 cases[0] (c) methods: the key is unknown"},
		{"an unknown key of a parameter", rule + "query:\n      - {name: x,\n         value: y}\n", "5 " + mark + "query[0].value: the key is unknown"},
		{"a merge key", rule + "<<: {effect: allow}\n", "3 " + mark + "<<: the key is unknown"},
		{"a doubled key", rule + "effect: deny\n    effect: allow\n", "4 " + mark + "effect: the key is doubled; it stands on line 3 already"},
		{"a doubled key at the top", "rules: []\ncases: []\nrules: []\n", "3 rules: the key is doubled; it stands on line 1 already"},
		{"a doubled label", rule + "labels:\n      a: x\n      \"a\": y\n", "5 " + mark + "labels.a: the key is doubled; it stands on line 4 already"},
		{"a doubled parameter", cases + "query: {a: 1, a: 2}\n", "4 cases[0] (c) query.a: the key is doubled; it stands on line 4 already"},
		{"a forgotten value", rule + "when:\n    effect: deny\n", "3 " + mark + "when: a value is missing here"},
		{"forgotten rules", "rules:\n", "1 rules: a value is missing here"},
		{"a forgotten generation", "generation:\nrules: []\n", "1 generation: a value is missing here"},
		{"a forgotten item", rule + "callers:\n      -\n", "4 " + mark + "callers[0]: a value is missing here"},
		{"a null in a list", rule + "keys: [a, ~]\n", "3 " + mark + "keys[1]: a value is missing here"},
		{"a null as a label", rule + "labels: {a: null}\n", "3 " + mark + "labels.a: a value is missing here"},
		{"a null as a key", rule + "labels: {~: a}\n", "3 " + mark + "labels: a value is missing here"},
		{"a null as a parameter", cases + "query: {a: }\n", "4 cases[0] (c) query.a: a value is missing here"},
		{"a null rule", "rules:\n  - name: a\n  -\n", "3 rules[1]: a value is missing here"},
		{"text for a list", rule + "callers: unix:uid=1\n", "3 " + mark + "callers: wanted a list"},
		{"a list for text", rule + "description: [x]\n", "3 " + mark + "description: wanted text"},
		{"a mapping for text", rule + "paths:\n      - {}\n", "4 " + mark + "paths[0]: wanted text"},
		{"a list for a rule", "rules:\n  - []\n", "2 rules[0]: wanted keys with values"},
		{"a list as a key", rule + "[a]: b\n", "3 rules[0] (a): wanted a word as the key"},
		{"another effect", rule + "effect: Allow\n", "3 " + mark + "effect: wanted allow or deny"},
		{"another mode", rule + "mode: dry-run\n", "3 " + mark + "mode: wanted enforce or shadow"},
		{"another environment", rule + "environments: [sandbox,\n      production]\n", "4 " + mark + "environments[1]: wanted sandbox or prod"},
		{"another expectation", cases + "expect: [allow]\n", "4 cases[0] (c) expect: wanted allow or deny"},
		{"no truth", rule + "query: [{name: a, values: [b], optional: yes}]\n", "3 " + mark + "query[0].optional: wanted true or false"},
		{"an empty list of callers", rule + "callers: []\n", "3 " + mark + "callers: the list is empty; name something, or leave the key out"},
		{"an empty list that would match every method", rule + "methods: []\n", "3 " + mark + "methods: the list is empty; name something, or leave the key out"},
		{"an empty list that would match every environment", rule + "environments: []\n", "3 " + mark + "environments: the list is empty; name something, or leave the key out"},
		{"labels that would match every key", rule + "labels: {}\n", "3 " + mark + "labels: there is no label; name some, or leave the key out"},
		{"a condition that would always hold", rule + "when: ''\n", "3 " + mark + "when: it is empty; leave the key out for no condition"},
		{"a limit that would not limit", rule + "limits: {per_hour: 0}\n", "3 " + mark + "limits.per_hour: wanted a whole number from 1 to 2^64-1"},
		{"a rate that would not limit", rule + "limits: {per_second: 0.0}\n", "3 " + mark + "limits.per_second: wanted a number above 0, such as 5 or 0.5"},
		{"a negative rate", rule + "limits: {per_second: -1}\n", "3 " + mark + "limits.per_second: wanted a number above 0, such as 5 or 0.5"},
		{"a rate without bound", rule + "limits: {per_second: .inf}\n", "3 " + mark + "limits.per_second: wanted a number above 0, such as 5 or 0.5"},
		{"a rate beyond every number", rule + "limits: {per_second: 1e999}\n", "3 " + mark + "limits.per_second: wanted a number above 0, such as 5 or 0.5"},
		{"a rate as text", rule + "limits: {per_second: '5'}\n", "3 " + mark + "limits.per_second: wanted a number above 0, such as 5 or 0.5"},
		{"a burst of half a request", rule + "limits: {burst: 0.5}\n", "3 " + mark + "limits.burst: wanted a whole number from 1 to 2^32-1"},
		{"a burst beyond 32 bits", rule + "limits: {burst: 4294967296}\n", "3 " + mark + "limits.burst: wanted a whole number from 1 to 2^32-1"},
		{"a hexadecimal limit", rule + "limits: {per_day: 0x10}\n", "3 " + mark + "limits.per_day: wanted a whole number from 1 to 2^64-1"},
		{"a negative generation", "generation: -1\nrules: []\n", "1 generation: wanted a whole number from 0 to 2^64-1"},
		{"a generation as text", "generation: '7'\nrules: []\n", "1 generation: wanted a whole number from 0 to 2^64-1"},
		{"a tag", rule + "name2: x\n    description: !secret x\n", "3 " + mark + "name2: the key is unknown\n4 " + mark + "description: the tag !secret means nothing here"},
		{"a tagged rule", "rules:\n  - !rule {}\n", "2 rules[0]: the tag !rule means nothing here"},
		{"a tagged list", rule + "keys: !!set [a]\n", "3 " + mark + "keys: the tag !!set means nothing here"},
		{"a number tagged as text in a limit", rule + "limits: {burst: !!str 5}\n", "3 " + mark + "limits.burst: wanted a whole number from 1 to 2^32-1"},
		{"binary where text belongs", cases + "path: !!binary aGk=\n", "4 cases[0] (c) path: the tag !!binary means nothing here"},
		{"bad base64", cases + "body: !!binary '*'\n", "4 cases[0] (c) body: wanted base64 after !!binary"},
		{"two bodies", cases + "body: x\n    body_sha256: " + strings.Repeat("0", 64) + "\n", "5 cases[0] (c) body_sha256: wanted body or body_sha256, not both"},
		{"a short hash", cases + "body_sha256: abcd\n", "4 cases[0] (c) body_sha256: wanted a SHA-256 as 64 hexadecimal digits"},
		{"a hash of other characters", cases + "body_sha256: " + strings.Repeat("x", 64) + "\n", "4 cases[0] (c) body_sha256: wanted a SHA-256 as 64 hexadecimal digits"},
		{"an object in the query", cases + "query: {a: {b: c}}\n", "4 cases[0] (c) query.a: wanted text, a number, true, false, or a list of these"},
		{"a list in a list of the query", cases + "query: {a: [[1]]}\n", "4 cases[0] (c) query.a[0]: wanted text, a number, true, false, or a list of these"},
		{"an empty list in the query", cases + "query: {a: []}\n", "4 cases[0] (c) query.a: the list is empty, which no query can carry"},
		{"a list for the query", cases + "query: [a]\n", "4 cases[0] (c) query: wanted keys with values"},
		{"not a number", cases + "query: {a: .nan}\n", "4 cases[0] (c) query.a: wanted a number as JSON writes it; in quotes it is text"},
		{"an octal number", cases + "query: {a: 0o17}\n", "4 cases[0] (c) query.a: wanted a number as JSON writes it; in quotes it is text"},
		{"digits that YAML reads as octal", cases + "query: {a: 017}\n", "4 cases[0] (c) query.a: wanted a number as JSON writes it; in quotes it is text"},
		{"a rounded number", cases + "query: {a: [9007199254740993]}\n", "4 cases[0] (c) query.a[0]: the number is beyond 2^53-1 and would be rounded; in quotes it is text"},
		{"a huge number", cases + "query: {a: 1e999}\n", "4 cases[0] (c) query.a: the number is beyond 2^53-1 and would be rounded; in quotes it is text"},
		{"an alias of a fault", "rules:\n  - name: a\n    keys: &k [x]\n    effect: &e deny\n  - name: b\n    mode: *e\n    labels: *k\n",
			"6 rules[1] (b) mode: wanted enforce or shadow\n7 rules[1] (b) labels: wanted keys with values"},
		{"an anchor within itself", rule + "keys: &k [*k]\n", "3 " + mark + "keys[0]: wanted text"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := policyfile.Parse([]byte(tt.text))
			var faults policyfile.Faults
			if !errors.As(err, &faults) || d != nil {
				t.Fatalf("got %v, %v", d, err)
			}
			var got []string
			for _, f := range faults {
				got = append(got, fmt.Sprintf("%d %v", f.Line, f))
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestManyFaultsAreCounted(t *testing.T) {
	_, err := policyfile.Parse([]byte("rules: []\n" + strings.Repeat("? [a]\n: b\n", 100)))
	var faults policyfile.Faults
	if !errors.As(err, &faults) || len(faults) != 21 || faults[20] != (policyfile.Fault{Line: 42, Problem: "80 more from here on"}) {
		t.Errorf("got %v", err)
	}
}

func TestLongNamesAreCut(t *testing.T) {
	_, err := policyfile.Parse([]byte("rules:\n  - {name: " + strings.Repeat("é", 1000) + ", x: y}\n"))
	if err == nil || err.Error() != "line 2: rules[0] ("+strings.Repeat("é", 63)+"…) x: the key is unknown" {
		t.Errorf("got %v", err)
	}
}

// A small file must not become a request that fills the memory.
func TestAliasesCannotMultiplyWithoutEnd(t *testing.T) {
	text := "rules:\n  - description: &a " + strings.Repeat("x", 1<<20) + "\n    keys: [" + strings.Repeat("*a, ", 1<<18) + "]\n"
	_, err := policyfile.Parse([]byte(text))
	if err == nil || !strings.HasSuffix(err.Error(), "keys[14]: with its aliases written out the document is too large") {
		t.Errorf("got %.300v", err)
	}
}

func TestFaultsOfSignerdFindTheirLine(t *testing.T) {
	d := parse(t, everything)
	bare := parse(t, "rules:\n  - &r {effect: allow}\n  - name: folded\n    when: >\n      a\n      b\n  - *r\ncases:\n  - {name: x}\n")
	for _, tt := range []struct {
		document           *policyfile.Document
		field, description string
		want               string
	}{
		{d, "policy.rules[0].paths[1]", "bad", "14 rules[0] (checkout-buys) paths[1]: bad"},
		{d, "policy.rules[0].name", "bad", "4 rules[0] (checkout-buys) name: bad"},
		{d, "policy.rules[0]", "bad", "4 rules[0] (checkout-buys): bad"},
		{d, "policy.rules", "bad", "4 rules: bad"},
		{d, "policy", "bad", "2 bad"},
		{d, "policy.rules[0].query.parameters[1].values[0]", "bad", "18 rules[0] (checkout-buys) query[1].values[0]: bad"},
		{d, "policy.rules[0].query[1]", "bad", "17 rules[0] (checkout-buys) query[1]: bad"},
		{d, "policy.rules[0].limits.per_hour", "bad", "22 rules[0] (checkout-buys) limits.per_hour: bad"},
		{d, `policy.rules[0].labels["team"]`, "bad", "12 rules[0] (checkout-buys) labels.team: bad"},
		{d, "policy.rules[1].effect", "bad", "23 rules[1] (nothing-asked) effect: bad"},
		{d, "policy.rules[1].when", "line 1, column 9: bad", "23 rules[1] (nothing-asked) when: line 1, column 9: bad"},
		{d, "policy.rules[0].when", "line 2, column 3: bad", "21 rules[0] (checkout-buys) when: line 2, column 3: bad"},
		{d, "policy.rules[0].when", "bad", "19 rules[0] (checkout-buys) when: bad"},
		{d, "policy.rules[0].when", "line 200, column 3: bad", "19 rules[0] (checkout-buys) when: line 200, column 3: bad"},
		{d, "policy.cases[0].request.path", "bad", "33 cases[0] (a buy of 100 USD) path: bad"},
		{d, "policy.cases[0].request.query_params", "bad", "34 cases[0] (a buy of 100 USD) query: bad"},
		{d, "policy.cases[0].request", "bad", "25 cases[0] (a buy of 100 USD): bad"},
		{d, "policy.cases[0].expect", "bad", "36 cases[0] (a buy of 100 USD) expect: bad"},
		{d, "policy.cases[1].request.caller", "bad", "38 cases[1] (a body that stays at home) caller: bad"},
		{d, "policy.rules[99].paths[1]", "bad", "4 rules[99] paths[1]: bad"},
		{d, "policy.rules[18446744073709551616]", "bad", "4 rules.18446744073709551616: bad"},
		{d, "generation", "bad", "2 generation: bad"},
		{d, "", "bad", "2 bad"},
		{bare, "policy.rules[0].paths[1]", "bad", "2 rules[0] paths[1]: bad"},
		{bare, "policy.rules[1].when", "line 1, column 9: bad", "4 rules[1] (folded) when: line 1, column 9: bad"},
		{bare, "policy.rules[2].effect", "bad", "2 rules[2] effect: bad"},
		{bare, "policy.cases[0].rule", "bad", "9 cases[0] (x) rule: bad"},
	} {
		f := tt.document.Fault(tt.field, tt.description)
		if got := fmt.Sprintf("%d %v", f.Line, f); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.field, got, tt.want)
		}
	}
}
