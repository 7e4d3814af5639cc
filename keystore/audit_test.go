package keystore_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/signerd/signerd/internal/checkpoint"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/memory"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noba"
)

func setState(t *testing.T, k *keystore.Keystore, state string) {
	t.Helper()
	if err := k.SetAuditState(t.Context(), []byte(state)); err != nil {
		t.Fatalf("SetAuditState: %v", err)
	}
}

func wantState(t *testing.T, what string, k *keystore.Keystore, want string) {
	t.Helper()
	if got := k.AuditState(); string(got) != want {
		t.Errorf("%s: the audit log's state is %q, want %q", what, got, want)
	}
}

func TestTheAuditLogsStateSurvivesReopening(t *testing.T) {
	for backend, configuration := range backends {
		t.Run(backend, func(t *testing.T) {
			c := configuration(t)
			k := initialize(t, c)
			wantState(t, "a new store", k, "")
			for _, state := range []string{"first", "", strings.Repeat("x", keystore.MaxAuditStateBytes), "last"} {
				setState(t, k, state)
				wantState(t, "at once", k, state)
				wantState(t, "reopened", open(t, c), state)
			}
			importKey(t, k, name, noba.Name, upstream.Prod)
			wantState(t, "after a change of a key", k, "last")
			setState(t, k, "after")
			wantState(t, "reopened after changes of both", open(t, c), "after")
			wantSame(t, "the reopened store", open(t, c), k)
		})
	}
}

func TestTheAuditLogsStateIsACopyAndBounded(t *testing.T) {
	k := initialize(t, inMemory(t))
	given := []byte("given")
	if err := k.SetAuditState(t.Context(), given); err != nil {
		t.Fatal(err)
	}
	clear(given)
	clear(k.AuditState())
	wantState(t, "after the caller changed its own", k, "given")
	err := k.SetAuditState(t.Context(), make([]byte, keystore.MaxAuditStateBytes+1))
	if err == nil || errors.Is(err, keystore.ErrUnavailable) || errors.Is(err, keystore.ErrConflict) {
		t.Errorf("a state that is too large: %v, want an error that says so", err)
	}
	wantState(t, "after a state that is too large", k, "given")
}

func TestTheAuditLogsStateMovesNeitherCounterNorHead(t *testing.T) {
	p := newPatient(t)
	before := contentsNow(t, p.store)
	signed := bytes.Clone(p.anchor.content)
	for i := range 5 {
		p.log = nil
		setState(t, p.k, fmt.Sprint(i))
		// The anchor is written all the same: the log's newest tree goes into it.
		p.wantLog(t, "commit", "anchor 2")
	}
	after := contentsNow(t, p.store)
	for name, r := range before {
		if now := after[name]; name != "audit" && (now.Generation != r.Generation || !bytes.Equal(now.Sealed, r.Sealed)) {
			t.Errorf("the record %q was written", name)
		}
	}
	if p.k.Stats().Counter != 2 || counter(t, p.anchor.content) != 2 || counter(t, signed) != 2 {
		t.Errorf("the store's counter is %d, want 2", p.k.Stats().Counter)
	}
	must(t)(rotate(t.Context(), p.k, name))
	if got := p.k.Stats().Counter; got != 3 {
		t.Errorf("the counter after the next change is %d, want 3", got)
	}
}

// counted is a store that counts how often it is read.
type counted struct {
	keystore.Store
	loads atomic.Int64
}

func (c *counted) Load(ctx context.Context) ([]keystore.Record, uint64, error) {
	c.loads.Add(1)
	return c.Store.Load(ctx)
}

func TestFollowDoesNotReadTheStoreBecauseOfItsOwnAuditState(t *testing.T) {
	store := &counted{Store: memory.New()}
	p := &process{more: make(chan struct{})}
	p.c = configure(watched{store, p}, &anchor{})
	p.k = initialize(t, p.c)
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- p.k.Follow(ctx) }()
	before := store.loads.Load()
	for i := range 20 {
		setState(t, p.k, fmt.Sprint(i))
		_, revision, err := store.Store.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.waitFor(revision)
	}
	stop()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("Follow: %v, want context.Canceled", err)
	}
	if got := store.loads.Load() - before; got != 0 {
		t.Errorf("the store was read %d times, want 0", got)
	}
}

func TestAnAuditStateHidesNoChangeOfAnotherProcess(t *testing.T) {
	for what, write := range map[string]func(t *testing.T, k *keystore.Keystore){
		"before the other's change": func(t *testing.T, k *keystore.Keystore) { setState(t, k, "a") },
		"twice":                     func(t *testing.T, k *keystore.Keystore) { setState(t, k, "a"); setState(t, k, "b") },
	} {
		store, first := memory.New(), &anchor{}
		a := &process{more: make(chan struct{})}
		a.c = configure(watched{store, a}, first)
		a.k = initialize(t, a.c)
		b := open(t, configure(store, &anchor{content: first.content}))
		importKey(t, b, name, noba.Name, upstream.Prod)
		// It has not seen the key yet, and its own commit makes the store's revision its own.
		write(t, a.k)
		ctx, stop := context.WithCancel(context.Background())
		stopped := make(chan error, 1)
		go func() { stopped <- a.k.Follow(ctx) }()
		a.wait(t)
		stop()
		if err := <-stopped; !errors.Is(err, context.Canceled) {
			t.Errorf("Follow: %v, want context.Canceled", err)
		}
		if a.k.Lookup(name) == nil {
			t.Errorf("%s: a key of another process was never seen", what)
		}
	}
}

func TestAKeysChangeHidesNoAuditStateOfAnotherProcess(t *testing.T) {
	store, first := memory.New(), &anchor{}
	a := &process{more: make(chan struct{})}
	a.c = configure(watched{store, a}, first)
	a.k = initialize(t, a.c)
	setState(t, open(t, configure(store, &anchor{content: first.content})), "theirs")
	importKey(t, a.k, name, noba.Name, upstream.Prod)
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- a.k.Follow(ctx) }()
	a.wait(t)
	stop()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("Follow: %v, want context.Canceled", err)
	}
	wantState(t, "the first process", a.k, "theirs")
}

func TestOfTwoProcessesTheLastToWriteItsAuditStateWins(t *testing.T) {
	store, first := memory.New(), &anchor{}
	c := configure(store, first)
	a := initialize(t, c)
	b := open(t, configure(store, &anchor{content: first.content}))
	for i := range 3 {
		setState(t, a, fmt.Sprint("a", i))
		setState(t, b, fmt.Sprint("b", i))
		wantState(t, "reopened", open(t, c), fmt.Sprint("b", i))
	}
	importKey(t, b, name, noba.Name, upstream.Prod)
	setState(t, a, "after a key of the other")
	if a.Lookup(name) == nil {
		t.Error("whoever lost a race for the state has not read the store again")
	}
	wantState(t, "reopened", open(t, c), "after a key of the other")
}

func TestManyWritersOfAuditStatesAndKeysLoseNothing(t *testing.T) {
	a, b := newCluster(t)
	done := make(chan error)
	for _, p := range []*process{a, b} {
		go func() {
			var errs []error
			for i := range 20 {
				if err := p.k.SetAuditState(context.Background(), fmt.Append(nil, i)); !errors.Is(err, keystore.ErrConflict) {
					errs = append(errs, err)
				}
			}
			done <- errors.Join(errs...)
		}()
	}
	for i := range 10 {
		importKey(t, a.k, fmt.Sprint("key-", i), noba.Name, upstream.Prod)
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Errorf("SetAuditState: %v", err)
		}
	}
	setState(t, b.k, "last")
	a.wait(t)
	b.wait(t)
	wantState(t, "the first process", a.k, "last")
	wantSame(t, "the second process", b.k, a.k)
	wantSame(t, "the reopened store", open(t, a.c), a.k)
}

func TestAnAuditStateThatOthersKeepOvertakingIsAConflict(t *testing.T) {
	p := newPatient(t)
	p.store.commit = func(func() (uint64, error)) (uint64, error) { return 0, keystore.ErrConflict }
	if err := p.k.SetAuditState(t.Context(), []byte("x")); !errors.Is(err, keystore.ErrConflict) {
		t.Errorf("error %v, want ErrConflict", err)
	}
	p.store.commit = nil
	setState(t, p.k, "x")
}

func TestAnAuditStateIsStoredWholeWhenItsCallerGivesUp(t *testing.T) {
	p := newPatient(t)
	ctx, giveUp := context.WithCancel(t.Context())
	p.store.commit = func(write func() (uint64, error)) (uint64, error) { giveUp(); return write() }
	if err := p.k.SetAuditState(ctx, []byte("whole")); err != nil {
		t.Fatal(err)
	}
	wantState(t, "reopened", open(t, p.c), "whole")
}

func TestAfterAnAuditStateWithAnUnknownOutcomeTheStoreIsReadAgainFirst(t *testing.T) {
	for _, test := range []struct {
		name   string
		commit func(func() (uint64, error)) (uint64, error)
		want   string // after the store was read again
	}{
		{"and nothing was written", failBefore, "before"},
		{"and it was written", failAfter, "after"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPatient(t)
			setState(t, p.k, "before")
			p.store.commit, p.log = test.commit, nil
			wantUnavailable(t, p.k.SetAuditState(t.Context(), []byte("after")), errDisk)
			p.wantLog(t, "commit")
			wantState(t, "while the outcome is unknown", p.k, "before")
			p.store.commit, p.store.load = nil, func() error { return errDisk }
			wantUnavailable(t, p.k.SetAuditState(t.Context(), []byte("next")), errDisk)
			_, err := p.k.SetEnabled(t.Context(), name, 0, false)
			wantUnavailable(t, err, errDisk)
			p.wantLog(t, "load", "load")
			p.store.load = nil
			must(t)(p.k.SetEnabled(t.Context(), name, 0, false))
			p.wantLog(t, "load", "commit", "anchor 3")
			wantState(t, "after another change", p.k, test.want)
			setState(t, p.k, "next")
			p.wantLog(t, "commit", "anchor 3")
			wantState(t, "reopened", open(t, p.c), "next")
		})
	}
}

func TestAnAuditStateWhoseAnchorFailsIsNotAcknowledged(t *testing.T) {
	p := newPatient(t)
	p.anchor.fail = errDisk
	wantUnavailable(t, p.k.SetAuditState(t.Context(), []byte("x")), errDisk)
	p.wantLog(t, "commit", "anchor 2 failed")
	p.anchor.fail = nil
	setState(t, p.k, "y")
	p.wantLog(t, "commit", "anchor 2")
	wantState(t, "reopened", open(t, p.c), "y")
}

func TestAnAuditStateIsNotWrittenBeforeAnUnanchoredChange(t *testing.T) {
	p := newPatient(t)
	p.anchor.fail = errDisk
	_, err := rotate(t.Context(), p.k, name)
	wantUnavailable(t, err, errDisk)
	p.log = nil
	wantUnavailable(t, p.k.SetAuditState(t.Context(), []byte("x")), errDisk)
	p.wantLog(t, "anchor 3 failed")
}

func TestAnOlderAuditStateIsNoticedWhileTheStoreIsOpen(t *testing.T) {
	for what, tamper := range map[string]func(then, now contentsOf) contentsOf{
		"an older state": func(then, now contentsOf) contentsOf { return now.with(then["audit"]) },
		"no state":       func(_, now contentsOf) contentsOf { return now.without("audit") },
	} {
		store := &swapped{Store: memory.New()}
		k := initialize(t, configure(store, &anchor{}))
		setState(t, k, "older")
		then := contentsNow(t, store)
		setState(t, k, "newer")
		store.content = tamper(then, contentsNow(t, store))
		if err := k.Follow(t.Context()); !errors.Is(err, keystore.ErrRolledBack) && !errors.Is(err, keystore.ErrDamaged) {
			t.Errorf("%s: Follow: %v, want a refusal", what, err)
		}
		wantState(t, what, k, "newer")
	}
}

func TestAnAuditStateUnderAnotherNameDoesNotMakeTheHeadLookOld(t *testing.T) {
	v := newVictim(t)
	for _, to := range []string{"key/omega", "key/alpha", "fence"} {
		moved := v.now().altered("audit", func(r *keystore.Record) { r.Name = to })
		if moved.Generation <= v.now()["head"].Generation {
			t.Fatal("the state's generation is not larger than the head's")
		}
		err := v.open(t, v.now().with(moved))
		wantDamage(t, "the state copied to "+to, err, to)
		if err != nil && strings.Contains(err.Error(), `"head"`) {
			t.Errorf("the state copied to %s: %q blames the head", to, err)
		}
	}
}

func TestAStoreWithoutTheAuditLogsRecordsIsNamed(t *testing.T) {
	// So an older program left it: the head lists no key of the log.
	c := inMemory(t)
	initialize(t, c)
	err := keystore.ResealHead(t.Context(), c, func(plaintext []byte) []byte { return withoutEntry(t, plaintext, "audit-key") })
	if err != nil {
		t.Fatal(err)
	}
	records := contentsNow(t, c.Store)
	c.Store = records
	_, err = keystore.Open(t.Context(), c)
	wantDamage(t, "a key of the log that the head does not list", err, "audit-key")
	c.Store = records.without("audit-key").without("audit")
	_, err = keystore.Open(t.Context(), c)
	wantDamage(t, "without both", err, "audit-key")
	wantDamage(t, "without both", err, "audit")
	if err != nil && strings.Count(err.Error(), "it is missing") != 2 {
		t.Errorf("the damage is %q, want two missing records", err)
	}
}

// withoutEntry is a head, as it is sealed, that does not list a record.
func withoutEntry(t *testing.T, head []byte, name string) []byte {
	t.Helper()
	var o object
	if err := json.Unmarshal(head, &o); err != nil {
		t.Fatal(err)
	}
	entries := slices.DeleteFunc(o["entries"].([]any), func(e any) bool { return e.(map[string]any)["name"] == name })
	o["entries"], o["root"] = entries, keystore.RootOf(marshal(t, entries))
	return marshal(t, o)
}

func TestInitCompletesNoStoreWhoseAuditLogHasBegun(t *testing.T) {
	c := inMemory(t)
	setState(t, initialize(t, c), "begun")
	c.Anchor = &anchor{}
	if err := keystore.Init(t.Context(), c); !errors.Is(err, keystore.ErrAnchor) {
		t.Errorf("Init without the anchor: %v, want ErrAnchor", err)
	}
}

func TestTheAuditSignerIsTheSameAfterReopeningAndDiffersBetweenStores(t *testing.T) {
	c := inMemory(t)
	k := initialize(t, c)
	signer := k.AuditSigner()
	if id, ok := strings.CutPrefix(signer.Name(), "signerd/"); !ok || len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		t.Errorf("the log's origin is %q, want signerd/ and 16 bytes in hexadecimal", signer.Name())
	}
	signed, err := checkpoint.Checkpoint{Origin: signer.Name()}.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	importKey(t, k, name, noba.Name, upstream.Prod)
	for what, again := range map[string]*keystore.Keystore{"after a change": k, "reopened": open(t, c)} {
		if got := again.AuditSigner(); got.VerifierKey() != signer.VerifierKey() {
			t.Errorf("%s the signer is %v, want %v", what, got, signer)
		}
		if _, err := checkpoint.Open(signed, again.AuditSigner()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	other := initialize(t, inMemory(t)).AuditSigner()
	if other.Name() == signer.Name() || other.VerifierKey() == signer.VerifierKey() {
		t.Errorf("two stores have the signers %v and %v", signer, other)
	}
	if _, err := checkpoint.Open(signed, other); !errors.Is(err, checkpoint.ErrInvalid) {
		t.Errorf("another store's signer takes the checkpoint: %v, want ErrInvalid", err)
	}
}

// seedOf is the secret half of a store's audit key.
func seedOf(t *testing.T, c keystore.Config) []byte {
	t.Helper()
	var rec struct{ Seed []byte }
	err := keystore.Reseal(t.Context(), c, "audit-key", func(plaintext []byte) []byte {
		if err := json.Unmarshal(plaintext, &rec); err != nil {
			t.Fatal(err)
		}
		return plaintext
	})
	if err != nil || len(rec.Seed) != 32 {
		t.Fatalf("the seed has %d bytes (%v)", len(rec.Seed), err)
	}
	return rec.Seed
}

func TestNothingPrintsTheAuditLogsSeed(t *testing.T) {
	c := inMemory(t)
	initialize(t, c)
	seed := seedOf(t, c)
	k := open(t, c)
	signer := k.AuditSigner()
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		_, _ = fmt.Fprintf(&out, verb+"\n"+verb+"\n"+verb+"\n", k, signer, []any{k, signer, k.View()})
	}
	for what, v := range map[string]any{"keystore": k, "signer": signer, "view": k.View()} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Errorf("the %s as JSON: %v", what, err)
		}
		out.Write(text)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "keystore", k, "signer", signer)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "keystore", k, "signer", signer)
	if !strings.Contains(out.String(), signer.VerifierKey()) {
		t.Error("the signer does not print as its public key")
	}
	if got := found(out.Bytes(), seed); len(got) > 0 {
		t.Errorf("printing shows of the seed: %s", got)
	}
	// As numbers, too: so %v prints bytes, and %#v.
	lower := strings.ToLower(out.String())
	for _, form := range []string{strings.Trim(fmt.Sprint(seed[:8]), "[]"), hex.EncodeToString(seed[:4]), strings.TrimPrefix(strings.Trim(fmt.Sprintf("%#v", seed[:4]), "}"), "[]byte{")} {
		if strings.Contains(lower, form) {
			t.Errorf("printing shows the seed as %q", form)
		}
	}
}
