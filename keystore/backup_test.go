package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/signerd/signerd/internal/backup"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/memory"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

func takeBackup(t *testing.T, k *keystore.Keystore) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := k.Backup(t.Context(), &b, "test"); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func restoreInto(ctx context.Context, c keystore.Config, b []byte) error {
	r, err := keystore.OpenBackup(ctx, c, bytes.NewReader(b))
	if err != nil {
		return err
	}
	_, err = r.Restore(ctx, c, false)
	return err
}

func TestARestoredStoreHoldsWhatTheBackupDidAndIsAnother(t *testing.T) {
	for name, backend := range backends {
		t.Run(name, func(t *testing.T) {
			first := initialize(t, backend(t))
			importKey(t, first, "a", noah.Name, upstream.Prod)
			importKey(t, first, "b", noba.Name, upstream.Sandbox)
			if _, err := rotate(t.Context(), first, "a"); err != nil {
				t.Fatal(err)
			}
			b := takeBackup(t, first)
			c := backend(t)
			if err := restoreInto(t.Context(), c, b); err != nil {
				t.Fatal(err)
			}
			second := open(t, c)
			wantSame(t, "the restored store", second, first)
			if second.AuditSigner().Name() == first.AuditSigner().Name() || second.AuditSigner().VerifierKey() == first.AuditSigner().VerifierKey() {
				t.Error("both stores' logs are the same")
			}
			if got, want := second.StoreState().Counter, first.StoreState().Counter+1; got != want {
				t.Errorf("its counter is %d, want %d", got, want)
			}
			if len(second.AuditState()) != 0 {
				t.Error("it has the state of the log that was")
			}
			// It goes on as every store.
			importKey(t, second, "c", noah.Name, upstream.Prod)
			open(t, c)
			if err := restoreInto(t.Context(), c, b); !errors.Is(err, keystore.ErrInitialized) {
				t.Errorf("restoring over it: %v", err)
			}
		})
	}
}

func TestTheFenceHoldsAcrossARestore(t *testing.T) {
	first := initialize(t, inMemory(t))
	m := newMaterial(noba.Name, upstream.Prod)
	if _, err := importMaterial(t.Context(), first, "a", noba.Name, upstream.Prod, m); err != nil {
		t.Fatal(err)
	}
	c := inMemory(t)
	if err := restoreInto(t.Context(), c, takeBackup(t, first)); err != nil {
		t.Fatal(err)
	}
	second := open(t, c)
	same := upstream.Material{upstream.PartAPIKey: m[upstream.PartAPIKey], upstream.PartSecret: m[upstream.PartSecret]}
	if _, err := importMaterial(t.Context(), second, "b", noba.Name, upstream.Sandbox, same); err == nil {
		t.Error("one secret serves both environments")
	}
}

func TestABackupOpensWithItsOwnRootKeyOnly(t *testing.T) {
	c := inMemory(t)
	b := takeBackup(t, initialize(t, c))
	c.RootKey = newRootKey()
	if _, err := keystore.OpenBackup(t.Context(), c, bytes.NewReader(b)); !errors.Is(err, keystore.ErrWrongRootKey) {
		t.Errorf("with another: %v", err)
	}
}

// rewritten is a backup with a valid checksum that was edited by somebody without the root key, who signs as he can.
func rewritten(t *testing.T, b []byte, sign func([]byte) ([]byte, error), edit func(*backup.Manifest, []backup.Record) []backup.Record) []byte {
	t.Helper()
	var records []backup.Record
	m, _, err := backup.Read(bytes.NewReader(b), func(r backup.Record) error {
		records = append(records, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := backup.Write(&out, m, edit(&m, records), sign); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAForgedBackupIsRefusedBeforeAnythingIsChanged(t *testing.T) {
	first := initialize(t, inMemory(t))
	importKey(t, first, "a", noah.Name, upstream.Prod)
	old := takeBackup(t, first)
	importKey(t, first, "b", noah.Name, upstream.Prod)
	b := takeBackup(t, first)
	other := initialize(t, inMemory(t))
	without := func(name string) func(*backup.Manifest, []backup.Record) []backup.Record {
		return func(_ *backup.Manifest, records []backup.Record) []backup.Record {
			var out []backup.Record
			for _, r := range records {
				if r.Name != name {
					out = append(out, r)
				}
			}
			return out
		}
	}
	as := func(_ *backup.Manifest, records []backup.Record) []backup.Record { return records }
	for _, tt := range []struct {
		name string
		b    []byte
		want error
	}{
		{"signed by another store", rewritten(t, b, other.AuditSigner().Sign, as), keystore.ErrForgedBackup},
		{"without a key", rewritten(t, b, first.AuditSigner().Sign, without("key/a")), keystore.ErrDamaged},
		{"without its head", rewritten(t, b, first.AuditSigner().Sign, without("head")), keystore.ErrDamaged},
		{"without its keyring", rewritten(t, b, first.AuditSigner().Sign, without("keyring")), keystore.ErrDamaged},
		{"without the log's state", rewritten(t, b, first.AuditSigner().Sign, without("audit")), keystore.ErrDamaged},
		{"cut short", b[:len(b)-1], backup.ErrDamaged},
		{"none", []byte("store"), backup.ErrNotBackup},
		{"with the head of an older one", rewritten(t, b, first.AuditSigner().Sign, func(_ *backup.Manifest, records []backup.Record) []backup.Record {
			var before []backup.Record
			_, _, _ = backup.Read(bytes.NewReader(old), func(r backup.Record) error { before = append(before, r); return nil })
			for i := range records {
				for _, r := range before {
					if r.Name == "head" && records[i].Name == "head" {
						records[i] = r
					}
				}
			}
			return records
		}), keystore.ErrDamaged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := inMemory(t)
			if err := restoreInto(t.Context(), c, tt.b); !errors.Is(err, tt.want) {
				t.Errorf("restoring it: %v, want %v", err, tt.want)
			}
			if list, _, err := c.Store.Load(t.Context()); err != nil || len(list) > 0 {
				t.Errorf("the store has %d records (%v)", len(list), err)
			}
			if there, _ := c.Anchor.Exists(); there {
				t.Error("there is an anchor")
			}
		})
	}
}

func TestADamagedStoreIsNotBackedUp(t *testing.T) {
	c := inMemory(t)
	k := initialize(t, c)
	importKey(t, k, "a", noah.Name, upstream.Prod)
	list, _, err := c.Store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if r.Name == "key/a" {
			r.Sealed[40] ^= 1
			if _, err := c.Store.Commit(t.Context(), []keystore.Change{{Record: r, Expect: r.Generation}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var out bytes.Buffer
	if _, err := k.Backup(t.Context(), &out, "test"); !errors.Is(err, keystore.ErrDamaged) || out.Len() > 0 {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
}

// unsure is a store whose commit fails before or after it is made.
type unsure struct {
	keystore.Store
	before, after error
}

func (f *unsure) Commit(ctx context.Context, changes []keystore.Change) (uint64, error) {
	if f.before != nil {
		return 0, f.before
	}
	revision, err := f.Store.Commit(ctx, changes)
	return revision, errors.Join(err, f.after)
}

func TestARestoreThatFailsAnywhereLeavesNothingOrIsCompletedByTheNext(t *testing.T) {
	first := initialize(t, inMemory(t))
	importKey(t, first, "a", noah.Name, upstream.Prod)
	b := takeBackup(t, first)
	failure := errors.New("disk")
	for _, tt := range []struct {
		name   string
		store  unsure
		anchor error
	}{
		{"before the commit", unsure{before: failure}, nil},
		{"after the commit", unsure{after: failure}, nil},
		{"at the anchor", unsure{}, failure},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kept, a := memory.New(), &anchor{fail: tt.anchor}
			tt.store.Store = kept
			if err := restoreInto(t.Context(), configure(&tt.store, a), b); !errors.Is(err, failure) || !errors.Is(err, keystore.ErrUnavailable) {
				t.Fatalf("restoring: %v", err)
			}
			a.fail = nil
			c := configure(kept, a)
			if _, err := keystore.Open(t.Context(), c); err == nil {
				t.Error("half a restore opens")
			}
			if err := restoreInto(t.Context(), c, b); err != nil {
				t.Fatalf("once more: %v", err)
			}
			wantSame(t, "the restored store", open(t, c), first)
		})
	}
}
