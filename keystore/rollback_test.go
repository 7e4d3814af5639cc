package keystore_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/signerd/signerd/internal/checkpoint"
	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/memory"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noba"
)

func TestAnOlderCopyOfTheWholeStoreIsRefused(t *testing.T) {
	v := newVictim(t)
	for i, past := range v.past() {
		if err := v.open(t, past); !errors.Is(err, keystore.ErrRolledBack) {
			t.Errorf("the store as of commit %d: %v, want ErrRolledBack", i+1, err)
		}
	}
}

func TestAnOlderHeadIsNamed(t *testing.T) {
	v := newVictim(t)
	for i, past := range v.past() {
		wantDamage(t, fmt.Sprintf("the head of commit %d", i+1), v.open(t, v.now().with(past["head"])), "head")
	}
}

func TestAStoreAndItsAnchorRolledBackTogetherAreNotNoticed(t *testing.T) {
	v := newVictim(t)
	for i, past := range v.stores {
		if err := v.openWith(t, past, v.anchors[i]); err != nil {
			t.Errorf("store and anchor as of commit %d: %v; the threat model says that this opens", i+1, err)
		}
	}
}

func TestAnotherContentAtTheAnchorsCounterIsRefused(t *testing.T) {
	// Two stores grow from one copy: each is at the same counter, with a content of its own.
	store, a := memory.New(), &anchor{}
	c := configure(store, a)
	k := initialize(t, c)
	twin := memory.New()
	copyInto(t, twin, contentsNow(t, store))
	twinAnchor := &anchor{content: a.content}
	twinConfig := configure(twin, twinAnchor)
	importKey(t, open(t, twinConfig), "theirs", noba.Name, upstream.Prod)
	importKey(t, k, "ours", noba.Name, upstream.Prod)
	twinConfig.Anchor = a
	if _, err := keystore.Open(t.Context(), twinConfig); !errors.Is(err, keystore.ErrRolledBack) {
		t.Errorf("a store of the anchor's counter with another content: %v, want ErrRolledBack", err)
	}
}

func copyInto(t *testing.T, s keystore.Store, records contentsOf) {
	t.Helper()
	var changes []keystore.Change
	for _, r := range records {
		changes = append(changes, keystore.Change{Record: r})
	}
	if _, err := s.Commit(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
}

func TestAStoreAheadOfItsAnchorOpensAndTheAnchorFollows(t *testing.T) {
	v := newVictim(t)
	for i := 1; i < len(v.stores); i++ {
		a := &anchor{content: v.anchors[i-1]}
		c := v.config
		c.Store, c.Anchor = v.stores[i], a
		if err := keystore.Verify(t.Context(), c); err != nil || a.writes > 0 {
			t.Errorf("Verify: %v, and the anchor was written %d times, want neither", err, a.writes)
		}
		open(t, c)
		if err := v.openWith(t, v.stores[i-1], a.content); !errors.Is(err, keystore.ErrRolledBack) {
			t.Errorf("the anchor did not follow to commit %d: the one before gives %v, want ErrRolledBack", i+1, err)
		}
		if err := v.openWith(t, v.stores[i], a.content); err != nil {
			t.Errorf("after the anchor followed: %v", err)
		}
	}
}

func TestAnAnchorThatIsMissingDamagedOrForeignIsNamed(t *testing.T) {
	v := newVictim(t)
	good := v.anchors[len(v.anchors)-1]
	wantDamage(t, "no anchor", v.openWith(t, v.now(), nil), "anchor")
	wantDamage(t, "an empty anchor", v.openWith(t, v.now(), []byte{}), "anchor")
	wantDamage(t, "the anchor of another store", v.openWith(t, v.now(), newVictim(t).anchors[3]), "anchor")
	for i := range good {
		wantDamage(t, fmt.Sprintf("an anchor cut to %d bytes", i), v.openWith(t, v.now(), good[:i]), "anchor")
		for bit := range 8 {
			changed := bytes.Clone(good)
			changed[i] ^= 1 << bit
			err := v.openWith(t, v.now(), changed)
			// The last bits of base64 may be anything: such a change changes nothing.
			if err == nil && i >= len(good)-4 {
				if err := v.openWith(t, v.past()[8], changed); !errors.Is(err, keystore.ErrRolledBack) {
					t.Errorf("an anchor with bit %d of byte %d changed opens another store: %v", bit, i, err)
				}
				continue
			}
			wantDamage(t, fmt.Sprintf("an anchor with bit %d of byte %d changed", bit, i), err, "anchor")
		}
	}
	// An older anchor with the state of now, and one of now with an older state, would hide a rollback.
	for i, old := range v.anchors[:len(v.anchors)-1] {
		for what, mixed := range map[string][2][]byte{"text": {good, old}, "signature": {old, good}} {
			text, _, _ := bytes.Cut(mixed[0], []byte("\n\n"))
			_, signature, _ := bytes.Cut(mixed[1], []byte("\n\n"))
			forged := slices.Concat(text, []byte("\n\n"), signature)
			wantDamage(t, fmt.Sprintf("the newest %s with the other of commit %d", what, i+1), v.openWith(t, v.now(), forged), "anchor")
		}
	}
	if counter(t, good) != v.now()["head"].Generation {
		t.Error("the anchor's counter is not the head's")
	}
}

func TestAnAnchorThatAnotherKeySignedIsNamed(t *testing.T) {
	v := newVictim(t)
	k := open(t, v.config)
	state, err := v.config.Anchor.Read(k.AuditSigner())
	if err != nil {
		t.Fatal(err)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	thief, err := checkpoint.NewSigner(k.AuditSigner().Name(), private)
	if err != nil {
		t.Fatal(err)
	}
	forged := &anchor{}
	if err := forged.Write(thief, state); err != nil {
		t.Fatal(err)
	}
	wantDamage(t, "an anchor of the right name by another key", v.openWith(t, v.now(), forged.content), "anchor")
	// Witnesses may sign as well, and say more: what the store's key signed counts.
	good := v.anchors[len(v.anchors)-1]
	_, line, _ := bytes.Cut(forged.content, []byte("\n\n"))
	if err := v.openWith(t, v.now(), append(bytes.Clone(good), line...)); err != nil {
		t.Errorf("an anchor with one more signature: %v", err)
	}
}

func TestAnAnchorThatCannotBeReadMakesTheStoreUnavailable(t *testing.T) {
	v := newVictim(t)
	c := v.config
	c.Anchor = unreadable{}
	if _, err := keystore.Open(t.Context(), c); !errors.Is(err, keystore.ErrUnavailable) || !errors.Is(err, errDisk) {
		t.Errorf("Open: %v, want ErrUnavailable and its cause", err)
	}
	c.Store = memory.New()
	if err := keystore.Init(t.Context(), c); !errors.Is(err, keystore.ErrUnavailable) || !errors.Is(err, errDisk) {
		t.Errorf("Init: %v, want ErrUnavailable and its cause", err)
	}
}

var errDisk = errors.New("the disk does not answer")

// unreadable is an anchor on a broken disk.
type unreadable struct{}

func (unreadable) Exists() (bool, error)                            { return false, errDisk }
func (unreadable) Read(note.Verifier) (checkpoint.Store, error)     { return checkpoint.Store{}, errDisk }
func (unreadable) Write(*checkpoint.Signer, checkpoint.Store) error { return errDisk }

func TestAnotherRootKeyIsToldApartFromDamage(t *testing.T) {
	v := newVictim(t)
	c := v.config
	c.RootKey = newRootKey()
	_, err := keystore.Open(t.Context(), c)
	if !errors.Is(err, keystore.ErrWrongRootKey) || errors.Is(err, keystore.ErrDamaged) {
		t.Errorf("Open with another root key: %v, want ErrWrongRootKey", err)
	}
	// One that lies about its name does not open the keyring either.
	c.RootKey = disguised{c.RootKey.(*rootkey.File), v.config.RootKey.ID()}
	_, err = keystore.Open(t.Context(), c)
	wantDamage(t, "another root key of the same name", err, "keyring")
}

// disguised is a root key under another one's name.
type disguised struct {
	*rootkey.File
	id string
}

func (d disguised) ID() string { return d.id }

func TestInitMakesAStoreOnce(t *testing.T) {
	for backend, configuration := range backends {
		t.Run(backend, func(t *testing.T) {
			c := configuration(t)
			if _, err := keystore.Open(t.Context(), c); !errors.Is(err, keystore.ErrNotInitialized) {
				t.Errorf("Open before Init: %v, want ErrNotInitialized", err)
			}
			k := initialize(t, c)
			if k.Stats().Keys != 0 || k.Lookup("") != nil || len(k.List("", 10)) != 0 {
				t.Error("a new store holds keys")
			}
			if err := keystore.Init(t.Context(), c); !errors.Is(err, keystore.ErrInitialized) {
				t.Errorf("Init again: %v, want ErrInitialized", err)
			}
			importKey(t, k, name, noba.Name, upstream.Prod)
			if err := keystore.Init(t.Context(), c); !errors.Is(err, keystore.ErrInitialized) {
				t.Errorf("Init of a store with keys: %v, want ErrInitialized", err)
			}
			wantSame(t, "the store", open(t, c), k)
		})
	}
}

func TestInitRefusesAStoreThatHadAnAnchor(t *testing.T) {
	c := inMemory(t)
	importKey(t, initialize(t, c), name, noba.Name, upstream.Prod)
	emptied := c
	emptied.Store = memory.New()
	if err := keystore.Init(t.Context(), emptied); !errors.Is(err, keystore.ErrRemoved) {
		t.Errorf("Init of an empty store beside an anchor: %v, want ErrRemoved", err)
	}
	c.Anchor = &anchor{}
	if err := keystore.Init(t.Context(), c); !errors.Is(err, keystore.ErrAnchor) {
		t.Errorf("Init of a store with keys whose anchor is gone: %v, want ErrAnchor", err)
	}
	_, err := keystore.Open(t.Context(), c)
	wantDamage(t, "the store whose anchor is gone", err, "anchor")
}

func TestAnInterruptedInitIsCompletedByTheNext(t *testing.T) {
	c := inMemory(t)
	a := c.Anchor.(*anchor)
	a.fail = errDisk
	if err := keystore.Init(t.Context(), c); !errors.Is(err, keystore.ErrUnavailable) {
		t.Fatalf("Init without an anchor: %v, want ErrUnavailable", err)
	}
	_, err := keystore.Open(t.Context(), c)
	wantDamage(t, "a store without its anchor", err, "anchor")
	a.fail = nil
	wrong := c
	wrong.RootKey = newRootKey()
	if err := keystore.Init(t.Context(), wrong); !errors.Is(err, keystore.ErrWrongRootKey) {
		t.Errorf("completing with another root key: %v, want ErrWrongRootKey", err)
	}
	importKey(t, initialize(t, c), name, noba.Name, upstream.Prod)
}

func TestAStoreThatCannotBeReadOrWrittenIsUnavailable(t *testing.T) {
	c := inMemory(t)
	f := &flaky{Store: c.Store, commit: func(func() (uint64, error)) (uint64, error) { return 0, errDisk }}
	c.Store = f
	if err := keystore.Init(t.Context(), c); !errors.Is(err, keystore.ErrUnavailable) || !errors.Is(err, errDisk) {
		t.Errorf("Init: %v, want ErrUnavailable and its cause", err)
	}
	f.load = func() error { return errDisk }
	if err := keystore.Init(t.Context(), c); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("Init: %v, want ErrUnavailable", err)
	}
	if _, err := keystore.Open(t.Context(), c); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("Open: %v, want ErrUnavailable", err)
	}
}

func TestWhoeverInitsAtTheSameTimeMakesOneStore(t *testing.T) {
	store := memory.New()
	const rivals = 8
	opened := make(chan error)
	for range rivals {
		c := configure(store, &anchor{})
		go func() {
			err := keystore.Init(context.Background(), c)
			if err == nil {
				_, err = keystore.Open(context.Background(), c)
			}
			opened <- err
		}()
	}
	successes := 0
	for range rivals {
		switch err := <-opened; {
		case err == nil:
			successes++
		case !errors.Is(err, keystore.ErrInitialized):
			t.Errorf("Init or Open: %v, want ErrInitialized", err)
		}
	}
	if successes == 0 {
		t.Error("nobody succeeded")
	}
}
