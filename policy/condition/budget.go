package condition

import "cel.dev/cel-go/interpreter"

// CostLimit bounds an evaluation, in CEL's units: a step through a list costs 6 or more. What CEL counts has this limit, and
// what reading the inputs costs has it too. The worst that was found takes 9 ms; five times the limit for one evaluation would
// take twenty times as long, because CEL's own counting slows down.
const CostLimit = 10_000

// BudgetLimit bounds all evaluations that share a Budget. The last of them may exceed it by what CEL counts of it, which
// CostLimit bounds. The worst that was found for a decision, with any number of rules, takes 30 ms.
const BudgetLimit = 5 * CostLimit

// Budget is what the evaluations for one decision may cost together, however many rules a policy has. When nothing is left,
// every evaluation fails with ReasonCost. Evaluations that share one must not run at the same time.
type Budget struct {
	left  int
	floor int // what the running evaluation must leave
}

// NewBudget is a budget of BudgetLimit.
func NewBudget() *Budget { return &Budget{left: BudgetLimit} }

// start begins an evaluation, which costs so much whatever it does. It reports whether there is enough left.
func (b *Budget) start(cost int) bool {
	if b.left < cost {
		b.left = 0
	}
	if b.left == 0 {
		return false
	}
	b.floor = max(0, b.left-CostLimit)
	b.left -= cost
	return true
}

// spend pays before the work is done. It panics, as CEL's own cost limit does, because comparisons would take an error for
// "not equal".
func (b *Budget) spend(steps int) {
	if steps > b.left-b.floor {
		panic(interpreter.EvalCancelledError{Cause: interpreter.CostLimitExceeded, Message: errTooCostly.Error()})
	}
	b.left -= steps
}

// charge takes what CEL has counted in an evaluation, which is known only after it.
func (b *Budget) charge(counted *uint64) {
	if counted != nil {
		b.left -= int(min(*counted, uint64(b.left)))
	}
}

// How much of each work a step pays for, so that a step takes at most about half a microsecond.
const (
	bytesPerStep      = 64 // reading a text
	digitsPerStep     = 16 // reading a number
	nodesPerStep      = 16 // passing over values of the body
	parametersPerStep = 2  // making a map of the query
	operationsPerStep = 8  // without loops each part of the source runs once
)
