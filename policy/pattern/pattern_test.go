package pattern_test

import (
	"strings"
	"testing"

	"github.com/signerd/signerd/policy/pattern"
)

func path(t interface {
	Helper()
	Fatalf(string, ...any)
}, text string) pattern.Path {
	t.Helper()
	p, err := pattern.ParsePath(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return p
}

func TestAPatternIsReadOrToldWhatIsWrong(t *testing.T) {
	tests := []struct {
		name, text string
		problem    string // empty when it is a pattern
	}{
		{"the root", "/", ""},
		{"an exact path", "/v1/checkout/buy", ""},
		{"a slash at the end", "/v1/", ""},
		{"a star", "/v1/customers/*/cards", ""},
		{"stars alone", "/*/*", ""},
		{"a star and a slash at the end", "/v1/*/", ""},
		{"two stars at the end", "/v1/x/**", ""},
		{"both wildcards", "/*/**", ""},
		{"every path with one reading", "/**", ""},
		{"every path", "**", ""},
		{"dots within a segment", "/v1.2/...", ""},
		{"a space and letters beyond ASCII", "/a b/café", ""},
		{"the longest", "/" + strings.Repeat("a", 2047), ""},
		{"the most segments", strings.Repeat("/*", 64), ""},
		{"the most segments and a slash", strings.Repeat("/a", 64) + "/", ""},

		{"nothing", "", "it is empty"},
		{"no slash at the start", "v1/buy", "does not start with /"},
		{"a star alone", "*", "does not start with /"},
		{"two stars and a segment", "**/buy", "does not start with /"},
		{"a URL", "https://example.org/v1", "does not start with /"},
		{"a space before", " /v1", "does not start with /"},
		{"a star at a segment's end", "/v1/a*", `segment 2 is "a*"`},
		{"a star inside a segment", "/a*b/c", `segment 1 is "a*b"`},
		{"an extension", "/*.json", `segment 1 is "*.json"`},
		{"two stars within a segment", "/a**", `segment 1 is "a**"`},
		{"three stars", "/***", `segment 1 is "***"`},
		{"an attempt to escape a star", `/\*`, `it holds a \`},
		{"a segment after two stars", "/v1/**/buy", "nothing may follow **"},
		{"a slash after two stars", "/v1/**/", "nothing may follow **"},
		{"two stars twice", "/**/**", "nothing may follow **"},
		{"a template of a path", "/v1/customers/{id}/cards", "it holds a bracket"},
		{"a route of a web framework", "/v1/customers/:id", "segment 3 begins with a colon"},
		{"a query", "/v1?a=b", "it holds a ?; patterns are of the path alone"},
		{"a fragment", "/v1#a", "it holds a #"},
		{"an escape", "/a%20b", "it holds a %; patterns are written decoded"},
		{"a percent sign", "/100%", "it holds a %"},
		{"a semicolon", "/v1;a", "it holds a ;"},
		{"a backslash", `/v1\buy`, `it holds a \`},
		{"a dot segment", "/v1/./buy", "segment 2 is .;"},
		{"a double dot", "/v1/..", "segment 2 is ..;"},
		{"a double dot and a slash", "/v1/../", "segment 2 is ..;"},
		{"an empty segment", "/v1//buy", "segment 2 is empty"},
		{"two slashes at the start", "//v1", "segment 1 is empty"},
		{"two slashes at the end", "/v1//", "segment 2 is empty"},
		{"slashes alone", "//", "segment 1 is empty"},
		{"a space at the end", "/v1 ", "segment 1 begins or ends with a space"},
		{"a space at a segment's start", "/v1/ buy/x", "segment 2 begins or ends with a space"},
		{"a star and a space", "/v1/* ", "segment 2 begins or ends with a space"},
		{"a line end", "/v1\n", "it holds U+000A"},
		{"a zero byte", "/v1\x00", "it holds U+0000"},
		{"a C1 control", "/v1\u0085", "it holds U+0085"},
		{"a line separator", "/v1\u2028", "it holds U+2028"},
		{"a byte order mark", "/\ufeffv1", "it holds U+FEFF"},
		{"bytes that are no UTF-8", "/\xff", "it is not UTF-8"},
		{"too long", "/" + strings.Repeat("a", 2048), "longer than 2048 bytes"},
		{"too many segments", strings.Repeat("/a", 65), "more than 64 segments"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := pattern.ParsePath(tt.text)
			if tt.problem == "" {
				if err != nil || p.String() != tt.text {
					t.Errorf("got %q, %v", p, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("got %v, want %q", err, tt.problem)
			}
			if p != (pattern.Path{}) {
				t.Errorf("the pattern %q came with the error", p)
			}
		})
	}
}

func TestPatternsMatchDecodedSegments(t *testing.T) {
	const no, denies, both = "neither", "denies", "both"
	tests := []struct {
		name, pattern, path string
		want                string
	}{
		{"an exact path", "/v1/buy", "/v1/buy", both},
		{"an exact path in another spelling", "/v1/buy", "/%761/%62uy", both},
		{"an exact path beyond ASCII", "/café", "/caf%c3%a9", both},
		{"an exact path with a space", "/a b", "/a%20b", both},
		{"a plus sign is no space", "/a b", "/a+b", no},
		{"a shorter path", "/v1/buy", "/v1", no},
		{"a longer path", "/v1/buy", "/v1/buy/x", no},
		{"a longer segment", "/v1/buy", "/v1/buyer", no},
		{"a slash more", "/v1/buy", "/v1/buy/", denies},
		{"a slash less", "/v1/buy/", "/v1/buy", denies},
		{"the same slash at the end", "/v1/buy/", "/v1/buy/", both},
		{"another case", "/v1/buy", "/V1/bUY", denies},
		{"another case of the pattern", "/V1/BUY", "/v1/buy", denies},
		{"another case by escapes, and a slash", "/v1/buy", "/v1/%42uy/", denies},
		{"another case beyond ASCII", "/café", "/caf%C3%89", no},
		{"a letter whose lower case is ASCII", "/k", "/%E2%84%AA", no},
		{"a letter whose upper case is ASCII", "/s", "/%C5%BF", no},
		{"the same letters composed otherwise", "/é", "/e%CC%81", no},
		{"the root", "/", "/", both},
		{"a segment is not the root", "/", "/a", no},

		{"a star is one segment", "/a/*", "/a/b", both},
		{"a star is one segment in the middle", "/a/*/c", "/a/b/c", both},
		{"a star is no empty segment", "/a/*", "/a/", no},
		{"a star is not absent", "/a/*", "/a", no},
		{"a star at the root is no empty segment", "/*", "/", no},
		{"a star is not two segments", "/a/*", "/a/b/c", no},
		{"a star and a slash more", "/a/*", "/a/b/", denies},
		{"a star and a slash less", "/a/*/", "/a/b", denies},
		{"a star and the same slash", "/a/*/", "/a/b/", both},
		{"a star is a star in the path", "/a/*", "/a/*", both},
		{"a star in the path is no wildcard", "/a/b", "/a/*", no},
		{"an escaped star in the path is no wildcard", "/a/b/c", "/a/%2A/c", no},
		{"two stars in the path are no wildcard", "/a/b/c", "/a/**", no},

		{"the rest is one segment", "/a/**", "/a/b", both},
		{"the rest is several", "/a/**", "/a/b/c/d", both},
		{"the rest ends in a slash", "/a/**", "/a/b/", both},
		{"the rest is not an empty segment, but is denied", "/a/**", "/a/", denies},
		{"the rest is not absent, but is denied", "/a/**", "/a", denies},
		{"the rest is denied in another case", "/a/**", "/A/b", denies},
		{"the rest of another path", "/a/**", "/ab/c", no},
		{"the rest behind a star", "/*/**", "/a/b", both},
		{"the rest behind a star that stands for nothing", "/*/**", "/", no},
		{"every path with one reading, the root", "/**", "/", both},
		{"every path with one reading", "/**", "/a/b/", both},
		{"every path with one reading, an ambiguous one", "/**", "/a/../b", denies},
		{"every path, the root", "**", "/", both},
		{"every path", "**", "/a/b", both},
		{"every path, an ambiguous one", "**", "/a/../b", both},
		{"every path, what is none", "**", "", both},

		{"an ambiguous path of two stars", "/a/**", "/a/%2e%2e/b", denies},
		{"an ambiguous path of a star", "/a/*", "/a/b%2Fc", denies},
		{"an ambiguous path with another start", "/a/*", "/x/y%5cz", denies},
		{"an ambiguous path, written the same", "/a/b", "/a//b", denies},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, target := path(t, tt.pattern), pattern.NewTarget(tt.path)
			if got := p.Allows(target); got != (tt.want == both) {
				t.Errorf("Allows is %v", got)
			}
			if got := p.Denies(target); got != (tt.want != no) {
				t.Errorf("Denies is %v", got)
			}
		})
	}
}

func TestAPatternNobodyWroteAllowsNothingAndDeniesEverything(t *testing.T) {
	var p pattern.Path
	for _, text := range []string{"", "/", "/a", "/a/../b"} {
		if target := pattern.NewTarget(text); p.Allows(target) || !p.Denies(target) {
			t.Errorf("%q: allows %v, denies %v", text, p.Allows(target), p.Denies(target))
		}
	}
	if p.String() != "" {
		t.Errorf("it is written %q", p)
	}
}
