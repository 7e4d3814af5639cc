package keystore_test

import (
	"bytes"
	"context"
	"crypto/fips140"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/signerd/signerd/internal/recovery"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/memory"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// recoveryKey and recoveryHalf do HPKE also where FIPS 140-3 is enforced, whose module with a certificate has none: what the keystore
// does with a recovery key has nothing to do with that.
type recoveryKey struct{ *recovery.Private }

func (k recoveryKey) Unwrap(ctx context.Context, wrapped []byte) (plaintext []byte, err error) {
	fips140.WithoutEnforcement(func() { plaintext, err = k.Private.Unwrap(ctx, wrapped) })
	return plaintext, err
}

type recoveryHalf struct{ *recovery.Public }

func (h recoveryHalf) Wrap(ctx context.Context, plaintext []byte) (wrapped []byte, err error) {
	fips140.WithoutEnforcement(func() { wrapped, err = h.Public.Wrap(ctx, plaintext) })
	return wrapped, err
}

func newRecoveryKey(t *testing.T) (recoveryKey, recoveryHalf) {
	t.Helper()
	dir := t.TempDir()
	private, public := filepath.Join(dir, "private"), filepath.Join(dir, "public")
	var key *recovery.Private
	var err error
	fips140.WithoutEnforcement(func() {
		if err := recovery.Create(private, public); err != nil {
			t.Fatal(err)
		}
		key, err = recovery.OpenPrivate(private)
	})
	if err != nil {
		t.Fatal(err)
	}
	half, err := recovery.OpenPublic(public)
	if err != nil {
		t.Fatal(err)
	}
	return recoveryKey{key}, recoveryHalf{half}
}

// recovered is c as it is after the root key was lost, with nothing to hold the store against.
func recovered(c keystore.Config, key keystore.RecoveryKey) keystore.Config {
	c.RootKey, c.RecoveryKey, c.Unverified = newRootKey(), key, true
	return c
}

func TestTheRecoveryKeyOpensTheStoreWhenTheRootKeyIsLost(t *testing.T) {
	for name, backend := range backends {
		t.Run(name, func(t *testing.T) {
			key, half := newRecoveryKey(t)
			c := backend(t)
			importKey(t, initialize(t, c), "a", noah.Name, upstream.Prod)
			c.Recovery = half
			first := open(t, c)
			after := recovered(c, key)
			if err := keystore.Recover(t.Context(), after); err != nil {
				t.Fatal(err)
			}
			after.RecoveryKey = nil
			wantSame(t, "the recovered store", open(t, after), first)
			if _, err := keystore.Open(t.Context(), c); !errors.Is(err, keystore.ErrWrongRootKey) {
				t.Errorf("with the old root key: %v", err)
			}
			// It can be recovered once more.
			if err := keystore.Recover(t.Context(), recovered(after, key)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTheWrappingFollowsTheConfiguredRecoveryKey(t *testing.T) {
	old, oldHalf := newRecoveryKey(t)
	key, half := newRecoveryKey(t)
	c := inMemory(t)
	c.Recovery = oldHalf
	before := initialize(t, c).StoreState().Counter
	if got := open(t, c).StoreState().Counter; got != before {
		t.Errorf("a start that changes nothing raised the counter from %d to %d", before, got)
	}
	c.Recovery = half
	open(t, c)
	if err := keystore.Verify(t.Context(), recovered(c, old)); !errors.Is(err, keystore.ErrWrongRecoveryKey) {
		t.Errorf("with the recovery key before: %v", err)
	}
	if err := keystore.Verify(t.Context(), recovered(c, key)); err != nil {
		t.Errorf("with the recovery key: %v", err)
	}
	c.Recovery = nil
	open(t, c)
	if err := keystore.Verify(t.Context(), recovered(c, key)); !errors.Is(err, keystore.ErrNoRecovery) {
		t.Errorf("without one configured: %v", err)
	}
}

func TestABackupIsRestoredWithTheRecoveryKeyAlone(t *testing.T) {
	key, half := newRecoveryKey(t)
	c := inMemory(t)
	c.Recovery = half
	first := initialize(t, c)
	importKey(t, first, "a", noah.Name, upstream.Prod)
	b := takeBackup(t, first)
	into := configure(memory.New(), &anchor{})
	into.RootKey, into.RecoveryKey, into.VerifierKey = nil, key, first.AuditSigner().VerifierKey()
	r, err := keystore.OpenBackup(t.Context(), into, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	into.RootKey, into.Recovery = newRootKey(), half
	made, err := r.Restore(t.Context(), into, false)
	if err != nil {
		t.Fatal(err)
	}
	into.VerifierKey = made.VerifierKey
	if err := keystore.Verify(t.Context(), into); err != nil {
		t.Errorf("the restored store is not wrapped to the recovery key: %v", err)
	}
	into.RecoveryKey = nil
	wantSame(t, "the restored store", open(t, into), first)
}

func TestAWrappingThatFailsOrIsUncertainLosesNothing(t *testing.T) {
	failure := errors.New("disk")
	for name, store := range map[string]unsure{"before the commit": {before: failure}, "after the commit": {after: failure}} {
		t.Run(name, func(t *testing.T) {
			key, half := newRecoveryKey(t)
			kept, a := memory.New(), &anchor{}
			c := configure(kept, a)
			c.Recovery = half
			first := initialize(t, c)
			importKey(t, first, "a", noah.Name, upstream.Prod)
			broken := recovered(c, key)
			store.Store = kept
			broken.Store = &store
			if err := keystore.Recover(t.Context(), broken); !errors.Is(err, keystore.ErrUnavailable) {
				t.Fatalf("recovering: %v", err)
			}
			broken.Store = kept
			if err := keystore.Recover(t.Context(), broken); err != nil {
				t.Fatalf("once more: %v", err)
			}
			broken.RecoveryKey = nil
			wantSame(t, "the store", open(t, broken), first)
		})
	}
}

func TestAWrappingThatWasPutThereBySomebodyElseIsRefused(t *testing.T) {
	_, half := newRecoveryKey(t)
	other, otherHalf := newRecoveryKey(t)
	c := inMemory(t)
	c.Recovery = half
	initialize(t, c)
	foreign := inMemory(t)
	foreign.Recovery = otherHalf
	initialize(t, foreign)
	theirs, _, err := foreign.Store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range theirs {
		if r.Name == "keyring" {
			if _, err := c.Store.Commit(t.Context(), []keystore.Change{{Record: r, Expect: r.Generation}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := keystore.Verify(t.Context(), recovered(c, other)); !errors.Is(err, keystore.ErrDamaged) {
		t.Errorf("it opens: %v", err)
	}
	if _, err := keystore.Open(t.Context(), c); !errors.Is(err, keystore.ErrDamaged) {
		t.Errorf("with the root key: %v", err)
	}
}

func TestWhoHasOnlyThePublicHalfCannotMakeABackupThatIsRestored(t *testing.T) {
	key, half := newRecoveryKey(t)
	c := inMemory(t)
	c.Recovery = half
	ours := initialize(t, c)
	// The stranger has neither the root key nor the private half: he makes a store of his own, and wraps it to the public half.
	his := inMemory(t)
	his.RootKey, his.Recovery = newRootKey(), half
	k := initialize(t, his)
	importKey(t, k, "payouts", noba.Name, upstream.Prod)
	forged := takeBackup(t, k)
	for name, tt := range map[string]struct {
		verifierKey string
		unverified  bool
		want        error
	}{
		"with nothing to hold it against": {want: keystore.ErrUnverified},
		"against our verifier key":        {verifierKey: ours.AuditSigner().VerifierKey(), want: keystore.ErrOtherVerifierKey},
		"against it, and unverified":      {verifierKey: ours.AuditSigner().VerifierKey(), unverified: true, want: keystore.ErrOtherVerifierKey},
		"unverified":                      {unverified: true},
	} {
		into := configure(memory.New(), &anchor{})
		into.RootKey, into.RecoveryKey, into.VerifierKey, into.Unverified = nil, key, tt.verifierKey, tt.unverified
		if _, err := keystore.OpenBackup(t.Context(), into, bytes.NewReader(forged)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	c.RecoveryKey, c.VerifierKey = key, ours.AuditSigner().VerifierKey()
	if _, err := keystore.OpenBackup(t.Context(), c, bytes.NewReader(takeBackup(t, ours))); err != nil {
		t.Errorf("our own backup: %v", err)
	}
}

func TestAStoreThatWasExchangedWithItsAnchorIsNotRecovered(t *testing.T) {
	key, half := newRecoveryKey(t)
	ours := initialize(t, inMemory(t)).AuditSigner().VerifierKey()
	his := inMemory(t)
	his.Recovery = half
	theirs := initialize(t, his).AuditSigner().VerifierKey()
	his.RecoveryKey, his.RootKey = key, newRootKey()
	for verifierKey, want := range map[string]error{"": keystore.ErrUnverified, ours: keystore.ErrOtherVerifierKey, theirs: nil} {
		his.VerifierKey = verifierKey
		if err := keystore.Verify(t.Context(), his); !errors.Is(err, want) {
			t.Errorf("looking at it with verifier key %q: %v, want %v", verifierKey, err, want)
		}
		if err := keystore.Recover(t.Context(), his); !errors.Is(err, want) {
			t.Errorf("recovering it with verifier key %q: %v, want %v", verifierKey, err, want)
		}
	}
}

func TestARecoveryKeepsTheStoreWrappedToARecoveryKey(t *testing.T) {
	key, half := newRecoveryKey(t)
	c := inMemory(t)
	c.Recovery = half
	initialize(t, c)
	after := recovered(c, key)
	after.Recovery = nil
	if err := keystore.Recover(t.Context(), after); !errors.Is(err, keystore.ErrNoRecovery) {
		t.Errorf("recovering to none: %v", err)
	}
	open(t, c)
}

func TestARecoveryKeyThatWasReplacedOpensNothingInTheFile(t *testing.T) {
	old, oldHalf := newRecoveryKey(t)
	_, half := newRecoveryKey(t)
	dir := t.TempDir()
	c := onDiskIn(t, dir)
	c.Recovery = oldHalf
	importKey(t, initialize(t, c), "a", noah.Name, upstream.Prod)
	sealed := sealedBytes(t, c.Store)
	// The old private half was stolen: another one is configured, and signerd started again.
	c.Recovery = half
	k := open(t, c)
	if before, replaced := k.RecoveryReplaced(); !replaced || before != old.ID() {
		t.Errorf("it tells of %q (%t), and not of %q", before, replaced, old.ID())
	}
	if got := k.Stats().RecoveryKeyID; got != half.ID() {
		t.Errorf("it is wrapped to %q, want %q", got, half.ID())
	}
	if found := heldBy(t, dir, sealed); len(found) > 0 {
		t.Errorf("the file still has what the old recovery key opens: %q", found)
	}
	if _, replaced := open(t, c).RecoveryReplaced(); replaced {
		t.Error("the next start tells of it again")
	}
}

// heldBy names the records of which a file in the folder has the sealed bytes, in unused parts too.
func heldBy(t *testing.T, dir string, records map[string][]byte) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for record, sealed := range records {
			if len(sealed) > 64 && bytes.Contains(content, sealed[len(sealed)-64:]) {
				found = append(found, record)
			}
		}
	}
	return found
}
