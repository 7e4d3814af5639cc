package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/memory"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// contentsOf is a store's records by name, as an attacker with the database may put them together.
type contentsOf map[string]keystore.Record

// Load implements keystore.Store, of which Open uses nothing else.
func (s contentsOf) Load(context.Context) ([]keystore.Record, uint64, error) {
	var out []keystore.Record
	for r := range maps.Values(s) {
		r.Sealed = bytes.Clone(r.Sealed)
		out = append(out, r)
	}
	return out, 1, nil
}

func (contentsOf) Commit(context.Context, []keystore.Change) (uint64, error) {
	return 0, errors.New("Open is not to write")
}

func (contentsOf) Watch(ctx context.Context, _ uint64) error { <-ctx.Done(); return ctx.Err() }
func (contentsOf) Compact(context.Context) error             { return errors.New("Open is not to write") }
func (contentsOf) Close() error                              { return nil }

// with is a copy in which some records are others.
func (s contentsOf) with(records ...keystore.Record) contentsOf {
	out := maps.Clone(s)
	for _, r := range records {
		out[r.Name] = r
	}
	return out
}

func (s contentsOf) without(name string) contentsOf {
	out := maps.Clone(s)
	delete(out, name)
	return out
}

// altered is the named record after an edit of a copy.
func (s contentsOf) altered(name string, edit func(*keystore.Record)) keystore.Record {
	r := s[name]
	r.Sealed = bytes.Clone(r.Sealed)
	edit(&r)
	return r
}

func contentsNow(t *testing.T, s keystore.Store) contentsOf {
	t.Helper()
	records, _, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := make(contentsOf)
	for _, r := range records {
		out[r.Name] = r
	}
	return out
}

// victim is a store with a past: what it held and what its anchor held after each commit.
type victim struct {
	config  keystore.Config
	stores  []contentsOf
	anchors [][]byte
}

func (v *victim) now() contentsOf    { return v.stores[len(v.stores)-1] }
func (v *victim) past() []contentsOf { return v.stores[:len(v.stores)-1] }

func newVictim(t *testing.T) *victim {
	t.Helper()
	store, a := memory.New(), &anchor{}
	v := &victim{config: configure(store, a)}
	k := initialize(t, v.config)
	for _, change := range []func() (*keystore.Key, error){
		func() (*keystore.Key, error) { return k.Lookup(""), nil }, // what Init made
		func() (*keystore.Key, error) { return importKey(t, k, "alpha", noah.Name, upstream.Prod), nil },
		func() (*keystore.Key, error) { return importKey(t, k, "beta", noba.Name, upstream.Sandbox), nil },
		func() (*keystore.Key, error) { return rotate(t.Context(), k, "alpha") },
		func() (*keystore.Key, error) {
			return k.Create(t.Context(), tester, keystore.NewKey{Name: "gamma", Scheme: noah.Name, Environment: upstream.Prod}, noah.ES256)
		},
		func() (*keystore.Key, error) { return k.DisableVersion(t.Context(), "beta", 1, 0) },
		func() (*keystore.Key, error) {
			key, _, err := k.Activate(t.Context(), "alpha", 2, 0, nil, time.Time{})
			return key, err
		},
		func() (*keystore.Key, error) {
			return k.SetLabels(t.Context(), "gamma", 0, map[string]string{"a": "b"})
		},
		func() (*keystore.Key, error) { return importKey(t, k, "delta", noba.Name, upstream.Prod), nil },
		func() (*keystore.Key, error) { return rotate(t.Context(), k, "beta") },
	} {
		// So the generations of the audit log's state are larger than the store's counter.
		for i := range 3 {
			if err := k.SetAuditState(t.Context(), fmt.Appendf(nil, "state %d of commit %d", i, len(v.stores))); err != nil {
				t.Fatal(err)
			}
		}
		must(t)(change())
		v.stores = append(v.stores, contentsNow(t, store))
		v.anchors = append(v.anchors, bytes.Clone(a.content))
	}
	return v
}

// open opens altered contents against the anchor as it is now, which must stay as it is.
func (v *victim) open(t *testing.T, s contentsOf) error {
	t.Helper()
	return v.openWith(t, s, v.anchors[len(v.anchors)-1])
}

func (v *victim) openWith(t *testing.T, s contentsOf, content []byte) error {
	t.Helper()
	a := &anchor{content: content}
	c := v.config
	c.Store, c.Anchor = s, a
	k, err := keystore.Open(t.Context(), c)
	if err != nil && a.writes > 0 {
		t.Error("a refused store moved the anchor")
	}
	if (k == nil) != (err != nil) {
		t.Errorf("Open gives %v and %v", k, err)
	}
	c.Anchor = &anchor{content: content}
	if verified := keystore.Verify(t.Context(), c); fmt.Sprint(verified) != fmt.Sprint(err) {
		t.Errorf("Verify says %v, and Open %v", verified, err)
	}
	return err
}

// wantDamage fails unless err is ErrDamaged and names one of the records.
func wantDamage(t *testing.T, what string, err error, names ...string) {
	t.Helper()
	if !errors.Is(err, keystore.ErrDamaged) {
		t.Errorf("%s: %v, want ErrDamaged", what, err)
		return
	}
	named := func(name string) bool { return strings.Contains(err.Error(), fmt.Sprintf("%q", name)) }
	if !slices.ContainsFunc(names, named) {
		t.Errorf("%s: %q names none of %q", what, err, names)
	}
}

func TestAnUntouchedStoreOpens(t *testing.T) {
	v := newVictim(t)
	if len(v.now()) != 9 {
		t.Fatalf("the victim has the records %v, want head, keyring, fence, audit, audit-key and 4 keys", slices.Collect(maps.Keys(v.now())))
	}
	if err := v.open(t, v.now()); err != nil {
		t.Error(err)
	}
}

func TestAnOlderCopyOfARecordIsNamed(t *testing.T) {
	v := newVictim(t)
	copies := 0
	for when, past := range v.past() {
		for name, old := range past {
			now := v.now()[name]
			if old.Generation == now.Generation {
				continue
			}
			copies++
			what := fmt.Sprintf("%s from commit %d", name, when+1)
			if name == "audit" {
				// It is not in the head: the threat model says that this opens.
				if err := v.open(t, v.now().with(old)); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			} else {
				wantDamage(t, what, v.open(t, v.now().with(old)), name)
			}
			// The same with the generation that the record should have.
			old.Generation = now.Generation
			wantDamage(t, what+" with the generation of now", v.open(t, v.now().with(old)), name)
		}
	}
	if copies < 15 {
		t.Errorf("there were %d older copies, want more", copies)
	}
}

func TestOlderCopiesOfSeveralRecordsAreAllNamed(t *testing.T) {
	v := newVictim(t)
	err := v.open(t, v.now().with(v.stores[1]["key/alpha"], v.stores[2]["key/beta"]).without("key/gamma"))
	var damage keystore.Damage
	if !errors.As(err, &damage) {
		t.Fatalf("%v is no Damage", err)
	}
	var names []string
	for _, problem := range damage {
		names = append(names, problem.Record)
	}
	if want := []string{"key/alpha", "key/beta", "key/gamma"}; !slices.Equal(names, want) {
		t.Errorf("the damage names %v, want %v", names, want)
	}
}

func TestManyDamagedRecordsDoNotMakeAnEndlessError(t *testing.T) {
	c := inMemory(t)
	k := initialize(t, c)
	for i := range 15 {
		importKey(t, k, fmt.Sprintf("key-%02d", i), noba.Name, upstream.Prod)
	}
	now := contentsNow(t, c.Store)
	for i := range 15 {
		now = now.without(fmt.Sprintf("key/key-%02d", i))
	}
	c.Store = now
	_, err := keystore.Open(t.Context(), c)
	wantDamage(t, "without any key", err, "key/key-00")
	var damage keystore.Damage
	if !errors.As(err, &damage) || len(damage) != 15 || !strings.HasSuffix(err.Error(), "and 5 more") {
		t.Errorf("the damage has %d problems and says %q, want 15, of which it names 10", len(damage), err)
	}
}

func TestAMissingRecordIsNamed(t *testing.T) {
	v := newVictim(t)
	for name := range v.now() {
		wantDamage(t, "without "+name, v.open(t, v.now().without(name)), name)
	}
	if err := v.open(t, contentsOf{}); !errors.Is(err, keystore.ErrNotInitialized) {
		t.Errorf("without any record: %v, want ErrNotInitialized", err)
	}
}

func TestADuplicatedMovedOrSwappedRecordIsNamed(t *testing.T) {
	v := newVictim(t)
	now := v.now()
	for from := range now {
		for _, to := range []string{"key/omega", "omega", "anchor", "key/"} {
			copied := now.altered(from, func(r *keystore.Record) { r.Name = to })
			wantDamage(t, fmt.Sprintf("%s duplicated as %s", from, to), v.open(t, now.with(copied)), to)
			wantDamage(t, fmt.Sprintf("%s moved to %s", from, to), v.open(t, now.without(from).with(copied)), from)
		}
		for to := range now {
			if from == to {
				continue
			}
			over := now.altered(from, func(r *keystore.Record) { r.Name = to })
			wantDamage(t, fmt.Sprintf("%s copied over %s", from, to), v.open(t, now.with(over)), to)
			back := now.altered(to, func(r *keystore.Record) { r.Name = from })
			wantDamage(t, fmt.Sprintf("%s and %s swapped", from, to), v.open(t, now.with(over, back)), from, to)
			// Swapped, each with the generation that its name should have.
			over.Generation, back.Generation = now[to].Generation, now[from].Generation
			wantDamage(t, fmt.Sprintf("%s and %s swapped but for their generations", from, to), v.open(t, now.with(over, back)), from, to)
		}
	}
}

func TestEveryChangedByteIsNoticed(t *testing.T) {
	v := newVictim(t)
	now := v.now()
	for name := range now {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range now[name].Sealed {
				// The lowest bit, the highest, and the one that tells letters' cases apart.
				for _, bit := range []byte{0x01, 0x20, 0x80} {
					changed := now.altered(name, func(r *keystore.Record) { r.Sealed[i] ^= bit })
					err := v.open(t, now.with(changed))
					wantDamage(t, fmt.Sprintf("byte %d of %s changed by %#x", i, name, bit), err, name)
				}
			}
		})
	}
}

func TestARecordThatIsShorterOrLongerIsNamed(t *testing.T) {
	v := newVictim(t)
	now := v.now()
	for name, r := range now {
		for _, length := range []int{0, 1, 4, 5, 20, 32, 33, len(r.Sealed) - 1} {
			cut := now.altered(name, func(r *keystore.Record) { r.Sealed = r.Sealed[:length] })
			wantDamage(t, fmt.Sprintf("%s cut to %d bytes", name, length), v.open(t, now.with(cut)), name)
		}
		for _, more := range []string{"\x00", " ", "\n", string(r.Sealed)} {
			longer := now.altered(name, func(r *keystore.Record) { r.Sealed = append(r.Sealed, more...) })
			wantDamage(t, fmt.Sprintf("%s longer by %d bytes", name, len(more)), v.open(t, now.with(longer)), name)
		}
	}
}

func TestAnAlteredGenerationIsNamed(t *testing.T) {
	v := newVictim(t)
	now := v.now()
	counter := now["head"].Generation
	for name, r := range now {
		for _, generation := range []uint64{0, 1, 2, r.Generation - 1, r.Generation + 1, counter - 1, counter, counter + 1, 1<<64 - 1} {
			if generation == r.Generation {
				continue
			}
			changed := now.altered(name, func(r *keystore.Record) { r.Generation = generation })
			wantDamage(t, fmt.Sprintf("%s with generation %d", name, generation), v.open(t, now.with(changed)), name)
		}
	}
}

func TestRecordsOfAnotherStoreUnderTheSameRootKeyAreNamed(t *testing.T) {
	v, other := newVictim(t), newVictim(t)
	now, foreign := v.now(), other.now()
	for _, test := range []struct{ replaced, named []string }{
		{[]string{"key/alpha"}, []string{"key/alpha"}},
		{[]string{"fence"}, []string{"fence"}},
		{[]string{"audit"}, []string{"audit"}},
		{[]string{"audit-key"}, []string{"audit-key"}},
		{[]string{"head"}, []string{"head"}},
		// Which of the two does not belong here, nobody can tell.
		{[]string{"keyring"}, []string{"keyring", "head"}},
		{[]string{"head", "keyring"}, []string{"fence"}},
		{[]string{"head", "keyring", "fence"}, []string{"key/alpha"}},
		{[]string{"head", "keyring", "fence", "key/alpha"}, []string{"key/beta"}},
	} {
		mixed := now
		for _, name := range test.replaced {
			mixed = mixed.with(foreign[name])
		}
		wantDamage(t, fmt.Sprintf("with %v of another store", test.replaced), v.open(t, mixed), test.named...)
	}
	wantDamage(t, "another store altogether", v.open(t, foreign), "anchor")
	if err := other.open(t, foreign); err != nil {
		t.Errorf("the other store does not open with its own anchor: %v", err)
	}
}
