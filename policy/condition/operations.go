package condition

import (
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Bounds of what one operation may do with texts, which may be the caller's.
const (
	maxSearch = 1 << 23 // length of the text by length of what is searched
	maxText   = 1 << 16 // of two texts together
)

// compare orders two values of one kind; ok says that they have an order.
func compare(left, right ref.Val) (order int, ok bool) {
	switch l := left.(type) {
	case types.String:
		if r, ok := right.(types.String); ok {
			return strings.Compare(string(l), string(r)), true
		}
	case types.Timestamp:
		if r, ok := right.(types.Timestamp); ok {
			return l.Time.Compare(r.Time), true
		}
	case types.Duration:
		if r, ok := right.(types.Duration); ok {
			return compareInts(int64(l.Duration), int64(r.Duration)), true
		}
	case types.Int:
		if r, ok := right.(types.Int); ok {
			return compareInts(int64(l), int64(r)), true
		}
	}
	l, okLeft := asDecimal(left)
	r, okRight := asDecimal(right)
	if !okLeft || !okRight {
		return 0, false
	}
	return compareDecimals(l, r), true
}

// toDecimal is decimal(…).
func toDecimal(v ref.Val) ref.Val {
	switch v := v.(type) {
	case types.Int, *decimal:
		return v
	case types.String:
		number, err := parseDecimal(string(v))
		if err != nil {
			return types.WrapErr(err)
		}
		return number
	}
	return types.NoSuchOverloadErr()
}

// arithmetic computes with two numbers; ok says that they are numbers.
func arithmetic(left, right ref.Val, operation func(a, b decimal) (ref.Val, error)) (result ref.Val, ok bool) {
	l, okLeft := asDecimal(left)
	r, okRight := asDecimal(right)
	if !okLeft || !okRight {
		return nil, false
	}
	number, err := operation(l, r)
	if err != nil {
		return types.WrapErr(err), true
	}
	return number, true
}

func add(left, right ref.Val) ref.Val {
	if sum, ok := arithmetic(left, right, addNumbers); ok {
		return sum
	}
	switch l := left.(type) {
	case types.String:
		r, ok := right.(types.String)
		if !ok {
			return types.NoSuchOverloadErr()
		}
		if len(l)+len(r) > maxText {
			return types.WrapErr(errTooCostly)
		}
		return l + r
	case traits.Lister, types.Timestamp, types.Duration:
		return l.(traits.Adder).Add(right)
	}
	return types.NoSuchOverloadErr()
}

func subtract(left, right ref.Val) ref.Val {
	if difference, ok := arithmetic(left, right, subtractNumbers); ok {
		return difference
	}
	switch l := left.(type) {
	case types.Timestamp, types.Duration:
		return l.(traits.Subtractor).Subtract(right)
	}
	return types.NoSuchOverloadErr()
}

func multiply(left, right ref.Val) ref.Val {
	if product, ok := arithmetic(left, right, multiplyNumbers); ok {
		return product
	}
	return types.NoSuchOverloadErr()
}

func contains(text, part ref.Val) ref.Val {
	t, okText := text.(types.String)
	p, okPart := part.(types.String)
	if !okText || !okPart {
		return types.NoSuchOverloadErr()
	}
	if len(t)*len(p) > maxSearch {
		return types.WrapErr(errTooCostly)
	}
	return types.Bool(strings.Contains(string(t), string(p)))
}
