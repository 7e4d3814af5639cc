package jsonstringify

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/signerd/signerd/internal/interop"
)

// In the bodies of this table a backslash is what the body holds, except in the few that are interpreted strings.
var differencesTests = []struct {
	name string
	body string
	want []kind
}{
	{"an empty body has no difference", "", nil},
	{"an empty object has no difference", `{}`, nil},
	{"an empty array has no difference", `[]`, nil},
	{"a body as JSON.stringify writes it has no difference", `{"a":[1,-2.5,"x",true,false,null,{}],"b":{"c":{"a":""}}}`, nil},

	{"white space before the root is told", ` {}`, []kind{whiteSpace}},
	{"a line break after the root is told", "{}\n", []kind{whiteSpace}},
	{"white space inside an empty object is told", `{ }`, []kind{whiteSpace}},
	{"white space after a colon is told", `{"a": 1}`, []kind{whiteSpace}},
	{"white space after a comma is told", "[1,\t2]", []kind{whiteSpace}},
	{"a carriage return between values is told", "[1,\r2]", []kind{whiteSpace}},
	{"white space inside strings is no difference", `{"a b":" c "}`, nil},
	{"a name that ends in an escaped quote and a space is no difference", `{"a\" ":"\\"}`, nil},

	{"the short escapes are as JSON.stringify writes them", `["\"\\\b\f\n\r\t"]`, nil},
	{"an escaped solidus is told", `["a\/b"]`, []kind{escapes}},
	{"an escaped letter is told", `["\u0041"]`, []kind{escapes}},
	{"an escaped quote by number is told", `["\u0022"]`, []kind{escapes}},
	{"an escape in a name is told", `{"\u0041":1}`, []kind{escapes}},
	{"a control character in lower-case hex is no difference", `["\u0000\u001f\u000b"]`, nil},
	{"a control character in upper-case hex is told", `["\u001F"]`, []kind{escapes}},
	{"a backspace by number is told", `["\u0008"]`, []kind{escapes}},
	{"a tab by number is told", `["\u0009"]`, []kind{escapes}},
	{"a line feed by number is told", `["\u000a"]`, []kind{escapes}},
	{"a form feed by number is told", `["\u000c"]`, []kind{escapes}},
	{"a carriage return by number is told", `["\u000d"]`, []kind{escapes}},
	{"an escaped delete character is told", `["\u007f"]`, []kind{escapes}},
	{"a raw delete character is no difference", "[\"\x7f\"]", nil},
	{"an escaped accent is told", `["\u00e9"]`, []kind{escapes}},
	{"raw characters of all lengths are no difference", `["é€😀"]`, nil},
	{"raw line separators are no difference", "[\"\u2028\u2029\"]", nil},
	{"an escaped line separator is told", `["\u2028"]`, []kind{escapes}},
	{"raw noncharacters and byte order marks are no difference", "[\"\ufeff\uffff\ufffd\"]", nil},
	{"an escaped surrogate pair is told", `["\ud83d\ude00"]`, []kind{escapes}},
	{"a lone high surrogate in lower case is no difference", `["\ud83d"]`, nil},
	{"a lone low surrogate in lower case is no difference", `["\ude00x"]`, nil},
	{"a lone surrogate in upper case is told", `["\uD83D"]`, []kind{escapes}},
	{"surrogates in the wrong order are no difference", `["\ude00\ud83d"]`, nil},
	{"two high surrogates are no difference", `["\ud83d\ud83d"]`, nil},
	{"a pair after a lone high surrogate is told", `["\ud83d\ud83d\ude00"]`, []kind{escapes}},
	{"a high surrogate before a raw character is no difference", `["\ud83d😀"]`, nil},
	{"a high surrogate before another escape is no difference", `["\ud83d\n"]`, nil},
	{"a high surrogate after a backslash is text", `["\\ud83d\\u0041"]`, nil},

	{"a fraction of zero is told", `[1.0]`, []kind{numbers}},
	{"a trailing zero is told", `[1.50]`, []kind{numbers}},
	{"an exponent where none is needed is told", `[1e2]`, []kind{numbers}},
	{"minus zero is told", `[-0]`, []kind{numbers}},
	{"minus zero as a fraction is told", `[-0.0]`, []kind{numbers}},
	{"zero and negative integers are no difference", `[0,-1,-999999999999999]`, nil},
	{"the largest exact integers are no difference", `[9007199254740991,9007199254740992]`, nil},
	{"an integer that a double cannot hold is told", `[9007199254740993]`, []kind{numbers}},
	{"a large integer with its shortest digits is no difference", `[123456789012345680000,-100000000000000000000]`, nil},
	{"a large integer with all its digits is told", `[123456789012345678901]`, []kind{numbers}},
	{"the first number with an exponent is no difference", `[1e+21]`, nil},
	{"the first number with an exponent, without its sign, is told", `[1e21]`, []kind{numbers}},
	{"the first number with an exponent, in upper case, is told", `[1E+21]`, []kind{numbers}},
	{"the first number with an exponent, in digits, is told", `[1000000000000000000000]`, []kind{numbers}},
	{"the smallest number without an exponent is no difference", `[0.000001,-0.0000012345678901234567]`, nil},
	{"a smaller number with an exponent is no difference", `[1e-7,-1.5e-7]`, nil},
	{"a smaller number without an exponent is told", `[0.0000001]`, []kind{numbers}},
	{"an exponent with a leading zero is told", `[1e-07]`, []kind{numbers}},
	{"exponents of two and three digits are no difference", `[1e-10,1e-100,1e+100,1e-300]`, nil},
	{"the largest and the smallest numbers are no difference", `[1.7976931348623157e+308,5e-324,2.2250738585072014e-308]`, nil},
	{"subnormal numbers with their shortest digits are no difference", `[5e-324,1e-323,-1.5e-323,2.225073858507201e-308,1.2345678901234e-310]`, nil},
	{"a subnormal number with other digits is told", `[4.9e-324]`, []kind{numbers}},
	{"a subnormal number with too many digits is told", `[2.2250738585072011e-308]`, []kind{numbers}},
	{"a subnormal number with another exponent is told", `[50e-325]`, []kind{numbers}},
	{"a subnormal number with two digits before the point is told", `[12.5e-322]`, []kind{numbers}},
	{"a number half of the smallest is told", `[2e-324]`, []kind{numbers}},
	{"a number that becomes infinite is told", `[1E400]`, []kind{numbers}},
	{"a number that becomes zero is told", `[1e-400]`, []kind{numbers}},
	{"a fraction with its shortest digits is no difference", `[0.1,0.30000000000000004,5e-7]`, nil},
	{"a fraction with more digits than needed is told", `[0.1000000000000000055]`, []kind{numbers}},
	{"a number of very many digits is told", `[1` + strings.Repeat("0", 100000) + `]`, []kind{numbers}},
	{"digits in a string are no numbers", `["1.0","-0"]`, nil},

	{"a repeated name is told", `{"a":1,"a":1}`, []kind{repeatedNames}},
	{"a repeated empty name is told", `{"":1,"":1}`, []kind{repeatedNames}},
	{"a name repeated around an object is told", `{"a":{"b":1},"c":{},"a":2}`, []kind{repeatedNames}},
	{"a name repeated among many is told", manyNames(1000, `,"n17":0`), []kind{repeatedNames}},
	{"many names without a repeat are no difference", manyNames(1000, ""), nil},
	{"a small object after a large one is looked at too", `[` + manyNames(100, "") + `,{"a":1,"a":2}]`, []kind{repeatedNames}},
	{"the same name in two objects is no difference", `[{"a":1},{"a":{"a":[{"a":1}]}}]`, nil},
	{"the same string among the values is no difference", `{"a":"a","b":["a","a"],"c":"a"}`, nil},
	{"a name repeated with an escape is told", `{"A":1,"\u0041":2}`, []kind{escapes, repeatedNames}},
	{"names of lone surrogates are told apart", `{"\ud800":1,"\udc00":2,"\ud801":3}`, nil},
	{"a repeated lone surrogate is told", `{"\udc00x":1,"\udc00x":2}`, []kind{repeatedNames}},
	{"a surrogate pair and its character are the same name", `{"😀":1,"\ud83d\ude00":2}`, []kind{escapes, repeatedNames}},
	{"a lone surrogate is not a replacement character", "{\"\ufffd\":1,\"\\ud800\":2}", nil},
	{"names that differ in case are no difference", `{"a":1,"A":2}`, nil},
	{"names of the object's prototype are no difference", `{"__proto__":1,"constructor":{"__proto__":null},"toString":1,"toJSON":1,"length":0}`, nil},
	{"a repeated __proto__ is told", `{"__proto__":1,"__proto__":{}}`, []kind{repeatedNames}},

	{"whole-number names first and ascending are no difference", `{"0":1,"1":1,"9":1,"10":1,"4294967294":1,"b":1,"a":1}`, nil},
	{"whole-number names out of order are told", `{"10":1,"9":1}`, []kind{nameOrder}},
	{"a whole-number name after another name is told", `{"a":1,"1":1}`, []kind{nameOrder}},
	{"a whole-number name after an empty name is told", `{"":1,"1":1}`, []kind{nameOrder}},
	{"a whole-number name by escapes is told", `{"a":1,"\u0031":1}`, []kind{escapes, nameOrder}},
	{"a whole-number name after an object is told", `{"a":{},"1":1}`, []kind{nameOrder}},
	{"the largest array index is one", `{"a":1,"4294967294":1}`, []kind{nameOrder}},
	{"the number after the largest array index is none", `{"a":1,"4294967295":1,"99999999999999999999":1}`, nil},
	{"numbers in any other form are none", `{"a":1,"00":1,"01":1,"-1":1,"+1":1,"1.0":1,"1e1":1,"-0":1," 1":1,"1 ":1,"１":1}`, nil},
	{"an inner object's names do not count for the outer one", `{"a":{"1":1,"b":1},"b":[{"0":1}]}`, nil},
	{"whole-number values after names are no difference", `{"a":"1","b":["2","1"]}`, nil},
	{"a repeated whole-number name is a repeat only", `{"1":1,"1":2}`, []kind{repeatedNames}},

	{"every kind is told once and in order", `{"b":-0, "1":"\/","b":1.0, "0":"\/"}`, []kind{whiteSpace, escapes, numbers, repeatedNames, nameOrder}},
	{"the deepest nesting that json.Valid takes is read", strings.Repeat(`[{"":`, 5000) + `1` + strings.Repeat(`}]`, 5000), nil},
}

func TestDifferencesTellsEachKindOfReason(t *testing.T) {
	for _, tt := range differencesTests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.body != "" && (!json.Valid([]byte(tt.body)) || !utf8.ValidString(tt.body)) {
				t.Fatal("the body is not what Differences is made for")
			}
			var want []string
			for _, k := range tt.want {
				want = append(want, texts[k])
			}
			if got := Differences([]byte(tt.body)); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			} else if len(got) == 0 && got != nil {
				t.Error("got an empty slice, want nil")
			}
		})
	}
}

func TestDifferencesAgreesWithNode(t *testing.T) {
	var bodies []string
	for _, tt := range differencesTests {
		// JavaScript's own JSON.stringify gives up on very deep values.
		if tt.body != "" && !strings.HasPrefix(tt.body, strings.Repeat(`[{"":`, 1000)) {
			bodies = append(bodies, tt.body)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 4000 {
		bodies = append(bodies, randomBody(rng))
	}
	lines := make([]string, len(bodies))
	for i, body := range bodies {
		if !json.Valid([]byte(body)) || !utf8.ValidString(body) {
			t.Fatalf("the generator made a body that is not valid: %s", body)
		}
		lines[i] = base64.StdEncoding.EncodeToString([]byte(body))
	}
	var same, told int
	alone := make(map[string]int) // how often a kind was the only one
	for i, answer := range interop.Node(t, "stringify.js", lines) {
		written, err := base64.StdEncoding.DecodeString(answer)
		if err != nil {
			t.Fatal(err)
		}
		got := Differences([]byte(bodies[i]))
		if equal := string(written) == bodies[i]; equal != (got == nil) {
			t.Errorf("Differences gives %q for\n%s\nwhich Node writes as\n%s", got, bodies[i], written)
		} else if equal {
			same++
		} else {
			told++
		}
		if len(got) == 1 {
			alone[got[0]]++
		}
		if got := Differences(written); got != nil {
			t.Errorf("Differences gives %q for what Node wrote:\n%s", got, written)
		}
	}
	t.Logf("%d bodies as JSON.stringify writes them, %d others", same, told)
	for _, text := range texts {
		t.Logf("%d times alone: %s", alone[text], text)
		if alone[text] < 50 {
			t.Errorf("the bodies show too seldom that a difference of one kind is told")
		}
	}
	if same < 500 || told < 500 {
		t.Errorf("%d bodies as JSON.stringify writes them and %d others: too few of one sort to show anything", same, told)
	}
}

func TestDifferencesCostsLittle(t *testing.T) {
	body := []byte(`[` + strings.Repeat(manyNames(20, "")+`,{"a\n":0.5,"b":"x","c":[]},`, 1000) + `0]`)
	if allocs := testing.AllocsPerRun(3, func() { Differences(body) }); allocs > 100 {
		t.Errorf("%v allocations for a body of %d bytes", allocs, len(body))
	}
}

func FuzzDifferences(f *testing.F) {
	f.Fuzz(func(t *testing.T, body []byte) {
		got := Differences(body)
		next := 0
		for _, line := range got {
			i := slices.Index(texts[next:], line)
			if i < 0 {
				t.Fatalf("%q is out of order or no text of this package", line)
			}
			next += i + 1
		}
		if !json.Valid(body) || !utf8.Valid(body) {
			return
		}
		if inner := Differences(slices.Concat([]byte(`{"x":[`), body, []byte(`]}`))); !slices.Equal(inner, got) {
			t.Errorf("%q, but %q inside another value", got, inner)
		}
		if spaced := Differences(append([]byte(" "), body...)); len(spaced) == 0 || spaced[0] != texts[whiteSpace] {
			t.Errorf("white space before the body is not told: %q", spaced)
		}
		if got == nil {
			checkCanonical(t, body)
		}
	})
}

// checkCanonical fails unless body has what every text of JSON.stringify has and encoding/json can tell.
func checkCanonical(t *testing.T, body []byte) {
	t.Helper()
	var compact bytes.Buffer
	if err := json.Compact(&compact, body); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(compact.Bytes(), body) {
		t.Error("there is white space outside strings")
	}
	var value any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	var names int
	var visit func(any)
	visit = func(value any) {
		switch value := value.(type) {
		case json.Number:
			n, err := value.Float64()
			if err != nil {
				t.Errorf("the number %s is beyond all numbers", value)
				return
			}
			// encoding/json writes numbers as ECMAScript does, but for -0.
			if text, _ := json.Marshal(n); string(text) != value.String() || math.Signbit(n) && n == 0 {
				t.Errorf("the number %s would be written as %s", value, text)
			}
		case []any:
			for _, v := range value {
				visit(v)
			}
		case map[string]any:
			names += len(value)
			for _, v := range value {
				visit(v)
			}
		}
	}
	visit(value)
	// A repeated name is in the text and not in the map. The replacement of lone surrogates can make names equal.
	if !bytes.Contains(body, []byte(`\ud`)) {
		if inText := countNames(t, body); inText != names {
			t.Errorf("%d names in the text, %d in the value", inText, names)
		}
	}
}

// countNames counts the names of all objects in a JSON text, repeated ones too.
func countNames(t *testing.T, body []byte) int {
	t.Helper()
	var count int
	decoder := json.NewDecoder(bytes.NewReader(body))
	type frame struct{ object, name bool }
	open := []frame{{}}
	for {
		token, err := decoder.Token()
		if err != nil {
			return count
		}
		top := &open[len(open)-1]
		if delim, ok := token.(json.Delim); ok && (delim == '}' || delim == ']') {
			open = open[:len(open)-1]
			continue
		}
		if top.object {
			if top.name {
				count++
			}
			top.name = !top.name
		}
		if delim, ok := token.(json.Delim); ok {
			open = append(open, frame{object: delim == '{', name: delim == '{'})
		}
	}
}

func TestSubnormalNumbersAreReadAsStrconvReadsThem(t *testing.T) {
	same := func(f float64) bool { return sameNumber([]byte(strconv.FormatFloat(f, 'e', -1, 64))) }
	rng := rand.New(rand.NewPCG(3, 4))
	bits := []uint64{1, 2, 3, 4, 5, 1<<52 - 2, 1<<52 - 1, 1 << 52, 1<<52 + 1, 1<<53 - 1}
	for range 100_000 {
		bits = append(bits, max(rng.Uint64()>>(11+rng.IntN(53)), 1))
	}
	for _, n := range bits {
		if f := math.Float64frombits(n); !same(f) {
			t.Errorf("the shortest form of %v is told", f)
		}
	}
}

func BenchmarkDifferences(b *testing.B) {
	for _, bb := range []struct{ name, part string }{
		{"objects", `{"id":12345,"amount":"100.00","currency":"USD","lines":[{"text":"a longer text of a few words","n":0.25}]}`},
		{"numbers", `[0.1,-123.456,1e+21,1.7976931348623157e+308]`},
		{"subnormal numbers", `5e-324`},
		{"strings", `["` + strings.Repeat("x", 200) + `"]`},
		{"brackets", `[[],[]]`},
	} {
		body := []byte(`[` + strings.Repeat(bb.part+`,`, (1<<20)/len(bb.part)) + `0]`)
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				Differences(body)
			}
		})
	}
	for _, bb := range []struct{ name, format string }{
		{"one object of short names", `"%x":0,`},
		{"one object of escaped names", `"\u0061%x":0,`},
		{"one object of long names", `"` + strings.Repeat("x", 1000) + `%d":0,`},
	} {
		var body bytes.Buffer
		body.WriteString(`{`)
		for i := 0; body.Len() < 1<<20; i++ {
			fmt.Fprintf(&body, bb.format, i)
		}
		body.WriteString(`"":0}`)
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(body.Len()))
			b.ReportAllocs()
			for b.Loop() {
				Differences(body.Bytes())
			}
		})
	}
}

// manyNames returns an object with n names, n0 and following, and with more at its end.
func manyNames(n int, more string) string {
	var b strings.Builder
	b.WriteString(`{"n0":0`)
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, `,"n%d":%d`, i, i)
	}
	b.WriteString(more + `}`)
	return b.String()
}
