package condition

import (
	"bytes"
	"encoding/json"
	"math/big"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"pgregory.net/rapid"
)

// plain gives a value as encoding/json would, with numbers as fractions.
func plain(t testing.TB, v ref.Val) any {
	t.Helper()
	switch v := v.(type) {
	case types.Null:
		return nil
	case types.Bool:
		return bool(v)
	case types.String:
		return string(v)
	case types.Int, *decimal:
		return rational(t, v).RatString()
	case *array:
		list := []any{}
		for it := v.iterate(); it.more(); {
			value := it.value()
			if a, ok := v.Get(types.Int(len(list))).(*array); ok && a.at != value.(*array).at {
				t.Errorf("element %d is another one by its index", len(list))
			}
			list = append(list, plain(t, value))
		}
		if v.Size() != types.Int(len(list)) {
			t.Errorf("a list of %d says that its size is %v", len(list), v.Size())
		}
		return list
	case *object:
		members := map[string]any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			name := it.Next()
			value, ok := v.Find(name)
			if !ok || v.Contains(name) != types.True {
				t.Fatalf("%q is listed and not found", name)
			}
			members[string(name.(types.String))] = plain(t, value)
		}
		if v.Size() != types.Int(len(members)) {
			t.Errorf("an object of %d says that its size is %v", len(members), v.Size())
		}
		return members
	}
	t.Fatalf("%T is nothing that JSON has", v)
	return nil
}

func parsePlain(t testing.TB, text string) (any, Reason) {
	t.Helper()
	b := NewBody([]byte(text))
	if reason := b.parse(); reason != "" {
		return nil, reason
	}
	b.budget = &Budget{left: 1 << 40}
	return plain(t, b.value(0)), ""
}

// reference reads JSON with the standard library; ok is false where a body must be refused.
func reference(text string) (value any, ok bool) {
	if !utf8.ValidString(text) || !json.Valid([]byte(text)) {
		return nil, false
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	value, ok = referenceValue(d, 0)
	return value, ok
}

func referenceValue(d *json.Decoder, depth int) (any, bool) {
	token, err := d.Token()
	if err != nil {
		return nil, false
	}
	switch token := token.(type) {
	case json.Number:
		return referenceNumber(string(token))
	case json.Delim:
		if depth++; depth > 64 {
			return nil, false
		}
		if token == '[' {
			list := []any{}
			for d.More() {
				value, ok := referenceValue(d, depth)
				if !ok {
					return nil, false
				}
				list = append(list, value)
			}
			_, err := d.Token()
			return list, err == nil
		}
		members := map[string]any{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, false
			}
			value, ok := referenceValue(d, depth)
			if !ok || repeatsReference(members, name.(string)) {
				return nil, false
			}
			members[name.(string)] = value
		}
		_, err := d.Token()
		return members, err == nil
	}
	return token, true
}

// repeatsReference looks for a name but for case.
func repeatsReference(members map[string]any, name string) bool {
	for other := range members {
		if strings.EqualFold(other, name) {
			return true
		}
	}
	return false
}

func referenceNumber(text string) (any, bool) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	if digits := len(strings.NewReplacer("-", "", ".", "").Replace(mantissa)); digits > 64 {
		return nil, false
	}
	if n, err := strconv.Atoi(exponent); exponent != "" && (err != nil || n < -64 || n > 64) {
		return nil, false
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, false
	}
	return r.RatString(), true
}

// refusedEscape finds the escapes that encoding/json takes and bodies must not have: NUL, and surrogates, lone or not.
var refusedEscape = regexp.MustCompile(`(?i)\\u(0000|d[89a-f])`)

func TestBodiesAreReadAsTheStandardLibraryReadsThem(t *testing.T) {
	texts := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "a", "A", "é", "\U0001f600", "\"", "\\", "\t", "</script>"}))
	var values func(depth int) *rapid.Generator[any]
	values = func(depth int) *rapid.Generator[any] {
		scalars := []*rapid.Generator[any]{
			rapid.Just[any](nil), rapid.Bool().AsAny(), texts.AsAny(), rapid.Int64().AsAny(),
			rapid.Map(numbers, func(text string) any { return json.Number(text) }),
		}
		if depth == 0 {
			return rapid.OneOf(scalars...)
		}
		inner := rapid.Deferred(func() *rapid.Generator[any] { return values(depth - 1) })
		return rapid.OneOf(append(scalars,
			rapid.SliceOfN(inner, 0, 6).AsAny(),
			rapid.MapOfN(texts, inner, 0, 6).AsAny(),
			rapid.MapOfN(texts, rapid.Just[any](true), 7, 90).AsAny())...)
	}
	rapid.Check(t, func(rt *rapid.T) {
		raw, err := json.Marshal(values(3).Draw(rt, "value"))
		if err != nil {
			rt.Fatal(err)
		}
		if rapid.Bool().Draw(rt, "indented") {
			var indented bytes.Buffer
			if err := json.Indent(&indented, raw, "\r", "\t "); err != nil {
				rt.Fatal(err)
			}
			raw = indented.Bytes()
		}
		want, ok := reference(string(raw))
		got, reason := parsePlain(t, string(raw))
		if refusedEscape.Match(raw) {
			return
		}
		if ok != (reason == "") || !ok && reason != ReasonBodyRepeats {
			rt.Fatalf("%s: %q, reference: %v", raw, reason, ok)
		}
		if !ok {
			return
		}
		if !reflect.DeepEqual(got, want) {
			rt.Errorf("%s is read as\n%v\nthe standard library reads\n%v", raw, got, want)
		}
	})
}

func TestBodies(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	many := func(n int, last string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(`"n` + strconv.Itoa(i) + `":0,`)
		}
		return "{" + b.String() + last + "}"
	}
	for name, test := range map[string]struct {
		text string
		want Reason
	}{
		"no body is null":                            {"", ""},
		"any value is a body":                        {` "x" `, ""},
		"the same name in two objects":               {`{"a":{"a":1},"b":[{"a":1},{"a":1}]}`, ""},
		"64 levels":                                  {nested(64), ""},
		"65 levels":                                  {nested(65), ReasonBodyTooDeep},
		"65 levels of both kinds":                    {strings.Repeat(`{"a":[`, 33) + strings.Repeat(`]}`, 33), ReasonBodyTooDeep},
		"a surrogate pair":                           {`"\ud83d\uDE00"`, ""},
		"64 digits":                                  {"1." + strings.Repeat("3", 63), ""},
		"65 digits":                                  {"1." + strings.Repeat("3", 64), ReasonBodyNumber},
		"an exponent of 64":                          {"1e-64", ""},
		"an exponent of 65":                          {"1e65", ReasonBodyNumber},
		"an exponent of many digits":                 {"1e99999999999999999999", ReasonBodyNumber},
		"a name twice":                               {`{"a":1,"a":1}`, ReasonBodyRepeats},
		"a name twice, once with an escape":          {`{"a":1,"\u0061":1}`, ReasonBodyRepeats},
		"a name twice, with two escapes":             {`{"\/":1,"\u002f":1}`, ReasonBodyRepeats},
		"a name twice, far inside":                   {`[{"x":[{"a":1,"b":2,"a":1}]}]`, ReasonBodyRepeats},
		"the empty name twice":                       {`{"":1,"":1}`, ReasonBodyRepeats},
		"a name twice among 20":                      {many(20, `"n7":1`), ReasonBodyRepeats},
		"a name twice among 20, once with an escape": {many(20, `"\u006e7":1`), ReasonBodyRepeats},
		"a name twice among 1000":                    {many(1000, `"n999":1`), ReasonBodyRepeats},
		"1000 names":                                 {many(1000, `"last":1`), ""},
		"names that differ in case only":             {`{"Amount":"5","amount":"9999999"}`, ReasonBodyRepeats},
		"names that differ in case only, far inside": {`[{"x":[{"a":1,"b":2,"A":1}]}]`, ReasonBodyRepeats},
		"names that differ in an escape's case":      {`{"amount":1,"\u0041mount":1}`, ReasonBodyRepeats},
		"names that differ in a letter beyond ASCII": {`{"é":1,"É":1}`, ReasonBodyRepeats},
		"names of different lengths, but one case":   {`{"k":1,"\u212a":1}`, ReasonBodyRepeats},
		"names with a long s and an s":               {`{"status":1,"ſtatus":1}`, ReasonBodyRepeats},
		"names in all three cases of a letter":       {`{"Ǆ":1,"ǅ":1,"ǆ":1}`, ReasonBodyRepeats},
		"a letter that folds to two others":          {`{"ß":1,"ss":1,"SZ":1}`, ""},
		"case among 20":                              {many(20, `"N7":1`), ReasonBodyRepeats},
		"case among 20, once with an escape":         {many(20, `"\u004e7":1`), ReasonBodyRepeats},
		"case among 1000":                            {many(1000, `"N999":1`), ReasonBodyRepeats},
		"a letter of another length among 1000":      {many(1000, `"k":0,"\u212a":1`), ReasonBodyRepeats},
		"the other one of another length among 1000": {many(1000, `"K":0,"\u006b":1`), ReasonBodyRepeats},
		"case in two objects":                        {`[{"a":1},{"A":1}]`, ""},
		"nothing but space":                          {" ", ReasonBodyNotJSON},
		"two values":                                 {"1 2", ReasonBodyNotJSON},
		"a comma behind the value":                   {`{},`, ReasonBodyNotJSON},
		"a comma behind the last element":            {`[1,]`, ReasonBodyNotJSON},
		"a comma behind the last member":             {`{"a":1,}`, ReasonBodyNotJSON},
		"a lone comma":                               {`[,]`, ReasonBodyNotJSON},
		"a comment":                                  {`{}/**/`, ReasonBodyNotJSON},
		"a byte order mark":                          {"\ufeff{}", ReasonBodyNotJSON},
		"a form feed":                                {"\f{}", ReasonBodyNotJSON},
		"a bracket of the other kind":                {`[1}`, ReasonBodyNotJSON},
		"an end inside an object":                    {`{"a":1`, ReasonBodyNotJSON},
		"an end behind a name":                       {`{"a"`, ReasonBodyNotJSON},
		"an end inside a text":                       {`"a`, ReasonBodyNotJSON},
		"an end inside an escape":                    {`"\`, ReasonBodyNotJSON},
		"an end inside a word":                       {`tru`, ReasonBodyNotJSON},
		"a word too long":                            {`trues`, ReasonBodyNotJSON},
		"a name that is no text":                     {`{1:1}`, ReasonBodyNotJSON},
		"single quotes":                              {`{'a':1}`, ReasonBodyNotJSON},
		"a raw line break in a text":                 {"\"\n\"", ReasonBodyNotJSON},
		"an unknown escape":                          {`"\x41"`, ReasonBodyNotJSON},
		"a sign in an escape":                        {`"\u+041"`, ReasonBodyNotJSON},
		"an underscore in an escape":                 {`"\u0_41"`, ReasonBodyNotJSON},
		"a lone high surrogate":                      {`"\ud83d"`, ReasonBodyNotJSON},
		"a lone low surrogate":                       {`"\ude00"`, ReasonBodyNotJSON},
		"a high surrogate and another escape":        {`"\ud83d\u0041"`, ReasonBodyNotJSON},
		"a lone surrogate in a name":                 {`{"\ud83d":1}`, ReasonBodyNotJSON},
		"NUL as an escape":                           {`"\u0000"`, ReasonBodyNotJSON},
		"NUL as it is":                               {"\"\x00\"", ReasonBodyNotJSON},
		"bytes that are not UTF-8":                   {"\"\xff\"", ReasonBodyNotJSON},
		"a surrogate in UTF-8":                       {"\"\xed\xa0\x80\"", ReasonBodyNotJSON},
		"a leading zero":                             {`01`, ReasonBodyNotJSON},
		"a plus sign":                                {`+1`, ReasonBodyNotJSON},
		"a point without digits":                     {`1.`, ReasonBodyNotJSON},
		"an exponent without digits":                 {`1e`, ReasonBodyNotJSON},
		"NaN":                                        {`NaN`, ReasonBodyNotJSON},
	} {
		if _, got := parsePlain(t, test.text); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

// Every letter of all of Unicode, under names that a table holds.
func TestNamesHaveOneHashInAllCases(t *testing.T) {
	for r := range rune(unicode.MaxRune) {
		next := unicode.SimpleFold(r)
		if a, b := "x"+string(r), "X"+string(next); strings.EqualFold(a, b) && hashName(a) != hashName(b) {
			t.Errorf("%q and %q have two", a, b)
		}
	}
}

func TestALargeObjectFindsANameInItsCaseOnly(t *testing.T) {
	var text strings.Builder
	for i := range 1000 {
		text.WriteString(`"Name` + strconv.Itoa(i) + `":` + strconv.Itoa(i) + `,`)
	}
	document, reason := parseDocument("{" + text.String() + `"last":0}`)
	if reason != "" || document.tables[0] == nil {
		t.Fatal(reason)
	}
	for i := range 1000 {
		if _, _, ok := document.member(0, "Name"+strconv.Itoa(i)); !ok {
			t.Errorf("name %d is not found", i)
		}
		if _, _, ok := document.member(0, "name"+strconv.Itoa(i)); ok {
			t.Errorf("name %d is found in another case", i)
		}
	}
}

func TestABodyIsParsedOnceAndCopied(t *testing.T) {
	raw := []byte(`{"a":1}`)
	b := NewBody(raw)
	copy(raw, `{"b":2}`)
	if reason := b.parse(); reason != "" {
		t.Fatal(reason)
	}
	first := b.document
	if b.parse(); b.document != first {
		t.Error("it was parsed again")
	}
	b.budget = NewBudget()
	if b.value(0).(traits.Container).Contains(types.String("a")) != types.True {
		t.Error("a change of the bytes changed the body")
	}
}

// A body of nothing but brackets and commas is the worst there is.
func TestNodesTakeAtMostFourTimesTheText(t *testing.T) {
	for _, text := range []string{
		"[0" + strings.Repeat(",0", 100_000) + "]", "[[]" + strings.Repeat(",[]", 100_000) + "]", "[{}" + strings.Repeat(`,{"":1}`, 100_000) + "]",
	} {
		document, reason := parseDocument(text)
		if reason != "" {
			t.Fatal(reason)
		}
		const nodeBytes = 8
		if got := cap(document.nodes) * nodeBytes; got > 5*len(text) {
			t.Errorf("%d bytes of text took %d of nodes", len(text), got)
		}
	}
}

func FuzzBody(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" {
			return
		}
		got, reason := parsePlain(t, text)
		want, ok := reference(text)
		switch {
		case reason == "" && !ok:
			t.Errorf("%q is read, and the standard library would not", text)
		case reason != "" && ok && !refusedEscape.MatchString(text):
			t.Errorf("%q: %s, but the standard library reads it", text, reason)
		case reason == "":
			// cmp takes time exponential in the depth.
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%q is read as\n%v\nthe standard library reads\n%v", text, got, want)
			}
		}
	})
}
