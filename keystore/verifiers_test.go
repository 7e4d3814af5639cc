package keystore_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

func TestVerifiersAreOfEveryVersionThatIsNotDestroyed(t *testing.T) {
	for _, test := range []struct {
		name   string
		scheme string
		before []op
		want   []uint32
	}{
		{"the active version first, then the newest", noba.Name, []op{imported, rotated, rotated, rotated, activate(2)}, []uint32{2, 4, 3, 1}},
		{"a pending version", noah.Name, []op{created}, []uint32{1}},
		{"a disabled key with a disabled version", noba.Name, []op{imported, rotated, disable(1), turn(false)}, []uint32{1, 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := account{k: initialize(t, inMemory(t)), scheme: test.scheme}
			for _, step := range test.before {
				must(t)(step(t.Context(), a))
			}
			got, err := a.k.Lookup(name).Verifiers(permit(t, name))
			if err != nil {
				t.Fatal(err)
			}
			wantNumbers(t, got, test.want...)
		})
	}
}

func wantNumbers(t *testing.T, got []keystore.VersionVerifier, want ...uint32) {
	t.Helper()
	var numbers []uint32
	for _, v := range got {
		numbers = append(numbers, v.Number)
	}
	if !slices.Equal(numbers, want) {
		t.Errorf("got versions %v, want %v", numbers, want)
	}
}

func TestADestroyedVersionVerifiesNothing(t *testing.T) {
	k, _, clock := aging(t, inMemory(t))
	key, err := schedule(t, k, 1, keystore.Destruction{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := key.Verifiers(permit(t, name))
	if err != nil {
		t.Fatal(err)
	}
	wantNumbers(t, got, 2, 1)
	clock.wait(8 * 24 * time.Hour)
	if err := destroyDue(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if got, err = k.Lookup(name).Verifiers(permit(t, name)); err != nil {
		t.Fatal(err)
	}
	wantNumbers(t, got, 2)
}

func TestVerifiersAreGivenAgainstTheKeysOwnUnusedPermitOnly(t *testing.T) {
	k := initialize(t, inMemory(t))
	a := account{k: k, scheme: noah.Name}
	must(t)(imported(t.Context(), a))
	key := k.Lookup(name)
	used := permit(t, name)
	if got, err := key.Verifiers(used); err != nil || len(got) != 1 {
		t.Errorf("with a permit: %v", err)
	}
	for what, p := range map[string]*policy.Permit{"no permit": nil, "an empty permit": {}, "a used permit": used, "a permit for another key": permit(t, "other")} {
		if got, err := key.Verifiers(p); !errors.Is(err, policy.ErrPermit) || got != nil {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
}
