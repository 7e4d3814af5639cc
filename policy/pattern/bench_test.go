package pattern_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/signerd/signerd/policy/pattern"
)

func BenchmarkNewTarget(b *testing.B) {
	for name, text := range map[string]string{
		"plain":     "/v1/customers/cus_8f14e45f/cards",
		"uppercase": "/v1/customers/CUS_8f14e45f/cards",
		"escaped":   "/v1/customers/a%40example.org/caf%C3%A9",
		"ambiguous": "/v1/customers/a%2Fb/cards",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				pattern.NewTarget(text)
			}
		})
	}
}

// manyPatterns are of the kind that policies have: exact ones, and some with either wildcard.
func manyPatterns(n int) []string {
	texts := make([]string, n)
	for i := range n {
		texts[i] = fmt.Sprintf([]string{"/v1/service%d/do%d", "/v1/service%d/*/do%d", "/v1/service%d/do%d/**"}[i%3], i%100, i)
	}
	return texts
}

func BenchmarkSet(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		var set pattern.Set[int]
		for i, text := range manyPatterns(n) {
			set.Add(path(b, text), i)
		}
		target := pattern.NewTarget("/v1/service7/cus_8f14e45f/do907")
		found := 0
		count := func(int) bool {
			found++
			return true
		}
		for name, lookup := range map[string]func(pattern.Target, func(int) bool){"allowed": set.Allowed, "denied": set.Denied} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				found = 0
				for b.Loop() {
					lookup(target, count)
				}
				if found != b.N {
					b.Fatalf("%d matches in %d lookups", found, b.N)
				}
			})
		}
	}
}

func BenchmarkCallers(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		var callers pattern.Callers[int]
		for i, text := range manyPatterns(n) {
			callers.Add(spiffe(b, "spiffe://example.org"+text), i)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				callers.Match("spiffe://example.org/v1/service7/orders/do907", takeAll)
			}
		})
	}
}

// BenchmarkWorstSet asks for a path that agrees with all patterns but for their ends.
func BenchmarkWorstSet(b *testing.B) {
	const depth = 12
	var set pattern.Set[int]
	for mask := range 1 << depth {
		var text strings.Builder
		for i := range depth {
			text.WriteString([]string{"/a", "/*"}[mask>>i&1])
		}
		set.Add(path(b, text.String()+"/end"), mask)
	}
	target := pattern.NewTarget(strings.Repeat("/a", depth) + "/none")
	b.ReportAllocs()
	for b.Loop() {
		set.Allowed(target, takeAll)
	}
}

func BenchmarkAdd(b *testing.B) {
	var patterns []pattern.Path
	for _, text := range manyPatterns(10_000) {
		patterns = append(patterns, path(b, text))
	}
	b.ReportAllocs()
	for b.Loop() {
		var set pattern.Set[int]
		for i, p := range patterns {
			set.Add(p, i)
		}
	}
}
