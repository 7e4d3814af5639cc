package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseQuery(t *testing.T) {
	for _, tt := range []struct {
		name    string
		args    []string
		want    map[string]any
		encoded string
	}{
		{"nothing", nil, nil, ""},
		{"strings stay strings", []string{"a=20", "b=true", "c="}, map[string]any{"a": "20", "b": "true", "c": ""}, "a=20&b=true&c="},
		{"the first = separates", []string{"a=b=c", "d:e=f", "g:=\"h=i\""}, map[string]any{"a": "b=c", "d:e": "f", "g": "h=i"}, "a=b%3Dc&d%3Ae=f&g=h%3Di"},
		{"typed values", []string{"n:=20", "f:=0.5", "t:=true", "s:=\"x\"", " w : = 1 "}, map[string]any{"n": 20.0, "f": 0.5, "t": true, "s": "x", " w : ": " 1 "}, "n=20&f=0.5&t=true&s=x&%20w%20%3A%20=%201%20"},
		{"numbers are written as they are signed", []string{"a:=20.0", "b:=2e1", "c:=1E-7", "d:=-0"}, map[string]any{"a": 20.0, "b": 20.0, "c": 1e-7, "d": 0.0}, "a=20&b=20&c=1e-7&d=0"},
		{"a repeated name is a list", []string{"a=1", "b=x", "a:=2", "a=3"}, map[string]any{"a": []any{"1", 2.0, "3"}, "b": "x"}, "a=1&a=2&a=3&b=x"},
		{"a list", []string{"a:=[1,\"x\",true]"}, map[string]any{"a": []any{1.0, "x", true}}, "a=1&a=x&a=true"},
		{"a list of one", []string{"a:=[1]"}, map[string]any{"a": []any{1.0}}, "a=1"},
		{"the largest integers", []string{"a:=9007199254740991", "b:=-9007199254740991"}, map[string]any{"a": 9007199254740991.0, "b": -9007199254740991.0}, "a=9007199254740991&b=-9007199254740991"},
		{"a large integer as a string", []string{"a=9007199254740993"}, map[string]any{"a": "9007199254740993"}, "a=9007199254740993"},
		{"a fraction that a double only approaches", []string{"a:=0.1000000000000000055511151231257827"}, map[string]any{"a": 0.1}, "a=0.1"},
		{"unreserved characters alone stay", []string{"a-._~=A-._~/?:@!$'()*,;+ %\"<>"}, map[string]any{"a-._~": "A-._~/?:@!$'()*,;+ %\"<>"}, "a-._~=A-._~%2F%3F%3A%40%21%24%27%28%29%2A%2C%3B%2B%20%25%22%3C%3E"},
		// Null and objects are signerd's to refuse.
		{"null", []string{"a:=null"}, map[string]any{"a": nil}, "a=null"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q, err := parseQuery(tt.args)
			if err != nil {
				t.Fatal(err)
			}
			s, err := q.toStruct()
			if err != nil {
				t.Fatal(err)
			}
			if s == nil != (tt.want == nil) {
				t.Fatalf("the message is %v", s)
			}
			if diff := cmp.Diff(tt.want, s.AsMap()); s != nil && diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
			encoded, err := q.encode()
			if err != nil || encoded != tt.encoded {
				t.Errorf("encoded as %q (%v), want %q", encoded, err, tt.encoded)
			}
		})
	}
}

func TestParseQueryRefuses(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"a"}, `--query "a" is neither K=V nor K:=JSON`},
		{[]string{""}, `is neither K=V nor K:=JSON`},
		{[]string{"=1"}, `has no name`},
		{[]string{":=1"}, `has no name`},
		{[]string{"a:=x"}, `--query "a:=x" does not hold JSON after :=`},
		{[]string{"a:="}, `does not hold JSON after :=`},
		{[]string{"a:=1 2"}, `holds more than one JSON value`},
		{[]string{"a:=9007199254740992"}, `holds an integer beyond 2^53-1, which would be rounded`},
		{[]string{"a:=9007199254740993"}, `--query "a:=9007199254740993" holds an integer beyond 2^53-1, which would be rounded; send it as a string, K=V`},
		{[]string{"a:=-9007199254740993"}, `beyond 2^53-1`},
		{[]string{"a:=1e30"}, `beyond 2^53-1`},
		{[]string{"a:=[1,9007199254740993]"}, `beyond 2^53-1`},
		{[]string{"a:={\"b\":9007199254740993}"}, `beyond 2^53-1`},
		{[]string{"a:=1e999"}, `too large`},
		{[]string{"a:=[]"}, `is an empty list`},
		{[]string{"a:=[1]", "a=2"}, `--query "a=2" stands beside a list`},
		{[]string{"a=2", "a:=[1]"}, `stands beside a list`},
		{[]string{"a=\xff"}, `is not UTF-8`},
	} {
		_, err := parseQuery(tt.args)
		if _, ok := err.(*usageError); !ok || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want a usage error with %q", tt.args, err, tt.want)
		}
	}
}
