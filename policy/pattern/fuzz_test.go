package pattern_test

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/signerd/signerd/policy/pattern"
)

func FuzzPathMatching(f *testing.F) {
	f.Fuzz(func(t *testing.T, text, path string) {
		target := pattern.NewTarget(path)
		canonical, ok := target.Canonical()
		if want, has := referenceReading(path); canonical != want || ok != has || target.Ambiguous() == ok {
			t.Fatalf("%q is read as %q, %v; the reference says %q, %v", path, canonical, ok, want, has)
		}
		p, err := pattern.ParsePath(text)
		if want := referencePattern(text); want != (err == nil) {
			t.Fatalf("%q: ParsePath says %v, the reference %v", text, err, want)
		}
		if err != nil {
			if p != (pattern.Path{}) {
				t.Errorf("the pattern %q came with the error", p)
			}
			return
		}
		if p.String() != text {
			t.Errorf("%q became %q", text, p)
		}
		allows, denies := p.Allows(target), p.Denies(target)
		if want := referenceAllows(text, path); allows != want {
			t.Errorf("%q, %q: Allows says %v", text, path, allows)
		}
		if want := referenceDenies(text, path); denies != want {
			t.Errorf("%q, %q: Denies says %v", text, path, denies)
		}
		if allows && !denies {
			t.Errorf("%q allows %q and does not deny it", text, path)
		}
		// A path of the pattern's own characters, so that patterns of all kinds meet their paths.
		own := pattern.NewTarget((&url.URL{Path: strings.ReplaceAll(text, "*", "x")}).EscapedPath())
		if !p.Allows(own) {
			t.Errorf("%q does not allow its own path", text)
		}
	})
}

// FuzzSet takes patterns line by line.
func FuzzSet(f *testing.F) {
	f.Fuzz(func(t *testing.T, lines, path string) {
		var set pattern.Set[string]
		target := pattern.NewTarget(path)
		var allowed, denied []string
		for text := range strings.SplitSeq(lines, "\n") {
			p, err := pattern.ParsePath(text)
			if err != nil {
				continue
			}
			set.Add(p, text)
			if p.Allows(target) {
				allowed = append(allowed, text)
			}
			if p.Denies(target) {
				denied = append(denied, text)
			}
		}
		slices.Sort(allowed)
		slices.Sort(denied)
		if got := found(func(visit func(string) bool) { set.Allowed(target, visit) }); !slices.Equal(got, allowed) {
			t.Errorf("%q: Allowed finds %q, a scan %q", path, got, allowed)
		}
		if got := found(func(visit func(string) bool) { set.Denied(target, visit) }); !slices.Equal(got, denied) {
			t.Errorf("%q: Denied finds %q, a scan %q", path, got, denied)
		}
	})
}

var (
	spiffeForm   = regexp.MustCompile(`\Aspiffe://[a-z0-9._-]{1,255}(?:/[A-Za-z0-9._-]+)+\z`)
	spiffeGlob   = regexp.MustCompile(`\Aspiffe://[a-z0-9._-]{1,255}(?:/(?:\*|[A-Za-z0-9._-]+))*/(?:\*\*|\*|[A-Za-z0-9._-]+)\z`)
	dotSegment   = regexp.MustCompile(`\A.{8}/[^/]+.*/\.\.?(?:/|\z)`)
	manySegments = regexp.MustCompile(`(?:/[^/]+){66}`) // the trust domain is one
)

func FuzzSPIFFEMatching(f *testing.F) {
	f.Fuzz(func(t *testing.T, text, id string) {
		p, err := pattern.ParseSPIFFE(text)
		if want := len(text) <= 2048 && spiffeGlob.MatchString(text) && !dotSegment.MatchString(text) && !manySegments.MatchString(text); want != (err == nil) {
			t.Fatalf("%q: ParseSPIFFE says %v, the reference %v", text, err, want)
		}
		var callers pattern.Callers[int]
		callers.Add(p, 0)
		matches := p.Matches(id)
		if got := len(found(func(visit func(int) bool) { callers.Match(id, visit) })) == 1; got != matches {
			t.Errorf("%q, %q: Matches says %v, Match %v", text, id, matches, got)
		}
		if err != nil {
			if p != (pattern.SPIFFE{}) || matches {
				t.Errorf("the pattern %q came with the error", p)
			}
			return
		}
		if own := strings.ReplaceAll(text, "*", "x"); !p.Matches(own) {
			t.Errorf("%q does not match %q", text, own)
		}
		if isID := spiffeForm.MatchString(id) && !dotSegment.MatchString(id); isID && matches != referenceMatches(text, id) {
			t.Errorf("%q, %q: Matches says %v", text, id, matches)
		}
	})
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
