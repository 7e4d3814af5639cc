package policy_test

import (
	"fmt"
	"testing"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/condition"
	"github.com/signerd/signerd/policy/limit"
)

// payment is a body of some 300 bytes.
const payment = `{"reference":"INV-2026-004711","amount":"499.95","currency":"EUR","fee":1.25,"creditor":{"name":"Example GmbH",` +
	`"iban":"DE02120300000000202051","bic":"BYLADEM1001"},"debtor":{"name":"Orders Ltd","iban":"GB33BUKB20201555555555"},` +
	`"purpose":"Order 4711, thank you","items":[{"sku":"A-1","count":2},{"sku":"B-2","count":1}]}`

const amount = `decimal(body.amount) <= decimal("500") && body.currency in ["EUR", "USD"]`

func workload(n int) string { return fmt.Sprintf("spiffe://example.org/ns/n%d/api", n) }

// typical is 1,000 rules for 200 callers: each may sign some requests with its keys, under limits, and nobody may some.
func typical(when string) []policy.Rule {
	var rules []policy.Rule
	add := func(r policy.Rule) {
		r.Name = fmt.Sprint("r", len(rules))
		rules = append(rules, r)
	}
	for n := range 200 {
		key := fmt.Sprint("key-", n)
		callers, keys := texts(workload(n)), texts(key)
		add(allow(policy.Rule{
			Callers: callers, Keys: keys, Environments: texts("prod"), Methods: texts("POST"), Paths: texts("/v1/payments", "/v1/payments/*/cancel"),
			When: when, Limits: limit.Rates{PerSecond: 10},
		}))
		add(allow(policy.Rule{Callers: callers, Keys: keys, Methods: texts("GET"), Paths: texts("/v1/**")}))
		add(allow(policy.Rule{Callers: callers, Keys: texts(key, key+"-next"), Operations: operations(read, compute)}))
		add(deny(policy.Rule{Callers: callers, Keys: keys, Paths: texts("/v1/admin/**", "/v1/customers/*/secrets")}))
	}
	for n := range 100 {
		add(allow(policy.Rule{Callers: texts(fmt.Sprintf("spiffe://example.org/ns/n%d/*", n)), Keys: texts("shared"), Labels: map[string]string{"team": "a"}}))
		add(deny(policy.Rule{Callers: texts("*"), Keys: texts(fmt.Sprint("retired-", n))}))
	}
	return rules
}

func paymentBy(b *testing.B, caller, key string) policy.Question {
	a := asked{caller: caller, path: "/v1/payments", key: policy.Key{Name: key, Known: true, Scheme: "noah", Environment: "prod", Labels: map[string]string{"team": "a"}}}
	return a.question(b)
}

var decided policy.Decision

func benchmarkDecide(b *testing.B, rules []policy.Rule, q policy.Question, allowed bool) {
	b.Helper()
	p, body, raw := compile(b, rules...), q.Request != nil, []byte(payment)
	b.ReportAllocs()
	for b.Loop() {
		if body {
			q.Request.Body = condition.NewBody(raw)
		}
		if decided = p.Decide(q); (decided.Permit != nil) != allowed {
			b.Fatalf("%+v", decided)
		}
	}
}

// Both include making the body, which is 2 allocations.
func BenchmarkDecide(b *testing.B) {
	for _, bench := range []struct {
		name, when  string
		caller, key string
		allowed     bool
	}{
		{"allowed", "", workload(77), "key-77", true},
		{"allowed by a pattern", "", workload(77), "shared", true},
		{"allowed with a condition", amount, workload(77), "key-77", true},
		{"denied by a rule", "", workload(77), "retired-50", false},
		{"denied, another's key", "", workload(77), "key-78", false},
		{"denied, an absent key", "", workload(77), "absent", false},
		{"denied, an unknown caller", "", mallory, "key-77", false},
	} {
		b.Run(bench.name, func(b *testing.B) {
			benchmarkDecide(b, typical(bench.when), paymentBy(b, bench.caller, bench.key), bench.allowed)
		})
	}
}

// Documents of 1,000 rules for 200 callers that an index helps less with.
func BenchmarkDecideWorst(b *testing.B) {
	for _, shape := range []struct {
		name    string
		rule    func(n int) policy.Rule
		allowed bool
	}{
		{"everybody, a key each", func(n int) policy.Rule {
			return allow(policy.Rule{Callers: texts("*"), Keys: texts(fmt.Sprint("key-", n))})
		}, true},
		{"everybody, the same key, a path each", func(n int) policy.Rule {
			return allow(policy.Rule{Callers: texts("*"), Keys: texts("key-77"), Paths: texts(path(n))})
		}, true},
		{"a SPIFFE pattern each", func(n int) policy.Rule {
			return allow(policy.Rule{Callers: texts(fmt.Sprintf("spiffe://example.org/*/n%d/**", n%200)), Keys: texts(fmt.Sprint("key-", n))})
		}, true},
		{"the same caller and key, a path each", func(n int) policy.Rule {
			return allow(policy.Rule{Callers: texts(workload(77)), Keys: texts("key-77"), Paths: texts(path(n))})
		}, true},
		{"the same caller and key, wildcards everywhere", func(n int) policy.Rule {
			return allow(policy.Rule{Callers: texts(workload(77)), Keys: texts("key-77"), Paths: texts("/*/payments", "/v1/*", fmt.Sprintf("/*/*/p%d", n))})
		}, true},
		{"all deny other paths", func(n int) policy.Rule {
			return deny(policy.Rule{Callers: texts("*"), Keys: texts("*"), Paths: texts("/v2" + path(n))})
		}, false},
		{"all deny, and match", func(n int) policy.Rule { return deny(policy.Rule{Callers: texts("*"), Keys: texts("*")}) }, false},
		{"all match", func(n int) policy.Rule { return allow(policy.Rule{Callers: texts("*"), Keys: texts("*")}) }, true},
		{"all but for the method", func(n int) policy.Rule {
			return allow(policy.Rule{Callers: texts("*"), Keys: texts("*"), Methods: texts(fmt.Sprint("M", n))})
		}, false},
		{"all match and are charged", func(n int) policy.Rule {
			return allow(policy.Rule{Callers: texts("*"), Keys: texts("*"), Limits: limit.Rates{PerDay: 1}})
		}, true},
	} {
		b.Run(shape.name, func(b *testing.B) {
			rules := make([]policy.Rule, 1000)
			for n := range rules {
				rules[n] = shape.rule(n)
				rules[n].Name = fmt.Sprint("r", n)
			}
			benchmarkDecide(b, rules, paymentBy(b, workload(77), "key-77"), shape.allowed)
		})
	}
}

// path is /v1/payments for one n.
func path(n int) string {
	if n == 500 {
		return "/v1/payments"
	}
	return fmt.Sprintf("/v1/p%d", n)
}

func BenchmarkCompile(b *testing.B) {
	for _, bench := range []struct{ name, when string }{
		{"without conditions", ""},
		{"with one condition", amount},
		{"with a condition each", `decimal(body.amount) <= decimal("%d") && body.currency in ["EUR", "USD"]`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			rules := make([]policy.Rule, policy.MaxRules)
			for n := range rules {
				when := bench.when
				if bench.name == "with a condition each" {
					when = fmt.Sprintf(when, n)
				}
				rules[n] = allow(policy.Rule{
					Name: fmt.Sprint("r", n), Callers: texts(workload(n % 2000)), Keys: texts(fmt.Sprint("key-", n%500)), Environments: texts("prod"),
					Methods: texts("POST"), Paths: texts("/v1/payments", "/v1/payments/*/cancel"), When: when, Limits: limit.Rates{PerSecond: 10},
				})
			}
			b.ReportAllocs()
			for b.Loop() {
				compile(b, rules...)
			}
		})
	}
}

func BenchmarkExplain(b *testing.B) {
	p, q := compile(b, typical(amount)...), paymentBy(b, workload(77), "key-77")
	b.ReportAllocs()
	for b.Loop() {
		p.Explain(q)
	}
}
