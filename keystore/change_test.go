package keystore_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// changes are all that take a precondition, each of which changes a key with versions 1 (active), 2, and 3 (disabled).
var changes = map[string]op{
	"creating a version": generated, "importing a version": rotated, "activating": activate(2), "enabling a version": enable(3),
	"disabling a version": disable(2), "disabling the key": turn(false), "setting labels": label(map[string]string{"a": "b"}),
}

func TestAChangeDecidedOnAnotherGenerationIsAConflict(t *testing.T) {
	for what, change := range changes {
		t.Run(what, func(t *testing.T) {
			c := inMemory(t)
			a := account{k: initialize(t, c), scheme: noah.Name}
			for _, step := range []op{imported, rotated, rotated, disable(3)} {
				must(t)(step(t.Context(), a))
			}
			importKey(t, a.k, "other", noba.Name, upstream.Prod)
			key, counter := a.k.Lookup(name), a.k.Stats().Counter
			for _, stale := range []uint64{1, key.Generation - 1, key.Generation + 1, counter, 1 << 63} {
				a.at = keystore.Precondition(stale)
				if _, err := change(t.Context(), a); !errors.Is(err, keystore.ErrConflict) {
					t.Errorf("at generation %d, with the key at %d: %v, want ErrConflict", stale, key.Generation, err)
				}
			}
			if a.k.Lookup(name) != key || a.k.Stats().Counter != counter {
				t.Error("a refused change changed something")
			}
			wantSame(t, "the reopened store", open(t, c), a.k)
			a.at = keystore.Precondition(key.Generation)
			if changed := must(t)(change(t.Context(), a)); changed.Generation != counter+1 {
				t.Errorf("at the right generation: generation %d, want %d", changed.Generation, counter+1)
			}
			if _, err := change(t.Context(), a); !errors.Is(err, keystore.ErrConflict) {
				t.Errorf("the same change again: %v, want ErrConflict", err)
			}
		})
	}
}

func TestAPreconditionOnAnAbsentKeyIsNotFound(t *testing.T) {
	k := initialize(t, inMemory(t))
	for what, change := range changes {
		if _, err := change(t.Context(), account{k, noah.Name, 3}); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", what, err)
		}
	}
}

func TestAnUnchangedKeyStillNeedsTheRightGeneration(t *testing.T) {
	a := account{k: initialize(t, inMemory(t)), scheme: noba.Name}
	key := must(t)(imported(t.Context(), a))
	for _, nothing := range []op{activate(1), enable(1), turn(true), label(nil)} {
		a.at = keystore.Precondition(key.Generation)
		if got := must(t)(nothing(t.Context(), a)); got != key {
			t.Errorf("a change of nothing made generation %d from %d", got.Generation, key.Generation)
		}
		a.at++
		if _, err := nothing(t.Context(), a); !errors.Is(err, keystore.ErrConflict) {
			t.Errorf("a change of nothing at a wrong generation: %v, want ErrConflict", err)
		}
	}
}

func TestANewKeyNeedsAProperNameSchemeAndEnvironment(t *testing.T) {
	k := initialize(t, inMemory(t))
	for field, n := range map[string]keystore.NewKey{
		"name":        {Name: "Not/a-name", Scheme: noah.Name, Environment: upstream.Prod},
		"scheme":      {Name: "a", Scheme: "ripple", Environment: upstream.Prod},
		"environment": {Name: "a", Scheme: noah.Name, Environment: "staging"},
	} {
		_, err := k.Create(t.Context(), tester, n, "")
		wantField(t, err, field)
		_, _, err = k.Import(t.Context(), tester, n, newMaterial(noba.Name, upstream.Prod))
		wantField(t, err, field)
	}
	_, err := k.Create(t.Context(), tester, keystore.NewKey{Name: "a", Scheme: noah.Name, Environment: upstream.Prod}, "RS256")
	wantField(t, err, "algorithm")
	if got := k.Stats(); got.Keys != 0 || got.Counter != 1 {
		t.Errorf("refused keys left traces: %+v", got)
	}
}

func TestAKeyTellsWhatItIsAndWhoMadeIt(t *testing.T) {
	c := inMemory(t)
	k := initialize(t, c)
	labels := map[string]string{"team": "payments"}
	key, err := k.Create(t.Context(), "unix:uid=1", keystore.NewKey{Name: name, Scheme: noah.Name, Environment: upstream.Prod, Labels: labels}, noah.ES384)
	if err != nil {
		t.Fatal(err)
	}
	labels["team"] = "changed by the caller"
	first := key.UpdateTime
	key, version, err := k.CreateVersion(t.Context(), "unix:uid=2", name, 0, noah.ES256)
	if err != nil || version != 2 {
		t.Fatalf("CreateVersion: version %d, %v", version, err)
	}
	key.Labels()["team"] = "changed in a copy"
	key.Versions()[0].State = keystore.Enabled
	for _, k := range []*keystore.Keystore{k, open(t, c)} {
		key := k.Lookup(name)
		if key.Name != name || key.Scheme != noah.Name || key.Environment != upstream.Prod || !maps.Equal(key.Labels(), map[string]string{"team": "payments"}) {
			t.Errorf("the key is %s %s %s %v", key.Name, key.Scheme, key.Environment, key.Labels())
		}
		if !key.CreateTime.Before(first) || !key.UpdateTime.After(first) || key.CreateTime.Location() != time.UTC {
			t.Errorf("made %v, first changed %v, last changed %v", key.CreateTime, first, key.UpdateTime)
		}
		for i, want := range []struct{ creator, algorithm string }{{"unix:uid=1", noah.ES384}, {"unix:uid=2", noah.ES256}} {
			v := key.Versions()[i]
			if v.Creator != want.creator || v.Algorithm != want.algorithm || v.State != keystore.Pending || v.CreateTime.IsZero() {
				t.Errorf("version %d: %s, %s, %s, %v", v.Number, v.Creator, v.Algorithm, v.State, v.CreateTime)
			}
			if v.Fingerprint != sha256.Sum256(v.PublicKey()) {
				t.Errorf("the fingerprint of version %d is not the hash of its public key", v.Number)
			}
		}
	}
	if _, ok := key.Version(3); ok {
		t.Error("there is a version 3")
	}
}

func TestImportsSayWhatTheyCut(t *testing.T) {
	k := initialize(t, inMemory(t))
	n := keystore.NewKey{Name: name, Scheme: noba.Name, Environment: upstream.Sandbox}
	line := func() upstream.Material {
		return material(map[string]string{upstream.PartAPIKey: "key\n", upstream.PartSecret: "a secret of many bytes\r\n"})
	}
	_, notes, err := k.Import(t.Context(), tester, n, line())
	if err != nil || len(notes) != 2 {
		t.Errorf("Import: notes %q (%v), want one for each part", notes, err)
	}
	if _, _, notes, err = k.ImportVersion(t.Context(), tester, name, 0, line(), time.Time{}); err != nil || len(notes) != 2 {
		t.Errorf("ImportVersion: notes %q (%v), want one for each part", notes, err)
	}
	must(t)(k.Create(t.Context(), tester, keystore.NewKey{Name: "noah", Scheme: noah.Name, Environment: upstream.Sandbox}, ""))
	_, notes, err = k.Activate(t.Context(), "noah", 1, 0, material(map[string]string{upstream.PartAPIKey: "pk_sandbox_x\n"}), time.Time{})
	if err != nil || len(notes) != 1 {
		t.Errorf("Activate: notes %q (%v), want one", notes, err)
	}
}

func TestListGoesThroughAllKeysInOrder(t *testing.T) {
	c := inMemory(t)
	k := initialize(t, c)
	want := []string{"a", "a-b", "a1", "b", "z", "zz"}
	for _, i := range []int{3, 0, 5, 1, 4, 2} {
		importKey(t, k, want[i], noba.Name, upstream.Prod)
	}
	for _, k := range []*keystore.Keystore{k, open(t, c)} {
		for _, page := range []int{1, 2, 4, 6, 100} {
			var got []string
			for after := ""; ; after = got[len(got)-1] {
				keys := k.List(after, page)
				for _, key := range keys {
					got = append(got, key.Name)
				}
				if len(keys) < page {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("in pages of %d: %v, want %v", page, got, want)
			}
		}
		if keys := k.List("a0", 1); len(keys) != 1 || keys[0].Name != "a1" {
			t.Errorf("after a name that no key has: %v", keys)
		}
		if s := k.Stats(); s.Keys != 6 || s.Versions != 6 || s.Counter != 7 || s.RootKeyID != c.RootKey.ID() {
			t.Errorf("Stats: %+v", s)
		}
	}
}

func TestVersionNumbersAreNeverReused(t *testing.T) {
	c := inMemory(t)
	k := initialize(t, c)
	importKey(t, k, name, noba.Name, upstream.Sandbox)
	for range 3 {
		must(t)(rotate(t.Context(), k, name))
	}
	// A later program may delete versions. Here it deletes the newest two.
	edit := func(plaintext []byte) []byte {
		var rec map[string]any
		if err := json.Unmarshal(plaintext, &rec); err != nil {
			t.Fatal(err)
		}
		rec["versions"] = rec["versions"].([]any)[:2]
		return marshal(t, rec)
	}
	if err := keystore.Reseal(t.Context(), c, "key/"+name, edit); err != nil {
		t.Fatal(err)
	}
	k = open(t, c)
	if got := describe(must(t)(rotate(t.Context(), k, name))); got != "on: 1 ENABLED active, 2 ENABLED, 5 ENABLED" {
		t.Errorf("after deleting versions 3 and 4 a rotation gives %q, want version 5", got)
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWhateverChangesAreMadeTheRulesHoldAndReopeningShowsTheSame(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := inMemory(t)
		a := account{k: initialize(t, c), scheme: rapid.SampledFrom([]string{noah.Name, noba.Name}).Draw(rt, "scheme")}
		n := rapid.Uint32Range(1, 4)
		highest := uint32(0)
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			steps := []op{imported, created, rotated, generated, rotatedWithoutAPIKey, activate(n.Draw(rt, "n")), enable(n.Draw(rt, "n")),
				disable(n.Draw(rt, "n")), turn(rapid.Bool().Draw(rt, "on")), activateWithAPIKey(n.Draw(rt, "n"), "pk_sandbox_x")}
			before, was, counter := a.k.Lookup(name), contents(a.k)[name], a.k.Stats().Counter
			_, err := rapid.SampledFrom(steps).Draw(rt, "op")(context.Background(), a)
			now, is := a.k.Lookup(name), contents(a.k)[name]
			switch moved := a.k.Stats().Counter - counter; {
			case moved > 1 || moved == 1 && (err != nil || is == was) || moved == 0 && now != before:
				rt.Fatalf("the counter moved by %d (%v) while %s became %s", moved, err, was, is)
			case now == nil:
				continue
			}
			highest = checkRules(rt, now, highest)
			if reopened := contents(open(t, c))[name]; reopened != is {
				rt.Fatalf("reopened, the key is %s, want %s", reopened, is)
			}
		}
	})
}

// checkRules holds a key against the rules of versions, and gives the highest number it has.
func checkRules(t *rapid.T, key *keystore.Key, highest uint32) uint32 {
	versions := key.Versions()
	for i, v := range versions {
		if v.Number != uint32(i+1) {
			t.Fatalf("version %d is at place %d", v.Number, i+1)
		}
		if v.Number == key.Active && v.State == keystore.Pending {
			t.Fatalf("the pending version %d is active", v.Number)
		}
	}
	if uint32(len(versions)) < highest || uint32(len(versions)) > highest+1 {
		t.Fatalf("from %d versions to %d", highest, len(versions))
	}
	if _, ok := key.Version(key.Active); !ok && key.Active != 0 {
		t.Fatalf("the active version %d does not exist", key.Active)
	}
	return uint32(len(versions))
}

func TestPrintingAKeyShowsNoMaterial(t *testing.T) {
	k := initialize(t, inMemory(t))
	shown := func(v any) string {
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%v %+v %#v %s %x", v, v, v, v, v) + string(j)
	}
	for _, scheme := range []string{noah.Name, noba.Name} {
		m := newMaterial(scheme, upstream.Prod)
		key := must(t)(importMaterial(t.Context(), k, scheme, scheme, upstream.Prod, m))
		output := shown(key) + shown(*key) + shown(key.Versions()) + shown(k)
		for part, s := range m {
			text := strings.TrimSpace(string(s.Reveal()))
			for _, form := range []string{text, fmt.Sprintf("%x", text), fmt.Sprint([]byte(text))} {
				if strings.Contains(output, form) {
					t.Errorf("printing a %s key shows its %s", scheme, part)
				}
			}
		}
	}
}
