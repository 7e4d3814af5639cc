package pattern_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/signerd/signerd/policy/pattern"
)

// found collects what a lookup visits, sorted.
func found[T int | string](lookup func(visit func(T) bool)) []T {
	var all []T
	lookup(func(v T) bool {
		all = append(all, v)
		return true
	})
	slices.Sort(all)
	return all
}

func TestASetFindsWhatAScanFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(patternText, 0, 12).Draw(t, "patterns")
		var patterns []pattern.Path
		var set pattern.Set[int]
		for i, text := range texts {
			p, err := pattern.ParsePath(text)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			patterns = append(patterns, p)
			set.Add(p, i)
		}
		if rapid.Bool().Draw(t, "one that nobody wrote") {
			set.Add(pattern.Path{}, len(patterns))
			patterns = append(patterns, pattern.Path{})
		}
		for _, text := range rapid.SliceOfN(pathText, 1, 8).Draw(t, "paths") {
			target := pattern.NewTarget(text)
			var allowed, denied []int
			for i, p := range patterns {
				if p.Allows(target) {
					allowed = append(allowed, i)
				}
				if p.Denies(target) {
					denied = append(denied, i)
				}
			}
			if got := found(func(visit func(int) bool) { set.Allowed(target, visit) }); !slices.Equal(got, allowed) {
				t.Fatalf("%q: Allowed finds %v, a scan %v", text, got, allowed)
			}
			if got := found(func(visit func(int) bool) { set.Denied(target, visit) }); !slices.Equal(got, denied) {
				t.Fatalf("%q: Denied finds %v, a scan %v", text, got, denied)
			}
		}
	})
}

func TestCallersFindWhatAScanFinds(t *testing.T) {
	patternText := rapid.StringMatching(`spiffe://(d|e)(/(a|b|A|\*)){0,3}(/a|/\*\*)`)
	id := rapid.OneOf(rapid.StringMatching(`spiffe://(d|e|f)(/(a|b|A|c)){0,4}`), rapid.SampledFrom([]string{"unix:uid=0", "dns:d", "gopher://d/a", "", "spiffe://"}))
	rapid.Check(t, func(t *rapid.T) {
		patterns := []pattern.SPIFFE{{}}
		for _, text := range rapid.SliceOfN(patternText, 0, 12).Draw(t, "patterns") {
			p, err := pattern.ParseSPIFFE(text)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			patterns = append(patterns, p)
		}
		var callers pattern.Callers[int]
		for i, p := range patterns {
			callers.Add(p, i)
		}
		for _, id := range rapid.SliceOfN(id, 1, 8).Draw(t, "ids") {
			var want []int
			for i, p := range patterns {
				if p.Matches(id) {
					want = append(want, i)
				}
			}
			if got := found(func(visit func(int) bool) { callers.Match(id, visit) }); !slices.Equal(got, want) {
				t.Fatalf("%q: Match finds %v, a scan %v", id, got, want)
			}
		}
	})
}

func TestALookupEndsWhenItsVisitorHasEnough(t *testing.T) {
	var set pattern.Set[string]
	var callers pattern.Callers[string]
	for _, text := range []string{"/a/b", "/a/b", "/*/b", "/a/**", "/**", "**"} {
		set.Add(path(t, text), text)
	}
	for _, text := range []string{"spiffe://d/a", "spiffe://d/*", "spiffe://d/**"} {
		callers.Add(spiffe(t, text), text)
	}
	one, odd := pattern.NewTarget("/a/b"), pattern.NewTarget("/a//b")
	for name, lookup := range map[string]func(func(string) bool){
		"allowed":            func(visit func(string) bool) { set.Allowed(one, visit) },
		"denied":             func(visit func(string) bool) { set.Denied(one, visit) },
		"ambiguous, allowed": func(visit func(string) bool) { set.Allowed(odd, visit) },
		"ambiguous, denied":  func(visit func(string) bool) { set.Denied(odd, visit) },
		"callers":            func(visit func(string) bool) { callers.Match("spiffe://d/a", visit) },
	} {
		t.Run(name, func(t *testing.T) {
			for enough := 1; enough <= len(found(lookup)); enough++ {
				visits := 0
				lookup(func(string) bool {
					visits++
					return visits < enough
				})
				if visits != enough {
					t.Errorf("wanted %d, was shown %d", enough, visits)
				}
			}
		})
	}
}

func TestAnEmptySetFindsNothing(t *testing.T) {
	var set pattern.Set[int]
	var callers pattern.Callers[int]
	for _, text := range []string{"/", "/a", "/a//b", ""} {
		target := pattern.NewTarget(text)
		if got := append(found(func(visit func(int) bool) { set.Allowed(target, visit) }),
			found(func(visit func(int) bool) { set.Denied(target, visit) })...); len(got) > 0 {
			t.Errorf("%q: found %v", text, got)
		}
	}
	if got := found(func(visit func(int) bool) { callers.Match("spiffe://d/a", visit) }); len(got) > 0 {
		t.Errorf("found %v", got)
	}
}

func TestManyReadersShareASet(t *testing.T) {
	var set pattern.Set[int]
	for i := range 100 {
		set.Add(path(t, fmt.Sprintf("/v1/*/%d", i)), i)
	}
	var readers sync.WaitGroup
	for i := range 8 {
		readers.Go(func() {
			for j := range 100 {
				target := pattern.NewTarget(fmt.Sprintf("/v1/x%d/%d", i, j))
				if got := found(func(visit func(int) bool) { set.Allowed(target, visit) }); !slices.Equal(got, []int{j}) {
					t.Errorf("%d: found %v", j, got)
				}
				if got := found(func(visit func(int) bool) { set.Denied(target, visit) }); !slices.Equal(got, []int{j}) {
					t.Errorf("%d: denied %v", j, got)
				}
			}
		})
	}
	readers.Wait()
}

func takeAll(int) bool { return true }

func TestALookupDoesNotGrowWithTheSet(t *testing.T) {
	nodes := func(n int) (allowed, denied, matched int) {
		var set pattern.Set[int]
		var callers pattern.Callers[int]
		for i := range n {
			set.Add(path(t, fmt.Sprintf("/v1/s%d/*/do%d", i%100, i)), i)
			callers.Add(spiffe(t, fmt.Sprintf("spiffe://d/ns%d/*/sa%d", i%100, i)), i)
		}
		target := pattern.NewTarget("/v1/s7/x/do907")
		return set.AllowedNodes(target, takeAll), set.DeniedNodes(target, takeAll), callers.MatchNodes("spiffe://d/ns7/x/sa907", takeAll)
	}
	for _, n := range []int{1_000, 10_000} {
		if allowed, denied, matched := nodes(n); allowed != 5 || denied != 5 || matched != 5 {
			t.Errorf("%d patterns: a lookup of 4 segments sees %d, %d and %d nodes, want 5", n, allowed, denied, matched)
		}
	}
}

// nodesOf is how many nodes patterns need: one for each different beginning.
func nodesOf(texts []string) int {
	beginnings := map[string]bool{"": true}
	for _, text := range texts {
		for i, c := range text {
			if c == '/' && i > 0 {
				beginnings[text[:i]] = true
			}
		}
		beginnings[text] = true
	}
	return len(beginnings)
}

// A wildcard in every position doubles the ways to read a path; only ways that some pattern goes may be tried.
func TestNoSetMakesALookupExplode(t *testing.T) {
	const depth, mixed = pattern.MaxSegments - 1, 12
	var texts []string
	// All stars before all letters: patterns of the greatest depth that fit the path but for their ends.
	for stars := range depth {
		texts = append(texts, strings.Repeat("/*", stars)+strings.Repeat("/a", depth-stars)+"/end")
	}
	// Every mixture of some stars and letters.
	for mask := range 1 << mixed {
		var text strings.Builder
		for i := range mixed {
			text.WriteString([]string{"/a", "/*"}[mask>>i&1])
		}
		texts = append(texts, text.String()+"/end")
	}
	var set pattern.Set[int]
	for i, text := range texts {
		set.Add(path(t, text), i)
	}
	most := nodesOf(texts)
	for _, text := range []string{
		strings.Repeat("/a", depth) + "/none", strings.Repeat("/a", mixed) + "/none",
		strings.Repeat("/a", 10_000), strings.Repeat("/%61", 10_000) + "/",
	} {
		target := pattern.NewTarget(text)
		if target.Ambiguous() {
			t.Fatal("the path has two readings")
		}
		for name, seen := range map[string]int{"Allowed": set.AllowedNodes(target, takeAll), "Denied": set.DeniedNodes(target, takeAll)} {
			if seen > most {
				t.Errorf("%d segments: %s sees %d nodes of %d", strings.Count(text, "/"), name, seen, most)
			}
			if seen < 1<<mixed {
				t.Errorf("%d segments: %s sees %d nodes only; this is not the hard case", strings.Count(text, "/"), name, seen)
			}
		}
	}
}

func TestALookupSeesNoNodeTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var set pattern.Set[int]
		texts := rapid.SliceOfN(rapid.StringMatching(`(/(a|b|\*)){1,8}`), 0, 40).Draw(t, "patterns")
		for _, text := range texts {
			p, err := pattern.ParsePath(text)
			if err != nil {
				t.Fatal(err)
			}
			set.Add(p, 0)
		}
		target := pattern.NewTarget(rapid.StringMatching(`(/(a|b)){1,12}`).Draw(t, "path"))
		if allowed, denied, most := set.AllowedNodes(target, takeAll), set.DeniedNodes(target, takeAll), nodesOf(texts); allowed > most || denied > most {
			t.Fatalf("of %d nodes Allowed saw %d, Denied %d", most, allowed, denied)
		}
	})
}
