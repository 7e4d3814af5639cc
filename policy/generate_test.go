package policy_test

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/condition"
	"github.com/signerd/signerd/policy/limit"
	"github.com/signerd/signerd/policy/pattern"
)

// Documents and questions are drawn from few values, so that they have much to do with each other.

var (
	ruleCallers  = []string{alice, bob, apiA, apiB, host, "*", "spiffe://example.org/ns/*/api", "spiffe://example.org/**", "spiffe://example.org/ns/a/**"}
	askedCallers = []string{alice, bob, apiA, apiB, host, mallory, "spiffe://example.com/ns/a/api"}
	ruleKeys     = []string{"orders", "payments", "refunds", "*"}
	askedKeys    = []string{"orders", "payments", "refunds", "absent", ""}
	plainPaths   = []string{"/v1/pay", "/v1/*", "/v1/**", "/*/pay", "/**", "**", "/v1/customers/*/cards"}
	oddPaths     = []string{"/V1/Pay", "/v1/pay/", "/v1/customers/7/cards/"}
	targets      = []string{"/v1/pay", "/v1/buy", "/v1/customers/7/cards", "/v1", "/", "/v2/pay"}
	oddTargets   = []string{"/V1/PAY", "/v1/pay/", "/v1/./pay", "/v1//pay", "/v1/%70ay", "/v1/p%2fay", "/v1/pay;a"}
	bodies       = []string{
		`{"amount": "50", "currency": "EUR"}`, `{"amount": "500", "currency": "EUR", "note": null}`, `{"amount": 5}`, `[]`, ``,
		`{"amount": "50", "amount": "500"}`, `{"amount": "50"`, `{"amount": "fifty", "currency": 7}`,
	}
)

// What conditions may read, by what a signature has to cover.
var (
	plainConditions = []string{`caller.startsWith("unix:")`, `now.getHours() < 12`}
	keyConditions   = []string{`key.environment == "prod"`, `key.labels.team == "payments"`, `"tier" in key.labels`, `key.scheme == "noah"`}
	callConditions  = []string{`request.method == "POST"`, `request.method != "GET" && caller != ""`}
	pathConditions  = []string{`request.path.startsWith("/v1/")`, `request.path != "/v1/pay"`}
	queryConditions = []string{`request.query.size() == 0`, `request.query.dry[0] == "true"`}
	bodyConditions  = []string{
		`decimal(body.amount) <= decimal("100")`, `body.currency == "EUR"`, `has(body.note)`, `body == null`, `body != null`, `!has(body.amount) || caller == ""`,
	}
)

// shape says which documents are drawn.
type shape struct {
	noKeyFacts       bool // no rule reads environment, labels or scheme
	noPathConditions bool
	plainPaths       bool // no pattern has capital letters or a slash at the end
}

func some[T any](t *rapid.T, label string, least, most int, from []T) []T {
	return rapid.SliceOfN(rapid.SampledFrom(from), least, most).Draw(t, label)
}

// maybe is true in one of n cases.
func maybe(t *rapid.T, label string, n int) bool { return rapid.IntRange(1, n).Draw(t, label) == n }

func drawRule(t *rapid.T, name string, s shape) policy.Rule {
	r := policy.Rule{
		Name: name, Effect: policy.Allow, Shadow: maybe(t, "shadow", 5),
		Callers: some(t, "callers", 1, 3, ruleCallers), Keys: some(t, "keys", 1, 2, ruleKeys),
	}
	if maybe(t, "deny", 3) {
		r.Effect = policy.Deny
	}
	covers := policy.Covers{}
	switch rapid.IntRange(0, 9).Draw(t, "operations") {
	default:
		r.Operations, covers = operations(sign), catalog()[sign]
	case 0:
		r.Operations, covers = operations(compute), catalog()[compute]
	case 1:
		r.Operations, covers = operations(compute, sign), catalog()[compute]
	case 2:
		r.Operations = operations(policy.Any)
	case 3:
		r.Operations = some(t, "operations", 1, 3, operations(read, status, list, sign))
	}
	conditions := slices.Clone(plainConditions)
	if !s.noKeyFacts {
		conditions = append(conditions, keyConditions...)
		if maybe(t, "by environment", 4) {
			r.Environments = some(t, "environments", 1, 2, texts("prod", "sandbox"))
		}
		if maybe(t, "by label", 4) {
			r.Labels = rapid.SampledFrom([]map[string]string{{"team": "payments"}, {"tier": "1"}, {"team": "payments", "tier": "1"}}).Draw(t, "labels")
		}
	}
	if covers.Method {
		conditions = append(conditions, callConditions...)
		if maybe(t, "by method", 4) {
			r.Methods = some(t, "methods", 1, 2, texts("POST", "GET"))
		}
	}
	if covers.Path {
		if !s.noPathConditions {
			conditions = append(conditions, pathConditions...)
		}
		if maybe(t, "by path", 2) {
			patterns := plainPaths
			if !s.plainPaths {
				patterns = slices.Concat(plainPaths, oddPaths)
			}
			r.Paths = some(t, "paths", 1, 3, patterns)
		}
	}
	if covers.Query {
		conditions = append(conditions, queryConditions...)
		if maybe(t, "by query", 4) {
			r.Query = drawQuery(t, r.Effect)
		}
	}
	if covers.Body {
		conditions = append(conditions, bodyConditions...)
		conditions = append(conditions, bodyConditions...)
	}
	if maybe(t, "with a condition", 3) {
		r.When = rapid.SampledFrom(conditions).Draw(t, "when")
	}
	if r.Effect == policy.Allow && maybe(t, "limited", 4) {
		r.Limits = limit.Rates{PerHour: rapid.Int64Range(1, 9).Draw(t, "per hour")}
	}
	return r
}

func drawQuery(t *rapid.T, e policy.Effect) *policy.Query {
	q := &policy.Query{}
	for _, name := range rapid.SampledFrom([][]string{{"dry"}, {"page"}, {"dry", "page"}}).Draw(t, "parameters") {
		q.Parameters = append(q.Parameters, policy.Parameter{
			Name: name, Values: some(t, "values", 1, 2, texts("true", "1", "*")), Optional: e == policy.Allow && maybe(t, "optional", 2),
		})
	}
	return q
}

func drawDocument(t *rapid.T, s shape) []policy.Rule {
	names := rapid.Permutation(many(rapid.IntRange(0, 8).Draw(t, "rules"), "r%d")).Draw(t, "names")
	rules := make([]policy.Rule, len(names))
	for i, name := range names {
		rules[i] = drawRule(t, name, s)
	}
	return rules
}

// described is a question that can be asked again, with another body.
type described struct {
	policy.Question
	Path string
	Text string // the body
}

// again is the question with a body that no decision has parsed.
func (d described) again() policy.Question {
	q := d.Question
	if q.Request != nil {
		r := *q.Request
		r.Path, r.Body = pattern.NewTarget(d.Path), condition.NewBody([]byte(d.Text))
		q.Request = &r
	}
	return q
}

func drawKey(t *rapid.T) policy.Key {
	key := policy.Key{Name: rapid.SampledFrom(askedKeys).Draw(t, "key")}
	if key.Name == "" || maybe(t, "absent", 4) {
		return key
	}
	return drawFacts(t, key)
}

func drawFacts(t *rapid.T, key policy.Key) policy.Key {
	key.Known = true
	key.Scheme = rapid.SampledFrom(texts("noah", "noba")).Draw(t, "scheme")
	key.Environment = rapid.SampledFrom(texts("prod", "sandbox")).Draw(t, "environment")
	key.Labels = rapid.SampledFrom([]map[string]string{nil, {"team": "payments"}, {"team": "orders", "tier": "1"}, {"team": "payments", "tier": "1"}}).Draw(t, "labels")
	return key
}

func drawQuestion(t *rapid.T) described {
	d := described{
		Path: rapid.SampledFrom(slices.Concat(targets, targets, oddTargets)).Draw(t, "path"),
		Text: rapid.SampledFrom(bodies).Draw(t, "body"),
	}
	d.Caller, _ = policy.ParseCaller(rapid.SampledFrom(askedCallers).Draw(t, "caller"))
	d.Operation = rapid.SampledFrom(operations(sign, sign, sign, sign, compute, compute, read, status, "Nothing")).Draw(t, "operation")
	d.Key = drawKey(t)
	d.Now = time.Date(2026, 3, 4, rapid.IntRange(8, 16).Draw(t, "hour"), 0, 0, 0, time.UTC)
	covers := catalog()[d.Operation]
	if covers == (policy.Covers{}) || maybe(t, "without a request", 20) {
		return d
	}
	d.Request = &policy.Request{Method: rapid.SampledFrom(texts("POST", "GET", "PUT")).Draw(t, "method")}
	if covers.Query {
		d.Request.Query = rapid.SampledFrom([]map[string][]string{
			nil, nil, {"dry": {"true"}}, {"page": {"1"}}, {"dry": {"true"}, "page": {"1", "2"}}, {"dry": {"false", "true"}}, {"other": {"1"}}, {"dry": nil},
		}).Draw(t, "query")
	}
	return d
}

// compiled compiles what must be well-formed.
func compiled(t *rapid.T, rules []policy.Rule) *policy.Policy {
	p, err := policy.Compile(policy.Document{Rules: rules}, catalog())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// outcome is a decision that can be compared.
func outcome(d policy.Decision) string {
	return fmt.Sprintf("allowed: %v, rule: %q, charges: %v, shadows: %v, unevaluated: %v", d.Permit != nil, d.Rule, d.Charges, d.Shadows, d.Unevaluated)
}
