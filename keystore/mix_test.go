package keystore_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/memory"
)

// Every record of any older state, at its own or at the present generation, under its own or any other name, in place of every record of
// the present one; and each removed, and each pair of them, head and record together included. An older "audit" at its own generation opens: it is in
// no head.
func TestNoMixOfOldAndNewRecordsOpens(t *testing.T) {
	c := inMemory(t)
	k := filled(t, c)
	load := func() map[string]keystore.Record {
		list, _, err := c.Store.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out := make(map[string]keystore.Record)
		for _, r := range list {
			out[r.Name] = r
		}
		return out
	}
	states := []map[string]keystore.Record{load()}
	step := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, load())
	}
	_, _, err := k.Freeze(t.Context(), tester, "x")
	step(err)
	_, _, _, err = k.Unfreeze(t.Context(), tester)
	step(err)
	_, err = k.SetEnabled(t.Context(), "noah", 0, false)
	step(err)
	_, err = k.SetPolicy(t.Context(), tester, k.View().Policy().Generation, nil)
	step(err)
	step(k.RotateRootKey(t.Context(), nil, nil))
	_, err = k.SetLabels(t.Context(), "noah", 0, map[string]string{"a": "b"})
	step(err)
	_, _, err = k.Freeze(t.Context(), tester, "y")
	step(err)
	now := states[len(states)-1]
	a := c.Anchor.(*anchor).content
	opens := func(records map[string]keystore.Record) error {
		s := memory.New()
		var changes []keystore.Change
		for _, r := range records {
			if r.Generation == 0 {
				continue
			}
			changes = append(changes, keystore.Change{Record: r})
		}
		if _, err := s.Commit(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		d := c
		d.Store, d.Anchor = s, &anchor{content: a}
		return keystore.Verify(t.Context(), d)
	}
	if err := opens(now); err != nil {
		t.Fatal(err)
	}
	n := 0
	try := func(what string, edit map[string]*keystore.Record) {
		n++
		m := maps.Clone(now)
		for name, r := range edit {
			if r == nil {
				delete(m, name)
			} else {
				m[name] = *r
			}
		}
		if opens(m) == nil {
			t.Errorf("opens: %s", what)
		}
	}
	names := slices.Sorted(maps.Keys(now))
	for at, old := range states {
		whole := maps.Clone(old)
		if at < len(states)-1 && opens(whole) == nil {
			t.Errorf("the whole store of state %d opens", at)
		}
		for _, from := range slices.Sorted(maps.Keys(old)) {
			r := old[from]
			for _, to := range append(names, "key/evil", "unknown") {
				if to == "audit" && from == "audit" {
					continue
				}
				for _, g := range []uint64{r.Generation, now[to].Generation} {
					x := keystore.Record{Name: to, Generation: g, Sealed: r.Sealed}
					if g == 0 || g == now[to].Generation && string(x.Sealed) == string(now[to].Sealed) {
						continue
					}
					try(fmt.Sprintf("%s of state %d as %s at %d", from, at, to, g), map[string]*keystore.Record{to: &x})
				}
			}
			if from == "head" || from == "audit" || string(r.Sealed) == string(now[from].Sealed) {
				continue
			}
			head := old["head"]
			try(fmt.Sprintf("head and %s of state %d", from, at), map[string]*keystore.Record{from: &r, "head": &head})
			ring := old["keyring"]
			try(fmt.Sprintf("head, keyring and %s of state %d", from, at), map[string]*keystore.Record{from: &r, "head": &head, "keyring": &ring})
		}
	}
	for _, name := range names {
		try("without "+name, map[string]*keystore.Record{name: nil})
	}
	if n < 1000 {
		t.Errorf("only %d mixes were tried", n)
	}
}
