package policyfile

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// condition is text in which nothing would be everything.
func (r *reader) condition(out *string) visit {
	return func(n *yaml.Node, p path) {
		written := resolve(n)
		if n = r.scalar(n, p, "text"); n == nil {
			return
		}
		switch *out = n.Value; {
		case n.Value == "":
			r.fault(n.Line, p, "it is empty; leave the key out for no condition")
		case strings.Contains(n.Value, "//") && r.source.folds(written):
			// What follows the comment would not count, and an allow rule would allow more than it says. A // within a string
			// is refused as well: what is a string is for signerd to say.
			r.fault(n.Line, p, "YAML folds it into one line, in which // makes a comment of all that follows; write it under `|`")
		}
	}
}

// source is the text that was parsed, and a place in it: scalars are asked for in their order, more or less.
type source struct {
	text             string
	at, line, column int
}

func newSource(text []byte) *source {
	// The YAML library does not count the byte order mark.
	return &source{text: strings.TrimPrefix(string(text), "\ufeff"), line: 1, column: 1}
}

// In these a line end is any of YAML's.
var (
	oneLineSingleQuoted = regexp.MustCompile(`^'(?:[^'\n\r\x{85}\x{2028}\x{2029}]|'')*'(?:[^']|$)`)
	oneLineDoubleQuoted = regexp.MustCompile(`^"(?:[^"\\\n\r\x{85}\x{2028}\x{2029}]|\\[^\n\r\x{85}\x{2028}\x{2029}])*"`)
	// properties are a tag and an anchor; a scalar that has them begins with them.
	properties = regexp.MustCompile(`^(?:[&!][^ \t\n\r\x{85}\x{2028}\x{2029}]*[ \t]+)*`)
)

// folds tells whether YAML makes one line of a scalar's several. In doubt it does.
func (s *source) folds(n *yaml.Node) bool {
	switch {
	case n.Style&yaml.LiteralStyle != 0:
		return false
	case n.Style&yaml.FoldedStyle != 0:
		return true
	}
	rest := s.from(n.Line, n.Column)
	rest = rest[len(properties.FindString(rest)):]
	switch {
	case n.Style&yaml.SingleQuotedStyle != 0:
		return !oneLineSingleQuoted.MatchString(rest)
	case n.Style&yaml.DoubleQuotedStyle != 0:
		return !oneLineDoubleQuoted.MatchString(rest)
	}
	// Without quotes, what stands on one line is its own value.
	return !strings.HasPrefix(rest, n.Value)
}

// from gives the text from a place on, and none from a place that there is not.
func (s *source) from(line, column int) string {
	if line < s.line || line == s.line && column < s.column {
		s.at, s.line, s.column = 0, 1, 1
	}
	for s.at < len(s.text) {
		if s.line == line && s.column == column {
			return s.text[s.at:]
		}
		c, size := utf8.DecodeRuneInString(s.text[s.at:])
		s.at += size
		switch c {
		case '\r':
			if strings.HasPrefix(s.text[s.at:], "\n") {
				s.at++
			}
			s.line, s.column = s.line+1, 1
		case '\n', '\u0085', '\u2028', '\u2029':
			s.line, s.column = s.line+1, 1
		default:
			s.column++
		}
	}
	return ""
}
