package condition_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/policy/condition"
)

// payment is a body of some 300 bytes, as partners' payments have.
const payment = `{"reference":"INV-2026-004711","amount":"499.95","currency":"EUR","fee":1.25,"creditor":{"name":"Example GmbH",` +
	`"iban":"DE02120300000000202051","bic":"BYLADEM1001"},"debtor":{"name":"Orders Ltd","iban":"GB33BUKB20201555555555"},` +
	`"purpose":"Order 4711, thank you","items":[{"sku":"A-1","count":2},{"sku":"B-2","count":1}]}`

func benchmarkInput() *condition.Input {
	return &condition.Input{
		Caller: "spiffe://example.org/orders",
		Now:    time.Date(2026, 11, 3, 9, 30, 0, 0, time.UTC),
		Key:    condition.Key{Name: "pay", Scheme: "noah", Environment: "prod", Labels: map[string]string{"team": "payments"}},
		Method: "POST",
		Path:   "/v1/payments",
		PathOK: true,
		Query:  map[string][]string{"dry": {"false"}},
	}
}

func BenchmarkEval(b *testing.B) {
	for _, bench := range []struct{ name, source string }{
		{"method and path", `request.method == "POST" && request.path.startsWith("/v1/")`},
		{"label", `key.labels.team == "payments"`},
		{"pattern", `request.path.matches("^/v1/[a-z]+$")`},
		{"hours", `now.getHours() >= 8 && now.getHours() < 18`},
		{"query", `request.query.dry[0] == "false"`},
		{"amount", `decimal(body.amount) <= decimal("500")`},
		{"amount and currency", `decimal(body.amount) <= decimal("500") && body.currency in ["EUR", "USD"]`},
		{"items", `body.items.all(i, i.count < 5)`},
	} {
		c, err := condition.Compile(bench.source)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(bench.name, func(b *testing.B) {
			in := benchmarkInput()
			raw := []byte(payment)
			b.ReportAllocs()
			for b.Loop() {
				in.Body, in.Budget = condition.NewBody(raw), condition.NewBudget()
				if holds, err := c.Eval(in); !holds || err != nil {
					b.Fatal(holds, err)
				}
			}
		})
	}
}

// The worst that a caller can do to a condition that loops, and to one that does not.
func BenchmarkHostile(b *testing.B) {
	many := []byte(`{"items":[` + strings.TrimSuffix(strings.Repeat(`{"a":1},`, 100_000), ",") + `]}`)
	for _, bench := range []struct {
		name, source string
		body         []byte
	}{
		{"all", `body.items.all(i, i.a == 1)`, many},
		{"nested", `body.items.all(i, body.items.all(j, i.a == j.a))`, many},
		{"map", `body.items.map(i, i.a).size() == 1`, many},
		{"literal", `[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, a + b + c + d > 0))))`, nil},
		{"equal", `body == body`, many},
		{"index", strings.TrimSuffix(strings.Repeat(`body.items[99999].a == 1 && `, 140), ` && `), many},
		{"pattern", `body.t.matches("(a|b|c|..{1,80}){1,3}x$")`, []byte(`{"t":"` + strings.Repeat("ab", 600) + `"}`)},
		{"patterns", `[1,2,3,4,5,6,7,8,9,10].all(i, [1,2,3,4,5,6,7,8,9,10].all(j, !body.t.matches("(a|b|..{1,80}){1,3}x$")))`, []byte(`{"t":"` + strings.Repeat("ab", 300) + `"}`)},
		{"all of 700", `body.items.all(i, i != 2)`, []byte(`{"items":[` + strings.TrimSuffix(strings.Repeat(`1,`, 700), ",") + `]}`)},
		{"one pattern", `body.t.matches("(a|b|c|..{1,80}){1,3}x$")`, []byte(`{"t":"` + strings.Repeat("ab", 260) + `"}`)},
		{"zeros", `2 in body`, []byte(`[` + strings.Repeat(`1.`+strings.Repeat("0", 63)+`,`, 20_000) + `1]`)},
		{"digits", `2 in body`, []byte(`[` + strings.Repeat(`1.`+strings.Repeat("3", 63)+`,`, 20_000) + `1]`)},
		{"exponents", `2 in body`, []byte(`[` + strings.Repeat(`1e64,`, 20_000) + `1]`)},
		{"both", `2 in body`, []byte(`[` + strings.Repeat(strings.Repeat("9", 64)+`e64,`, 20_000) + `1]`)},
		{"small", `request.method == "GET"`, nil},
		{"sources", strings.TrimSuffix(strings.Repeat(`key.labels.team!="x"&&`, 180), "&&"), nil},
		{"times", strings.TrimSuffix(strings.Repeat(`timestamp(body.t)!=now&&`, 160), "&&"), []byte(`{"t":"2026-01-01T00:00:00Z"}`)},
		{"contains", `[1,2,3,4,5,6,7,8,9,10].all(i, [1,2,3,4,5,6,7,8,9,10].all(j, !body.t.contains(body.s)))`, []byte(`{"t":"` + strings.Repeat("a", 8000) + `","s":"` + strings.Repeat("a", 500) + "b" + strings.Repeat("a", 500) + `"}`)},
	} {
		c, err := condition.Compile(bench.source)
		if err != nil {
			b.Fatal(bench.name, err)
		}
		b.Run(bench.name, func(b *testing.B) {
			in := benchmarkInput()
			in.Body = condition.NewBody(bench.body)
			b.ReportAllocs()
			var err error
			for b.Loop() {
				_, err = c.Eval(in)
			}
			b.Log(err)
		})
		b.Run(bench.name+" by 1000 rules", func(b *testing.B) {
			in := benchmarkInput()
			in.Body = condition.NewBody(bench.body)
			for b.Loop() {
				in.Budget = condition.NewBudget()
				for range 1000 {
					c.Eval(in)
				}
			}
		})
	}
}

func BenchmarkBody(b *testing.B) {
	reads, err := condition.Compile(`body == null`)
	if err != nil {
		b.Fatal(err)
	}
	const size = 4 << 20
	var names bytes.Buffer
	for i := 0; names.Len() < size; i++ {
		fmt.Fprintf(&names, `"%x":0,`, i)
	}
	var folded bytes.Buffer // letters that are the most work to fold
	for i := 0; folded.Len() < size; i++ {
		fmt.Fprintf(&folded, `"%s%x":0,`, strings.Repeat("\u1c8a\ua64b", 20), i)
	}
	long := func(letter string) string { return `"` + strings.Repeat(letter, size/24) }
	for _, bench := range []struct{ name, body string }{
		{"folded", "{" + strings.TrimSuffix(folded.String(), ",") + "}"},
		{"long names", "{" + long("\ua64b") + `a":0,` + long("\ua64a") + `b":0,` + long("\ua64b") + `c":0,` + long("\ua64a") + `d":0,` +
			long("\ua64b") + `e":0,` + long("\ua64a") + `f":0,` + long("\ua64b") + `g":0,` + long("\ua64a") + `h":0}`},
		{"payment", payment},
		{"numbers", "[0" + strings.Repeat(",0", size/2) + "]"},
		{"arrays", "[[]" + strings.Repeat(",[]", size/3) + "]"},
		{"names", "{" + strings.TrimSuffix(names.String(), ",") + "}"},
		{"text", `"` + strings.Repeat("a", size) + `"`},
		{"escapes", `"` + strings.Repeat(`\u0061`, size/6) + `"`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			in := benchmarkInput()
			raw := []byte(bench.body)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				in.Body = condition.NewBody(raw)
				if _, err := reads.Eval(in); err != nil && bench.name != "text" && bench.name != "escapes" {
					b.Fatal(err)
				}
			}
		})
	}
}
