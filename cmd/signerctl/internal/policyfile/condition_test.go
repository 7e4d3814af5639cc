package policyfile_test

import (
	"fmt"
	"testing"

	"github.com/signerd/signerd/cmd/signerctl/internal/policyfile"
)

const foldsComment = "YAML folds it into one line, in which // makes a comment of all that follows; write it under `|`"

// A comment ends with its line. Where YAML makes one line of two, the second condition would be part of the comment.
func TestCommentsInConditionsThatFold(t *testing.T) {
	for _, tt := range []struct {
		name, when string
		line       int // of the fault, with the key on line 1; 0 for none
	}{
		{"folded", ">\n      a == 1 // one\n      && b == 2", 1},
		{"folded and stripped", ">-\n      a == 1 // one\n      && b == 2", 1},
		{"folded with an indent", ">2\n        a == 1 // one\n        && b == 2", 1},
		{"folded after a tag and an anchor", "!!str &x >\n      a == 1 // one\n      && b == 2", 1},
		{"folded, beginning with a comment", ">\n      // one\n      a == 1", 1},
		{"folded without a comment", ">\n      a == 1\n      && b == 2", 0},
		{"literal", "|\n      a == 1 // one\n      && b == 2", 0},
		{"literal and stripped", "|-\n      a == 1 // one\n      && b == 2", 0},
		{"plain over lines", "a == 1 // one\n      && b == 2", 1},
		{"plain over lines without a comment", "a == 1\n      && b == 2", 0},
		{"plain over lines, with a blank one", "a == 1 // one\n\n      && b == 2", 1},
		{"plain over lines that end otherwise", "a == 1 // one\r\n      && b == 2", 1},
		{"plain over lines that end rarely", "a == 1 // one\u2028      && b == 2", 1},
		{"plain over lines after an anchor", "&x a == 1 // one\n      && b == 2", 1},
		{"plain over lines that repeat", "&x x // x\n      x // x", 1},
		{"plain over lines below its key", "\n      a == 1 // one\n      && b == 2", 2},
		{"plain on one line", "a == 1 // one", 0},
		{"plain on one line, before a comment of YAML", "  a == 1 // one   # two", 0},
		{"plain on one line below its key", "\n      a == 1 // one", 0},
		{"plain on one line after a tag and an anchor", "!!str &x a == 1 // one", 0},
		{"a string with slashes", `a == "https://example.org"`, 0},
		{"a string with slashes over lines", "a == \"https://example.org\"\n      && b == 2", 1},
		{"single quotes over lines", "'a == 1 // one\n      && b == 2'", 1},
		{"single quotes over lines, with some within", "'a == '''' // one\n      && b == ''x'''", 1},
		{"single quotes on one line", "'a == ''x'' // one'", 0},
		{"double quotes over lines", "\"a == 1 // one\n      && b == 2\"", 1},
		{"double quotes over lines, with some within", `"a == \"\" // one` + "\n" + `      && b == \"\""`, 1},
		{"double quotes over lines, with an end that is escaped", `"a == 1 /\` + "\n" + `      / && b == 2"`, 1},
		{"double quotes on one line", `"a == \"x\" // one"`, 0},
		{"double quotes with a line end that is written out", `"a == 1 // one\n&& b == 2"`, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// A line that ends otherwise is one line, a letter of several bytes is one column, a byte order mark is none.
			for before, lines := range map[string]int{"rules:\n  - name: a\n    ": 2, "\ufeff# é\r\nrules:\n  - name: a\n    ": 3} {
				want := ""
				if tt.line != 0 {
					want = fmt.Sprintf("line %d: rules[0] (a) when: %s", lines+tt.line, foldsComment)
				}
				text, got := before+"when: "+tt.when+"\n", ""
				if _, err := policyfile.Parse([]byte(text)); err != nil {
					got = err.Error()
				}
				if got != want {
					t.Errorf("got  %s\nwant %s\n%s", got, want, text)
				}
			}
		})
	}
}

func TestCommentsInConditionsOfJSON(t *testing.T) {
	for _, text := range []string{
		`{"rules": [{"description": "é😀", "when": "a // b", "name": "a"}, {"when": "a == \"//\"\n&& b"}]}`,
		"\ufeff" + `{"rules": [{"when": "a // b"}]}`,
	} {
		if _, err := policyfile.Parse([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// The fault is told where the condition is used, not where its anchor stands.
func TestCommentsInConditionsBehindAnAlias(t *testing.T) {
	_, err := policyfile.Parse([]byte("rules:\n  - name: a\n    description: &c a // b\n      c\n    when: x // y\n  - name: b\n    when: *c\n"))
	if err == nil || err.Error() != "line 7: rules[1] (b) when: "+foldsComment {
		t.Errorf("got %v", err)
	}
	if _, err := policyfile.Parse([]byte("rules:\n  - {name: a, when: &c a // b}\n  - {name: b, when: a // c}\n  - {name: c, when: *c}\n")); err != nil {
		t.Error(err)
	}
}
