package condition

import (
	"errors"
	"math"
	"math/big"
	"math/bits"
	"reflect"
	"strconv"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Bounds of numbers. What is read keeps to the first two; what is computed, to the others.
const (
	maxDigits      = 64
	maxExponent    = 64
	maxBits        = 1024 // of a number without its decimal point
	maxScale       = 256  // digits behind the decimal point
	maxSmallDigits = 18   // always fit an int64
)

var (
	errNotDecimal = errors.New("it is not a decimal number, such as 100.50, of at most 64 digits")
	errRange      = errors.New("a number is out of range")
)

// decimal is a number that is no int64: every number has one form only. An integer that fits is a types.Int, wherever
// it comes from; anything else is a decimal without zeros at its end. So numbers are equal when their forms are, and
// CEL's own comparison of a types.Int with a decimal, "not equal", is right at any depth of lists and maps.
type decimal struct {
	small int64    // the number without its decimal point,
	large *big.Int // unless that does not fit; never changed
	scale int      // digits behind the decimal point
}

var decimalType = types.NewOpaqueType("decimal")

// ConvertToNative implements ref.Val; nothing asks for it.
func (d *decimal) ConvertToNative(reflect.Type) (any, error) {
	return nil, errors.New("a decimal has no native form")
}

// ConvertToType implements ref.Val. No conversion takes a decimal.
func (d *decimal) ConvertToType(ref.Type) ref.Val { return types.NoSuchOverloadErr() }

// Equal implements ref.Val.
func (d *decimal) Equal(other ref.Val) ref.Val {
	o, ok := other.(*decimal)
	if !ok || d.scale != o.scale || (d.large == nil) != (o.large == nil) {
		return types.False
	}
	if d.large != nil {
		return types.Bool(d.large.Cmp(o.large) == 0)
	}
	return types.Bool(d.small == o.small)
}

// Type implements ref.Val.
func (d *decimal) Type() ref.Type { return decimalType }

// Value implements ref.Val.
func (d *decimal) Value() any { return d }

func (d *decimal) unscaled() *big.Int {
	if d.large != nil {
		return d.large
	}
	return big.NewInt(d.small)
}

// scanNumber finds the end of the JSON number that starts at text[i]. It fails at anything else, and reports numbers that
// are longer than the bounds.
func scanNumber(text string, i int) (end int, ok, bounded bool) {
	if i < len(text) && text[i] == '-' {
		i++
	}
	first := i
	i = skipDigits(text, i)
	total := i - first
	if total == 0 || text[first] == '0' && total > 1 {
		return 0, false, false
	}
	if i < len(text) && text[i] == '.' {
		end := skipDigits(text, i+1)
		if end == i+1 {
			return 0, false, false
		}
		total += end - i - 1
		i = end
	}
	bounded = total <= maxDigits
	if i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		i++
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		end := skipDigits(text, i)
		if end == i {
			return 0, false, false
		}
		exponent, err := strconv.Atoi(text[i:end])
		bounded = bounded && err == nil && exponent <= maxExponent
		i = end
	}
	return i, true, bounded
}

func skipDigits(text string, i int) int {
	for i < len(text) && '0' <= text[i] && text[i] <= '9' {
		i++
	}
	return i
}

// readNumber reads a number that scanNumber has found to be one, within the bounds.
func readNumber(text string) ref.Val {
	var coefficient int64
	digits := make([]byte, 0, maxDigits)
	scale, negative, fraction := 0, false, false
	for i := range len(text) {
		switch c := text[i]; {
		case c == '-':
			negative = true
		case c == '.':
			fraction = true
		case c == 'e' || c == 'E':
			exponent, _ := strconv.Atoi(text[i+1:])
			return newNumber(coefficient, digits, scale-exponent, negative)
		default:
			digits = append(digits, c)
			if len(digits) <= maxSmallDigits {
				coefficient = coefficient*10 + int64(c-'0')
			}
			if fraction {
				scale++
			}
		}
	}
	return newNumber(coefficient, digits, scale, negative)
}

func newNumber(coefficient int64, digits []byte, scale int, negative bool) ref.Val {
	if len(digits) > maxSmallDigits || scale < 0 {
		for scale > 0 && digits[len(digits)-1] == '0' { // which takes reduce far longer
			digits = digits[:len(digits)-1]
			scale--
		}
		large, _ := new(big.Int).SetString(string(digits), 10)
		if negative {
			large.Neg(large)
		}
		number, _ := reduce(large, scale)
		return number
	}
	if negative {
		coefficient = -coefficient
	}
	return reduceSmall(coefficient, scale)
}

// parseDecimal reads what decimal("…") is given: a JSON number without an exponent.
func parseDecimal(text string) (ref.Val, error) {
	end, ok, bounded := scanNumber(text, 0)
	if !ok || !bounded || end != len(text) {
		return nil, errNotDecimal
	}
	for i := range len(text) {
		if text[i] == 'e' || text[i] == 'E' {
			return nil, errNotDecimal
		}
	}
	return readNumber(text), nil
}

// reduceSmall gives the one form of coefficient / 10^scale.
func reduceSmall(coefficient int64, scale int) ref.Val {
	if coefficient == 0 {
		return types.IntZero
	}
	for scale > 0 && coefficient%10 == 0 {
		coefficient /= 10
		scale--
	}
	if scale == 0 {
		return types.Int(coefficient)
	}
	return &decimal{small: coefficient, scale: scale}
}

var ten = big.NewInt(10)

func powerOfTen(n int) *big.Int { return new(big.Int).Exp(ten, big.NewInt(int64(n)), nil) }

// reduce gives the one form of coefficient / 10^scale, and may change coefficient.
func reduce(coefficient *big.Int, scale int) (ref.Val, error) {
	if scale < 0 {
		coefficient.Mul(coefficient, powerOfTen(-scale))
		scale = 0
	}
	for scale > 0 && !coefficient.IsInt64() {
		quotient, rest := new(big.Int).QuoRem(coefficient, ten, new(big.Int))
		if rest.Sign() != 0 {
			break
		}
		coefficient = quotient
		scale--
	}
	if coefficient.IsInt64() {
		number := reduceSmall(coefficient.Int64(), scale)
		if d, ok := number.(*decimal); ok && d.scale > maxScale {
			return nil, errRange
		}
		return number, nil
	}
	if coefficient.BitLen() > maxBits || scale > maxScale {
		return nil, errRange
	}
	return &decimal{large: coefficient, scale: scale}, nil
}

// asDecimal gives a number's parts; only an Int or a decimal is a number.
func asDecimal(v ref.Val) (decimal, bool) {
	switch v := v.(type) {
	case types.Int:
		return decimal{small: int64(v)}, true
	case *decimal:
		return *v, true
	}
	return decimal{}, false
}

// align gives both numbers at the larger of their scales.
func align(a, b decimal) (x, y *big.Int, scale int) {
	x, y = a.unscaled(), b.unscaled()
	switch {
	case a.scale < b.scale:
		x = new(big.Int).Mul(x, powerOfTen(b.scale-a.scale))
	case a.scale > b.scale:
		y = new(big.Int).Mul(y, powerOfTen(a.scale-b.scale))
	}
	return x, y, max(a.scale, b.scale)
}

func compareDecimals(a, b decimal) int {
	if a.large == nil && b.large == nil {
		x, okX := scaleUp(a.small, b.scale-a.scale)
		y, okY := scaleUp(b.small, a.scale-b.scale)
		if okX && okY {
			return compareInts(x, y)
		}
	}
	x, y, _ := align(a, b)
	return x.Cmp(y)
}

func compareInts(x, y int64) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

var smallPowers = [maxSmallDigits + 1]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

// scaleUp is n * 10^by, if that fits; by may be negative, and then changes nothing.
func scaleUp(n int64, by int) (int64, bool) {
	if by <= 0 {
		return n, true
	}
	if by > maxSmallDigits || n == math.MinInt64 {
		return 0, false
	}
	high, low := bits.Mul64(uint64(max(n, -n)), smallPowers[by])
	if high != 0 || low > math.MaxInt64 {
		return 0, false
	}
	if n < 0 {
		return -int64(low), true
	}
	return int64(low), true
}

func addNumbers(a, b decimal) (ref.Val, error) {
	if a.large == nil && b.large == nil && a.scale == b.scale {
		if sum := a.small + b.small; (sum > a.small) == (b.small > 0) {
			return reduceSmall(sum, a.scale), nil
		}
	}
	x, y, scale := align(a, b)
	return reduce(new(big.Int).Add(x, y), scale)
}

func subtractNumbers(a, b decimal) (ref.Val, error) {
	x, y, scale := align(a, b)
	return reduce(new(big.Int).Sub(x, y), scale)
}

func multiplyNumbers(a, b decimal) (ref.Val, error) {
	return reduce(new(big.Int).Mul(a.unscaled(), b.unscaled()), a.scale+b.scale)
}
