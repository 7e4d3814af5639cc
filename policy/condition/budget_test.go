package condition

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"
)

func mustCompile(t testing.TB, source string) *Condition {
	t.Helper()
	c, err := Compile(source)
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return c
}

func isCost(err error) bool {
	var evalErr *EvalError
	return errors.As(err, &evalErr) && evalErr.Reason == ReasonCost
}

type costing struct {
	source string
	least  int // what an evaluation must cost
}

// costly are conditions that hold and take less than CostLimit, most of them as much as the request has them take.
func costly() (conditions []costing, in *Input) {
	list := strings.TrimSuffix(strings.Repeat("1,", 700), ",")
	query := make(map[string][]string)
	for i := range 3000 {
		query[strconv.Itoa(i)] = nil
	}
	in = &Input{
		Now: time.Unix(0, 0), Path: "/" + strings.Repeat("ab", 2000), PathOK: true, Query: query,
		Body: NewBody([]byte(`{"a":[` + list + `],"b":[` + list[:400] + `1],"n":0.` + strings.Repeat("1", 63) + `,"t":"` + strings.Repeat("ab", 2000) + `"}`)),
	}
	return []costing{
		{`body.a.all(i, i != 2)`, 4200},
		{`!(2 in body.a)`, 700},
		{`body.b == body.b`, 400},
		{`body.t != "a"`, 60},
		{`!body.t.contains("ba" + "c")`, 60},
		{`!body.t.matches("(a|b|.{1,20})x$")`, 1000},
		{`!request.path.matches("(a|b|.{1,20})x$")`, 1000},
		{`request.path != "/"`, 60},
		{`!has(request.query.a)`, 1500},
		{`[1, 2, 3].all(i, !request.path.matches("^(b|c)+x$"))`, 100},
		{strings.TrimSuffix(strings.Repeat(`1 == 1 && `, 200), ` && `), 70},
		{`body.n != 1`, 6},
		{`true`, 1},
	}, in
}

// What one evaluation takes is counted with a budget of its own, so that this also says that it is the same every time.
func TestEvaluationsForOneDecisionShareABudget(t *testing.T) {
	conditions, in := costly()
	for _, test := range conditions {
		source, c := test.source, mustCompile(t, test.source)
		in.Budget = NewBudget()
		if holds, err := c.Eval(in); !holds || err != nil {
			t.Fatalf("%.60s: %v, %v", source, holds, err)
		}
		each := BudgetLimit - in.Budget.left
		if each < test.least {
			t.Errorf("%.60s: an evaluation costs %d, want at least %d", source, each, test.least)
			continue
		}
		evaluated := 1
		for ; evaluated <= BudgetLimit; evaluated++ {
			holds, err := c.Eval(in)
			if isCost(err) {
				break
			}
			if !holds || err != nil {
				t.Fatalf("%.60s: evaluation %d: %v, %v", source, evaluated, holds, err)
			}
		}
		if spent := evaluated * each; spent > BudgetLimit+CostLimit || spent <= BudgetLimit-CostLimit {
			t.Errorf("%.60s: %d evaluations of %d each were made with %d", source, evaluated, each, BudgetLimit)
		}
	}
}

func TestWithNothingLeftNothingIsEvaluated(t *testing.T) {
	conditions, in := costly()
	for _, test := range conditions {
		source, c := test.source, mustCompile(t, test.source)
		in.Budget = &Budget{}
		if holds, err := c.Eval(in); holds || !isCost(err) {
			t.Errorf("%.60s: %v, %v", source, holds, err)
		}
	}
}

func TestWhatIsRefusedAsTooCostlyIsPaidFor(t *testing.T) {
	body := NewBody([]byte(`{"a":[` + strings.TrimSuffix(strings.Repeat("1,", 50_000), ",") + `]}`))
	for _, source := range []string{`body.a.all(i, i != 2)`, `!(2 in body.a)`, `[1, 2].all(i, body.a.all(j, i + j != 9))`} {
		c := mustCompile(t, source)
		in := &Input{Body: body, Budget: NewBudget()}
		for range BudgetLimit / CostLimit {
			if _, err := c.Eval(in); !isCost(err) {
				t.Fatalf("%s: %v", source, err)
			}
		}
		if in.Budget.left > CostLimit {
			t.Errorf("%s: %d are left", source, in.Budget.left)
		}
	}
}

func TestAnEvaluationStopsWhereTheBudgetEnds(t *testing.T) {
	_, in := costly()
	in.Budget = &Budget{left: 100}
	holds, err := mustCompile(t, `!(2 in body.a)`).Eval(in)
	if holds || !isCost(err) || in.Budget.left != 0 {
		t.Errorf("%v, %v, with %d left", holds, err, in.Budget.left)
	}
}

func TestWithoutABudgetEachEvaluationHasItsOwn(t *testing.T) {
	_, in := costly()
	c := mustCompile(t, `body.a.all(i, i != 2)`)
	for range 20 {
		if holds, err := c.Eval(in); !holds || err != nil {
			t.Fatal(holds, err)
		}
	}
	if in.Budget != nil {
		t.Error("the input has got a budget")
	}
}

// Policies of many rules must not run out of it with requests as they are.
func TestAThousandRulesOverAPaymentFitTheBudget(t *testing.T) {
	c := mustCompile(t, `decimal(body.amount) <= decimal("500") && body.currency in ["EUR", "USD"] && request.path.matches("^/v1/[a-z]+$")`)
	in := &Input{Path: "/v1/payments", PathOK: true, Body: NewBody([]byte(`{"amount":"499.95","currency":"EUR"}`)), Budget: NewBudget()}
	for i := range 1000 {
		if holds, err := c.Eval(in); !holds || err != nil {
			t.Fatalf("rule %d: %v, %v", i, holds, err)
		}
	}
}

// A number of which most digits say nothing must not take a division for each.
func TestZerosAtTheEndOfANumberAreFree(t *testing.T) {
	text := "1." + strings.Repeat("0", 63)
	if got := testing.AllocsPerRun(10, func() { readNumber(text) }); got > 10 {
		t.Errorf("reading %s makes %v allocations", text, got)
	}
}
