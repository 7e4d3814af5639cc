package condition

import (
	"regexp"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// What a condition may be made of.
const (
	maxSourceBytes = 4096
	maxNesting     = 64
	maxNodes       = 2000
)

// Bounds of a pattern.
const (
	maxMatch   = 1 << 19 // length of the text by size of the pattern's program
	maxProgram = 1000
)

// kept lists what of CEL's standard library needs no care about numbers or effort. What is not there: conversions, which
// would bring doubles and unsigned integers; division; type(), because numbers have two types inside.
var kept = []string{
	operators.Conditional, operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.NotStrictlyFalse,
	operators.Equals, operators.NotEquals, operators.In, operators.Index,
	overloads.Size, overloads.StartsWith, overloads.EndsWith,
	overloads.TypeConvertTimestamp, overloads.TypeConvertDuration,
	overloads.TimeGetFullYear, overloads.TimeGetMonth, overloads.TimeGetDayOfYear, overloads.TimeGetDayOfMonth,
	overloads.TimeGetDate, overloads.TimeGetDayOfWeek, overloads.TimeGetHours, overloads.TimeGetMinutes,
	overloads.TimeGetSeconds, overloads.TimeGetMilliseconds,
}

const decimalFunction = "decimal"

// environment is what all conditions are compiled in. To the type checker every number is an int; see decimal for what it
// is inside.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	library := &env.LibrarySubset{}
	for _, name := range kept {
		library.IncludeFunctions = append(library.IncludeFunctions, &env.Function{Name: name})
	}
	list := cel.ListType(cel.TypeParamType("A"))
	return cel.NewCustomEnv(
		cel.StdLib(cel.StdLibSubset(library)),
		cel.EnableErrorOnBadPresenceTest(true),
		cel.ParserRecursionLimit(maxNesting),
		cel.ExpressionNestingDepthLimit(maxNesting),
		cel.ExpressionNodeLimit(maxNodes),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),

		cel.Variable("request.method", cel.StringType),
		cel.Variable("request.path", cel.StringType),
		cel.Variable("request.query", cel.MapType(cel.StringType, cel.ListType(cel.StringType))),
		cel.Variable("body", cel.DynType),
		cel.Variable("caller", cel.StringType),
		cel.Variable("key.name", cel.StringType),
		cel.Variable("key.scheme", cel.StringType),
		cel.Variable("key.environment", cel.StringType),
		cel.Variable("key.labels", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("now", cel.TimestampType),

		cel.Function(decimalFunction,
			cel.Overload("decimal_string", []*cel.Type{cel.StringType}, cel.IntType),
			cel.Overload("decimal_int", []*cel.Type{cel.IntType}, cel.IntType),
			cel.SingletonUnaryBinding(toDecimal)),

		comparison(operators.Less, overloads.LessInt64, overloads.LessString, overloads.LessTimestamp, overloads.LessDuration,
			func(order int) bool { return order < 0 }),
		comparison(operators.LessEquals, overloads.LessEqualsInt64, overloads.LessEqualsString, overloads.LessEqualsTimestamp, overloads.LessEqualsDuration,
			func(order int) bool { return order <= 0 }),
		comparison(operators.Greater, overloads.GreaterInt64, overloads.GreaterString, overloads.GreaterTimestamp, overloads.GreaterDuration,
			func(order int) bool { return order > 0 }),
		comparison(operators.GreaterEquals, overloads.GreaterEqualsInt64, overloads.GreaterEqualsString, overloads.GreaterEqualsTimestamp, overloads.GreaterEqualsDuration,
			func(order int) bool { return order >= 0 }),

		cel.Function(operators.Add,
			binary(overloads.AddInt64, cel.IntType, cel.IntType, cel.IntType),
			binary(overloads.AddString, cel.StringType, cel.StringType, cel.StringType),
			binary(overloads.AddList, list, list, list),
			binary(overloads.AddTimestampDuration, cel.TimestampType, cel.DurationType, cel.TimestampType),
			binary(overloads.AddDurationTimestamp, cel.DurationType, cel.TimestampType, cel.TimestampType),
			binary(overloads.AddDurationDuration, cel.DurationType, cel.DurationType, cel.DurationType),
			cel.SingletonBinaryBinding(add)),
		cel.Function(operators.Subtract,
			binary(overloads.SubtractInt64, cel.IntType, cel.IntType, cel.IntType),
			binary(overloads.SubtractTimestampDuration, cel.TimestampType, cel.DurationType, cel.TimestampType),
			binary(overloads.SubtractTimestampTimestamp, cel.TimestampType, cel.TimestampType, cel.DurationType),
			binary(overloads.SubtractDurationDuration, cel.DurationType, cel.DurationType, cel.DurationType),
			cel.SingletonBinaryBinding(subtract)),
		cel.Function(operators.Multiply,
			binary(overloads.MultiplyInt64, cel.IntType, cel.IntType, cel.IntType),
			cel.SingletonBinaryBinding(multiply)),
		cel.Function(operators.Negate,
			cel.Overload(overloads.NegateInt64, []*cel.Type{cel.IntType}, cel.IntType),
			cel.SingletonUnaryBinding(func(v ref.Val) ref.Val { return subtract(types.IntZero, v) })),

		cel.Function(overloads.Contains,
			cel.MemberOverload(overloads.ContainsString, []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType),
			cel.SingletonBinaryBinding(contains)),
		// Compile replaces it by the compiled pattern; what is left has none.
		cel.Function(overloads.Matches,
			cel.MemberOverload(overloads.MatchesString, []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType),
			cel.SingletonBinaryBinding(func(_, _ ref.Val) ref.Val { return types.NoSuchOverloadErr() })),
	)
})

func binary(id string, left, right, result *cel.Type) cel.FunctionOpt {
	return cel.Overload(id, []*cel.Type{left, right}, result)
}

func comparison(operator, ofInts, ofStrings, ofTimestamps, ofDurations string, holds func(order int) bool) cel.EnvOption {
	return cel.Function(operator,
		binary(ofInts, cel.IntType, cel.IntType, cel.BoolType),
		binary(ofStrings, cel.StringType, cel.StringType, cel.BoolType),
		binary(ofTimestamps, cel.TimestampType, cel.TimestampType, cel.BoolType),
		binary(ofDurations, cel.DurationType, cel.DurationType, cel.BoolType),
		cel.SingletonBinaryBinding(func(left, right ref.Val) ref.Val {
			order, ok := compare(left, right)
			if !ok {
				return types.NoSuchOverloadErr()
			}
			return types.Bool(holds(order))
		}))
}

// pattern is a regular expression of a condition.
type pattern struct {
	expression *regexp.Regexp
	program    int // size of its program: what a character may cost
}

// search is a call of matches with a pattern. It is no plain function, because that could not pay for what it does.
type search struct {
	interpreter.InterpretableCall
	text    interpreter.InterpretableV2
	pattern pattern
}

// Eval implements interpreter.Interpretable.
func (s *search) Eval(vars interpreter.Activation) ref.Val { return s.Exec(interpreter.AsFrame(vars)) }

// Exec implements interpreter.InterpretableV2.
func (s *search) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	value := s.text.Exec(frame)
	if types.IsError(value) {
		return value
	}
	text, ok := value.(types.String)
	if !ok {
		return types.NoSuchOverloadErr()
	}
	effort := len(text) * s.pattern.program
	if effort > maxMatch {
		return types.WrapErr(errTooCostly)
	}
	budget, _ := frame.ResolveName(budgetName)
	budget.(*Budget).spend(effort / bytesPerStep)
	return types.Bool(s.pattern.expression.MatchString(string(text)))
}

// matchesCompiled is what a call of matches becomes; CEL would replace one that kept its name, and with it the bound.
const matchesCompiled = "matches_compiled"

// plan replaces calls whose argument is a literal by what can be known of them before.
func plan(patterns map[string]pattern) interpreter.InterpretableDecoratorV2 {
	return func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
		call, ok := i.(interpreter.InterpretableCall)
		if !ok {
			return i, nil
		}
		args := call.Args()
		switch call.Function() {
		case decimalFunction:
			if literal, ok := args[0].(interpreter.InterpretableConst); ok {
				return interpreter.NewConstValue(call.ID(), toDecimal(literal.Value())), nil
			}
		case overloads.Matches:
			if literal, ok := args[1].(interpreter.InterpretableConst); ok {
				text, _ := literal.Value().(types.String)
				named := interpreter.NewCall(call.ID(), matchesCompiled, matchesCompiled, args, nil)
				return &search{named, args[0], patterns[string(text)]}, nil
			}
		}
		return i, nil
	}
}
