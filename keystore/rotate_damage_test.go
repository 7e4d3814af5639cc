package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
)

// aborting is a store whose next commit fails, after what it would have written reached the disk.
type aborting struct {
	keystore.Store
	on   bool
	left []keystore.Change
}

func (a *aborting) Commit(ctx context.Context, changes []keystore.Change) (uint64, error) {
	if a.on {
		a.on, a.left = false, slices.Clone(changes)
		return 0, errDisk
	}
	return a.Store.Commit(ctx, changes)
}

// What was written for a change that came to nothing opens, and has the generation of the change that came instead.
func TestARotationDoesNotTakeInARecordThatTheHeadDoesNotList(t *testing.T) {
	c := inMemory(t)
	store := &aborting{Store: c.Store}
	c.Store = store
	k := initialize(t, c)
	importKey(t, k, "a", noah.Name, upstream.Prod)
	must(t)(k.SetEnabled(t.Context(), "a", 0, false))
	store.on = true
	if _, err := k.SetEnabled(t.Context(), "a", 0, true); err == nil {
		t.Fatal("the commit was not aborted")
	}
	must(t)(k.SetLabels(t.Context(), "a", 0, map[string]string{"why": "stolen"}))
	i := slices.IndexFunc(store.left, func(c keystore.Change) bool { return c.Name == "key/a" })
	putBack(t, c.Store, "key/a", store.left[i].Sealed)
	var told []error
	k.OnFault(func(err error) { told = append(told, err) })
	if err := k.RotateRootKey(t.Context(), nil, nil); !errors.Is(err, keystore.ErrDamaged) {
		t.Errorf("the rotation says %v", err)
	}
	if k.Lookup("a").Enabled {
		t.Error("it took the record in: the key is enabled")
	}
	if err := keystore.Verify(t.Context(), c); !errors.Is(err, keystore.ErrDamaged) {
		t.Errorf("the head vouches for the record now: %v", err)
	}
	if len(told) != 1 || !errors.Is(told[0], keystore.ErrDamaged) {
		t.Errorf("who serves the keys was told %v", told)
	}
}

// lost is a store of which a record was taken away.
type lost struct {
	keystore.Store
	name string
}

func (l *lost) Load(ctx context.Context) ([]keystore.Record, uint64, error) {
	list, revision, err := l.Store.Load(ctx)
	return slices.DeleteFunc(list, func(r keystore.Record) bool { return r.Name == l.name }), revision, err
}

func TestARotationOfADamagedStoreIsRefusedBeforeItChangesAnything(t *testing.T) {
	for _, record := range []string{"key/noba-1", "fence", "audit", "head", "keyring"} {
		c := inMemory(t)
		store := &lost{Store: c.Store}
		c.Store = store
		k := filled(t, c)
		before := sealedBytes(t, store.Store)
		store.name = record
		if err := k.RotateRootKey(t.Context(), newRootKey(), nil); !errors.Is(err, keystore.ErrDamaged) {
			t.Errorf("without the record %q the rotation says %v", record, err)
		}
		after := sealedBytes(t, store.Store)
		for name, sealed := range before {
			if !bytes.Equal(sealed, after[name]) {
				t.Errorf("without the record %q, %q was sealed anew", record, name)
			}
		}
		// From a copy it is put back, and all is well.
		store.name = ""
		must(t)(k.SetEnabled(t.Context(), "noah", 0, false))
		wantSame(t, "with the record put back", open(t, c), k)
	}
}

func TestAChangeThatFindsAnOlderStoreTellsWhoServesIt(t *testing.T) {
	c := inMemory(t)
	k := filled(t, c)
	old, _, err := c.Store.Load(t.Context())
	succeed(t, err)
	must(t)(k.SetEnabled(t.Context(), "noah", 0, false))
	now := recordNamed(t, c.Store, "key/noah").Generation
	var changes []keystore.Change
	for _, r := range old {
		if r.Name == "key/noah" || r.Name == "head" {
			changes = append(changes, keystore.Change{Record: r, Expect: now})
		}
	}
	_, err = c.Store.Commit(t.Context(), changes)
	succeed(t, err)
	var told []error
	k.OnFault(func(err error) { told = append(told, err) })
	if _, _, err := k.Freeze(t.Context(), tester, "a thief"); !errors.Is(err, keystore.ErrRolledBack) {
		t.Errorf("the change says %v", err)
	}
	if len(told) != 1 || !errors.Is(told[0], keystore.ErrRolledBack) {
		t.Errorf("told was %v", told)
	}
}

func TestAStoreThatCannotBeReadForAMomentIsServedOn(t *testing.T) {
	p := newPatient(t)
	p.k.OnFault(func(err error) { t.Errorf("told was %v", err) })
	p.store.commit = failBefore
	wantUnavailable(t, p.k.SetAuditState(t.Context(), nil), errDisk)
	p.store.load = func() error { return errDisk }
	wantUnavailable(t, p.k.SetAuditState(t.Context(), nil), errDisk)
}
