package pattern_test

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// The rules a second time, slow and plain, with none of the package's code: regular expressions, and net/url to decode.

var (
	pathForm      = regexp.MustCompile(`\A/(?:[0-9A-Za-z\-._~!$&'()*+,:=@/]|%[0-9A-Fa-f]{2})*\z`)
	oddEscape     = regexp.MustCompile(`(?i)%(?:2F|5C|2E|25|3B|3F|23|[01].|7F)`)
	oddCharacter  = regexp.MustCompile(`[\x{00}-\x{1F}\x{7F}-\x{9F}\x{2028}\x{2029}\x{FEFF}]`)
	oddSpace      = regexp.MustCompile(`/\p{Z}|\p{Z}(?:/|\z)`)
	oddForPattern = regexp.MustCompile(`[%?#;\\{}<>]|/:`)
)

// referenceReading is the one reading of a path, if there is one.
func referenceReading(path string) (string, bool) {
	if !pathForm.MatchString(path) || oddEscape.MatchString(path) {
		return "", false
	}
	if oddSegments(strings.TrimSuffix(path[1:], "/"), path == "/") {
		return "", false
	}
	decoded, err := url.PathUnescape(path)
	if err != nil || !utf8.ValidString(decoded) || oddCharacter.MatchString(decoded) || oddSpace.MatchString(decoded) {
		return "", false
	}
	return decoded, true
}

// oddSegments reports empty segments and dot segments.
func oddSegments(path string, root bool) bool {
	segments := strings.Split(path, "/")
	return !root && slices.Contains(segments, "") || slices.Contains(segments, ".") || slices.Contains(segments, "..")
}

// referencePattern reports whether text is a pattern.
func referencePattern(text string) bool {
	if text == "**" {
		return true
	}
	if len(text) > 2048 || !strings.HasPrefix(text, "/") || !utf8.ValidString(text) ||
		oddCharacter.MatchString(text) || oddSpace.MatchString(text) || oddForPattern.MatchString(text) {
		return false
	}
	trimmed := strings.TrimSuffix(text[1:], "/")
	segments := strings.Split(trimmed, "/")
	if len(segments) > 64 || oddSegments(trimmed, text == "/") {
		return false
	}
	for i, segment := range segments {
		last := i == len(segments)-1 && !strings.HasSuffix(text, "/")
		if strings.Contains(segment, "*") && segment != "*" && (segment != "**" || !last) {
			return false
		}
	}
	return true
}

// referenceAllows and referenceDenies take a pattern that is one.
func referenceAllows(text, path string) bool {
	decoded, ok := referenceReading(path)
	switch {
	case text == "**":
		return true
	case !ok:
		return false
	case text == "/**":
		return true
	}
	return expression(text, false).MatchString(decoded)
}

func referenceDenies(text, path string) bool {
	decoded, ok := referenceReading(path)
	if !ok || text == "**" || text == "/**" {
		return true
	}
	return expression(strings.TrimSuffix(text, "/"), true).MatchString(decoded)
}

// expression translates a pattern into a regular expression.
func expression(text string, denies bool) *regexp.Regexp {
	var e strings.Builder
	e.WriteString(`(?s)\A`)
	beginning, hasRest := strings.CutSuffix(text, "/**")
	for i, segment := range strings.Split(beginning, "/") {
		if i > 0 {
			e.WriteString("/")
		}
		if segment == "*" {
			e.WriteString("[^/]+")
			continue
		}
		for _, r := range segment {
			letter := string(r)
			if denies && 'a' <= r && r <= 'z' || denies && 'A' <= r && r <= 'Z' {
				e.WriteString("[" + strings.ToLower(letter) + strings.ToUpper(letter) + "]")
			} else {
				e.WriteString(regexp.QuoteMeta(letter))
			}
		}
	}
	switch {
	case hasRest && denies:
		e.WriteString("(?:/.*)?")
	case hasRest:
		e.WriteString("/[^/].*")
	case denies:
		e.WriteString("/?")
	}
	e.WriteString(`\z`)
	return regexp.MustCompile(e.String())
}

// referenceMatches asks a SPIFFE pattern that is one about an ID that is one.
func referenceMatches(text, id string) bool { return expression(text, false).MatchString(id) }
