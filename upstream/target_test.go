package upstream_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/signerd/signerd/upstream"
)

func TestATargetIsKeptByteForByte(t *testing.T) {
	tests := []struct{ name, in, path, query string }{
		{"the root", "/", "/", ""},
		{"a path", "/v1/transactions", "/v1/transactions", ""},
		{"a slash at the end", "/v1/transactions/", "/v1/transactions/", ""},
		{"empty segments inside", "/v1//transactions", "/v1//transactions", ""},
		{"dot segments are not resolved", "/v1/../v2/./x", "/v1/../v2/./x", ""},
		{"every RFC 3986 path character", "/azAZ09-._~!$&'()*+,;=:@", "/azAZ09-._~!$&'()*+,;=:@", ""},
		{"a colon in the first segment is no scheme", "/http:x", "/http:x", ""},
		{"escapes keep their case", "/a%2Fb%2fc%00%7e", "/a%2Fb%2fc%00%7e", ""},
		{"escaped bytes that are not UTF-8", "/%ff", "/%ff", ""},
		{"a query", "/v1/transactions?a=1&b=2", "/v1/transactions", "a=1&b=2"},
		{"a bare ? is no query", "/v1/transactions?", "/v1/transactions", ""},
		{"a query on the root", "/?a", "/", "a"},
		{"a second ? belongs to the query", "/a?b?c", "/a", "b?c"},
		{"a query of nothing but ?", "/a??", "/a", "?"},
		{"slashes in a query", "/a?//b", "/a", "//b"},
		{"an address in a query", "/a?u=https://x/", "/a", "u=https://x/"},
		{"every visible character that a query may hold", "/a?!\"$&'()*+,-./0:;<=>?@A[\\]^_`a{|}~", "/a", "!\"$&'()*+,-./0:;<=>?@A[\\]^_`a{|}~"},
		{"escapes in a query", "/a?%20%ff%00=%2b", "/a", "%20%ff%00=%2b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target, err := upstream.ParseTarget(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if target.Path() != tt.path || target.Query() != tt.query {
				t.Errorf("got path %q and query %q", target.Path(), target.Query())
			}
		})
	}
}

func TestATargetThatIsNotInOriginFormIsRefused(t *testing.T) {
	tests := []struct{ name, in, problem string }{
		{"an empty one", "", "it is empty"},
		{"a relative path", "v1/transactions", "does not start with /"},
		{"a query alone", "?a=1", "does not start with /"},
		{"a scheme and a host", "https://api.example.com/v1", "does not start with /"},
		{"a host alone", "api.example.com/v1", "does not start with /"},
		{"the asterisk form", "*", "does not start with /"},
		{"a leading space", " /v1", "does not start with /"},
		{"a leading backslash", `\v1`, "does not start with /"},
		{"two slashes at the start", "//host/v1", "starts with //"},
		{"nothing but two slashes", "//", "starts with //"},
		{"a fragment", "/v1#top", "byte 3 is a #"},
		{"a fragment after the query", "/v1?a=1#top", "byte 7 is a #"},
		{"an empty fragment", "/v1#", "byte 3 is a #"},
		{"a question mark in a fragment", "/v1#?a", "byte 3 is a #"},
		{"a space in the path", "/v 1", "byte 2 is a space"},
		{"a space in the query", "/v1?a b", "byte 5 is a space"},
		{"a space at the end", "/v1 ", "byte 3 is a space"},
		{"a tab", "/v\t1", "byte 2 is a control character"},
		{"a line break", "/v1\nX-Header: 1", "byte 3 is a control character"},
		{"a carriage return in the query", "/v1?a\r", "byte 5 is a control character"},
		{"a zero byte", "/v\x001", "byte 2 is a control character"},
		{"a delete character", "/v\x7f1", "byte 2 is a control character"},
		{"a delete character in the query", "/v?\x7f", "byte 3 is a control character"},
		{"a backslash", `/v\1`, "byte 2 is a backslash"},
		{"a letter beyond ASCII", "/ü", "byte 1 is not ASCII"},
		{"a letter beyond ASCII in the query", "/v?ü", "byte 3 is not ASCII"},
		{"a byte that is not UTF-8", "/\xff", "byte 1 is not ASCII"},
		{"a quotation mark in the path", `/"`, "byte 1 is a special character"},
		{"a bracket in the path", "/a[0]", "byte 2 is a special character"},
		{"a brace in the path", "/{id}", "byte 1 is a special character"},
		{"an angle bracket in the path", "/<a>", "byte 1 is a special character"},
		{"a pipe in the path", "/a|b", "byte 2 is a special character"},
		{"a caret in the path", "/a^b", "byte 2 is a special character"},
		{"a grave accent in the path", "/a`b", "byte 2 is a special character"},
		{"a percent sign at the end", "/a%", "% at byte 2"},
		{"one digit after a percent sign", "/a%2", "% at byte 2"},
		{"a letter that is no digit after a percent sign", "/a%2g", "% at byte 2"},
		{"a percent sign before a percent sign", "/a%%20", "% at byte 2"},
		{"an escape that the question mark cuts", "/a%2?0", "% at byte 2"},
		{"a bad escape in the query", "/a?b=%zz", "% at byte 5"},
		{"a bad escape after a good one", "/a%20%2", "% at byte 5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target, err := upstream.ParseTarget(tt.in)
			checkFieldError(t, err, "path", tt.problem)
			if target != (upstream.Target{}) {
				t.Error("a target came with the error")
			}
		})
	}
}

func TestAMethodIsSignedInUpperCase(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"upper case", "GET", "GET"},
		{"lower case", "post", "POST"},
		{"mixed case", "PaTcH", "PATCH"},
		{"one character", "x", "X"},
		{"every token character", "!#$%&'*+-.^_`|~09azAZ", "!#$%&'*+-.^_`|~09AZAZ"},
		{"the longest one", strings.Repeat("a", upstream.MaxMethodBytes), strings.Repeat("A", upstream.MaxMethodBytes)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := upstream.ParseMethod(tt.in); err != nil || got != tt.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestAMethodThatIsNoTokenIsRefused(t *testing.T) {
	tests := []struct{ name, in, problem string }{
		{"an empty one", "", "it is empty"},
		{"one byte too long", strings.Repeat("a", upstream.MaxMethodBytes+1), "longer than 64 bytes"},
		{"a space", "GET ", "byte 3 is a space"},
		{"a line break", "GET\n", "byte 3 is a control character"},
		{"a slash, where the path begins", "GET/v1", "byte 3 is a special character"},
		{"a brace, where a body begins", "GET{", "byte 3 is a special character"},
		{"a colon", "a:b", "byte 1 is a special character"},
		{"a quotation mark", `"GET"`, "byte 0 is a special character"},
		{"a comma", "GET,POST", "byte 3 is a special character"},
		{"a backslash", `GET\`, "byte 3 is a backslash"},
		{"a letter beyond ASCII", "gét", "byte 1 is not ASCII"},
		// ToUpper would make these ASCII letters: the sharp one is U+017F, which becomes S.
		{"a letter whose upper case is ASCII", "po\u017ft", "byte 2 is not ASCII"},
		{"a byte that is not UTF-8", "\xff", "byte 0 is not ASCII"},
		{"a delete character", "\x7f", "byte 0 is a control character"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			method, err := upstream.ParseMethod(tt.in)
			checkFieldError(t, err, "method", tt.problem)
			if method != "" {
				t.Error("a method came with the error")
			}
		})
	}
}

// checkFieldError wants a *FieldError for the field whose text holds problem.
func checkFieldError(t *testing.T, err error, field, problem string) {
	t.Helper()
	var fieldErr *upstream.FieldError
	if !errors.As(err, &fieldErr) {
		t.Fatalf("got %v, want a *FieldError", err)
	}
	if !errors.Is(err, upstream.ErrInvalid) {
		t.Error("it is not ErrInvalid")
	}
	if fieldErr.Field != field || !strings.Contains(fieldErr.Problem, problem) {
		t.Errorf("got %q, want the field %q and %q", err, field, problem)
	}
}
