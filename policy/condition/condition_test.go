package condition_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/signerd/signerd/policy/condition"
	"pgregory.net/rapid"
)

const order = `{"amount":500.00,"fee":0.1,"text":"100.50","currency":"USD","approved":true,"note":null,"big":18446744073709551616,` +
	`"items":[{"amount":"1.5","sku":"A"},{"amount":2,"sku":"B"}],"limits":{"EUR":"450"}}`

func input() *condition.Input {
	in := benchmarkInput()
	in.Query = map[string][]string{"dry": {"false"}, "tag": {"a", "b"}}
	in.Body = condition.NewBody([]byte(order))
	return in
}

func compile(t testing.TB, source string) *condition.Condition {
	t.Helper()
	c, err := condition.Compile(source)
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return c
}

func TestConditionsThatHold(t *testing.T) {
	for name, source := range map[string]string{
		"the request's method":                            `request.method == "POST"`,
		"the request's path":                              `request.path.startsWith("/v1/") && request.path.endsWith("ments") && request.path.contains("pay")`,
		"a pattern over the path":                         `request.path.matches("^/v1/[a-z]+$") && !request.path.matches("^/v2/")`,
		"a query parameter by its name":                   `request.query.dry[0] == "false" && request.query["tag"].size() == 2`,
		"a query parameter as a list":                     `request.query.tag == ["a", "b"] && "b" in request.query.tag`,
		"whether there is a query parameter":              `has(request.query.dry) && !has(request.query.wet) && !("wet" in request.query)`,
		"the caller":                                      `caller == "spiffe://example.org/orders" && caller in ["spiffe://example.org/orders"]`,
		"the key":                                         `key.name == "pay" && key.scheme == "noah" && key.environment == "prod"`,
		"a label, in all ways to ask for it":              `key.labels.team == "payments" && key.labels["team"] == "payments" && "team" in key.labels && has(key.labels.team)`,
		"a label that is not there":                       `!has(key.labels.owner) && !("owner" in key.labels)`,
		"labels as a map":                                 `key.labels.size() == 1 && key.labels.all(name, key.labels[name] == "payments")`,
		"the time in UTC":                                 `now.getHours() == 9 && now.getDayOfWeek() == 2`,
		"the time at an offset":                           `now.getHours("+02:00") == 11 && now.getHours("-01:30") == 8 && now.getHours("UTC") == 9`,
		"a time before another":                           `now > timestamp("2026-01-01T00:00:00Z") && now - duration("24h") < now`,
		"how long ago":                                    `now - timestamp("2026-11-03T09:00:00Z") == duration("30m")`,
		"a number with zeros at its end is an integer":    `body.amount == 500 && 500 == body.amount && body.amount in [1, 500]`,
		"an integer orders as one, from both sides":       `body.amount <= 500 && 500 >= body.amount && !(body.amount < 500) && 499 < body.amount`,
		"a fraction orders as one, from both sides":       `body.fee < 1 && 1 > body.fee && body.fee > 0 && 0 < body.fee`,
		"a fraction equals its decimal":                   `body.fee == decimal("0.10") && decimal("0.1") == body.fee && body.fee in [2, decimal("0.1")]`,
		"a fraction is no integer":                        `body.fee != 0 && 0 != body.fee && !(body.fee in [0, 1])`,
		"the sum that doubles get wrong":                  `body.fee + body.fee + body.fee == decimal("0.3")`,
		"a number that doubles cannot tell from another":  `body.big != decimal("18446744073709551617") && body.big == decimal("18446744073709551616")`,
		"arithmetic leaves 64 bits":                       `9223372036854775807 + 1 == decimal("9223372036854775808") && body.big * 2 == body.big + body.big`,
		"a product, a difference, a negation":             `body.fee * body.fee == decimal("0.01") && body.amount - body.fee == decimal("499.9") && -body.fee == decimal("-0.1")`,
		"a text as an amount":                             `decimal(body.text) == decimal("100.5") && decimal(body.text) < 101`,
		"a number as an amount":                           `decimal(body.amount) == 500 && decimal(body.fee) == body.fee`,
		"a number never equals a text":                    `body.amount != "500" && body.text != decimal("100.50")`,
		"a literal that is one of both":                   `(body.approved == true ? decimal("1.5") : 2) == decimal("1.50")`,
		"one of a list":                                   `body.currency in ["USD", "EUR"] && !(body.currency in ["EUR"])`,
		"a limit for each currency":                       `decimal(body.amount) <= {"USD": 500, "EUR": 450}[body.currency]`,
		"whether there is a field":                        `has(body.amount) && !has(body.iban) && "amount" in body && !("iban" in body)`,
		"null":                                            `body.note == null && body != null`,
		"a field of a field":                              `decimal(body.limits.EUR) == 450 && body["limits"]["EUR"] == "450"`,
		"each of a list":                                  `body.items.all(i, decimal(i.amount) < decimal("10"))`,
		"some of a list":                                  `body.items.exists(i, i.sku == "B") && body.items.exists_one(i, decimal(i.amount) == 2)`,
		"a list made of another":                          `body.items.map(i, i.sku) == ["A", "B"] && body.items.filter(i, i.sku == "A").size() == 1`,
		"names of an object":                              `body.limits.all(name, name.size() == 3)`,
		"whole lists, from both sides":                    `body.items == [{"amount": "1.5", "sku": "A"}, {"amount": 2, "sku": "B"}] && [{"amount": "1.5", "sku": "A"}, {"amount": 2, "sku": "B"}] == body.items`,
		"lists that differ":                               `body.items != [1, 2] && [1, 2] != body.items && body.items != [] && body.limits != {"EUR": 450}`,
		"numbers inside of lists are exact":               `[body.fee, body.amount] == [decimal("0.1"), 500] && [decimal("0.1")] != [0]`,
		"an error does not matter where the rest decides": `(body.missing == 1 || true) && !(body.missing == 1 && false)`,
	} {
		holds, err := compile(t, source).Eval(input())
		if err != nil || !holds {
			t.Errorf("%s: %s: got %v, %v", name, source, holds, err)
		}
		holds, err = compile(t, "!("+source+")").Eval(input())
		if err != nil || holds {
			t.Errorf("%s: !(%s): got %v, %v", name, source, holds, err)
		}
	}
}

func TestConditionsThatCannotBeEvaluated(t *testing.T) {
	long := condition.NewBody([]byte(`{"text":"` + strings.Repeat("a", 1<<20) + `","part":"` + strings.Repeat("a", 1<<14) + `"}`))
	many := condition.NewBody([]byte(`{"items":[` + strings.TrimSuffix(strings.Repeat(`{"a":1},`, 100_000), ",") + `]}`))
	medium := condition.NewBody([]byte(`{"text":"` + strings.Repeat("a", 40_000) + `"}`))
	dates := condition.NewBody([]byte(`{"date":"2026-01-01","month":"2026-13-01T00:00:00Z","late":"9999-12-31T00:00:00Z"}`))
	for name, test := range map[string]struct {
		source string
		body   *condition.Body // that of input if nil
		want   condition.Reason
	}{
		"a missing field":                      {`body.iban == "x"`, nil, condition.ReasonMissing},
		"a missing field, unequal":             {`body.iban != "x"`, nil, condition.ReasonMissing},
		"a missing field inside":               {`body.limits.USD == "x"`, nil, condition.ReasonMissing},
		"a missing element":                    {`body.items[2].sku == "x"`, nil, condition.ReasonMissing},
		"an element before the first":          {`body.items[-1].sku == "x"`, nil, condition.ReasonMissing},
		"a missing query parameter":            {`request.query.wet[0] == "x"`, nil, condition.ReasonMissing},
		"a missing value of a query parameter": {`request.query.dry[1] == "x"`, nil, condition.ReasonMissing},
		"a missing label":                      {`key.labels.owner == "x"`, nil, condition.ReasonMissing},
		"a missing name of a map":              {`{"EUR": 1}[body.currency] == 1`, nil, condition.ReasonMissing},
		"a text below a number":                {`body.currency < 5`, nil, condition.ReasonType},
		"a number below a text":                {`body.amount < "600"`, nil, condition.ReasonType},
		"a number and a text":                  {`body.amount + "1" == "5001"`, nil, condition.ReasonType},
		"a field of a list":                    {`has(body.items.sku)`, nil, condition.ReasonType},
		"an element by a fraction":             {`body.items[body.fee] == 1`, nil, condition.ReasonType},
		"each of null":                         {`body.note.all(i, true)`, nil, condition.ReasonType},
		"a start of a number":                  {`body.amount.startsWith("5")`, nil, condition.ReasonType},
		"a number that is searched":            {`body.amount.contains("5")`, nil, condition.ReasonType},
		"a pattern over a number":              {`body.amount.matches("5")`, nil, condition.ReasonType},
		"the decimal of a flag":                {`decimal(body.approved) == 1`, nil, condition.ReasonType},
		"a text that is no decimal":            {`decimal(body.currency) < 5`, nil, condition.ReasonDecimal},
		"a date that is no timestamp":          {`timestamp(body.date) < now`, dates, condition.ReasonTime},
		"a text that is no timestamp":          {`timestamp(body.month) < now`, dates, condition.ReasonTime},
		"a text that is no duration":           {`duration(body.date) < duration("1h")`, dates, condition.ReasonTime},
		"a timestamp of a flag":                {`timestamp(body.approved) < now`, nil, condition.ReasonType},
		"a timestamp beyond the year 9999":     {`timestamp(body.late) + duration("48h") > now`, dates, condition.ReasonRange},
		"a product out of range":               {`[body.big].map(a, a*a).map(a, a*a).map(a, a*a).map(a, a*a).map(a, a*a).exists(a, a > 0)`, nil, condition.ReasonRange},
		"a long loop":                          {`body.items.all(i, i.a == 1)`, many, condition.ReasonCost},
		"a long loop that makes a list":        {`body.items.map(i, i.a).size() == 1`, many, condition.ReasonCost},
		"a long loop in another":               {`[1, 2].all(i, body.items.exists(j, j.a == 2))`, many, condition.ReasonCost},
		"loops over literals":                  {`[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, [1,2,3,4,5,6,7,8,9].all(d, a+b+c+d > 0))))`, nil, condition.ReasonCost},
		"a long list compared":                 {`body == body`, many, condition.ReasonCost},
		"a long list compared, unequal":        {`body != body`, many, condition.ReasonCost},
		"a long list compared inside a list":   {`[body] != [body]`, many, condition.ReasonCost},
		"a long list searched":                 {`!(2 in body.items)`, many, condition.ReasonCost},
		"many far elements":                    {`body.items[99999].a + body.items[99998].a == 2`, many, condition.ReasonCost},
		"a long text compared":                 {`body.text == "a"`, long, condition.ReasonCost},
		"a long text searched":                 {`body.part.contains(body.part)`, long, condition.ReasonCost},
		"two long texts together":              {`body.text + body.text == ""`, medium, condition.ReasonCost},
		"a long text in a pattern":             {`body.text.matches("(a{1,20}){1,20}b")`, medium, condition.ReasonCost},
	} {
		for _, source := range []string{test.source, "!(" + test.source + ")"} {
			in := input()
			if test.body != nil {
				in.Body = test.body
			}
			holds, err := compile(t, source).Eval(in)
			checkReason(t, name+": "+source, holds, err, test.want)
		}
	}
}

func checkReason(t testing.TB, what string, holds bool, err error, want condition.Reason) {
	t.Helper()
	var evalErr *condition.EvalError
	if holds || !errors.As(err, &evalErr) || evalErr.Reason != want {
		t.Errorf("%s: got %v, %v, want %q", what, holds, err, want)
	}
}

func TestAPathThatCanBeReadInTwoWaysIsNotRead(t *testing.T) {
	in := input()
	in.PathOK = false
	for _, source := range []string{`request.path != "/admin"`, `request.method == "POST" || request.path == "/"`} {
		holds, err := compile(t, source).Eval(in)
		checkReason(t, source, holds, err, condition.ReasonPath)
	}
	if holds, err := compile(t, `request.method == "POST"`).Eval(in); !holds || err != nil {
		t.Errorf("a condition that reads no path: %v, %v", holds, err)
	}
}

func TestReads(t *testing.T) {
	for source, want := range map[string]condition.Reads{
		`true`: {},
		`request.method == "GET" && caller == "x" && now > now`:                     {Method: true, Caller: true, Now: true},
		`request.path == "/" || has(request.query.a)`:                               {Path: true, Query: true},
		`key.name == key.scheme`:                                                    {Key: true},
		`[1].exists(i, body.x == i)`:                                                {Body: true},
		`key.labels.b == key.labels["a"] && "c" in key.labels && has(key.labels.d)`: {Labels: []string{"a", "b", "c", "d"}},
		`key.labels[caller] == "x" && key.labels.a == "x"`:                          {Caller: true, Labels: []string{"a"}, AllLabels: true},
		`key.labels.size() == 0`:                                                    {AllLabels: true},
	} {
		if diff := cmp.Diff(want, compile(t, source).Reads()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", source, diff)
		}
	}
}

// readers read the body in different places, some of which CEL would not get to.
var readers = []string{
	`body.amount == 500`, `body.amount != 500`, `!has(body.amount)`, `body == null`, `body != null`, `true || body.amount == 500`,
	`caller == "nobody" && body.amount == 500`, `[].all(i, body == i)`, `body.items.all(i, true)`, `decimal(body.amount) < 1000`, `size(body) > 0`,
	`caller != "" ? true : body == 1`, `{"a": body} == {"b": 1}`,
}

func TestNoBodyThatCannotBeReadIsEverEvaluated(t *testing.T) {
	var conditions []*condition.Condition
	for _, source := range readers {
		conditions = append(conditions, compile(t, source))
	}
	rapid.Check(t, func(rt *rapid.T) {
		i := rapid.IntRange(0, len(readers)-1).Draw(rt, "condition")
		in := input()
		var want condition.Reason
		switch rapid.IntRange(0, 3).Draw(rt, "way") {
		case 0:
			in.Body, want = nil, condition.ReasonBodyUnknown
		case 1:
			in.Body, want = condition.HashedBody(), condition.ReasonBodyUnknown
		case 2:
			end := rapid.IntRange(1, len(order)-1).Draw(rt, "cut")
			in.Body, want = condition.NewBody([]byte(order[:end])), condition.ReasonBodyNotJSON
		case 3:
			repeated := rapid.SampledFrom([]string{`"amount":1,`, `"\u0061mount":1,`, `"again":{"a":[{"b":1,"b":1}]},`}).Draw(rt, "repeated")
			in.Body, want = condition.NewBody([]byte("{"+repeated+order[1:])), condition.ReasonBodyRepeats
		}
		holds, err := conditions[i].Eval(in)
		checkReason(t, readers[i], holds, err, want)
	})
}

func TestNoErrorQuotesTheRequest(t *testing.T) {
	const secret = "hunter2"
	in := input()
	in.Body = condition.NewBody([]byte(`{"a":"` + secret + `","b":{"` + secret + `":1},"c":[1],"d":7}`))
	for _, source := range []string{
		`body[body.a] == 1`, `body.b[body.a].x == 1`, `decimal(body.a) == 1`, `body.c[body.a] == 1`, `timestamp(body.a) < now`, `duration(body.a) > duration("1s")`,
		`body.a + body.d == ""`, `{"x": 1}[body.a] == 1`, `key.labels[body.a] == ""`, `request.query[body.a] == []`, `body.a.all(x, true)`, `body.a ? true : false`,
	} {
		_, err := compile(t, source).Eval(in)
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", source, err)
		}
	}
}

func TestConditionsAreSharedByGoroutines(t *testing.T) {
	var conditions []*condition.Condition
	for _, source := range []string{`decimal(body.amount) <= 500`, `body.items.all(i, decimal(i.amount) < 5)`, `request.path.matches("^/v1/")`} {
		conditions = append(conditions, compile(t, source))
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				in := input()
				for _, c := range conditions {
					if holds, err := c.Eval(in); !holds || err != nil {
						t.Error(holds, err)
					}
				}
			}
		})
	}
	group.Wait()
}

func TestLineEndsThatOnlyReadersSeeAreRefused(t *testing.T) {
	for _, end := range []string{"\r", "\u0085", "\u2028", "\u2029"} {
		if _, err := condition.Compile("caller == 'a' // why" + end + "&& caller == 'b'"); err == nil {
			t.Errorf("%q was taken", end)
		}
	}
	compile(t, "caller == 'a' // why\r\n&& caller == 'b'")
}

func TestEvaluationsDoNotChangeTheirInput(t *testing.T) {
	in, want := input(), input()
	compile(t, `key.labels.size() == 1 && request.query.tag.size() == 2 && now > timestamp("2026-01-01T00:00:00Z")`).Eval(in)
	in.Body, want.Body = nil, nil
	if diff := cmp.Diff(want, in); diff != "" {
		t.Error(diff)
	}
}

func TestTheCostOfOneConditionIsNotChargedToTheNext(t *testing.T) {
	in := input()
	in.Body = condition.NewBody([]byte(`{"items":[` + strings.TrimSuffix(strings.Repeat("1,", 1200), ",") + `]}`))
	c := compile(t, `7 in body.items || true`)
	for range 5 {
		if holds, err := c.Eval(in); !holds || err != nil {
			t.Fatal(holds, err)
		}
	}
}

func FuzzCompile(f *testing.F) {
	in := input()
	f.Fuzz(func(t *testing.T, source string) {
		c, err := condition.Compile(source)
		if err != nil {
			var compileErr *condition.Error
			if !errors.As(err, &compileErr) || compileErr.Line < 1 || compileErr.Column < 1 || compileErr.Problem == "" {
				t.Fatalf("%q: got %#v", source, err)
			}
			return
		}
		if !slices.IsSorted(c.Reads().Labels) {
			t.Errorf("%q: %v", source, c.Reads())
		}
		first, firstErr := c.Eval(in)
		again, againErr := c.Eval(in)
		if first != again || (firstErr == nil) != (againErr == nil) {
			t.Errorf("%q: %v, %v and then %v, %v", source, first, firstErr, again, againErr)
		}
		if !c.Reads().Body {
			return
		}
		hashed := *in
		hashed.Body = condition.HashedBody()
		holds, err := c.Eval(&hashed)
		checkReason(t, source, holds, err, condition.ReasonBodyUnknown)
	})
}
