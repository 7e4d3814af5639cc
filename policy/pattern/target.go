package pattern

import (
	"strings"
	"unicode/utf8"
)

// Target is the path of a request as patterns see it. It is comparable and immutable; two targets are equal when they
// are the same path in two spellings, or both ambiguous. The zero value is ambiguous.
type Target struct {
	canonical string // decoded; empty when ambiguous
	folded    string // canonical in lower case, without a slash at the end
}

// NewTarget reads a path as it goes on the wire, without query; it is made once a request. It takes any string. The
// result is ambiguous unless path starts with "/", holds only RFC 3986 path characters and valid escapes, and has one
// reading. Two programs could read it differently when
//
//   - a segment is "." or "..", or is empty; one slash at the end is no empty segment;
//   - it holds ";", raw or escaped;
//   - an escape stands for "/", "\", ".", "%", "?", "#" or a control character;
//   - a segment begins or ends with white space when decoded: WHATWG's URL drops it at the end, and "..%20" becomes "..";
//   - it is not UTF-8 when decoded, or holds a C1 control, U+2028, U+2029 or U+FEFF.
//
// Apart from these an escape is the character that it stands for. "+" is a plus sign. Unicode is not normalized.
func NewTarget(path string) Target {
	canonical, ok := decode(path)
	if !ok {
		return Target{}
	}
	return Target{canonical: canonical, folded: strings.TrimSuffix(lowerASCII(canonical), "/")}
}

// Ambiguous reports whether two programs could read the path differently.
func (t Target) Ambiguous() bool { return t.canonical == "" }

// Canonical is the path decoded: one text for all its spellings. It is false for an ambiguous target.
func (t Target) Canonical() (string, bool) { return t.canonical, t.canonical != "" }

// decode decodes path once, and fails when it is ambiguous. Without escapes it copies nothing.
func decode(path string) (string, bool) {
	if path == "" || path[0] != '/' || hasOddSegment(path) {
		return "", false
	}
	var decoded strings.Builder
	copied := 0
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			if !plain[path[i]] {
				return "", false
			}
			continue
		}
		c, ok := unescape(path[i+1:])
		if !ok || strings.IndexByte(`/\.%;?#`, c) >= 0 {
			return "", false
		}
		if copied == 0 {
			decoded.Grow(len(path) - len("%xx") + 1)
		}
		decoded.WriteString(path[copied:i])
		decoded.WriteByte(c)
		i += 2
		copied = i + 1
	}
	if copied == 0 {
		return path, true
	}
	decoded.WriteString(path[copied:])
	canonical := decoded.String()
	return canonical, utf8.ValidString(canonical) && strings.IndexFunc(canonical, unreadable) < 0 && !hasSpaceAtEdge(canonical)
}

// hasSpaceAtEdge looks for segments that programs may trim.
func hasSpaceAtEdge(path string) bool {
	for path != "" {
		var segment string
		segment, path = cut(path)
		if trimmable(segment) {
			return true
		}
	}
	return false
}

func trimmable(segment string) bool { return strings.TrimSpace(segment) != segment }

// hasOddSegment looks for dot segments and empty ones. It may look before decoding: no escape gives a slash or a dot.
func hasOddSegment(path string) bool {
	for path != "" && path != "/" {
		var segment string
		segment, path = cut(path)
		if segment == "" || segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// plain holds the bytes that stand for themselves in every reading: "/" and RFC 3986's path characters but for ";".
var plain = func() (table [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,=:@/") {
		table[c] = true
	}
	return table
}()

// unescape reads the two hexadecimal digits that s begins with.
func unescape(s string) (byte, bool) {
	if len(s) < 2 {
		return 0, false
	}
	high, low := hexDigit(s[0]), hexDigit(s[1])
	return high<<4 | low, high < 16 && low < 16
}

// hexDigit is the value of c, or 16 if it is no hexadecimal digit.
func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	default:
		return 16
	}
}

// lowerASCII leaves letters beyond ASCII alone; strings.ToLower makes ASCII of some of them.
func lowerASCII(s string) string {
	if strings.IndexFunc(s, upperASCII) < 0 {
		return s
	}
	lower := []byte(s)
	for i, c := range lower {
		if upperASCII(rune(c)) {
			lower[i] = c + 'a' - 'A'
		}
	}
	return string(lower)
}

func upperASCII(r rune) bool { return 'A' <= r && r <= 'Z' }
