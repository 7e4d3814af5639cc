package keystore

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/signerd/signerd/internal/checkpoint"
	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noba"
)

// still is a store that loads what it was made with, and keeps the changes of the last commit alone.
type still struct {
	Store
	records []Record
	commits uint64
	last    []Change
}

func (s *still) Load(context.Context) ([]Record, uint64, error) { return s.records, 1, nil }

func (s *still) Commit(_ context.Context, changes []Change) (uint64, error) {
	s.commits++
	s.last = changes
	return 1 + s.commits, nil
}

// slate is an anchor in memory, which trusts whoever writes.
type slate struct {
	state  checkpoint.Store
	writes int
}

func (s *slate) Exists() (bool, error)                        { return s.writes > 0, nil }
func (s *slate) Read(note.Verifier) (checkpoint.Store, error) { return s.state, nil }
func (s *slate) Write(_ *checkpoint.Signer, state checkpoint.Store) error {
	s.state = state
	s.writes++
	return nil
}

// filled is an open keystore with n keys. It seals them all at once: one commit each would take an hour for many.
func filled(tb testing.TB, n int) *Keystore {
	tb.Helper()
	return filledWith(tb, n, noba.Scheme{}, exampleMaterial)
}

// filledWith is filled with keys of one scheme.
func filledWith(tb testing.TB, n int, scheme upstream.Scheme, material func(testing.TB, string) upstream.Material) *Keystore {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "root.key")
	if err := rootkey.CreateFile(path); err != nil {
		tb.Fatal(err)
	}
	root, err := rootkey.OpenFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	ring := newKeyring()
	s, err := newSealer(ring)
	if err != nil {
		tb.Fatal(err)
	}
	wrapped, err := ring.wrap(tb.Context(), Config{RootKey: root})
	if err != nil {
		tb.Fatal(err)
	}
	pepper := make([]byte, dataKeySize)
	seal := func(name string, content any) Record {
		plaintext, err := encode(content)
		if err != nil {
			tb.Fatal(err)
		}
		return Record{name, firstCounter, s.seal(name, firstCounter, plaintext)}
	}
	signer, auditKey, err := newAuditKey(s)
	if err != nil {
		tb.Fatal(err)
	}
	records := []Record{{nameKeyring, firstCounter, wrapped}, auditKey, seal(nameFence, fenceRecord{recordFormat, pepper})}
	for i := range n {
		records = append(records, seal(prefixKey+keyName(i), exampleKey(tb, keyName(i), scheme, material(tb, keyName(i)), secret.Copy(pepper))))
	}
	h := head{}.with(records)
	sealed, err := sealHead(s, h)
	if err != nil {
		tb.Fatal(err)
	}
	records = append(records, sealed, sealAuditState(s, firstCounter, nil))
	c := Config{Store: &still{records: records}, Anchor: &slate{}, RootKey: root, Schemes: []upstream.Scheme{scheme}}
	if err := writeAnchor(c.Anchor, signer, h); err != nil {
		tb.Fatal(err)
	}
	k, err := Open(tb.Context(), c)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func keyName(i int) string { return fmt.Sprintf("account-%05d", i) }

func exampleMaterial(_ testing.TB, name string) upstream.Material {
	return upstream.Material{upstream.PartAPIKey: secret.New([]byte("api key of " + name)), upstream.PartSecret: secret.New([]byte("secret of " + name))}
}

func exampleKey(tb testing.TB, name string, scheme upstream.Scheme, m upstream.Material, pepper secret.Bytes) keyRecord {
	tb.Helper()
	credential, err := scheme.Open(m)
	if err != nil {
		tb.Fatal(err)
	}
	fingerprint := credential.Fingerprint(pepper)
	at := time.Unix(1_700_000_000, 0).UTC()
	return keyRecord{Format: recordFormat, Name: name, Scheme: scheme.Name(), Environment: string(upstream.Prod), Enabled: true, Active: 1,
		NextVersion: 2, CreateTime: at, UpdateTime: at, Versions: []versionRecord{{Number: 1, State: Enabled,
			Algorithm: credential.Algorithm(), Fingerprint: fingerprint[:], CreateTime: at, Material: storedMaterial(m)}}}
}

func TestLookupAllocatesNothing(t *testing.T) {
	k := filled(t, 100)
	for what, name := range map[string]string{"a key": keyName(50), "no key": "absent"} {
		if n := testing.AllocsPerRun(100, func() { k.Lookup(name) }); n != 0 {
			t.Errorf("looking up %s allocates %v times, want 0", what, n)
		}
	}
}

func TestAnAuditStateWritesItsRecordAlone(t *testing.T) {
	k := filled(t, 2000)
	store, a := k.config.Store.(*still), k.config.Anchor.(*slate)
	before, anchored := k.current.Load(), a.writes
	for i := range 3 {
		if err := k.SetAuditState(t.Context(), make([]byte, 3<<10)); err != nil {
			t.Fatal(err)
		}
		want := uint64(firstCounter + 1 + i)
		if len(store.last) != 1 || store.last[0].Name != nameAudit || store.last[0].Generation != want || store.last[0].Expect != want-1 {
			t.Errorf("the commit writes %d records, the first %q at %d, want %q alone at %d", len(store.last), store.last[0].Name, store.last[0].Generation, nameAudit, want)
		}
	}
	after := k.current.Load()
	if after.head.counter != before.head.counter || after.head.root() != before.head.root() || a.writes != anchored+3 {
		t.Errorf("the head went from %d to %d, and the anchor was written %d times, want the same head and 3", before.head.counter, after.head.counter, a.writes-anchored)
	}
}

func BenchmarkSetAuditState(b *testing.B) {
	for _, n := range []int{10, 2000} {
		b.Run(fmt.Sprintf("%d keys", n), func(b *testing.B) {
			k := filled(b, n)
			state := make([]byte, 3<<10)
			b.ReportAllocs()
			for b.Loop() {
				if err := k.SetAuditState(b.Context(), state); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("%d keys", n), func(b *testing.B) {
			k := filled(b, n)
			names := make([]string, n)
			for i := range names {
				names[i] = keyName(i)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				if k.Lookup(names[i%n]) == nil {
					b.Fatal("a key is missing")
				}
			}
		})
	}
}
