// Package condition compiles and evaluates what a policy's rule says under `when`: a CEL expression over the request.
//
// It is for policy. A condition is typed and compiled when the policy is applied, so that a typo is an error with its
// position. It reads
//
//	request.method, request.path   string
//	request.query                  map(string, list(string))
//	body                           the parsed JSON body; null if there is none
//	caller                         string
//	key.name, key.scheme, key.environment  string
//	key.labels                     map(string, string)
//	now                            timestamp
//
// and has of CEL the operators but division, the macros, size, startsWith, endsWith, contains, matches with a literal
// pattern, timestamps and durations in UTC or at a fixed offset.
//
// Numbers are exact: there are no doubles. A number of the body, decimal("100.50") and 100 are compared, added, subtracted
// and multiplied as what they say; decimal also takes a text of the body. Error messages call every number an int. A number
// never equals a text: where a partner sends amounts as texts, write decimal(body.amount).
//
// A body that has two names in one object that are equal but for case cannot be read, because some readers take them for one:
// `decimal(body.Amount) <= 100` would say nothing about what the partner books. A name is found in its own case only.
//
// An evaluation that fails gives no answer. As in CEL, a failing part of || or && does not matter where the other part
// decides; but a condition that mentions the body, or the path, needs one that can be read, whatever its other parts say.
// The package never does I/O, and never reads the clock.
package condition

import (
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
)

// Condition is a compiled condition. It is immutable, and safe for concurrent use.
type Condition struct {
	program cel.Program
	reads   Reads
	cost    int // of any evaluation
}

// Reads says which inputs a condition reads.
type Reads struct {
	Method, Path, Query bool
	Body                bool
	Caller              bool
	Key                 bool // its name, scheme or environment
	Now                 bool
	// Labels are the names of the labels that the condition asks for, sorted; AllLabels says that it may read any.
	Labels    []string
	AllLabels bool
}

// Key is what a condition may know of the key.
type Key struct {
	Name, Scheme, Environment string
	Labels                    map[string]string
}

// Input is one request as conditions see it. Evaluations do not change it, except that they parse Body and spend Budget.
type Input struct {
	Caller string
	Now    time.Time
	Key    Key
	Method string
	// Path is the decoded path; it counts only with PathOK, which says that it can be read in one way.
	Path   string
	PathOK bool
	Query  map[string][]string
	// Body is needed only by conditions that read it.
	Body *Body
	// Budget is shared by all evaluations for one decision; without one each evaluation has its own.
	Budget *Budget
}

// Compile compiles a condition of at most 4096 bytes. Errors are *Error, for the first problem.
func Compile(source string) (*Condition, error) {
	if len(source) > maxSourceBytes {
		return nil, &Error{1, 1, "it is longer than 4096 bytes"}
	}
	if !utf8.ValidString(source) {
		return nil, &Error{1, 1, "it is not UTF-8"}
	}
	if strings.ContainsAny(strings.ReplaceAll(source, "\r\n", "\n"), "\r\u0085\u2028\u2029") {
		return nil, &Error{1, 1, "it has a line end that CEL takes for none, so that a comment would go on past it; wanted \\n"}
	}
	e, err := environment()
	if err != nil {
		return nil, &Error{1, 1, err.Error()}
	}
	parsed, issues := e.Parse(source)
	if issues.Err() != nil {
		return nil, firstIssue(issues)
	}
	found, err := inspect(parsed.NativeRep(), source)
	if err != nil {
		return nil, err
	}
	checked, issues := e.Check(parsed)
	if issues.Err() != nil {
		return nil, firstIssue(issues)
	}
	if !checked.OutputType().IsExactType(cel.BoolType) {
		return nil, &Error{1, 1, "it is of type " + checked.OutputType().String() + ", but a condition is a bool; for a value of the body write == true"}
	}
	program, err := e.Program(checked, found.programOptions()...)
	if err != nil {
		return nil, &Error{1, 1, err.Error()}
	}
	return &Condition{program: program, reads: found.reads, cost: 1 + found.operations/operationsPerStep}, nil
}

func firstIssue(issues *cel.Issues) *Error {
	return issueError(issues.Errors()[0])
}

func issueError(first *common.Error) *Error {
	return &Error{max(first.Location.Line(), 1), max(first.Location.Column(), 0) + 1, first.Message}
}

// programOptions has CEL count costs only where the source does not bound them, because counting costs more than
// evaluating: without loops each operation runs once, reading inputs and patterns is paid for by Budget.spend, and each other
// operation is bounded.
func (f *findings) programOptions() []cel.ProgramOption {
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize), cel.CustomDecoratorV2(plan(f.patterns))}
	if f.loops {
		options = append(options, cel.CostLimit(CostLimit))
	}
	return options
}

// Reads says which inputs the condition reads. The caller must not change what it gets.
func (c *Condition) Reads() Reads { return c.reads }

// Eval says whether the condition holds. An error is *EvalError and means that it cannot be evaluated.
func (c *Condition) Eval(in *Input) (bool, error) {
	if c.reads.Path && !in.PathOK {
		return false, &EvalError{ReasonPath}
	}
	if c.reads.Body {
		if reason := in.Body.parse(); reason != "" {
			return false, &EvalError{reason}
		}
	}
	if in.Budget == nil {
		own := *in
		own.Budget = NewBudget()
		in = &own
	}
	if !in.Budget.start(c.cost) {
		return false, &EvalError{ReasonCost}
	}
	if c.reads.Body {
		in.Body.budget = in.Budget
	}
	out, details, err := c.program.Eval((*activation)(in))
	in.Budget.charge(details.ActualCost())
	if err != nil {
		return false, &EvalError{reasonOf(err)}
	}
	holds, ok := out.(types.Bool)
	if !ok {
		return false, &EvalError{ReasonOther}
	}
	return bool(holds), nil
}

// budgetName is no name that a condition can have.
const budgetName = "@budget"

// activation gives CEL an input's values.
type activation Input

// Parent implements interpreter.Activation.
func (*activation) Parent() interpreter.Activation { return nil }

// ResolveName implements interpreter.Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case "request.method":
		return types.String(a.Method), true
	case "request.path":
		a.Budget.spend(len(a.Path) / bytesPerStep)
		return types.String(a.Path), true
	case "request.query":
		a.Budget.spend(len(a.Query) / parametersPerStep)
		// CEL goes through a map of these types without reflection.
		query := make(map[string]any, len(a.Query))
		for name, values := range a.Query {
			query[name] = values
		}
		return query, true
	case "body":
		return a.Body.value(0), true
	case "caller":
		return types.String(a.Caller), true
	case "key.name":
		return types.String(a.Key.Name), true
	case "key.scheme":
		return types.String(a.Key.Scheme), true
	case "key.environment":
		return types.String(a.Key.Environment), true
	case "key.labels":
		return a.Key.Labels, true
	case "now":
		return types.Timestamp{Time: a.Now}, true
	case budgetName:
		return a.Budget, true
	}
	return nil, false
}
