package pattern_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/signerd/signerd/policy/pattern"
)

// Few different segments, so that patterns and paths meet.
var (
	patternText = rapid.OneOf(
		rapid.StringMatching(`(/(a|b|A|\*)){1,4}(/|/\*\*)?`),
		rapid.SampledFrom([]string{"**", "/**", "/", "/*", "/*/"}))
	pathText = rapid.OneOf(
		rapid.StringMatching(`(/(a|b|A|B|%61|%41|%2A|\*)){1,5}/?`),
		rapid.StringMatching(`(/(a|b|A|%2[eE]|\.|\.\.|;|)){0,4}`),
		rapid.SampledFrom([]string{"/", "/**", "**", ""}))
)

// respell writes a path another way without changing what it means: unreserved characters escaped or not, and
// hexadecimal digits in either case (RFC 3986, section 6.2.2).
func respell(t *rapid.T, path string) string {
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '%' && rapid.Bool().Draw(t, "digits in upper case"):
			out.WriteString(strings.ToUpper(path[i : i+3]))
			i += 2
		case c == '%':
			out.WriteString(strings.ToLower(path[i : i+3]))
			i += 2
		case strings.IndexByte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~", c) >= 0 && rapid.Bool().Draw(t, "escaped"):
			fmt.Fprintf(&out, rapid.SampledFrom([]string{"%%%02X", "%%%02x"}).Draw(t, "digits"), c)
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

var wirePath = rapid.OneOf(
	rapid.StringMatching(`(/(a|b|A|%61|%2A|c%20d|~x|%7e_-|v1\.2)){1,5}/?`),
	rapid.StringMatching(`(/([a-c.;]|%[2-6][0-9A-Fa-f]){0,3}){1,4}`))

func TestAnotherSpellingIsTheSameTarget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := wirePath.Draw(t, "path")
		respelt := respell(t, path)
		if got, want := pattern.NewTarget(respelt), pattern.NewTarget(path); got != want {
			t.Fatalf("%q is %v, and %q is %v", path, want, respelt, got)
		}
		p, err := pattern.ParsePath(patternText.Draw(t, "pattern"))
		if err != nil {
			t.Fatal(err)
		}
		one, other := pattern.NewTarget(path), pattern.NewTarget(respelt)
		if p.Allows(one) != p.Allows(other) || p.Denies(one) != p.Denies(other) {
			t.Fatalf("%q: allows %q %v and %q %v; denies %v and %v", p, path, p.Allows(one), respelt, p.Allows(other), p.Denies(one), p.Denies(other))
		}
	})
}

// What some router takes for the same path stays denied, however it is written: in another case, with a slash at the
// end, with detours that resolve to it, with separators and dots escaped, with a parameter, encoded twice.
func TestNoSpellingEscapesADenial(t *testing.T) {
	detours := []string{"", "", "", "/.", "/x/..", "/", "/%2e", "/x/%2E%2e", "/..;", ";a=b", ";", "%3Ba", "%2F.", "/x%2f..", "%5C", "%00", "%0a", "%23", "%3f"}
	rapid.Check(t, func(t *rapid.T) {
		var out strings.Builder
		for _, segment := range []string{"v1", "checkout", "sell"} {
			out.WriteString(rapid.SampledFrom([]string{"/", "/", "/", "/", "%2f", "%2F", "%5c", `\`, "//"}).Draw(t, "separator"))
			for _, c := range []byte(segment) {
				if rapid.Bool().Draw(t, "upper case") {
					c = strings.ToUpper(string(c))[0]
				}
				out.WriteString(respell(t, string(c)))
			}
			out.WriteString(rapid.SampledFrom(detours).Draw(t, "detour"))
		}
		if rapid.Bool().Draw(t, "slash") {
			out.WriteString("/")
		}
		written := out.String()
		if rapid.Bool().Draw(t, "encoded twice") {
			written = strings.ReplaceAll(written, "%", "%25")
		}
		target := pattern.NewTarget(written)
		for _, text := range []string{"/v1/checkout/sell", "/V1/checkout/sell/", "/v1/*/sell", "/*/*/*", "/v1/**", "/v1/checkout/sell/**", "/**", "**"} {
			if !path(t, text).Denies(target) {
				t.Errorf("%q does not deny %q", text, written)
			}
		}
	})
}

func TestWhatAPatternAllowsItDenies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := pattern.ParsePath(patternText.Draw(t, "pattern"))
		if err != nil {
			t.Fatal(err)
		}
		if target := pattern.NewTarget(pathText.Draw(t, "path")); p.Allows(target) && !p.Denies(target) {
			t.Fatalf("%q allows %v and does not deny it", p, target)
		}
	})
}
