package pattern_test

import (
	"strings"
	"testing"

	"github.com/signerd/signerd/policy/pattern"
)

func TestATargetHasOneReadingOrIsAmbiguous(t *testing.T) {
	tests := []struct {
		name, path string
		canonical  string // empty when ambiguous
	}{
		{"the root", "/", "/"},
		{"segments", "/v1/checkout/buy", "/v1/checkout/buy"},
		{"a slash at the end is kept", "/v1/", "/v1/"},
		{"case is kept", "/V1/Buy", "/V1/Buy"},
		{"every character that needs no escape", "/-._~!$&'()*+,=:@aZ09", "/-._~!$&'()*+,=:@aZ09"},
		{"dots within a segment", "/v1.2/..a/b../...", "/v1.2/..a/b../..."},
		{"an escaped letter is the letter", "/v1/b%75y", "/v1/buy"},
		{"hexadecimal digits in either case", "/%4a%4A%6b%6B", "/JJkk"},
		{"a segment of nothing but escapes", "/%62%75%79/", "/buy/"},
		{"a plus sign is one", "/a+b", "/a+b"},
		{"an escaped plus sign is one", "/a%2Bb", "/a+b"},
		{"an escaped space", "/a%20b", "/a b"},
		{"an escaped star", "/%2A", "/*"},
		{"a raw star", "/**", "/**"},
		{"escaped UTF-8", "/caf%C3%A9/%F0%9F%98%80", "/café/😀"},
		{"wide forms of a slash and a percent sign", "/a%EF%BC%8Fb/%EF%BC%85%EF%BC%92%EF%BD%86", "/a／b/％２ｆ"},
		{"the replacement character itself", "/%EF%BF%BD", "/\ufffd"},
		{"escapes of what may not stand raw", "/%22%3C%3E%5B%5D%5E%60%7B%7C%7D", "/\"<>[]^`{|}"},

		{"nothing", "", ""},
		{"no slash at the start", "v1/buy", ""},
		{"a star alone", "*", ""},
		{"a URL", "https://example.org/v1", ""},
		{"two slashes at the start", "//v1/buy", ""},
		{"two slashes inside", "/v1//buy", ""},
		{"two slashes at the end", "/v1//", ""},
		{"slashes alone", "//", ""},
		{"a dot segment at the start", "/./v1", ""},
		{"a dot segment inside", "/v1/./buy", ""},
		{"a dot segment at the end", "/v1/.", ""},
		{"a dot segment and a slash at the end", "/v1/./", ""},
		{"a double dot inside", "/v1/../buy", ""},
		{"a double dot at the end", "/v1/..", ""},
		{"a double dot and a slash at the end", "/v1/../", ""},
		{"an escaped dot segment", "/v1/%2e%2E/buy", ""},
		{"a half escaped dot segment", "/v1/.%2e/buy", ""},
		{"an escaped dot within a segment", "/a%2Eb", ""},
		{"an escaped slash", "/v1%2Fbuy", ""},
		{"an escaped slash in lower case", "/v1%2fbuy", ""},
		{"a backslash", `/v1\buy`, ""},
		{"an escaped backslash", "/v1%5Cbuy", ""},
		{"an escaped backslash in lower case", "/v1%5cbuy", ""},
		{"a semicolon", "/v1;a=b/buy", ""},
		{"an escaped semicolon", "/v1%3Bbuy", ""},
		{"a double dot with a parameter", "/v1/..;/buy", ""},
		{"double encoding", "/v1%252Fbuy", ""},
		{"an escaped percent sign", "/100%25", ""},
		{"an escaped question mark", "/buy%3Fa", ""},
		{"an escaped number sign", "/buy%23a", ""},
		{"a question mark", "/buy?a=b", ""},
		{"a number sign", "/buy#a", ""},
		{"an escaped zero byte", "/buy%00", ""},
		{"an escaped line end", "/buy%0A", ""},
		{"an escaped tab", "/buy%09", ""},
		{"an escaped delete", "/buy%7F", ""},
		{"an escaped C1 control", "/buy%C2%85", ""},
		{"a line separator", "/buy%E2%80%A8", ""},
		{"a paragraph separator", "/buy%E2%80%A9", ""},
		{"a byte order mark", "/%EF%BB%BFbuy", ""},
		{"an escaped space at the end", "/buy%20", ""},
		{"an escaped space at a segment's end", "/v1%20/buy", ""},
		{"an escaped space at a segment's start", "/v1/%20buy", ""},
		{"a double dot and an escaped space", "/v1/..%20", ""},
		{"a segment that is an escaped space", "/v1/%20/buy", ""},
		{"a wide space at the end", "/buy%E3%80%80", ""},
		{"an overlong slash", "/v1%C0%AFbuy", ""},
		{"a surrogate", "/%ED%A0%80", ""},
		{"a byte that is no UTF-8", "/buy%FF", ""},
		{"a character cut by a slash", "/%C3/%A9", ""},
		{"an escape cut short", "/buy%2", ""},
		{"an escape without digits", "/buy%", ""},
		{"an escape of other characters", "/buy%GG", ""},
		{"an escape whose second digit is none", "/%4Ga", ""},
		{"an escape whose first digit is none", "/%G4a", ""},
		{"an escape as IIS reads it", "/%u002e%u002e/buy", ""},
		{"a raw space", "/a b", ""},
		{"a raw line end", "/buy\n", ""},
		{"a raw zero byte", "/buy\x00", ""},
		{"raw UTF-8", "/café", ""},
		{"a raw byte that is no UTF-8", "/\xff", ""},
		{"raw quotation marks", `/"`, ""},
		{"raw brackets", "/[]", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := pattern.NewTarget(tt.path)
			got, ok := target.Canonical()
			if got != tt.canonical || ok != (tt.canonical != "") || target.Ambiguous() == ok {
				t.Errorf("%q: got %q, %v; ambiguous is %v", tt.path, got, ok, target.Ambiguous())
			}
		})
	}
}

func TestATargetNobodyMadeIsAmbiguous(t *testing.T) {
	if got := (pattern.Target{}); !got.Ambiguous() || got != pattern.NewTarget("/..") {
		t.Errorf("got %v", got)
	}
}

func TestEverySpellingOfAPathIsOneTarget(t *testing.T) {
	if a, b := pattern.NewTarget("/%76%31/caf%c3%a9"), pattern.NewTarget("/v1/caf%C3%A9"); a != b {
		t.Errorf("%v is not %v", a, b)
	}
}

func TestATargetOfAnyLengthIsRead(t *testing.T) {
	path := strings.Repeat("/%61", 1<<18)
	if got, ok := pattern.NewTarget(path).Canonical(); !ok || got != strings.Repeat("/a", 1<<18) {
		t.Error("a long path is read as another")
	}
}
