package main

import (
	"regexp"
	"slices"
	"testing"
)

func TestEveryVariantHasAFloor(t *testing.T) {
	all, names := variants(), make(map[string]bool)
	for _, v := range all {
		if names[v.name()] {
			t.Errorf("%s is there twice", v.name())
		}
		names[v.name()] = true
	}
	for _, v := range all {
		if v.server != serverSignerd {
			continue
		}
		if floor := (variant{serverEcho, v.operation, v.transport, v.callers}); !names[floor.name()] {
			t.Errorf("%s has no echo", v.name())
		}
		if without := (variant{serverUnaudited, v.operation, v.transport, v.callers}); !names[without.name()] {
			t.Errorf("%s is not measured without an audit log", v.name())
		}
		if raw := (variant{server: serverRaw, operation: v.operation}); !names[raw.name()] && v.operation != nameNoon {
			t.Errorf("%s has no raw operation", v.name())
		}
	}
	// A goal that no variant measures would be left out in silence.
	for _, operation := range []string{nameES384, nameNoba, nameNoon} {
		if v := (variant{serverSignerd, operation, goalTransport, goalCallers}); !names[v.name()] {
			t.Errorf("%s, which has a goal, is not measured", v.name())
		}
	}
	for _, v := range []variant{{serverSignerd, nameES384, goalTransport, 1}, {server: serverRaw, operation: nameFsync}} {
		if !names[v.name()] {
			t.Errorf("%s, which has a goal, is not measured", v.name())
		}
	}
}

func TestChoose(t *testing.T) {
	if got, want := len(choose(regexp.MustCompile(""))), len(variants()); got != want {
		t.Errorf("no expression chooses %d of %d", got, want)
	}
	got := choose(regexp.MustCompile("^signerd/noba/mtls/64$"))
	if want := []variant{{serverSignerd, nameNoba, overMTLS, 64}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRoundsStartElsewhereAndLeaveNothingOut(t *testing.T) {
	all, rounds := variants(), 5
	first := make(map[variant]bool)
	for round := range rounds {
		order := rotated(all, round, rounds)
		first[order[0]] = true
		seen := make(map[variant]bool)
		for _, v := range order {
			seen[v] = true
		}
		if len(order) != len(all) || len(seen) != len(all) {
			t.Errorf("round %d has %d variants, %d different ones, of %d", round, len(order), len(seen), len(all))
		}
	}
	if len(first) != rounds {
		t.Errorf("%d rounds start with %d different variants", rounds, len(first))
	}
}
