package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
)

// errBroken is what compile says of a document that begins with "broken".
var errBroken = errors.New("the document is broken")

// compile takes every document but a broken one for a policy that allows nothing.
func compile(document []byte) (*policy.Policy, error) {
	if bytes.HasPrefix(document, []byte("broken")) {
		return nil, errBroken
	}
	return policy.Compile(policy.Document{}, nil)
}

func TestAPolicyIsKeptSealedAndReplacedWhole(t *testing.T) {
	for name, backend := range backends {
		t.Run(name, func(t *testing.T) {
			c := backend(t)
			succeed(t, keystore.Init(t.Context(), c))
			k, err := keystore.Open(t.Context(), c)
			succeed(t, err)
			if p := k.View().Policy(); p.Generation != 0 || p.Policy == nil {
				t.Errorf("without one, the policy is %+v", p)
			}
			first, err := k.SetPolicy(t.Context(), "unix:uid=1", 0, []byte("first, with a canary"))
			succeed(t, err)
			if _, err := k.SetPolicy(t.Context(), "unix:uid=1", 0, []byte("stale")); !errors.Is(err, keystore.ErrConflict) {
				t.Errorf("a stale edit: %v", err)
			}
			if _, err := k.SetPolicy(t.Context(), "unix:uid=1", first.Generation+1, []byte("ahead")); !errors.Is(err, keystore.ErrConflict) {
				t.Errorf("an edit of the future: %v", err)
			}
			if _, err := k.SetPolicy(t.Context(), "unix:uid=1", first.Generation, []byte("broken")); !errors.Is(err, errBroken) {
				t.Errorf("a broken one: %v", err)
			}
			if got := k.View().Policy(); string(got.Document) != "first, with a canary" || got.Generation != first.Generation || got.Author != "unix:uid=1" {
				t.Errorf("in force is %+v", got)
			}
			before := k.View()
			second, err := k.SetPolicy(t.Context(), "unix:uid=2", first.Generation, []byte("second"))
			succeed(t, err)
			if string(before.Policy().Document) != "first, with a canary" {
				t.Error("a view changed under its reader")
			}
			records, _, err := c.Store.Load(t.Context())
			succeed(t, err)
			for _, r := range records {
				if bytes.Contains(r.Sealed, []byte("canary")) || bytes.Contains(r.Sealed, []byte("second")) {
					t.Errorf("record %s holds the document in clear", r.Name)
				}
			}
			again, err := keystore.Open(t.Context(), c)
			succeed(t, err)
			got := again.View().Policy()
			if string(got.Document) != "second" || got.Generation != second.Generation || !got.UpdateTime.Equal(second.UpdateTime) || got.Author != "unix:uid=2" {
				t.Errorf("after opening again: %+v", got)
			}
		})
	}
}

func TestAChangeOfAKeyKeepsThePolicyAndTheOtherWayRound(t *testing.T) {
	c := inMemory(t)
	succeed(t, keystore.Init(t.Context(), c))
	k, err := keystore.Open(t.Context(), c)
	succeed(t, err)
	p, err := k.SetPolicy(t.Context(), "a", 0, []byte("the policy"))
	succeed(t, err)
	_, err = k.Create(t.Context(), "a", keystore.NewKey{Name: "made", Scheme: "noah", Environment: "sandbox"}, "")
	succeed(t, err)
	if got := k.View(); got.Policy().Generation != p.Generation || got.Lookup("made") == nil {
		t.Errorf("after the key was made: %+v", got.Policy())
	}
	_, err = k.SetPolicy(t.Context(), "a", p.Generation, []byte("another"))
	succeed(t, err)
	if k.View().Lookup("made") == nil {
		t.Error("the key is gone")
	}
}

func TestAStoredPolicyThatThisProgramCannotUseIsNamedAtStart(t *testing.T) {
	c := inMemory(t)
	succeed(t, keystore.Init(t.Context(), c))
	k, err := keystore.Open(t.Context(), c)
	succeed(t, err)
	_, err = k.SetPolicy(t.Context(), "a", 0, []byte("fine for now"))
	succeed(t, err)
	c.Compile = func([]byte) (*policy.Policy, error) { return nil, errBroken }
	_, err = keystore.Open(t.Context(), c)
	var damage keystore.Damage
	if !errors.As(err, &damage) || len(damage) != 1 || damage[0].Record != "policy" {
		t.Errorf("got %v", err)
	}
}

func TestAnotherProcessesPolicyIsTakenIn(t *testing.T) {
	c := inMemory(t)
	succeed(t, keystore.Init(t.Context(), c))
	here, err := keystore.Open(t.Context(), c)
	succeed(t, err)
	there, err := keystore.Open(t.Context(), c)
	succeed(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- here.Follow(ctx) }()
	p, err := there.SetPolicy(t.Context(), "a", 0, []byte("from there"))
	succeed(t, err)
	// An edit of the old state is refused, whether or not the new one has arrived yet.
	if _, err := here.SetPolicy(t.Context(), "a", 0, []byte("from here")); !errors.Is(err, keystore.ErrConflict) {
		t.Errorf("a stale edit: %v", err)
	}
	_, err = here.SetPolicy(t.Context(), "a", p.Generation, []byte("after it"))
	succeed(t, err)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func succeed(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
