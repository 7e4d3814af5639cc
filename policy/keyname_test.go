package policy_test

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/signerd/signerd/policy"
)

// keyName is the rule as api.md writes it.
var keyName = regexp.MustCompile(`\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\z`)

func TestAKeyNameIsLowerCaseLettersDigitsAndInnerHyphens(t *testing.T) {
	tests := []struct {
		name, in string
		valid    bool
	}{
		{"a word", "orders", true},
		{"one letter", "a", true},
		{"one digit", "0", true},
		{"an inner hyphen", "noah-prod-2", true},
		{"two hyphens in a row", "a--b", true},
		{"the longest", strings.Repeat("a", 63), true},
		{"the longest with hyphens", "a" + strings.Repeat("-", 61) + "a", true},
		{"one byte too long", strings.Repeat("a", 64), false},
		{"nothing", "", false},
		{"a hyphen", "-", false},
		{"a hyphen at the start", "-a", false},
		{"a hyphen at the end", "a-", false},
		{"an upper-case letter", "Orders", false},
		{"an underscore", "a_b", false},
		{"a dot", "a.b", false},
		{"a slash", "a/b", false},
		{"a space", "a b", false},
		{"a line end", "a\n", false},
		{"a zero byte", "a\x00", false},
		{"a letter beyond ASCII", "é", false},
		{"a Greek letter that looks alike", "\u03bf", false},
		{"a byte that is not UTF-8", "a\xffb", false},
		{"the star", policy.Any, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := policy.ValidKeyName(tt.in); got != tt.valid || keyName.MatchString(tt.in) != tt.valid {
				t.Errorf("got %v, and the regular expression says %v", got, keyName.MatchString(tt.in))
			}
		})
	}
}

func TestAKeyNameIsValidExactlyWhenTheRuleMatches(t *testing.T) {
	near := rapid.StringOfN(rapid.SampledFrom([]rune("az09-am`{/:_A")), 0, 66, -1)
	long := rapid.StringMatching(`[a-z0-9-]{61,65}`)
	good := rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(near, long, good, rapid.String()).Draw(t, "name")
		if got, want := policy.ValidKeyName(name), keyName.MatchString(name); got != want {
			t.Fatalf("%q: got %v, want %v", name, got, want)
		}
	})
}

func TestEveryByteOfAKeyNameIsLookedAt(t *testing.T) {
	for c := range 256 {
		for _, name := range []string{string([]byte{byte(c)}), "a" + string([]byte{byte(c)}) + "b", string([]byte{byte(c)}) + "a", "a" + string([]byte{byte(c)})} {
			if got, want := policy.ValidKeyName(name), keyName.MatchString(name); got != want {
				t.Errorf("%q: got %v, want %v", name, got, want)
			}
		}
	}
}
