package upstream

import (
	"strings"
)

// Target is a request target as it goes on the wire, checked and kept byte for byte. The zero value is no target.
type Target struct{ path, query string }

// Path is what stands before the "?", as sent.
func (t Target) Path() string { return t.path }

// Query is what follows the "?"; empty when there is none, or nothing after it.
func (t Target) Query() string { return t.query }

// ParseTarget checks the field "path" of a signing request. Nothing is cleaned up: what is not a proper origin-form
// target (RFC 9112, section 3.2.1) is an error, a *FieldError.
func ParseTarget(s string) (Target, error) {
	const field = "path"
	path, query, _ := strings.Cut(s, "?")
	switch {
	case s == "":
		return Target{}, Invalid(field, "it is empty; wanted a path that starts with /")
	case s[0] != '/':
		return Target{}, Invalid(field, "it does not start with /; wanted the path and query alone, without scheme and host")
	case strings.HasPrefix(s, "//"):
		return Target{}, Invalid(field, "it starts with //, which a server could read as a host")
	}
	for i := 0; i < len(path); i++ {
		if c := path[i]; c != '/' && c != '%' && !isPathChar(c) {
			return Target{}, Invalid(field, "byte %d is %s, which RFC 3986 does not allow in a path; percent-encode it", i, describe(c))
		}
	}
	for i := 0; i < len(query); i++ {
		if c := query[i]; c <= 0x20 || c >= 0x7f || c == '#' {
			return Target{}, Invalid(field, "byte %d is %s, which may not stand in a query; percent-encode it", len(path)+1+i, describe(c))
		}
	}
	if i := badEscape(s); i >= 0 {
		return Target{}, Invalid(field, "the %% at byte %d is not followed by two hexadecimal digits", i)
	}
	return Target{path: path, query: query}, nil
}

// MaxMethodBytes bounds a method; the longest registered one has 17 characters.
const MaxMethodBytes = 64

// ParseMethod checks that s is an HTTP token (RFC 9110, section 5.6.2) and returns it in upper case, as it is signed.
func ParseMethod(s string) (string, error) {
	const field = "method"
	if s == "" {
		return "", Invalid(field, "it is empty")
	}
	if len(s) > MaxMethodBytes {
		return "", Invalid(field, "it is longer than %d bytes", MaxMethodBytes)
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isAlphanumeric(c) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return "", Invalid(field, "byte %d is %s, which may not stand in an HTTP method", i, describe(c))
		}
	}
	return strings.ToUpper(s), nil
}

// isPathChar reports whether c is an RFC 3986 pchar other than "%".
func isPathChar(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("-._~!$&'()*+,;=:@", c) >= 0
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// badEscape is the index of the first "%" in s that no two hexadecimal digits follow, or -1.
func badEscape(s string) int {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
			return i
		}
		i += 2
	}
	return -1
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// describe names a byte by its kind; the text of a request is not repeated in errors.
func describe(c byte) string {
	switch {
	case c == ' ':
		return "a space"
	case c == '#':
		return "a # (fragments are not sent)"
	case c == '\\':
		return "a backslash"
	case c < 0x20 || c == 0x7f:
		return "a control character"
	case c >= 0x80:
		return "not ASCII"
	default:
		return "a special character"
	}
}
