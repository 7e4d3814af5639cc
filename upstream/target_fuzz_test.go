package upstream_test

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/signerd/signerd/upstream"
)

// What api.md allows, written a second time: RFC 3986's path-absolute, and after the "?" visible ASCII but for "#".
var (
	targetForm = regexp.MustCompile(`\A/(?:[0-9A-Za-z\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})?` +
		`(?:[0-9A-Za-z\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*` +
		`(?:\?(?:[!-"$&-~]|%[0-9A-Fa-f]{2})*)?\z`)
	methodForm = regexp.MustCompile("\\A[0-9A-Za-z!#$%&'*+\\-.^_`|~]{1,64}\\z")
)

func FuzzParseTarget(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		target, err := upstream.ParseTarget(s)
		if want := targetForm.MatchString(s) && !strings.HasPrefix(s, "//"); want != (err == nil) {
			t.Fatalf("%q: allowed is %v, and ParseTarget says %v", s, want, err)
		}
		if err != nil {
			_, other := upstream.ParseTarget(masked(s, targetKind))
			checkSameError(t, err, other)
			return
		}
		rebuilt := target.Path()
		if target.Query() != "" {
			rebuilt += "?" + target.Query()
		}
		if rebuilt != s && rebuilt+"?" != s {
			t.Errorf("%q became %q", s, rebuilt)
		}
		u, err := url.ParseRequestURI(s)
		if err != nil {
			t.Fatalf("%q: net/url refuses it: %v", s, err)
		}
		if u.Scheme != "" || u.Host != "" || u.Opaque != "" || u.EscapedPath() != target.Path() || u.RawQuery != target.Query() {
			t.Errorf("%q: net/url reads path %q, query %q, host %q", s, u.EscapedPath(), u.RawQuery, u.Host)
		}
	})
}

func FuzzParseMethod(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		method, err := upstream.ParseMethod(s)
		if want := methodForm.MatchString(s); want != (err == nil) {
			t.Fatalf("%q: allowed is %v, and ParseMethod says %v", s, want, err)
		}
		if err != nil {
			_, other := upstream.ParseMethod(masked(s, methodKind))
			checkSameError(t, err, other)
			return
		}
		if !strings.EqualFold(method, s) || strings.ContainsAny(method, "abcdefghijklmnopqrstuvwxyz") {
			t.Errorf("%q became %q", s, method)
		}
		if again, err := upstream.ParseMethod(method); err != nil || again != method {
			t.Errorf("%q becomes %q, %v", method, again, err)
		}
	})
}

// checkSameError holds that an error never quotes: the same input with each byte replaced by another of its kind must
// give the very same text.
func checkSameError(t *testing.T, err, other error) {
	t.Helper()
	if other == nil || err.Error() != other.Error() {
		t.Errorf("%q depends on more than the kinds of bytes: %v", err, other)
	}
}

// masked replaces each byte of s by one that stands for its kind.
func masked(s string, kind func(byte) byte) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = kind(c)
	}
	return string(b)
}

func targetKind(c byte) byte {
	switch {
	case strings.IndexByte("0123456789abcdefABCDEF", c) >= 0:
		return '0'
	case strings.IndexByte("GHIJKLMNOPQRSTUVWXYZghijklmnopqrstuvwxyz-._~!$&'()*+,;=:@", c) >= 0:
		return '-'
	case strings.IndexByte("\"<>[]{}|^`", c) >= 0:
		return '<'
	}
	return otherKind(c)
}

func methodKind(c byte) byte {
	switch {
	case methodForm.Match([]byte{c}):
		return '0'
	case strings.IndexByte(`"(),/:;<=>?@[]{}`, c) >= 0:
		return '/'
	}
	return otherKind(c)
}

func otherKind(c byte) byte {
	switch {
	case c < 0x20 || c == 0x7f:
		return 0x01
	case c >= 0x80:
		return 0x80
	}
	return c
}

// Without seeds a fuzz target finds nothing in the ordinary test run, and nobody notices.
func TestEveryFuzzTargetHasSeeds(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	targets := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllStringSubmatch(string(source), -1) {
			targets++
			if seeds, err := os.ReadDir(filepath.Join("testdata", "fuzz", match[1])); err != nil || len(seeds) == 0 {
				t.Errorf("%s has no seeds in testdata/fuzz/%s: %v", match[1], match[1], err)
			}
		}
	}
	if targets == 0 {
		t.Error("no fuzz target was found")
	}
}
