package pattern_test

import (
	"strings"
	"testing"

	"github.com/signerd/signerd/policy/pattern"
)

func spiffe(t testing.TB, text string) pattern.SPIFFE {
	t.Helper()
	p, err := pattern.ParseSPIFFE(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return p
}

func TestASPIFFEPatternIsReadOrToldWhatIsWrong(t *testing.T) {
	tests := []struct {
		name, text string
		problem    string // empty when it is a pattern
	}{
		{"an ID", "spiffe://example.org/orders", ""},
		{"an ID with every character", "spiffe://a-b_c.9/Orders/v1.2/x_y-z", ""},
		{"a star", "spiffe://example.org/*/api", ""},
		{"two stars", "spiffe://example.org/ns/**", ""},
		{"a trust domain's IDs", "spiffe://example.org/**", ""},
		{"the longest trust domain", "spiffe://" + strings.Repeat("a", 255) + "/a", ""},
		{"the longest", "spiffe://d/" + strings.Repeat("a", 2037), ""},

		{"nothing", "", "does not start with spiffe://"},
		{"a star alone", "*", "does not start with spiffe://"},
		{"another caller", "unix:uid=1000", "does not start with spiffe://"},
		{"an upper-case scheme", "SPIFFE://example.org/a", "does not start with spiffe://"},
		{"no trust domain", "spiffe:///a", "trust domain"},
		{"any trust domain", "spiffe://*/a", "trust domain"},
		{"any name in a trust domain", "spiffe://*.example.org/a", "trust domain"},
		{"two stars for all", "spiffe://**", "trust domain"},
		{"an upper-case trust domain", "spiffe://Example.org/a", "trust domain"},
		{"a port", "spiffe://example.org:443/a", "trust domain"},
		{"too long a trust domain", "spiffe://" + strings.Repeat("a", 256) + "/a", "trust domain"},
		{"a trust domain alone", "spiffe://example.org", "append /**"},
		{"an empty path", "spiffe://example.org/", "segment 1 is empty"},
		{"a slash at the end", "spiffe://example.org/a/", "segment 2 is empty"},
		{"a slash after two stars", "spiffe://example.org/**/", "nothing may follow **"},
		{"a segment after two stars", "spiffe://example.org/**/a", "nothing may follow **"},
		{"an empty segment", "spiffe://example.org/a//b", "segment 2 is empty"},
		{"a double dot", "spiffe://example.org/../a", "segment 1 is .."},
		{"a star within a segment", "spiffe://example.org/a*", `segment 1 is "a*"`},
		{"an escape", "spiffe://example.org/%61", "its path holds"},
		{"a query", "spiffe://example.org/a?b", "its path holds"},
		{"a letter beyond ASCII", "spiffe://example.org/é", "its path holds"},
		{"bytes that are no UTF-8", "spiffe://example.org/\xff", "its path holds"},
		{"too long", "spiffe://d/" + strings.Repeat("a", 2038), "longer than 2048 bytes"},
		{"too many segments", "spiffe://d" + strings.Repeat("/a", 65), "more than 64 segments"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := pattern.ParseSPIFFE(tt.text)
			if tt.problem == "" {
				if err != nil || p.String() != tt.text {
					t.Errorf("got %q, %v", p, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("got %v, want %q", err, tt.problem)
			}
			if p != (pattern.SPIFFE{}) {
				t.Errorf("the pattern %q came with the error", p)
			}
		})
	}
}

func TestSPIFFEPatternsMatchWholeSegments(t *testing.T) {
	tests := []struct {
		name, pattern, id string
		want              bool
	}{
		{"the ID that it is", "spiffe://example.org/orders", "spiffe://example.org/orders", true},
		{"another case", "spiffe://example.org/orders", "spiffe://example.org/Orders", false},
		{"a longer ID", "spiffe://example.org/orders", "spiffe://example.org/orders/api", false},
		{"a longer segment", "spiffe://example.org/orders", "spiffe://example.org/orders2", false},
		{"a star is one segment", "spiffe://example.org/*/api", "spiffe://example.org/orders/api", true},
		{"a star is not two", "spiffe://example.org/*/api", "spiffe://example.org/a/b/api", false},
		{"a star is not none", "spiffe://example.org/*/api", "spiffe://example.org/api", false},
		{"another trust domain", "spiffe://example.org/*/api", "spiffe://example.com/orders/api", false},
		{"a trust domain that goes on", "spiffe://example.org/**", "spiffe://example.org.evil.test/orders", false},
		{"two stars are one segment", "spiffe://example.org/ns/**", "spiffe://example.org/ns/a", true},
		{"two stars are several", "spiffe://example.org/ns/**", "spiffe://example.org/ns/a/b", true},
		{"two stars are not none", "spiffe://example.org/ns/**", "spiffe://example.org/ns", false},
		{"a trust domain's IDs", "spiffe://example.org/**", "spiffe://example.org/ns/a", true},
		{"a trust domain alone is no caller", "spiffe://example.org/**", "spiffe://example.org", false},
		{"a caller of the kernel", "spiffe://example.org/**", "unix:uid=1000", false},
		{"another scheme of that length", "spiffe://example.org/**", "gopher://example.org/orders", false},
		{"a host", "spiffe://example.org/**", "dns:example.org", false},
		{"nobody", "spiffe://example.org/**", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := spiffe(t, tt.pattern).Matches(tt.id); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestASPIFFEPatternNobodyWroteMatchesNothing(t *testing.T) {
	for _, id := range []string{"", "spiffe://", "spiffe://example.org/a"} {
		if (pattern.SPIFFE{}).Matches(id) {
			t.Errorf("it matches %q", id)
		}
	}
}
