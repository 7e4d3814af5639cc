package partners

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// The right column is what node prints for JSON.stringify(JSON.parse(text)).
func TestStringifyWritesWhatNodeWrites(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"white space goes", " { \"a\" : [ 1 , 2 ] ,\r\n\t\"b\" : { } , \"c\" : [ ] } ", `{"a":[1,2],"b":{},"c":[]}`},
		{"literals stay", `[true,false,null]`, `[true,false,null]`},
		{"names keep their order", `{"b":1,"a":2}`, `{"b":1,"a":2}`},
		{"integer-like names go first in ascending order", `{"b":1,"10":2,"9":3,"01":4,"-1":5,"0":6}`, `{"0":6,"9":3,"10":2,"b":1,"01":4,"-1":5}`},
		{"the last array index and the first number beyond", `{"b":0,"4294967295":1,"4294967294":2}`, `{"4294967294":2,"b":0,"4294967295":1}`},
		{"a repeated name has its first place and last value", `{"a":1,"b":2,"a":3,"1":4,"1":5}`, `{"1":5,"a":3,"b":2}`},
		{"a name is the same however it is escaped", `{"a":1,"b":2,"\u0061":3}`, `{"a":3,"b":2}`},
		{"__proto__ is a name like others", `{"__proto__":{"a":1}}`, `{"__proto__":{"a":1}}`},
		{"short escapes", `"\b\f\n\r\t\"\\\/"`, `"\b\f\n\r\t\"\\/"`},
		{"control characters", `"\u0000\u001F\u007f"`, "\"\\u0000\\u001f\x7f\""},
		{"nothing is escaped for HTML or JavaScript", `"<>&\u2028\u2029"`, "\"<>&\u2028\u2029\""},
		{"characters beyond ASCII", `"\u00fc\u2713\uD83D\uDE00ü"`, `"ü✓😀ü"`},
		{"lone surrogates", `"\uD800x\uDC00\uDBFF\u0041\uD800\uD83D\uDE00"`, `"\ud800x\udc00\udbffA\ud800😀"`},
		{"the replacement character is none", `"\ufffd"`, "\"\ufffd\""},
		{"an escaped backslash before a u", `"\\ud800"`, `"\\ud800"`},
		{"integers", `[0,-0,-0.0,20,1.0,1e2,-5]`, `[0,0,0,20,1,100,-5]`},
		{"integers beyond doubles", `[9007199254740991,9007199254740993,123456789012345678901234]`, `[9007199254740991,9007199254740992,1.2345678901234569e+23]`},
		{"fractions", `[0.1,0.10,100.25,3.14e-2]`, `[0.1,0.1,100.25,0.0314]`},
		{"large and small ones", `[1e20,1e21,0.000001,0.0000001,1.5e-10,1e-100,5e-324,1.7976931348623157e308]`, `[100000000000000000000,1e+21,0.000001,1e-7,1.5e-10,1e-100,5e-324,1.7976931348623157e+308]`},
		{"out of range", `[1e400,-1e400,1e-400]`, `[null,null,0]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := parseJSON([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(v.stringify(nil)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestParseStrictObjectRefusesWhatTwoReadersMayReadDifferently(t *testing.T) {
	tests := []struct{ name, in, reason string }{
		{"an object", `{"a":{"b":1},"c":{"b":2}}`, ""},
		{"nothing", ``, "is not valid JSON"},
		{"two values", `{} {}`, "is not valid JSON"},
		{"a byte order mark", "\ufeff{}", "is not valid JSON"},
		{"bytes that are not UTF-8", "{\"a\":\"\xc3\"}", "is not valid UTF-8"},
		{"an array", `[]`, "is an array"},
		{"null", `null`, "is null"},
		{"a name twice", `{"a":1,"a":1}`, `has the name "a" twice`},
		{"a name twice, deep down", `{"a":[{"b":{"c":1,"c":2}}]}`, `has the name "c" twice`},
		{"a name twice, once escaped", `{"a":1,"\u0061":1}`, `has the name "a" twice`},
		{"names in two cases", `{"a":1,"A":1}`, ""},
		{"a lone surrogate in a value", `{"a":["\udc00"]}`, "lone surrogate"},
		{"a lone surrogate in a name", `{"a":{"\ud800":1}}`, "lone surrogate"},
		{"a surrogate pair", `{"a":"\ud83d\ude00"}`, ""},
		{"a depth that nobody needs", `{"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, "is not valid JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseStrictObject([]byte(tt.in))
			if tt.reason == "" && err != nil || tt.reason != "" && (err == nil || !strings.Contains(err.Error(), tt.reason)) {
				t.Errorf("got %v, want %q", err, tt.reason)
			}
		})
	}
}

// FuzzStringify holds the hand-written reader against encoding/json: what both
// accept means the same to both, and stringify does not change its own output.
func FuzzStringify(f *testing.F) {
	for _, s := range []string{`{}`, `[]`, `"\ud83d\ude00\n"`, `{"a":[1.50,-0,true,null],"1":{"":"x"}}`, ` [ 1e21 , {"b":2,"a":[[]]} ] `, `{"a":`, "\"\xff\"", `"\ud800"`, `{"x":1e999}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := parseJSON(data)
		if (err == nil) != (json.Valid(data) && utf8.Valid(data)) {
			t.Fatalf("parseJSON says %v", err)
		}
		if err != nil {
			return
		}
		out := v.stringify(nil)
		again, err := parseJSON(out)
		if err != nil {
			t.Fatalf("stringify wrote %q: %v", out, err)
		}
		if twice := again.stringify(nil); !bytes.Equal(out, twice) {
			t.Fatalf("stringify of %q is %q", out, twice)
		}
		if v.unambiguous() != nil {
			return // encoding/json merges and replaces
		}
		var want, got any
		if json.Unmarshal(data, &want) != nil {
			return // a number beyond doubles
		}
		if err := json.Unmarshal(out, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("stringify of %q is %q", data, out)
		}
	})
}
