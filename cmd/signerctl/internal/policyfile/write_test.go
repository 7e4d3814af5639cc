package policyfile_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/signerd/signerd/cmd/signerctl/internal/policyfile"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

func TestFormatReadsWell(t *testing.T) {
	text, err := policyfile.Format(parse(t, everything).Policy, 7, "set 2026-11-22T08:30:00Z by unix:uid=1000")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`generation: 7
# set 2026-11-22T08:30:00Z by unix:uid=1000
rules:
  - name: checkout-buys
    description: what it is for
    effect: allow
    mode: shadow
    callers:
      - spiffe://example.org/checkout
      - unix:uid=1000
    keys: [noah-checkout]
    operations: [SignNoahRequest]
    environments: [sandbox, prod]
    labels: {team: checkout, version: "1.0"}
    methods: [POST]
    paths: [/v1/checkout/buy, /v1/customers/*/cards, /v1/x/**]
    query:
      - {name: PageSize, values: ["10", "20"], optional: true}
      - {name: Sort, values: ['*']}
    when: |
      body.FiatCurrency == "USD" &&
        decimal(body.FiatAmount) <= decimal("500")
    limits: {per_second: 0.5, burst: 10, per_hour: 1000, per_day: 5000}

  - name: nothing-asked
    effect: deny
    mode: enforce
    callers: ['*']
    keys: ['*']
    operations: ['*']
    query: []
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
    query: {From: "2026-01-31", Ids: [1, a, 0.5], PageSize: 20, Text: "20", "Yes": true}
    body: '{"FiatAmount":"100"}'
    expect: allow
    rule: checkout-buys

  - name: a body that stays at home
    body_sha256: "0000000000000000000000000000000000000000000000000000000000000001"
    expect: deny

  - name: a body that is no text
    query: {}
    body: !!binary /w==
    expect: deny

  - name: an empty body
    body: ""
    expect: deny
`, string(text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFormatOfNoPolicy(t *testing.T) {
	text, err := policyfile.Format(&adminv1.Policy{}, 0, "no policy\nrules: [everything]\x1b")
	if err != nil || string(text) != "generation: 0\n# no policy?rules: [everything]?\nrules: []\n" {
		t.Errorf("got %q, %v", text, err)
	}
}

// Long lists stand below each other.
func TestFormatBreaksLongLists(t *testing.T) {
	callers := []string{"spiffe://example.org/" + strings.Repeat("a", 40), "spiffe://example.org/" + strings.Repeat("b", 40)}
	text, err := policyfile.Format(&adminv1.Policy{Rules: []*adminv1.PolicyRule{{Callers: callers}}}, 1)
	if want := "rules:\n  - callers:\n      - " + callers[0] + "\n      - " + callers[1] + "\n"; err != nil || !strings.HasSuffix(string(text), want) {
		t.Errorf("got %s, %v", text, err)
	}
}

func TestFormatRefusesWhatItWouldLose(t *testing.T) {
	rule := func(r *adminv1.PolicyRule) *adminv1.Policy { return &adminv1.Policy{Rules: []*adminv1.PolicyRule{r}} }
	query := func(v *structpb.Value) *adminv1.Policy {
		return &adminv1.Policy{Cases: []*adminv1.PolicyCase{{Request: &adminv1.PolicyRequest{
			QueryParams: &structpb.Struct{Fields: map[string]*structpb.Value{"a": v}}}}}}
	}
	newer := &adminv1.PolicyRule{Name: "a"}
	newer.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 1))
	for name, p := range map[string]*adminv1.Policy{
		"a field of a newer server":         rule(newer),
		"an effect of a newer server":       rule(&adminv1.PolicyRule{Effect: 7}),
		"an environment of a newer server":  rule(&adminv1.PolicyRule{Environments: []adminv1.Environment{7}}),
		"an environment that is not named":  rule(&adminv1.PolicyRule{Environments: []adminv1.Environment{0}}),
		"a rate that is no number":          rule(&adminv1.PolicyRule{Limits: &adminv1.PolicyLimits{PerSecond: math.NaN()}}),
		"a negative rate":                   rule(&adminv1.PolicyRule{Limits: &adminv1.PolicyLimits{PerSecond: -1}}),
		"a name that is not UTF-8":          rule(&adminv1.PolicyRule{Name: "\xff"}),
		"a parameter that is null":          query(structpb.NewNullValue()),
		"a parameter without a value":       query(&structpb.Value{}),
		"a parameter that is an object":     query(structpb.NewStructValue(&structpb.Struct{})),
		"a parameter that is an empty list": query(structpb.NewListValue(&structpb.ListValue{})),
		"a parameter that would be rounded": query(structpb.NewNumberValue(1 << 53)),
		"a parameter that is infinite":      query(structpb.NewNumberValue(math.Inf(1))),
	} {
		if text, err := policyfile.Format(p, 1); !errors.Is(err, policyfile.ErrLossy) || text != nil {
			t.Errorf("%s: got %s, %v", name, text, err)
		}
	}
}

// A case without a request and one with an empty request are the same document.
func TestFormatLeavesThePolicyAsItIs(t *testing.T) {
	p := &adminv1.Policy{Cases: []*adminv1.PolicyCase{{Name: "a"}}}
	before := proto.Clone(p)
	if _, err := policyfile.Format(p, 1); err != nil || !proto.Equal(p, before) {
		t.Errorf("got %v, %v", p, err)
	}
}

// drawText prefers what YAML reads as something else than text, or not as it stands.
func drawText() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{
			"", " ", "\n", "a\n", "\na", " a\nb", "a \nb", "a\n\nb\n\n", "a\n b\n", "\ta", "a\r\nb", "a\rb", "a: b", "a #b", "#a", "- a", "? a", "*", "*a", "&a", "!a", "!!str a",
			"%a", "@a", "`a", "|", ">", "{a}", "[a]", "a,b", "a]", "'", "\"", "'a'", "\"a\"", "\\", "it's \"a\" \\n", "~", "null", "Null", "true", "yes", "NO", "on", "1", "0x1f", "0o7", "017", "1_000",
			"1.0", ".5", "1e3", "1e999", "-0", ".inf", ".NaN", "2026-01-31", "2026-01-31T00:00:00Z", "<<", "=", "---", "...", "--- a", "a\n---\nb", "a\n...\nb",
			"\x00", "\x1b[31m", "\x7f", "\u0085", "\u00a0", "\u2028", "\u2029", "\ufeff", "\ufeffa", "\ufffd", "\ufffe", "\U0001f600", "\U0010ffff", "é\n😀\n", strings.Repeat("long text ", 30),
		}),
		rapid.StringOf(rapid.SampledFrom([]rune("a:#-?'\"\\,[]{}&*!|>%@` \n\t01"))),
		rapid.String(),
	)
}

func drawList(t *rapid.T, name string) []string {
	return rapid.SliceOfN(drawText(), 0, 3).Draw(t, name)
}

func drawLabels(t *rapid.T) map[string]string {
	return rapid.MapOfN(drawText(), drawText(), 0, 3).Draw(t, "labels")
}

func drawEnvironment() *rapid.Generator[adminv1.Environment] {
	return rapid.SampledFrom([]adminv1.Environment{1, 2})
}

func drawScalar() *rapid.Generator[any] {
	return rapid.OneOf(rapid.Map(drawText(), func(s string) any { return s }), rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Map(rapid.OneOf(rapid.Float64Range(-1e6, 1e6), rapid.SampledFrom([]float64{0, 1, -1, 20, 1e-7, 5e-324, 1<<53 - 1, -1<<53 + 1})), func(f float64) any { return f + 0 }))
}

func drawRule(t *rapid.T) *adminv1.PolicyRule {
	r := &adminv1.PolicyRule{
		Name: drawText().Draw(t, "name"), Description: drawText().Draw(t, "description"),
		Effect:  adminv1.PolicyEffect(rapid.IntRange(0, 2).Draw(t, "effect")),
		Mode:    adminv1.PolicyMode(rapid.IntRange(0, 2).Draw(t, "mode")),
		Callers: drawList(t, "callers"), Keys: drawList(t, "keys"), Operations: drawList(t, "operations"),
		Environments: rapid.SliceOfN(drawEnvironment(), 0, 3).Draw(t, "environments"),
		Labels:       drawLabels(t), Methods: drawList(t, "methods"), Paths: drawList(t, "paths"), When: drawText().Draw(t, "when"),
	}
	if rapid.Bool().Draw(t, "has query") {
		r.Query = &adminv1.PolicyQuery{}
		for range rapid.IntRange(0, 3).Draw(t, "parameters") {
			r.Query.Parameters = append(r.Query.Parameters, &adminv1.PolicyQueryParameter{
				Name: drawText().Draw(t, "parameter"), Values: drawList(t, "values"), Optional: rapid.Bool().Draw(t, "optional")})
		}
	}
	if rapid.Bool().Draw(t, "has limits") {
		r.Limits = &adminv1.PolicyLimits{
			PerSecond: rapid.OneOf(rapid.Just(0.0), rapid.Float64Range(1e-9, 1e9)).Draw(t, "per second"), Burst: rapid.Uint32().Draw(t, "burst"),
			PerHour: rapid.Uint64().Draw(t, "per hour"), PerDay: rapid.Uint64().Draw(t, "per day")}
	}
	return r
}

func drawCase(t *rapid.T) *adminv1.PolicyCase {
	r := &adminv1.PolicyRequest{
		Caller: drawText().Draw(t, "caller"), Operation: drawText().Draw(t, "operation"), Key: drawText().Draw(t, "key"),
		Scheme: drawText().Draw(t, "scheme"), Environment: adminv1.Environment(rapid.IntRange(0, 2).Draw(t, "environment")),
		Labels: drawLabels(t), Method: drawText().Draw(t, "method"), Path: drawText().Draw(t, "path"),
	}
	if rapid.Bool().Draw(t, "has parameters") {
		fields := make(map[string]any)
		for range rapid.IntRange(0, 3).Draw(t, "parameters") {
			name := drawText().Draw(t, "parameter")
			if fields[name] = drawScalar().Draw(t, "value"); rapid.Bool().Draw(t, "list") {
				fields[name] = rapid.SliceOfN(drawScalar(), 1, 3).Draw(t, "values")
			}
		}
		params, err := structpb.NewStruct(fields)
		if err != nil {
			t.Fatal(err)
		}
		r.QueryParams = params
	}
	switch rapid.IntRange(0, 3).Draw(t, "content") {
	case 1:
		r.Content = &adminv1.PolicyRequest_Body{Body: rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")}
	case 2:
		r.Content = &adminv1.PolicyRequest_Body{Body: []byte(drawText().Draw(t, "text"))}
	case 3:
		r.Content = &adminv1.PolicyRequest_BodySha256{BodySha256: rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash")}
	}
	return &adminv1.PolicyCase{Name: drawText().Draw(t, "name"), Request: r,
		Expect: adminv1.PolicyEffect(rapid.IntRange(0, 2).Draw(t, "expect")), Rule: drawText().Draw(t, "rule")}
}

func TestWhatIsWrittenReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &adminv1.Policy{}
		for range rapid.IntRange(0, 3).Draw(t, "rules") {
			want.Rules = append(want.Rules, drawRule(t))
		}
		for range rapid.IntRange(0, 3).Draw(t, "cases") {
			want.Cases = append(want.Cases, drawCase(t))
		}
		generation := rapid.Uint64().Draw(t, "generation")
		text, err := policyfile.Format(want, generation, drawText().Draw(t, "comment"))
		if err != nil {
			t.Fatal(err)
		}
		d, err := policyfile.Parse(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(want, d.Policy, protocmp.Transform()); diff != "" || *d.Generation != generation {
			t.Fatalf("(-want +got):\n%s\n%s", diff, text)
		}
	})
}
