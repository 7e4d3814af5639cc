// Package pattern says which URL paths and which SPIFFE IDs a rule means.
//
// It is for policy, which makes patterns when rules are loaded and asks them on each request. It decides nothing: what
// a match is worth is the rule's affair. All of it is pure, and safe for concurrent use once built.
//
// A pattern is a path with wildcards: "*" stands for one segment, "**" at the end for all that remains. URL paths are
// compared decoded, segment by segment, so that a path's spelling makes no difference. A path that two programs could
// read differently has no meaning to compare: it matches no allow pattern but the lone "**", and every deny pattern.
package pattern

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of patterns. They keep an index shallow; how many wildcards a pattern has costs nothing.
const (
	MaxBytes    = 2048
	MaxSegments = 64
)

const (
	one        = "*"   // one segment
	rest       = "/**" // what remains, in the place of a last segment
	everything = "**"  // every path there is; or a last segment
)

// Path is a pattern of URL paths. It is comparable and immutable. The zero value is no pattern: it allows nothing and
// denies everything, so that one forgotten opens no door.
//
//	pattern              allows                              denies besides
//	/v1/buy              /v1/buy                             /V1/Buy, /v1/buy/
//	/v1/buy/             /v1/buy/                            /v1/buy, /V1/Buy/
//	/v1/customers/*      /v1/customers/7                     /V1/customers/7/
//	/v1/customers/**     /v1/customers/7/cards/              /v1/customers, /v1/Customers/
//	/**                  every path with one reading         every path
//	**                   every path                          every path
type Path struct {
	text   string
	folded string // the form that denies: in lower case, without a slash at the end
}

// ParsePath reads a pattern: "**", or segments that each begin with "/". They are written decoded, in UTF-8. A segment
// is taken literally unless it is "*" (one segment, not empty) or, at the end, "**" (at least one segment; alone in
// "/**", even none). A slash at the end is part of an allow pattern. Patterns that could match no path are errors: an
// empty or a dot segment, a space at a segment's end, a wildcard inside a segment, an escape, a query, and characters
// that paths with one reading never hold. What looks like the template of a path, {id} or :id, is an error too: in a deny
// rule it would be an open door. A literal "*" cannot be written.
func ParsePath(text string) (Path, error) {
	switch {
	case text == "":
		return Path{}, errors.New("it is empty; wanted a path that starts with /, or ** for every path")
	case len(text) > MaxBytes:
		return Path{}, fmt.Errorf("it is longer than %d bytes", MaxBytes)
	case text == everything:
		return Path{text: everything, folded: rest}, nil
	case text[0] != '/':
		return Path{}, errors.New("it does not start with /; wanted a path such as /v1/customers/*/cards, or ** for every path")
	}
	if err := checkCharacters(text); err != nil {
		return Path{}, err
	}
	body := strings.TrimSuffix(text, "/") // one slash at the end is no empty segment
	if err := checkSegments(body); err != nil {
		return Path{}, err
	}
	if strings.HasSuffix(body, rest) && body != text {
		return Path{}, errNotLast
	}
	return Path{text: text, folded: lowerASCII(body)}, nil
}

var errNotLast = errors.New("nothing may follow **, which stands for all that remains")

// checkCharacters refuses what no path with one reading decodes to.
func checkCharacters(text string) error {
	if !utf8.ValidString(text) {
		return errors.New("it is not UTF-8")
	}
	for _, r := range text {
		switch {
		case r == '%':
			return errors.New("it holds a %; patterns are written decoded, in UTF-8: a space, not %20")
		case r == '?':
			return errors.New("it holds a ?; patterns are of the path alone, the query takes no part")
		case r == '#':
			return errors.New("it holds a #, which paths do not; patterns are of the path alone")
		case strings.ContainsRune("{}<>", r):
			return errors.New("it holds a bracket, as templates of paths do; here * stands for one segment")
		case r == ';' || r == '\\':
			return fmt.Errorf("it holds a %c; programs disagree on what that means in a path, and only ** allows such paths", r)
		case unreadable(r):
			return fmt.Errorf("it holds %U, a control character or one that readers drop", r)
		}
	}
	return nil
}

// unreadable reports whether r ends lines or is dropped by some programs: control characters, the line and paragraph
// separators, the byte order mark.
func unreadable(r rune) bool {
	return unicode.IsControl(r) || r == 0x2028 || r == 0x2029 || r == 0xfeff
}

// checkSegments checks a path, which may be empty, of segments that each begin with a slash.
func checkSegments(path string) error {
	for n := 1; path != ""; n++ {
		if n > MaxSegments {
			return fmt.Errorf("it has more than %d segments", MaxSegments)
		}
		var segment string
		segment, path = cut(path)
		switch {
		case segment == "":
			return fmt.Errorf("segment %d is empty: two slashes meet", n)
		case segment == "." || segment == "..":
			return fmt.Errorf("segment %d is %s; programs resolve dot segments", n, segment)
		case segment[0] == ':':
			return fmt.Errorf("segment %d begins with a colon, as templates of paths do; here * stands for one segment", n)
		case trimmable(segment):
			return fmt.Errorf("segment %d begins or ends with a space, which some programs drop; only ** allows such paths", n)
		case segment == everything && path != "":
			return errNotLast
		case segment != one && segment != everything && strings.Contains(segment, one):
			return fmt.Errorf("segment %d is %q; * stands for a whole segment and ** for all that remains, "+
				"neither for a part of a segment, and a literal * cannot be written", n, segment)
		}
	}
	return nil
}

// String is the pattern as it was written; empty for the zero value.
func (p Path) String() string { return p.text }

// Allows reports whether a rule that allows p allows t. Case and a slash at the end count. Only "**" allows an
// ambiguous target. "/a/**" does not allow "/a/", which a router may take for "/a".
func (p Path) Allows(t Target) bool {
	return p.text == everything || !t.Ambiguous() && matches(p.text, t.canonical, strict)
}

// Denies reports whether a rule that denies p denies t. ASCII case and a slash at the end do not count, because some
// routers ignore them; "/a/**" denies "/a" too. Every ambiguous target is denied. What p allows it also denies.
func (p Path) Denies(t Target) bool {
	return t.Ambiguous() || p.text == "" || matches(p.folded, t.folded, broad)
}

// reach says what "**" takes.
type reach bool

const (
	strict reach = false // at least one segment that is not empty; in "/**", also none
	broad  reach = true  // also none
)

// takes reports whether a "**" that stands depth segments down takes path.
func (r reach) takes(path string, depth int) bool {
	return r == broad || depth == 0 || len(path) > len("/")
}

// matches walks pattern and path together; in both, a slash begins each segment.
func matches(pattern, path string, r reach) bool {
	for depth := 0; ; depth++ {
		switch {
		case pattern == rest:
			return r.takes(path, depth)
		case pattern == "" || path == "":
			return pattern == path
		}
		var wanted, segment string
		wanted, pattern = cut(pattern)
		segment, path = cut(path)
		if wanted == one && segment == "" || wanted != one && wanted != segment {
			return false
		}
	}
}

// cut takes the first segment, without its slash, from a path that begins with one.
func cut(path string) (segment, remaining string) {
	if i := strings.IndexByte(path[1:], '/'); i >= 0 {
		return path[1 : 1+i], path[1+i:]
	}
	return path[1:], ""
}
