package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// sealedBytes are all records as they are stored.
func sealedBytes(t *testing.T, s keystore.Store) map[string][]byte {
	t.Helper()
	records, _, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string][]byte)
	for _, r := range records {
		out[r.Name] = r.Sealed
	}
	return out
}

// filled has a few keys, a policy and a state of the audit log.
func filled(t *testing.T, c keystore.Config) *keystore.Keystore {
	t.Helper()
	k := initialize(t, c)
	for i := range 5 {
		importKey(t, k, fmt.Sprintf("noba-%d", i), noba.Name, upstream.Prod)
	}
	importKey(t, k, "noah", noah.Name, upstream.Sandbox)
	if _, err := k.SetPolicy(t.Context(), tester, 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := k.SetAuditState(t.Context(), []byte("the log's")); err != nil {
		t.Fatal(err)
	}
	return k
}

func TestAfterARotationTheOldRootKeyAndTheOldKeyringOpenNothing(t *testing.T) {
	c := inMemory(t)
	k := filled(t, c)
	before, oldKeyring := contents(k), sealedBytes(t, c.Store)
	signer, generation := k.AuditSigner().VerifierKey(), k.Lookup("noah").Generation
	next := c
	next.RootKey = newRootKey()
	var told []int
	if err := k.RotateRootKey(t.Context(), next.RootKey, func(done, total int) { told = append(told, done, total) }); err != nil {
		t.Fatal(err)
	}
	if len(told) < 4 || told[0] != 0 || told[len(told)-1] != told[len(told)-2] {
		t.Errorf("the progress was %v", told)
	}
	if _, err := keystore.Open(t.Context(), c); !errors.Is(err, keystore.ErrWrongRootKey) {
		t.Errorf("with the old root key: %v", err)
	}
	again := open(t, next)
	for _, k := range []*keystore.Keystore{k, again} {
		if got := contents(k); fmt.Sprint(got) != fmt.Sprint(before) {
			t.Errorf("it holds\n%v\nwant\n%v", got, before)
		}
		if k.AuditSigner().VerifierKey() != signer || string(k.AuditState()) != "the log's" || k.Lookup("noah").Generation != generation {
			t.Error("the log's key or state, or a generation, is another")
		}
		if k.Stats().RootKeyID != next.RootKey.ID() {
			t.Errorf("the root key is %s", k.Stats().RootKeyID)
		}
	}
	// Not a byte of a record is as it was, and with the old keyring put back nothing opens.
	for record, sealed := range sealedBytes(t, c.Store) {
		if bytes.Equal(sealed, oldKeyring[record]) {
			t.Errorf("record %q is sealed as it was", record)
		}
	}
	putBack(t, c.Store, "keyring", oldKeyring["keyring"])
	if _, err := keystore.Open(t.Context(), c); !errors.Is(err, keystore.ErrDamaged) {
		t.Errorf("with the old keyring and the old root key: %v", err)
	}
}

// putBack writes a record as it was, at the generation that it has now.
func putBack(t *testing.T, s keystore.Store, name string, sealed []byte) {
	t.Helper()
	records, _, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(records, func(r keystore.Record) bool { return r.Name == name })
	now := records[i].Generation
	if _, err := s.Commit(t.Context(), []keystore.Change{{Record: keystore.Record{Name: name, Generation: now, Sealed: sealed}, Expect: now}}); err != nil {
		t.Fatal(err)
	}
}

func TestChangesGoOnAfterARotation(t *testing.T) {
	c := inMemory(t)
	k := filled(t, c)
	for range 3 {
		c.RootKey = newRootKey()
		if err := k.RotateRootKey(t.Context(), c.RootKey, nil); err != nil {
			t.Fatal(err)
		}
		must(t)(rotate(t.Context(), k, "noba-1"))
		if err := k.SetAuditState(t.Context(), []byte("newer")); err != nil {
			t.Fatal(err)
		}
		wantSame(t, "after a rotation", open(t, c), k)
	}
	// The same root key, and only a new data key.
	if err := k.RotateRootKey(t.Context(), c.RootKey, nil); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "with the same root key", open(t, c), k)
}

func TestARotationOfUnknownOutcomeIsFoundOut(t *testing.T) {
	for what, tt := range map[string]struct {
		commit  func(func() (uint64, error)) (uint64, error)
		rotated bool
	}{
		"and nothing was written": {failBefore, false},
		"and it was written":      {failAfter, true},
	} {
		t.Run(what, func(t *testing.T) {
			p := newPatient(t)
			next := p.c
			next.RootKey = newRootKey()
			p.store.commit = tt.commit
			wantUnavailable(t, p.k.RotateRootKey(t.Context(), next.RootKey, nil), errDisk)
			p.store.commit = nil
			must(t)(p.k.SetEnabled(t.Context(), name, 0, false))
			opens, refuses := p.c, next
			if tt.rotated {
				opens, refuses = next, p.c
			}
			wantSame(t, "what is in the store", open(t, opens), p.k)
			if _, err := keystore.Open(t.Context(), refuses); !errors.Is(err, keystore.ErrWrongRootKey) {
				t.Errorf("the other root key: %v", err)
			}
			if p.k.Stats().RootKeyID != opens.RootKey.ID() {
				t.Errorf("the root key is %s", p.k.Stats().RootKeyID)
			}
		})
	}
}

func TestARotationThatFailsChangesNothing(t *testing.T) {
	p := newPatient(t)
	before := sealedBytes(t, p.store)
	broken := errors.New("the provider is away")
	if err := p.k.RotateRootKey(t.Context(), brokenRootKey{broken}, nil); !errors.Is(err, broken) {
		t.Errorf("a root key that cannot wrap: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.k.RotateRootKey(gone, newRootKey(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that is gone: %v", err)
	}
	p.store.load = func() error { return errDisk }
	wantUnavailable(t, p.k.RotateRootKey(t.Context(), newRootKey(), nil), errDisk)
	p.store.load = nil
	for record, sealed := range sealedBytes(t, p.store) {
		if !bytes.Equal(sealed, before[record]) {
			t.Errorf("record %q was changed", record)
		}
	}
	must(t)(p.k.SetEnabled(t.Context(), name, 0, false))
	wantSame(t, "after all that", open(t, p.c), p.k)
}

// brokenRootKey cannot wrap.
type brokenRootKey struct{ err error }

func (brokenRootKey) ID() string                                       { return "broken" }
func (b brokenRootKey) Wrap(context.Context, []byte) ([]byte, error)   { return nil, b.err }
func (b brokenRootKey) Unwrap(context.Context, []byte) ([]byte, error) { return nil, b.err }

func TestARotationWhileOthersChangeLosesNothing(t *testing.T) {
	c := inMemory(t)
	k := filled(t, c)
	other := open(t, c) // another process over the same store, which does not follow
	var changing sync.WaitGroup
	for i := range 4 {
		changing.Go(func() {
			for range 20 {
				if _, err := rotate(t.Context(), k, fmt.Sprintf("noba-%d", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 5 {
		c.RootKey = newRootKey()
		if err := k.RotateRootKey(t.Context(), c.RootKey, nil); err != nil {
			t.Error(err)
		}
	}
	changing.Wait()
	wantSame(t, "after rotations among changes", open(t, c), k)
	for i := range 4 {
		if n := len(k.Lookup(fmt.Sprintf("noba-%d", i)).Versions()); n != 21 {
			t.Errorf("noba-%d has %d versions, want 21", i, n)
		}
	}
	// Who has only the old root key can do no harm.
	if _, err := other.SetEnabled(t.Context(), "noah", 0, false); !errors.Is(err, keystore.ErrWrongRootKey) {
		t.Errorf("a change by who has the old root key: %v", err)
	}
	wantSame(t, "after it", open(t, c), k)
}

func TestTheFileHoldsNothingOfWhatWasSealedBeforeARotation(t *testing.T) {
	dir := t.TempDir()
	c := onDiskIn(t, dir)
	k := filled(t, c)
	before := sealedBytes(t, c.Store)
	if len(inFolder(t, dir, before)) == 0 {
		t.Fatal("the records are not found where they are: the test looks for the wrong thing")
	}
	c.RootKey = newRootKey()
	if err := k.RotateRootKey(t.Context(), c.RootKey, nil); err != nil {
		t.Fatal(err)
	}
	if found := inFolder(t, dir, before); len(found) > 0 {
		t.Errorf("still there: %q", found)
	}
	must(t)(rotate(t.Context(), k, "noba-1"))
	wantSame(t, "after the compaction", open(t, c), k)
}

// troubled is a root key with an id of its own that unwraps nothing.
type troubled struct {
	keystore.RootKey
	err error
}

func (r troubled) Unwrap(context.Context, []byte) ([]byte, error) { return nil, r.err }

// fault is what a provider says of an error.
type fault struct{ unavailable, wrong bool }

func (fault) Error() string       { return "a provider's error" }
func (f fault) Unavailable() bool { return f.unavailable }
func (f fault) WrongKey() bool    { return f.wrong }

func TestTheNextRootKeyIsAskedWhateverBecameOfTheOneInUse(t *testing.T) {
	away, wrong, damage := fault{unavailable: true}, fault{wrong: true}, errors.New("no tag fits")
	c := inMemory(t)
	k := initialize(t, c)
	right := newRootKey()
	if err := k.RotateRootKey(t.Context(), right, nil); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		inUse error
		next  error // nil for the right one
		want  error
	}{
		{"one that is away", away, nil, nil},
		{"one of another store", wrong, nil, nil},
		{"one that cannot tell", damage, nil, nil},
		{"and it is away itself", wrong, away, keystore.ErrRootKeyUnavailable},
		{"and both are away", away, away, keystore.ErrRootKeyUnavailable},
		{"and it is wrong itself", wrong, wrong, keystore.ErrWrongRootKey},
		{"and it is wrong, while the one in use is away", away, wrong, keystore.ErrRootKeyUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := c
			c.RootKey, c.NextRootKey = troubled{right, tt.inUse}, right
			if tt.next != nil {
				c.NextRootKey = troubled{right, tt.next}
			}
			k, err := keystore.Open(t.Context(), c)
			if !errors.Is(err, tt.want) {
				t.Fatalf("it opens with %v, want %v", err, tt.want)
			}
			if err == nil && k.Stats().RootKeyID != right.ID() {
				t.Errorf("the root key is %s", k.Stats().RootKeyID)
			}
		})
	}
}
