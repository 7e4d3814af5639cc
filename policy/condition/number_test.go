package condition

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"pgregory.net/rapid"
)

// rational is a number as another implementation knows it.
func rational(t testing.TB, v ref.Val) *big.Rat {
	t.Helper()
	d, ok := asDecimal(v)
	if !ok {
		t.Fatalf("%v is no number", v)
	}
	return new(big.Rat).SetFrac(d.unscaled(), powerOfTen(d.scale))
}

func parseRational(t testing.TB, text string) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		t.Fatalf("big.Rat refuses %q", text)
	}
	return r
}

// checkForm fails unless v has the one form of its value.
func checkForm(t testing.TB, v ref.Val) {
	t.Helper()
	d, ok := v.(*decimal)
	if !ok {
		return
	}
	r := rational(t, v)
	if r.IsInt() && r.Num().IsInt64() {
		t.Errorf("%s is an integer kept as a decimal", r)
	}
	if d.large != nil && d.large.IsInt64() {
		t.Errorf("%s is small and kept as large", r)
	}
	if rest := new(big.Int).Rem(d.unscaled(), ten); d.scale > 0 && rest.Sign() == 0 {
		t.Errorf("%s has zeros at its end", r)
	}
}

// numbers draws JSON numbers: near each other, near the edges of int64, and as long as the bounds allow.
var numbers = rapid.OneOf(
	rapid.StringMatching(`-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,3})?`),
	rapid.StringMatching(`-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?`),
	rapid.StringMatching(`-?92233720368547758(0[678]|1[0-9])(\.0{1,3}[01])?`),
	rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?[eE][-+]?([0-5]?[0-9]|6[0-4])`),
)

func TestNumbersBehaveAsRationals(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		textA, textB := numbers.Draw(rt, "a"), numbers.Draw(rt, "b")
		a, b := readNumber(textA), readNumber(textB)
		wantA, wantB := parseRational(t, textA), parseRational(t, textB)
		if rational(t, a).Cmp(wantA) != 0 || rational(t, b).Cmp(wantB) != 0 {
			rt.Fatalf("%s, %s are read as %s, %s", textA, textB, rational(t, a), rational(t, b))
		}
		checkForm(t, a)
		checkForm(t, b)
		order, ok := compare(a, b)
		if want := wantA.Cmp(wantB); !ok || order != want {
			rt.Errorf("compare(%s, %s) = %d, %v, want %d", textA, textB, order, ok, want)
		}
		if equal := types.Equal(a, b) == types.True; equal != (wantA.Cmp(wantB) == 0) {
			rt.Errorf("%s == %s is %v", textA, textB, equal)
		}
		for _, operation := range []struct {
			name string
			got  func(a, b ref.Val) ref.Val
			want *big.Rat
		}{
			{"+", add, new(big.Rat).Add(wantA, wantB)},
			{"-", subtract, new(big.Rat).Sub(wantA, wantB)},
			{"*", multiply, new(big.Rat).Mul(wantA, wantB)},
		} {
			got := operation.got(a, b)
			if types.IsError(got) {
				rt.Errorf("%s %s %s: %v", textA, operation.name, textB, got)
				continue
			}
			if rational(t, got).Cmp(operation.want) != 0 {
				rt.Errorf("%s %s %s = %s, want %s", textA, operation.name, textB, rational(t, got), operation.want)
			}
			checkForm(t, got)
		}
	})
}

func TestDecimalTextsAreRead(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "-0": "0", "0.00": "0", "100.50": "201/2", "-0.1": "-1/10", "500.0": "500",
		"9223372036854775807":                   "9223372036854775807",
		"-9223372036854775808":                  "-9223372036854775808",
		"9223372036854775808":                   "9223372036854775808",
		"0.000000000000000001":                  "1/1000000000000000000",
		strings.Repeat("9", maxDigits):          strings.Repeat("9", maxDigits),
		"1." + strings.Repeat("0", maxDigits-1): "1",
	} {
		got, err := parseDecimal(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if rational(t, got).Cmp(parseRational(t, want)) != 0 {
			t.Errorf("%q is read as %s, want %s", text, rational(t, got), want)
		}
		checkForm(t, got)
	}
}

func TestTextsThatAreNoDecimalAreRefused(t *testing.T) {
	for _, text := range []string{
		"", " ", " 1", "1 ", "+1", "--1", "-", ".5", "5.", "05", "00", "-01", "1,5", "1_000", "1e2", "1E2", "0x10", "NaN", "Infinity", "1.2.3",
		"١", "1\x00", strings.Repeat("9", maxDigits+1), "0." + strings.Repeat("0", maxDigits),
	} {
		if got, err := parseDecimal(text); !errors.Is(err, errNotDecimal) {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}

func TestResultsAreBounded(t *testing.T) {
	large := readNumber("1e64")
	for range 10 {
		next := multiply(large, large)
		if err, ok := next.(*types.Err); ok {
			if !errors.Is(err, errRange) {
				t.Error(err)
			}
			return
		}
		large = next
	}
	t.Error("squaring goes on for ever")
}

func TestSmallResultsAreBounded(t *testing.T) {
	small := readNumber("1e-64")
	for range 10 {
		next := multiply(small, small)
		if err, ok := next.(*types.Err); ok {
			if !errors.Is(err, errRange) {
				t.Error(err)
			}
			return
		}
		small = next
	}
	t.Error("squaring goes on for ever")
}

func FuzzDecimal(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseDecimal(text)
		end, ok, bounded := scanNumber(text, 0)
		whole := ok && bounded && end == len(text)
		if (err == nil) != (whole && !strings.ContainsAny(text, "eE")) {
			t.Fatalf("%q: %v, but it is a number: %v", text, err, whole)
		}
		if !whole {
			return
		}
		if err != nil {
			got = readNumber(text)
		}
		want := parseRational(t, text)
		if rational(t, got).Cmp(want) != 0 {
			t.Errorf("%q is read as %s", text, rational(t, got))
		}
		checkForm(t, got)
		for _, other := range []string{"0", "0.1", "9223372036854775807", "-1e64", text} {
			if order, ok := compare(got, readNumber(other)); !ok || order != want.Cmp(parseRational(t, other)) {
				t.Errorf("compare(%q, %s) = %d, %v", text, other, order, ok)
			}
		}
		if s := fmt.Sprint(err); err != nil && strings.Contains(s, text) && len(text) > 6 {
			t.Errorf("%q quotes the text", s)
		}
	})
}
