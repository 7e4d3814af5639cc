package condition

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/interpreter"
)

// Error says what is wrong with a condition's source, and where. Line and Column count from 1, Column in characters.
type Error struct {
	Line, Column int
	Problem      string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Problem) }

// Reason is why a condition could not be evaluated: one of the texts below, so that no record quotes a request.
type Reason string

// All reasons there are.
const (
	ReasonBodyUnknown Reason = "the body is not known, or only as a hash"
	ReasonBodyNotJSON Reason = "the body is not JSON"
	ReasonBodyRepeats Reason = "the body repeats a name" // or has it in two cases
	ReasonBodyTooDeep Reason = "the body is nested too deeply"
	ReasonBodyNumber  Reason = "the body has a number that is too long"
	ReasonBodyTooLong Reason = "the body is too long"
	ReasonPath        Reason = "the path can be read in more than one way"
	ReasonMissing     Reason = "something that the condition reads is missing"
	ReasonType        Reason = "a value is of another type than the condition needs"
	ReasonDecimal     Reason = "a text is not a decimal number"
	ReasonTime        Reason = "a text is not a timestamp or a duration"
	ReasonRange       Reason = "a number or a time is out of range"
	ReasonCost        Reason = "it is too costly"
	ReasonOther       Reason = "it failed"
)

// EvalError says that a condition is neither true nor false of an input.
type EvalError struct{ Reason Reason }

// Error implements error.
func (e *EvalError) Error() string { return "the condition cannot be evaluated: " + string(e.Reason) }

var errTooCostly = errors.New("too costly")

// reasonOf classifies what CEL says. CEL has texts and no classes; they quote values, and go no further than here.
func reasonOf(err error) Reason {
	var cancelled interpreter.EvalCancelledError
	switch {
	case errors.As(err, &cancelled), errors.Is(err, errTooCostly):
		return ReasonCost
	case errors.Is(err, errNotDecimal):
		return ReasonDecimal
	case errors.Is(err, errRange):
		return ReasonRange
	}
	text := err.Error()
	for _, class := range []struct {
		prefix string
		reason Reason
	}{
		{"no such key", ReasonMissing},
		{"index out of bounds", ReasonMissing},
		{"index '", ReasonMissing},
		{"no such overload", ReasonType},
		{"invalid qualifier", ReasonType},
		{"unsupported index", ReasonType},
		{"unsupported key", ReasonType},
		{"got '", ReasonType},
		{"invalid RFC 3339 timestamp", ReasonTime},
		{"type conversion error from 'string'", ReasonTime},
		{"type conversion error", ReasonType},
		{"timestamp overflow", ReasonRange},
		{"duration overflow", ReasonRange},
	} {
		if strings.HasPrefix(text, class.prefix) {
			return class.reason
		}
	}
	return ReasonOther
}
